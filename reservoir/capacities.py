"""How much of its past input a state holds: linear memory and information processing capacity, with their null values.

``C[z] = z^T X (X^T X)^-1 X^T z / z^T z`` for a centred state matrix X of T rows and rank N and a target z (Dambre et
al. 2012, Sci. Rep. 2:514). A target that has nothing to do with X still scores ``Beta(N/2, (T-1-N)/2)`` with mean
``N/(T-1)``; so a capacity counts only above the quantile of that null, and its mean is taken off.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import linalg, stats
from scipy.linalg import blas

from firmware_bridge.errors import UserError

F64 = npt.NDArray[np.float64]

RELATIVE_TOLERANCE = 1e-10
"""Singular values below this part of the largest are noise of the arithmetic."""
FALSE_ALARM = 1e-4
"""Chance that any one of all targets passes by luck, as Dambre et al. take it."""
Combination = tuple[tuple[int, int], ...]
"""Delays and degrees, ``((delay, degree), ...)``, of one product of Legendre polynomials."""


@dataclass(frozen=True)
class Capacity:
    """Capacities of a set of targets.

    Attributes:
        total: sum of what passes the threshold, the null's mean taken off.
        raw: sum of all, as they come.
        null_mean: what each would score by chance.
        threshold: what one has to pass.
        rank: N, numerical rank of the centred states: the most that any total can be.
        rows: T.
        passed: targets above the threshold.
        targets: targets looked at.
        by_degree: total degree to its part of ``total``.
        by_delay: longest delay of a target to its part of ``total``.
        spectrum: total degree and longest delay to its part of ``total``.
        values: target to its raw capacity, where it passed.
        standard_error: of ``total``, for independent targets.
    """

    total: float
    raw: float
    null_mean: float
    threshold: float
    rank: int
    rows: int
    passed: int
    targets: int
    by_degree: dict[int, float]
    by_delay: dict[int, float]
    spectrum: dict[tuple[int, int], float]
    values: dict[Combination, float]
    standard_error: float

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        plain = asdict(self)
        plain["spectrum"] = [
            {"degree": degree, "delay": delay, "c": c} for (degree, delay), c in self.spectrum.items()
        ]
        plain["values"] = [{"target": [list(part) for part in key], "c": c} for key, c in self.values.items()]
        return plain


def orthonormal_states(states: F64) -> F64:
    """Orthonormal columns that span the centred states: shape (T, rank).

    Raises:
        UserError: if there are no more rows than states, so that everything would be fitted.
    """
    x = np.asarray(states, dtype=np.float64)
    x = x - x.mean(axis=0)
    if x.shape[0] < x.shape[1] + 2:
        raise UserError(f"{x.shape[0]} rows of {x.shape[1]} states: capacities need more rows than states")
    scale = np.sqrt((x**2).mean(axis=0))
    used = scale > RELATIVE_TOLERANCE * max(float(scale.max(initial=0.0)), np.finfo(float).tiny)
    x = x[:, used] / scale[used]
    if not x.shape[1]:
        return np.zeros((x.shape[0], 0))
    # the eigenvectors of the small Gram matrix give the basis; a second pass removes what rounding left
    values, vectors = linalg.eigh(x.T @ x)
    keep = values > RELATIVE_TOLERANCE * values[-1]
    basis = x @ (vectors[:, keep] / np.sqrt(values[keep]))
    # the basis is orthonormal to about 1e-6 by now, so that a Cholesky factor is as good as a QR decomposition
    factor = linalg.cholesky(basis.T @ basis)
    return np.asarray(blas.dtrsm(1.0, factor, basis.T, trans_a=1, overwrite_b=1).T)


def legendre(u: F64, degree: int) -> F64:
    """Orthonormal Legendre polynomial of an input uniform on [-1, 1]: ``sqrt(2n+1) P_n(u)``, shape of u."""
    return np.asarray(np.sqrt(2.0 * degree + 1.0) * np.polynomial.legendre.Legendre.basis(degree)(u))


def orthonormal_polynomials(u: F64, degree: int) -> list[F64]:
    """Polynomials of degree 0 .. ``degree`` that are orthonormal over the values of u themselves, each of its shape.

    For a uniform input they tend to the Legendre polynomials; for one of m values there are only m of them, so that
    fewer than ``degree + 1`` may come back.
    """
    centred = np.asarray(u, dtype=np.float64) - np.mean(u)
    peak = float(np.abs(centred).max(initial=0.0))
    powers = np.polynomial.legendre.legvander(centred / peak if peak > 0 else centred, degree)
    powers = powers[:, : np.unique(centred).size]
    q, r = linalg.qr(powers, mode="economic")
    return [np.asarray(column) for column in (q * (np.sign(np.diagonal(r)) * np.sqrt(centred.size))).T]


def combinations(degree: int, most_delay: int) -> Iterator[Combination]:
    """Every product of total degree ``degree`` over the delays 0 .. ``most_delay``."""
    for parts in _partitions(degree):
        for delays in itertools.permutations(range(most_delay + 1), len(parts)):
            # equal degrees are interchangeable: only their ordered arrangement counts
            if all(delays[i] < delays[i + 1] for i in range(len(parts) - 1) if parts[i] == parts[i + 1]):
                yield tuple(sorted(zip(delays, parts, strict=True)))


def _partitions(total: int, most: int | None = None) -> Iterator[tuple[int, ...]]:
    if total == 0:
        yield ()
        return
    for first in range(min(total, most or total), 0, -1):
        for rest in _partitions(total - first, first):
            yield (first, *rest)


def information_processing_capacity(
    states: F64,
    u: F64,
    targets: Iterable[Combination] | None = None,
    *,
    degrees: tuple[int, ...] = (1, 2, 3),
    most_delay: int = 10,
    false_alarm: float = FALSE_ALARM,
    basis: Literal["legendre", "empirical"] = "legendre",
) -> Capacity:
    """Capacities for products of orthonormal polynomials of delayed inputs.

    Args:
        states: shape (T, N); row k has seen ``u`` up to its own row.
        u: shape (T,) or longer: further inputs stand *before* the first row, so that delays reach into them. For the
            theory to hold it is independent from step to step.
        targets: the products; by default all of the given degrees and delays.
        degrees: see there.
        most_delay: see there.
        false_alarm: chance that any target passes by luck.
        basis: ``legendre`` for an input uniform on [-1, 1]; ``empirical`` for any other: polynomials that are
            orthonormal over its own values. Degrees that it has too few values for are then left out.

    Raises:
        UserError: if there are too few inputs or rows.
    """
    chosen = (
        list(targets) if targets is not None else [c for d in degrees for c in combinations(d, most_delay)]
    )
    inputs = np.asarray(u, dtype=np.float64)
    needed = sorted({degree for target in chosen for _, degree in target})
    if basis == "legendre":
        polynomials = {degree: legendre(inputs, degree) for degree in needed}
    else:
        polynomials = dict(enumerate(orthonormal_polynomials(inputs, max(needed, default=0))))
        chosen = [target for target in chosen if all(degree in polynomials for _, degree in target)]
    raw, rank, rows = raw_capacities(states, polynomials, chosen)
    return _counted(chosen, raw, rank, rows, false_alarm)


def raw_capacities(
    states: F64, polynomials: Mapping[int, F64], targets: Sequence[Combination]
) -> tuple[F64, int, int]:
    """Capacities as they come, chance included.

    Args:
        states: shape (T, N).
        polynomials: degree to its values over the input, shape (T,) or longer, see
            :func:`information_processing_capacity`.
        targets: products of them.

    Returns:
        The capacities (targets,), the rank of the states and the rows that were used.

    Raises:
        UserError: if there are no targets, or too few inputs or rows.
    """
    if not targets:
        raise UserError("no targets: give degrees of at least 1, and an input that varies")
    reach = max(delay for target in targets for delay, _ in target)
    end = next(iter(polynomials.values())).shape[0]
    before = end - states.shape[0]
    if before < 0:
        raise UserError(f"{end} inputs for {states.shape[0]} rows of states: each row needs its own")
    x = orthonormal_states(
        states[max(0, reach - before) :]
    )  # rows that reach before the first input are left out
    rows = x.shape[0]
    raw = np.empty(len(targets))
    block = max(1, min(len(targets), 20_000_000 // max(rows, 1)))
    for start in range(0, len(targets), block):
        part = targets[start : start + block]
        z = np.ones((len(part), rows))
        for row, target in zip(z, part, strict=True):
            for delay, degree in target:
                row *= polynomials[degree][end - rows - delay : end - delay]
        z -= z.mean(axis=1, keepdims=True)
        norms = np.einsum("ij,ij->i", z, z)
        projected = z @ x
        raw[start : start + block] = np.einsum("ij,ij->i", projected, projected) / np.where(
            norms > 0, norms, 1.0
        )
    return raw, x.shape[1], rows


def null_threshold(rank: int, rows: int, targets: int, false_alarm: float = FALSE_ALARM) -> float:
    """What one of ``targets`` capacities has to pass, so that none does by luck but with ``false_alarm``."""
    if not rank:
        return 0.0
    return float(stats.beta(rank / 2.0, (rows - 1 - rank) / 2.0).isf(false_alarm / targets))


def _counted(chosen: list[Combination], raw: F64, rank: int, rows: int, false_alarm: float) -> Capacity:
    mean = rank / (rows - 1)
    threshold = null_threshold(rank, rows, len(chosen), false_alarm)
    passed = raw > threshold
    debiased = np.where(passed, (raw - mean) / (1.0 - mean), 0.0)
    spectrum: dict[tuple[int, int], float] = {}
    for target, value in zip(chosen, debiased, strict=True):
        place = sum(degree for _, degree in target), max(delay for delay, _ in target)
        spectrum[place] = spectrum.get(place, 0.0) + float(value)
    by_degree: dict[int, float] = {}
    by_delay: dict[int, float] = {}
    for (degree, delay), value in spectrum.items():
        by_degree[degree] = by_degree.get(degree, 0.0) + value
        by_delay[delay] = by_delay.get(delay, 0.0) + value
    # a capacity is a squared correlation: its sampling error is that of 1 - C on T rows
    errors = np.where(passed, 4.0 * raw * (1.0 - raw) ** 2 / rows + 2.0 * rank / rows**2, 0.0)
    return Capacity(
        total=float(debiased.sum()),
        raw=float(raw.sum()),
        null_mean=mean,
        threshold=threshold,
        rank=rank,
        rows=rows,
        passed=int(passed.sum()),
        targets=len(chosen),
        by_degree=by_degree,
        by_delay=by_delay,
        spectrum=spectrum,
        values={t: float(v) for t, v, ok in zip(chosen, raw, passed, strict=True) if ok},
        standard_error=float(np.sqrt(errors.sum())),
    )


def memory_capacity(
    states: F64, u: F64, most_delay: int = 50, *, first_delay: int = 1, false_alarm: float = FALSE_ALARM
) -> Capacity:
    """Linear memory (Jaeger 2001): the capacities of ``u[k - d]``, for any distribution of the input.

    Args:
        states: shape (T, N); row k has seen ``u`` up to its own row.
        u: shape (T,) or longer, see :func:`information_processing_capacity`.
        most_delay: last d.
        first_delay: first d; 1 leaves out the present input, which takes no memory. 0 counts it as well, as for the
            theorem that a delay line of N taps has N.
        false_alarm: chance that any delay passes by luck.
    """
    centred = np.asarray(u, dtype=np.float64) - np.mean(u)
    peak = float(np.abs(centred).max(initial=0.0))
    targets = [((delay, 1),) for delay in range(first_delay, most_delay + 1)]
    return information_processing_capacity(
        states, centred / peak if peak > 0 else centred, targets, false_alarm=false_alarm
    )
