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
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ALPHA = 0.05
NULL_BAND = 0.99
"""The count of wrong alarms stays below this quantile of a binomial law of that level: 18 of 200."""
POWER_FLOOR = 0.85
"""Part of planted effects that has to be found: 170 of 200."""


@dataclass(frozen=True)
class Cell:
    """One kind of run of a study.

    Attributes:
        name: in the table.
        plants: planted effects, kind to strength.
        physics: whether the miner's physics is on; off means pure Poisson.
        model: ``s9`` or ``lv06``.
        shares: length of each run.
    """

    name: str
    plants: dict[str, float] = field(default_factory=dict)
    physics: bool = True
    model: str = "s9"
    shares: int | None = None


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


def power_cells() -> list[Cell]:
    """Each effect at the strength that is listed as detectable."""
    from experiments.effects import listed_effects

    return [
        Cell(f"{effect.kind} = {effect.detectable:g} {effect.unit}", {effect.kind: effect.detectable})
        for effect in listed_effects()
        if effect.detectable is not None and effect.shares is not None  # those that the verdict finds
    ]


def judge_seed(cell: Cell, seed: int) -> tuple[str, str | None]:
    """Draw one run and judge it: the verdict's code and the test that decided."""
    from firmware_bridge.emulator.physics import Physics
    from firmware_bridge.emulator.virtual import DEFAULT_SHARES, VirtualConfig, simulate
    from firmware_bridge.timing.verdict import judge

    config = VirtualConfig(
        model=cell.model,
        seed=seed,
        shares=cell.shares or DEFAULT_SHARES,
        plants=dict(cell.plants),
        physics=None if cell.physics else Physics.off(),
    )
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
    from scipy.stats import binom

    if any(cell.plants.values()):
        # at 200 seeds this is 170; fewer seeds get the same chance of failing by luck
        least = int(POWER_FLOOR * seeds) if seeds >= 100 else int(binom.ppf(0.005, seeds, 0.9))
        return least, seeds
    return 0, int(binom.ppf(NULL_BAND, seeds, ALPHA))


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
    chosen = parser.parse_args(arguments)

    def show(outcome: Outcome) -> None:
        low, high = outcome.allowed
        print(
            f"{outcome.cell.name}: {outcome.deviates} of {outcome.seeds} deviate ({low} to {high} are fine)",
            flush=True,
        )

    outcomes = run_cells(
        [*null_cells(), *power_cells()],
        chosen.seeds,
        first_seed=chosen.first_seed,
        workers=chosen.workers,
        on_done=show,
    )
    write_tables(outcomes, chosen.out)
    print(f"Table: {chosen.out / 'study.md'}")
    return 0 if all(outcome.holds for outcome in outcomes) else 1


if __name__ == "__main__":
    raise SystemExit(main())
