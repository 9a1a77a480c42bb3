"""What every import of a recording shares: its result, what is kept of its file, and the steps of its clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import gcd
from pathlib import Path
from typing import Any

from firmware_bridge.errors import UserError
from firmware_bridge.trace.formats import sha256_of
from firmware_bridge.trace.run_writer import RunWriter

BLOCK = 4096
"""Rows that are handed to the writer at a time."""


@dataclass
class ImportResult:
    """What became of a file.

    Attributes:
        run: id of the new run.
        shares: rows stored.
        valid: shares that verify; 0 where nothing can be verified.
        rejected_rows: ``{"line", "reason"}`` of each row that was not stored.
    """

    run: str
    shares: int
    valid: int
    rejected_rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def run_id(self) -> str:
        """The same as ``run``."""
        return self.run

    def to_json(self) -> dict[str, Any]:
        """What ``asiclab import --json`` prints."""
        return {
            "run": self.run,
            "shares": self.shares,
            "valid": self.valid,
            "rejected_rows": self.rejected_rows,
        }


def file_facts(path: Path, form: str) -> dict[str, Any]:
    """What a run stores about the file that it came from."""
    facts = {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path), "form": form}
    return {"import": facts}


def nothing_readable(path: Path, rejected: list[dict[str, Any]]) -> UserError:
    """The error for a file without a single usable row."""
    if not rejected:
        return UserError(f"{path}, line 2: there is no row below the header")
    first = rejected[0]
    return UserError(f"{path}, line {first['line']}: {first['reason']}; no row of the file could be read")


class Steps:
    """Granularity of a recording's stamps, and where they go back in time."""

    def __init__(self) -> None:
        self.first_ns: int | None = None
        self.last_ns = 0
        self._divisor = 0

    def see(self, wall_ns: int, line: int, run: RunWriter) -> None:
        """Take in a stamp; a step back becomes an event of the run."""
        if self.first_ns is None:
            self.first_ns = wall_ns
        elif wall_ns < self.last_ns:
            detail = {"line": line, "step_ns": wall_ns - self.last_ns}
            run.event("clock_step", "warning", detail, wall_ns=wall_ns)
        self._divisor = gcd(self._divisor, wall_ns - self.first_ns)
        self.last_ns = wall_ns

    @property
    def tick_ns(self) -> int | None:
        """Largest step that all stamps are multiples of; None before two differ."""
        return self._divisor or None
