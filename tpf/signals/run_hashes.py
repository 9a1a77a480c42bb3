"""Headers and hashes of the shares of a stored run, built anew from its fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from firmware_bridge.headers import Share, build_header, difficulty_unit, sha256d, target_from_difficulty
from firmware_bridge.trace.records import job_from_row

if TYPE_CHECKING:
    from firmware_bridge.trace.reader import TraceReader
    from tpf.signals.hashes import Hashes

MOST = 4000
"""Shares of a run that are hashed again, the first ones."""


@dataclass(frozen=True)
class RunHashes:
    """Shares of one miner, in stored order, repeated ones left out.

    Attributes:
        headers: 80 bytes each.
        hashes: digests of SHA-256d, shape (n, 32).
        targets: largest hash that the miner would have reported, length n.
    """

    headers: tuple[bytes, ...]
    hashes: Hashes
    targets: tuple[int, ...]

    def part(self, rows: slice) -> RunHashes:
        """Some of them."""
        return RunHashes(self.headers[rows], self.hashes[rows], self.targets[rows])


def read_hashes(reader: TraceReader, run: int, miner: int, most: int = MOST) -> RunHashes | None:
    """Hash the valid shares of a miner again; None where the run has no headers, or LBRY's.

    Args:
        reader: of the trace.
        run: number of the run.
        miner: number of the miner in it.
        most: how many, from the start.
    """
    jobs: dict[int, dict[str, Any]] = {row["job"]: row for row in reader.dicts(run, "jobs")}
    floors = {row["miner"]: row["floor"] for row in reader.dicts(run, "miners")}
    headers: dict[bytes, int] = {}
    for row in reader.dicts(run, "shares"):
        told = jobs.get(row["job"])
        if (
            row["miner"] != miner
            or not row["valid"]
            or told is None
            or not told["prevhash"]
            or told["claimtrie"]
        ):
            continue
        job = job_from_row(told)
        share = Share(row["job_id"], row["extranonce2"], row["ntime"], row["nonce"], row["version_bits"])
        asked = max(job.difficulty, floors.get(miner) or 0.0) * job.scale / difficulty_unit(job)
        headers.setdefault(
            build_header(job, share), target_from_difficulty(asked)
        )  # a reload repeats a share
        if len(headers) == most:
            break
    if len(headers) < 2:
        return None
    digests = np.frombuffer(b"".join(sha256d(header) for header in headers), np.uint8).reshape(-1, 32)
    return RunHashes(tuple(headers), digests, tuple(headers.values()))
