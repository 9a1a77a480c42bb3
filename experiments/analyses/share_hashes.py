"""The hashes of a subject's shares, with the largest hash that each might have had."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments.attached import Attached
from experiments.subjects import Emulated, Recorded, Subject
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from tpf.signals.hashes import Hashes


@dataclass(frozen=True)
class ShareHashes:
    """Hashes in stored order, repeated shares left out.

    Attributes:
        hashes: digests, shape (n, 32).
        targets: largest hash that the miner would have reported, length n.
    """

    hashes: Hashes
    targets: tuple[int, ...]


def share_hashes(subject: Subject, seed: int, shares: int) -> ShareHashes | None:
    """Hashes of a run of its own for each seed, or of a stored one; None where it has no headers.

    Args:
        subject: an emulated or attached miner, or a stored run of one.
        seed: of the run.
        shares: at most so many.

    Raises:
        UserError: if the subject is another one, or the stored run has several miners.
    """
    import numpy as np

    if isinstance(subject, Emulated):
        from firmware_bridge.emulator.virtual import simulate
        from firmware_bridge.headers import target_from_difficulty

        config = subject.config(seed, shares=shares)
        trace = simulate(config)
        own = np.ascontiguousarray(trace.digest[trace.row_share[~trace.duplicate]].astype(">u4"))
        target = target_from_difficulty(config.floor() * config.scale)
        return ShareHashes(own.view(np.uint8).reshape(-1, 32), (target,) * own.shape[0])
    from firmware_bridge.trace.reader import TraceReader
    from tpf.signals.run_hashes import read_hashes

    if isinstance(subject, Recorded):
        name = subject.run
    elif isinstance(subject, Attached):
        name = subject.data(seed, shares=shares).run_id
    else:
        raise UserError(f"a {subject.kind} gives no hashes")
    reader = TraceReader(subject.db)
    run = reader.resolve(name)
    numbers = [row["miner"] for row in reader.dicts(run, "miners")]
    if len(numbers) > 1:
        raise UserError(f"run {name} has {len(numbers)} miners: hashes of one miner are compared")
    found = read_hashes(reader, run, int(numbers[0]) if numbers else 0, shares)
    return None if found is None else ShareHashes(found.hashes, found.targets)
