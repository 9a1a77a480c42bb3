"""A pseudo-terminal whose other end a program opens like a serial port (Linux and macOS)."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys

from firmware_bridge.errors import UserError

_RATES = (9600, 19200, 57600, 115_200, 230_400, 460_800, 921_600, 1_000_000, 1_500_000, 2_000_000, 3_000_000)
"""Speeds whose names termios may have; not 38400, which every pseudo-terminal starts with."""


def _named_speeds() -> dict[int, int]:
    """Number in termios of each speed that this system knows."""
    try:
        import termios
    except ImportError:  # no pseudo-terminals here either
        return {}
    names = ((getattr(termios, f"B{rate}", None), rate) for rate in _RATES)
    return {number: rate for number, rate in names if number is not None}


_SPEEDS = _named_speeds()


class PtyPort:
    """The near end.

    Raises:
        UserError: where the system has no pseudo-terminals.
    """

    def __init__(self) -> None:
        if sys.platform == "win32":
            raise UserError("an emulated serial port needs a pseudo-terminal: Linux or macOS")
        import pty
        import tty

        self._near, self._far = pty.openpty()
        tty.setraw(self._far)
        os.set_blocking(self._near, False)
        self.path = os.ttyname(self._far)

    def read(self, timeout_s: float) -> bytes:
        """What arrived, waiting at most so long; empty where nothing did."""
        if not select.select([self._near], [], [], max(0.0, timeout_s))[0]:
            return b""
        try:
            return os.read(self._near, 65536)
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno == errno.EIO:  # nobody has the far end open
                return b""
            raise

    def host_baud(self) -> int | None:
        """Speed that the program at the far end set; None where it set none that is known."""
        import termios

        try:
            speed = termios.tcgetattr(self._near)[5]
        except termios.error:
            return None
        return _SPEEDS.get(speed)

    def write(self, data: bytes) -> int:
        """Send; how many bytes found room: a reader that does not read loses the rest, as on a real UART."""
        try:
            return os.write(self._near, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno == errno.EIO:
                return 0
            raise

    def close(self) -> None:
        """Hang up."""
        for handle in (self._near, self._far):
            with contextlib.suppress(OSError):
                os.close(handle)
