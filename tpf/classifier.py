"""Classifiers that are kept: a pipeline with its provenance and a model card, and a loader that trusts no stranger.

A model is three files: ``NAME.joblib`` (the pipeline), ``NAME.json`` (the card, with the hash of the pipeline) and
``NAME.md`` (the card for people). The pipeline is a pickle, and unpickling runs whatever its maker put into it; so it
is read only once its hash was found on a card that names the same features and versions. The hash tells a damaged or
swapped file, not a liar: who writes the model can write its card. Load cards that you made, or whose maker you trust.
"""

from __future__ import annotations

import hashlib
import json
import platform
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from firmware_bridge.errors import UserError
from tpf.audit import audit
from tpf.dataset import Dataset, FloatArray
from tpf.splits import forward_split
from tpf.statistics.classifiers import CLASSIFIERS, auc, build, fit, probability

FORMAT = 1
TRAIN_SHARE = 0.7
PACKAGES = ("scikit-learn", "numpy", "joblib")


class ForeignModelWarning(UserWarning):
    """A pickle of unknown origin is about to be read."""


@dataclass(frozen=True)
class ModelCard:
    """What a model is, what it was made from, and how well it does on later rows.

    Attributes:
        classifier: name in :data:`tpf.statistics.classifiers.CLASSIFIERS`.
        features: names and provenance of its inputs, in order.
        label: what it predicts.
        threshold: difficulty of a success, or None.
        data: name of the run or file.
        data_sha256: of numbers, names and label.
        rows: of the table.
        positives: of them, successes.
        trained_rows: first and last row of the training part, in the source's own counting.
        tested_rows: likewise of the test part.
        gap: rows between the two.
        seed: of the training.
        auc: on the test part; None of a single class.
        accuracy: there.
        constant_accuracy: of the best constant predictor there.
        decision: probability from which on it says success.
        versions: of Python and the libraries that a pipeline depends on.
        model_sha256: of the pipeline's file.
        made: UTC, ISO 8601.
        format: of this card.
    """

    classifier: str
    features: list[dict[str, Any]]
    label: str
    threshold: float | None
    data: str
    data_sha256: str
    rows: int
    positives: int
    trained_rows: tuple[int, int]
    tested_rows: tuple[int, int]
    gap: int
    seed: int
    auc: float | None
    accuracy: float
    constant_accuracy: float
    decision: float
    versions: dict[str, str]
    model_sha256: str
    made: str
    format: int = FORMAT

    @property
    def names(self) -> list[str]:
        """Names of the inputs, in order."""
        return [str(feature["name"]) for feature in self.features]

    def to_json(self) -> dict[str, Any]:
        """Every field, as plain data."""
        return asdict(self)

    def to_markdown(self) -> str:
        """The card for people."""
        area = "not known (a single class in the test part)" if self.auc is None else f"{self.auc:.4f}"
        better = self.accuracy - self.constant_accuracy
        rows = "\n".join(f"| `{f['name']}` | {f['kind']} | {f['text']} |" for f in self.features)
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"""# Model card: {self.classifier} of {self.data}

**Predicts** {self.label}, from what is known of a share without its hash.

| on later rows ({self.tested_rows[0]} to {self.tested_rows[1]}) | |
|---|---|
| area under the ROC curve | {area} |
| accuracy | {self.accuracy:.4f} |
| accuracy of the best constant predictor | {self.constant_accuracy:.4f} |
| better by | {better:+.4f} |

An accuracy says nothing without the line below it, and neither says that an effect is real: `asiclab tpf evaluate`
does.

Trained on rows {self.trained_rows[0]} to {self.trained_rows[1]} of {self.rows} ({self.positives} successes), \
{self.gap} rows left out before the test part, seed {self.seed}.

| feature | from | how |
|---|---|---|
{rows}

Data sha256 `{self.data_sha256}`, model sha256 `{self.model_sha256}`, made {self.made} with {versions}. The model is a
pickle: load it with `tpf.classifier.load_model`, which checks its hash.
"""


@dataclass(frozen=True)
class Model:
    """A trained pipeline and its card."""

    pipeline: Any
    card: ModelCard

    def probability(self, X: FloatArray, names: Sequence[str]) -> FloatArray:
        """Probability of success of each row, shape (n,).

        Args:
            X: shape (n, d).
            names: of its columns; they may stand in any order and be more than the model needs.

        Raises:
            UserError: if a feature is missing.
        """
        missing = [name for name in self.card.names if name not in names]
        if missing:
            raise UserError(
                f"the model of {self.card.data} needs the feature{'s' if len(missing) > 1 else ''} "
                f"{', '.join(missing)}; the data has {', '.join(names)}"
            )
        at = [list(names).index(name) for name in self.card.names]
        return probability(self.pipeline, np.asarray(X, np.float64)[:, at])


def train(dataset: Dataset, classifier: str = "gradient_boosting", *, seed: int = 0) -> Model:
    """Train on the earlier 70 % of a table and test on what comes after a gap.

    Args:
        dataset: audited here; one that leaks or has a single class is refused.
        classifier: logistic, gradient_boosting or mlp_16_8_4.
        seed: of the training.

    Raises:
        UserError: if the table leaks, has a single class, is too short, or there is no such classifier.
    """
    if classifier not in CLASSIFIERS:
        raise UserError(f"there is no classifier {classifier!r}; there are {', '.join(CLASSIFIERS)}")
    found = audit(dataset, score=False)
    if not found.passed:
        why = found.text if found.single_class else "; ".join(leak.text for leak in found.leaks)
        raise UserError(f"{dataset.name}: no model is trained on this: {why}")
    # the number of a word depends on which others the file has
    dataset = dataset.only([feature.name for feature in dataset.features if feature.kind != "category"])
    split = forward_split(dataset.n, gap=dataset.gap, share=TRAIN_SHARE)
    dataset = dataset.only(dataset.rows(split.train).varying().names)
    if not dataset.features:
        raise UserError(f"{dataset.name}: no feature varies; there is nothing to learn from")
    y, late = dataset.y[split.train], dataset.y[split.test]
    if min(y.sum(), (~y).sum()) < 2:
        raise UserError(f"{dataset.name}: the earlier {split.train.size} rows have a single class")
    pipeline = fit(build(classifier, seed), dataset.X[split.train], y)
    score = probability(pipeline, dataset.X[split.test])
    area = auc(score, late)
    rows = dataset.row
    return Model(
        pipeline,
        ModelCard(
            classifier=classifier,
            features=[feature.to_json() for feature in dataset.features],
            label=dataset.label,
            threshold=dataset.threshold,
            data=dataset.name,
            data_sha256=dataset.sha256(),
            rows=dataset.n,
            positives=dataset.positives,
            trained_rows=(int(rows[split.train[0]]), int(rows[split.train[-1]])),
            tested_rows=(int(rows[split.test[0]]), int(rows[split.test[-1]])),
            gap=split.gap,
            seed=seed,
            auc=None if area != area else area,
            accuracy=float(((score > 0.5) == late).mean()),
            constant_accuracy=float(max(late.mean(), 1 - late.mean())),
            decision=0.5,
            versions=_versions(),
            model_sha256="",
            made=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
    )


def save_model(model: Model, path: Path | str) -> ModelCard:
    """Write a model and its card: ``PATH.joblib``, ``PATH.json``, ``PATH.md``; the card as written.

    Args:
        model: from :func:`train`.
        path: with or without ``.joblib``.

    Raises:
        UserError: if it cannot be written.
    """
    from dataclasses import replace

    import joblib

    file = _model_file(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        joblib.dump(model.pipeline, file)
        card = replace(model.card, model_sha256=_sha256(file))
        file.with_suffix(".json").write_text(json.dumps(card.to_json(), indent=1) + "\n", encoding="utf-8")
        file.with_suffix(".md").write_text(card.to_markdown(), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from None
    return card


def load_model(path: Path | str, *, trust: bool = False) -> Model:
    """Read a model back, its pickle only once its card vouches for it.

    Args:
        path: with or without ``.joblib``.
        trust: read a pickle whose hash is not the card's, or that was made with other versions, with a warning.

    Raises:
        UserError: if a file is missing, the hash differs, the versions differ, or the features are not the pipeline's.
    """
    import joblib

    file = _model_file(path)
    card = read_card(file)
    found = _sha256(file)
    if found != card.model_sha256:
        why = (
            f"{file}: its sha256 {found[:16]}… is not the one on its card ({card.model_sha256[:16]}…): it is not the "
            "model that the card describes. It is a pickle, and reading one runs its maker's code"
        )
        if not trust:
            raise UserError(f"{why}; train it anew with `asiclab tpf train`")
        warnings.warn(why, ForeignModelWarning, stacklevel=2)
    differing = {
        name: (version, _versions().get(name))
        for name, version in card.versions.items()
        if _major(version) != _major(_versions().get(name))
    }
    if differing:
        told = ", ".join(f"{name} {then} (here {now})" for name, (then, now) in differing.items())
        why = f"{file}: made with {told}; a pipeline of another version may say something else, or nothing"
        if not trust:
            raise UserError(f"{why}; train it anew with `asiclab tpf train`")
        warnings.warn(why, ForeignModelWarning, stacklevel=2)
    pipeline = joblib.load(file)
    inputs = getattr(pipeline, "n_features_in_", None)
    if inputs != len(card.names):
        raise UserError(f"{file}: the pipeline takes {inputs} features, its card names {len(card.names)}")
    return Model(pipeline, card)


def read_card(path: Path | str) -> ModelCard:
    """The card of a model, without the model.

    Raises:
        UserError: if it is missing or no card.
    """
    file = _model_file(path)
    if not file.is_file():
        raise UserError(f"{file}: there is no such model; make one with `asiclab tpf train`")
    place = file.with_suffix(".json")
    if not place.is_file():
        raise UserError(
            f"{file}: its card {place.name} is missing, so nobody says where this pickle comes from; it is not read"
        )
    try:
        told = json.loads(place.read_text(encoding="utf-8"))
        if told["format"] != FORMAT:
            raise UserError(f"{place}: a card of format {told['format']}; this version reads {FORMAT}")
        told["trained_rows"], told["tested_rows"] = tuple(told["trained_rows"]), tuple(told["tested_rows"])
        return ModelCard(**told)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{place}: no model card: {error}") from None


def _model_file(path: Path | str) -> Path:
    path = Path(path)
    return path if path.suffix == ".joblib" else path.with_name(path.name + ".joblib")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def _major(version: str | None) -> str:
    """Major and minor number; a pickle of scikit-learn holds for these."""
    return ".".join((version or "").split(".")[:2])
