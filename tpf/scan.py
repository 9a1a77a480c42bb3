"""How much of a response the position in the scan explains, and whether what is left carries the chip that found it.

The scan is deterministic: with it taken out, an S9 leaves about 1.4 ms of host polling and network (``statistics.md``
§1.3). A fingerprint of the silicon would be a part of that rest which goes with the chip, in both halves of the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from firmware_bridge.errors import UserError
from firmware_bridge.timing.family import resolution_ms
from firmware_bridge.timing.run_data import FloatArray, IntArray, RunData
from firmware_bridge.timing.scan import align, scan_summary
from firmware_bridge.verdict import Verdict
from tpf.groups import AGREEMENT_ALPHA, GroupTest, group_test
from tpf.nonce import PARTS, Evenness, counter_uniformity, decode, evenness, layout_of_run

ALPHA = 0.05
MIN_SHARES = 200
"""Fewer shares that were loaded on time give no verdict on fingerprints."""


@dataclass(frozen=True)
class Residuals:
    """What the scan leaves, share by share.

    Attributes:
        rows: indices into the run, ascending, shape (m,).
        residual_ms: response minus dead time minus work, less its mean, shape (m,).
        chip: that found it, shape (m,).
        core: likewise.
        layout: name of the layout.
        r2: part of the variance of the response that the scan explains.
        dead_ms: response at no work.
        late: shares that were left out because their job was loaded late.
    """

    rows: IntArray
    residual_ms: FloatArray
    chip: IntArray
    core: IntArray
    layout: str
    r2: float
    dead_ms: float
    late: int

    def codes(self, part: str) -> IntArray:
        """Number of the ``chip``, or of the ``core`` on whatever chip, of each share."""
        return self.chip if part == "chip" else self.core


def residuals(data: RunData) -> Residuals:
    """Take the position in the scan out of the responses of a one-miner run; jobs loaded late are left out.

    Raises:
        UserError: if the shares have no nonces of a known layout, or do not follow the scan.
    """
    layout = layout_of_run(data)
    aligned = align(data, resolution_ms=resolution_ms(data))
    if aligned is None:
        raise UserError(
            f"the responses of run {data.run_id} ({data.n} shares) do not follow the scan of {layout.model}: at least "
            "30 clean shares are needed, with the time since their own job"
        )
    usable = aligned.on_time & (data.extranonce2[aligned.rows] >= layout.clean_extranonce2)
    rows = aligned.rows[usable]
    position = layout.decode(data.nonce[rows], data.extranonce2[rows], data.version_bits[rows])
    left = aligned.residual_ms[usable]
    return Residuals(
        rows, left - left.mean(), position.chip, position.core, layout.model, aligned.r2, aligned.dead_ms,
        int((~aligned.on_time).sum()),
    )  # fmt: skip


@dataclass(frozen=True)
class NonceReport:
    """Nonces of a run, its scan, and the question of a fingerprint.

    Attributes:
        run: id of the run.
        layout: name.
        shares: that verify.
        scan: regression of the clean first shares, see :class:`firmware_bridge.timing.scan.ScanSummary`.
        counter_ks: Kolmogorov distance of the counter from uniform, and its p-value.
        evenness: of chips and of cores.
        r2: part of the variance of on-time responses that the scan explains.
        residual_sd_ms: standard deviation of the rest.
        on_time: shares that the rest is known of.
        tests: one per part that has several.
        verdict: on the fingerprint.
        seed: of the permutations.
    """

    run: str
    layout: str
    shares: int
    scan: dict[str, Any] | None
    counter_ks: tuple[float, float]
    evenness: tuple[Evenness, ...]
    r2: float
    residual_sd_ms: float
    on_time: int
    tests: tuple[GroupTest, ...]
    verdict: Verdict
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return {
            "run": self.run,
            "layout": self.layout,
            "shares": self.shares,
            "scan": self.scan,
            "counter": {"ks": self.counter_ks[0], "p_value": self.counter_ks[1]},
            "evenness": [e.to_json() for e in self.evenness],
            "r2": self.r2,
            "residual_sd_ms": self.residual_sd_ms,
            "on_time": self.on_time,
            "tests": [t.to_json() for t in self.tests],
            "verdict": self.verdict.to_json(),
            "seed": self.seed,
        }


def nonce_report(
    data: RunData, *, seed: int = 0, permutations: int = 999, alpha: float = ALPHA
) -> NonceReport:
    """Decode the nonces of a one-miner run and look for a fingerprint in what the scan leaves.

    Chips (and cores) are compared by Kruskal-Wallis under permutations within blocks of 100 shares. It is evidence when
    the p-value, times the number of comparisons, is below ``alpha``, and the means of both halves of the run agree.

    Args:
        data: the run.
        seed: of the permutations.
        permutations: how many.
        alpha: level of the verdict.

    Raises:
        UserError: see :func:`residuals`.
    """
    layout = layout_of_run(data)
    position = decode(layout, data.nonce, data.extranonce2, data.version_bits)
    counts = tuple(evenness(part, getattr(position, part)) for part in PARTS)
    left = residuals(data)
    rng = np.random.default_rng(seed)
    parts = [part for part in PARTS if np.unique(left.codes(part)).size > 1]
    found = [
        group_test(
            part, left.residual_ms, left.codes(part), rng, alpha=alpha / len(parts), permutations=permutations
        )
        for part in parts
    ]
    tests = tuple(test for test in found if test is not None)
    summary = scan_summary(data)
    return NonceReport(
        run=data.run_id,
        layout=layout.model,
        shares=data.n,
        scan=None if summary is None else summary.to_json(),
        counter_ks=counter_uniformity(position.counter, int(position.counter.max()) + 1),
        evenness=counts,
        r2=left.r2,
        residual_sd_ms=float(left.residual_ms.std()),
        on_time=int(left.rows.size),
        tests=tests,
        verdict=_judge(left, tests, alpha),
        seed=seed,
    )


def _judge(left: Residuals, tests: tuple[GroupTest, ...], alpha: float) -> Verdict:
    n = left.rows.size
    if n < MIN_SHARES or not tests:
        return Verdict(
            "cannot_tell", f"{n} shares loaded on time tell no chips apart; {MIN_SHARES} are needed."
        )
    best = min(tests, key=lambda t: t.kruskal_p)
    p = min(1.0, best.kruskal_p * len(tests))
    size = f"{best.sd_ms:.3g} ms between {best.part}s (95 % {best.sd_ci[0]:.2g} to {best.sd_ci[1]:.2g})"
    about = f"The scan explains R² = {left.r2:.5f}; {left.residual_ms.std():.3g} ms (sd) over {n} shares are left. "
    if p < alpha and best.replication > 0 and best.replication_p < AGREEMENT_ALPHA:
        return Verdict(
            "evidence",
            about
            + f"That rest goes with the {best.part}: {size}, p = {p:.2g} for {len(tests)} comparisons, and the "
            f"means of both halves agree (r = {best.replication:.2f}, p = {best.replication_p:.2g}). One device "
            "cannot say whether this is its own or that of its model: see asiclab puf evaluate.",
        )
    shown = "; ".join(f"{t.detectable_ms:.2g} ms between {t.part}s" for t in tests)
    why = (
        ""
        if p >= alpha
        else f" p = {p:.2g}, but the halves of the run do not agree (r = {best.replication:.2f})."
    )
    return Verdict(
        "no_evidence",
        about
        + f"Nothing in it goes with chip or core ({size}, p = {p:.2g} for {len(tests)} comparisons).{why} "
        f"Detectable effect (power 0.9): {shown}.",
    )
