"""The power model against bits counted one by one, and stage 1 with its controls."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from firmware_bridge.errors import UserError
from tpf.header_source import RandomHeaders
from tpf.power import PowerModel, switching
from tpf.sha256_rounds import double_hash_rounds
from tpf.signature import arms, auc_and_null, best_filter, run


def test_switching_is_the_hamming_distance_of_eight_registers() -> None:
    states = double_hash_rounds(RandomHeaders(1).words((0,), 50)).second
    changed, ones = switching(states)
    assert changed.shape == ones.shape == (50, 64)
    for k in (0, 1, 2, 3, 4, 33, 63):
        before, after = states.after(k), states.after(k + 1)
        for i in range(50):
            pairs = list(zip(before[:, i].tolist(), after[:, i].tolist(), strict=True))
            assert changed[i, k] == sum((x ^ y).bit_count() for x, y in pairs)
            assert ones[i, k] == sum(y.bit_count() for _, y in pairs)


def test_power_is_what_the_model_says() -> None:
    states = double_hash_rounds(RandomHeaders(2).words((0,), 4000)).last
    changed, ones = switching(states)
    rng = np.random.default_rng(1)
    assert np.array_equal(PowerModel().signature(states, rng), changed)
    assert np.allclose(PowerModel(2.0, 0.5).signature(states, rng), 2.0 * changed + 0.5 * ones)
    noise = PowerModel(noise=3.0).signature(states, rng) - changed
    assert noise.std() == pytest.approx(3.0, rel=0.01)
    assert stats.kstest(noise.ravel()[:5000] / 3.0, "norm").pvalue > 1e-3
    # fair registers: 256 bits, half of them change and half of them are 1
    assert changed[:, 8:].mean() == pytest.approx(128, abs=0.2)
    assert ones[:, 8:].mean() == pytest.approx(128, abs=0.2)
    assert ones[:, 20].std() == pytest.approx(8, rel=0.05)


@pytest.mark.parametrize("wrong", [{"noise": -1.0}, {"distance": float("nan")}, {"weight": float("inf")}])
def test_a_power_model_of_nonsense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match="power model"):
        PowerModel(**wrong)


def test_auc_is_that_of_scikit_learn_and_p_values_are_uniform_without_an_effect() -> None:
    rng = np.random.default_rng(3)
    y = rng.random(3000) < 0.05
    x = rng.normal(0.4 * y, 1.0).round(2)
    auc, ci, p = auc_and_null(x, y, rng, 199)
    assert auc == pytest.approx(roc_auc_score(y, x))
    assert ci[0] < auc < ci[1]
    assert p == 1 / 200
    null = [auc_and_null(rng.normal(size=400), rng.random(400) < 0.2, rng, 99)[2] for _ in range(200)]
    assert stats.kstest(null, "uniform").pvalue > 1e-3


def test_a_filter_of_a_perfect_score_saves_and_one_of_noise_does_not() -> None:
    rng = np.random.default_rng(4)
    success = rng.random(40_000) < 1 / 256
    perfect = best_filter(success.astype(float), 20_000, success, 69)
    base = success[20_000:].mean()
    assert (perfect.recall, perfect.keep_rate) == (1.0, pytest.approx(base))
    assert perfect.energy_per_share == pytest.approx(base + (1 - base) * 69 / 128)
    noise = best_filter(rng.normal(size=40_000), 20_000, success, 69)
    assert noise.energy_per_share is None or noise.energy_per_share > 0.9
    assert (
        best_filter(np.zeros(40_000), 20_000, success, 5).energy_per_share == 1.0
    )  # one threshold: all are kept


def test_stage_1_finds_nothing_where_its_control_finds_what_is_there() -> None:
    found = run(RandomHeaders(1), 20_000, noise=1.0, seed=1, zero_bits=3, permutations=399)
    assert found.verdict["code"] == "no_evidence"
    assert f"{found.detectable_auc:.4f}" in found.verdict["text"]
    for result in found.arms:
        for score in result.scores:
            if result.arm.role == "positive control":
                assert score.auc > 0.51
                assert score.p_corrected <= 0.05
            else:
                assert abs(score.auc - 0.5) < 0.05
                assert score.p_corrected > 0.05
            assert score.p_corrected >= score.p_value
    first = [a.arm for a in found.arms if a.arm.role == "stage 1"]
    assert {a.model.noise for a in first} == {0.0, 1.0}
    assert {a.rounds for a in first} == {5}
    plain = found.to_json()
    assert plain["verdict"]["code"] == "no_evidence"
    assert plain["arms"][0]["scores"][0]["filter"]["abort_round"] == 5


def test_noise_that_drowns_the_control_gives_no_verdict() -> None:
    loud = run(RandomHeaders(1), 3200, noise=1e4, seed=1, zero_bits=3, permutations=399)
    drowned = [
        s for a in loud.arms if a.arm.role == "positive control" and a.arm.model.noise for s in a.scores
    ]
    assert all(s.p_corrected > 0.05 for s in drowned)


def test_arms_end_where_the_outcome_is_settled() -> None:
    asked = arms(3.0, 61)
    assert {a.rounds for a in asked if a.role == "negative control"} == {60}
    assert {a.rounds_of_double_hash for a in asked if a.role == "positive control"} == {128}
    assert len(arms(0.0, 61)) < len(asked)


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(UserError, match="too few"):
        run(RandomHeaders(1), 1000)
    with pytest.raises(UserError, match="319 or more"):
        run(RandomHeaders(1), 200_000, permutations=99)
    with pytest.raises(UserError, match="1 to 8"):
        run(RandomHeaders(1), 1000, zero_bits=0)
    with pytest.raises(UserError, match="noise"):
        run(RandomHeaders(1), 200_000, noise=-1.0)
