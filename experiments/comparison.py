"""Stored runs side by side: of experiments by their findings, recordings by their timing. One kind at a time."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.compared_findings import Findings, compare_findings
from experiments.compared_recordings import Timings, compare_recordings
from experiments.results import NoRunsError, Results
from firmware_bridge.errors import UserError


def compare(db: str, names: Sequence[str], *, seed: int = 0) -> Findings | Timings:
    """Hold runs against the first of them.

    Args:
        db: where all of them are.
        names: ids, unique prefixes, or ``latest``; all runs of experiments, or all recordings.
        seed: of bootstrap and permutations of recordings.

    Raises:
        UserError: if a name fits none or several, a run is named twice, or both kinds are named.
    """
    if len(names) < 2:
        raise UserError("comparing takes at least two runs; see: asiclab experiments runs, asiclab runs")
    found = [_candidates(db, name) for name in names]
    kinds = {kind for kind in ("experiments", "recordings") if all(kind in each for each in found)}
    if not kinds:
        of = {name: " and ".join(sorted(each)) for name, each in zip(names, found, strict=True)}
        raise UserError(
            "a run of an experiment and a recording cannot be compared: "
            + ", ".join(f"{name} is of the {kind}" for name, kind in of.items())
        )
    kind = "experiments" if "experiments" in kinds else "recordings"
    ids = [each[kind] for each in found]
    twice = sorted({run for run in ids if ids.count(run) > 1})
    if twice:
        raise UserError(f"run {', '.join(twice)} is named twice")
    return compare_findings(db, ids) if kind == "experiments" else compare_recordings(db, ids, seed)


def _candidates(db: str, name: str) -> dict[str, str]:
    """What a name stands for, by kind.

    Raises:
        UserError: if it fits none, or several of each kind.
    """
    from firmware_bridge.trace.reader import TraceReader

    found, why = {}, []
    try:
        with Results(db, create=False) as results:
            found["experiments"] = results.find(name).run_id
    except NoRunsError:
        pass
    except UserError as error:
        why.append(str(error))
    try:
        reader = TraceReader(db)
        found["recordings"] = str(reader.run(reader.resolve(name))["run_id"])
    except UserError as error:
        why.append(str(error))
    if not found:
        raise UserError("; ".join(dict.fromkeys(why)))
    return found
