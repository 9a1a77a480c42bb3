"""What kind of reservoir a miner is: the properties of runs that saw the same input, each beside its null, in words.

The runs are stored ones: emulated ones are written into the trace first, all with the same input behind a lead that is
low in one and high in the others, and each with chance of its own. So what they have in common is the input, and what
they begin with is not. Where a model is emulated, its kernel and generalisation rank come from many short runs on top.

The three codes of the verdict were fixed before any data were seen:

- ``cannot_tell``: fewer than 10 rows per state, states that do not vary, or an input that remembers itself.
- ``memory``: the state tells an earlier input, or a product with one, beyond chance and beyond what the present input
  tells.
- ``no_memory``: it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from experiments.narma_plan import Plan
from experiments.narma_runs import driven_run, emulation, observed, read_run, steps_of_emulation, write_run
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from firmware_bridge.emulator.physics import Physics
    from firmware_bridge.trace.reader import TraceReader
    from firmware_bridge.trace.writer import TraceWriter
    from firmware_bridge.verdict import Verdict
    from reservoir.properties import Properties
    from reservoir.ranks import Ranks

F64 = npt.NDArray[np.float64]

LEAD = 20
"""Steps before the common input, in which runs are driven apart; the washout is longer."""
FEWEST_ROWS_PER_STATE = 10
STREAM_STEPS, COMMON_STEPS, REPEATS = 40, 20, 30
"""Of the short runs that the ranks come from: steps, steps at their end that are the same, repeats of one input."""
_PROPERTIES_STREAM, _RANKS_STREAM, _REPLICA_STREAM = range(10, 13)


@dataclass(frozen=True)
class Found:
    """Properties with what they were found in.

    Attributes:
        properties: of the first run, and of its replicas.
        ranks: kernel and generalisation rank of the emulated model; None where nothing was emulated.
        columns: names of the state columns.
        runs: ids, the first one's properties are told.
        mode: in which they were driven; None where nobody drove them.
        encode: what carried the symbols; None likewise.
        seed: of the task, of the emulation and of the null values.
        plants: effects planted in the first run.
        lags: steps of the past in each state: memory that the host adds.
        missing_shares: part of the steps without a share of their own in the first run; their values are filled.
        verdict: code and text.
    """

    properties: Properties
    ranks: Ranks | None
    columns: tuple[str, ...]
    runs: tuple[str, ...]
    mode: str | None
    encode: str | None
    seed: int
    plants: Mapping[str, float]
    lags: int
    missing_shares: float
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """Every number, as plain data."""
        told = self.properties.to_json()
        if self.ranks is not None:
            told["ranks"] = self.ranks.to_json()
            told["missing"] = {k: v for k, v in told["missing"].items() if not k.startswith("ranks")}
        return {
            "runs": list(self.runs),
            "mode": self.mode,
            "encode": self.encode,
            "seed": self.seed,
            "plants": dict(self.plants),
            "lags": self.lags,
            "missing_shares": self.missing_shares,
            "columns": list(self.columns),
            **told,
            "verdict": {"code": self.verdict.code, "text": self.verdict.text},
        }


# ---- emulated runs ---------------------------------------------------------------------------------------------------


def write_replicas(
    plan: Plan,
    model: str,
    writer: TraceWriter,
    *,
    replicas: int,
    plants: Mapping[str, float] | None = None,
    physics: Physics | None = None,
    cli: Mapping[str, Any] | None = None,
) -> list[str]:
    """Emulate runs with the same input into a trace, the first and ``replicas`` more; their ids."""
    seeds = plan.rng(_REPLICA_STREAM).integers(2**31, size=replicas)
    names = []
    for number, seed in enumerate([plan.seed, *seeds.tolist()]):
        led = replace(plan, lead=LEAD if number == 0 else -LEAD)
        config = replace(emulation(led, model, plants, physics), seed=seed)
        config.check()
        names.append(write_run(led, config, writer, cli=cli))
    return names


def emulated_ranks(
    plan: Plan,
    model: str,
    columns: Sequence[str],
    scale: F64,
    plants: Mapping[str, float] | None = None,
    physics: Physics | None = None,
) -> Ranks:
    """Kernel and generalisation rank of an emulated miner, from short runs with inputs of the plan's range.

    Args:
        plan: how it is driven and observed.
        model: of the miner.
        columns: names of the N states that count.
        scale: what each is divided by, so that no unit decides; shape (N,).
        plants: effects planted in it.
        physics: its timing; None: that of the model.
    """
    from reservoir.ranks import ranks

    rng = plan.rng(_RANKS_STREAM)
    task = plan.draw()
    on = plan.on(model)
    encoding = on.encoding(task)
    short = replace(plan, washout=0, train=STREAM_STEPS, test=0)

    def system(u: F64) -> F64:
        config = driven_run(
            on, replace(task, u=u), model, dict(plants or {}), physics, int(rng.integers(2**31)), encoding
        )
        steps = steps_of_emulation(config, slots=encoding.slots, observe=plan.observe)
        seen = observed(steps, short, indicators=False)
        at = {column.name: i for i, column in enumerate(seen.columns)}
        # a column that this run lacks (a chip that found nothing) has counted nothing
        states = [seen.states[:, at[name]] if name in at else np.zeros(len(steps)) for name in columns]
        return np.asarray(np.column_stack(states) / scale)

    return ranks(
        system, np.random.default_rng(rng.integers(2**63)), streams=max(40, 2 * len(columns)), length=STREAM_STEPS,
        common=COMMON_STEPS, low=encoding.low, high=encoding.high, repeats=REPEATS,
    )  # fmt: skip


# ---- stored runs -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Replicas:
    """Stored runs that carried the same input, from where the leads end that drove them apart.

    Attributes:
        records: their rows in the trace.
        plans: how each was driven.
        lead: steps that were left out, the longest lead of all.
        u: common input, shape (T,).
        states: of each, shape (T, N).
        columns: names of the N states.
        missing: part of the steps of the first without a share of their own; their values are filled.
    """

    records: tuple[Mapping[str, Any], ...]
    plans: tuple[Plan, ...]
    lead: int
    u: F64
    states: tuple[F64, ...]
    columns: tuple[str, ...]
    missing: float


def read_replicas(
    reader: TraceReader, names: Sequence[str], plan: Plan, *, miner: str | None = None
) -> Replicas:
    """Read stored runs with the same input; one alone has no replicas.

    Args:
        reader: of the trace.
        names: ids, prefixes or ``latest``.
        plan: what to observe; a run that was driven says itself with what.
        miner: whose steps, where there are several.

    Raises:
        UserError: if there is no such run, the runs did not carry the same input, or no state of them varies.
    """
    read = []
    for name in names:
        stored = read_run(reader, name, plan, miner=miner)
        told = stored.plan
        seen = observed(stored.steps, told, indicators=False)
        u = told.sent(stored.task) if stored.driven else stored.task.u
        read.append((stored.record, told, u, seen))
    record, told, u, seen = read[0]
    rows = min(min(one[2].size, one[3].states.shape[0]) for one in read)
    lead = max(abs(one[1].lead) for one in read)
    if plan.washout < lead or rows <= plan.washout:
        raise UserError(
            f"the washout is at least the {lead} steps of the lead and below the {rows} steps of the run"
        )
    for other, _, its_u, its_states in read[1:]:
        if not np.array_equal(its_u[lead:rows], u[lead:rows]):
            raise UserError(
                f"run {other['run_id']} did not carry the input of run {record['run_id']}: it is no replica. The runs "
                "of one `asiclab reservoir properties --emulate` have the same input, or a miner that is driven again"
            )
        if [c.name for c in its_states.columns] != [c.name for c in seen.columns]:
            raise UserError(
                f"run {other['run_id']} has other state columns than run {record['run_id']}: leave out what only one "
                "has"
            )
    runs = [one[3].states[lead:rows] for one in read]
    # what is constant in every run is no state; nor is where a share was missing, which a few rare steps decide
    varies = np.array(
        [any(np.ptp(run[:, n]) > 0 for run in runs) for n in range(runs[0].shape[1])], dtype=bool
    )
    if not varies.any():
        raise UserError("no state of this run varies: observe something else")
    columns = tuple(c.name for c, keep in zip(seen.columns, varies, strict=True) if keep)
    return Replicas(
        records=tuple(one[0] for one in read),
        plans=tuple(one[1] for one in read),
        lead=lead,
        u=u[lead:rows],
        states=tuple(run[:, varies] for run in runs),
        columns=columns,
        missing=float(np.mean(seen.missing)),
    )


def properties_of_runs(
    reader: TraceReader,
    names: Sequence[str],
    plan: Plan,
    *,
    delays: int = 20,
    degree: int = 3,
    miner: str | None = None,
    ranks_of: Callable[[Sequence[str], F64], Ranks] | None = None,
) -> Found:
    """Properties of the states of a stored run; further runs that carried the same input are its replicas.

    Args:
        reader: of the trace.
        names: ids, prefixes or ``latest``.
        plan: what to observe; a run that was driven says itself with what.
        delays: longest delay.
        degree: highest degree of the capacities.
        miner: whose steps, where there are several.
        ranks_of: ranks of the emulated model from the names of the columns and their scale, where it was emulated.

    Raises:
        UserError: if there is no such run, or the runs did not carry the same input.
    """
    from reservoir.properties import properties

    read = read_replicas(reader, names, plan, miner=miner)
    record, told = read.records[0], read.plans[0]
    stacked = np.stack(read.states)
    # in units of its own noise, so that neither a unit nor a column of noise decides about a rank
    noise = (stacked - stacked.mean(axis=0)).std(axis=(0, 1))
    scale = np.where(noise > 0, noise, np.where(np.ptp(stacked[0], axis=0) > 0, stacked[0].std(axis=0), 1.0))
    runs = list(stacked / scale)
    found = properties(
        runs[0],
        read.u,
        replicas=runs[1:] or None,
        washout=plan.washout - read.lead,
        delays=delays,
        degree=degree,
        rng=told.rng(_PROPERTIES_STREAM),
    )
    driven = record["config"].get("narma") is not None
    ranks = None if ranks_of is None else ranks_of(read.columns, scale)
    return Found(
        properties=found,
        ranks=ranks,
        columns=read.columns,
        runs=tuple(one["run_id"] for one in read.records),
        mode=told.mode if driven else None,
        encode=told.encode if driven else None,
        seed=told.seed,
        plants=record["plants"],
        lags=plan.lags,
        missing_shares=read.missing,
        verdict=verdict(found, ranks, plan.lags),
    )


# ---- in words --------------------------------------------------------------------------------------------------------


def verdict(found: Properties, ranks: Ranks | None, lags: int) -> Verdict:
    """What the properties come to; the codes are those of the module."""
    from firmware_bridge.verdict import Verdict

    memory, capacity = found.fading_memory, found.capacity
    if memory is None or capacity is None or found.rows < FEWEST_ROWS_PER_STATE * found.nodes:
        why = found.missing.get("capacity") or found.missing.get("fading_memory")
        few = f"{found.rows} rows are too few for {found.nodes} states: at least {FEWEST_ROWS_PER_STATE} times as many"
        return Verdict("cannot_tell", why or few)
    if found.input_memory > 2.0 * found.input_memory_null:
        return Verdict(
            "cannot_tell",
            f"The input remembers itself (autocorrelation {found.input_memory:.3f}, by chance below "
            f"{found.input_memory_null:.3f}), so a memory of the states is not told from its own.",
        )
    earlier = sum(c for delay, c in capacity.by_delay.items() if delay > 0)
    present = capacity.by_delay.get(0, 0.0)
    remembers = memory.total > 0.0 or earlier > 0.0
    text = [_of_memory(found, earlier, present), *_of_replicas(found)]
    if ranks is not None and ranks.generalisation is not None:
        text.append(
            f"Above the noise of repeats, {ranks.streams} different inputs lead to states of rank {ranks.kernel}, "
            f"inputs with the same end to rank {ranks.generalisation} (pure noise: {ranks.null:.1f}), of "
            f"{ranks.nodes}."
        )
    if lags:
        text.append(
            f"Each state repeats the last {lags} steps: that memory is the host's. Take --lags 0 for the miner's own."
        )
    return Verdict("memory" if remembers else "no_memory", " ".join(text))


def _of_memory(found: Properties, earlier: float, present: float) -> str:
    memory, capacity = found.fading_memory, found.capacity
    assert memory is not None
    assert capacity is not None
    if memory.total > 0.0:
        reach = int(np.flatnonzero(_above(memory))[-1])
        first = (
            f"The states remember inputs of up to {reach} steps ago: linear memory {memory.total:.3f} of at most "
            f"{memory.rank}"
        )
    else:
        first = "The states remember no earlier input linearly"
    return (
        f"{first}. Of the information processing capacity, {capacity.total:.3f} (standard error "
        f"{capacity.standard_error:.3f}, at most {capacity.rank}), {present:.3f} is of the present input and "
        f"{earlier:.3f} of earlier ones; chance passes with {capacity.passed} of {capacity.targets} targets once in "
        f"10,000."
    )


def _above(memory: Any) -> npt.NDArray[np.bool_]:
    above = (memory.capacity > memory.threshold) & (memory.capacity > memory.input_only)
    above[0] = False
    return np.asarray(above)


def _of_replicas(found: Properties) -> list[str]:
    text = []
    if found.consistency is not None:
        c = found.consistency
        agree = "agree" if c.p_value <= 0.025 else "do not agree beyond chance"
        text.append(
            f"Replicas with the same input {agree}: mean correlation {c.mean:.3f} (97.5 % of shifted ones below "
            f"{c.null_high:.3f}), in {c.capacity:.2f} of {found.nodes} dimensions."
        )
    if found.echo_state is not None:
        e = found.echo_state
        if np.isnan(e.exponent):
            text.append(
                f"Their distance is that of their noise from the start ({e.end:.2f} of that of unrelated runs), so no "
                "decay and no Lyapunov exponent is to be seen."
            )
        elif np.isinf(e.exponent):
            text.append("They forget how they began within two steps: no Lyapunov exponent can be fitted.")
        else:
            does = (
                "They forget how they began" if e.forgets else "That they forget how they began is not shown"
            )
            text.append(
                f"{does}: conditional Lyapunov exponent {e.exponent:.3f} per step (standard error "
                f"{e.standard_error:.3f})."
            )
    if not text:
        text.append("Consistency and echo state need replicas: further runs with the same input.")
    return text
