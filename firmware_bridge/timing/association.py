"""The few tests that a verdict rests on, each with its effect and the smallest effect that it could have shown.

All are rank tests or Monte-Carlo tests under a fitted null, so that neither heavy tails of the host nor an estimated
rate moves their level.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from firmware_bridge.timing.run_data import FloatArray

POWER = 0.9
"""Power at which an effect counts as detectable."""

MONTE_CARLO = 5000
REFERENCE_N = 400
"""Draws behind Monte-Carlo p-values of exponentiality, and the sample size that they are drawn at."""

BLOCK = 20_000
"""Longest sample that Monte-Carlo tests look at; longer ones are represented by a random block."""


@dataclass(frozen=True)
class TestResult:
    """One test of a family.

    Attributes:
        name: what was asked, for machines.
        question: what was asked, for people.
        n: sample size.
        statistic: value of the test statistic, and what it is called in ``statistic_name``.
        p_value: of this test alone.
        effect: slope in ``unit``, or None where the test has none.
        effect_ci: 95 % interval of ``effect``.
        effect_ms: what the effect amounts to over one standard deviation of its cause, in ms.
        detectable: smallest effect in ``unit`` that this n shows with power 0.9 at the family's level.
        counted: False where the effect lies below the resolution of clock or host and no verdict may rest on it.
        note: why something is None or not counted.
    """

    __test__ = False  # not a test case, whatever pytest makes of the name

    name: str
    question: str
    n: int
    statistic_name: str
    statistic: float
    p_value: float
    effect: float | None = None
    effect_ci: tuple[float, float] | None = None
    effect_ms: float | None = None
    unit: str | None = None
    detectable: float | None = None
    counted: bool = True
    note: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return asdict(self)


def random_block(values: FloatArray, rng: np.random.Generator, size: int = BLOCK) -> FloatArray:
    """The values, or a random contiguous block of ``size`` of them where there are more."""
    if values.size <= size:
        return values
    start = int(rng.integers(0, values.size - size + 1))
    return values[start : start + size]


def exponential_distance(values: FloatArray, *, shifted: bool) -> float:
    """Kolmogorov distance of positive values from an exponential law with fitted rate (and start, if ``shifted``).

    With a fitted start the smallest value is taken off and dropped: what remains is iid exponential under the null.
    """
    ordered = np.sort(values)
    if shifted:
        ordered = ordered[1:] - ordered[0]
    n = ordered.size
    mean = float(ordered.mean())
    if n < 2 or mean <= 0:
        return 0.0
    cdf = -np.expm1(-ordered / mean)
    steps = np.arange(n + 1) / n
    return float(max((steps[1:] - cdf).max(), (cdf - steps[:-1]).max()))


def exponential_p(distance: float, n: int) -> float:
    """Monte-Carlo p-value of :func:`exponential_distance` for n values left after any shift (Lilliefors 1969).

    Drawn once at ``REFERENCE_N``; other n are carried over by Stephens' scaling (1974), which holds from n = 5 on.
    """
    null = _exponential_null()
    beyond = null.size - int(np.searchsorted(null, _stephens(distance, n)))
    return (beyond + 1) / (null.size + 1)


def _stephens(distance: float, n: int) -> float:
    root = np.sqrt(n)
    return float((distance - 0.2 / n) * (root + 0.26 + 0.5 / root))


@lru_cache(maxsize=1)
def _exponential_null() -> FloatArray:
    """Sorted null distribution of the scaled distance, the same in every process."""
    rng = np.random.default_rng(1969)
    steps = np.arange(REFERENCE_N + 1) / REFERENCE_N
    null = np.empty(MONTE_CARLO)
    for start in range(0, MONTE_CARLO, 500):
        sample = rng.standard_exponential((500, REFERENCE_N))
        sample.sort(axis=1)
        cdf = -np.expm1(-sample / sample.mean(axis=1, keepdims=True))
        worst = np.maximum((steps[1:] - cdf).max(axis=1), (cdf - steps[:-1]).max(axis=1))
        null[start : start + 500] = [_stephens(float(d), REFERENCE_N) for d in worst]
    return np.sort(null)


def exponential_test(
    name: str, question: str, values: FloatArray, rng: np.random.Generator, *, shifted: bool
) -> TestResult:
    """Are the values exponential? Rate (and start) fitted, p by Monte-Carlo."""
    block = random_block(values, rng)
    distance = exponential_distance(block, shifted=shifted)
    left = block.size - 1 if shifted else block.size
    note = None if block.size == values.size else f"on a random block of {block.size} of {values.size}"
    return TestResult(
        name, question, int(block.size), "KS", distance, exponential_p(distance, left), note=note
    )


def uniform_test(name: str, question: str, values: FloatArray) -> TestResult:
    """Are values in [0, 1] uniform? Kolmogorov-Smirnov, nothing fitted."""
    from scipy.stats import kstest

    result = kstest(values, "uniform")
    return TestResult(name, question, int(values.size), "KS", float(result.statistic), float(result.pvalue))


def memory_test(name: str, question: str, values: FloatArray, lags: int = 20) -> TestResult:
    """Do values in order depend on earlier ones? Ljung-Box on normal scores, which needs no finite variance."""
    from scipy.stats import chi2, norm, rankdata

    n = values.size
    scores = norm.ppf((rankdata(values) - 0.5) / n)
    scores -= scores.mean()
    spread = float(scores @ scores)
    correlations = np.array([float(scores[k:] @ scores[:-k]) / spread for k in range(1, lags + 1)])
    q = n * (n + 2) * float((correlations**2 / (n - np.arange(1, lags + 1))).sum())
    detectable = (norm.isf(0.025) + norm.ppf(POWER)) / np.sqrt(n)
    return TestResult(
        name,
        question,
        int(n),
        "Ljung-Box Q(20)",
        q,
        float(chi2.sf(q, lags)),
        effect=float(correlations[0]),
        unit="lag-1 correlation",
        detectable=float(detectable),
    )


def effective_size(x: FloatArray, y: FloatArray) -> float:
    """Sample size of two series for their correlation: less than n where both are autocorrelated.

    n / (1 + 2 sum of r_x(k) r_y(k)) over lags up to n / 5 (Bartlett 1935), of ranks. Where one of the two shows no
    autocorrelation in single values nor in means of 5, 20 or 50, it counts as white and nothing is taken off: the sum
    would only add noise.
    """
    n = x.size
    a, b = _centred_ranks(x), _centred_ranks(y)
    if not (_autocorrelated(a) and _autocorrelated(b)):
        return float(n)
    product = _autocorrelation(a)[1 : n // 5] * _autocorrelation(b)[1 : n // 5]
    return float(np.clip(n / (1.0 + 2.0 * float(product.sum())), 4.0, n))


def _autocorrelated(series: FloatArray) -> bool:
    for block in (1, 5, 20, 50):
        m = series.size // block
        if m < 20:
            return False
        means = series[: m * block].reshape(m, block).mean(axis=1)
        if _autocorrelation(means)[1] > 2.0 / np.sqrt(m):
            return True
    return False


def _autocorrelation(series: FloatArray) -> FloatArray:
    """Autocorrelation at all lags, by Fourier transform; 0 for a constant."""
    centred = series - series.mean()
    spectrum = np.fft.rfft(centred, 2 * centred.size)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2)[: centred.size]
    correlation: FloatArray = covariance / covariance[0] if covariance[0] > 0 else np.zeros(centred.size)
    return correlation


def _centred_ranks(values: FloatArray) -> FloatArray:
    from scipy.stats import rankdata

    ranks = rankdata(values)
    centred: FloatArray = ranks - ranks.mean()
    return centred


def _correlation(a: FloatArray, b: FloatArray) -> float:
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else 0.0


def rank_correlation(x: FloatArray, y: FloatArray) -> float:
    """Spearman's correlation; 0 where one side does not vary."""
    return _correlation(_centred_ranks(x), _centred_ranks(y))


def association_test(
    name: str,
    question: str,
    cause: FloatArray,
    response_ms: FloatArray,
    unit: str,
    *,
    alpha: float,
    rng: np.random.Generator,
    serial: bool = False,
) -> TestResult:
    """Does a response in ms depend on a cause? Spearman's rank correlation, normal approximation of Fisher's z.

    Args:
        name: see :class:`TestResult`.
        question: see :class:`TestResult`.
        cause: shape (n,).
        response_ms: shape (n,).
        unit: ms per unit of the cause.
        alpha: level of this one test within its family, for the detectable effect.
        rng: for the detectable effect.
        serial: whether both may be autocorrelated in this order, so that n overstates what they tell.
    """
    from scipy.stats import norm

    centred = cause - cause.mean()
    power = float(centred @ centred)
    slope = float(centred @ response_ms / power) if power > 0 else 0.0
    left = response_ms - response_ms.mean() - slope * centred
    # what the cause explains is no drift of the host: only what it leaves may cost sample size
    n_effective = effective_size(cause, left) if serial else float(cause.size)
    error = 1.03 / np.sqrt(
        max(n_effective - 3.0, 1.0)
    )  # Fieller, Hartley & Pearson 1957: var z = 1.06 / (n - 3)
    rho = rank_correlation(cause, response_ms)
    p = float(2.0 * norm.sf(abs(np.arctanh(np.clip(rho, -0.999999, 0.999999))) / error))
    slope_error = float(np.sqrt(left @ left / max(cause.size - 2, 1) / power)) if power > 0 else 0.0
    slope_error *= float(np.sqrt(cause.size / n_effective))
    return TestResult(
        name,
        question,
        int(cause.size),
        "Spearman rho",
        rho,
        p,
        effect=slope,
        effect_ci=(slope - 1.96 * slope_error, slope + 1.96 * slope_error),
        effect_ms=abs(slope) * float(np.std(cause)),
        unit=unit,
        detectable=detectable_slope(cause, response_ms, alpha=alpha, rng=rng, n_effective=n_effective),
        note=None if not serial else f"effective n {n_effective:.0f}",
    )


def detectable_slope(
    cause: FloatArray,
    noise_ms: FloatArray,
    *,
    alpha: float,
    rng: np.random.Generator,
    power: float = POWER,
    n_effective: float | None = None,
    shuffles: int = 4,
) -> float | None:
    """Slope in ms per unit of ``cause`` that the rank test at level ``alpha`` finds with the given power.

    The slope at which the mean rank correlation of cause and (shuffled noise + slope x cause) reaches what the power
    asks for, found by bisection; None where the cause or the noise does not vary.
    """
    from scipy.stats import norm

    n = float(cause.size) if n_effective is None else n_effective
    if cause.size < 10 or np.ptp(cause) == 0 or np.ptp(noise_ms) == 0:
        return None
    wanted = float(np.tanh((norm.isf(alpha / 2) + norm.ppf(power)) * 1.03 / np.sqrt(max(n - 3.0, 1.0))))
    block = min(cause.size, BLOCK)
    x = cause[:block]
    noises = [rng.permutation(noise_ms)[:block] for _ in range(shuffles)]
    ranks = _centred_ranks(x)
    base = [_correlation(ranks, _centred_ranks(noise)) for noise in noises]

    def gain(slope: float) -> float:
        pairs = zip(noises, base, strict=True)
        return float(
            np.mean([_correlation(ranks, _centred_ranks(noise + slope * x)) - b for noise, b in pairs])
        )

    high = float(np.std(noise_ms) / np.std(cause)) * max(wanted, 1e-3)
    for _ in range(40):
        if gain(high) >= wanted:
            break
        high *= 2.0
    low = 0.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if gain(middle) < wanted else (low, middle)
    return high
