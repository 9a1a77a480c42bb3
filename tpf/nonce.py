"""What a nonce says of the silicon that found it: chip, core and scan counter, and whether all of them work alike.

A fair hash gives every chip and every core the same chance, so their counts are those of dice; a part that is missing
or rare is broken, slow, or switched off. Layouts: Antminer S9 (``statistics.md`` §1.2), BM1366 alone or in a chain
(``hardware.md`` §1.4, §1.9).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import UserError
from firmware_bridge.timing.run_data import FloatArray, IntArray, RunData
from firmware_bridge.timing.scan import LAYOUTS, ScanLayout, ScanPosition, bm1366_layout, layout_of

LAYOUT_NAMES = ("s9", "lv06", "bm1366")

PARTS = ("chip", "core")
"""What shares are grouped by."""

MIN_EXPECTED = 5.0
"""Fewer shares than this per part make no chi-square test (Cochran 1954)."""


def layout_named(name: str, chips: int = 1) -> ScanLayout:
    """The layout of a model.

    Args:
        name: ``s9``, ``lv06`` or ``bm1366``.
        chips: length of the chain of a ``bm1366``.

    Raises:
        UserError: if there is no such layout.
    """
    if name == "bm1366":
        if not 1 <= chips <= 128:
            raise UserError(f"a chain of BM1366 has 1 to 128 chips, not {chips}")
        return bm1366_layout(chips)
    if name not in LAYOUTS:
        raise UserError(f"there is no nonce layout {name!r}; there are {', '.join(LAYOUT_NAMES)}")
    return LAYOUTS[name]


def decode(
    layout: ScanLayout, nonce: npt.ArrayLike, extranonce2: npt.ArrayLike = 0, version_bits: npt.ArrayLike = 0
) -> ScanPosition:
    """Take nonces apart.

    Args:
        layout: of the model.
        nonce: numbers on the wire of Stratum, shape (n,).
        extranonce2: little-endian numbers, shape (n,) or one for all.
        version_bits: numbers on the wire, likewise.

    Returns:
        Chip, core, counter, and the columns that count whole passes.
    """
    words = np.atleast_1d(np.asarray(nonce, np.uint32))
    return layout.decode(
        words,
        np.broadcast_to(np.asarray(extranonce2, np.uint64), words.shape),
        np.broadcast_to(np.asarray(version_bits, np.uint32), words.shape),
    )


def layout_of_run(data: RunData) -> ScanLayout:
    """Layout of the miner of a run.

    Raises:
        UserError: if the run has several miners, no nonces, or nonces of no known layout.
    """
    if data.n == 0:
        raise UserError(f"run {data.run_id} has no share that verifies")
    if np.unique(data.miner).size > 1:
        names = ", ".join(data.miners[m].name for m in data.miner_numbers())
        raise UserError(f"run {data.run_id} has several miners: choose one with --miner ({names})")
    if not data.extranonce2_known or data.unverified:
        raise UserError(
            f"run {data.run_id} holds arrival times alone: without nonces nobody knows who found a share"
        )
    layout = layout_of(data)
    if layout is None:
        raise UserError(
            f"the nonces of run {data.run_id} follow no layout known here ({', '.join(LAYOUT_NAMES)}): its shares "
            "cannot be laid to chips and cores"
        )
    return layout


@dataclass(frozen=True)
class Evenness:
    """How evenly parts of the silicon find shares.

    Attributes:
        part: ``chip`` or ``core``.
        seen: parts that found any share.
        n: shares.
        fewest: of a seen part.
        most: of a seen part.
        chi2: of the counts of the seen parts against equal ones; None where fewer than ``MIN_EXPECTED`` are expected.
        p_value: of it.
        code_fewest: number of the part with the fewest.
        code_most: number of the part with the most.
    """

    part: str
    seen: int
    n: int
    fewest: int
    most: int
    chi2: float | None
    p_value: float | None
    code_fewest: int
    code_most: int

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return asdict(self)


def evenness(part: str, codes: IntArray) -> Evenness:
    """Chi-square test of equal chances.

    Parts that found nothing at all are not counted: a model has codes that it does not use.

    Args:
        part: what the codes number.
        codes: part that found each share, shape (n,), n >= 1.
    """
    from scipy.stats import chisquare

    names, counts = np.unique(codes, return_counts=True)
    enough = names.size > 1 and codes.size / names.size >= MIN_EXPECTED
    test = chisquare(counts) if enough else None
    return Evenness(
        part,
        int(names.size),
        int(codes.size),
        int(counts.min()),
        int(counts.max()),
        None if test is None else float(test.statistic),
        None if test is None else float(test.pvalue),
        int(names[counts.argmin()]),
        int(names[counts.argmax()]),
    )


def counter_uniformity(counter: IntArray, span: int) -> tuple[float, float]:
    """Kolmogorov distance of the scan counter from uniform on 0 .. span - 1, and its p-value.

    Args:
        counter: shape (n,).
        span: number of values the chip goes through: the largest one seen plus one where a time-out cuts it off.
    """
    from scipy.stats import kstest

    where: FloatArray = (counter + 0.5) / span
    found = kstest(where, "uniform")
    return float(found.statistic), float(found.pvalue)
