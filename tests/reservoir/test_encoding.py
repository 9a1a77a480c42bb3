"""A symbol comes back from the job that carried it, and an input from its symbols."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from firmware_bridge.errors import UserError
from firmware_bridge.headers import prevhash_symbol
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.dispatch import DispatchContext, JobSymbol, SymbolSource
from firmware_bridge.stratum.jobs import JobFactory
from reservoir.encoding import Encoding, Mask, feedback, mix, unmix
from reservoir.symbol_stream import SymbolStream

WALL_NS = 1_700_000_123_456_789_000
symbols = st.floats(0.0, 1.0, exclude_max=True)
inputs = arrays.arrays(np.float64, st.integers(1, 20), elements=symbols)
responses = st.integers(0, 10**12)


@given(base=symbols, response_ns=responses, g=st.floats(0.0, 0.999999))
def test_a_dialogue_is_taken_apart_again(base: float, response_ns: int, g: float) -> None:
    mixed = mix(base, response_ns, g)
    assert mixed == (1.0 - g) * base + g * (
        response_ns / (response_ns + 1e9)
    )  # the bits that a kernel repeats
    assert 0.0 <= mixed <= 1.0
    assert unmix(mixed, response_ns, g) == pytest.approx(base, abs=1e-9)
    many = mix(np.array([base, base]), np.array([response_ns, 0]), g)
    assert many[0] == mixed
    assert many[1] == (1.0 - g) * base


def test_half_of_the_feedback_comes_at_one_second() -> None:
    assert [feedback(r) for r in (0, 10**9, 3 * 10**9)] == [0.0, 0.5, 0.75]
    with pytest.raises(UserError, match="never negative"):
        feedback(np.array([1, -1]))
    with pytest.raises(UserError, match="below 1"):
        mix(0.5, 0, 1.0)


@given(u=inputs, slots=st.integers(1, 40), seed=st.integers(0, 99), gain=st.floats(0.01, 1.0))
def test_an_input_comes_back_from_its_masked_symbols(
    u: np.ndarray, slots: int, seed: int, gain: float
) -> None:
    rng = np.random.default_rng(seed)
    for mask in (
        Mask.binary(slots, rng, gain),
        Mask.uniform(slots, rng, gain),
        Mask.maximum_length(slots, gain),
    ):
        masked = mask.apply(u)
        assert masked.shape == (u.size, slots)
        assert ((masked >= 0.0) & (masked < 1.0)).all()
        j = slots // 2
        assert masked[:, j] == pytest.approx(0.5 + gain * mask.weights[j] * (u - 0.5), abs=1e-15)
        scale = float(np.abs(mask.weights).max()) * gain
        assert mask.invert(masked) == pytest.approx(u, abs=1e-14 / scale)


@given(u=inputs)
def test_one_slot_of_weight_and_gain_1_is_the_identity(u: np.ndarray) -> None:
    assert np.array_equal(Mask().apply(u)[:, 0], u)


def test_a_maximum_length_mask_is_balanced_and_white() -> None:
    weights = np.array(Mask.maximum_length(63).weights)
    assert weights.sum() in (-1.0, 1.0)
    assert all(weights @ np.roll(weights, k) == -1.0 for k in range(1, 63))


def test_inverting_noisy_symbols_is_least_squares() -> None:
    rng = np.random.default_rng(3)
    mask = Mask.uniform(7, rng, 0.8)
    noisy = mask.apply(rng.random(5)) + 0.1 * rng.standard_normal((5, 7))
    a = 0.8 * np.array(mask.weights)[:, None]
    expected = np.linalg.lstsq(a, (noisy - 0.5 * (1.0 - a.T)).T, rcond=None)[0][0]
    assert mask.invert(noisy) == pytest.approx(expected, rel=1e-12)


FIELDS = [
    Encoding("prevhash"),
    Encoding("coinbase"),
    Encoding("extranonce1"),
    Encoding("version_bits"),
    Encoding("ntime"),
    Encoding("difficulty"),
    Encoding("difficulty", d_low=1.0, d_high=7.0),
    Encoding("difficulty", integer_difficulty=False, d_low=0.01, d_high=2.5),
    Encoding("duty", mask=Mask((1.0,) * 5)),
]


@pytest.mark.parametrize("encoding", FIELDS, ids=lambda e: f"{e.field}-{e.d_high:g}")
@given(s=symbols, wall_ns=st.integers(0, 4_000_000_000 * 10**9))
def test_a_symbol_comes_back_to_the_resolution_of_its_field(
    encoding: Encoding, s: float, wall_ns: int
) -> None:
    jobs = [encoding.encode(s, wall_ns=wall_ns, slot=j) for j in range(encoding.slots)]
    decoded = encoding.decode(jobs)
    assert abs(decoded - s) <= encoding.resolution + 1e-12
    assert all(job["value"] == s for job in jobs)
    if encoding.field != "prevhash":  # the bridge takes it, and the trace's hex decodes to the same
        stored = [JobSymbol(**job).fields() for job in jobs]
        assert encoding.decode(stored) == decoded
    if encoding.field == "ntime":
        assert abs(jobs[0]["ntime"] - wall_ns // 10**9) < 4096
    if encoding.carries_difficulty and encoding.integer_difficulty:
        assert all(job["difficulty"] == int(job["difficulty"]) for job in jobs)


@pytest.mark.parametrize("encoding", FIELDS, ids=lambda e: f"{e.field}-{e.d_high:g}")
def test_a_field_tells_as_many_symbols_apart_as_its_resolution_says(encoding: Encoding) -> None:
    """The resolution is no excuse: steps of twice its size always show."""
    step = max(2.0 * encoding.resolution, 1e-6)
    levels = np.arange(0.0, 1.0, step)[:500]
    decoded = [
        encoding.decode([encoding.encode(s, wall_ns=WALL_NS, slot=j) for j in range(encoding.slots)])
        for s in levels.tolist()
    ]
    assert len(set(decoded)) == levels.size


@given(
    s=symbols,
    low=st.floats(1.0, 1300.0),
    span=st.floats(1.0, 500.0),
    step=st.sampled_from([0.0, 0.5, 1.0, 6.25, 25.0]),
    field=st.sampled_from(["frequency", "voltage"]),
)
def test_a_symbol_comes_back_from_the_setting_and_no_setting_leaves_its_range(
    s: float, low: float, span: float, step: float, field: str
) -> None:
    wanted = {"setting_low": low, "setting_high": low + span, "setting_step": step}
    if step and math.floor((low + span) / step) <= math.ceil(low / step):
        with pytest.raises(UserError, match="no two values"):
            Encoding(field, **wanted)  # type: ignore[arg-type]
        return
    encoding = Encoding(field, **wanted)  # type: ignore[arg-type]
    ((name, value),) = encoding.setting(s).items()
    assert name == {"frequency": "frequency_mhz", "voltage": "core_voltage_mv"}[field]
    assert low - 1e-6 <= value <= low + span + 1e-6
    if step:
        assert value / step == pytest.approx(round(value / step), abs=1e-9)
    assert abs(encoding.decode({name: value}) - s) <= encoding.resolution + 1e-9
    assert encoding.encode(s) == {"value": s}  # no field of the job carries it
    assert Encoding.from_json(json.loads(json.dumps(encoding.to_json()))) == encoding
    again = encoding.setting(min(encoding.decode({name: value}), 0.999999999))
    assert again == pytest.approx({name: value}, rel=1e-8)


@pytest.mark.parametrize("name", ["coinbase", "extranonce1", "version_bits", "ntime", "difficulty"])
def test_the_job_that_a_bridge_makes_carries_the_symbol(name: str) -> None:
    encoding = Encoding(name)  # type: ignore[arg-type]
    symbol = JobSymbol(**encoding.encode(0.7314, wall_ns=WALL_NS))
    factory = JobFactory(BridgeConfig(), np.random.default_rng(1))
    job = factory.make(
        extranonce1=symbol.extranonce1 or "00000000",
        difficulty=symbol.difficulty or 256.0,
        scale=1.0,
        version_mask=0x1FFFE000,
        wall_ns=WALL_NS,
        symbol=symbol,
    )
    assert job.symbol == 0.7314
    assert encoding.decode(job.symbol_fields or {}) == pytest.approx(0.7314, abs=encoding.resolution)
    whole = {"version_bits": job.version, "ntime": job.ntime, "extranonce1": job.extranonce1}
    if name in whole:
        assert encoding.decode({name: whole[name]}) == encoding.decode(job.symbol_fields or {})
    if name == "coinbase":
        assert int(0.7314 * 2**32).to_bytes(4, "big").hex() in job.coinb1


def test_a_symbol_in_prevhash_is_the_one_that_runs_are_labelled_with() -> None:
    sent = Encoding("prevhash").encode(0.3)["prevhash"] + "ab" * 28
    assert Encoding("prevhash").decode({"prevhash": sent}) == prevhash_symbol(sent)


def test_duty_works_the_first_slots_and_idles_the_others() -> None:
    encoding = Encoding("duty", mask=Mask((1.0,) * 4), d_low=512.0)
    jobs = [encoding.encode(0.6, slot=j)["difficulty"] for j in range(4)]
    assert jobs == [512.0, 512.0, 512.0 * 2.0**40, 512.0 * 2.0**40]


def test_the_modes() -> None:
    u = np.array([0.0, 0.25, 0.5])
    mask = Mask.maximum_length(3)
    monologue = Encoding(mode="monologue", mask=mask, high=0.5)
    base = monologue.base(u)
    assert monologue.inputs(base) == pytest.approx(u)
    assert base == pytest.approx(mask.apply(np.array([0.0, 0.5, 1.0])), abs=1e-12)
    constant = replace(monologue, mode="constant")
    assert (constant.base(u) == 0.5).all()
    with pytest.raises(UserError, match="carries no input"):
        constant.inputs(base)
    with pytest.raises(UserError, match="inputs lie between"):
        monologue.base(np.array([0.6]))


@pytest.mark.parametrize("encoding", FIELDS)
def test_an_encoding_goes_through_json(encoding: Encoding) -> None:
    assert Encoding.from_json(json.loads(json.dumps(encoding.to_json()))) == encoding


def test_what_makes_no_sense_is_refused() -> None:
    for bad, match in (
        ({"field": "nonce"}, "field is one of"),
        ({"mode": "chat"}, "mode is one of"),
        ({"feedback": 1.0}, "feedback"),
        ({"low": 1.0}, "from low to high"),
        ({"d_high": 1.0}, "d_low < d_high"),
        ({"d_low": 2.5}, "integer"),
        ({"field": "duty"}, "duty needs"),
        ({"field": "frequency"}, "setting_low and setting_high"),
        ({"field": "voltage", "setting_low": 9.0, "setting_high": 8.0}, "from a low to a high"),
        (
            {"field": "voltage", "setting_low": 8.0, "setting_high": 9.0, "setting_step": -1.0},
            "no two values",
        ),
        ({"colour": "red"}, "no colour"),
    ):
        with pytest.raises(UserError, match=match):
            Encoding.from_json(bad)
    with pytest.raises(UserError, match="sets nothing"):
        Encoding().setting(0.5)
    with pytest.raises(UserError, match="below 1"):
        Encoding("frequency", setting_low=1.0, setting_high=2.0).setting(1.0)
    with pytest.raises(UserError, match="not 0"):
        Mask((0.0, 0.0))
    with pytest.raises(UserError, match="gain"):
        Mask(gain=0.0)
    with pytest.raises(UserError, match="below 1"):
        Encoding().encode(1.0)
    with pytest.raises(UserError, match="time of its job"):
        Encoding("ntime").encode(0.5)
    with pytest.raises(UserError, match="no symbol in coinbase"):
        Encoding().decode({"ntime": "00"})
    with pytest.raises(UserError, match="is hex"):
        Encoding().decode({"coinbase": "xyzt"})
    with pytest.raises(UserError, match="5 jobs, not 1"):
        FIELDS[-1].decode({"difficulty": 1.0})


def context(index: int, miner: int = 1) -> DispatchContext:
    return DispatchContext(miner, "m", index, WALL_NS, 0, None, 0, False)


def test_a_stream_mixes_the_last_response_in_and_ends_with_its_input() -> None:
    encoding = Encoding("coinbase", "dialogue", feedback=0.25, mask=Mask((1.0, -1.0)))
    u = np.array([0.1, 0.9])
    stream = SymbolStream(encoding, u, JobSymbol)
    source: SymbolSource = stream
    values = []
    for index, response_ns in enumerate([None, 10**9, None, 3 * 10**9]):
        if response_ns is not None:
            stream.responded(response_ns)
        symbol = source.next(context(index))
        assert symbol is not None
        values.append(symbol.value)
    assert values == pytest.approx([0.075, 0.675 + 0.125, 0.675 + 0.125, 0.075 + 0.1875])
    assert stream.heard_ns == [0, 10**9, 10**9, 3 * 10**9]
    assert stream.exhausted
    assert source.next(context(4)) is None
    base = unmix(np.array(stream.symbols), np.array(stream.heard_ns), encoding.feedback).reshape(2, 2)
    assert encoding.inputs(base) == pytest.approx(u, abs=1e-9)


def test_a_stream_of_a_monologue_ignores_responses_and_serves_one_miner() -> None:
    stream = SymbolStream(Encoding(mode="monologue"), [0.1, 0.9], JobSymbol)
    stream.responded(10**9)
    symbol = stream.next(context(0))
    assert symbol is not None
    assert symbol.value == 0.1
    with pytest.raises(UserError, match="one miner"):
        stream.next(context(1, miner=2))


def test_the_slots_of_duty_share_the_symbol_of_their_step() -> None:
    encoding = Encoding("duty", mask=Mask((1.0,) * 4))
    stream = SymbolStream(encoding, [0.4, 0.8], JobSymbol)
    sent = []
    for index in range(8):
        symbol = stream.next(context(index))
        assert symbol is not None
        sent.append({"difficulty": symbol.difficulty})
        stream.responded((index + 1) * 10**9)
    assert stream.symbols[:4] == [0.75 * 0.4] * 4
    assert stream.symbols[4:] == [mix(0.8, 4 * 10**9, 0.25)] * 4
    assert encoding.decode(sent[:4]) == 0.25
    assert encoding.decode(sent[4:]) == 0.75
    assert math.isclose(stream.symbols[4], 0.8)
