"""Values of a device's answer, field by field: a missing or broken one is None, never 0, and never kills the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def number(row: Mapping[str, Any], *names: str) -> float | None:
    """The first of these fields that holds a finite number, also one written as text."""
    for name in names:
        value = row.get(name)
        if isinstance(value, bool) or value is None:
            continue
        if isinstance(value, str):
            try:
                value = float(value.strip())
            except ValueError:
                continue
        if isinstance(value, int | float):
            try:
                found = float(value)
            except OverflowError:
                continue
            if math.isfinite(found):
                return found
    return None


def whole(row: Mapping[str, Any], *names: str) -> int | None:
    """The first of these fields that holds a whole number."""
    for name in names:
        found = number(row, name)
        if found is not None and found == math.floor(found):
            return int(found)
    return None


def positive(row: Mapping[str, Any], *names: str) -> float | None:
    """As :func:`number`, where 0 and below mean that there is nothing: no sensor, no fan, no board."""
    for name in names:
        found = number(row, name)
        if found is not None and found > 0:
            return found
    return None


def text(row: Mapping[str, Any], *names: str) -> str | None:
    """The first of these fields that holds a text that is not empty."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return None


def largest(values: list[float | None]) -> float | None:
    """The largest of those that are known."""
    known = [value for value in values if value is not None]
    return max(known) if known else None
