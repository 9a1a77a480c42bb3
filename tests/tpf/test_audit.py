"""The leak audit: what it refuses, and what it lets pass."""

from __future__ import annotations

import gzip
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


MANY = 2000
"""Rows of the tables whose leaks are not exact."""


@pytest.fixture
def labels() -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(5).random(MANY) < 0.3


NEARLY = {
    "equal": lambda y, z: y,
    "threshold": lambda y, z: np.abs(z) * np.where(y, 1, -1),
    "interval": lambda y, z: np.where(y, np.clip(z, -1, 1), np.sign(z) * (2 + np.abs(z))),
    "categories": lambda y, z: 2 * np.floor(10 * np.abs(z)).clip(0, 19) + y,
    "far apart": lambda y, z: z + 5.0 * y,
}


@pytest.mark.parametrize("kind", list(NEARLY))
@pytest.mark.parametrize("flipped", [0.005, 0.02])
def test_a_function_of_the_label_with_a_little_noise_is_named(kind: str, flipped: float, labels) -> None:
    rng = np.random.default_rng(8)
    own, z = rng.standard_normal((2, MANY))
    x = NEARLY[kind](labels ^ (rng.random(MANY) < flipped), z)
    found = audit(dataset({"own": own, "x": x}, labels))
    assert [(leak.feature, leak.kind) for leak in found.leaks] == [("x", "nearly_determines_label")]
    assert found.leaks[0].n_rows > 0.94 * MANY


def test_a_label_that_changes_along_a_feature_many_times_is_given_by_it() -> None:
    rng = np.random.default_rng(9)
    x = rng.uniform(0, 100, MANY)
    found = audit(dataset({"own": rng.standard_normal(MANY), "x": x}, np.floor(x) % 2 == 1))
    assert [(leak.feature, leak.kind) for leak in found.leaks] == [("x", "determines_label")]


def test_three_features_that_give_the_label_together_are_named(labels) -> None:
    rng = np.random.default_rng(10)
    own = rng.standard_normal(MANY)
    a, b = rng.random((2, MANY)) < 0.5
    found = audit(dataset({"own": own, "a": a, "b": b, "c": a ^ b ^ labels}, labels))
    assert [(leak.feature, leak.kind) for leak in found.leaks] == [("a & b & c", "several_determine_label")]
    z, w = rng.standard_normal((2, MANY))
    c = np.abs(own) * np.where(labels, 1, -1) - z - w
    found = audit(dataset({"a": z, "b": w, "c": c}, labels))
    assert found.leaking == ("a", "b", "c")


def test_labels_that_come_in_runs_make_no_leak_of_what_was_known_before() -> None:
    rng = np.random.default_rng(11)
    y = np.cumsum(rng.random(MANY) < 0.03) % 2 == 1
    total = np.r_[0, np.cumsum(y)]
    at = np.arange(MANY)
    columns = {
        "before": np.r_[0, y[:-1]],
        "last_20": (total[at] - total[np.maximum(at - 20, 0)]) / 20,
        "temperature": 40 + np.cumsum(rng.normal(0, 0.05, MANY)),
        "timestamp": 0.1 * at,
    }
    assert audit(dataset(columns, y)).passed


@pytest.mark.parametrize("changes", [1, 7])
def test_classes_that_were_recorded_one_after_the_other_are_refused(changes: int) -> None:
    rng = np.random.default_rng(12)
    y = np.arange(MANY) * (changes + 1) // MANY % 2 == 1
    found = audit(dataset({"own": rng.standard_normal(MANY), "id": np.arange(MANY)}, y))
    assert [(leak.feature, leak.kind) for leak in found.leaks] == [
        ("row", "recorded_apart"),
        ("id", "determines_label"),
    ]
    # the number of the row before tells the block as well
    assert found.honest_score == pytest.approx(found.base_rate, abs=0.15)


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
        ("share_diff", "computed_from_hash"),
        ("block_hash", "computed_from_hash"),
        ("shareHash", "computed_from_hash"),
        ("next_interval", "from_later_rows"),
        ("leading_zeros", "computed_from_hash"),
        ("window_shares", "same_window"),
        ("success", "outcome"),
    ],
)
def test_a_name_that_says_so_is_enough(name: str, kind: str, y, noise) -> None:
    found = audit(dataset({name: noise}, y))
    assert [(leak.feature, leak.kind) for leak in found.leaks] == [(name, kind)]


@pytest.mark.parametrize(
    "name",
    [
        "hash_rate_ghs",
        "hashrate",
        "temperature_c",
        "past_shares_mean",
        "windowed_rate",
        "time_diff",
        "pool_difficulty",
        "job_difficulty",
        "prev_hash",
        "prevhash",
    ],
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
    assert "the row itself" in found.leaks[0].text
    past = np.r_[np.full(5, np.nan), (total[5:-1] - total[:-6]) / 5]
    assert audit(dataset({"own": noise, "rate": past}, y)).passed


WINDOWS = {
    "the next label": (lambda y: np.r_[y[1:], 0], "from_later_rows"),
    "centred mean": (lambda y: _mean_of(y, 100, 49), "computed_from_label"),
    "mean of later rows": (lambda y: _mean_of(y, 5, 5), "computed_from_label"),
    "cumulative count": (lambda y: np.cumsum(y), "computed_from_label"),
    "running mean": (lambda y: np.cumsum(y) / np.arange(1, y.size + 1), "computed_from_label"),
    "exponential mean": (lambda y: _decayed(y), "computed_from_label"),
    "label before": (lambda y: np.r_[0, y[:-1]], None),
    "count before": (lambda y: np.r_[0, np.cumsum(y)[:-1]], None),
    "mean before": (lambda y: _mean_of(y, 100, -1), None),
    "exponential mean before": (lambda y: np.r_[0, _decayed(y)[:-1]], None),
    "rows since a success": (lambda y: np.arange(y.size) - np.r_[0, _last(y)[:-1]], None),
}


def _mean_of(y, width: int, last: int):  # type: ignore[no-untyped-def]
    total, at = np.r_[0, np.cumsum(y)], np.arange(y.size) + last + 1
    high, low = (np.clip(edge, 0, y.size) for edge in (at, at - width))
    return (total[high] - total[low]) / np.maximum(high - low, 1)


def _decayed(y, share: float = 0.3):  # type: ignore[no-untyped-def]
    from scipy.signal import lfilter

    return lfilter([share], [1, share - 1], y.astype(float))


def _last(y):  # type: ignore[no-untyped-def]
    return np.maximum.accumulate(np.where(y, np.arange(y.size), 0))


@pytest.mark.parametrize("name", list(WINDOWS))
def test_a_window_of_labels_leaks_where_it_does_not_end_before_the_row(name: str, labels) -> None:
    made, kind = WINDOWS[name]
    own = np.random.default_rng(13).standard_normal(MANY)
    found = audit(dataset({"own": own, "x": made(labels)}, labels))
    assert [(leak.feature, leak.kind) for leak in found.leaks] == ([("x", kind)] if kind else [])


def _by_group(y, group, of):  # type: ignore[no-untyped-def]
    x = np.empty(y.size)
    for one in np.unique(group):
        x[group == one] = of(y[group == one].astype(float))
    return x


GROUPED = {
    "mean": (lambda y: y.mean(), True),
    "smoothed mean": (lambda y: (y.sum() + 2) / (y.size + 5), True),
    "rounded mean": (lambda y: round(y.mean(), 3), True),
    "count": (lambda y: y.sum(), True),
    "mean of the others": (lambda y: (y.sum() - y) / max(y.size - 1, 1), True),
    "count so far": (lambda y: np.cumsum(y), True),
    "count before": (lambda y: np.cumsum(y) - y, False),
    "size": (lambda y: y.size, False),
}


@pytest.mark.parametrize("name", list(GROUPED))
def test_a_group_s_labels_leak_with_the_row_s_own_among_them(name: str, labels) -> None:
    of, leaks = GROUPED[name]
    group = np.random.default_rng(14).integers(0, 200, MANY)
    found = audit(dataset({"group": group, "x": _by_group(labels, group, of)}, labels))
    assert ("x" in found.leaking) == leaks


def test_a_mean_label_is_known_without_its_group(labels) -> None:
    group = np.random.default_rng(15).integers(0, 8, MANY)
    for of in (lambda y: y.mean(), lambda y: (y.sum() + 5 * labels.mean()) / (y.size + 5)):
        groups = group if of(np.ones(1)) == 1 else np.random.default_rng(16).integers(0, 300, MANY)
        found = audit(dataset({"x": _by_group(labels, groups, of)}, labels))
        assert [leak.kind for leak in found.leaks] == ["computed_from_label"]


def test_a_column_of_later_rows_is_told_from_one_of_earlier_rows(labels) -> None:
    own = np.random.default_rng(17).standard_normal(MANY)
    time = 1.7e9 + np.cumsum(np.abs(own))
    mean = np.convolve(own, np.ones(5) / 5, "same")
    later = {
        "scaled": np.r_[own[1:], 0] * 3 + 1,
        "centred": mean,
        "difference": np.r_[np.diff(own), 0],
        "wait": np.round(np.r_[np.diff(time), 0], 3),
    }
    earlier = {
        "lagged": np.r_[0, own[:-1]],
        "trailing": np.r_[np.zeros(2), mean[:-2]],
        "change": np.r_[0, np.diff(own)],
        "interval": np.round(np.r_[0, np.diff(time)], 3),
    }
    for name, x in later.items():
        found = audit(dataset({"time": time, "own": own, name: x}, labels))
        assert [(leak.feature, leak.kind) for leak in found.leaks] == [(name, "from_later_rows")]
    assert audit(dataset({"time": time, "own": own, **earlier}, labels)).passed


def test_copies_are_found_under_another_number_and_rows_that_are_alike_are_none(labels) -> None:
    rng = np.random.default_rng(18)
    a, b = rng.standard_normal((2, MANY))
    at = np.r_[np.arange(MANY), rng.integers(0, MANY // 2, 200)]
    found = audit(dataset({"id": np.arange(at.size), "a": a[at], "b": b[at]}, labels[at]))
    assert [leak.kind for leak in found.leaks] == ["duplicates"]
    assert found.honest_base_rate == pytest.approx(max(labels.mean(), 1 - labels.mean()))
    often = np.tile(np.arange(500), 4)
    assert audit(dataset({"a": a[often], "b": b[often]}, labels[often])).leaks[0].kind == "duplicates"
    for digits in (0, 1, 3):
        alike = {"id": np.arange(MANY), "a": np.round(a, digits)}
        assert audit(dataset(alike, labels)).passed
        assert audit(dataset(alike | {"b": np.round(b, digits)}, labels)).passed


def test_few_rows_say_so(noise) -> None:
    y = np.random.default_rng(19).random(12) < 0.5
    assert "no leak can be told" in audit(dataset({"x": noise[:12]}, y)).text
    y = np.random.default_rng(20).random(30) < 0.5
    assert audit(dataset({"x": y}, y)).leaking == ("x",)


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
    assert [(feature.name, feature.kind) for feature in table.features] == [
        ("a", "column"),
        ("word", "category"),
    ]
    np.testing.assert_array_equal(table.X, [[np.nan, 1.0], [3.0, 0.0], [7.0, 2.0]])
    np.testing.assert_array_equal(table.y, [False, True, True])
    np.testing.assert_array_equal(table.row, [3, 2, 6])
    assert sum(table.left_out.values()) == 2
    assert table.mean_interval_ms == pytest.approx(1500)


def test_a_compressed_table_is_refused_as_such(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(gzip.compress(b"a,label\n1,0\n2,1\n"))
    with pytest.raises(UserError, match="compressed"):
        read_csv(file, "label")


@pytest.mark.parametrize(
    "cells",
    [
        ("True", "False"), ("pass", "fail"), ("yes", "NO"), ("red", "blue"), ("inf", "1"), ("", "2.5"), ("n/a", "x"),
        ("9223372036854775808", "9223372036854775809"),
    ],
)  # fmt: skip
def test_a_column_that_says_the_label_in_words_leaks(
    tmp_path: Path, cells: tuple[str, str], y, noise
) -> None:
    file = tmp_path / "t.csv"
    rows = [f"{z},{cells[0] if one else cells[1]},{int(one)}" for z, one in zip(noise, y, strict=True)]
    file.write_text("\n".join(["own,x,label", *rows]))
    found = audit(read_csv(file, "label"))
    assert [(leak.feature, leak.kind) for leak in found.leaks] == [("x", "determines_label")]


def test_one_word_among_numbers_hides_no_leak(tmp_path: Path, y, noise) -> None:
    x = [f"{abs(z) if one else -abs(z):.4f}" for z, one in zip(noise, y, strict=True)]
    x[7] = "n/a"
    for name, delimiter, end, point in (("a", ",", "\n", "."), ("b", ";", "\r\n", ",")):
        file = tmp_path / name
        rows = [f"{own.replace('.', point)}{delimiter}{int(one)}" for own, one in zip(x, y, strict=True)]
        file.write_bytes(end.join([f"x{delimiter}label", *rows]).encode("utf-8-sig"))
        assert audit(read_csv(file, "label")).leaking == ("x",)


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
    file.write_text("a,win\n1,pass\n2,nan\n3,fail\n4,inf\n")
    table = read_csv(file, "win")
    np.testing.assert_array_equal(table.y, [True, False])
    assert table.left_out == {"no label": 2}


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
