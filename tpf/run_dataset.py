"""A run as a dataset: what can be known of a share without its hash, against what its hash turned out to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from firmware_bridge.errors import UserError
from firmware_bridge.timing.run_data import RunData
from tpf.dataset import (
    SUCCESS_OVER_FLOOR,
    WINDOW,
    BoolArray,
    Dataset,
    Feature,
    FloatArray,
    IntArray,
    past_mean,
    past_sd,
)
from tpf.planting import with_delayed_successes

if TYPE_CHECKING:
    from firmware_bridge.timing.scan import ScanLayout
    from firmware_bridge.trace.reader import TraceReader

FIRST_FIT = 250
"""Shares before which no scan model is fitted; afterwards it is fitted anew whenever their number has doubled."""
FIT_ROWS = 50_000
"""Most recent shares that one fit looks at."""

READINGS = ("voltage_mv", "power_w", "frequency_mhz", "fan_rpm", "fan_percent", "hash_rate_ghs")
"""Telemetry beside the temperature, which comes with the run's timing."""

MOST_SHARES = 2_000_000
"""Of a longer run, stretches that are spread evenly over it are read: memory and time do not grow without end."""

NOT_READ = "not read"
"""Why these others are left out."""

UNEVEN = "not asked for by every job"
"""Shares left out where the difficulty changes: of less than the largest one, or of a job that tells none."""

PLANTED_LABELS = {"quality_delay_ms": SUCCESS_OVER_FLOOR}
"""Planted effects that depend on a share's difficulty alone, and above how many times the floor they act."""


def read_dataset(
    reader: TraceReader,
    run: int,
    *,
    threshold: float | None = None,
    miner: str | None = None,
    truth: bool = False,
    window: int = WINDOW,
    delay_ms: float = 0.0,
    most: int = MOST_SHARES,
) -> Dataset:
    """The dataset of a stored run, with all of its telemetry.

    Args:
        reader: of the trace.
        run: number of the run.
        threshold: difficulty that a success reaches; by default 4 times the smallest of the run.
        miner: whose shares, where there are several.
        truth: label what an emulator's planted effect acted on, instead.
        window: rows of the past.
        delay_ms: planted into a copy: by how much shares above 4 times the floor come later.
        most: shares that are read; of a longer run stretches, see :meth:`TraceReader.stretches`.

    Raises:
        UserError: if the run has several miners, no verified difficulty, or no planted truth.
    """
    from firmware_bridge.timing.intervals import load_run

    data = load_run(reader, run, miner, most=most)
    if delay_ms:
        data = with_delayed_successes(data, delay_ms, SUCCESS_OVER_FLOOR * floor_of(data))
    readings = _readings(reader, run, data)
    return run_dataset(data, threshold=threshold, truth=truth, window=window, readings=readings)


def run_dataset(
    data: RunData,
    *,
    threshold: float | None = None,
    truth: bool = False,
    window: int = WINDOW,
    readings: dict[str, FloatArray] | None = None,
) -> Dataset:
    """The dataset of a run in memory.

    Args:
        data: one miner's run.
        threshold: see :func:`read_dataset`.
        truth: see :func:`read_dataset`.
        window: rows of the past.
        readings: further telemetry, name to the last reading before each share, shape (n,).

    Raises:
        UserError: if the run has several miners, no verified difficulty, or no planted truth.
    """
    if data.n == 0:
        raise UserError(f"run {data.run_id} has no share that verifies: there is nothing to learn from")
    if len(data.miner_numbers()) != 1:
        names = ", ".join(info.name for info in data.miners.values())
        raise UserError(
            f"run {data.run_id} has several miners ({names}), whose timing has nothing in common; "
            "say whose with --miner NAME"
        )
    known = ~np.isnan(data.difficulty)
    if data.unverified or not known.any():
        raise UserError(
            f"run {data.run_id} tells arrival times only: without the job of a share nobody knows its difficulty, "
            "and there is no label"
        )
    y, label, limit, fair = _label(data, threshold, truth)
    X, features = _features(data, window, readings or {})
    keep = known & ~data.duplicate & fair
    number = np.arange(data.n) if data.place is None else data.place
    if data.stretch is not None:  # the past of the first rows of a stretch was not read
        first, of = np.unique(data.stretch, return_index=True, return_inverse=True)[1:]
        keep &= np.arange(data.n) - first[of] > window
    left_out = {
        "duplicate": int(data.duplicate.sum()),
        "no difficulty": int((~known & ~data.duplicate).sum()),
        "no time": data.rows_left_out,
        UNEVEN: int((known & ~data.duplicate & ~fair).sum()),
        "first of a stretch": int((known & ~data.duplicate & fair & ~keep).sum()),
        NOT_READ: data.not_read,
    }
    intervals = data.interval_ms[~np.isnan(data.interval_ms)]
    return Dataset(
        name=data.run_id,
        X=X[keep],
        y=y[keep],
        features=features,
        label=label,
        row=number[keep] + 1,
        gap=window,
        threshold=limit,
        left_out={reason: count for reason, count in left_out.items() if count},
        mean_interval_ms=float(intervals.mean()) if intervals.size else None,
        clock_tick_ms=None if data.clock_tick_ns is None else data.clock_tick_ns / 1e6,
        plants=dict(data.plants),
    ).varying()


def floor_of(data: RunData) -> float:
    """Smallest difficulty that the run's miner ever submits.

    Raises:
        UserError: if neither a miner nor a job tells it.
    """
    from firmware_bridge.timing.summary import smallest_difficulty

    floors = smallest_difficulty(data)
    if np.isnan(floors).all():
        raise UserError(
            f"run {data.run_id} does not tell its smallest difficulty; say what counts as success: --threshold D"
        )
    return float(np.nanmin(floors))


def _label(
    data: RunData, threshold: float | None, truth: bool
) -> tuple[BoolArray, str, float | None, BoolArray]:
    """Label of each share, in words, the difficulty that it asks for if that is one, and which shares may have one.

    A pool that changes its difficulty changes what a share is at least. At a fixed limit more of the shares of a harder
    job would be successes, and whatever goes with the difficulty (the interval, first of all) would tell the label.
    """
    from firmware_bridge.timing.summary import smallest_difficulty

    every = np.ones(data.n, bool)
    if truth:
        acting = [kind for kind in PLANTED_LABELS if data.plants.get(kind)]
        if not acting:
            raise UserError(
                f"run {data.run_id} has no planted effect on some of its shares: there is no emulator's truth to "
                "label; emulate with --plant quality_delay_ms=40, or label by difficulty"
            )
        limit = PLANTED_LABELS[acting[0]] * floor_of(data)
        return data.difficulty > limit, f"the planted {acting[0]} acted on the share", limit, every
    floors = smallest_difficulty(data)
    told = floors[~np.isnan(floors)]
    if told.size == 0 or np.ptp(told) <= 1e-9 * told.max():
        limit = SUCCESS_OVER_FLOOR * floor_of(data) if threshold is None else threshold
        return data.difficulty >= limit, f"verified difficulty >= {limit:g}", limit, every
    if threshold is None:
        text = f"verified difficulty >= {SUCCESS_OVER_FLOOR:g} times what its job asked for"
        return data.difficulty >= SUCCESS_OVER_FLOOR * floors, text, None, ~np.isnan(floors)
    # what any job would have let through: of these, as many are successes whatever the job asked for
    fair = data.difficulty >= told.max()
    return data.difficulty >= threshold, f"verified difficulty >= {threshold:g}", threshold, fair


def _features(
    data: RunData, window: int, readings: dict[str, FloatArray]
) -> tuple[FloatArray, tuple[Feature, ...]]:
    columns: list[tuple[Feature, FloatArray]] = [
        (
            Feature("response_ms", "timing", text="arrival less the time when its own job was sent"),
            data.response_ms,
        ),
        (
            Feature("interval_ms", "timing", -1, 0, "arrival less that of the row before"),
            data.interval_ms,
        ),
        (
            Feature("temperature_c", "telemetry", text="last temperature at or before the share"),
            data.temperature_c,
        ),
    ]
    columns += [
        (Feature(name, "telemetry", text="last reading at or before the share"), values)
        for name, values in readings.items()
    ]
    columns += _scan_features(data)
    past = (-window, -1)
    for name, values in (("interval_ms", data.interval_ms), ("response_ms", data.response_ms)):
        columns += [
            (
                Feature(f"past_mean_{name}", "past", *past, f"mean {name} of the {window} rows before"),
                past_mean(values, window),
            ),
            (
                Feature(f"past_sd_{name}", "past", *past, f"deviation of {name} in the {window} rows before"),
                past_sd(values, window),
            ),
        ]
    return np.column_stack([values for _, values in columns]), tuple(feature for feature, _ in columns)


def _scan_features(data: RunData) -> list[tuple[Feature, FloatArray]]:
    from firmware_bridge.timing.scan import layout_of

    # which layout it is may be seen from all rows: it says nothing of any one
    layout = layout_of(data)
    if layout is None:
        return []
    position = layout.decode(data.nonce, data.extranonce2, data.version_bits)
    scan = position.counter / layout.counter_span
    columns = [
        (Feature("chip", "scan", text="number of the chip on its chain"), position.chip.astype(np.float64)),
        (Feature("core", "scan", text="number of the core on its chip"), position.core.astype(np.float64)),
        (Feature("counter", "scan", text="scan counter over its span"), scan),
    ]
    for i, name in enumerate(layout.coarse):
        columns.append((Feature(name.replace(" ", "_"), "scan", text="passes so far"), position.coarse[:, i]))
    design = np.column_stack([np.ones(data.n), position.coarse, scan])
    text = "response less dead time and work, by a scan model of earlier rows alone"
    columns.append(
        (Feature("scan_residual_ms", "timing", -FIT_ROWS, 0, text), _residual(data, layout, design))
    )
    return columns


def _residual(data: RunData, layout: ScanLayout, design: FloatArray) -> FloatArray:
    """Response less what the scan explains, shape (n,); the model of each row was fitted to rows before it."""
    from firmware_bridge.timing.scan import align

    residual = np.full(data.n, np.nan)
    stop = FIRST_FIT
    while stop < data.n:
        fitted = align(data.select(slice(max(0, stop - FIT_ROWS), stop)), resolution_ms=_tick_ms(data))
        end = min(2 * stop, data.n)
        if fitted is not None:
            part = slice(stop, end)
            residual[part] = data.response_ms[part] - design[part] @ fitted.coefficients
        stop = end
    return residual


def _tick_ms(data: RunData) -> float:
    return max(1e-6, (data.clock_tick_ns or 1) / 1e6)


def _readings(reader: TraceReader, run: int, data: RunData) -> dict[str, FloatArray]:
    """Last reading of each kind at or before every share; kinds that were never read are left out."""
    clock = "monotonic_ns" if data.time_source == "monotonic" else "wall_ns"
    table = reader.columns(run, "telemetry", ("miner", clock, "source", *READINGS))
    own = table.null["miner"] | (table.values["miner"] == data.miner_numbers()[0] if data.n else False)
    usable = own & table.null["source"] & ~table.null[clock]
    found: dict[str, FloatArray] = {}
    for name in READINGS:
        rows = usable & ~table.null[name]
        if not rows.any():
            continue
        at: IntArray = table.values[clock][rows].astype(np.int64)
        order = np.argsort(at, kind="stable")
        values = table.values[name][rows].astype(np.float64)[order]
        last = np.searchsorted(at[order], data.time_ns, side="right") - 1
        found[name] = np.where(last >= 0, values[np.maximum(last, 0)], np.nan)
    return found
