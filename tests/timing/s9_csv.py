"""The recorded S9 as RunData without a trace store, so that statistics can be tested on their own."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path

import numpy as np

from firmware_bridge.headers import Job, Share, verify
from firmware_bridge.timing.run_data import MinerInfo, RunData, build_run_data

JOB_FIELDS = ("job_id", "prevhash", "coinb1", "coinb2", "version", "nbits", "ntime", "extranonce1")


def run_data_from_s9_csv(path: Path) -> RunData:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    numbers: dict[tuple[str, ...], int] = {}
    headers: set[bytes] = set()
    job, duplicate, difficulty, wall_ns, since_ns = [], [], [], [], []
    for row in rows:
        key = tuple(row[name] for name in JOB_FIELDS)
        job.append(numbers.setdefault(key, len(numbers) + 1))
        fields = {name: row[name] for name in JOB_FIELDS}
        verified = verify(
            Job(**fields, merkle_branch=(), difficulty=256.0),
            Share(row["job_id"], row["extranonce2"], row["ntime"], row["nonce"]),
        )
        assert verified.meets_job
        duplicate.append(verified.header in headers)
        headers.add(verified.header)
        difficulty.append(verified.difficulty)
        wall_ns.append(int(Decimal(row["timestamp"]) * 10**9))
        since_ns.append(round(float(row["jitter_ms"]) * 1e6))
    return build_run_data(
        run_id="recording",
        kind="recorded",
        time_ns=np.array(wall_ns),
        time_source="wall",
        job=np.array(job),
        since_notify_ns=np.array(since_ns),
        difficulty=np.array(difficulty),
        duplicate=np.array(duplicate),
        extranonce2=np.array([int.from_bytes(bytes.fromhex(r["extranonce2"]), "little") for r in rows]),
        nonce=np.array([int(r["nonce"], 16) for r in rows]),
        version_bits=np.zeros(len(rows)),
        miners={1: MinerInfo("s9", "s9", None, 1.0, 256.0)},
    )
