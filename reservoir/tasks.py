"""Tasks for a reservoir: an input sequence and what is to be made of it, with definitions that others can check.

In every task row ``k`` of the target is to be predicted from the inputs up to and including row ``k``. Sources are
named with each task; variants in other libraries differ by a step or a constant, and their scores must not be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import UserError

F64 = npt.NDArray[np.float64]

NARMA_DISCARD = 200
"""Steps before the first that is returned: the recursion has forgotten its start by then."""
NARMA_DIVERGED = 1.5
"""Above this a NARMA series of order 10 and more is about to diverge; it is drawn anew."""
MOST_REDRAWS = 1000


@dataclass(frozen=True)
class Task:
    """A drawn task.

    Attributes:
        name: for example ``narma10``.
        u: input, shape (T,).
        y: target, shape (T,): row k is to be predicted from ``u[:k + 1]``.
        definition: the equation and its source.
        redraws: sequences that diverged and were thrown away.
        memory: how many inputs before the present one the target needs, None where that has no end.
        symbols: values that the target takes where they are few, else empty.
        details: further numbers that belong to the result.
        independent: whether the inputs were drawn independently of each other, so that any order of them was as likely.
    """

    name: str
    u: F64
    y: F64
    definition: str
    redraws: int = 0
    memory: int | None = None
    symbols: tuple[float, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    independent: bool = False


@dataclass(frozen=True, slots=True)
class NarmaForm:
    """Constants of ``y[k+1] = a y[k] + b y[k] sum_{i<n} y[k-i] + c u[k] u[k-n+1] + d``, inside a tanh or not."""

    order: int
    a: float
    b: float
    c: float
    d: float
    saturates: bool
    source: str


NARMA = {
    5: NarmaForm(5, 0.3, 0.05, 1.5, 0.1, False, "Atiya & Parlos 2000, with order 5"),
    10: NarmaForm(10, 0.3, 0.05, 1.5, 0.1, False, "Atiya & Parlos 2000; Jaeger 2003"),
    20: NarmaForm(20, 0.3, 0.05, 1.5, 0.01, True, "Rodan & Tino 2011, with tanh"),
    30: NarmaForm(30, 0.2, 0.04, 1.5, 0.001, False, "Schrauwen et al. 2008"),
}
"""Order to its form; order 2 has an equation of its own."""


def narma_recursion(u: npt.ArrayLike, order: int = 10) -> F64:
    """The NARMA series driven by ``u``, from a start at 0: shape (T,), ``y[k + 1]`` for each ``u[k]``.

    Order 2 is ``y[k+1] = 0.4 y[k] + 0.4 y[k] y[k-1] + 0.6 u[k]^3 + 0.1`` (Atiya & Parlos 2000).

    Raises:
        UserError: if there is no such order.
    """
    inputs = np.ascontiguousarray(u, dtype=np.float64)
    if order == 2:
        return _narma2(inputs)
    if order not in NARMA:
        raise UserError(f"there is NARMA of order 2, {', '.join(map(str, NARMA))}, not {order}")
    form = NARMA[order]
    y = np.zeros(inputs.size + order)
    with np.errstate(over="ignore", invalid="ignore"):
        total = 0.0
        for k in range(inputs.size):
            now = y[k + order - 1]
            total = float(y[k : k + order].sum())
            product = inputs[k] * inputs[k - order + 1] if k >= order - 1 else 0.0
            value = form.a * now + form.b * now * total + form.c * product + form.d
            y[k + order] = np.tanh(value) if form.saturates else value
            if not abs(value) < 1e6:
                y[k + order :] = np.inf
                break
    return y[order:]


def _narma2(u: F64) -> F64:
    y = np.zeros(u.size + 2)
    for k in range(u.size):
        y[k + 2] = 0.4 * y[k + 1] + 0.4 * y[k + 1] * y[k] + 0.6 * u[k] ** 3 + 0.1
    return y[2:]


def narma(order: int, n: int, rng: np.random.Generator, *, u: npt.ArrayLike | None = None) -> Task:
    """NARMA with inputs uniform on [0, 0.5].

    About one sequence of NARMA-10 in seventy diverges within 3200 steps. Such a sequence is drawn anew, and how often
    that happened is part of the result; a sequence that the caller gave is never replaced.

    Args:
        order: 2, 5, 10, 20 or 30.
        n: steps.
        rng: chance.
        u: inputs to use instead, shape (n,): the series then starts at 0 with the first of them.

    Raises:
        UserError: if there is no such order, or the given input makes it diverge.
    """
    form = "y[k+1] = 0.4 y[k] + 0.4 y[k] y[k-1] + 0.6 u[k]^3 + 0.1 (Atiya & Parlos 2000)"
    if order in NARMA:
        f = NARMA[order]
        inner = f"{f.a} y[k] + {f.b} y[k] sum_(i<{order}) y[k-i] + {f.c} u[k] u[k-{order - 1}] + {f.d}"
        form = f"y[k+1] = {f'tanh({inner})' if f.saturates else inner} ({f.source})"
    definition = f"{form}; u uniform on [0, 0.5]; target y[k+1] from u up to u[k]"
    name = f"narma{order}"
    if u is not None:
        given = np.array(u, dtype=np.float64)
        y = narma_recursion(given, order)
        if not _bounded(y):
            raise UserError(f"NARMA-{order} diverges on this input; scale it to [0, 0.5] or give another one")
        return Task(name, given, y, definition, memory=order - 1)
    for redraws in range(MOST_REDRAWS):
        drawn = rng.uniform(0.0, 0.5, n + NARMA_DISCARD)
        y = narma_recursion(drawn, order)
        if _bounded(y):
            u, y = drawn[NARMA_DISCARD:], y[NARMA_DISCARD:]
            return Task(name, u, y, definition, redraws, order - 1, independent=True)
    raise UserError(f"NARMA-{order} of {n} steps diverged {MOST_REDRAWS} times in a row; take fewer steps")


def _bounded(y: F64) -> bool:
    return bool(np.isfinite(y).all() and y.max(initial=0.0) <= NARMA_DIVERGED)


# ---- memory and logic ------------------------------------------------------------------------------------------------


def delayed(delay: int, n: int, rng: np.random.Generator) -> Task:
    """Recall the input of ``delay`` steps ago; u uniform on [-1, 1] (Jaeger 2001)."""
    u = rng.uniform(-1.0, 1.0, n + delay)
    definition = f"y[k] = u[k-{delay}], u uniform on [-1, 1] (Jaeger 2001)"
    return Task(f"delay{delay}", u[delay:], u[:n], definition, memory=delay, independent=True)


def parity(order: int, delay: int, n: int, rng: np.random.Generator) -> Task:
    """Product of ``order`` inputs of +1 and -1, the newest ``delay`` steps old; order 2 is XOR (Bertschinger 2004)."""
    if order < 1 or delay < 0:
        raise UserError(
            f"parity takes an order of at least 1 and a delay of at least 0, not {order} and {delay}"
        )
    reach = delay + order - 1
    u = rng.choice([-1.0, 1.0], n + reach)
    y = np.ones(n)
    for i in range(delay, delay + order):
        y *= u[reach - i : reach - i + n]
    definition = f"y[k] = product of u[k-{delay}] .. u[k-{reach}], u = -1 or 1"
    return Task(
        f"parity{order}", u[reach:], y, definition, memory=reach, symbols=(-1.0, 1.0), independent=True
    )


def channel_equalisation(n: int, rng: np.random.Generator, *, snr_db: float = 24.0) -> Task:
    """Undo a nonlinear radio channel with noise: Jaeger & Haas 2004, Science 304:78.

    The input is what is received, the target the symbol sent two steps before.
    """
    sent = rng.choice([-3.0, -1.0, 1.0, 3.0], n + 9)
    taps = {2: 0.08, 1: -0.12, 0: 1.0, -1: 0.18, -2: -0.1, -3: 0.091, -4: -0.05, -5: 0.04, -6: 0.03, -7: 0.01}
    at = np.arange(7, n + 7)
    q = sum(weight * sent[at + shift] for shift, weight in taps.items())
    clean = q + 0.036 * q**2 - 0.011 * q**3
    noise = rng.standard_normal(n) * np.sqrt(np.mean(clean**2) / 10.0 ** (snr_db / 10.0))
    definition = f"Jaeger & Haas 2004, signal to noise {snr_db:g} dB; target the symbol d(k-2)"
    symbols = (-3.0, -1.0, 1.0, 3.0)
    return Task("channel", clean + noise, sent[at - 2], definition, memory=9, symbols=symbols)


# ---- chaotic series --------------------------------------------------------------------------------------------------


def mackey_glass(n: int, rng: np.random.Generator, *, tau: float = 17.0, horizon: int = 84) -> Task:
    """Predict the Mackey-Glass series ``horizon`` steps of time 1 ahead (Jaeger & Haas 2004: 84).

    x' = 0.2 x(t - tau) / (1 + x(t - tau)^10) - 0.1 x, classical Runge-Kutta with step 0.1 whose delayed values are
    interpolated; the start is random, the first 1000 time units are left out.
    """
    step, per = 0.1, 10
    back = round(tau / step)
    length = (n + horizon + 1000) * per
    x = np.empty(length + back + 1)
    x[: back + 1] = 1.2 + 0.2 * (rng.random() - 0.5)

    def slope(value: float, past: float) -> float:
        return 0.2 * past / (1.0 + past**10) - 0.1 * value

    for i in range(back, length + back):
        now, past, next_past = x[i], x[i - back], x[i - back + 1]
        middle = 0.5 * (past + next_past)
        k1 = slope(now, past)
        k2 = slope(now + 0.5 * step * k1, middle)
        k3 = slope(now + 0.5 * step * k2, middle)
        k4 = slope(now + step * k3, next_past)
        x[i + 1] = now + step / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
    series = x[back + 1000 * per :: per]
    definition = f"Mackey & Glass 1977, tau {tau:g}, sampled each 1, target {horizon} steps ahead"
    return Task("mackey-glass", series[:n].copy(), series[horizon : n + horizon].copy(), definition)


def lorenz(n: int, rng: np.random.Generator, *, step: float = 0.02, horizon: int = 1) -> Task:
    """Predict x of the Lorenz system (sigma 10, rho 28, beta 8/3), sampled every ``step``."""
    from scipy.integrate import solve_ivp

    def slope(_: float, s: F64) -> list[float]:
        return [10.0 * (s[1] - s[0]), s[0] * (28.0 - s[2]) - s[1], s[0] * s[1] - 8.0 / 3.0 * s[2]]

    discard = 1000
    times = np.arange(n + horizon + discard) * step
    start = np.array([1.0, 1.0, 20.0]) + rng.standard_normal(3)
    x = solve_ivp(slope, (0.0, times[-1]), start, t_eval=times, method="DOP853", rtol=1e-9, atol=1e-9).y[0]
    definition = f"Lorenz 1963, sampled every {step:g}, target {horizon} steps ahead"
    return Task("lorenz", x[discard : discard + n], x[discard + horizon :][:n], definition)


def laser(n: int, rng: np.random.Generator, *, horizon: int = 1) -> Task:
    """A stand-in for the Santa Fe laser: intensity of the Lorenz-Haken equations, to 8 bits.

    The recorded far-infrared laser follows them (Hübner et al. 1989, Phys. Rev. A 40:6354): pulsations that grow and
    collapse. It is not the recorded series: scores are not those of the Santa Fe competition.
    """
    from scipy.integrate import solve_ivp

    sigma, rho, beta = 2.0, 15.0, 0.25

    def slope(_: float, s: F64) -> list[float]:
        return [sigma * (s[1] - s[0]), s[0] * (rho - s[2]) - s[1], s[0] * s[1] - beta * s[2]]

    discard, step = 2000, 0.1
    times = np.arange(n + horizon + discard) * step
    start = np.array([1.0, 1.0, rho - 1.0]) + 0.1 * rng.standard_normal(3)
    field_ = solve_ivp(slope, (0.0, times[-1]), start, t_eval=times, method="DOP853", rtol=1e-9, atol=1e-9).y[
        0
    ]
    intensity = field_[discard:] ** 2
    series = np.round(255.0 * intensity / intensity.max())
    definition = (
        "Lorenz-Haken intensity (sigma 2, r 15, b 0.25), sampled every 0.1, 8 bits; target one step ahead"
    )
    return Task("laser", series[:n], series[horizon : n + horizon], definition)


def chaotic(name: str, n: int, rng: np.random.Generator, *, horizon: int = 1) -> Task:
    """Predict the first coordinate of a system of ``dysts`` (Gilpin 2021), an optional extra.

    Raises:
        UserError: if dysts is not installed, or has no system of that name.
    """
    try:
        from dysts import flows
    except ImportError:
        raise UserError(
            "chaotic systems by name need dysts: pip install 'asic-reservoir-lab[chaos]'; lorenz does not"
        ) from None
    if not hasattr(flows, name):
        raise UserError(f"dysts has no flow {name!r}; its names are those of classes, for example Rossler")
    system = getattr(flows, name)()
    system.ic = np.asarray(system.ic, dtype=np.float64) * (
        1.0 + 0.01 * rng.standard_normal(np.shape(system.ic))
    )
    x = np.asarray(system.make_trajectory(n + horizon + 500, resample=True), dtype=np.float64)[500:, 0]
    return Task(
        f"dysts:{name}", x[:n], x[horizon : n + horizon], f"{name} of dysts, target {horizon} steps ahead"
    )


TASKS: dict[str, Callable[[int, np.random.Generator], Task]] = {
    **{f"narma{order}": (lambda n, rng, order=order: narma(order, n, rng)) for order in (2, *NARMA)},  # type: ignore[misc]
    "mackey-glass": mackey_glass,
    "lorenz": lorenz,
    "laser": laser,
    "channel": channel_equalisation,
    "parity3": lambda n, rng: parity(3, 0, n, rng),
    "xor": lambda n, rng: parity(2, 1, n, rng),
}
"""Task by name, as the command line has them; ``dysts:NAME`` comes on top."""


def draw(name: str, n: int, rng: np.random.Generator) -> Task:
    """A task by its name.

    Raises:
        UserError: if there is no such task.
    """
    if name.startswith("dysts:"):
        return chaotic(name.removeprefix("dysts:"), n, rng)
    if name not in TASKS:
        raise UserError(f"there is no task {name!r}; there are {', '.join(TASKS)} and dysts:NAME")
    return TASKS[name](n, rng)
