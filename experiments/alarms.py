"""How often an experiment of the catalogue says *evidence*: with nothing planted, and at its stated strength.

An alarm of level 5 % may sound in at most 18 of 200 runs (the 99 % point of the binomial law); the planted effect that
an experiment names has to be found in at least 160 of 200.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.experiment import ALPHA, EVIDENCE, FAST, SUBJECT, Experiment
from experiments.power import POWER
from firmware_bridge.errors import UserError


@dataclass(frozen=True)
class Alarms:
    """What many runs of one experiment said.

    Attributes:
        experiment: its name.
        plants: what was planted.
        runs: how many.
        evidence: how many said *evidence*.
        codes: how often each code was said.
        cpu_s: CPU time of a run.
        first_seed: of so many seeds in a row.
    """

    experiment: str
    plants: Mapping[str, float]
    runs: int
    evidence: int
    codes: Mapping[str, int] = field(default_factory=dict)
    cpu_s: float = 0.0
    first_seed: int = 0

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Alarms:
        """From what :meth:`to_json` gives.

        Raises:
            KeyError, TypeError: if it is not that.
        """
        names = ("experiment", "plants", "runs", "evidence", "codes", "cpu_s", "first_seed")
        return cls(**{name: told[name] for name in names})

    @property
    def allowed(self) -> tuple[int, int]:
        """Smallest and largest number of *evidence* that is fine."""
        from experiments.study import band

        return band(self.runs, planted=any(self.plants.values()), floor=POWER, power=POWER)

    @property
    def holds(self) -> bool:
        """Whether the count is as it should be."""
        return self.allowed[0] <= self.evidence <= self.allowed[1]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "experiment": self.experiment,
            "plants": dict(self.plants),
            "runs": self.runs,
            "evidence": self.evidence,
            "allowed": list(self.allowed),
            "codes": dict(self.codes),
            "cpu_s": self.cpu_s,
            "first_seed": self.first_seed,
            "holds": self.holds,
        }


def say(name: str, plants: Mapping[str, float], seed: int) -> tuple[str, float]:
    """Code of one fast run without its placebo arm, and its CPU time in s."""
    from experiments.catalogue import get_experiment
    from experiments.experiment import Row
    from experiments.plan import make_plan
    from experiments.runner import measure
    from experiments.subjects import Emulated

    began_s = time.process_time()
    experiment = get_experiment(name)
    subject = Emulated(experiment.models[0], plants)
    plan = make_plan(experiment, subject, size=FAST, seed=seed)
    rows = [Row(cell, measure(name, subject, cell)[1]) for cell in plan.cells if cell.arm == SUBJECT]
    return experiment.conclude(rows).code, time.process_time() - began_s


def studied(experiment: Experiment) -> list[dict[str, float]]:
    """Plants to study an emulated experiment with: none, and the one that it says it finds."""
    if "emulator" not in experiment.kinds:
        return []
    return [{}] if experiment.effect is None else [{}, dict([experiment.effect])]


def count(
    experiments: Sequence[Experiment],
    runs: int,
    *,
    first_seed: int = 0,
    workers: int = 2,
    on_done: Callable[[Alarms], None] = lambda alarms: None,
) -> list[Alarms]:
    """Run every experiment ``runs`` times with and without its effect; the counts depend on the seeds alone."""
    found = []
    seeds = range(first_seed, first_seed + runs)
    # spawned, because a forked child of a process with threads may hang
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for experiment in experiments:
            for plants in studied(experiment):
                said = list(
                    pool.map(
                        say,
                        [experiment.name] * runs,
                        [plants] * runs,
                        seeds,
                        chunksize=max(1, runs // (4 * workers)),
                    )
                )
                codes = [code for code, _ in said]
                alarms = Alarms(
                    experiment.name,
                    plants,
                    runs,
                    codes.count(EVIDENCE),
                    {code: codes.count(code) for code in sorted(set(codes))},
                    sum(cpu_s for _, cpu_s in said) / runs,
                    first_seed,
                )
                on_done(alarms)
                found.append(alarms)
    return found


def read_counts(file: Path) -> list[Alarms]:
    """Counts that were written before; none where there is no file.

    Raises:
        UserError: if the file is something else.
    """
    if not file.exists():
        return []
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(kept, list):
            raise TypeError("no list")
        return [Alarms.from_json(told) for told in kept]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: is no table of counts ({error}); move it away") from None


def merged(before: Sequence[Alarms], newer: Sequence[Alarms]) -> list[Alarms]:
    """The newest count of each experiment and plant, by name, without a plant first."""
    counts = {(a.experiment, tuple(sorted(a.plants.items()))): a for a in (*before, *newer)}
    return [counts[key] for key in sorted(counts)]


def write_counts(counted: Sequence[Alarms], file: Path) -> None:
    """Keep counts as JSON."""
    text = json.dumps([alarms.to_json() for alarms in counted], indent=2)
    file.write_text(text + "\n", encoding="utf-8")


def markdown(counted: Sequence[Alarms]) -> str:
    """The page docs/alarms.md."""
    from scipy.stats import binom

    from experiments.catalogue import catalogue

    by_name: dict[str, list[Alarms]] = {}
    for alarms in counted:
        by_name.setdefault(alarms.experiment, []).append(alarms)
    outside = float(binom.sf(18, 200, ALPHA))
    lines = [
        "# How often the experiments are wrong",
        "",
        "Written by `make study` from counts; nothing here is typed. Each experiment is run on emulated miners in its "
        "size `fast`, without its placebo arm, once for each seed: with nothing planted, where `evidence` is a false "
        f"alarm and {ALPHA:.0%} are meant, and with the effect that it says it finds, where at least {POWER:.0%} are "
        f"meant. A count outside is marked: more than 18 of 200 false alarms, which an experiment of exactly "
        f"{ALPHA:.0%} has in {outside:.1%} of such counts, or fewer than 160 of 200 found.",
        "",
        "| experiment | false alarms | rate, 95 % | planted | found | rate, 95 % | seeds from | CPU, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, own in by_name.items():
        null = next((a for a in own if not a.plants), None)
        planted: list[Alarms | None] = [a for a in own if a.plants] or [None]
        lines += [_line(name, null if number == 0 else None, one) for number, one in enumerate(planted)]
    missing = [e.name for e in catalogue().values() if studied(e) and e.name not in by_name]
    if missing:
        lines += ["", f"Not counted: {', '.join(missing)}."]
    return "\n".join(lines) + "\n"


def _line(name: str, null: Alarms | None, planted: Alarms | None) -> str:
    cells = [f"`{name}`", *_cells(null)]
    effect = "–" if planted is None else ", ".join(f"`{k}={v:g}`" for k, v in planted.plants.items())
    cells += [effect, *_cells(planted)]
    known = [alarms for alarms in (null, planted) if alarms is not None]
    cells += [
        ", ".join(dict.fromkeys(str(a.first_seed) for a in known)),
        f"{max(a.cpu_s for a in known):.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def _cells(alarms: Alarms | None) -> list[str]:
    from scipy.stats import binomtest

    if alarms is None:
        return ["–", "–"]
    ci = binomtest(alarms.evidence, alarms.runs).proportion_ci(0.95, "exact")
    mark = "" if alarms.holds else " (outside)"
    return [
        f"{alarms.evidence} of {alarms.runs}{mark}",
        f"{alarms.evidence / alarms.runs:.1%} ({ci.low:.1%} to {ci.high:.1%})",
    ]
