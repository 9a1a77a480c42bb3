"""Recordings side by side: mean interval, CV, verdict, and whether their intervals have one distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from experiments.differences import Difference, difference_ci
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from firmware_bridge.timing.run_data import FloatArray, RunData
    from firmware_bridge.timing.two_runs import Moments, SameLaw

LAW_NULL = (
    "Both recordings come from one stationary process: blocks of 25 neighbouring intervals can be exchanged between "
    "them. The largest difference of the distribution functions is held against that after blocks were dealt out anew."
)


@dataclass(frozen=True)
class Timing:
    """A recording, as far as its timing can be compared.

    Attributes:
        run: its id.
        source: kind and source of it, in words.
        miners: that have shares in it.
        moments: mean interval and CV.
        verdict: code of the verdict on it.
        text: the verdict in words.
    """

    run: str
    source: str
    miners: int
    moments: Moments
    verdict: str
    text: str


@dataclass(frozen=True)
class Laws:
    """Whether a recording has the distribution of intervals of the first.

    Attributes:
        run: its id.
        to: id of the first.
        law: the test on the intervals in ms; None where one is too short.
        shape: the test on intervals in units of their mean.
        p_corrected: smaller p of both, times the number of tests in the table (Bonferroni).
        note: what it comes to.
    """

    run: str
    to: str
    law: SameLaw | None
    shape: SameLaw | None
    p_corrected: float | None
    note: str


@dataclass(frozen=True)
class Timings:
    """Recordings side by side.

    Attributes:
        runs: in the order asked for.
        differences: of mean interval and CV, of each but the first.
        laws: likewise.
        intervals_ms: intervals of each, for drawing.
    """

    runs: tuple[Timing, ...]
    differences: tuple[Difference, ...]
    laws: tuple[Laws, ...]
    intervals_ms: tuple[FloatArray, ...]
    kind = "recordings"

    def to_json(self) -> dict[str, Any]:
        """Plain data, without the intervals."""
        told = {
            name: [asdict(item) for item in getattr(self, name)] for name in ("runs", "differences", "laws")
        }
        return {"kind": self.kind, **told, "null": LAW_NULL}


def compare_recordings(db: str, ids: Sequence[str], seed: int) -> Timings:
    """Hold recordings against the first of them.

    Args:
        db: where they are.
        ids: of the runs.
        seed: of bootstrap and permutations.

    Raises:
        UserError: if a run has no intervals.
    """
    import numpy as np

    from firmware_bridge.timing.intervals import load_run
    from firmware_bridge.timing.two_runs import moments, same_law
    from firmware_bridge.timing.verdict import judge
    from firmware_bridge.trace.reader import TraceReader

    reader = TraceReader(db)
    runs, segments = [], []
    for number, run in enumerate(ids):
        data = load_run(reader, reader.resolve(run))
        if data.n < 2:
            raise UserError(f"run {run} has {data.n} shares that verify: it has no intervals to compare")
        own = data.intervals().segments
        verdict = judge(data, seed)
        segments.append(own)
        runs.append(
            Timing(
                run,
                _source(data, reader.run(reader.resolve(run))),
                len(data.miner_numbers()),
                moments(own, np.random.default_rng([seed, 1, number])),
                verdict.code,
                verdict.text,
            )
        )
    tests = 2 * (len(ids) - 1)
    laws, differences = [], []
    for number, (timing, own) in enumerate(zip(runs[1:], segments[1:], strict=True)):
        law, shape = (
            same_law(segments[0], own, np.random.default_rng([seed, 2 + scaled, number]), scaled=bool(scaled))
            for scaled in (0, 1)
        )
        laws.append(_laws(runs[0], timing, law, shape, tests))
        differences += [_moved(runs[0], timing, name) for name in ("mean_ms", "cv")]
    return Timings(
        tuple(runs), tuple(differences), tuple(laws), tuple(np.concatenate(own) for own in segments)
    )


def _source(data: RunData, row: Mapping[str, Any]) -> str:
    models = sorted({info.model or info.name or "" for info in data.miners.values()})
    return f"{row['kind']}, {', '.join(filter(None, models)) or row['source']}"


def _laws(first: Timing, own: Timing, law: SameLaw | None, shape: SameLaw | None, tests: int) -> Laws:
    if law is None or shape is None:
        return Laws(
            own.run, first.run, law, shape, None, "cannot tell: a run has fewer than 8 blocks of 25 intervals"
        )
    p_value = min(1.0, tests * min(law.p_value, shape.p_value))
    if p_value > 0.05:
        note = (
            f"no difference shown (p = {p_value:.2g}); distribution functions that are {law.null_95:.3f} apart would "
            "be one by chance in twenty"
        )
    elif shape.p_value * tests <= 0.05:
        note = f"the distributions differ, and not by their mean alone (p = {p_value:.2g})"
    else:
        note = f"the distributions differ, as far as shown by their mean alone (p = {p_value:.2g})"
    return Laws(own.run, first.run, law, shape, p_value, note)


def _moved(first: Timing, own: Timing, name: str) -> Difference:
    what = {"mean_ms": "mean interval, ms", "cv": "CV"}[name]
    ci = {"mean_ms": "mean_ci", "cv": "cv_ci"}[name]
    a, b = getattr(first.moments, name), getattr(own.moments, name)
    a_ci, b_ci = getattr(first.moments, ci), getattr(own.moments, ci)
    if a is None or b is None:
        return Difference(own.run, first.run, what, None, None, "a run has no value of it")
    if a_ci is None or b_ci is None:
        return Difference(own.run, first.run, what, b - a, None, "no interval: a run is too short for one")
    return Difference(
        own.run,
        first.run,
        what,
        b - a,
        difference_ci(a, a_ci, b, b_ci),
        "interval from both, which are independent",
    )
