"""The leak audit: what it refuses, and what it lets pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.errors import UserError
from tpf.audit import audit, honest_score, without_leaks
from tpf.csv_dataset import read_csv
from tpf.dataset import Dataset, Feature, past_mean, past_sd, previous_rows
from tpf.splits import expanding_splits, forward_split, halves

N = 400


def dataset(columns: dict[str, np.ndarray], y: np.ndarray, kind: str = "column", last: int = 0) -> Dataset:  # type: ignore[type-arg]
    features = tuple(Feature(name, kind, last=last) for name in columns)
    X = np.column_stack(list(columns.values())).astype(float)
    return Dataset("table", X, y.astype(bool), features, "success", np.arange(1, y.size + 1), gap=3)


@pytest.fixture
def y() -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(0).random(N) < 0.3


@pytest.fixture
def noise() -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(1).standard_normal(N)


LEAKS = {
    "copy": lambda y, z: y,
    "threshold": lambda y, z: np.abs(z) * np.where(y, 1.0, -1.0),
    "below": lambda y, z: np.abs(z) * np.where(y, -1.0, 1.0),
    "monotone": lambda y, z: np.exp(np.abs(z) * np.where(y, 1.0, -1.0)) - 5,
    "interval": lambda y, z: np.where(y, np.clip(z, -1, 1), np.sign(z) * (2 + np.abs(z))),
    "one_to_one": lambda y, z: 2 * np.floor(10 * np.abs(z)).clip(0, 12) + y,
    "missing": lambda y, z: np.where(y, np.nan, z),
}


@pytest.mark.parametrize("kind", list(LEAKS))
def test_a_function_that_gives_the_label_is_named_with_its_rows(kind: str, y, noise) -> None:
    found = audit(dataset({"own": noise, "leaky": LEAKS[kind](y, noise)}, y))
    assert [leak.feature for leak in found.leaks] == ["leaky"]
    assert found.leaks[0].kind == "determines_label"
    assert found.leaks[0].n_rows == N
    assert found.leaks[0].rows == tuple(range(1, N + 1))
    assert f"{N} of {N} rows" in found.leaks[0].text
    assert not found.passed


def test_a_threshold_that_errs_in_a_few_rows_is_named_with_the_rows_that_agree(noise) -> None:
    n = 4000
    rng = np.random.default_rng(4)
    y = rng.random(n) < 0.4
    x = np.where(y, 1.0, -1.0) + 0.1 * rng.standard_normal(n)
    x[::500] *= -1
    found = audit(dataset({"x": x}, y))
    assert [leak.kind for leak in found.leaks] == ["nearly_determines_label"]
    assert found.leaks[0].n_rows == n - 8


@pytest.mark.parametrize(
    "pair",
    [
        lambda y, z, w: (w, w + np.abs(z) * np.where(y, 1.0, -1.0)),
        lambda y, z, w: ((w > 0), (w > 0) ^ y),
        lambda y, z, w: (np.exp(w), np.exp(-w + np.abs(z) * np.where(y, 1.0, -1.0))),
    ],
    ids=["difference", "exclusive or", "product"],
)
def test_two_features_that_give_the_label_together_are_named(pair, y, noise) -> None:
    other = np.random.default_rng(2).standard_normal(N)
    first, second = pair(y, noise, other)
    found = audit(dataset({"a": first, "b": second, "own": noise}, y))
    assert any(leak.kind == "pair_determines_label" and leak.feature == "a & b" for leak in found.leaks)
    assert found.leaking == ("a", "b")


def test_an_effect_however_strong_is_no_leak(y, noise) -> None:
    strong = np.random.default_rng(6).standard_normal(N) + 3.0 * y
    assert audit(dataset({"own": noise, "timing": strong, "count": np.floor(3 * np.abs(noise))}, y)).passed


def test_timing_of_a_run_may_give_the_label(y, noise) -> None:
    assert audit(dataset({"response_ms": LEAKS["threshold"](y, noise)}, y, kind="timing")).passed


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("found_difficulty", "computed_from_hash"),
        ("block_hash", "computed_from_hash"),
        ("leading_zeros", "computed_from_hash"),
        ("window_shares", "same_window"),
        ("success", "outcome"),
    ],
)
def test_a_name_that_says_so_is_enough(name: str, kind: str, y, noise) -> None:
    found = audit(dataset({name: noise}, y))
    assert [(leak.feature, leak.kind) for leak in found.leaks] == [(name, kind)]


@pytest.mark.parametrize(
    "name", ["hash_rate_ghs", "hashrate", "temperature_c", "past_shares_mean", "windowed_rate"]
)
def test_an_innocent_name_is_none(name: str, y, noise) -> None:
    assert audit(dataset({name: noise}, y)).passed


def test_provenance_is_enough(y, noise) -> None:
    assert audit(dataset({"x": noise}, y, kind="hash")).leaks[0].kind == "computed_from_hash"
    table = dataset({"x": noise}, y, kind="timing", last=2)
    later = audit(table)
    assert later.leaks[0].kind == "from_later_rows"
    honest = without_leaks(table, later)
    assert [(feature.name, feature.last) for feature in honest.features] == [("previous_x", -3)]
    np.testing.assert_array_equal(honest.X[3:, 0], noise[:-3])


def test_later_rows_and_labels_of_a_window_are_found(y, noise) -> None:
    ahead = np.r_[noise[2:], 0.0, 0.0]
    found = audit(dataset({"own": noise, "next": ahead}, y))
    assert [(leak.feature, leak.kind) for leak in found.leaks] == [("next", "from_later_rows")]
    total = np.r_[0.0, np.cumsum(y)]
    rolled = np.r_[np.full(4, np.nan), (total[5:] - total[:-5]) / 5]
    found = audit(dataset({"own": noise, "rate": rolled}, y))
    assert [(leak.feature, leak.kind) for leak in found.leaks] == [("rate", "computed_from_label")]
    assert "this one" in found.leaks[0].text
    past = np.r_[np.full(5, np.nan), (total[5:-1] - total[:-6]) / 5]
    assert audit(dataset({"own": noise, "rate": past}, y)).passed


def test_duplicates_across_the_split_are_found_and_taken_out(y, noise) -> None:
    other = np.random.default_rng(7).standard_normal(N)
    X = {"a": np.r_[noise, noise[:30]], "b": np.r_[other, other[:30]]}
    table = dataset(X, np.r_[y, y[:30]])
    found = audit(table)
    assert [(leak.feature, leak.kind, leak.n_rows) for leak in found.leaks] == [("row", "duplicates", 60)]
    assert without_leaks(table, found).n == N
    # few different values repeat by chance
    assert audit(dataset({"count": np.floor(np.abs(noise))}, y)).passed


def test_a_single_class_is_refused(noise) -> None:
    found = audit(dataset({"x": noise}, np.zeros(N)))
    assert found.single_class
    assert not found.passed
    assert found.honest_score is None
    assert "single class" in found.text


def test_an_honest_score_is_of_the_past(y, noise) -> None:
    known = dataset({"x": noise + 4.0 * y}, y, kind="timing")
    assert honest_score(known) > 0.9
    blind = dataset({"x": noise}, y, kind="timing")
    assert honest_score(blind) == pytest.approx(blind.base_rate, abs=0.02)


# ---- the published tables ----


def test_the_lv06_windows_leak_and_their_honest_score_is_the_base_rate(traces: Path) -> None:
    table = read_csv(traces / "lv06_windows.csv", "label")
    found = audit(table)
    assert found.leaking == ("window_shares", "jitter_mean", "jitter_std")
    by_rule = {leak.feature: leak for leak in found.leaks if leak.kind == "determines_label"}
    assert by_rule["window_shares"].n_rows == 150
    assert "window_shares > 0) in 150 of 150 rows" in by_rule["window_shares"].text
    assert set(by_rule) == {"window_shares", "jitter_mean"}
    assert found.honest_score == found.base_rate == pytest.approx(122 / 150)


def test_the_published_labels_have_a_single_class(traces: Path) -> None:
    found = audit(read_csv(traces / "s9_published_labels.csv", "label"))
    assert (found.single_class, found.n, found.positives) == (True, 2588, 0)


# ---- tables from files ----


def test_a_table_is_read_in_the_order_of_time(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text(
        "timestamp,a,word,label\n2026-01-01T00:00:02,3,x,1\n2026-01-01T00:00:01,,y,0\nbroken\n2026-01-01T00:00:03,inf,z,\n"
        "2026-01-01T00:00:04,7,z,1\n"
    )
    table = read_csv(file, "label")
    assert table.names == ["a"]
    np.testing.assert_array_equal(table.X[:, 0], [np.nan, 3.0, 7.0])
    np.testing.assert_array_equal(table.y, [False, True, True])
    np.testing.assert_array_equal(table.row, [3, 2, 6])
    assert sum(table.left_out.values()) == 2
    assert table.mean_interval_ms == pytest.approx(1500)


@pytest.mark.parametrize(
    ("text", "label", "why"),
    [
        ("a,label\n1,0\n", "verdict", "no column 'verdict'"),
        ("label\n1\n0\n", "label", "nothing to predict from"),
        ("a,label\n1,0\n2,1\n3,2\n", "label", "3 different values"),
        ("a,label\n1,red\n2,blue\n", "label", "no label"),
        ("a,label\n1,\n", "label", "no row has a label"),
        ("", "label", "empty"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_a_reason(
    tmp_path: Path, text: str, label: str, why: str
) -> None:
    file = tmp_path / "t.csv"
    file.write_text(text)
    with pytest.raises(UserError, match=why):
        read_csv(file, label)


def test_labels_may_be_words_or_numbers_with_a_threshold(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a,win,d\n1,true,10\n2,False,2000\n3,yes,3000\n")
    np.testing.assert_array_equal(read_csv(file, "win").y, [True, False, True])
    np.testing.assert_array_equal(read_csv(file, "d", threshold=2000).y, [False, True, True])
    with pytest.raises(UserError, match="not numeric"):
        read_csv(file, "win", threshold=1)


# ---- splits and windows ----


def test_splits_keep_the_gap_and_the_order() -> None:
    split = forward_split(100, gap=7)
    assert split.test[0] - split.train[-1] == 8
    for fold in expanding_splits(100, folds=4, gap=7):
        assert fold.test[0] - fold.train[-1] == 8
    early, late = halves(100, gap=7)
    assert late.start - early.stop == 7
    with pytest.raises(UserError, match="too few"):
        forward_split(8, gap=7)
    with pytest.raises(UserError, match="too few"):
        list(expanding_splits(20, folds=4, gap=7))


def test_windows_of_the_past_end_before_the_row() -> None:
    x = np.array([1.0, 2.0, np.nan, 4.0, 5.0, 6.0])
    np.testing.assert_allclose(past_mean(x, 2), [np.nan, 1.0, 1.5, 2.0, 4.0, 4.5])
    np.testing.assert_allclose(past_sd(x, 2), [np.nan, np.nan, 0.5, np.nan, np.nan, 0.5])
    np.testing.assert_allclose(previous_rows(x, 2)[2:], x[:4])
