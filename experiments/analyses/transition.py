"""Curves of a CV over voltage or clock, and whether a critical point explains it better than anything smooth does.

The critical point is Landau's order parameter below a critical voltage (Toward Thermodynamic Reservoir Computing, eq.
3: ``psi = a sqrt(max(0, Vc - V))``), taken off a constant CV. Constant, line and parabola are the smooth alternatives.
They are compared by Akaike's criterion corrected for few points (Hurvich & Tsai 1989, Biometrika 76:297). Among four
curves one is always the best, so that says nothing yet. The test is the likelihood ratio of the transition against the
parabola, of which the other two are special cases and which has as many parameters; its null is drawn from the fitted
parabola, and the critical point is searched in each draw as well (Cox's test by simulation; Williams 1970, Biometrics
26:23). Draws from whichever curve looks best would cry wolf where a slight bend was taken for a line: 13 % for 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

SMOOTH = ("constant", "linear", "quadratic")
TRANSITION = "transition"
CRITICALS = 200
"""Critical values that are tried."""
DRAWS = 999


@dataclass(frozen=True)
class Curve:
    """One curve of CV over a setting.

    Attributes:
        name: ``constant``, ``linear``, ``quadratic`` or ``transition``.
        parameters: of the first group, constant first, by rising power; for the transition (CV above it, a, critical
            value).
        chi2: weighted sum of squares.
        aicc: ``chi2 + 2 k + 2 k (k + 1) / (n - k - 1)``; infinite where the points are too few for so many parameters.
    """

    name: str
    parameters: tuple[float, ...]
    chi2: float
    aicc: float


@dataclass(frozen=True)
class Transition:
    """Whether a critical point explains CVs better than smooth curves do.

    Attributes:
        curves: best first.
        smooth: name of the best smooth curve by AICc.
        gain: AICc of that less AICc of the transition; above 0 where the transition is the better of the two.
        ratio: chi2 of the parabola less that of the transition: twice the logarithm of the ratio of their likelihoods.
        p_value: part of draws from the parabola whose ratio is as large; None where there are too few points.
        critical: its critical value.
        critical_ci: 95 % interval: the values whose chi2 is within 3.84 of the best; None where there is no curve.
    """

    curves: tuple[Curve, ...]
    smooth: str
    gain: float
    ratio: float
    p_value: float | None
    critical: float
    critical_ci: tuple[float, float] | None


class _Fits:
    """Least squares of many data sets at once, for one set of places, errors and groups."""

    def __init__(self, at: F64, errors: F64, groups: Sequence[str]) -> None:
        self.at = at
        self.weight = 1.0 / errors
        names = list(dict.fromkeys(groups))
        # each group has a CV of its own, and one shape holds for all
        self.offsets = np.array([[group == name for name in names] for group in groups], np.float64)
        self.middle, self.width = float(at.mean()), float(np.ptp(at)) or 1.0
        self.levels = np.unique(at)
        low, high = self.levels[0], self.levels[-1]
        # one level above it and one below, so that there is something on both sides
        self.criticals = np.linspace(low, high, CRITICALS + 2)[1:-1]
        shapes = -np.sqrt(np.maximum(0.0, self.criticals[:, None] - at))
        self.stack = np.concatenate(
            [np.broadcast_to(self.offsets, (CRITICALS, *self.offsets.shape)), shapes[:, :, None]], axis=2
        )
        self.smooth = {
            name: np.column_stack([self.offsets, *(self._z() ** power for power in range(1, degree + 1))])
            for degree, name in enumerate(SMOOTH)
            if degree < self.levels.size
        }

    def _z(self) -> F64:
        return np.asarray((self.at - self.middle) / self.width)

    def parameters(self, name: str) -> int:
        """How many a curve has."""
        groups = int(self.offsets.shape[1])
        return groups + (2 if name == TRANSITION else SMOOTH.index(name))

    def aicc(self, name: str, chi2: F64) -> F64:
        """Corrected criterion of a curve."""
        k, n = self.parameters(name), self.at.size
        if n - k - 1 <= 0:
            return np.full(np.shape(chi2), np.inf)
        return np.asarray(chi2 + 2 * k + 2 * k * (k + 1) / (n - k - 1))

    def rests(self, design: F64, y: F64) -> F64:
        """Weighted squares that remain of data (n, b) behind designs (..., n, p): shape (..., b)."""
        q = np.linalg.qr(design * self.weight[:, None])[0]
        weighted = y * self.weight[:, None]
        along = np.swapaxes(q, -1, -2) @ weighted
        return np.asarray(np.maximum(0.0, (weighted**2).sum(axis=0) - (along**2).sum(axis=-2)))

    def coefficients(self, design: F64, y: F64) -> F64:
        """Of one design."""
        weighted = design * self.weight[:, None]
        return np.asarray(np.linalg.lstsq(weighted, y * self.weight, rcond=None)[0], np.float64)

    def ratios(self, y: F64) -> F64:
        """chi2 of the parabola less that of the best transition, of data (n, b)."""
        parabola = self.rests(self.smooth[SMOOTH[-1]], y)
        return np.asarray(parabola - self.rests(self.stack, y).min(axis=0))


def fit_curves(at: F64, cvs: F64, errors: F64, groups: Sequence[str] | None = None) -> list[Curve]:
    """Curves of the CV over a setting, best first.

    Args:
        at: settings, shape (k,), in any order; a transition falls towards small ones.
        cvs: CV at each.
        errors: standard error of each.
        groups: of each, a CV of its own; None where all are one.
    """
    return _curves(_Fits(at, errors, groups or [""] * at.size), cvs)


def _curves(fits: _Fits, cvs: F64) -> list[Curve]:
    column, found = cvs[:, None], []
    groups = fits.offsets.shape[1]
    for name, design in fits.smooth.items():
        beta = fits.coefficients(design, cvs)
        shape = np.array([beta[0], *beta[groups:]])
        # back from the standardised setting to its own unit
        low, high = fits.middle - fits.width, fits.middle + fits.width
        plain = np.polynomial.Polynomial(shape, domain=[low, high], window=[-1, 1]).convert().coef
        chi2 = float(fits.rests(design, column)[0])
        found.append(Curve(name, tuple(plain.tolist()), chi2, float(fits.aicc(name, np.array(chi2)))))
    rests = fits.rests(fits.stack, column)[:, 0]
    best = int(rests.argmin())
    beta = fits.coefficients(fits.stack[best], cvs)
    told = (float(beta[0]), float(beta[-1]), float(fits.criticals[best]))
    chi2 = float(rests[best])
    found.append(Curve(TRANSITION, told, chi2, float(fits.aicc(TRANSITION, np.array(chi2)))))
    return sorted(found, key=lambda curve: (curve.aicc, curve.chi2))


def find_transition(
    at: F64, cvs: F64, errors: F64, groups: Sequence[str], rng: np.random.Generator
) -> Transition:
    """Hold a critical point against the smooth curves.

    Args:
        at: see :func:`fit_curves`.
        cvs: likewise.
        errors: likewise.
        groups: likewise.
        rng: of the draws.
    """
    fits = _Fits(at, errors, groups)
    curves = _curves(fits, cvs)
    smooth = next(curve for curve in curves if curve.name != TRANSITION)
    sharp = next(curve for curve in curves if curve.name == TRANSITION)
    if not math.isfinite(sharp.aicc) or fits.levels.size < 4:
        return Transition(tuple(curves), smooth.name, -math.inf, 0.0, None, sharp.parameters[2], None)
    design = fits.smooth[SMOOTH[-1]]
    mean = design @ fits.coefficients(design, cvs)
    drawn = mean[:, None] + errors[:, None] * rng.standard_normal((at.size, DRAWS))
    ratio = float(fits.ratios(cvs[:, None])[0])
    p_value = (1 + int((fits.ratios(drawn) >= ratio).sum())) / (1 + DRAWS)
    rests = fits.rests(fits.stack, cvs[:, None])[:, 0]
    near = fits.criticals[rests <= rests.min() + 3.84]
    ends = float(near[0]), float(near[-1])
    gain = smooth.aicc - sharp.aicc
    return Transition(tuple(curves), smooth.name, gain, ratio, p_value, sharp.parameters[2], ends)


def in_words(found: Transition, unit: str, sign: float = 1.0) -> str:
    """A sentence on the curves; ``sign`` -1 where the transition was looked for towards large settings."""
    told = ", ".join(f"{curve.name} {curve.aicc:.1f}" for curve in found.curves if math.isfinite(curve.aicc))
    if found.p_value is None or found.critical_ci is None:
        criterion = f". Corrected Akaike criterion: {told}" if told else ""
        return f"The points are too few to tell a critical one from a smooth curve{criterion}"
    low, high = sorted(sign * end for end in found.critical_ci)
    return (
        f"Corrected Akaike criterion: {told}; a critical point at {sign * found.critical:.4g} {unit} ({low:.4g} to "
        f"{high:.4g}) gains {found.gain:+.1f} on the best smooth curve ({found.smooth}), and has {found.ratio:+.1f} on "
        f"the parabola (likelihood ratio, p = {found.p_value:.3g})"
    )
