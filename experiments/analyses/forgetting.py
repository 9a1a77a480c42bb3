"""The kernel by which a response follows the inputs before it, and the time in which it fades."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Kernel:
    """Least squares coefficients of a response on the inputs of the steps before it.

    Attributes:
        lags: 0 .. L, shape (L + 1,).
        slopes: of each lag, in units of the response per unit of the input, shape (L + 1,).
        errors: standard errors, shape (L + 1,).
        f: F statistic of the lags from ``first`` on.
        p_value: of F with (tested, n - L - 2) degrees of freedom.
        first: smallest lag that is tested.
    """

    lags: npt.NDArray[np.int64]
    slopes: F64
    errors: F64
    f: float
    p_value: float
    first: int


def kernel(response: F64, u: F64, *, most: int = 8, first: int = 1) -> Kernel:
    """Regress a response (T,) on inputs (T,) that are independent from step to step.

    Args:
        response: of each step.
        u: of each step.
        most: L, longest lag.
        first: smallest lag that is tested; those below are fitted, since they take no memory.
    """
    from scipy.stats import f as f_law

    y = response[most:]
    rows = y.size
    x = np.column_stack([np.ones(rows), *(u[most - lag : u.size - lag] for lag in range(most + 1))])
    inverse = np.linalg.inv(x.T @ x)
    beta = inverse @ (x.T @ y)
    freedom = rows - x.shape[1]
    variance = float(((y - x @ beta) ** 2).sum()) / freedom
    tested = slice(1 + first, None)
    # Wald's form of F: b' Cov(b)^-1 b over the number of lags
    part = beta[tested]
    value = float(part @ np.linalg.solve(inverse[tested, tested], part)) / (part.size * variance)
    return Kernel(
        np.arange(most + 1),
        beta[1:],
        np.sqrt(variance * np.diagonal(inverse)[1:]),
        value,
        float(f_law.sf(value, part.size, freedom)),
        first,
    )


@dataclass(frozen=True)
class Fading:
    """``slope(lag) = amplitude exp(-lag step / tau)``, fitted to the lags from 1 on.

    Attributes:
        tau_s: time constant.
        ci_s: its 95 % interval, by the logarithm.
        amplitude: at lag 0, in units of the response per unit of the input.
    """

    tau_s: float
    ci_s: tuple[float, float]
    amplitude: float


def fading(of: Kernel, step_s: float) -> Fading | None:
    """Time constant of a kernel; None where no exponential can be fitted to it."""
    import warnings

    from scipy.optimize import OptimizeWarning, curve_fit

    lags, slopes, errors = (values[of.first :] for values in (of.lags, of.slopes, of.errors))

    def model(lag: F64, amplitude: float, log_tau: float) -> F64:
        return np.asarray(amplitude * np.exp(-lag * step_s / np.exp(log_tau)))

    try:
        with warnings.catch_warnings(), np.errstate(over="ignore"):
            warnings.simplefilter("ignore", OptimizeWarning)  # the error below says the same
            (amplitude, log_tau), covariance = curve_fit(
                model,
                lags.astype(float),
                slopes,
                p0=(slopes[0] * np.e, np.log(step_s)),
                sigma=errors,
                absolute_sigma=True,
                maxfev=2000,
            )
    except RuntimeError:
        return None
    error = float(np.sqrt(covariance[1, 1]))
    if not np.isfinite(error) or error > 2.0:  # a factor of 50 either way is no time constant
        return None
    low, high = np.exp(log_tau - 1.96 * error), np.exp(log_tau + 1.96 * error)
    return Fading(float(np.exp(log_tau)), (float(low), float(high)), float(amplitude))
