"""Software reservoirs to hold the silicon against: echo state network, delay line with virtual nodes, next generation.

Each turns an input of shape (T, d) into states of shape (T, N); row k has seen the input up to and including row k.
They are transformers of scikit-learn without hidden state: the same call gives the same states.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

F64 = npt.NDArray[np.float64]


class EchoStateNetwork(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Leaky echo state network (Jaeger 2001): ``x[k] = (1 - a) x[k-1] + a tanh(W x[k-1] + W_in u[k] + b)``.

    Args:
        nodes: N.
        spectral_radius: largest absolute eigenvalue of W.
        leak: a, in (0, 1].
        input_scaling: of W_in, drawn uniformly from [-1, 1].
        bias_scaling: of b, drawn uniformly from [-1, 1].
        connectivity: share of the entries of W that are not 0.
        seed: of W, W_in and b; ``numpy.random.Generator`` or number.

    Attributes:
        w_: shape (N, N), dense or compressed sparse row.
        w_in_: shape (N, d).
        bias_: shape (N,).
    """

    def __init__(
        self,
        nodes: int = 100,
        *,
        spectral_radius: float = 0.9,
        leak: float = 1.0,
        input_scaling: float = 1.0,
        bias_scaling: float = 0.0,
        connectivity: float = 0.1,
        seed: int | np.random.Generator | None = 0,
    ) -> None:
        self.nodes = nodes
        self.spectral_radius = spectral_radius
        self.leak = leak
        self.input_scaling = input_scaling
        self.bias_scaling = bias_scaling
        self.connectivity = connectivity
        self.seed = seed

    w_: Any

    def fit(self, X: npt.ArrayLike, y: Any = None) -> Self:
        """Draw the weights; nothing is learned from X but its number of columns."""
        x: F64 = validate_data(self, X, dtype=np.float64)
        if not 0 < self.leak <= 1 or not 0 < self.connectivity <= 1 or self.nodes < 1:
            raise ValueError("an echo state network has nodes >= 1, and leak and connectivity in (0, 1]")
        w_rng, in_rng, bias_rng = np.random.default_rng(self.seed).spawn(3)
        self._take(
            scaled_to_radius(sparse_weights(self.nodes, self.connectivity, w_rng), self.spectral_radius)
        )
        self.w_in_ = self.input_scaling * in_rng.uniform(-1.0, 1.0, (self.nodes, x.shape[1]))
        self.bias_ = self.bias_scaling * bias_rng.uniform(-1.0, 1.0, self.nodes)
        return self

    def with_weights(self, w: Any, w_in: npt.ArrayLike, bias: npt.ArrayLike | None = None) -> Self:
        """Take given weights: W (N, N) dense or sparse, W_in (N, d), bias (N,) or none."""
        from scipy import sparse

        self._take(sparse.csr_array(w) if hasattr(w, "toarray") else w)
        self.w_in_ = np.array(w_in, dtype=np.float64)
        self.bias_ = (
            np.zeros(self.w_in_.shape[0]) if bias is None else np.array(bias, dtype=np.float64).ravel()
        )
        self.nodes, self.n_features_in_ = self.w_in_.shape
        return self

    def _take(self, w: Any) -> None:
        """Keep W, and the form in which the kernels read it."""
        from reservoir.esn_kernels import rows_of

        sparse = hasattr(w, "toarray")
        self.w_ = w if sparse else np.ascontiguousarray(w, dtype=np.float64)
        self._rows = rows_of(w) if sparse else None

    def transform(self, X: npt.ArrayLike, initial: npt.ArrayLike | None = None) -> F64:
        """States of shape (T, N), from ``initial`` (N,) or 0."""
        from reservoir.esn_kernels import run

        check_is_fitted(self, "w_in_")
        x: F64 = validate_data(self, X, reset=False, dtype=np.float64)
        drive = x @ self.w_in_.T + self.bias_
        start = np.zeros(self.nodes) if initial is None else np.array(initial, dtype=np.float64)
        return run(self.w_, self._rows, drive, start, float(self.leak))

    def transform_many(self, inputs: npt.ArrayLike) -> F64:
        """States (B, T, N) of B input sequences (B, T, d), each from 0; far faster than one by one."""
        from reservoir.esn_kernels import run_many

        check_is_fitted(self, "w_in_")
        u = np.asarray(inputs, dtype=np.float64)
        if u.ndim != 3 or u.shape[2] != self.n_features_in_:
            raise ValueError(
                f"inputs of shape (sequences, T, {self.n_features_in_}) are needed, not {u.shape}"
            )
        return run_many(self.w_, u, self.w_in_, self.bias_, float(self.leak))


def sparse_weights(nodes: int, connectivity: float, rng: np.random.Generator) -> Any:
    """Standard normal entries at ``connectivity * nodes`` places of each row; sparse below 0.5, dense from there on."""
    from scipy import sparse

    per_row = max(1, round(connectivity * nodes))
    if connectivity >= 0.5:
        keep = rng.random((nodes, nodes)).argsort(axis=1) < per_row
        return np.where(keep, rng.standard_normal((nodes, nodes)), 0.0)
    columns = np.sort(
        np.array([rng.choice(nodes, per_row, replace=False) for _ in range(nodes)], dtype=np.int32), axis=1
    )
    values = rng.standard_normal(nodes * per_row)
    return sparse.csr_array(
        (values, columns.ravel(), np.arange(0, nodes * per_row + 1, per_row, dtype=np.int32)),
        shape=(nodes, nodes),
    )


def radius(w: Any) -> float:
    """Largest absolute eigenvalue of W."""
    from scipy import sparse
    from scipy.sparse.linalg import ArpackNoConvergence, eigs

    n = w.shape[0]
    if sparse.issparse(w) and n > 500:
        try:
            start = np.random.default_rng(0).standard_normal(n)
            found: Any = eigs(w, k=1, v0=start, maxiter=20 * n, return_eigenvectors=False)  # type: ignore[call-overload]
            return float(np.abs(found)[0])
        except ArpackNoConvergence:
            pass  # the dense way always ends
    dense: F64 = w.toarray() if hasattr(w, "toarray") else np.asarray(w)
    return float(np.abs(np.linalg.eigvals(dense)).max())


def scaled_to_radius(w: Any, wanted: float) -> Any:
    """W with the spectral radius that is wanted; one that is nilpotent stays as it is."""
    found = radius(w)
    return w * (wanted / found) if found > 0 else w


class DelayReservoir(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """One nonlinear node with delayed feedback and virtual nodes (Appeltant et al. 2011, Nature Commun. 2:468).

    ``x_j[k] = exp(-theta) x_{j-1}[k] + (1 - exp(-theta)) F(x_j[k-1] + gain m_j u[k])`` with the Mackey-Glass response
    ``F(s) = eta s / (1 + |s|^p)``, where ``x_{-1}[k]`` is the last virtual node of the step before.

    Args:
        nodes: virtual nodes per input.
        eta: feedback strength.
        gain: of the masked input.
        exponent: p.
        theta: distance of two virtual nodes over the response time.
        bias: added to the masked input.
        seed: of the mask of -1 and 1.
    """

    def __init__(
        self,
        nodes: int = 100,
        *,
        eta: float = 0.5,
        gain: float = 0.1,
        exponent: float = 1.0,
        theta: float = 0.2,
        bias: float = 0.2,
        seed: int | np.random.Generator | None = 0,
    ) -> None:
        self.nodes = nodes
        self.eta = eta
        self.gain = gain
        self.exponent = exponent
        self.theta = theta
        self.bias = bias
        self.seed = seed

    def fit(self, X: npt.ArrayLike, y: Any = None) -> Self:
        """Draw the mask."""
        x: F64 = validate_data(self, X, dtype=np.float64)
        self.mask_ = np.random.default_rng(self.seed).choice([-1.0, 1.0], (self.nodes, x.shape[1]))
        return self

    def transform(self, X: npt.ArrayLike) -> F64:
        """States of shape (T, nodes), from 0."""
        from reservoir.esn_kernels import delay_loop

        check_is_fitted(self, "mask_")
        x: F64 = validate_data(self, X, reset=False, dtype=np.float64)
        drive = np.ascontiguousarray(self.gain * (x @ self.mask_.T) + self.bias)
        return np.asarray(
            delay_loop(drive, float(self.eta), float(self.exponent), float(np.exp(-self.theta)))
        )


class NextGeneration(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Next-generation reservoir (Gauthier et al. 2021, Nature Commun. 12:5564): delayed inputs and their products.

    Args:
        taps: inputs that are kept, the present one included.
        stride: steps between them.
        order: 1 for linear, 2 with all pair products.
    """

    def __init__(self, taps: int = 20, *, stride: int = 1, order: int = 2) -> None:
        self.taps = taps
        self.stride = stride
        self.order = order

    def fit(self, X: npt.ArrayLike, y: Any = None) -> Self:
        """Nothing is learned."""
        validate_data(self, X, dtype=np.float64)
        if self.order not in (1, 2) or self.taps < 1 or self.stride < 1:
            raise ValueError("a next-generation reservoir has taps and stride >= 1, and order 1 or 2")
        return self

    def transform(self, X: npt.ArrayLike) -> F64:
        """States of shape (T, F); inputs before the first are 0."""
        from reservoir.baselines import delay_line, pair_products

        check_is_fitted(self, "n_features_in_")
        x: F64 = validate_data(self, X, reset=False, dtype=np.float64)
        reach = (self.taps - 1) * self.stride + 1
        line = np.hstack([delay_line(column, reach)[:, :: self.stride] for column in x.T])
        return line if self.order == 1 else np.hstack([line, pair_products(line)])
