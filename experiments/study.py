"""How often the verdict is wrong: null and power studies over many emulated runs in virtual time.

With every plant at 0 a test of level 5 % may cry *deviates* in one run of twenty, with the miner's physics on and off;
at the strength that ``asiclab effects list`` calls detectable it has to find nine effects of ten.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.alarms import Alarms

ALPHA = 0.05
NULL_BAND = 0.99
"""The count of wrong alarms stays below this quantile of a binomial law of that level: 18 of 200."""
POWER_FLOOR = 0.85
"""Part of planted effects that has to be found: 170 of 200."""
POWER = 0.9
"""With which the listed strengths are found."""


@dataclass(frozen=True)
class Cell:
    """One kind of run of a study.

    Attributes:
        name: in the table.
        plants: planted effects, kind to strength.
        physics: whether the miner's physics is on; off means pure Poisson.
        model: ``s9`` or ``lv06``.
        shares: length of each run.
        period: time between jobs over the mean time between shares, where a clock sends them; None: every share does.
    """

    name: str
    plants: dict[str, float] = field(default_factory=dict)
    physics: bool = True
    model: str = "s9"
    shares: int | None = None
    period: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What a cell gave.

    Attributes:
        cell: the kind of run.
        seeds: number of runs.
        deviates: verdicts ``deviates``.
        cannot_tell: verdicts ``cannot_tell``.
        decided_by: the test with the smallest p-value of each run that deviates, counted.
        allowed: smallest and largest number of ``deviates`` that is fine.
    """

    cell: Cell
    seeds: int
    deviates: int
    cannot_tell: int
    decided_by: dict[str, int]
    allowed: tuple[int, int]

    @property
    def holds(self) -> bool:
        """Whether the count is as it should be."""
        return self.allowed[0] <= self.deviates <= self.allowed[1]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"holds": self.holds}


def null_cells() -> list[Cell]:
    """No effect planted, with the physics on and off."""
    return [Cell("null, physics on"), Cell("null, physics off", physics=False)]


def clock_cells() -> list[Cell]:
    """No effect planted, and jobs that a clock ends: most before their first share, or after many."""
    return [
        Cell(f"null, {model}, a new job every {period:g} intervals", model=model, shares=1500, period=period)
        for model in ("s9", "lv06")
        for period in (0.3, 1.0, 3.0, 10.0)
        if (model, period) != ("s9", 0.3)  # an S9 takes as long to load a job
    ]


def power_cells() -> list[Cell]:
    """Each effect at the strength that is listed as detectable."""
    from experiments.effects import listed_effects

    return [
        Cell(f"{effect.kind} = {effect.detectable:g} {effect.unit}", {effect.kind: effect.detectable})
        for effect in listed_effects()
        if effect.detectable is not None
        and effect.found_by == "asiclab stats"  # those that the verdict finds
    ]


def judge_seed(cell: Cell, seed: int) -> tuple[str, str | None]:
    """Draw one run and judge it: the verdict's code and the test that decided."""
    from firmware_bridge.emulator.model import get_model
    from firmware_bridge.emulator.physics import Physics
    from firmware_bridge.emulator.virtual import simulate
    from firmware_bridge.emulator.virtual_config import DEFAULT_SHARES, VirtualConfig
    from firmware_bridge.timing.verdict import judge

    config = VirtualConfig(
        model=cell.model,
        seed=seed,
        shares=cell.shares or DEFAULT_SHARES,
        plants=dict(cell.plants),
        physics=None if cell.physics else Physics.off(),
    )
    if cell.period is not None:
        mean_s = config.difficulty * 2.0**32 / (get_model(cell.model).capacity_ths * 1e12)
        config = replace(config, mode="stream", job_period_s=cell.period * mean_s)
    verdict = judge(simulate(config).to_run_data(), seed)
    return verdict.code, verdict.decided_by


def run_cells(
    cells: Sequence[Cell],
    seeds: int,
    *,
    first_seed: int = 0,
    workers: int = 2,
    on_done: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Judge ``seeds`` runs of each cell on several processes; the result depends on the seeds alone."""
    numbers = range(first_seed, first_seed + seeds)
    outcomes = []
    # spawned, because a forked child of a process with threads may hang
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for cell in cells:
            verdicts = list(
                pool.map(judge_seed, [cell] * seeds, numbers, chunksize=max(1, seeds // (4 * workers)))
            )
            outcome = _outcome(cell, verdicts)
            on_done(outcome)
            outcomes.append(outcome)
    return outcomes


def _outcome(cell: Cell, verdicts: Sequence[tuple[str, str | None]]) -> Outcome:
    codes = Counter(code for code, _ in verdicts)
    deciders = Counter(str(test) for code, test in verdicts if code == "deviates")
    return Outcome(
        cell,
        len(verdicts),
        codes["deviates"],
        codes["cannot_tell"],
        dict(deciders),
        allowed(cell, len(verdicts)),
    )


def allowed(cell: Cell, seeds: int) -> tuple[int, int]:
    """Numbers of ``deviates`` that are fine: a 99 % band above for a null, 85 % and more for a planted effect.

    A null may deviate less often than its level says, because the share of it that goes to tests without a cause is
    not used up.
    """
    return band(seeds, planted=any(cell.plants.values()), floor=POWER_FLOOR, power=POWER)


def band(runs: int, *, planted: bool, floor: float, power: float) -> tuple[int, int]:
    """Smallest and largest number of findings in so many runs that is fine.

    Args:
        runs: how many.
        planted: whether there is something to find; else every finding is a false alarm of level ``ALPHA``.
        floor: part of many runs that has to find it.
        power: with which few runs get the same chance of failing by luck.
    """
    from scipy.stats import binom

    if planted:
        return int(floor * runs) if runs >= 100 else int(binom.ppf(0.005, runs, power)), runs
    return 0, int(binom.ppf(NULL_BAND, runs, ALPHA))


def write_tables(outcomes: Iterable[Outcome], folder: Path) -> None:
    """Write ``study.json``, ``study.csv`` and ``study.md``."""
    rows = list(outcomes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(
        json.dumps([o.to_json() for o in rows], indent=2) + "\n", encoding="utf-8"
    )
    head = ("cell", "runs", "deviates", "allowed", "cannot tell", "holds")
    body = [
        (
            o.cell.name,
            o.seeds,
            o.deviates,
            f"{o.allowed[0]} to {o.allowed[1]}",
            o.cannot_tell,
            "yes" if o.holds else "NO",
        )
        for o in rows
    ]
    with (folder / "study.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *body])
    lines = [head, ("---",) * len(head), *body]
    text = "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)
    (folder / "study.md").write_text(f"# How often the verdict is wrong\n\n{text}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the studies at full size and write their table; 1 where a count is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m experiments.study", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="runs per cell")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--out", type=Path, default=Path("study-out"))
    parser.add_argument(
        "--experiments", nargs="*", metavar="NAME", help="of the catalogue; all if none is named"
    )
    parser.add_argument("--only-experiments", action="store_true", help="without the verdict on timing")
    parser.add_argument(
        "--counts",
        type=Path,
        metavar="FILE",
        help="counts of the experiments, which newer ones take the place of, and beside it their page; "
        "alarms.json beside the other tables",
    )
    chosen = parser.parse_args(arguments)

    def show(outcome: Outcome) -> None:
        low, high = outcome.allowed
        print(
            f"{outcome.cell.name}: {outcome.deviates} of {outcome.seeds} deviate ({low} to {high} are fine)",
            flush=True,
        )

    if chosen.only_experiments:
        outcomes = []
        chosen.out.mkdir(parents=True, exist_ok=True)
    else:
        outcomes = run_cells(
            [*null_cells(), *clock_cells(), *power_cells()],
            chosen.seeds,
            first_seed=chosen.first_seed,
            workers=chosen.workers,
            on_done=show,
        )
        write_tables(outcomes, chosen.out)
        print(f"Table: {chosen.out / 'study.md'}")
    counted = _catalogue(chosen) if chosen.only_experiments or chosen.experiments is not None else []
    return 0 if all(o.holds for o in outcomes) and all(alarms.holds for alarms in counted) else 1


def _catalogue(chosen: argparse.Namespace) -> list[Alarms]:
    """The same question of the experiments of the catalogue."""
    from experiments.alarms import count, markdown, merged, read_counts, write_counts
    from experiments.catalogue import catalogue, get_experiment

    file = chosen.counts or chosen.out / "alarms.json"
    page, before = file.with_suffix(".md"), read_counts(file)
    done: list[Alarms] = []

    def show(alarms: Alarms) -> None:
        low, high = alarms.allowed
        planted = ", ".join(f"{k} = {v:g}" for k, v in alarms.plants.items()) or "nothing planted"
        print(
            f"{alarms.experiment}, {planted}: {alarms.evidence} of {alarms.runs} say evidence "
            f"({low} to {high} are fine), {alarms.cpu_s:.2f} s of CPU each",
            flush=True,
        )
        # kept at once: an hour's counts must not go with a study that is stopped
        done.append(alarms)
        every = merged(before, done)
        write_counts(every, file)
        page.write_text(markdown(every), encoding="utf-8")

    named = [get_experiment(name) for name in chosen.experiments or ()] or list(catalogue().values())
    counted = count(named, chosen.seeds, first_seed=chosen.first_seed, workers=chosen.workers, on_done=show)
    print(f"Tables: {file}, {page}")
    return counted


if __name__ == "__main__":
    from firmware_bridge.errors import UserError

    try:
        raise SystemExit(main())
    except UserError as error:
        print(f"study: {error}", file=sys.stderr)
        raise SystemExit(2) from None
