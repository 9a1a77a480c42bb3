"""From steps to states: X[t] holds what could be seen of the silicon before step t was over, and nothing later.

The period of step t reaches from the sending of its first job to that of the next step's first job. What to observe:

============== =====================================================================================================
``response``   ms from job to share, of the first share of the step's own jobs that came within its period
``log_response`` ``log(1 + ms)`` of that
``arrival``    ms from job to share, of the first share that arrived within the period, whatever its job
``mean_response`` mean of that over the shares that arrived within the period
``interval``   ms from the previous share, whosever, to that share
``count``      shares that arrived within the period, those of older jobs included
``count_windows:K`` likewise in each of K equal parts of the period, however long it is
``mean_interval`` mean ms since the previous share, over the shares that arrived within the period
``last``       ms from the last share within the period to its end: carries the clock of whoever sends the jobs
``chip``       shares within the period from each chip
``core:K``     shares within the period from each of K equal groups of the 128 core numbers
``chip_arrival`` ms from the start of the step to the first share within the period from each chip
``core_arrival:K`` likewise from each of K equal groups of the core numbers
``nodes:V``    virtual nodes: per slot the response of its own first share, and the shares that arrived in its time
``telemetry:NAME`` last reading before the end of the step
``period``     ms that the step lasted: in a dialogue the response and the turnaround of the bridge
``difficulty`` what the step's jobs asked for; carries the input where that differs from job to job
============== =====================================================================================================

A value that does not exist (a step without a share) is filled, and an indicator column says where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import UserError
from firmware_bridge.timing.run_data import NS_PER_MS, BoolArray, FloatArray, IntArray
from reservoir.steps import Steps

DEFAULT = ("response", "log_response", "interval", "count")

CORES = 128
"""Core numbers that a nonce has room for, in every layout known (7 bits)."""


@dataclass(frozen=True)
class Column:
    """One column of the states.

    Attributes:
        name: unique; a lagged one ends in ``@lag``.
        source: what was observed, as it was asked for.
        lag: steps that it lies back.
        carries_input: whether it tells the input without any help of the silicon.
        unit: ``ms``, ``1`` for counts and indicators, the name of a reading for telemetry.
    """

    name: str
    source: str
    lag: int
    carries_input: bool
    unit: str


@dataclass(frozen=True)
class Observation:
    """States of a run.

    Attributes:
        states: X, (T, N), without nan.
        columns: what each of the N is.
        missing: steps in whose period no share of their own came, (T,).
        left_out: see :class:`reservoir.steps.Steps`.
        filled: by column (lag 0) how many of its values were filled.
    """

    states: FloatArray
    columns: tuple[Column, ...]
    missing: BoolArray
    left_out: Mapping[str, int]
    filled: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """What the states are, without them."""
        return {
            "steps": int(self.states.shape[0]),
            "columns": [asdict(column) for column in self.columns],
            "missing": int(self.missing.sum()),
            "left_out": dict(self.left_out),
            "filled": dict(self.filled),
        }


def observe(
    steps: Steps,
    what: Sequence[str] = DEFAULT,
    *,
    lags: int = 0,
    train: slice | None = None,
    indicators: bool | None = None,
) -> Observation:
    """States of a run.

    Args:
        steps: the run.
        what: kinds, see above.
        lags: earlier rows that each row repeats (delay embedding); before the first row there is the first.
        train: rows whose mean fills what is missing. None takes the mean of all rows *before* the one to be filled, 0
            where there is none, so that no row knows anything of later ones.
        indicators: a column ``missing:NAME`` for each observed column (True), for those where something is missing
            (None), or for none (False). Runs that are compared need the same columns: say True or False for them.

    Raises:
        UserError: if a kind is unknown, asked for twice, or not in this run.
    """
    if lags < 0:
        raise UserError(f"lags is 0 or more, not {lags}")
    if not what or len(set(what)) != len(what):
        raise UserError(f"say what to observe, each once: {', '.join(KINDS)}")
    view = _View(steps)
    columns: list[Column] = []
    values: list[FloatArray] = []
    for kind in what:
        name, _, argument = kind.partition(":")
        if name not in KINDS:
            raise UserError(f"there is no observation {kind!r}; there are {', '.join(KINDS)}")
        if argument and name not in WITH_ARGUMENT:
            raise UserError(f"{name} takes nothing after it, not {kind!r}")
        for label, unit, column in KINDS[name](view, argument):
            tells = name == "difficulty" and _varies(column)
            columns.append(Column(label, kind, 0, tells, unit))
            values.append(column)
    base = np.column_stack(values).astype(np.float64)
    absent = np.isnan(base)
    filled = {c.name: int(n) for c, n in zip(columns, absent.sum(axis=0), strict=True) if n}
    base = _filled(base, absent, train)
    if indicators is not False:
        wanted = np.flatnonzero(absent.any(axis=0) | (indicators is True))
        columns += [Column(f"missing:{columns[i].name}", columns[i].source, 0, False, "1") for i in wanted]
        base = np.hstack([base, absent[:, wanted]])
    rows = np.maximum(np.arange(len(steps))[:, None] - np.arange(lags + 1), 0)
    lagged = [replace(c, name=f"{c.name}@{lag}", lag=lag) for lag in range(1, lags + 1) for c in columns]
    states = base[rows].reshape(len(steps), -1)
    return Observation(states, (*columns, *lagged), view.first < 0, dict(steps.left_out), filled)


def without_input(observation: Observation) -> Observation:
    """The same without the columns that carry the input by themselves."""
    keep = [not column.carries_input for column in observation.columns]
    columns = tuple(column for column in observation.columns if not column.carries_input)
    kept = {column.name for column in columns}
    return replace(
        observation,
        states=observation.states[:, keep],
        columns=columns,
        filled={name: n for name, n in observation.filled.items() if name in kept},
    )


def _varies(values: FloatArray) -> bool:
    known = values[~np.isnan(values)]
    return bool(known.size) and bool((known != known[0]).any())


def _filled(base: FloatArray, absent: BoolArray, train: slice | None) -> FloatArray:
    """Known values as they are, the others by the mean of known ones: of ``train``, or of all rows before."""
    if not absent.any():
        return base
    known = np.where(absent, 0.0, base)
    rows = slice(None) if train is None else train
    total, number = known[rows].cumsum(axis=0), (~absent[rows]).cumsum(axis=0)
    if train is not None:
        if not total.size:
            raise UserError(f"no row to train on in {train}")
        total, number = total[-1:], number[-1:]
    return np.where(absent, total / np.maximum(number, 1), base)


_Found = list[tuple[str, str, FloatArray]]
"""Name, unit and values (T,) of the columns of one kind, nan where there is no value."""


class _View:
    """What the kinds have in common: which shares a step may know of."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.start_ns, self.end_ns = steps.sent_ns[:, 0], steps.end_ns
        n = steps.time_ns.size
        # a period is open on the left: a share in the tick of a sending came before it
        arrival = np.searchsorted(self.start_ns, steps.time_ns, side="left") - 1
        within = (arrival >= 0) & (steps.time_ns <= self.end_ns[-1])
        self.rows = np.flatnonzero(within)
        self.period_of_row = arrival[within]
        since = np.full(n, np.nan)
        since[1:] = np.diff(steps.time_ns) / NS_PER_MS
        self.interval_ms = since
        timely = np.flatnonzero(steps.time_ns <= self.end_ns[steps.step])
        self.timely = timely
        self.first = _first(steps.step[timely], timely, len(steps))

    def of_first(self, values: FloatArray) -> FloatArray:
        return _taken(values, self.first)

    def means(self, values: FloatArray) -> FloatArray:
        """Mean over the shares that arrived in each period, nan where none did, (T,)."""
        of_rows = values[self.rows]
        known = ~np.isnan(of_rows)
        total = np.bincount(self.period_of_row[known], of_rows[known], minlength=len(self.steps))
        number = np.bincount(self.period_of_row[known], minlength=len(self.steps))
        return np.where(number > 0, total / np.maximum(number, 1), np.nan)

    def counts(self, rows: npt.NDArray[np.intp], group: IntArray, groups: int) -> FloatArray:
        """Shares per step and group, (T, groups); ``rows`` index what :attr:`rows` has."""
        total = len(self.steps)
        flat = np.bincount(self.period_of_row[rows] * groups + group, minlength=total * groups)
        return flat.reshape(total, groups).astype(np.float64)

    def first_of_groups(self, group: IntArray, groups: int) -> FloatArray:
        """ms from the start of each step to the first share of each group in its period, nan without one, (T, groups).

        Args:
            group: of each of :attr:`rows`, -1 where that is not known.
            groups: how many.
        """
        known = np.flatnonzero(group >= 0)
        rows = self.rows[known]
        place = self.period_of_row[known] * groups + group[known]
        first = _first(place, rows, len(self.steps) * groups)
        since = (self.steps.time_ns - self.start_ns[0]) / NS_PER_MS
        start = (self.start_ns - self.start_ns[0]) / NS_PER_MS
        found = _taken(since, first).reshape(len(self.steps), groups)
        return np.asarray(found - start[:, None])


def _first(place: IntArray, rows: npt.NDArray[np.intp], places: int) -> IntArray:
    """The earliest of ``rows`` at each place, -1 where there is none."""
    first = np.full(places, -1, np.int64)
    first[place[::-1]] = rows[::-1]  # of several at one place the last assigned stays
    return first


def _taken(values: FloatArray, rows: IntArray) -> FloatArray:
    return np.concatenate([values, [np.nan]])[rows]


def _response_ms(view: _View) -> FloatArray:
    return view.steps.response_ns / NS_PER_MS


def _response(view: _View, argument: str) -> _Found:
    return [("response", "ms", view.of_first(_response_ms(view)))]


def _arrival(view: _View, argument: str) -> _Found:
    first = _first(view.period_of_row, view.rows, len(view.steps))
    return [("arrival", "ms", _taken(_response_ms(view), first))]


def _mean_response(view: _View, argument: str) -> _Found:
    return [("mean_response", "ms", view.means(_response_ms(view)))]


def _log_response(view: _View, argument: str) -> _Found:
    # a kernel's stamp may lie some µs before our own of the sending
    response = np.maximum(view.of_first(_response_ms(view)), 0.0)
    return [("log_response", "log ms", np.log1p(response))]


def _interval(view: _View, argument: str) -> _Found:
    return [("interval", "ms", view.of_first(view.interval_ms))]


def _count(view: _View, argument: str) -> _Found:
    every = np.arange(view.rows.size)
    return [("count", "1", view.counts(every, np.zeros(every.size, np.int64), 1)[:, 0])]


def _count_windows(view: _View, argument: str) -> _Found:
    windows = _whole(argument, "count_windows:K", 1, 10_000)
    start, end = view.start_ns[view.period_of_row], view.end_ns[view.period_of_row]
    # windows are closed on the right like the period; in integers, so that an end belongs to the last one
    within = view.steps.time_ns[view.rows] - start
    window = np.minimum((within * windows - 1) // np.maximum(end - start, 1), windows - 1)
    counts = view.counts(np.arange(view.rows.size), np.maximum(window, 0), windows)
    return [(f"count[{k}/{windows}]", "1", counts[:, k]) for k in range(windows)]


def _mean_interval(view: _View, argument: str) -> _Found:
    return [("mean_interval", "ms", view.means(view.interval_ms))]


def _last(view: _View, argument: str) -> _Found:
    last = np.full(len(view.steps), -1, np.int64)
    last[view.period_of_row] = view.rows
    at = np.where(last >= 0, view.steps.time_ns[last] if view.rows.size else 0, 0)
    return [("last", "ms", np.where(last >= 0, (view.end_ns - at) / NS_PER_MS, np.nan))]


def _chip(view: _View, argument: str) -> _Found:
    chip = view.steps.chip[view.rows]
    chips = _decoded(view.steps.chip, "chip") + 1
    rows = np.flatnonzero(chip >= 0)
    counts = view.counts(rows, chip[rows], chips)
    return [(f"chip[{k}]", "1", counts[:, k]) for k in range(chips)]


def _core(view: _View, argument: str) -> _Found:
    groups = _whole(argument, "core:K", 1, CORES)
    core = view.steps.core[view.rows]
    _decoded(view.steps.core, "core")
    rows = np.flatnonzero(core >= 0)
    counts = view.counts(rows, np.minimum(core[rows] * groups // CORES, groups - 1), groups)
    return [(f"core[{k}/{groups}]", "1", counts[:, k]) for k in range(groups)]


def _chip_arrival(view: _View, argument: str) -> _Found:
    chips = _decoded(view.steps.chip, "chip") + 1
    found = view.first_of_groups(view.steps.chip[view.rows], chips)
    return [(f"chip_arrival[{k}]", "ms", found[:, k]) for k in range(chips)]


def _core_arrival(view: _View, argument: str) -> _Found:
    groups = _whole(argument, "core_arrival:K", 1, CORES)
    _decoded(view.steps.core, "core")
    core = view.steps.core[view.rows]
    found = view.first_of_groups(
        np.where(core < 0, -1, np.minimum(core * groups // CORES, groups - 1)), groups
    )
    return [(f"core_arrival[{k}/{groups}]", "ms", found[:, k]) for k in range(groups)]


def _nodes(view: _View, argument: str) -> _Found:
    steps = view.steps
    slots = _whole(argument, "nodes:V", 1, 10_000)
    if slots != steps.slots:
        raise UserError(f"a step has {steps.slots} slots and so many virtual nodes, not {slots}")
    place = (steps.step * slots + steps.slot)[view.timely]
    first = _first(place, view.timely, len(steps) * slots).reshape(len(steps), slots)
    response = _taken(_response_ms(view), first)
    arrival = np.searchsorted(steps.sent_ns.ravel(), steps.time_ns[view.rows], side="left") - 1
    counts = view.counts(np.arange(view.rows.size), arrival % slots, slots)
    return [(f"response[{j}]", "ms", response[:, j]) for j in range(slots)] + [
        (f"count[{j}]", "1", counts[:, j]) for j in range(slots)
    ]


def _telemetry(view: _View, argument: str) -> _Found:
    readings = view.steps.telemetry.get(argument)
    if readings is None:
        known = ", ".join(sorted(view.steps.telemetry)) or "none"
        raise UserError(f"the run has no telemetry {argument!r}; it has {known}")
    last = np.searchsorted(readings.time_ns, view.end_ns, side="right") - 1
    return [(f"telemetry:{argument}", argument, _taken(readings.value, last))]


def _period(view: _View, argument: str) -> _Found:
    return [("period", "ms", (view.end_ns - view.start_ns) / NS_PER_MS)]


def _difficulty(view: _View, argument: str) -> _Found:
    asked = view.steps.difficulty
    if view.steps.slots == 1:
        return [("difficulty", "1", asked[:, 0])]
    return [(f"difficulty[{j}]", "1", asked[:, j]) for j in range(view.steps.slots)]


def _whole(argument: str, form: str, low: int, high: int) -> int:
    if not argument.isdecimal() or not low <= int(argument) <= high:
        raise UserError(f"write {form} with a whole number from {low} to {high}, not {argument!r}")
    return int(argument)


def _decoded(positions: IntArray, what: str) -> int:
    highest = int(positions.max(initial=-1))
    if highest < 0:
        raise UserError(f"the nonces of this run do not tell the {what}: its miner's layout is not known")
    return highest


KINDS: Mapping[str, Callable[[_View, str], _Found]] = {
    "response": _response,
    "log_response": _log_response,
    "arrival": _arrival,
    "mean_response": _mean_response,
    "interval": _interval,
    "count": _count,
    "count_windows": _count_windows,
    "mean_interval": _mean_interval,
    "last": _last,
    "chip": _chip,
    "core": _core,
    "chip_arrival": _chip_arrival,
    "core_arrival": _core_arrival,
    "nodes": _nodes,
    "telemetry": _telemetry,
    "period": _period,
    "difficulty": _difficulty,
}
"""Every kind of observation."""

WITH_ARGUMENT = ("count_windows", "core", "core_arrival", "nodes", "telemetry")
