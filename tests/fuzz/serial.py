"""What a bad cable can do to the frames of a BM1366: answers to the host, commands and jobs to the chip."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from firmware_bridge.bm13xx import frames
from firmware_bridge.bm13xx.decoder import AnswerDecoder, CommandDecoder
from firmware_bridge.bm13xx.nonces import header_of, origin, share_fields
from firmware_bridge.errors import ProtocolError

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors" / "bm13xx.json").read_text())
JOB = bytes.fromhex(VECTORS["captured_job"]["frame"])
CAPTURED = frames.decode_command(JOB)
assert isinstance(CAPTURED, frames.JobFrame)
ANSWERS = [bytes.fromhex(v["frame"]) for v in VECTORS["answers"]]
NONCES = [bytes.fromhex(n["answer"]) for n in VECTORS["captured_job"]["nonces"]]
COMMANDS = [bytes.fromhex(v["frame"]) for v in VECTORS["commands"]]
LONGEST_COMMAND = 152
PIECE = 37


def check_answers(data: bytes) -> None:
    """Bytes are conserved, memory is bounded, every frame is one, and the cut of the stream changes nothing."""
    size = frames.SHORT_ANSWER_BYTES if len(data) % 4 == 0 else frames.ANSWER_BYTES
    whole, pieces = AnswerDecoder(size), AnswerDecoder(size)
    found = whole.feed(data)
    again = [a for at in range(0, len(data), PIECE) for a in pieces.feed(data[at : at + PIECE])]
    assert found == again
    assert whole.counts.to_json() == pieces.counts.to_json()
    counts = whole.counts
    assert counts.frames == len(found)
    assert counts.received == len(data) == size * len(found) + counts.dropped + whole.pending
    assert whole.pending < size
    for answer in found:
        frame = frames.encode_answer(answer, size)
        assert frame in data
        assert frames.decode_answer(frame) == answer
        if isinstance(answer, frames.NonceAnswer):
            assert origin(answer, 12).core < 128
            assert len(header_of(CAPTURED, answer)) == 80
            assert [len(f) for f in share_fields(answer)] == [8, 8]


def check_commands(data: bytes) -> None:
    """The same of the other direction."""
    whole, pieces = CommandDecoder(), CommandDecoder()
    found = whole.feed(data)
    again = [c for at in range(0, len(data), PIECE) for c in pieces.feed(data[at : at + PIECE])]
    assert found == again
    counts = whole.counts
    assert counts.frames == len(found)
    assert whole.pending < LONGEST_COMMAND
    used = 0
    for command in found:
        frame = frames.encode(command)
        used += len(frame)
        assert frames.decode_command(frame) == command
    assert len(data) == used + counts.dropped + whole.pending


def check_single_frames(data: bytes) -> None:
    """One whole frame is a record or a ProtocolError that shows no more than its bytes."""
    for decode in (frames.decode_answer, frames.decode_command, _of_an_s9):
        try:
            decode(data[:200])
        except ProtocolError as error:
            if len(str(error)) > 800:
                raise AssertionError(f"an error text of {len(str(error))} characters") from error


def _of_an_s9(data: bytes) -> frames.Command:
    return frames.decode_command(data, frames.BM1387)


SERIAL: list[tuple[str, tuple[bytes, ...], Callable[[bytes], None]]] = [
    (
        "BM1366 answers",
        (b"".join(NONCES), b"".join(ANSWERS) * 4, b"".join(NONCES) * 6, *ANSWERS),
        check_answers,
    ),
    (
        "BM1366 commands",
        (JOB * 2, b"".join(COMMANDS), JOB + COMMANDS[0] + JOB, *COMMANDS[:6]),
        check_commands,
    ),
    ("BM1366 frames", (JOB, *ANSWERS, *COMMANDS), check_single_frames),
]
