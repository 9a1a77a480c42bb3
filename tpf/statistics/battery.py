"""The fixed list of tests, run on one table."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tpf.dataset import Dataset
from tpf.splits import forward_split, halves
from tpf.statistics import classifiers, contingency, distance, information, tvla
from tpf.statistics.outcome import (
    HALF_ALPHA,
    Z_EACH,
    Z_HALF,
    Z_POWER,
    Half,
    LeakageTest,
    holm,
    jackknife,
    left_out_note,
    spread_blocks,
)
from tpf.statistics.shifts import BlockShifts, BoolArray, FloatArray, IntArray, critical, p_value

PERMUTATIONS = 999
FEWER = 499
"""Rotations of the tests that cost most, and of all where there are more than ``MANY`` rows."""
IN_HALVES = 499
MANY = 200_000
INFORMATION_ROWS = 8_000
DISTANCE_ROWS = 1_280
TRAIN_ROWS = 60_000
"""Rows that the most expensive part of each test looks at; beyond that, blocks spread evenly over the time."""

TESTS = (
    "mutual_information",
    "tvla_first_order",
    "tvla_second_order",
    "chi_square",
    "distance_correlation",
    *(f"auc_{name}" for name in classifiers.CLASSIFIERS),
)
"""Every test, in the order of the report; Holm's correction counts all of them."""


@dataclass(frozen=True)
class Battery:
    """What the tests found.

    Attributes:
        tests: corrected, in the order of :data:`TESTS`.
        scored: later rows as each classifier sees them.
        d: difference of means of each feature in standard deviations, by name.
    """

    tests: tuple[LeakageTest, ...]
    scored: tuple[classifiers.Scored, ...]
    d: dict[str, float]


def run_battery(
    dataset: Dataset, *, alpha: float, seed: int, permutations: int = PERMUTATIONS, workers: int = 2
) -> Battery:
    """Run every test, correct for their number, and repeat in two halves what is left.

    Args:
        dataset: of both classes, every feature varying.
        alpha: level of the family.
        seed: of the rotations, of ties and of the classifiers.
        permutations: rotations of the labels.
        workers: threads; the result does not depend on it.
    """
    from threadpoolctl import threadpool_limits

    # what a classifier sets for the whole process is set here, before several of them run side by side
    with warnings.catch_warnings(), threadpool_limits(limits=1), ThreadPoolExecutor(workers) as pool:
        classifiers.quiet()
        return _Runner(dataset, alpha, seed, permutations).run(pool)


class _Runner:
    def __init__(self, dataset: Dataset, alpha: float, seed: int, permutations: int) -> None:
        self.data = dataset
        self.X, self.y, self.names = dataset.X, dataset.y, dataset.names
        self.alpha = alpha
        self.seed = seed
        self.permutations = min(permutations, FEWER) if dataset.n > MANY else permutations
        self.level = alpha / len(TESTS)
        self.halves = halves(dataset.n, gap=dataset.gap)

    def rng(self, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, stream])

    def shifts(self, n: int, permutations: int | None = None, stream: int = 0) -> BlockShifts:
        return BlockShifts(n, permutations or self.permutations, self.rng(stream))

    @cached_property
    def all_shifts(self) -> BlockShifts:
        """Of every row."""
        return self.shifts(self.data.n)

    def run(self, pool: ThreadPoolExecutor) -> Battery:
        # the longest first
        trained = [pool.submit(self.classifier, name) for name in reversed(classifiers.CLASSIFIERS)][::-1]
        t = tvla.welch(self.X, self.y, self.all_shifts)
        others = [
            pool.submit(self.information),
            pool.submit(self.welch, "tvla_first_order", t.first),
            pool.submit(self.welch, "tvla_second_order", t.second),
            pool.submit(self.chi_square),
            pool.submit(self.distance),
        ]
        found = [task.result() for task in others]
        scored = []
        for task in trained:
            test, result = task.result()
            found.append(test)
            scored.append(result)
        corrected = holm([test.p_value for test in found])
        tests = [replace(test, p_corrected=p) for test, p in zip(found, corrected, strict=True)]
        again = [pool.submit(self.replicate, test) for test in tests if test.p_corrected <= self.alpha]
        repeated = {test.name: test for test in (task.result() for task in again)}
        tests = [repeated.get(test.name, test) for test in tests]
        d = {
            name: tvla.cohen_d(float(value), self.y)
            for name, value in zip(self.names, np.nan_to_num(t.first[0]), strict=True)
        }
        return Battery(tuple(tests), tuple(scored), d)

    def interval(self, effect: Callable[[IntArray], float]) -> tuple[float, float] | None:
        """Jackknife interval of an effect of all rows; of very many, its width is taken from some of them."""
        rows = spread_blocks(self.data.n, MANY)
        found = jackknife(lambda part: effect(rows[part]), rows.size)
        if found is None or rows.size == self.data.n:
            return found
        whole = effect(np.arange(self.data.n))
        reach = (found[1] - found[0]) / 2 * float(np.sqrt(rows.size / self.data.n))
        return whole - reach, whole + reach

    # ---- one feature at a time ----

    def information(self) -> LeakageTest:
        rows = spread_blocks(self.data.n, INFORMATION_ROWS)
        X, y = self.X[rows], self.y[rows]
        shifts = self.shifts(rows.size, min(self.permutations, FEWER), 1)
        bits = information.mutual_information_bits(X, shifts.labels(y), self.rng(2))
        bias = bits.mean(axis=0)  # of the estimator on ranks, the same for all rotations
        most, lead = (bits - bias).max(axis=1), int((bits[0] - bias).argmax())
        usual = float(most[1:].mean())
        x = X[:, [lead]]

        def effect(part: IntArray) -> float:
            labels = y[part, None].astype(np.int8)
            one = information.mutual_information_bits(x[part], labels, self.rng(2))[0, 0]
            return float(one - bias[lead])

        return LeakageTest(
            "mutual_information",
            "does one feature tell anything of the class, whatever the form?",
            "largest mutual information of a feature, bits (KSG, k = 3, ranks; bias taken off)",
            float(most[0]),
            p_value(most),
            "bits beyond the mean of the null",
            effect(np.arange(rows.size)),
            jackknife(effect, rows.size),
            max(
                critical(most, self.level) - usual + Z_POWER * float(most[1:].std()),
                (Z_HALF + Z_EACH) * np.sqrt(2.0) * float(bits[1:, lead].std()),
            ),
            int(rows.size),
            lead=self.names[lead],
            note=left_out_note(rows, self.data.n),
        )

    def welch(self, name: str, t: FloatArray) -> LeakageTest:
        first = name == "tvla_first_order"
        most, lead = tvla.largest(t), int(np.nan_to_num(np.abs(t[0])).argmax())
        one = self.data.only([self.names[lead]])

        def t_of(part: IntArray | slice) -> float:
            y = one.y[part]
            value = tvla.welch(one.X[part], y, BlockShifts(y.size, 0, self.rng(0)))
            return float((value.first if first else value.second)[0, 0])

        def effect(part: IntArray) -> float:
            return tvla.cohen_d(t_of(part), one.y[part])

        parts = [t_of(half) for half in self.halves]
        threshold = max(tvla.CLASSICAL, tvla.sidak_threshold(len(self.names)))
        n1 = self.data.positives
        return LeakageTest(
            name,
            "do the classes differ in the mean of a feature?" if first else "do they differ in its variance?",
            "Welch's t, largest of the features",
            float(np.nan_to_num(t[0, lead])),
            p_value(most),
            "difference of means, standard deviations"
            if first
            else "difference of squared deviations, standard deviations",
            effect(np.arange(self.data.n)),
            self.interval(effect),
            tvla.detectable_d(t, self.level, n1, self.data.n - n1),
            self.data.n,
            lead=self.names[lead],
            detail={
                "threshold": threshold,
                "t_halves": parts,
                "standard_met": bool(
                    min(abs(p) for p in parts) > threshold and np.sign(parts[0]) == np.sign(parts[1])
                ),
            },
        )

    def chi_square(self) -> LeakageTest:
        from scipy.stats import chi2

        found = contingency.chi_square(self.X, self.y, self.all_shifts)
        most = found.largest()
        lead = int(found.standard()[0].argmax())
        x, df = self.X[:, [lead]], int(found.df[lead])
        value = float(found.statistic[0, lead])

        def effect(part: IntArray) -> float:
            one = contingency.chi_square(x[part], self.y[part], BlockShifts(part.size, 0, self.rng(0)))
            excess = float(one.statistic[0, 0]) - float(one.df[0])
            return float(np.sign(excess) * np.sqrt(abs(excess) / part.size))

        usable = df > 0 and np.isfinite(most[1:]).all()
        return LeakageTest(
            "chi_square",
            "do the classes fill the bins of a feature alike?",
            f"chi-square of {df + 1} bins that were set without the labels, largest of the features",
            value,
            p_value(most) if usable else 1.0,
            "Cramér's V, bias taken off",
            effect(np.arange(self.data.n)),
            self.interval(effect),
            contingency.detectable_v(critical(most, self.level), df, self.data.n) if usable else None,
            self.data.n,
            lead=self.names[lead],
            detail={
                "df": df,
                "p_of_distribution": float(chi2.sf(value, max(df, 1))),
                "standard_met": bool(chi2.sf(value, max(df, 1)) < contingency.STANDARD_P / len(self.names)),
            },
        )

    # ---- all features together ----

    def distance(self) -> LeakageTest:
        rows = spread_blocks(self.data.n, DISTANCE_ROWS)
        points = distance.normal_scores(self.X[rows])
        y = self.y[rows]
        if y.all() or not y.any():  # the few rows looked at may miss a rare class
            return _not_run("distance_correlation", "the rows that it looks at have a single class")
        centred = distance.centred_distances(points)
        values = distance.distance_correlations(centred, y, self.shifts(rows.size, stream=3))
        square = values**2
        usual = float(square[1:].mean())

        def effect(part: IntArray) -> float:
            one = distance.squared_correlation(centred, y, part)
            return float(np.sign(one - usual) * np.sqrt(abs(one - usual)))

        spread = float(square[1:].std())
        beyond = critical(square, self.level) - usual + Z_POWER * spread
        # half the rows, twice the null; where all rows are not looked at, a half has as many
        less = 2.0 if rows.size == self.data.n else 1.0
        beyond = max(beyond, less * (critical(square, HALF_ALPHA) - usual + Z_EACH * spread))
        return LeakageTest(
            "distance_correlation",
            "do the classes differ in anything that all features say together?",
            "distance correlation of the normal scores of all features",
            float(values[0]),
            p_value(values),
            "distance correlation, the mean of the null taken off",
            effect(np.arange(rows.size)),
            jackknife(effect, rows.size),
            float(np.sqrt(max(beyond, 0.0))),
            int(rows.size),
            note=left_out_note(rows, self.data.n),
        )

    def classifier(self, name: str) -> tuple[LeakageTest, classifiers.Scored]:
        scored, note = self.score(name, slice(0, self.data.n), validate=True)
        test_name = f"auc_{name}"
        if scored.y.all() or not scored.y.any():
            return _not_run(test_name, "the later rows have a single class"), scored
        areas = classifiers.auc_under_shifts(scored.score, scored.y, self.shifts(scored.y.size, stream=4))

        def effect(part: IntArray) -> float:
            return classifiers.auc(scored.score[part], scored.y[part]) - 0.5

        spread = float(areas[1:].std())
        test = LeakageTest(
            test_name,
            "does a classifier that was trained on earlier rows rank later ones better than a constant?",
            "area under the ROC curve",
            float(areas[0]),
            p_value(areas) if spread > 0 else 1.0,
            "area beyond one half",
            float(areas[0]) - 0.5,
            jackknife(effect, scored.y.size),
            max(
                critical(areas, self.level) - 0.5 + Z_POWER * spread,
                (Z_HALF + Z_EACH) * np.sqrt(2.0) * spread,
            )
            if spread > 0
            else None,
            int(scored.y.size),
            detail={
                "accuracy": scored.correct / scored.y.size,
                "constant_accuracy": scored.constant_correct / scored.y.size,
                "trained_on": scored.trained_on,
            },
            note=note,
        )
        return test, scored

    def score(self, name: str, part: slice, *, validate: bool) -> tuple[classifiers.Scored, str | None]:
        split = forward_split(self.data.n, gap=self.data.gap, start=part.start, stop=part.stop)
        few = spread_blocks(split.train.size, TRAIN_ROWS)
        late = spread_blocks(split.test.size, MANY)
        note = None
        if few.size < split.train.size or late.size < split.test.size:
            note = (
                f"trained on {few.size} of {split.train.size} earlier rows, scored on {late.size} of "
                f"{split.test.size} later ones, in blocks spread evenly over the time"
            )
        split = replace(split, train=split.train[few], test=split.test[late])
        return classifiers.score_later(name, self.X, self.y, split, self.seed, validate=validate), note

    # ---- again, in two halves ----

    def replicate(self, test: LeakageTest) -> LeakageTest:
        again = self.again(test)
        if again is None:
            return test
        parts: list[Half] = []
        for half in self.halves:
            y = self.y[half]
            if min(y.sum(), (~y).sum()) < 5:
                return test
            parts.append(again(half))
        agree = np.sign(parts[0].effect) == np.sign(parts[1].effect)
        if test.lead is not None:
            agree &= np.sign(parts[0].effect) == np.sign(test.effect)
        held = bool(agree and all(half.p_value <= HALF_ALPHA for half in parts))
        return replace(test, halves=(parts[0], parts[1]), replicated=held)

    def again(self, test: LeakageTest) -> Callable[[slice], Half] | None:
        lead = None if test.lead is None else self.names.index(test.lead)

        def column(half: slice) -> tuple[FloatArray, BoolArray, BlockShifts]:
            y = self.y[half]
            assert lead is not None
            return self.X[half][:, [lead]], y, self.shifts(y.size, IN_HALVES, 5)

        def of_information(half: slice) -> Half:
            x, y, _ = column(half)
            rows = spread_blocks(y.size, INFORMATION_ROWS)
            labels = self.shifts(rows.size, IN_HALVES, 5).labels(y[rows])
            bits = information.mutual_information_bits(x[rows], labels, self.rng(6))[:, 0]
            return Half(float(bits[0] - bits[1:].mean()), p_value(bits))

        def of_welch(half: slice) -> Half:
            x, y, shifts = column(half)
            both = tvla.welch(x, y, shifts)
            t = both.first if test.name == "tvla_first_order" else both.second
            return Half(tvla.cohen_d(float(np.nan_to_num(t[0, 0])), y), p_value(tvla.largest(t)))

        def of_chi_square(half: slice) -> Half:
            x, y, shifts = column(half)
            found = contingency.chi_square(x, y, shifts)
            excess = float(found.statistic[0, 0] - found.df[0])
            return Half(float(np.sign(excess) * np.sqrt(abs(excess) / y.size)), p_value(found.largest()))

        def of_distance(half: slice) -> Half:
            X, y = self.X[half], self.y[half]
            rows = spread_blocks(y.size, DISTANCE_ROWS)
            centred = distance.centred_distances(distance.normal_scores(X[rows]))
            values = distance.distance_correlations(centred, y[rows], self.shifts(rows.size, IN_HALVES, 5))
            return Half(float(values[0] - values[1:].mean()), p_value(values))

        def of_classifier(half: slice) -> Half:
            scored, _ = self.score(test.name.removeprefix("auc_"), half, validate=False)
            if scored.y.all() or not scored.y.any():
                return Half(0.0, 1.0)
            areas = classifiers.auc_under_shifts(
                scored.score, scored.y, self.shifts(scored.y.size, IN_HALVES, 5)
            )
            return Half(float(areas[0]) - 0.5, p_value(areas) if areas.std() > 0 else 1.0)

        known: dict[str, Callable[[slice], Half]] = {
            "mutual_information": of_information,
            "tvla_first_order": of_welch,
            "tvla_second_order": of_welch,
            "chi_square": of_chi_square,
            "distance_correlation": of_distance,
        }
        if test.name.startswith("auc_"):
            return of_classifier
        return known.get(test.name)


def _not_run(name: str, why: str) -> LeakageTest:
    nan = float("nan")
    return LeakageTest(name, why, "not run", nan, 1.0, "none", nan, None, None, 0, note=why)
