"""Controllers of the share difficulty: three that learn from timing, and what a pool or chance would do.

A decision sets the difficulty of the next few jobs, from how long the jobs before took. What a controller is told is
``y``, the logarithm of the difficulty that the miner found in a second over the one that the target asks for; what it
sets is ``x``, the logarithm of the difficulty over the reference. Where ``x`` is the ``y`` to come, shares come as
often as they should: ``x - y`` is the logarithm of the mean interval over its target, and its square is what a decision
costs. The rate does not depend on what is asked, so a policy can be scored on a record of ``y`` that another one made.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from firmware_bridge.stratum.dispatch import DispatchContext, JobSymbol

F64 = npt.NDArray[np.float64]

REACH = math.log(4.0)
"""How far from the reference a difficulty may go, either way, as a logarithm."""
LAGS = 16
"""Past decisions that a learned controller sees."""


class Policy(Protocol):
    """A controller at work, with a past of its own."""

    def next(self, y: float | None) -> float:
        """What to set, after hearing what came of the decision before; None before the first."""


class ControlledDifficulty:
    """Satisfies the bridge's ``SymbolSource``: asks a policy every few jobs which difficulty the next ones have.

    Args:
        policy: asked.
        jobs: of each decision.
        reference: difficulty in the middle of the range.
        target_s: time that a share of the reference difficulty is to take.
        whole: whether difficulties are integers.
        decisions: after which it is done; None for never.

    Attributes:
        on_end: called when the last decision is over.
        x: set so far, one per decision.
        y: heard so far, one per decision that is over.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        jobs: int,
        reference: float,
        target_s: float,
        whole: bool = True,
        decisions: int | None = None,
    ) -> None:
        self._policy, self._jobs, self._reference, self._whole = policy, jobs, reference, whole
        self._asked_per_s, self._decisions = reference / target_s, decisions
        self.on_end: Callable[[], object] = lambda: None
        self.x: list[float] = []
        self.y: list[float] = []
        self._miner: int | None = None
        self._sent = self._answered = self._began_ns = 0
        self._difficulty = reference

    def next(self, context: DispatchContext) -> JobSymbol | None:
        """Symbol of the next job; none for any but the first miner that asks."""
        if self._miner is None:
            self._miner = context.miner
        elif context.miner != self._miner:
            return None
        self._answered += bool(context.answered)
        if self._sent % self._jobs == 0:
            self._decide(context.monotonic_ns)
        self._sent += 1
        # its place in the range is what the trace keeps as the symbol
        place = (self.x[-1] + REACH) / (2.0 * REACH)
        return JobSymbol(min(max(place, 0.0), 1.0 - 2.0**-32), difficulty=self._difficulty)

    def _decide(self, now_ns: int) -> None:
        heard = None
        if self._sent:
            # half a share for a time without any, so that there is a logarithm
            found = max(0.5, self._answered) * self._difficulty / (max(1, now_ns - self._began_ns) / 1e9)
            heard = math.log(found / self._asked_per_s)
            self.y.append(heard)
            if len(self.y) == self._decisions:
                self.on_end()
        wish = min(max(self._policy.next(heard), -REACH), REACH)
        difficulty = self._reference * math.exp(wish)
        self._difficulty = float(round(difficulty)) if self._whole else difficulty
        self.x.append(math.log(self._difficulty / self._reference))
        self._answered, self._began_ns = 0, now_ns

    def costs(self) -> F64:
        """Of the decisions that are over."""
        y = np.array(self.y)
        return np.asarray((np.array(self.x[: y.size]) - y) ** 2)


# ---- what a pool or chance would do ----------------------------------------------------------------------------------


class Random:
    """Any difficulty of the range."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def next(self, y: float | None) -> float:
        """Drawn, whatever was heard."""
        return float(self._rng.uniform(-REACH, REACH))


class Constant:
    """Always the same."""

    def __init__(self, x: float) -> None:
        self._x = x

    def next(self, y: float | None) -> float:
        """The same."""
        return self._x


class Proportional:
    """As the vardiff of a pool: a part of the way from what was set to what would have been right.

    Args:
        start: first setting.
        gain: the part, 0 to 1.
    """

    def __init__(self, start: float, gain: float) -> None:
        self._x, self._gain = start, gain

    def next(self, y: float | None) -> float:
        """One step."""
        if y is not None:
            self._x += self._gain * (y - self._x)
        return self._x


class Exploring:
    """Follows halfway with a jitter: what a record is made with.

    Decisions last as long as the shares that they ask for take, so a course can only be learnt from decisions that last
    about as long as those of a controller that follows it.

    Args:
        rng: chance.
        reach: of the jitter, either way.
    """

    def __init__(self, rng: np.random.Generator, reach: float) -> None:
        self._rng, self._reach = rng, reach
        self._follow = Proportional(0.0, 0.5)

    def next(self, y: float | None) -> float:
        """One step, and a little to either side."""
        return self._follow.next(y) + float(self._rng.uniform(-self._reach, self._reach))


def best_gain(y: F64, start: float) -> float:
    """Gain of the proportional control that would have cost least on a record."""
    gains = np.linspace(0.0, 1.0, 41)
    x, cost = np.full(gains.size, start), np.zeros(gains.size)
    for heard in y.tolist():
        cost += (x - heard) ** 2
        x += gains * (heard - x)
    return float(gains[cost.argmin()])


# ---- what learns -----------------------------------------------------------------------------------------------------


class Lagged:
    """A function of the last ``LAGS`` values heard; before there are so many, the first ones count as the constant.

    Args:
        function: of a row of values less the constant, newest last; what to set, less the constant.
        constant: mean of the record that it was learnt from.
    """

    def __init__(self, function: Callable[[F64], float], constant: float) -> None:
        self._function, self._constant = function, constant
        self._past = np.zeros(LAGS)

    def next(self, y: float | None) -> float:
        """What the function says."""
        if y is not None:
            self._past = np.append(self._past[1:], y - self._constant)
        return self._constant + self._function(self._past)


def windows_of(y: F64) -> tuple[F64, F64]:
    """Rows of the ``LAGS`` values before each value, and that value; both less the mean of the record."""
    padded = np.concatenate([np.zeros(LAGS), y - y.mean()])
    return np.lib.stride_tricks.sliding_window_view(padded[:-1], LAGS), padded[LAGS:]


@dataclass(frozen=True)
class Evolution:
    """A (mu/mu, lambda) evolution strategy over the weights of the past.

    Attributes:
        parents: mu.
        children: lambda.
        generations: of them.
        ridge: cost of a weight, per value of the record, so that what does not help stays small.
    """

    parents: int = 8
    children: int = 32
    generations: int = 120
    ridge: float = 2.0

    def train(self, y: F64, rng: np.random.Generator) -> Callable[[], Policy]:
        """Weights that cost least on a record, found by mutation and selection alone."""
        past, to_come = windows_of(y)
        # the cost of any weights, without going through the record again
        square, mixed = past.T @ past / y.size, past.T @ to_come / y.size
        square = square + self.ridge * float(np.var(y)) / y.size * LAGS * np.eye(LAGS)
        middle, step = np.zeros(LAGS), 0.1
        for _ in range(self.generations):
            steps = step * np.exp(rng.standard_normal(self.children) / math.sqrt(2 * LAGS))
            children = middle + steps[:, None] * rng.standard_normal((self.children, LAGS))
            cost = ((children @ square) * children).sum(axis=1) - 2.0 * children @ mixed
            best = np.argsort(cost)[: self.parents]
            middle, step = children[best].mean(axis=0), float(np.exp(np.log(steps[best]).mean()))
        weights = middle
        return lambda: Lagged(lambda row: float(row @ weights), float(y.mean()))


@dataclass(frozen=True)
class Convolution:
    """Two causal 1-D convolutions over the past and a dense unit, trained by gradient (L-BFGS).

    Attributes:
        channels: of the first convolution.
        width: of its kernels.
        decay: of the weights.
    """

    channels: int = 4
    width: int = 5
    decay: float = 0.02

    def train(self, y: F64, rng: np.random.Generator) -> Callable[[], Policy]:
        """Weights that a record is best foretold with."""
        from scipy.optimize import minimize

        past, to_come = windows_of(y)
        places = LAGS - self.width + 1
        patches = np.lib.stride_tricks.sliding_window_view(past, self.width, axis=1)
        shapes = ((self.width, self.channels), (places, self.channels))
        split = self.width * self.channels

        def unpacked(flat: F64) -> tuple[F64, F64]:
            return flat[:split].reshape(shapes[0]), flat[split:].reshape(shapes[1])

        def cost(flat: F64) -> tuple[float, F64]:
            kernels, dense = unpacked(flat)
            hidden = np.tanh(patches @ kernels)
            error = np.einsum("npc,pc->n", hidden, dense) - to_come
            value = float((error**2).mean()) + self.decay * float(flat @ flat)
            back = 2.0 * error / error.size
            d_dense = np.einsum("n,npc->pc", back, hidden)
            d_hidden = back[:, None, None] * dense * (1.0 - hidden**2)
            d_kernels = np.einsum("npw,npc->wc", patches, d_hidden)
            return value, np.concatenate([d_kernels.ravel(), d_dense.ravel()]) + 2.0 * self.decay * flat

        start = 0.3 * rng.standard_normal(split + places * self.channels)
        kernels, dense = unpacked(
            minimize(cost, start, jac=True, method="L-BFGS-B", options={"maxiter": 40}).x
        )

        def say(row: F64) -> float:
            cut = np.lib.stride_tricks.sliding_window_view(row, self.width)
            return float((np.tanh(cut @ kernels) * dense).sum())

        return lambda: Lagged(say, float(y.mean()))


STEPS = np.array([-0.3, -0.1, 0.0, 0.1, 0.3])
"""Changes of the setting that reinforcement learning chooses from."""
MISSES = np.array([-0.45, -0.15, 0.15, 0.45])
"""Bounds of the states: how far the last two values lay above the setting, on the mean, and how they changed."""
TRENDS = np.array([-0.2, 0.2])


@dataclass(frozen=True)
class Reinforcement:
    """Tabular Q-learning; a state is how far off the last decisions were and whether that grows, an action a step.

    Attributes:
        passes: over the record.
        rate: of learning, at first; it falls as 1 / (1 + pass).
        discount: of what comes later.
        chance: of an action by chance.
    """

    passes: int = 30
    rate: float = 0.3
    discount: float = 0.8
    chance: float = 0.2

    def train(self, y: F64, rng: np.random.Generator) -> Callable[[], Policy]:
        """A table of values, learnt by going through a record again and again."""
        table = np.zeros((MISSES.size + 1, TRENDS.size + 1, STEPS.size))
        start = float(y.mean())
        for turn in range(self.passes):
            rate = self.rate / (1.0 + 0.2 * turn)
            game = _Game(start)
            explores = rng.random(y.size) < self.chance
            anything = rng.integers(STEPS.size, size=y.size)
            state = game.state()
            for i, heard in enumerate(y.tolist()):
                action = int(anything[i]) if explores[i] else int(table[state].argmax())
                game.step(action)
                reward = -((game.x - heard) ** 2)
                game.hear(heard)
                then = game.state()
                value = reward + self.discount * float(table[then].max())
                table[state][action] += rate * (value - table[state][action])
                state = then
        return lambda: _Greedy(table, start)


class _Game:
    """Setting and past of a player of steps."""

    def __init__(self, start: float) -> None:
        self.x = start
        self._last, self._before = start, start

    def state(self) -> tuple[int, int]:
        miss = 0.5 * (self._last + self._before) - self.x
        trend = self._last - self._before
        return int(np.searchsorted(MISSES, miss)), int(np.searchsorted(TRENDS, trend))

    def step(self, action: int) -> None:
        self.x = min(max(self.x + float(STEPS[action]), -REACH), REACH)

    def hear(self, y: float) -> None:
        self._last, self._before = y, self._last


class _Greedy:
    """Plays the best action of a table."""

    def __init__(self, table: F64, start: float) -> None:
        self._table, self._game = table, _Game(start)

    def next(self, y: float | None) -> float:
        if y is not None:
            self._game.hear(y)
        self._game.step(int(self._table[self._game.state()].argmax()))
        return self._game.x


LEARNERS: dict[str, Evolution | Convolution | Reinforcement] = {
    "reinforcement": Reinforcement(),
    "evolution": Evolution(),
    "convolution": Convolution(),
}
BASELINES = ("random", "constant", "proportional")
