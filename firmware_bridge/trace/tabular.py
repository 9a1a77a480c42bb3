"""Reading CSV line by line, so that a broken line costs that line, and times exactly, so that no nanosecond is lost."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from firmware_bridge.errors import UserError

INT64 = range(-(2**63), 2**63)
UNITS_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_ISO = re.compile(
    r"(\d{4}-?\d\d-?\d\d[T ]\d\d:?\d\d:?\d\d)(?:[.,](\d+))?\s*(Z|[+-]\d\d(?::?\d\d)?)?", re.ASCII
)


class RowError(ValueError):
    """What is wrong with one row; the rest of the file is kept."""


@dataclass(frozen=True)
class CsvFile:
    """A CSV file whose header has been read.

    Attributes:
        path: the file.
        columns: names in the header.
        delimiter: what separates them: comma, semicolon or tab, whichever the header has most of.
    """

    path: Path
    columns: tuple[str, ...]
    delimiter: str

    def rows(self) -> Iterator[tuple[int, dict[str, str] | RowError]]:
        """Line number in the file and the row, or why that line is none; empty lines are passed over."""
        for number, line in _lines(self.path):
            if number == 1 or not line.strip():
                continue
            try:
                fields = _split(line, self.delimiter)
                if len(fields) != len(self.columns):
                    raise RowError(f"{len(fields)} fields where the header has {len(self.columns)}")
            except RowError as error:
                yield number, error
            else:
                yield number, dict(zip(self.columns, fields, strict=True))


def open_csv(path: Path) -> CsvFile:
    """Read the header of a CSV file (UTF-8, with or without byte-order mark, any line ends).

    Raises:
        UserError: if the file is missing, empty, no text, or its header is unusable.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path}, line 1: UTF-16 text; save it as UTF-8")
    if not head.strip(b"\xef\xbb\xbf \r\n\t"):
        raise UserError(f"{path}, line 1: the file is empty; its first line should name the columns")
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK\x03\x04")):
        raise UserError(f"{path}: a compressed file; unpack it first")
    if b"\0" in head:
        raise UserError(f"{path}: binary data, not CSV")
    _, line = next(_lines(path))
    delimiter = max(",;\t", key=line.count)
    try:
        columns = tuple(name.strip() for name in _split(line, delimiter))
    except RowError as error:
        raise UserError(f"{path}, line 1: the header is broken: {error}") from None
    twice = {name for name in columns if columns.count(name) > 1}
    if twice:
        raise UserError(f"{path}, line 1: the header names {', '.join(sorted(twice))} twice")
    return CsvFile(path, columns, delimiter)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    # bytes that are not UTF-8 must cost their own line, not the file
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline=None) as file:
        for number, line in enumerate(file, 1):
            yield number, line.rstrip("\n")


def _split(line: str, delimiter: str) -> list[str]:
    if not line.isascii() and any("\udc80" <= c <= "\udcff" for c in line):
        raise RowError("bytes that are not UTF-8")
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except (csv.Error, StopIteration) as error:
        raise RowError(f"not CSV: {error}") from None


def decimal(text: str, name: str) -> Decimal:
    """A finite number, exactly.

    Raises:
        RowError: if it is none.
    """
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        raise RowError(f"{name} {text!r} is not a number") from None
    if not value.is_finite() or abs(value.adjusted()) > 40:
        raise RowError(f"{name} {text!r} is not a usable number")
    return value


def nanoseconds(value: Decimal, unit_ns: int, name: str) -> int:
    """A number of units as whole ns, rounded to the nearest.

    Raises:
        RowError: if it does not fit into 64 bits.
    """
    found = int((value * unit_ns).to_integral_value())
    if found not in INT64:
        raise RowError(f"{name} {value} is out of range")
    return found


class TimeParser:
    """Arrival times of one column as ns: numbers since the epoch in s, ms, us or ns, or ISO 8601.

    Args:
        unit: ``s``, ``ms``, ``us`` or ``ns``; None to go by the size of the first number (10 digits before the point
            are seconds, 13 ms, 16 us, 19 ns).

    Attributes:
        unit: the unit found, or None while no number was seen.
        assumed_utc: whether a time without a zone was read as UTC.
    """

    def __init__(self, unit: str | None = None) -> None:
        if unit is not None and unit not in UNITS_NS:
            raise UserError(f"a time unit is one of {', '.join(UNITS_NS)}, not {unit!r}")
        self.unit = unit
        self.assumed_utc = False

    def parse(self, text: str) -> int:
        """Nanoseconds since the epoch.

        Raises:
            RowError: if the text is no time.
        """
        text = text.strip()
        iso = _ISO.fullmatch(text)
        if iso and ("-" in text[1:] or "T" in text):
            return self._from_iso(text, *iso.groups())
        value = decimal(text, "timestamp")
        if self.unit is None:
            size = abs(value)
            self.unit = "s" if size < 10**11 else "ms" if size < 10**14 else "us" if size < 10**17 else "ns"
        return nanoseconds(value, UNITS_NS[self.unit], "timestamp")

    def _from_iso(self, text: str, whole: str, fraction: str | None, zone: str | None) -> int:
        try:
            stamp = datetime.fromisoformat(whole + (zone or ""))
        except ValueError as error:
            raise RowError(f"timestamp {text!r}: {error}") from None
        if stamp.tzinfo is None:
            stamp = stamp.replace(tzinfo=UTC)
            self.assumed_utc = True
        since = stamp - datetime(1970, 1, 1, tzinfo=UTC)
        rest = nanoseconds(Decimal(f"0.{fraction or 0}"), 10**9, "timestamp")
        found = (since.days * 86_400 + since.seconds) * 10**9 + rest
        if found not in INT64:
            raise RowError(f"timestamp {text!r} is out of range")
        return found
