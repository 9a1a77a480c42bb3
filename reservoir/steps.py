"""From a stored run to the steps of an input: which jobs carried it, and which shares came back when.

A step is ``slots`` jobs of one miner that follow each other; it ends where the next step begins. Shares count in order
of arrival, each with the step and slot of its *own* job. A share in the same tick as the sending of a job came before
it: no miner answers at once, and in a handshake it is what called for that job.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import UserError
from firmware_bridge.timing.run_data import NS_PER_MS, BoolArray, FloatArray, IntArray, RunData

if TYPE_CHECKING:
    from firmware_bridge.trace.reader import Columns, TraceReader

JOB_COLUMNS = ("job", "miner", "symbol", "symbol_fields", "difficulty", "prevhash")
NOT_READINGS = ("id", "run", "miner", "wall_ns", "monotonic_ns", "raw", "source")


@dataclass(frozen=True)
class Readings:
    """One quantity of telemetry: ``time_ns`` ascending on the clock of the shares, and ``value``; both (m,)."""

    time_ns: IntArray
    value: FloatArray


@dataclass(frozen=True)
class Steps:
    """A run of one miner as T steps of V slots and n shares; what is unknown is nan, a whole number then -1.

    Attributes:
        sent_ns: when each job was sent, (T, V).
        end_ns: when the next step began, (T,).
        symbol: what each job carried, (T, V); nan where none.
        difficulty: what each job asked for, (T, V).
        heard_ns: response that called for each job, or the last one before that, (T, V); 0 before the first. With it
            ``encoding.unmix`` takes the feedback out of the symbols of a dialogue. Where a job says what its symbol
            took in, it is that.
        step: of each share's own job, (n,).
        slot: likewise, (n,).
        time_ns: arrival, ascending, (n,).
        response_ns: since its own job was sent, (n,).
        since_notify_ns: since the newest job was sent, (n,).
        share_difficulty: of the share's own hash, (n,).
        verified: whether its hash was checked, (n,); false in recordings that cannot be.
        chip: number of the chip that found it, (n,).
        core: number of the core on that chip, (n,).
        telemetry: by name.
        left_out: what the run has and this has not: reason to count.
    """

    sent_ns: IntArray
    end_ns: IntArray
    symbol: FloatArray
    difficulty: FloatArray
    heard_ns: IntArray
    step: IntArray
    slot: IntArray
    time_ns: IntArray
    response_ns: IntArray
    since_notify_ns: IntArray
    share_difficulty: FloatArray
    verified: BoolArray
    chip: IntArray
    core: IntArray
    telemetry: Mapping[str, Readings]
    left_out: Mapping[str, int]

    @property
    def slots(self) -> int:
        """V, the jobs of a step."""
        return int(self.sent_ns.shape[1])

    def __len__(self) -> int:
        """T."""
        return int(self.sent_ns.shape[0])

    def to_json(self) -> dict[str, Any]:
        """Counts, as plain data."""
        return {
            "steps": len(self),
            "slots": self.slots,
            "shares": int(self.time_ns.size),
            "telemetry": sorted(self.telemetry),
            "left_out": dict(self.left_out),
        }


@dataclass(frozen=True)
class Jobs:
    """Jobs of one miner in the order in which they were sent, (J,) each; the ends of steps come from them."""

    sent_ns: IntArray
    symbol: FloatArray
    difficulty: FloatArray | None = None
    heard_ns: IntArray | None = (
        None  # as the symbol took it in, -1 where the job does not say; None: no job does
    )


@dataclass(frozen=True)
class Shares:
    """Rows in stored order, (n,) each; ``job`` is an index into the jobs, -1 for none. None: see :func:`steps_of`."""

    job: IntArray
    time_ns: IntArray
    response_ns: IntArray | None = None
    since_notify_ns: IntArray | None = None
    difficulty: FloatArray | None = None
    duplicate: BoolArray | None = None
    verified: BoolArray | None = None
    chip: IntArray | None = None
    core: IntArray | None = None


def steps_of(
    jobs: Jobs,
    shares: Shares,
    *,
    slots: int = 1,
    telemetry: Mapping[str, Readings] | None = None,
    calls: Literal["first valid", "every row"] = "first valid",
    left_out: Mapping[str, int] | None = None,
) -> Steps:
    """Steps from plain arrays.

    Repeated shares and those without a job are left out. So are jobs that fill no step, a last step whose end is not
    known because no job follows, steps behind the last symbol, and their shares.

    Args:
        jobs: see there; sent times must not fall.
        shares: see there. Where not given, responses are arrival minus sent time of the own job, likewise since the
            newest job; no share is a repetition; all are verified.
        slots: V, jobs per step.
        telemetry: by name.
        calls: what calls for the next job: the first share of the current one (a bridge), or every row, repetitions and
            late ones included (virtual time). It decides ``heard_ns`` only.
        left_out: counts to begin with.

    Raises:
        UserError: if no job carries a symbol, or no step has an end.
    """
    if slots < 1:
        raise UserError(f"a step has 1 slot or more, not {slots}")
    sent, symbol = np.asarray(jobs.sent_ns, np.int64), np.asarray(jobs.symbol, np.float64)
    if not np.isfinite(symbol).any():
        raise UserError(
            "no job of this run carries a symbol: there is no input to relate the timing to. Give the bridge a source "
            "of symbols, or where prevhash is random say symbols_from='prevhash'"
        )
    if (np.diff(sent) < 0).any():
        raise UserError("the jobs are not in the order in which they were sent")
    out = dict(left_out or {})
    with_end = (sent.size - 1) // slots
    last = int(np.flatnonzero(np.isfinite(symbol))[-1]) // slots
    t = min(with_end, last + 1)
    if t < 1:
        raise UserError(f"the run has {sent.size} jobs: a step of {slots} ends with the job after it")
    _count(out, "jobs behind the last step", sent.size - t * slots)

    order = np.argsort(shares.time_ns, kind="stable")

    def column(values: npt.ArrayLike | None, default: Any) -> Any:
        return np.broadcast_to(default, order.shape) if values is None else np.asarray(values)[order]

    job, time_ns = column(shares.job, None), column(shares.time_ns, None)
    duplicate = column(shares.duplicate, False)
    named = job >= 0
    own_sent = sent[np.where(named, job, 0)]
    newest = np.maximum(np.searchsorted(sent, time_ns, side="left") - 1, 0)  # not a job of the same tick
    response = column(shares.response_ns, time_ns - own_sent)
    since = column(shares.since_notify_ns, time_ns - sent[newest])
    heard = _heard(sent, time_ns, response, job, duplicate, calls)
    if jobs.heard_ns is not None:
        heard = np.where(jobs.heard_ns >= 0, jobs.heard_ns, heard)
    inside = named & ~duplicate & (job < t * slots)
    _count(out, "no job", int((~named).sum()))
    _count(out, "duplicate", int((named & duplicate).sum()))
    _count(out, "job behind the last step", int((named & ~duplicate & ~inside).sum()))

    def grid(values: npt.NDArray[Any]) -> Any:
        return values[: t * slots].reshape(t, slots)

    step, slot = np.divmod(job[inside], slots)
    asked = np.full(sent.size, np.nan) if jobs.difficulty is None else np.asarray(jobs.difficulty, np.float64)
    return Steps(
        sent_ns=grid(sent),
        end_ns=sent[slots : t * slots + 1 : slots],
        symbol=grid(symbol),
        difficulty=grid(asked),
        heard_ns=grid(heard),
        step=step,
        slot=slot,
        time_ns=time_ns[inside],
        response_ns=response[inside],
        since_notify_ns=since[inside],
        share_difficulty=column(shares.difficulty, np.nan)[inside],
        verified=column(shares.verified, True)[inside],
        chip=column(shares.chip, -1)[inside],
        core=column(shares.core, -1)[inside],
        telemetry=dict(telemetry or {}),
        left_out=out,
    )


def _count(counts: dict[str, int], reason: str, more: int) -> None:
    if more:
        counts[reason] = counts.get(reason, 0) + more


def _heard(
    sent: IntArray, time_ns: IntArray, response: IntArray, job: IntArray, duplicate: BoolArray, calls: str
) -> IntArray:
    """Per job the response of the newest share before it that called for a job; 0 where there is none, (J,)."""
    if calls == "every row":
        before = np.searchsorted(time_ns, sent, side="right")
    else:
        rows = np.flatnonzero((job >= 0) & ~duplicate)
        first = rows[np.sort(np.unique(job[rows], return_index=True)[1])]
        following = job[first] + 1
        # a first share that came too late called for nothing: its job had been replaced before
        first = first[
            (following < sent.size) & (time_ns[first] <= sent[np.minimum(following, sent.size - 1)])
        ]
        time_ns, response = time_ns[first], response[first]
        before = np.searchsorted(time_ns, sent, side="right")
    return np.concatenate([[0], response])[before].astype(np.int64)


def read_steps(
    trace: TraceReader,
    run: int,
    *,
    miner: int | str | None = None,
    slots: int = 1,
    symbols_from: Literal["jobs", "prevhash"] = "jobs",
) -> Steps:
    """Read the steps of a run.

    Shares that are not valid are left out and counted by their reason. In a recording, where a job may lack its sent
    time, that is the arrival of its first share minus the recorded response; the response of a first share is there the
    recorded time since the newest job, as ``RunData.first_share`` has it.

    Args:
        trace: where from.
        run: number of the run.
        miner: its number or name; needed where the run has several.
        slots: V, jobs per step.
        symbols_from: ``prevhash`` takes the first 4 bytes of the job's prevhash as a fraction where the job is stored
            without a symbol: what a synthetic pool draws at random is an input as well.

    Raises:
        UserError: if there is no such run or miner, several miners, no symbol, or no way to tell when a job was sent.
    """
    from firmware_bridge.timing.intervals import load_run

    record = trace.run(run)
    data = load_run(trace, run, miner)
    wanted = _only_miner(data, miner)
    left_out = _refused(trace, run, wanted, bool(record["unverified"]))
    _count(left_out, f"no {data.time_source} stamp", data.rows_left_out)
    clock = "monotonic_ns" if data.time_source == "monotonic" else "wall_ns"  # kernel stamps are wall time
    table = trace.columns(run, "jobs", (*JOB_COLUMNS, f"sent_{clock}"))
    response_ns = _responses(data)
    sent, known = _sent(table, f"sent_{clock}", data, response_ns)
    own = known & (table.null["miner"] | (table.values["miner"] == wanted))
    _count(left_out, "jobs without a sent time", int((~known).sum()))
    if not own.any():
        raise UserError(
            f"run {record['run_id']} does not tell when its jobs were sent: steps need jobs with a sent time, or "
            "shares with response_ms or since_notify_ms (`asiclab import --map`)"
        )
    rows = np.flatnonzero(own)
    rows = rows[np.argsort(sent[rows], kind="stable")]
    symbol = np.where(table.null["symbol"], np.nan, table.values["symbol"].astype(np.float64))
    if symbols_from == "prevhash":
        symbol = _from_prevhash(symbol, table)
    numbers = table.values["job"].astype(np.int64)
    index = np.full(int(max(numbers.max(), data.job.max(initial=0))) + 2, -1)
    index[numbers[rows]] = np.arange(rows.size)
    job = index[data.job]  # -1, for no job, is the last element
    chip, core = positions(data) or (None, None)
    share_sent = sent[rows][np.maximum(job, 0)]
    return steps_of(
        Jobs(
            sent[rows],
            symbol[rows],
            np.where(table.null["difficulty"], np.nan, table.values["difficulty"].astype(np.float64))[rows],
            _told_heard(table, rows) if record["kind"] == "live" else None,
        ),
        Shares(
            job=job,
            time_ns=data.time_ns,
            response_ns=_whole(response_ns, data.time_ns - share_sent),
            since_notify_ns=_whole(data.since_notify_ms * NS_PER_MS, np.int64(-1)),
            difficulty=data.difficulty,
            duplicate=data.duplicate,
            verified=np.full(data.n, not data.unverified),
            chip=chip,
            core=core,
        ),
        slots=slots,
        telemetry=_telemetry(trace, run, wanted, clock),
        calls="every row" if data.kind == "virtual" or data.mode != "swh" else "first valid",
        left_out=left_out,
    )


def positions(data: RunData) -> tuple[IntArray, IntArray] | None:
    """Chip and core of each share, where the nonces of the run's one miner can be decoded; (n,) each."""
    from firmware_bridge.timing.scan import layout_of

    layout = layout_of(data)
    if layout is None:
        return None
    position = layout.decode(data.nonce, data.extranonce2, data.version_bits)
    return position.chip, position.core


def _only_miner(data: RunData, miner: int | str | None) -> int:
    numbers = list(data.miners)
    if miner is None and len(numbers) > 1:
        names = ", ".join(f"{n} ({info.name})" for n, info in data.miners.items())
        raise UserError(f"the run has several miners: {names}; say whose steps with miner=")
    if not numbers:
        raise UserError("the run has no miner: nothing answered")
    return numbers[0]


def _refused(trace: TraceReader, run: int, miner: int, unverified: bool) -> dict[str, int]:
    """Rows of shares that are neither valid nor repeated, by reason."""
    table = trace.columns(run, "shares", ("miner", "valid", "reason"))
    reason = table.values["reason"]
    refused = ~table.values["valid"] & (reason != "duplicate") & (table.values["miner"] == miner)
    if unverified:
        refused &= ~table.null["valid"]
    counts: dict[str, int] = {}
    for text in reason[refused].tolist():
        _count(counts, text or "not valid", 1)
    return counts


def _responses(data: RunData) -> FloatArray:
    """Responses in ns; those of first shares in a recording are as it has them."""
    response = data.response_ms
    if data.kind == "recorded":
        recorded = data.first_of_job & ~np.isnan(data.since_notify_ms)
        response = np.where(recorded | np.isnan(response), data.since_notify_ms, response)
    return response * NS_PER_MS


def _whole(values: FloatArray, unknown: IntArray | np.int64) -> IntArray:
    missing = np.isnan(values)
    return np.where(missing, unknown, np.rint(np.where(missing, 0.0, values)).astype(np.int64))


def _sent(table: Columns, column: str, data: RunData, response_ns: FloatArray) -> tuple[IntArray, BoolArray]:
    """When the jobs were sent, by their own row or else by their first share, and which of that is known; (J,) each."""
    sent, known = table.values[column].astype(np.int64), ~table.null[column]
    if known.all():
        return sent, known
    usable = np.flatnonzero((data.job >= 0) & ~np.isnan(response_ns))
    numbers, first = np.unique(data.job[usable], return_index=True)
    at = usable[first]
    found = dict(
        zip(numbers.tolist(), data.time_ns[at] - np.rint(response_ns[at]).astype(np.int64), strict=True)
    )
    told = [found.get(number) for number in table.values["job"].tolist()]
    missing = np.array([value is None for value in told], bool)
    sent = np.where(known, sent, np.array([0 if value is None else value for value in told], np.int64))
    return sent, known | ~missing


def _from_prevhash(symbol: FloatArray, table: Columns) -> FloatArray:
    from reservoir.encoding import Encoding

    encoding, found = Encoding("prevhash"), symbol.copy()
    for row in np.flatnonzero(np.isnan(symbol) & ~table.null["prevhash"]).tolist():
        found[row] = encoding.decode({"prevhash": table.values["prevhash"][row]})
    return found


def _told_heard(table: Columns, rows: IntArray) -> IntArray:
    """Response that the symbol of each job took in, as the job itself says; -1 where it does not, (J,)."""
    texts = table.values["symbol_fields"][rows]
    told = [json.loads(t).get("heard_ns", -1) if t and '"heard_ns"' in t else -1 for t in texts]
    return np.array(told, np.int64)


def _telemetry(trace: TraceReader, run: int, miner: int, clock: str) -> dict[str, Readings]:
    """What the device told, and where it told nothing what a sensor at this miner did."""
    from firmware_bridge.trace.schema import telemetry

    names = [column.name for column in telemetry.columns if column.name not in NOT_READINGS]
    table = trace.columns(run, "telemetry", (*names, "miner", "source", clock))
    nobodys, of_miner = table.null["miner"], table.values["miner"] == miner
    found = {}
    for name in names:
        known = ~table.null[name] & ~table.null[clock]
        rows = np.flatnonzero(known & table.null["source"] & (nobodys | of_miner))
        if not rows.size:
            rows = np.flatnonzero(known & ~nobodys & of_miner)
        if rows.size:
            rows = rows[np.argsort(table.values[clock][rows], kind="stable")]
            found[name] = Readings(
                table.values[clock][rows].astype(np.int64), table.values[name][rows].astype(np.float64)
            )
    return found
