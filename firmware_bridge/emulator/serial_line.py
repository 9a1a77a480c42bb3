"""The wire between an emulated chain and its host: its speed, the time that bytes take, and what a bad cable does."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from firmware_bridge.bm13xx.registers import FACTS, Register, uart_baud
from firmware_bridge.emulator.pty_port import PtyPort

BITS_PER_BYTE = 10
"""8N1: a start bit, 8 data bits, a stop bit."""
SPEED_TOLERANCE = 0.05
"""Speeds that differ by more than half a bit in ten do not understand each other."""
RESET_SPEED = uart_baud(FACTS[Register.FAST_UART].power_on or 0)


@dataclass(slots=True)
class LineCounts:
    """What went over the wire.

    Attributes:
        answers: frames that were sent.
        bytes_sent: of them, bytes that were to go out.
        bytes_arrived: bytes that found room at the host, noise included.
        damaged: frames that lost a byte, or got a wrong one.
        overrun_bytes: bytes that found no room because nobody read.
        unheard_bytes: bytes of the host at a speed that the chips do not have.
    """

    answers: int = 0
    bytes_sent: int = 0
    bytes_arrived: int = 0
    damaged: int = 0
    overrun_bytes: int = 0
    unheard_bytes: int = 0


class SerialLine:
    """Frames in the order in which they are queued, each when its last bit is through.

    Args:
        port: the near end of a pseudo-terminal.
        rng: of the faults.
        corrupt: share of the sent bytes that get a wrong bit.
        lose: share of the sent bytes that never arrive.
        noise: share of the frames that have a burst of noise before them.
    """

    def __init__(
        self, port: PtyPort, rng: np.random.Generator, *, corrupt: float, lose: float, noise: float
    ) -> None:
        self.counts = LineCounts()
        self.baud = RESET_SPEED
        self._port, self._rng = port, rng
        self._corrupt, self._lose, self._noise = corrupt, lose, noise
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._free_at = 0.0
        self._host: int | None = None

    def _understands(self, host: int | None) -> bool:
        """Whether chips and a host of this speed hear each other; a host that set none is taken at its word."""
        return host is None or abs(self.baud / host - 1.0) <= SPEED_TOLERANCE

    def read(self, timeout_s: float) -> bytes:
        """What the chips understand of what the host sent.

        Where this thread comes late, what was sent before a change of the host's speed is found together with the new
        speed: it counts at the speed that the host had at the last look.
        """
        data = self._port.read(timeout_s)
        before, self._host = self._host, self._port.host_baud()
        if data and not (self._understands(self._host) or self._understands(before)):
            self.counts.unheard_bytes += len(data)
            return b""
        return data

    def queue(self, when: float, frame: bytes) -> None:
        """Send a frame from a moment on, after those before it."""
        self._waiting.append((when, frame))

    def send_due(self, now: float) -> None:
        """Hand over what is through by now."""
        due = []
        while self._waiting:
            when, frame = self._waiting[0]
            through = max(when, self._free_at) + len(frame) * BITS_PER_BYTE / self.baud
            if through > now:
                break
            self._free_at = through
            self._waiting.popleft()
            due.append(frame)
        if not due:
            return
        counts = self.counts
        counts.answers += len(due)
        counts.bytes_sent += sum(map(len, due))
        if not self._understands(self._port.host_baud()):
            counts.damaged += len(due)
            data = self._rng.bytes(len(due))  # whatever the host makes of it
        elif self._corrupt or self._lose or self._noise:
            data = self._spoiled(due)
        else:
            data = b"".join(due)
        sent = self._port.write(data)
        counts.bytes_arrived += sent
        counts.overrun_bytes += len(data) - sent

    def _spoiled(self, frames: list[bytes]) -> bytes:
        """The frames after a bad cable."""
        rng = self._rng
        out = bytearray()
        for frame in frames:
            if self._noise and rng.random() < self._noise:
                out += rng.bytes(int(rng.integers(1, 24)))
            data = np.frombuffer(frame, np.uint8).copy()
            wrong = rng.random(data.size) < self._corrupt
            data[wrong] ^= (1 << rng.integers(0, 8, int(wrong.sum()))).astype(np.uint8)
            kept = rng.random(data.size) >= self._lose
            self.counts.damaged += bool(wrong.any() or not kept.all())
            out += data[kept].tobytes()
        return bytes(out)
