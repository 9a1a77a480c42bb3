"""Each test against an independent library, and the null of all of them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import chi2_contingency, rankdata, ttest_ind
from sklearn.feature_selection import mutual_info_classif
from sklearn.metrics import roc_auc_score, roc_curve
from statsmodels.stats.dist_dependence_measures import distance_statistics
from statsmodels.stats.multitest import multipletests

from tpf.splits import Split
from tpf.statistics import classifiers, contingency, distance, information, tvla
from tpf.statistics.outcome import holm, jackknife, spread_blocks
from tpf.statistics.shifts import SLAB, BlockShifts, p_value


@pytest.fixture
def table() -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    rng = np.random.default_rng(3)
    y = rng.random(900) < 0.3
    X = rng.standard_normal((900, 3)) * [1.0, 40.0, 1.0] + [0.0, 500.0, 0.0]
    X[:, 0] += 0.3 * y
    X[y, 2] *= 1.5
    X[::17, 1] = np.nan
    return X, y


def shifts(n: int, permutations: int = 0, seed: int = 0) -> BlockShifts:
    return BlockShifts(n, permutations, np.random.default_rng(seed))


# ---- the null ----


def test_rotations_keep_the_labels_of_every_block() -> None:
    y = np.random.default_rng(0).random(1000) < 0.4
    moved = shifts(1000, 50)
    labels = moved.labels(y)
    np.testing.assert_array_equal(labels[:, 0], y)
    assert (labels[:, 1:] != y[:, None]).any()
    assert np.diff(moved.edges).min() >= 64
    for start, stop in pairwise(moved.edges):
        assert (labels[start:stop].sum(axis=0) == y[start:stop].sum()).all()
        doubled = np.tile(y[start:stop], 2)
        for column in range(0, 51, 10):
            block = labels[start:stop, column].astype(bool)
            assert any(np.array_equal(block, doubled[k : k + stop - start]) for k in range(stop - start))


def test_sums_are_those_of_the_moved_labels(table) -> None:
    X, y = table
    columns = np.nan_to_num(X)
    moved = shifts(y.size, 20)
    ones, whole = moved.sums(columns, y)
    np.testing.assert_allclose(ones, moved.labels(y).T.astype(float) @ columns)
    np.testing.assert_allclose(whole, columns.sum(axis=0))


def test_sums_of_many_blocks_are_made_in_slabs_and_none_is_lost() -> None:
    rng = np.random.default_rng(2)
    n = 64 * (2 * SLAB + 3) + 17
    columns, y = rng.integers(-9, 9, (n, 3)), rng.random(n) < 0.3
    moved = shifts(n, 30)
    asked: list[slice] = []
    ones, whole = moved.sums(lambda rows: (asked.append(rows), columns[rows])[1], y)
    np.testing.assert_array_equal(ones, moved.labels(y).T.astype(int) @ columns)
    np.testing.assert_array_equal(whole, columns.sum(axis=0))
    assert max(rows.stop - rows.start for rows in asked) < n / 2
    assert [rows.start for rows in asked[1:]] == [rows.stop for rows in asked[:-1]]


def test_a_p_value_counts_the_identity() -> None:
    assert p_value(np.array([3.0, 1.0, 2.0, 3.0])) == 0.5
    assert p_value(np.array([4.0, 1.0, 2.0, 3.0])) == 0.25


@pytest.mark.parametrize("drift", ["features", "both", "walk"])
def test_drift_raises_no_alarm(drift: str) -> None:
    """A trend of the features, of features and labels, a random walk: none tells one row from its neighbour."""
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n = 1500
        trend = np.linspace(-1, 1, n)
        rate = 0.3 + 0.2 * trend if drift == "both" else np.full(n, 0.3)
        x = 3 * trend + 0.3 * rng.standard_normal(n)
        if drift == "walk":
            x = np.cumsum(rng.standard_normal(n))
        y = rng.random(n) < rate
        t = tvla.welch(x[:, None], y, shifts(n, 99, seed)).first
        found.append(p_value(tvla.largest(t)))
    # 3 of 60 are meant to lie below .05; 10 or more of chance alone 1 time in 1000
    assert sum(p <= 0.05 for p in found) < 10
    assert sum(p > 0.5 for p in found) > 12


def test_holm_is_that_of_statsmodels() -> None:
    p = np.random.default_rng(1).random(9) ** 3
    np.testing.assert_allclose(holm(p.tolist()), multipletests(p, method="holm")[1])


# ---- statistics ----


def test_welch_is_that_of_scipy_in_both_orders(table) -> None:
    X, y = table
    found = tvla.welch(X, y, shifts(y.size))
    for j in range(3):
        a, b = X[y, j], X[~y, j]
        a, b = a[~np.isnan(a)], b[~np.isnan(b)]
        assert found.first[0, j] == pytest.approx(ttest_ind(a, b, equal_var=False).statistic, rel=1e-9)
        second = ttest_ind((a - a.mean()) ** 2, (b - b.mean()) ** 2, equal_var=False).statistic
        assert found.second[0, j] == pytest.approx(second, rel=1e-9)


def test_welch_under_a_rotation_is_that_of_the_moved_labels(table) -> None:
    X, y = table
    moved = shifts(y.size, 7)
    found = tvla.welch(X, y, moved)
    for k in range(8):
        labels = moved.labels(y)[:, k].astype(bool)
        again = tvla.welch(X, labels, shifts(y.size))
        np.testing.assert_allclose(found.first[k], again.first[0])
        np.testing.assert_allclose(found.second[k], again.second[0])


@pytest.mark.parametrize(("features", "threshold"), [(1, 4.42), (10, 4.89), (100, 5.33)])
def test_sidak_thresholds(features: int, threshold: float) -> None:
    assert tvla.sidak_threshold(features) == pytest.approx(threshold, abs=0.005)


def test_chi_square_is_that_of_scipy_and_its_cells_are_filled(table) -> None:
    X, y = table
    found = contingency.chi_square(X, y, shifts(y.size))
    rare = float(y.mean())
    for j in range(3):
        codes = contingency.bins(X[:, j], rare)
        known = codes >= 0
        np.testing.assert_array_equal(known, ~np.isnan(X[:, j]))
        counts = np.array([np.bincount(codes[known & (y == c)], minlength=codes.max() + 1) for c in (0, 1)])
        expected = chi2_contingency(counts, correction=False)
        assert expected.expected_freq.min() >= 5
        assert found.statistic[0, j] == pytest.approx(expected.statistic)
        assert found.df[j] == expected.dof == contingency.BINS - 1


def test_bins_of_few_values_are_joined_until_their_cells_are_filled() -> None:
    x = np.repeat([0.0, 1.0, 2.0, 3.0], [300, 4, 5, 300])
    codes = contingency.bins(x, 0.25)
    assert np.bincount(codes).min() * 0.25 >= 5
    assert contingency.bins(np.ones(100), 0.5).max() == 0


def test_mutual_information_is_that_of_scikit_learn(table) -> None:
    X, y = table
    rng = np.random.default_rng(0)
    found = information.mutual_information_bits(X, y[:, None].astype(np.int8), rng)[0]
    for j in range(3):
        known = ~np.isnan(X[:, j])
        ranks = rankdata(X[known, j])[:, None]
        nats = mutual_info_classif(ranks, y[known], discrete_features=False, n_neighbors=3, random_state=0)[0]
        assert max(0.0, found[j]) * np.log(2) == pytest.approx(nats, abs=0.012)


def test_mutual_information_has_its_closed_form_and_no_bias() -> None:
    rng = np.random.default_rng(2)
    n = 4000
    y = rng.random(n) < 0.25
    x = np.where(y, 0.5, 0.0) + rng.random(n)  # half of each class lies where the other never does
    entropy = -0.25 * np.log2(0.25) - 0.75 * np.log2(0.75)
    independent = rng.standard_normal(n)
    labels = shifts(n, 99).labels(y)
    found = information.mutual_information_bits(np.c_[x, independent], labels, rng)
    assert found[0, 0] == pytest.approx(entropy / 2, abs=0.02)
    assert found[:, 1].mean() == pytest.approx(0.0, abs=0.003)


def test_distance_correlation_is_that_of_statsmodels(table) -> None:
    X, y = table
    points, y = distance.normal_scores(X)[:200], y[:200]
    centred = distance.centred_distances(points)
    found = distance.distance_correlations(centred, y, shifts(200, 3))
    expected = distance_statistics(points, y.astype(float)).distance_correlation
    assert found[0] == pytest.approx(expected)
    assert distance.squared_correlation(centred, y, np.arange(200)) == pytest.approx(expected**2)
    # what is left out is left out
    part = np.arange(150)
    scale = np.sqrt((distance.centred_distances(points[part]) ** 2).mean() / (centred**2).mean())
    fewer = distance_statistics(points[part], y[part].astype(float)).distance_correlation
    assert distance.squared_correlation(centred, y, part) == pytest.approx(fewer**2 * scale)


def test_auc_is_that_of_scikit_learn_with_ties(table) -> None:
    X, y = table
    score = np.round(X[:, 0], 1)
    moved = shifts(y.size, 5)
    found = classifiers.auc_under_shifts(score, y, moved)
    for k in range(6):
        labels = moved.labels(y)[:, k]
        assert found[k] == pytest.approx(roc_auc_score(labels, score))
    assert classifiers.auc(score, y) == pytest.approx(found[0])
    assert np.isnan(classifiers.auc(score, np.ones_like(y)))


@pytest.mark.parametrize("name", classifiers.CLASSIFIERS)
def test_each_classifier_finds_what_is_there_and_nothing_else(name: str) -> None:
    rng = np.random.default_rng(5)
    X = rng.standard_normal((1200, 3))
    X[::50, 1] = np.nan
    y = rng.random(1200) < 1 / (1 + np.exp(-2.0 * X[:, 0]))
    split = Split(np.arange(600), np.arange(610, 1200), 10)
    scored = classifiers.score_later(name, X, y, split, seed=0)
    assert classifiers.auc(scored.score, scored.y) > 0.75
    assert scored.correct > scored.constant_correct
    nothing = classifiers.score_later(name, X[:, 1:], y, split, seed=0)
    assert abs(classifiers.auc(nothing.score, nothing.y) - 0.5) < 0.1
    again = classifiers.score_later(name, X, y, split, seed=0)
    np.testing.assert_array_equal(again.score, scored.score)


def test_the_network_is_that_of_the_paper() -> None:
    from sklearn.neural_network import MLPClassifier

    network = classifiers.build("mlp_16_8_4", 0)[-1]
    assert isinstance(network, MLPClassifier)
    assert network.hidden_layer_sizes == (16, 8, 4)
    with pytest.raises(ValueError, match="no classifier"):
        classifiers.build("oracle", 0)


def test_a_roc_curve_of_nothing_lies_in_its_band() -> None:
    rng = np.random.default_rng(8)
    scored = classifiers.Scored("x", rng.random(800), rng.random(800) < 0.3, 0.5, 0)
    band = classifiers.roc_band(scored, shifts(800, 99))
    inside = (band.low - 0.02 <= band.true_positive_rate) & (band.true_positive_rate <= band.high + 0.02)
    assert inside.mean() > 0.9
    perfect = classifiers.Scored("x", scored.y.astype(float), scored.y, 0.5, 0)
    assert classifiers.roc_band(perfect, shifts(800, 99)).true_positive_rate[1:].min() == 1.0


def test_roc_curves_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(9)
    scored = classifiers.Scored("x", rng.integers(0, 90, 700) / 90, rng.random(700) < 0.3, 0.5, 0)
    moved = shifts(700, 1)
    band = classifiers.roc_band(scored, moved)
    for labels, curve in zip(moved.labels(scored.y).T, (band.true_positive_rate, band.low), strict=True):
        fpr, tpr, _ = roc_curve(labels, scored.score)
        np.testing.assert_allclose(curve, np.interp(band.false_positive_rate, fpr, tpr))


def test_a_jackknife_interval_of_a_mean_is_the_textbook_one() -> None:
    covered = 0
    for seed in range(200):
        x = np.random.default_rng(seed).standard_normal(400)
        low, high = jackknife(lambda rows, x=x: float(x[rows].mean()), 400) or (0.0, 0.0)
        covered += low <= 0 <= high
    assert 180 <= covered <= 198
    assert jackknife(lambda rows: 0.0, 10) is None


def test_rows_of_a_long_record_are_blocks_from_beginning_to_end() -> None:
    rows = spread_blocks(100_000, 6400)
    assert rows.size == 6400
    assert rows[0] == 0
    assert rows[-1] == 99_999
    assert (np.diff(rows) == 1).mean() > 0.98
    np.testing.assert_array_equal(spread_blocks(50, 6400), np.arange(50))
