"""A device that differs is known again, another is turned away, and the file keeps what it was made from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.puf import EmulatedPopulation
from firmware_bridge.emulator.virtual import VirtualConfig, simulate
from firmware_bridge.errors import UserError
from tpf.enrolment import Challenge, Enrolment, Fingerprint, enrol, fingerprints, load_enrolment, verify
from tpf.puf import agreement_of


@pytest.fixture(scope="module")
def prints() -> dict[str, list[Fingerprint]]:
    return EmulatedPopulation(devices=2, repeats=3, variation_ms=0.5, shares=1500, seed=4).prints()


def made(seed: int, *, own: np.ndarray, error: float = 0.2, layout: str = "s9") -> Fingerprint:
    """A fingerprint of given delays with a known error."""
    rng = np.random.default_rng(seed)
    return Fingerprint(
        f"run-{seed}", layout, "chip", own + rng.normal(0, error, own.size), np.full(own.size, 25), 5 * error
    )


@given(st.integers(0, 2**31), st.integers(3, 90), st.data())
def test_a_challenge_asks_distinct_pairs_and_the_same_ones_again(
    seed: int, parts: int, data: st.DataObject
) -> None:
    most = parts * (parts - 1) // 2
    if most < 8:
        with pytest.raises(UserError, match="pairs"):
            Challenge(seed, parts, 8)
        return
    challenge = Challenge(seed, parts, data.draw(st.integers(8, most)))
    pairs = challenge.pairs()
    assert len({frozenset(pair) for pair in pairs.tolist()}) == challenge.bits
    assert np.all(pairs[:, 0] != pairs[:, 1])
    np.testing.assert_array_equal(pairs, challenge.pairs())
    delays = np.random.default_rng(seed).normal(size=(3, parts))
    found = challenge.respond(delays)
    for row, response in zip(delays, found, strict=True):
        assert [int(row[a] > row[b]) for a, b in pairs] == response.tolist()
        np.testing.assert_array_equal(
            challenge.respond(row + 7.0), response
        )  # what all parts share drops out


def test_a_device_is_known_again_and_another_is_turned_away(prints: dict[str, list[Fingerprint]]) -> None:
    first, second = prints
    enrolment = enrol(first, prints[first][:2])
    own, other = verify(enrolment, prints[first][2]), verify(enrolment, prints[second][0])
    assert own.accepted
    assert own.verdict.code == "evidence"
    assert own.p_value is not None
    assert own.p_value <= 0.01
    assert own.distance == pytest.approx(own.expected_distance, abs=0.1)
    assert not other.accepted
    assert other.verdict.code == "no_evidence"
    assert own.threshold is not None
    assert other.distance is not None
    assert own.distance <= own.threshold < other.distance


def test_signal_and_error_are_those_planted(prints: dict[str, list[Fingerprint]]) -> None:
    for found in prints.values():
        for one in found:
            assert one.signal_ms == pytest.approx(0.5, abs=0.15)
            assert one.shares.sum() > 1000
        delays = np.array([p.delay_ms for p in found])
        error = np.sqrt(delays.var(axis=0, ddof=1).mean())
        assert found[0].error_ms == pytest.approx(error, rel=0.25)


def test_alike_devices_are_not_told_apart_and_the_text_says_why() -> None:
    alike = EmulatedPopulation(devices=2, repeats=2, shares=700, seed=1).prints()
    first, second = alike.values()
    result = verify(enrol("a", first[:1]), second[0])
    assert not result.accepted
    assert result.verdict.code == "cannot_tell"
    assert "not even the device itself" in result.verdict.text


def test_a_run_is_not_held_against_itself() -> None:
    noise = made(3, own=np.zeros(63))
    enrolment = enrol("a", [made(2, own=np.zeros(63)), noise])
    result = verify(enrolment, noise)
    assert (result.accepted, result.verdict.code, result.distance) == (False, "cannot_tell", None)
    assert "run-3 itself" in result.verdict.text


def test_false_acceptance_is_as_asked() -> None:
    """400 strangers of the same spread: 5 % asked for, 3 to 8 % found."""
    rng = np.random.default_rng(5)
    enrolment = enrol("a", [made(0, own=rng.normal(0, 0.5, 63))], far=0.05)
    accepted = [
        verify(enrolment, made(seed, own=rng.normal(0, 0.5, 63)), impostors=399).accepted
        for seed in range(1, 401)
    ]
    assert 8 <= sum(accepted) <= 34


def test_expected_reliability_is_what_happens() -> None:
    rng = np.random.default_rng(6)
    differences, expected = [], []
    for device in range(60):
        own = rng.normal(0, 0.5, 63)
        enrolment = enrol("a", [made(2 * device, own=own)])
        again = made(2 * device + 1, own=own)
        differences.append(verify(enrolment, again, impostors=99).distance)
        expected.append(1 - enrolment.expected_reliability)
    truth = 1 - agreement_of(0.25 / (0.25 + 0.04))
    assert np.mean(differences) == pytest.approx(truth, abs=0.02)
    assert np.mean(expected) == pytest.approx(truth, abs=0.02)


def test_the_file_keeps_everything_and_is_checked(
    tmp_path: Path, prints: dict[str, list[Fingerprint]]
) -> None:
    name, found = next(iter(prints.items()))
    enrolment = enrol(name, found, challenge_seed=3, bits=100, far=0.02, provenance={"made": "today"})
    file = enrolment.save(tmp_path / "a.json")
    again = load_enrolment(file)
    assert again.to_json() == enrolment.to_json()
    np.testing.assert_array_equal(again.response, enrolment.response)
    told = json.loads(file.read_text())
    assert told["runs"] == [p.run for p in found]
    assert told["provenance"] == {"made": "today"}
    told["response"] = "00" * 13
    file.write_text(json.dumps(told))
    with pytest.raises(UserError, match="not that of its own delays"):
        load_enrolment(file)
    for text in ("", "[]", "{}", '{"format": "other"}'):
        file.write_text(text)
        with pytest.raises(UserError, match="no enrolment"):
            load_enrolment(file)
    with pytest.raises(UserError, match="asiclab puf enroll"):
        load_enrolment(tmp_path / "none.json")


def test_another_model_is_never_that_device() -> None:
    enrolment: Enrolment = enrol("a", [made(0, own=np.zeros(63))])
    result = verify(enrolment, made(1, own=np.zeros(63), layout="bm1366"))
    assert (result.accepted, result.distance, result.verdict.code) == (False, None, "no_evidence")


def test_mistakes_are_named() -> None:
    one = made(0, own=np.zeros(63))
    with pytest.raises(UserError, match="at least one run"):
        enrol("a", [])
    with pytest.raises(UserError, match="false acceptance"):
        enrol("a", [one], far=0.7)
    with pytest.raises(UserError, match="no one device"):
        enrol("a", [one, made(1, own=np.zeros(63), layout="lv06")])
    with pytest.raises(UserError, match="more than one each"):
        fingerprints(simulate(VirtualConfig(shares=100)).to_run_data(), split=3)
