"""Runs that carry an input: emulated ones are made here, stored ones read back, and both become states.

What is scored is always a stored run: an emulated one is written into the trace first, and a recording that nobody
drove has the symbols of its own jobs for an input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.narma_plan import (
    DUTY_FASTER,
    NARMA_RANGE,
    OBSERVE,
    PERIOD_S,
    TASK_STREAM,
    Plan,
)
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from firmware_bridge.emulator.physics import Physics
    from firmware_bridge.emulator.program import Step
    from firmware_bridge.emulator.virtual_config import VirtualConfig
    from firmware_bridge.emulator.virtual_trace import VirtualTrace
    from firmware_bridge.trace.reader import TraceReader
    from firmware_bridge.trace.writer import TraceWriter
    from reservoir.encoding import Encoding
    from reservoir.observation import Observation
    from reservoir.steps import Readings, Steps
    from reservoir.tasks import Task

# ---- driving ---------------------------------------------------------------------------------------------------------


def emulation(
    plan: Plan, model: str, plants: Mapping[str, float] | None = None, physics: Physics | None = None
) -> VirtualConfig:
    """The virtual run that sends a plan's input to an emulated miner."""
    return driven_run(plan.on(model), plan.draw(), model, dict(plants or {}), physics, plan.seed)


def driven_run(
    plan: Plan,
    task: Task,
    model: str,
    plants: dict[str, float],
    physics: Physics | None,
    seed: int,
    encoding: Encoding | None = None,
    difficulty: float = 256.0,
) -> VirtualConfig:
    """The virtual run that sends the input of a task; the plan is one for the model (:meth:`Plan.on`)."""
    from firmware_bridge.emulator.drive import Drive
    from firmware_bridge.emulator.virtual_config import VirtualConfig

    encoding = plan.encoding(task) if encoding is None else encoding
    # the last step ends when one more job is sent
    symbols = (*encoding.base(plan.sent(task)).ravel().tolist(), 0.5)
    bounds = {"low": encoding.d_low, "high": encoding.d_high} if encoding.carries_difficulty else {}
    drive = Drive(symbols, field=plan.encode, feedback=encoding.feedback, slots=encoding.slots, **bounds)
    period_s = plan.period_s or PERIOD_S.get(model, VirtualConfig.job_period_s) / (
        DUTY_FASTER if plan.encode == "duty" else 1
    )
    program: tuple[Step, ...] = ()
    if plan.swing is not None:
        from firmware_bridge.emulator.physics import Physics
        from firmware_bridge.emulator.program import Step as HeldFor

        program = tuple(HeldFor(period_s, **encoding.setting(symbol)) for symbol in symbols)
        physics = Physics.of(model) if physics is None else physics
        readings = period_s / physics.telemetry_period_s
        if readings < 1.0 or abs(readings - round(readings)) > 1e-9:
            physics = replace(physics, telemetry_period_s=period_s)  # at least one reading per step
    return VirtualConfig(
        model=model,
        shares=None,
        seed=seed,
        difficulty=difficulty,
        mode="swh" if plan.mode == "dialogue" else "stream",
        job_period_s=period_s,
        plants=plants,
        physics=physics,
        program=program,
        drive=drive,
    )


def write_run(
    plan: Plan, config: VirtualConfig, writer: TraceWriter, *, cli: Mapping[str, Any] | None = None
) -> str:
    """Emulate into a trace, with the plan and the command line in the run's record; returns the run's id."""
    from firmware_bridge.emulator.virtual import run_virtual
    from firmware_bridge.emulator.virtual_config import settings_of

    run = run_virtual(config, writer)
    told = {"task": plan.task, "mode": plan.mode, "seed": plan.seed, "steps": plan.steps, "mask": plan.mask}
    told["lead"] = plan.lead
    encoding = plan.on(config.model).encoding(plan.draw()).to_json()
    said = {} if cli is None else {"cli": dict(cli)}
    run.update(config={**settings_of(config), **said, "narma": {**told, "encoding": encoding}})
    return run.run_id


# ---- reading back ----------------------------------------------------------------------------------------------------


def steps_of_emulation(config: VirtualConfig, *, slots: int = 1, observe: Sequence[str] = ()) -> Steps:
    """Steps of a virtual run that no trace needs to keep, ``slots`` jobs each.

    Args:
        config: of the run.
        slots: V, jobs per step.
        observe: what will be observed; chips, cores and telemetry are worked out only where it needs them.
    """
    from firmware_bridge.emulator.virtual import simulate
    from reservoir.steps import Jobs, Shares, positions, steps_of

    trace = simulate(config)
    kinds = {kind.partition(":")[0] for kind in observe}
    found = (
        positions(trace.to_run_data()) if kinds & {"chip", "core", "chip_arrival", "core_arrival"} else None
    )
    chip, core = found or (None, None)
    return steps_of(
        Jobs(trace.job_sent_ns, trace.symbol, trace.job_difficulty),
        Shares(
            trace.row_job,
            trace.row_ns,
            response_ns=trace.response_ns,
            since_notify_ns=trace.since_notify_ns,
            difficulty=trace.difficulty,
            duplicate=trace.duplicate,
            chip=chip,
            core=core,
        ),
        slots=slots,
        telemetry=_readings(trace) if "telemetry" in kinds else None,
        calls="every row",
    )


def _readings(trace: VirtualTrace) -> dict[str, Readings]:
    """Telemetry of a virtual run, as a trace gives it back."""
    from firmware_bridge.trace.schema import telemetry
    from reservoir.steps import NOT_READINGS, Readings

    rows: list[Any] = trace.telemetry_rows()
    found = {}
    for name in (column.name for column in telemetry.columns if column.name not in NOT_READINGS):
        told = [row for row in rows if getattr(row, name, None) is not None]
        if told:
            found[name] = Readings(
                np.array([row.monotonic_ns for row in told], np.int64),
                np.array([getattr(row, name) for row in told], np.float64),
            )
    return found


def observed(steps: Steps, plan: Plan, *, indicators: bool | None = None) -> Observation:
    """States of a run for a plan, without columns that carry the input by themselves."""
    from reservoir.observation import observe, without_input

    train = slice(plan.washout, plan.washout + plan.train)
    one_job = (
        steps.slots == 1 or plan.encode == "duty"
    )  # its slots are no virtual nodes: together they are a symbol
    kinds = plan.observe or (OBSERVE if one_job else (f"nodes:{steps.slots}", *OBSERVE[1:]))
    return without_input(observe(steps, kinds, lags=plan.lags, train=train, indicators=indicators))


def task_of(steps: Steps, record: Mapping[str, Any], plan: Plan) -> tuple[Plan, Task]:
    """The task that a run was driven with, or one made of the symbols of its own jobs; the plan then says so.

    Raises:
        UserError: if the run was driven with something else than its record says.
    """
    told = record["config"].get("narma")
    if told is None:
        return plan, _task_of_symbols(steps, plan)
    from experiments.carriers import Swing
    from reservoir.encoding import Encoding, unmix

    encoding = Encoding.from_json(told["encoding"])
    plan = replace(
        plan,
        mask=told.get("mask"),
        task=told["task"],
        mode=told["mode"],
        encode=encoding.field,
        feedback=encoding.feedback,
        seed=told["seed"],
        swing=Swing.of(encoding),
        lead=told.get("lead", 0),
    )
    drawn = replace(plan, washout=told["steps"] - plan.train - plan.test).draw()
    sent, due = steps.symbol, encoding.base(plan.sent(drawn))[: len(steps)]
    if encoding.mode == "dialogue":
        sent = unmix(sent, steps.heard_ns, encoding.feedback)
    if sent.shape != due.shape or not np.allclose(sent, due, rtol=0.0, atol=1e-9):
        raise UserError(
            f"run {record['run_id']} did not carry the input that its record names ({plan.task}, seed {plan.seed}); "
            "whoever drove it changed the symbols on the way"
        )
    return plan, drawn


def _task_of_symbols(steps: Steps, plan: Plan) -> Task:
    """A task whose input is what the jobs carried by chance: no run has to be driven to be scored."""
    from reservoir.tasks import narma

    order = plan.task.removeprefix("narma")
    if not order.isdecimal():
        raise UserError(
            f"nobody drove this run: its jobs' symbols can be the input of narmaN, not of {plan.task!r}"
        )
    symbols = steps.symbol[:, 0]
    if not np.isfinite(symbols[: plan.steps]).all():
        raise UserError("some jobs of this run carry no symbol: there is no input at those steps")
    return narma(int(order), len(steps), plan.rng(TASK_STREAM), u=NARMA_RANGE[1] * symbols)


def driven_miner(reader: TraceReader, number: int) -> int | None:
    """Which miner of a run was driven live, where it is told."""
    events = reader.columns(number, "events", ("kind", "miner"))
    told = (events.values["kind"] == "driven") & ~events.null["miner"]
    return int(events.values["miner"][told][0]) if told.any() else None


def slots_of(record: Mapping[str, Any]) -> int:
    """Jobs per step of a run."""
    told = record["config"].get("narma")
    return 1 if told is None else len(told["encoding"]["mask"]["weights"])


@dataclass(frozen=True)
class StoredRun:
    """A stored run as steps of an input.

    Attributes:
        number: in its trace.
        record: its row.
        driven: whether somebody drove it.
        steps: what was sent and what came back.
        plan: as asked for, with what a driven run says of itself.
        task: that it was driven with, or one made of the symbols of its own jobs.
    """

    number: int
    record: Mapping[str, Any]
    driven: bool
    steps: Steps
    plan: Plan
    task: Task


def read_run(reader: TraceReader, name: str, plan: Plan, *, miner: str | None = None) -> StoredRun:
    """Read a stored run by id, unique prefix or ``latest``.

    Raises:
        UserError: if there is none, it has no symbols, or did not carry what its record says.
    """
    from reservoir.steps import read_steps

    number = reader.resolve(name)
    record = reader.run(number)
    driven = record["config"].get("narma") is not None
    steps = read_steps(
        reader,
        number,
        miner=driven_miner(reader, number) if driven and miner is None else miner,
        slots=slots_of(record),
        symbols_from="jobs" if driven else "prevhash",
    )
    plan, task = task_of(steps, record, plan)
    return StoredRun(number, record, driven, steps, plan, task)
