"""A filter that is kept: a model with its card, and beside them when a score is good enough and how long jobs last."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from firmware_bridge.errors import UserError
from tpf.classifier import Model, load_model, save_model
from tpf.filter import Rule, check_features

SUFFIX = ".rule.json"


@dataclass(frozen=True)
class KeptRule:
    """What a filter needs besides its model.

    Attributes:
        rule: which scores are kept.
        keep_rate: that it was set to.
        keep_s: how long a job lasts.
        replace_s: how long one lasts that is given up.
        model_sha256: of the model's file that it was set for.
    """

    rule: Rule
    keep_rate: float
    keep_s: float
    replace_s: float
    model_sha256: str = ""


def save_filter(model: Model, kept: KeptRule, path: Path | str) -> None:
    """Write ``PATH.joblib``, ``PATH.json`` and ``PATH.md`` of the model, and ``PATH.rule.json``.

    Raises:
        UserError: if one cannot be written.
    """
    card = save_model(model, path)
    told = {**asdict(kept), "model_sha256": card.model_sha256}
    file = rule_file(path)
    try:
        file.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from None


def load_filter(path: Path | str) -> tuple[Model, KeptRule | None]:
    """Read a filter back; a model that was kept without a rule has None.

    Raises:
        UserError: as :func:`tpf.classifier.load_model`; if the model needs what nobody knows before a job is sent; if
            the rule is broken or belongs to another model.
    """
    model = load_model(path)
    check_features(model)
    file = rule_file(path)
    if not file.is_file():
        return model, None
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        numbers = {name: float(told[name]) for name in ("keep_rate", "keep_s", "replace_s")}
        rule = Rule(float(told["rule"]["threshold"]), float(told["rule"]["tie"]))
        kept = KeptRule(rule, **numbers, model_sha256=str(told["model_sha256"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: no rule of a filter: {error}") from None
    if kept.model_sha256 != model.card.model_sha256:
        raise UserError(f"{file}: it belongs to another model; keep both anew with asiclab tpf filter --out")
    return model, kept


def rule_file(path: Path | str) -> Path:
    """Where the rule of a model stands."""
    path = Path(path)
    return path.with_name(path.name.removesuffix(".joblib") + SUFFIX)
