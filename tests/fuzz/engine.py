"""Feed a target and watch what it does to memory."""

from __future__ import annotations

import ctypes
import gc
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.mutate import Mutator
from tests.fuzz.targets import Target

MEMORY_LIMIT = 64 * 2**20
"""Bytes that the process may grow by once a target is warm."""


@dataclass(frozen=True)
class Outcome:
    """Inputs that were fed, and bytes that the process grew by after the first tenth of them."""

    inputs: int
    grown_bytes: int
    seconds: float


class FuzzError(AssertionError):
    """A target broke; the message holds the seed, the number and the bytes of the input."""


def resident_bytes() -> int:
    """Memory of this process that is in RAM and in use; 0 where the system does not say."""
    gc.collect()
    with suppress(AttributeError, OSError):  # where there is no glibc
        # what earlier work freed must go back to the system, or new growth hides in it
        ctypes.CDLL(None).malloc_trim(0)
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def fuzz(target: Target, inputs: int, seed: int) -> Outcome:
    """Feed `inputs` mutated inputs.

    Raises:
        FuzzError: if an exception escapes or memory grows beyond `MEMORY_LIMIT`.
    """
    for data in target.corpus:
        target.check(data)
    draw = Mutator(target.corpus, seed)
    start, warm = time.monotonic(), 0
    for number in range(inputs):
        if number == inputs // 10:
            warm = resident_bytes()
        data = draw()
        try:
            target.check(data)
        except Exception as error:
            raise FuzzError(
                f"{target.name}, seed {seed}, input {number}: {error!r} on {data[:2000]!r}"
            ) from error
    grown = max(0, resident_bytes() - warm)
    if grown > MEMORY_LIMIT:
        raise FuzzError(f"{target.name}, seed {seed}: memory grew by {grown} bytes over {inputs} inputs")
    return Outcome(inputs, grown, time.monotonic() - start)
