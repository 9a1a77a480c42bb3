"""Everything that ``asiclab stats`` prints of a run, under the names of statistics.md §2."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from firmware_bridge.timing import goodness, statistics
from firmware_bridge.timing.run_data import FloatArray, RunData
from firmware_bridge.timing.stream_record import Effort, StreamStatistics
from firmware_bridge.timing.stream_summary import summarise_stream

SCAN_KEYS = (
    "layout",
    "clean",
    "chips",
    "cores",
    "counter_max",
    "slope_ms",
    "intercept_ms",
    "counter_ms",
    "r2",
    "spearman_residual",
)
HASHRATE_KEYS = ("capacity_ths", "naive_ths", "duty")
MAX_MINERS = 64
"""Single summaries of at most this many miners, those with the most shares."""


@dataclass
class RunStatistics:
    """Statistics of a run; unknown is None.

    Attributes:
        run: what the run is and how large, by name.
        streams: ``intervals`` and ``first_share``.
        scan: nonce decoding and the regression of first shares on the scan, or None where no layout fits.
        hashrate: ``capacity_ths``, ``naive_ths`` and ``duty``.
        verdict: JSON form of the verdict, or None where it was not asked for.
        miners: where there are several, a short summary of each, by number.
        notes: what a reader has to know about the run as a whole.
    """

    run: dict[str, Any]
    streams: dict[str, StreamStatistics]
    scan: dict[str, Any] | None
    hashrate: dict[str, Any]
    verdict: dict[str, Any] | None = None
    miners: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The dict that ``asiclab stats --json`` prints: plain types, None for nan and infinity."""
        everything = dict(self.run)
        everything |= {name: stream.to_json() for name, stream in self.streams.items()}
        everything |= {"scan": self.scan, "hashrate": self.hashrate, "verdict": self.verdict}
        everything |= {"miners": self.miners, "notes": self.notes}
        plain: dict[str, Any] = plain_json(everything)
        return plain


def summarise(
    data: RunData,
    *,
    seed: int = 0,
    resamples: int = 500,
    monte_carlo: int = 999,
    surrogates: int = 99,
    confidence: bool = True,
    verdict: bool | None = None,
) -> RunStatistics:
    """Work out all statistics of a run.

    Args:
        data: the run; no share at all is allowed.
        seed: of bootstrap, surrogates, Monte-Carlo tests and fits; equal seeds give equal results.
        resamples: bootstrap resamples.
        monte_carlo: draws of the exponentiality tests.
        surrogates: surrogates per statistic.
        confidence: False leaves out intervals, surrogates, p-values by Monte-Carlo, fits and what is slow for many
            shares.
        verdict: whether to judge the run; as ``confidence`` where not given.
    """
    effort = Effort(confidence, resamples, monte_carlo, surrogates)
    tick, estimated = data.clock_tick_ns, False
    if tick is None:
        tick, estimated = statistics.estimated_tick_ns(data.time_ns), True
    streams = {
        stream.name: summarise_stream(stream, [seed, number], effort, tick)
        for number, stream in enumerate((data.intervals(), data.first_share()))
    }
    run = _run_facts(data) | {"clock_tick_ns": tick, "clock_tick_estimated": estimated if tick else None}
    run |= {"seed": seed, "resamples": resamples, "monte_carlo": monte_carlo} if confidence else {}
    scan, hashrate = _scan(data)
    result = RunStatistics(run, streams, scan, hashrate)
    if verdict if verdict is not None else confidence:
        from firmware_bridge.timing.verdict import judge

        result.verdict = judge(data, seed).to_json()
    _each_miner(result, data)
    _notes(result, data)
    return result


def _run_facts(data: RunData) -> dict[str, Any]:
    unique = ~data.duplicate
    floor = smallest_difficulty(data)
    known = unique & np.isfinite(data.difficulty) & (floor > 0)
    pareto = goodness.pareto_fit(data.difficulty[known] / floor[known])
    difficulty = data.difficulty[~np.isnan(data.difficulty)]
    span_s = float(data.time_ns.max() - data.time_ns.min()) / 1e9 if data.n else None
    return {
        "run": data.run_id,
        "kind": data.kind,
        "mode": data.mode,
        "unverified": data.unverified,
        "time_source": data.time_source,
        "shares": data.n,
        "unique": None if data.unverified else int(unique.sum()),
        "duplicates": None if data.unverified else int(data.duplicate.sum()),
        "jobs": None if data.unverified else int(np.count_nonzero(np.bincount(data.job[data.job >= 0]))),
        "jobs_sent": data.jobs_sent,
        "rows_left_out": data.rows_left_out,
        "span_s": span_s,
        "rate_per_s": (data.n - 1) / span_s if span_s else None,
        "min_difficulty": float(difficulty.min()) if difficulty.size else None,
        "median_difficulty": float(np.median(difficulty)) if difficulty.size else None,
        "n_over_512": int((difficulty > 512).sum()) if difficulty.size else None,
        "n_over_1024": int((difficulty > 1024).sum()) if difficulty.size else None,
        "pareto_ks": pareto.ks,
        "pareto_ks_p": pareto.ks_p,
        "pareto_alpha": pareto.alpha,
        "pareto_alpha_ci": (pareto.alpha_low, pareto.alpha_high) if np.isfinite(pareto.alpha_low) else None,
    }


def smallest_difficulty(data: RunData) -> FloatArray:
    """Smallest difficulty that each share could have had: its miner's floor or what its job asked for; nan unknown."""
    floor = np.full(data.n, np.nan) if data.job_difficulty is None else data.job_difficulty.copy()
    for number, info in data.miners.items():
        if info.floor is not None:
            own = data.miner == number
            floor[own] = np.fmax(floor[own], info.floor)
    return floor


def _hashes_per_difficulty(data: RunData) -> FloatArray:
    """Hashes that a share of difficulty 1 stands for, per row: LBRY's unit is 256 times smaller."""
    return np.full(data.n, 2.0**32) if data.lbry is None else np.where(data.lbry, 2.0**24, 2.0**32)


def _scan(data: RunData) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    from firmware_bridge.timing.scan import scan_summary

    summary = scan_summary(data) if data.n > 1 else None
    if summary is not None:
        found = summary.to_json()
        return {key: found[key] for key in SCAN_KEYS}, {key: found[key] for key in HASHRATE_KEYS}
    naive, span_s = None, 0.0
    if data.n > 1 and not data.unverified:
        span_s = float(data.time_ns.max() - data.time_ns.min()) / 1e9
        work = float((smallest_difficulty(data) * _hashes_per_difficulty(data) * ~data.duplicate).sum())
        naive = work / span_s / 1e12 if span_s > 0 and np.isfinite(work) else None
    return None, {"capacity_ths": None, "naive_ths": naive, "duty": None}


def _each_miner(result: RunStatistics, data: RunData) -> None:
    if len(data.miner_numbers()) < 2:
        return
    numbers, counts = np.unique(data.miner, return_counts=True)
    for number in numbers[np.argsort(-counts, kind="stable")][:MAX_MINERS]:
        rows = data.select(data.miner == number)
        own = summarise(rows, confidence=False)
        info = data.miners.get(int(number))
        result.miners[str(int(number))] = {
            "name": info.name if info else None,
            "model": info.model if info else None,
            **{
                key: own.run[key]
                for key in ("shares", "unique", "duplicates", "jobs", "span_s", "rate_per_s")
            },
            **{key: own.run[key] for key in ("min_difficulty", "pareto_ks", "pareto_alpha")},
            **{name: stream.to_json() for name, stream in own.streams.items()},
            "scan": own.scan,
            "hashrate": own.hashrate,
        }
    if numbers.size > MAX_MINERS:
        result.notes.append(f"{numbers.size} miners; only the {MAX_MINERS} with the most shares stand alone.")


def _notes(result: RunStatistics, data: RunData) -> None:
    notes = result.notes
    if data.n == 0:
        notes.append("The run has no share that verifies.")
    if data.unverified:
        notes.append("Only arrival times are known; nothing was verified.")
    if data.rows_left_out:
        notes.append(f"{data.rows_left_out} shares have no {data.time_source} stamp and are left out.")
    if result.run["clock_tick_estimated"]:
        notes.append("The clock tick is the largest step that fits all stamps; the run does not state one.")
    if data.time_source != "kernel" and data.kind not in ("virtual", "recorded"):
        notes.append(
            f"No kernel stamps: arrival is the {data.time_source} time of user space, some 10 µs late."
        )
    if data.plants:
        planted = ", ".join(f"{kind}={strength:g}" for kind, strength in data.plants.items())
        notes.append(f"Emulated run with planted effects: {planted}.")


def plain_json(value: Any) -> Any:
    """The same value of plain Python types, nan and infinity as None."""
    if isinstance(value, dict):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain_json(value.tolist())
    if isinstance(value, np.generic):
        return plain_json(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value
