"""The filter at work: for every job it decides, from the past alone, whether the miner is to finish it.

A filter is a job policy and a source of symbols at once (``firmware_bridge.stratum.dispatch``; satisfied structurally).
The bridge asks it for each job (:meth:`JobFilter.next`): a job that it keeps lasts ``keep_s``, one that it rejects is
replaced after ``replace_s``, the time that giving up takes. It has no say over shares: what arrives is verified, stored
and acknowledged, also for a rejected job. So a filter cannot make a result look better by losing some of it. It is told
of each share (:meth:`JobFilter.hear`) with the stamp that the trace has, so that it sees at work what a table for
training is made of.

With a fair hash no filter can save energy: what is known before a hash is independent of its outcome, so that the kept
jobs hold the part of the winners that they are of the work (r = q), and then the energy per share is never below that
of no filter (:func:`tpf.energy.energy_per_share`). :class:`RandomFilter` is that case in person: the placebo.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from firmware_bridge.errors import UserError
from tpf.classifier import Model
from tpf.dataset import Dataset, FloatArray
from tpf.job_history import NAMES, JobHistory, unknown_before


class Symbol(Protocol):
    """What a job carries."""

    @property
    def value(self) -> float | None:
        """The symbol as a number."""


class Context(Protocol):
    """What the bridge says of the job that is due."""

    @property
    def miner(self) -> int:
        """Number of the miner."""

    @property
    def miner_name(self) -> str:
        """Its worker name."""

    @property
    def monotonic_ns(self) -> int:
        """Now."""


Score = Callable[[FloatArray], float]

S = TypeVar("S", bound=Symbol)
S_co = TypeVar("S_co", bound=Symbol, covariant=True)


class Source(Protocol[S_co]):
    """Which symbol the next job carries."""

    def next(self, context: Any) -> S_co | None:
        """Symbol of the next job; None for none."""


@dataclass(frozen=True)
class Counts:
    """What a filter did.

    Attributes:
        kept: jobs.
        replaced: jobs that were given up.
        shares: valid ones that came, of whichever job.
    """

    kept: int = 0
    replaced: int = 0
    shares: int = 0

    @property
    def keep_rate(self) -> float:
        """Part of the jobs that was kept; nan of none."""
        jobs = self.kept + self.replaced
        return self.kept / jobs if jobs else float("nan")

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return {**asdict(self), "keep_rate": self.keep_rate if self.kept + self.replaced else None}


class JobFilter(Generic[S]):
    """Keeps every job; the filters below decide. One filter serves one miner.

    Args:
        keep_s: how long a job lasts.
        replace_s: how long one lasts that is given up; above 0 and below ``keep_s``.
        source: what the jobs carry; None for nothing.
        history: past of the miner, where filters take turns; whoever owns it tells it of shares and readings.

    Attributes:
        score: of the job that was just decided about; None where none was given.

    Raises:
        UserError: if the times make no sense.
    """

    def __init__(
        self,
        *,
        keep_s: float,
        replace_s: float,
        source: Source[S] | None = None,
        history: JobHistory | None = None,
    ) -> None:
        if not 0 < replace_s < keep_s < float("inf"):
            raise UserError(
                f"a job is given up after more than 0 s and before its end: not after {replace_s!r} s of {keep_s!r} s"
            )
        self._keep_s, self._replace_s = keep_s, replace_s
        self._source = source
        self._history = JobHistory() if history is None else history
        self.score: float | None = None
        self._miner: int | None = None
        self._keeps = True
        self._kept = self._replaced = self._shares = 0

    @property
    def kept(self) -> bool:
        """Whether the job that was just decided about is to be finished."""
        return self._keeps

    @property
    def counts(self) -> Counts:
        """So far."""
        return Counts(self._kept, self._replaced, self._shares)

    def next(self, context: Context) -> S | None:
        """Decide about the job that is due; the symbol that it carries.

        Raises:
            UserError: if a second miner asks: it has a past of its own.
        """
        if self._miner is None:
            self._miner = context.miner
        elif context.miner != self._miner:
            raise UserError(
                f"a filter decides for one miner, and {context.miner_name} is a second one: give each its own bridge"
            )
        symbol = None if self._source is None else self._source.next(context)
        features = self._history.send(context.monotonic_ns, None if symbol is None else symbol.value)
        self._keeps = self.keeps(features)
        self._kept += self._keeps
        self._replaced += not self._keeps
        return symbol

    def keeps(self, features: FloatArray) -> bool:
        """Whether a job of these features (:data:`tpf.job_history.FEATURES`) is to be finished."""
        return True

    def deadline_s(self) -> float:
        """How long the job that was just decided about lasts."""
        return self._keep_s if self._keeps else self._replace_s

    def replace_on_share(self, *, current: bool, valid: bool) -> bool:
        """Never: a job that is kept has all of its time."""
        return False

    def hear(self, miner: int, arrived_ns: Sequence[int]) -> None:
        """Valid shares came, of whichever job: past of the jobs to come; those of another miner are passed over."""
        if miner != self._miner:
            return
        self._shares += len(arrived_ns)
        for now_ns in arrived_ns:
            self._history.hear(now_ns)

    def read(self, readings: Mapping[str, float]) -> None:
        """Telemetry of the device, for the jobs to come."""
        self._history.read(readings)


class RandomFilter(JobFilter[S]):
    """Keeps a part of the jobs by chance: as many as a filter does, and without any information.

    Args:
        keep_rate: 0 to 1.
        rng: chance.
        **times: see :class:`JobFilter`.
    """

    def __init__(self, keep_rate: float, rng: np.random.Generator, **times: Any) -> None:
        super().__init__(**times)
        self._rule, self._rng = Rule(0.0, _rate(keep_rate)), rng

    def keeps(self, features: FloatArray) -> bool:
        """By chance."""
        return self._rule.keeps(0.0, self._rng)


@dataclass(frozen=True)
class Rule:
    """When a score is good enough.

    Attributes:
        threshold: scores above are kept, those below are not.
        tie: probability with which one that is equal is kept, so that a keep rate is met by any scores.
    """

    threshold: float
    tie: float = 0.0

    @classmethod
    def at_keep_rate(cls, scores: FloatArray, keep_rate: float) -> Rule:
        """The rule that keeps this part of the scores, shape (n,), n > 0.

        Raises:
            UserError: if the keep rate is not above 0 and at most 1, or there is no score.
        """
        q = _rate(keep_rate)
        scores = np.asarray(scores, np.float64)
        if not scores.size or np.isnan(scores).any():
            raise UserError("a keep rate is set by scores of earlier jobs, and there are none")
        ordered = np.sort(scores)[::-1]
        threshold = float(ordered[min(scores.size - 1, int(np.ceil(q * scores.size)) - 1)])
        above, equal = float((scores > threshold).mean()), float((scores == threshold).mean())
        return cls(threshold, min(1.0, max(0.0, (q - above) / equal)))

    def keeps(self, score: float, rng: np.random.Generator) -> bool:
        """Whether a job of this score is kept."""
        return score > self.threshold or (score == self.threshold and bool(rng.random() < self.tie))


class OnlineFilter(JobFilter[S]):
    """Keeps the jobs of which a trained model expects most.

    Args:
        model: from :func:`tpf.classifier.train` on a table of :func:`tpf.job_history.job_dataset`, or loaded with its
            card by :func:`tpf.classifier.load_model`.
        rule: which scores are kept.
        rng: decides about equal scores.
        score: in the place of :func:`scorer` of the model, for one that remembers.
        **times: see :class:`JobFilter`.

    Raises:
        UserError: if the model needs what nobody knows before a job is sent.
    """

    def __init__(
        self, model: Model, rule: Rule, rng: np.random.Generator, *, score: Score | None = None, **times: Any
    ) -> None:
        super().__init__(**times)
        check_features(model)
        self._score, self._rule, self._rng = scorer(model) if score is None else score, rule, rng

    def keeps(self, features: FloatArray) -> bool:
        """By the model's score."""
        self.score = self._score(features)
        return self._rule.keeps(self.score, self._rng)


def check_features(model: Model) -> None:
    """Refuse a model that no filter can use.

    Raises:
        UserError: if it needs what nobody knows before a job is sent.
    """
    unknown = unknown_before(model.card.names)
    if unknown:
        raise UserError(
            f"the model of {model.card.data} needs {', '.join(unknown)}, which nobody knows before the work is done; a "
            f"filter can use {', '.join(NAMES)}. Keep one that was trained on jobs: asiclab tpf filter --out FILE"
        )


def scorer(model: Model) -> Score:
    """Probability of success of one job, of its features in the order of :data:`tpf.job_history.FEATURES`.

    ``Model.probability`` is made for tables: it looks for the libraries whose threads it limits, which takes longer
    than one row does. A bridge waits for this number before it sends the job.
    """
    at = [NAMES.index(name) for name in model.card.names]
    success = list(model.pipeline.classes_).index(True)
    predict = model.pipeline.predict_proba

    def score(features: FloatArray) -> float:
        return float(predict(features[at][None, :])[0, success])

    return score


def rule_of(model: Model, table: Dataset, keep_rate: float, *, fresh: bool = False) -> Rule:
    """Rule of a keep rate, set on the rows of a table that the model was not trained on.

    Args:
        model: trained.
        table: of :func:`tpf.job_history.job_dataset`.
        keep_rate: above 0, at most 1.
        fresh: whether the model saw no row of this table; otherwise those after its training part are taken.

    Raises:
        UserError: if there is no such row, or the keep rate makes no sense.
    """
    later = table if fresh else table.rows(np.flatnonzero(table.row > model.card.trained_rows[1]))
    whole = np.full(
        (later.n, len(NAMES)), np.nan
    )  # a feature that did not vary here may be one of the model's
    whole[:, [NAMES.index(name) for name in later.names]] = later.X
    return Rule.at_keep_rate(model.probability(whole, NAMES) if later.n else np.empty(0), keep_rate)


def _rate(keep_rate: float) -> float:
    if not 0 < keep_rate <= 1:
        raise UserError(f"a keep rate lies above 0 and at most at 1, not at {keep_rate!r}")
    return float(keep_rate)
