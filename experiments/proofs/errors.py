"""The errors of the proof check."""

from __future__ import annotations

from firmware_bridge.errors import LabError


class ToolchainError(LabError):
    """There is no Lean to check with, or it does not run; the message says how to get one."""


class LeanError(LabError):
    """Lean ran and gave no complete answer: out of time, out of memory, or stopped by what it read.

    Attributes:
        module: that it was elaborating; empty where it was none.
    """

    def __init__(self, text: str, module: str = "") -> None:
        super().__init__(text)
        self.module = module
