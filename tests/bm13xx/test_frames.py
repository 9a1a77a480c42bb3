"""The codec against frames that it did not make, and against itself."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.bm13xx import frames
from firmware_bridge.bm13xx.crc import answer_tail, crc5, crc16
from firmware_bridge.bm13xx.nonces import header_of, origin, reverse_words, share_of, stratum_prevhash
from firmware_bridge.errors import ProtocolError
from firmware_bridge.headers import (
    HeaderFields,
    Job,
    assemble_header,
    coinbase,
    difficulty_of_hash,
    header_hash,
    merkle_root,
    verify,
)

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors" / "bm13xx.json").read_text())


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


def record(vector: dict[str, Any], kind: str) -> Any:
    return getattr(frames, vector[kind])(**vector["fields"])


def meaning(vector: dict[str, Any]) -> str:
    return f"{vector['frame'].replace(' ', '')}"


@pytest.mark.parametrize("vector", VECTORS["commands"] + VECTORS["bm1397_commands"], ids=meaning)
def test_commands_found_in_sources_read_and_write_as_they_are(vector: dict[str, Any]) -> None:
    command = record(vector, "command")
    assert frames.decode_command(raw(vector["frame"])) == command
    assert frames.encode(command) == raw(vector["frame"])


@pytest.mark.parametrize("vector", VECTORS["bm1387_commands"], ids=meaning)
def test_commands_of_the_s9_read_and_write_as_they_are(vector: dict[str, Any]) -> None:
    command = record(vector, "command")
    assert frames.decode_command(raw(vector["frame"]), frames.BM1387) == command
    assert frames.encode(command, frames.BM1387) == raw(vector["frame"])


@pytest.mark.parametrize("vector", VECTORS["answers"], ids=meaning)
def test_captured_answers_read_and_write_as_they_are(vector: dict[str, Any]) -> None:
    frame, answer = raw(vector["frame"]), record(vector, "answer")
    assert frames.decode_answer(frame) == answer
    assert frames.encode_answer(answer, len(frame)) == frame
    assert crc5(frame[2:]) == 0


@pytest.mark.parametrize("vector", VECTORS["bad_frames"], ids=meaning)
def test_frames_with_a_known_wrong_check_sum_are_refused(vector: dict[str, Any]) -> None:
    frame = raw(vector["frame"])
    dialect = frames.BM1366 if frame.startswith(b"\x55\xaa") else frames.BM1387
    with pytest.raises(ProtocolError, match=f"CRC5 is {vector['right'].lower()}"):
        frames.decode_command(frame, dialect)


# ---- the captured job and its nonces ---------------------------------------------------------------------------------

CAPTURED = VECTORS["captured_job"]


def captured_job() -> frames.JobFrame:
    job = frames.decode_command(raw(CAPTURED["frame"]))
    assert isinstance(job, frames.JobFrame)
    return job


def test_the_captured_job_has_the_fields_that_are_known_of_it() -> None:
    job = captured_job()
    frame = raw(CAPTURED["frame"])
    assert (job.job_id, job.midstates, job.start_nonce) == (CAPTURED["job_id"], 1, 0)
    assert f"{job.nbits:08X} {job.ntime:08X}" == f"{CAPTURED['nbits']} {CAPTURED['ntime']}"
    assert f"{job.version:08x}" == CAPTURED["version"]
    assert f"{crc16(frame[2:-2]):04X}" == CAPTURED["crc16"]
    assert frames.encode(job) == frame


@pytest.mark.parametrize("nonce", CAPTURED["nonces"], ids=lambda n: n["answer"].replace(" ", ""))
def test_nonces_of_the_capture_hash_to_their_difficulties(nonce: dict[str, Any]) -> None:
    answer = frames.decode_answer(raw(nonce["answer"]))
    assert isinstance(answer, frames.NonceAnswer)
    at = origin(answer)
    assert (at.core, at.small_core, at.version_bits) == (
        nonce["core"], nonce["small_core"], nonce["version_bits"],
    )  # fmt: skip
    assert (at.job_id, at.chip) == (CAPTURED["job_id"], 0)
    difficulty = difficulty_of_hash(header_hash(header_of(captured_job(), answer)))
    assert difficulty == pytest.approx(nonce["difficulty"], abs=5e-4)
    assert 2**at.excess <= difficulty < 2 ** (at.excess + 1)


def test_the_golden_job_hashes_to_the_block_that_it_became() -> None:
    golden = VECTORS["golden_job"]
    root = raw(golden["merkle_display"])[::-1]
    number = int(golden["version"], 16)
    frame = frames.JobFrame(
        job_id=0,
        nbits=int(golden["nbits"], 16),
        ntime=int(golden["ntime"], 16),
        merkle_root=reverse_words(root),
        prevhash=raw(golden["prevhash"])[::-1],
        version=number & ~0x1FFFE000,
    )
    bits = (number & 0x1FFFE000) >> 13
    answer = frames.NonceAnswer(int.from_bytes(raw(golden["nonce"])[::-1], "big"), 46, bits & 7, bits)
    value = header_hash(header_of(frame, frames.decode_answer(frames.encode_answer(answer))))  # type: ignore[arg-type]
    assert f"{value:064x}" == golden["hash"]
    assert difficulty_of_hash(value) == pytest.approx(golden["difficulty"], rel=1e-12)
    assert stratum_prevhash(frame.prevhash) == golden["prevhash"]
    assert (origin(answer).core, bits // 8) == (11, 0xA96)


# ---- properties ------------------------------------------------------------------------------------------------------

u8, u16, u32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
chips = st.none() | u8
commands = st.one_of(
    st.builds(frames.SetAddress, u8),
    st.builds(frames.WriteRegister, u8, u32, chips),
    st.builds(frames.ReadRegister, u8, chips),
    st.just(frames.ChainInactive()),
    st.builds(
        frames.JobFrame, u8, u32, u32, st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32),
        u32, u32, u8, st.sampled_from([frames.JOB_LENGTH, frames.JOB_LENGTH_FACTORY]),
    ),
    st.builds(
        frames.MidstateJob, u8, u32, u32, st.binary(min_size=4, max_size=4),
        st.tuples(*[st.binary(min_size=32, max_size=32)] * 4), u32,
    ),
)  # fmt: skip
answers = st.one_of(
    st.builds(frames.NonceAnswer, u32, u8, u8, u16),
    st.builds(frames.RegisterAnswer, u32, u8, u8, u16),
    st.builds(frames.OtherAnswer, st.sampled_from([1, 2, 3, 5, 6, 7]), st.binary(min_size=8, max_size=8)),
)


@given(commands)
def test_every_command_comes_back(command: frames.Command) -> None:
    assert frames.decode_command(frames.encode(command)) == command


@given(answers)
def test_every_answer_comes_back(answer: frames.Answer) -> None:
    assert frames.decode_answer(frames.encode_answer(answer)) == answer


@given(answers, st.integers(16, 87), st.integers(1, 0x1F))
def test_an_answer_with_a_burst_of_up_to_five_wrong_bits_is_refused(
    answer: frames.Answer, at: int, burst: int
) -> None:
    frame = frames.encode_answer(answer)
    broken = (int.from_bytes(frame, "big") ^ burst << max(0, 87 - at - 4)).to_bytes(11, "big")
    with pytest.raises(ProtocolError):
        frames.decode_answer(broken)


@given(st.binary(min_size=6, max_size=8).filter(lambda p: len(p) != 7), st.integers(0, 7))
def test_the_tail_makes_the_check_sum_of_an_answer_zero(payload: bytes, kind: int) -> None:
    tail = answer_tail(payload, kind)
    assert tail >> 5 == kind
    assert crc5(payload + bytes((tail,))) == 0


@pytest.mark.parametrize(
    "command",
    [
        frames.SetAddress(256),
        frames.WriteRegister(0x100, 0),
        frames.WriteRegister(0, 1 << 32),
        frames.JobFrame(256, 0, 0, bytes(32), bytes(32), 0),
        frames.JobFrame(0, 0, 0, bytes(31), bytes(32), 0),
        frames.MidstateJob(0, 0, 0, bytes(4), (bytes(32),)),
    ],
)
def test_fields_that_do_not_fit_are_refused(command: frames.Command) -> None:
    with pytest.raises(ValueError, match=r"0 \.\.|does not fit|32 bytes"):
        frames.encode(command)


def test_an_answer_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        frames.encode_answer(frames.NonceAnswer(1 << 32, 0, 0, 0))
    with pytest.raises(ValueError, match="payload"):
        frames.encode_answer(frames.OtherAnswer(1, b"x"))


@given(u32, u8, u16, st.binary(min_size=4, max_size=4), st.binary(min_size=32, max_size=32))
def test_a_nonce_as_a_share_hashes_the_header_that_the_chip_hashed(
    nonce: int, result: int, bits: int, extranonce2: bytes, prevhash: bytes
) -> None:
    from firmware_bridge.bm13xx.nonces import job_frame

    job = Job(
        "a", prevhash.hex(), "01" * 40, "02" * 30, ("33" * 32,), "20000004", "1d00ffff", "69637392", "aabbccdd",
        difficulty=1.0, version_mask=0x1FFFE000,
    )  # fmt: skip
    answer = frames.NonceAnswer(nonce, 0, result, bits)
    frame = job_frame(job, extranonce2.hex(), 8)
    share = share_of(job, extranonce2.hex(), answer)
    assert verify(job, share).header == header_of(frame, answer)
    root = merkle_root(coinbase(job, extranonce2.hex()), job.merkle_branch)
    fields = HeaderFields(
        f"{0x20000004 | bits << 13:08x}", job.prevhash, root.hex(), job.ntime, job.nbits, share.nonce
    )
    assert assemble_header(fields) == header_of(frame, answer)


def test_records_are_plain_values() -> None:
    assert asdict(frames.SetAddress(2)) == {"address": 2}
    assert msgspec.structs.asdict(frames.RegisterAnswer(1, 2, 3, None))["tail"] is None
