"""What a virtual run yields, as arrays: to be analysed at once, or written into a trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.emulator.drive import UNDRIVEN, sent_fields
from firmware_bridge.emulator.engine import (
    SHARE_EXTRANONCE2,
    SHARE_JOB,
    SHARE_NONCE,
    SHARE_VERSION,
)
from firmware_bridge.headers import DIFFICULTY_1_TARGET

if TYPE_CHECKING:
    from firmware_bridge.emulator.model import Model
    from firmware_bridge.emulator.program import Course
    from firmware_bridge.emulator.virtual_config import VirtualConfig
    from firmware_bridge.timing.run_data import RunData

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

NBITS = 0x1D00FFFF
VERSION = 0x20000000
EXTRANONCE1 = bytes.fromhex("0000ffff")


@dataclass(frozen=True)
class VirtualTrace:
    """A finished virtual run of one miner.

    Attributes:
        config: what was asked for, physics resolved.
        model: the miner.
        job_bytes: uint8[jobs, 96], prevhash, coinb1 and coinb2 of each job.
        job_ntime: uint32[jobs].
        job_extranonce1: uint8[jobs, 4].
        job_version: uint32[jobs].
        job_difficulty: float64[jobs], nominal difficulty that each job asks for.
        job_sent_ns: int64[jobs], since the start of the run.
        symbol: float64[jobs], input symbol of each job.
        row_share: int64[rows], which share each row reports; a repeated number is a duplicate.
        row_ns: int64[rows], the pool's stamp, since the start of the run.
        row_found_ms: float64[rows], when the chip found it.
        share: int64[shares, 6], columns as named in :mod:`engine`.
        digest: uint32[shares, 8], hashes.
        failed_ns: int64[errors], when the host found that a nonce of a chip is wrong, since the start of the run.
        failed_job: int64[errors], index of the job that it belongs to.
        temperature_c: float64[readings], ``physics.telemetry_period_s`` apart.
        tick_ns: resolution of the stamps.
        courses: what the body did in each step of a programme; none where there is no programme.
    """

    config: VirtualConfig
    model: Model
    job_bytes: npt.NDArray[np.uint8]
    job_ntime: npt.NDArray[np.uint32]
    job_extranonce1: npt.NDArray[np.uint8]
    job_version: npt.NDArray[np.uint32]
    job_difficulty: F64
    job_sent_ns: I64
    symbol: F64
    row_share: I64
    row_ns: I64
    row_found_ms: F64
    share: I64
    digest: npt.NDArray[np.uint32]
    failed_ns: I64
    failed_job: I64
    temperature_c: F64
    tick_ns: int
    courses: tuple[Course, ...] = ()

    @property
    def n(self) -> int:
        """Rows, duplicates included."""
        return int(self.row_share.size)

    @cached_property
    def row_job(self) -> I64:
        """Index of the job of each row, from 0."""
        return np.asarray(self.share[self.row_share, SHARE_JOB])

    @cached_property
    def difficulty(self) -> F64:
        """Nominal difficulty of each row's hash."""
        scale = self.config.scale
        digests = np.ascontiguousarray(self.digest.astype(">u4")).tobytes()
        values = [
            DIFFICULTY_1_TARGET / int.from_bytes(digests[i : i + 32], "little") / scale
            for i in range(0, len(digests), 32)
        ]
        return np.array(values, dtype=np.float64)[self.row_share]

    @cached_property
    def duplicate(self) -> npt.NDArray[np.bool_]:
        """Whether an earlier row reports the same share."""
        repeated = np.ones(self.n, dtype=bool)
        repeated[np.unique(self.row_share, return_index=True)[1]] = False
        return repeated

    @cached_property
    def interval_ns(self) -> I64:
        """Time since the previous row; the first is 0 and means nothing."""
        return np.diff(self.row_ns, prepend=self.row_ns[:1])

    @cached_property
    def response_ns(self) -> I64:
        """Time since the row's own job was sent."""
        return np.asarray(self.row_ns - self.job_sent_ns[self.row_job])

    @cached_property
    def since_notify_ns(self) -> I64:
        """Time since the newest job was sent."""
        newest = np.searchsorted(self.job_sent_ns, self.row_ns, side="right") - 1
        # the job that answers a row can carry the same tick as the row: it is newer than the row
        newest = np.maximum(np.minimum(newest, self._jobs_before_row - 1), 0)
        return np.asarray(self.row_ns - self.job_sent_ns[newest])

    @cached_property
    def _jobs_before_row(self) -> I64:
        if self.config.mode == "swh":
            return np.arange(1, self.n + 1, dtype=np.int64)
        return np.full(self.n, self.job_sent_ns.size, dtype=np.int64)

    @cached_property
    def extranonce2(self) -> npt.NDArray[np.uint64]:
        """Counter of each row, as a number."""
        return np.asarray(self.share[self.row_share, SHARE_EXTRANONCE2].astype(np.uint64))

    @cached_property
    def nonce(self) -> npt.NDArray[np.uint32]:
        """Nonce of each row, the number on the wire."""
        return np.asarray(self.share[self.row_share, SHARE_NONCE].astype(np.uint32))

    @cached_property
    def version_bits(self) -> npt.NDArray[np.uint32]:
        """Version bits of each row, the number on the wire."""
        return np.asarray((self.share[self.row_share, SHARE_VERSION] << 13).astype(np.uint32))

    @cached_property
    def row_temperature_c(self) -> F64:
        """Last reading at or before each row."""
        period_ns = self.config.resolved_physics().telemetry_period_s * 1e9
        index = np.minimum((self.row_ns / period_ns).astype(np.int64), self.temperature_c.size - 1)
        return np.asarray(self.temperature_c[index])

    def to_run_data(self) -> RunData:
        """The run as every analysis takes it."""
        from firmware_bridge.timing.run_data import JobTimes, MinerInfo, build_run_data

        numbers = np.arange(1, self.job_sent_ns.size + 1)
        return build_run_data(
            run_id=f"virtual-{self.config.seed}",
            kind="virtual",
            mode=self.config.mode,
            time_ns=self.row_ns,
            time_source="monotonic",
            job=self.row_job + 1,
            response_ns=self.response_ns,
            since_notify_ns=self.since_notify_ns,
            difficulty=self.difficulty,
            job_difficulty=self.job_difficulty[self.row_job],
            duplicate=self.duplicate,
            extranonce2=self.extranonce2,
            nonce=self.nonce,
            version_bits=self.version_bits,
            symbol=self.symbol[self.row_job],
            temperature_c=self.row_temperature_c,
            miners={
                1: MinerInfo(
                    self.model.user,
                    self.model.name,
                    self.config.agent(),
                    self.config.scale,
                    self.config.floor(),
                )
            },
            clock_tick_ns=self.tick_ns,
            jitter_floor={},
            plants=self.config.planted(),
            physics=self.config.resolved_physics().to_json(),
            jobs_sent=int(self.job_sent_ns.size),
            jobs=JobTimes.from_sent(
                numbers, np.ones_like(numbers), self.job_sent_ns.astype(np.float64), self.job_difficulty
            ),
        )

    def job_rows(self, start: int, stop: int) -> list[tuple[Any, ...]]:
        """Rows of the jobs table, columns after ``run``, of the jobs with index ``start`` .. ``stop - 1``."""
        config, base_ns = self.config, self.config.start_wall_ns
        text = self.job_bytes[start:stop].tobytes().hex()
        ntimes = self.job_ntime[start:stop].astype(">u4").tobytes().hex()
        sent = self.job_sent_ns[start:stop].tolist()
        symbols = self.symbol[start:stop].tolist()
        versions = self.job_version[start:stop].tolist()
        extranonce1 = self.job_extranonce1[start:stop].tobytes().hex()
        difficulties = self.job_difficulty[start:stop].tolist()
        carrier = UNDRIVEN if config.drive is None else config.drive.code
        nbits, mask = f"{NBITS:08x}", config.version_mask()
        rows = []
        for i in range(min(stop, self.job_sent_ns.size) - start):
            at = 192 * i
            prevhash = text[at : at + 64]
            rows.append(
                (
                    start + i + 1,
                    1,
                    f"{start + i + 1:x}",
                    prevhash,
                    text[at + 64 : at + 128],
                    text[at + 128 : at + 192],
                    "[]",
                    f"{versions[i]:08x}",
                    nbits,
                    ntimes[8 * i : 8 * i + 8],
                    extranonce1[8 * i : 8 * i + 8],
                    4,
                    True,
                    difficulties[i],
                    config.scale,
                    mask,
                    symbols[i],
                    sent_fields(
                        carrier,
                        self.job_bytes[start + i],
                        self.job_extranonce1[start + i],
                        versions[i],
                        int(self.job_ntime[start + i]),
                        difficulties[i],
                    ),
                    base_ns + sent[i],
                    sent[i],
                    None,
                )
            )
        return rows

    def share_rows(self, start: int, stop: int) -> list[tuple[Any, ...]]:
        """Rows of the shares table, in the order of ``ShareRow``, with index ``start`` .. ``stop - 1``.

        A duplicate is stored as the bridge stores it: not valid, reason ``duplicate``.
        """
        base_ns = self.config.start_wall_ns
        part = slice(start, stop)
        jobs = self.row_job[part]
        extranonce2 = self.extranonce2[part].astype("<u4").tobytes().hex()
        nonce = self.nonce[part].astype(">u4").tobytes().hex()
        ntime = self.job_ntime[jobs].astype(">u4").tobytes().hex()
        bits = self.version_bits[part].astype(">u4").tobytes().hex()
        rolls = self.model.client.version_bits
        columns = zip(
            (jobs + 1).tolist(),
            self.difficulty[part].tolist(),
            self.duplicate[part].tolist(),
            self.row_ns[part].tolist(),
            self.interval_ns[part].tolist(),
            self.response_ns[part].tolist(),
            self.since_notify_ns[part].tolist(),
            strict=True,
        )
        return [
            (
                1,
                job,
                f"{job:x}",
                extranonce2[8 * i : 8 * i + 8],
                ntime[8 * i : 8 * i + 8],
                nonce[8 * i : 8 * i + 8],
                bits[8 * i : 8 * i + 8] if rolls else None,
                difficulty,
                not duplicate,
                "duplicate" if duplicate else None,
                None,
                stamp,
                base_ns + stamp,
                None if start + i == 0 else interval,
                response,
                since_notify,
            )
            for i, (job, difficulty, duplicate, stamp, interval, response, since_notify) in enumerate(columns)
        ]

    def telemetry_rows(self) -> list[tuple[Any, ...]]:
        """Rows of the telemetry table, in the order of ``TelemetryRow``, up to the end of the run."""
        from firmware_bridge.trace.schema import TelemetryRow

        period_ns = round(self.config.resolved_physics().telemetry_period_s * 1e9)
        end_ns = int(self.row_ns[-1]) if self.n else 0
        rate = self.model.capacity_ths * self.config.pace() * 1e3
        if self.courses:
            return self._course_rows(period_ns, rate)
        return [
            TelemetryRow(
                1,
                self.config.start_wall_ns + i * period_ns,
                i * period_ns,
                temperature_c=c,
                hash_rate_ghs=rate,
            )
            for i, c in enumerate(self.temperature_c.tolist())
            if i * period_ns <= end_ns
        ]

    def _course_rows(self, period_ns: int, nominal_ghs: float) -> list[tuple[Any, ...]]:
        """Readings of a programme, with everything that a device could tell."""
        from firmware_bridge.emulator.thermal import FACTS
        from firmware_bridge.trace.schema import TelemetryRow

        rows: list[tuple[Any, ...]] = []
        readings = sum(course.sensed_c.size for course in self.courses)
        errors = np.searchsorted(self.failed_ns, np.arange(readings) * period_ns).tolist()
        for course in self.courses:
            mhz = course.step.frequency_mhz or 0.0
            rate = nominal_ghs * mhz / FACTS[self.model.name].frequency_mhz
            for i in range(course.sensed_c.size):
                rows.append(
                    TelemetryRow(
                        1,
                        self.config.start_wall_ns + len(rows) * period_ns,
                        len(rows) * period_ns,
                        temperature_c=float(course.sensed_c[i]),
                        board_temperature_c=float(course.board_c[i]),
                        voltage_mv=course.step.core_voltage_mv,
                        frequency_mhz=mhz,
                        power_w=float(course.power_w[i]),
                        fan_rpm=float(course.fan_rpm[i]),
                        fan_percent=float(course.fan_percent[i]),
                        hash_rate_ghs=rate * (1.0 - float(course.wrong[i])),
                        hardware_errors=errors[len(rows)],
                    )
                )
        return rows

    def changes(self) -> list[dict[str, Any]]:
        """Settings that the steps of a programme change, as ``RunWriter.setting`` takes them."""
        found: list[dict[str, Any]] = []
        before: dict[str, float | None] = {}
        start_ns = self.config.start_wall_ns
        for number, course in enumerate(self.courses, 1):
            step = course.step
            if self.config.drive is not None:  # with the job that carries the same symbol
                start_ns = self.config.start_wall_ns + int(self.job_sent_ns[number - 1])
            for name in ("frequency_mhz", "core_voltage_mv", "fan_percent"):
                value, previous = getattr(step, name), before.get(name)
                if value is not None and value != previous:
                    texts = (None if previous is None else f"{previous:.10g}", f"{value:.10g}")
                    found.append(
                        {
                            "wall_ns": start_ns,
                            "setting": name,
                            "previous": texts[0],
                            "requested": texts[1],
                            "measured": texts[1],
                            "reason": f"step {number} of the programme",
                        }
                    )
                before[name] = value
            start_ns += round(step.seconds * 1e9)
        return found


def joined(config: VirtualConfig, parts: Sequence[VirtualTrace]) -> VirtualTrace:
    """Runs of the same miner put end to end; each begins with a job of its own."""
    jobs = shares = 0
    start_ns = 0
    tables: dict[str, list[Any]] = {name: [] for name in _JOINED}
    for part in parts:
        share = part.share.copy()
        share[:, SHARE_JOB] += jobs
        shifted = {
            "job_sent_ns": part.job_sent_ns + start_ns,
            "row_share": part.row_share + shares,
            "row_ns": part.row_ns + start_ns,
            "row_found_ms": part.row_found_ms + start_ns / 1e6,
            "share": share,
            "failed_ns": part.failed_ns + start_ns,
            "failed_job": part.failed_job + jobs,
        }
        for name, pieces in tables.items():
            pieces.append(shifted.get(name, getattr(part, name)))
        jobs += part.job_sent_ns.size
        shares += part.share.shape[0]
        start_ns += round(sum(course.step.seconds for course in part.courses) * 1e9)
    return VirtualTrace(
        config=config,
        model=parts[0].model,
        tick_ns=parts[0].tick_ns,
        courses=tuple(course for part in parts for course in part.courses),
        **{name: np.concatenate(pieces) for name, pieces in tables.items()},
    )


_JOINED = (
    "job_bytes", "job_ntime", "job_extranonce1", "job_version", "job_difficulty", "job_sent_ns", "symbol",
    "row_share", "row_ns", "row_found_ms", "share", "digest", "failed_ns", "failed_job",
    "temperature_c",
)  # fmt: skip


def symbols_of(job_bytes: npt.NDArray[np.uint8]) -> F64:
    """Input symbol of each job, from the first four bytes of its prevhash: shape (jobs,)."""
    heads = np.ascontiguousarray(job_bytes[:, :4]).view(">u4")[:, 0]
    return heads.astype(np.float64) / 2.0**32
