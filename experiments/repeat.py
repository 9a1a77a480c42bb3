"""How a stored run of an experiment is made again: on what, by which command, and whether as the same plan."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from experiments.results import StoredRun
from experiments.several import runs_of, several_of
from firmware_bridge.errors import LabError

if TYPE_CHECKING:
    from experiments.subjects import Subject


def command(stored: StoredRun) -> str:
    """Command line that makes the same plan again."""
    words = ["asiclab", "run", stored.experiment, "--size", stored.size, "--seed", str(stored.seed)]
    return shlex.join([*words, *_options(stored.plan["subject"])])


def _options(told: Mapping[str, Any]) -> list[str]:
    if "devices" in told and told["kind"] == "trace":
        return [word for run in runs_of(told) for word in ("--trace", run)]
    if "runs" in told:
        return [word for run in told["runs"] for word in ("--trace", run)]
    if "devices" in told:
        devices = [word for one in told["devices"] for word in ("--device", one["device"])]
        return [*devices, *_waiting(told["devices"][0]), *_place([one["device"] for one in told["devices"]])]
    if told["kind"] == "trace":
        return ["--trace", told["run"]]
    planted = [
        word for kind, strength in told["plants"].items() for word in ("--plant", f"{kind}={strength:g}")
    ]
    changed = [word for name, value in told["physics"].items() for word in ("--physics", f"{name}={value}")]
    if told["kind"] == "emulator":
        return ["--emulate", told["model"], *planted, *changed]
    if told["device"].startswith("emulate:"):
        return ["--emulate", told["model"], "--time", "wall", *planted, *changed, *_waiting(told)]
    return ["--device", told["device"], *_waiting(told), *_place([told["device"]])]


def _waiting(told: Mapping[str, Any]) -> list[str]:
    """Options of the times that belong to the plan, where they are not the usual ones."""
    from experiments.attached import SETTLE_S

    settle_s, period_s = told.get("settle_s", SETTLE_S), told.get("period_s")
    settle = [] if settle_s == SETTLE_S else ["--settle", f"{settle_s:g}"]
    return settle if period_s is None else [*settle, "--job-period", f"{period_s:g}"]


def _place(devices: list[str]) -> list[str]:
    """What a device in the network needs besides: where it reaches this host, which no plan tells, and consent."""
    from experiments.attached import in_network, is_local

    if not any(in_network(device) for device in devices):
        return []
    return ["--yes"] if all(is_local(device) for device in devices) else ["--host", "THIS_HOST", "--yes"]


def subject_words(told: Mapping[str, Any]) -> str:
    """What a run was made on, from the plan."""
    kind = "emulated " if is_emulated(told) else ""
    if "devices" in told:
        what = f"{len(told['devices'])} {kind}devices of model {told['model']}: {', '.join(_names(told))}"
    elif "runs" in told:
        what = f"{len(told['runs'])} stored runs of an {kind}{told['model']}: {', '.join(told['runs'])}"
    elif told["kind"] == "trace":
        what = f"stored run {told['run']} of an {kind}{told['model']}, {told['shares']} shares"
    elif told["kind"] == "emulator":
        what = f"emulated {told['model']}"
    else:
        what = f"emulated {told['model']} in wall time" if kind else f"device {told['device']}"
    planted = ", ".join(f"{kind} = {strength:g}" for kind, strength in told.get("plants", {}).items())
    changed = ", ".join(f"{name} = {value}" for name, value in told.get("physics", {}).items())
    return what + (f", planted {planted}" if planted else "") + (f", with {changed}" if changed else "")


def is_emulated(told: Mapping[str, Any]) -> bool:
    """Whether a run was made on an emulated miner, also where its shares came over a socket or were stored before."""
    return (
        told["kind"] == "emulator"
        or bool(told.get("emulated"))
        or str(told.get("device", "")).startswith("emulate:")
    )


def _names(told: Mapping[str, Any]) -> list[str]:
    return [str(one["device"] if told["kind"] == "device" else one["name"]) for one in told["devices"]]


def same_plan(stored: StoredRun, db: str) -> bool | None:
    """Whether this version of the lab makes the plan with the digest of the stored one; None where it makes none."""
    from experiments.catalogue import get_experiment
    from experiments.plan import make_plan

    try:
        plan = make_plan(
            get_experiment(stored.experiment),
            _subject(stored.experiment, stored.plan["subject"], db),
            size=stored.size,
            seed=stored.seed,
        )
    except LabError:
        return None
    return plan.digest == stored.digest


def _subject(name: str, told: Mapping[str, Any], db: str) -> Subject:
    from experiments.attached import planned
    from experiments.catalogue import get_experiment
    from experiments.subjects import Emulated, Recorded

    if "devices" in told:
        return several_of(db, told)
    together = get_experiment(name).together
    if "runs" in told and together is not None:
        return together(db, told["runs"])
    if told["kind"] == "trace":
        emulated, plants = told.get("emulated", False), told.get("plants", {})
        return Recorded(db, told["run"], told["model"], told["shares"], emulated, plants)
    if told["kind"] == "emulator":
        return Emulated(told["model"], told["plants"], told["physics"])
    return planned(db, told)
