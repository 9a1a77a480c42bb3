"""A serial port whose bytes are stamped as they arrive: pyserial, and a thread that reads."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
import time
from collections.abc import Callable
from typing import Protocol

import serial

from firmware_bridge.devices.tap import Tap
from firmware_bridge.errors import DeviceError, UserError
from firmware_bridge.stratum.kernel_time import Stamp

READ_TIMEOUT_S = 0.05
OnBytes = Callable[[bytes, Stamp], None]


class Port(Protocol):
    """What a chain needs of its link."""

    path: str

    @property
    def baud(self) -> int:
        """Its speed now."""

    def start(self, on_bytes: OnBytes, on_lost: Callable[[DeviceError], None]) -> None:
        """Deliver what arrives, in the event loop that runs now."""

    def write(self, data: bytes) -> None:
        """Send; returns once the system has taken it.

        Raises:
            DeviceError: if the port is gone.
        """

    def set_baud(self, baud: int) -> None:
        """Let everything out, then change the speed."""

    def close(self) -> None:
        """Let go of it."""


class SerialPort:
    """A port of this host.

    Args:
        path: for example ``/dev/ttyUSB0``.
        baud: at the start.
        tap: sees every byte.

    Raises:
        UserError: if there is no such port, it may not be opened, or somebody else has it: with the remedy.
    """

    def __init__(self, path: str, baud: int = 115_200, *, tap: Tap | None = None) -> None:
        self.path = path
        self._tap = tap
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        try:
            self._port = serial.Serial(path, baud, timeout=READ_TIMEOUT_S, write_timeout=5.0, exclusive=True)
        except (serial.SerialException, OSError, ValueError) as error:
            raise UserError(_why(path, error)) from error

    @property
    def baud(self) -> int:
        """Its speed now."""
        return int(self._port.baudrate)

    def start(self, on_bytes: OnBytes, on_lost: Callable[[DeviceError], None]) -> None:
        """Read in a thread; the callbacks come in the event loop that runs now."""
        loop = asyncio.get_running_loop()

        def deliver(callback: Callable[..., None], *args: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is gone: nobody listens any more
                loop.call_soon_threadsafe(callback, *args)

        def read() -> None:
            while not self._closing.is_set():
                try:
                    data = self._port.read(max(1, self._port.in_waiting))
                except (serial.SerialException, OSError, TypeError) as error:
                    if not self._closing.is_set():
                        text = f"{self.path}: the port went away in the middle ({error}); plug it in again"
                        deliver(on_lost, DeviceError(text))
                    return
                if data:
                    deliver(
                        self._take, on_bytes, bytes(data), Stamp(None, time.monotonic_ns(), time.time_ns())
                    )

        self._thread = threading.Thread(target=read, name=f"read {self.path}", daemon=True)
        self._thread.start()

    def _take(self, on_bytes: OnBytes, data: bytes, stamp: Stamp) -> None:
        if self._tap is not None:
            self._tap.received(data, monotonic_ns=stamp.monotonic_ns, wall_ns=stamp.wall_ns)
        on_bytes(data, stamp)

    def write(self, data: bytes) -> None:
        """Send."""
        if self._tap is not None:
            self._tap.sent(data)
        try:
            self._port.write(data)
        except (serial.SerialException, OSError) as error:
            shown = data[:16].hex(" ")
            raise DeviceError(
                f"{self.path}: {len(data)} bytes could not be sent ({error}): {shown}"
            ) from error

    def set_baud(self, baud: int) -> None:
        """Let everything out, then change the speed.

        Raises:
            DeviceError: if the port cannot go that fast.
        """
        try:
            self._port.flush()
            self._port.baudrate = baud
        except (serial.SerialException, OSError, ValueError) as error:
            raise DeviceError(f"{self.path}: {baud} baud cannot be set ({error})") from error

    def close(self) -> None:
        """Stop reading and close."""
        self._closing.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=2.0)
        with contextlib.suppress(serial.SerialException, OSError):
            self._port.close()


def _why(path: str, error: Exception) -> str:
    number = getattr(error, "errno", None)
    text = str(error)
    if number == errno.ENOENT or "No such file" in text or "FileNotFoundError" in text:
        return (
            f"{path}: there is no such serial port; asiclab devices scan --serial lists those that are there"
        )
    if number in (errno.EACCES, errno.EPERM) or "ermission" in text:
        return (
            f"{path}: this user may not open it; on Debian: sudo usermod -aG dialout $USER, then log in again"
        )
    if number in (errno.EBUSY, errno.EAGAIN) or "lock" in text or "busy" in text:
        return f"{path}: another program has it open; close that first (a terminal, another lab)"
    return f"{path}: cannot be opened as a serial port ({text})"
