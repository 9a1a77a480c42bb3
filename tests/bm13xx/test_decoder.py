"""Frames in a stream: any cut gives the same frames, noise costs bytes that are counted, nothing is raised."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.bm13xx import frames
from firmware_bridge.bm13xx.decoder import MOST_AT_ONCE, AnswerDecoder, CommandDecoder
from tests.bm13xx.test_frames import CAPTURED, VECTORS, answers, commands, raw


def slow_answers(data: bytes, size: int = 11) -> tuple[list[frames.Answer], int, int]:
    """The rule as it is written: at a fault drop one byte. Answers, bytes dropped, check sum errors."""
    at, found, dropped, errors = 0, [], 0, 0
    while len(data) - at >= size:
        frame = data[at : at + size]
        if frame.startswith(b"\xaa\x55"):
            try:
                found.append(frames.decode_answer(frame))
                at += size
                continue
            except frames.ProtocolError:
                errors += 1
        at += 1
        dropped += 1
    return found, dropped, errors


def nonces(count: int, seed: int = 1) -> list[frames.NonceAnswer]:
    rng = random.Random(seed)
    return [
        frames.NonceAnswer(rng.getrandbits(32), rng.randrange(8), rng.getrandbits(7), rng.getrandbits(16))
        for _ in range(count)
    ]


def corrupted(data: bytes, fraction: float, seed: int) -> bytes:
    rng = random.Random(seed)
    return bytes(b ^ rng.randrange(1, 256) if rng.random() < fraction else b for b in data)


def feed_in_pieces(data: bytes, rng: random.Random, most: int) -> tuple[AnswerDecoder, list[frames.Answer]]:
    decoder, found, at = AnswerDecoder(), [], 0
    while at < len(data):
        size = rng.randrange(1, most)
        found += decoder.feed(data[at : at + size])
        at += size
        assert decoder.pending < 11
    return decoder, found


@pytest.mark.parametrize("most", [2, 9, 40, 3000, 100_000])
@pytest.mark.parametrize("fraction", [0.0, 0.0005, 0.01, 0.2])
def test_any_cut_of_a_faulty_stream_gives_what_the_plain_rule_gives(fraction: float, most: int) -> None:
    sent: list[frames.Answer] = list(nonces(1500))
    data = corrupted(b"".join(map(frames.encode_answer, sent)), fraction, seed=3)
    decoder, found = feed_in_pieces(data, random.Random(most), most)
    expected, dropped, errors = slow_answers(data)
    assert found == expected
    counts = decoder.counts
    assert counts.frames == len(found)
    assert counts.crc_errors == errors
    assert counts.received == len(data) == 11 * counts.frames + counts.dropped + decoder.pending
    assert dropped <= counts.dropped <= dropped + 10  # a last piece that can be no frame is dropped at once
    assert found == sent if fraction == 0 else len(found) < len(sent)


def test_only_corrupted_bytes_cost_whole_frames() -> None:
    sent = nonces(2000)
    data = corrupted(b"".join(map(frames.encode_answer, sent)), 0.01, seed=5)
    decoder = AnswerDecoder()
    found = decoder.feed(data + frames.encode_answer(sent[0]))
    assert len(sent) + 1 == len(found) + decoder.counts.dropped / 11
    assert decoder.counts.resyncs > 50


def test_long_clean_streams_are_decoded_in_blocks_with_every_kind_of_answer() -> None:
    some: list[frames.Answer] = [
        *nonces(MOST_AT_ONCE),
        frames.RegisterAnswer(0x13660000, 0, 0, 0),
        frames.OtherAnswer(2, bytes(range(8))),
        *nonces(50, seed=2),
    ]
    decoder = AnswerDecoder()
    assert decoder.feed(b"".join(map(frames.encode_answer, some))) == some
    assert (decoder.counts.dropped, decoder.counts.resyncs, decoder.pending) == (0, 0, 0)


@given(st.lists(answers, max_size=5), st.lists(st.binary(max_size=30), min_size=6, max_size=6))
def test_bytes_are_conserved_whatever_comes(some: list[frames.Answer], noise: list[bytes]) -> None:
    data = noise[0] + b"".join(frames.encode_answer(a) + n for a, n in zip(some, noise[1:], strict=False))
    decoder = AnswerDecoder()
    found = decoder.feed(data)
    assert found == slow_answers(data)[0]
    assert len(data) == 11 * len(found) + decoder.counts.dropped + decoder.pending


def test_a_preamble_inside_of_data_does_not_end_a_frame() -> None:
    inner = frames.RegisterAnswer(0xAA55AA55, 0xAA, 0x55, 0xAA55)
    data = frames.encode_answer(inner) * 3
    decoder = AnswerDecoder()
    assert decoder.feed(b"\xaa\x55\x00" + data) == [inner] * 3
    assert (decoder.counts.dropped, decoder.counts.resyncs) == (3, 1)
    assert decoder.counts.crc_errors >= 1


def test_short_answers_until_the_size_is_changed() -> None:
    short = [raw(v["frame"]) for v in VECTORS["answers"] if len(raw(v["frame"])) == 9]
    long = [raw(v["frame"]) for v in VECTORS["answers"] if len(raw(v["frame"])) == 11]
    decoder = AnswerDecoder(size=9)
    assert len(decoder.feed(b"".join(short))) == len(short) == 2
    decoder.size = 11
    assert decoder.feed(b"".join(long)) == [frames.decode_answer(f) for f in long]
    with pytest.raises(ValueError, match="9 or 11"):
        decoder.size = 10


def test_discarding_counts_what_waited() -> None:
    decoder = AnswerDecoder()
    decoder.feed(b"\xaa\x55\x01\x02")
    decoder.discard()
    assert (decoder.pending, decoder.counts.dropped) == (0, 4)


@given(st.lists(commands, max_size=6), st.integers(1, 97))
def test_any_cut_gives_the_same_commands(some: list[frames.Command], size: int) -> None:
    data = b"".join(map(frames.encode, some))
    decoder = CommandDecoder()
    found = [c for at in range(0, len(data), size) for c in decoder.feed(data[at : at + size])]
    assert found == some
    assert (decoder.pending, decoder.counts.dropped) == (0, 0)


def test_a_broken_job_is_dropped_and_the_next_command_is_found() -> None:
    job = bytearray(raw(CAPTURED["frame"]))
    job[40] ^= 4
    decoder = CommandDecoder()
    found = decoder.feed(b"\x55" + bytes(job) + frames.encode(frames.ReadRegister(0)))
    assert found == [frames.ReadRegister(0)]
    assert (decoder.counts.crc_errors, decoder.counts.resyncs, decoder.counts.dropped) == (1, 1, 89)


def test_commands_conserve_bytes_too() -> None:
    data = corrupted(raw(CAPTURED["frame"]) * 200 + frames.encode(frames.ChainInactive()) * 200, 0.01, seed=2)
    decoder = CommandDecoder()
    found = decoder.feed(data)
    used = sum(len(frames.encode(c)) for c in found)
    assert len(data) == used + decoder.counts.dropped + decoder.pending
    assert decoder.pending <= 152
    assert 200 < len(found) < 400
