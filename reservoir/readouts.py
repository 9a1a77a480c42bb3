"""Trained readouts as scikit-learn estimators: ridge from streamed moments, recursive least squares, logistic.

``w = argmin sum (y - b - w·x)² + λ |w|²`` with an intercept b that is never penalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy import linalg
from scipy.linalg import blas, lapack
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from reservoir.moments import Moments

F64 = npt.NDArray[np.float64]

PAPER_LAMBDA = 1e-6
"""The fixed λ of *Speaking to Silicon*."""
LAMBDAS = tuple(10.0**e for e in range(-12, 3))
"""λ over trace(X^T X)/N that a validation block chooses from."""


RLS_ROWS = 32
"""Rows that recursive least squares learns in one go: enough for the speed of matrix products."""


def _block_rows(forgetting: float) -> int:
    """Fewer rows at once where they fade fast, so that the first and the last of them stay comparable in size."""
    return RLS_ROWS if forgetting == 1.0 else int(np.clip(np.log(1e-2) / np.log(forgetting), 1, RLS_ROWS))


def checked(estimator: Any, X: npt.ArrayLike, y: npt.ArrayLike, *, reset: bool = True) -> tuple[F64, F64]:
    """Rows and targets as scikit-learn wants them checked, as float64."""
    x, target = validate_data(
        estimator, X, y, reset=reset, multi_output=True, y_numeric=True, dtype=np.float64
    )
    return x, np.asarray(target)


def _alpha_is_given(readout: RidgeReadout) -> bool:
    return readout.alpha is not None


class RidgeReadout(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Ridge regression by streamed normal equations and a Cholesky factor.

    Args:
        alpha: λ; None lets the last ``validation`` of the training rows choose it from ``alphas``, after which all rows
            are fitted with it.
        alphas: candidates; each is in units of ``trace(X^T X) / N`` where ``relative`` is set.
        relative: whether λ counts in those units, so that the scale of the states does not matter.
        validation: share of the rows, at their end, that chooses λ.

    Attributes:
        coef_: shape (features,) or (outputs, features).
        intercept_: number or shape (outputs,).
        alpha_: the λ in force, in absolute units.
        moments_: what was gathered.
    """

    def __init__(
        self,
        alpha: float | None = PAPER_LAMBDA,
        *,
        alphas: Sequence[float] = LAMBDAS,
        relative: bool = False,
        validation: float = 0.2,
    ) -> None:
        self.alpha = alpha
        self.alphas = alphas
        self.relative = relative
        self.validation = validation

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Fit to X of shape (T, features) and y of shape (T,) or (T, outputs)."""
        x, target = checked(self, X, y)
        self._flat = target.ndim == 1
        y2 = target.reshape(x.shape[0], -1)
        self.moments_ = Moments(x.shape[1], y2.shape[1])
        alpha = self.alpha
        if alpha is None:
            held = min(max(1, round(self.validation * x.shape[0])), x.shape[0] - 1)
            cut = x.shape[0] - held
            if cut < 1:
                raise ValueError(f"n_samples={x.shape[0]}: one row cannot choose λ; give alpha")
            self.moments_.add(x[:cut], y2[:cut])
            candidates = [self._scaled(a, self.moments_) for a in self.alphas]
            errors = [
                float(np.mean((y2[cut:] - x[cut:] @ w.T - b) ** 2))
                for w, b in self.path(self.moments_, candidates)
            ]
            best = int(np.argmin(errors))
            self.validation_errors_ = np.array(errors)
            self.moments_.add(x[cut:], y2[cut:])
            self._solve(self.alphas[best], relative=True)
        else:
            self.moments_.add(x, y2)
            self._solve(alpha, relative=self.relative)
        return self

    @available_if(_alpha_is_given)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Take in more rows and solve again; only there where λ is given, since choosing it takes all rows at once."""
        first = not hasattr(self, "moments_")
        x, target = checked(self, X, y, reset=first)
        y2 = target.reshape(x.shape[0], -1)
        if first:
            self._flat = target.ndim == 1
            self.moments_ = Moments(x.shape[1], y2.shape[1])
        self.moments_.add(x, y2)
        assert self.alpha is not None
        self._solve(self.alpha, relative=self.relative)
        return self

    def fit_moments(self, moments: Moments) -> Self:
        """Fit to moments that were gathered elsewhere, for example over several sessions; λ has to be given."""
        if self.alpha is None:
            raise ValueError("fit_moments needs alpha: choosing it takes the rows themselves")
        self.moments_, self._flat = moments, moments.mean_y.size == 1
        self.n_features_in_ = moments.mean_x.size
        self._solve(self.alpha, relative=self.relative)
        return self

    @staticmethod
    def _scaled(alpha: float, moments: Moments) -> float:
        trace = float(np.trace(moments.xx))
        return alpha * (trace / moments.mean_x.size if trace > 0 else 1.0)

    def _solve(self, alpha: float, *, relative: bool) -> None:
        moments = self.moments_
        self.alpha_ = self._scaled(alpha, moments) if relative else float(alpha)
        a = np.array(moments.xx, order="F")
        a[np.diag_indices_from(a)] += self.alpha_
        try:
            factor = linalg.cho_factor(a, lower=False, overwrite_a=True, check_finite=False)
            weights = linalg.cho_solve(factor, moments.xy, check_finite=False).T
        except linalg.LinAlgError:  # singular without a penalty: the solution of least norm
            weights = linalg.lstsq(moments.gram() + self.alpha_ * np.eye(a.shape[0]), moments.xy)[0].T
        intercept = moments.mean_y - weights @ moments.mean_x
        self.coef_ = weights[0] if self._flat else weights
        self.intercept_ = float(intercept[0]) if self._flat else intercept

    @staticmethod
    def path(moments: Moments, alphas: Sequence[float]) -> list[tuple[F64, F64]]:
        """Weights (outputs, features) and intercepts for each λ, from one eigendecomposition: exact, not iterated."""
        values, vectors = linalg.eigh(moments.gram(), check_finite=False)
        values = np.maximum(values, 0.0)
        projected = vectors.T @ moments.xy
        solutions = []
        for alpha in alphas:
            scale = values + alpha
            usable = scale > 0
            part = np.where(usable[:, None], projected / np.where(usable, scale, 1.0)[:, None], 0.0)
            weights = (vectors @ part).T
            solutions.append((weights, moments.mean_y - weights @ moments.mean_x))
        return solutions

    def predict(self, X: npt.ArrayLike) -> F64:
        """Predictions of shape (T,) or (T, outputs)."""
        check_is_fitted(self)
        x: F64 = validate_data(self, X, reset=False, dtype=np.float64)
        return np.asarray(x @ self.coef_.T + self.intercept_)


class RlsReadout(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Recursive least squares, the rule behind FORCE (Sussillo & Abbott 2009): one rank-one update per step.

    Rows that are there together are learned in blocks of ``RLS_ROWS``, with the result of one after the other.

    Without forgetting it equals ridge with the same λ at every step, intercept included: the first sample starts the
    inverse exactly, so the intercept needs no prior.

    Args:
        alpha: λ, above 0.
        forgetting: weight of a row against its successor, in (0, 1]; it fades the penalty as well.

    Attributes:
        coef_: shape (features,) or (outputs, features).
        intercept_: number or shape (outputs,).
        inverse_: inverse of the augmented normal matrix, shape (features + 1, features + 1), upper triangle in force.
    """

    def __init__(self, alpha: float = 1.0, *, forgetting: float = 1.0) -> None:
        self.alpha = alpha
        self.forgetting = forgetting

    inverse_: F64
    _weights: F64
    _flat: bool

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Begin anew, and go through the rows in their order."""
        x, target = checked(self, X, y)
        self.__dict__.pop("inverse_", None)
        self._run(x, target)
        return self

    def partial_fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Go on with more rows."""
        self.predict_then_learn(X, y)
        return self

    def predict_then_learn(self, X: npt.ArrayLike, y: npt.ArrayLike) -> F64:
        """Predict each row before it is learned (a priori), shape of y; NaN for the very first row of all."""
        x, target = checked(self, X, y, reset=not hasattr(self, "inverse_"))
        return self._run(x, target)

    def _run(self, X: F64, y: F64) -> F64:
        if not self.alpha > 0 or not 0 < self.forgetting <= 1:
            raise ValueError(
                f"alpha is above 0 and forgetting in (0, 1], not {self.alpha!r} and {self.forgetting!r}"
            )
        y2 = y.reshape(X.shape[0], -1)
        n = X.shape[1]
        predicted = np.empty(y2.shape)
        start = 0
        if not hasattr(self, "inverse_"):
            self._begin(X[0], y2[0], flat=y.ndim == 1)
            predicted[0] = np.nan
            start = 1
        rows = _block_rows(self.forgetting)
        for at in range(start, X.shape[0], rows):
            part = slice(at, min(at + rows, X.shape[0]))
            predicted[part] = self._learn(X[part], y2[part])
        weights = self._weights
        self.coef_ = weights[0, :n].copy() if self._flat else weights[:, :n].copy()
        self.intercept_ = float(weights[0, n]) if self._flat else weights[:, n].copy()
        return predicted[:, 0] if self._flat else predicted

    def _learn(self, x: F64, y: F64) -> F64:
        """Learn a few rows in one go and return what each was predicted to be before it was learned.

        With ``S = Z P Z^T + diag(keep^1 .. keep^b) = L L^T`` the rank-one steps of b rows come together: row i of
        ``L^-1 (y - Z w)`` is the error of the prediction from the rows before i, over ``L[i, i]``. It is the same
        arithmetic as one row after the other, by products of matrices that do not wait for memory.
        """
        rows, n = x.shape
        z = np.empty((rows, n + 1))
        z[:, :n], z[:, n] = x, 1.0
        if rows == 1:
            return self._learn_one(z[0], y)
        fade = self.forgetting ** np.arange(1.0, rows + 1.0)
        # rows in C order are the columns of a Fortran matrix: nothing is copied
        gain = blas.dsymm(1.0, self.inverse_, z.T)
        spread = z @ gain
        spread[np.diag_indices(rows)] += fade
        factor, failed = lapack.dpotrf(spread, lower=1, clean=0)
        if failed:  # rounding has cost the inverse its positive sign, as a tiny alpha does
            return np.vstack([self._learn_one(z[i], y[i : i + 1]) for i in range(rows)])
        gain = blas.dtrsm(1.0, factor, gain, side=1, lower=1, trans_a=1, overwrite_b=1)
        normal = blas.dtrsm(1.0, factor, np.asfortranarray(y - z @ self._weights.T), lower=1)
        self.inverse_ = blas.dsyrk(-1.0, gain, beta=1.0, c=self.inverse_, overwrite_c=1)
        if self.forgetting != 1.0:
            self.inverse_ *= 1.0 / fade[-1]
        self._weights += (gain @ normal).T
        return np.asarray(y - np.diagonal(factor)[:, None] * normal)

    def _learn_one(self, z: F64, y: F64) -> F64:
        """The same for one row, where products of a matrix and a vector are faster."""
        predicted = np.asarray(self._weights @ z)
        gain = blas.dsymv(1.0, self.inverse_, z)
        divisor = self.forgetting + float(z @ gain)
        self.inverse_ = blas.dsyr(-1.0 / divisor, gain, a=self.inverse_, overwrite_a=1)
        if self.forgetting != 1.0:
            self.inverse_ *= 1.0 / self.forgetting
        self._weights += np.outer(y[0] - predicted, gain / divisor)
        return predicted[None, :]

    def _begin(self, x: F64, y: F64, *, flat: bool) -> None:
        """The inverse after one sample in closed form: its block of the intercept has no prior."""
        n = x.size
        inverse = np.zeros((n + 1, n + 1), order="F")
        inverse[np.diag_indices(n)] = 1.0 / self.alpha
        inverse[:n, n] = inverse[n, :n] = -x / self.alpha
        inverse[n, n] = 1.0 + float(x @ x) / self.alpha
        self.inverse_ = inverse
        self._weights = np.zeros((y.size, n + 1))
        self._weights[:, n] = y
        self._flat = flat

    def predict(self, X: npt.ArrayLike) -> F64:
        """Predictions of shape (T,) or (T, outputs) with the weights as they are."""
        check_is_fitted(self, "coef_")
        x: F64 = validate_data(self, X, reset=False, dtype=np.float64)
        return np.asarray(x @ self.coef_.T + self.intercept_)


def logistic_readout(**parameters: Any) -> Any:
    """A readout for symbols: scikit-learn's logistic regression behind a scaler, as a pipeline."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, **parameters))
