"""Kept models: what their card says, and which files are not read."""

from __future__ import annotations

import json
from pathlib import Path

import joblib
import numpy as np
import pytest

from firmware_bridge.errors import UserError
from tpf.classifier import ForeignModelWarning, load_model, save_model, train
from tpf.dataset import Dataset, Feature
from tpf.statistics.classifiers import CLASSIFIERS


def table(effect: float = 2.0) -> Dataset:
    rng = np.random.default_rng(0)
    y = rng.random(900) < 0.3
    X = np.c_[rng.standard_normal(900) + effect * y, rng.standard_normal(900)]
    features = (Feature("response_ms", "timing", text="own"), Feature("chip", "scan"))
    return Dataset("run-1", X, y, features, "verified difficulty >= 1024", np.arange(1, 901), gap=10)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_model_survives_its_file(name: str, tmp_path: Path) -> None:
    model = train(table(), name, seed=3)
    card = save_model(model, tmp_path / "deep" / "m")
    again = load_model(tmp_path / "deep" / "m.joblib")
    assert again.card == card
    X = table().X
    expected = model.probability(X, ["response_ms", "chip"])
    np.testing.assert_array_equal(again.probability(X, ["response_ms", "chip"]), expected)
    # columns are found by name, whatever stands beside them
    np.testing.assert_array_equal(
        again.probability(np.c_[X[:, 1], np.zeros(900), X[:, 0]], ["chip", "fan_rpm", "response_ms"]),
        expected,
    )
    assert ((expected > 0.5) == table().y).mean() > 0.8


def test_the_card_says_what_the_model_is_worth(tmp_path: Path) -> None:
    card = save_model(train(table(), seed=3), tmp_path / "m.joblib")
    told = json.loads((tmp_path / "m.json").read_text())
    assert told["data_sha256"] == table().sha256() != table(1.9).sha256()
    assert (told["trained_rows"], told["tested_rows"], told["gap"]) == ([1, 630], [641, 900], 10)
    assert {"python", "scikit-learn", "numpy"} <= set(told["versions"])
    assert card.auc is not None
    assert card.auc > 0.85
    assert card.accuracy > card.constant_accuracy > 0.6
    text = (tmp_path / "m.md").read_text()
    assert f"{card.constant_accuracy:.4f}" in text
    assert "`response_ms` | timing" in text
    worthless = save_model(train(table(0.0), seed=3), tmp_path / "w")
    assert worthless.accuracy <= worthless.constant_accuracy + 0.03


def test_words_of_a_file_train_no_model() -> None:
    known = table()
    words = Dataset(
        known.name,
        known.X,
        known.y,
        (Feature("response_ms", "column"), Feature("colour", "category")),
        known.label,
        known.row,
        known.gap,
    )
    assert train(words, "logistic").card.names == ["response_ms"]


def test_a_foreign_pickle_is_not_read(tmp_path: Path) -> None:
    save_model(train(table()), tmp_path / "m")
    trap = tmp_path / "m.joblib"
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (ran,))

    joblib.dump(Trap(), trap)
    with pytest.raises(UserError, match=r"sha256 .* pickle"):
        load_model(tmp_path / "m")
    (tmp_path / "m.json").unlink()
    with pytest.raises(UserError, match=r"card m\.json is missing"):
        load_model(tmp_path / "m")
    assert not ran.exists()


def test_other_versions_and_features_are_refused_or_said(tmp_path: Path) -> None:
    save_model(train(table()), tmp_path / "m")
    card = tmp_path / "m.json"
    told = json.loads(card.read_text())
    card.write_text(json.dumps({**told, "versions": {**told["versions"], "scikit-learn": "0.9.1"}}))
    with pytest.raises(UserError, match=r"scikit-learn 0.9.1 \(here"):
        load_model(tmp_path / "m")
    with pytest.warns(ForeignModelWarning, match="0.9.1"):
        load_model(tmp_path / "m", trust=True)
    card.write_text(json.dumps({**told, "features": told["features"][:1]}))
    with pytest.raises(UserError, match="takes 2 features, its card names 1"):
        load_model(tmp_path / "m")
    card.write_text(json.dumps({**told, "format": 99}))
    with pytest.raises(UserError, match="format 99"):
        load_model(tmp_path / "m")
    card.write_text("{}")
    with pytest.raises(UserError, match="no model card"):
        load_model(tmp_path / "m")
    card.write_text(json.dumps(told))
    with pytest.raises(UserError, match="needs the feature chip"):
        load_model(tmp_path / "m").probability(table().X[:, :1], ["response_ms"])
    with pytest.raises(UserError, match="no such model"):
        load_model(tmp_path / "other")


def test_what_leaks_or_has_one_class_trains_no_model() -> None:
    good = table()
    leaky = Dataset(
        "t", good.y[:, None].astype(float), good.y, (Feature("copy", "column"),), "success", good.row, gap=3
    )
    with pytest.raises(UserError, match="gives the label"):
        train(leaky)
    single = Dataset("t", good.X, np.zeros(900, bool), good.features, "success", good.row, gap=3)
    with pytest.raises(UserError, match="single class"):
        train(single)
    with pytest.raises(UserError, match="no classifier 'oracle'"):
        train(good, "oracle")
