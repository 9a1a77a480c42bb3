"""Mutated LBRY jobs, shares, headers and conversations, and mutated pages of a Goldshell through its codec."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import msgspec

from firmware_bridge import headers, lbry
from firmware_bridge.devices import goldshell
from firmware_bridge.errors import ProtocolError
from firmware_bridge.stratum import wire
from firmware_bridge.stratum.verify import PreparedJob, Rejected
from firmware_bridge.trace.redaction import http_body
from tests.fuzz.sessions import AUTHORIZE, ROLL, ROLLED, SUBMITS, check_conversation

SUBSCRIBE_LB1 = b'{"id":1,"method":"mining.subscribe","params":["icbtminer/1.0"]}\n'
LBRY_CONVERSATIONS = (
    SUBSCRIBE_LB1 + AUTHORIZE + SUBMITS,
    ROLL + SUBSCRIBE_LB1 + AUTHORIZE + ROLLED + SUBMITS,
    SUBSCRIBE_LB1 + AUTHORIZE + SUBMITS + SUBSCRIBE_LB1 + ROLL + SUBMITS,
    b'{"id":1,"method":"mining.subscribe","params":["icbtminer scale=2^-22"]}\n' + AUTHORIZE + SUBMITS,
)

NOTIFY: list[Any] = [
    "1a", "10" * 32, "ab" * 32, "0100", "02", ["33" * 32], "20000000", "1f00ffff", "69637392", True,
]  # fmt: skip
JOBS_AND_SHARES = (
    json.dumps([NOTIFY, ["w", "1a", "00000001", "69637392", "00000507"]]).encode(),
    json.dumps([[*NOTIFY[:5], [], *NOTIFY[6:]], ["w", "1a", "ffffffff", "69637393", "deadbeef", "00000000"]]).encode(),
    json.dumps([[*NOTIFY[:2], *NOTIFY[3:]], ["w", "1a", "00000001", "69637392", "00000507"]]).encode(),
)  # fmt: skip

GENESIS = bytes.fromhex(
    "01000000" + "00" * 32 + "cc59e59ff97ac092b55e423aa5495151ed6fb80570a5bb78cd5bd1c3821c21b8"
    "01" + "00" * 31 + "33193156" + "ffff001f" + "07050000"
)

PAGES = tuple(
    json.dumps(page).encode()
    for page in (
        {"JWT Token": "0123abcd"},
        {"model": "Goldshell-LBBox", "firmware": "2.2.1", "mcbversion": "LB_BOX.1.0"},
        {"name": "02:00", "select": 1, "powerplans": [{"level": 0, "info": "a"}, {"level": 3}, {"level": 7}, 5]},
        [{"url": "stratum+tcp://h:1", "user": "u", "pass": "x", "dragid": 0, "active": True}],
        {"minfos": [{"name": "LB", "infos": [
            {"ID": 0, "MHS 20s": 175000.5, "MHS av": "1", "tstemp-1": 50.5, "tstemp-2": "62", "fan0": 2000,
             "fan1": 1900, "voltage": 400, "chips-nr": 4, "Hardware Errors": 3}]}]},
    )
)  # fmt: skip


def check_goldshell(data: bytes) -> None:
    """Whatever a page says: readings are finite or None, plans lie in the list, kept bytes hold no password."""
    token = goldshell.token_of(data)
    assert token is None or token.strip()
    kept = http_body(data)
    assert http_body(kept) == kept
    try:
        page = goldshell.decode(data)
    except ProtocolError as error:
        if len(str(error)) > 200:
            raise AssertionError(f"an error text of {len(str(error))} characters") from error
        return
    if isinstance(page, dict):
        plans = goldshell.plans_of(page)
        listed = page.get("powerplans")
        assert all(0 <= index < len(listed) for index in plans.values())
        plan = goldshell.plan_in_force(page)
        assert plan is None or plan in plans
    for pool in goldshell.pools_of(page):
        assert isinstance(pool.url, str)
        assert pool.active in (True, False, None)
    rows = goldshell.infos_of(page)
    assert all(math.isfinite(fan) and fan > 0 for fan in goldshell.fans_of(rows))
    boards = goldshell.boards_of(rows)
    assert len(boards) == len(rows)
    for board in boards:
        for field in fields(board):
            value = getattr(board, field.name)
            assert value is None or not isinstance(value, float) or math.isfinite(value)


def check_job_and_share(data: bytes) -> None:
    """A notify and a submit: a job comes back as it was sent, and the two verifications say the same."""
    try:
        call, submit = msgspec.json.decode(data)  # as the wire's own parser: no lone surrogates
        assert_lists(call, submit)
        job = wire.notify_job(call, extranonce1="0badcafe", difficulty=2.0**-23)
    except (ValueError, TypeError, RecursionError, msgspec.MsgspecError, wire.WireError):
        return
    sent = wire.decode_server(wire.encode_notify(job).rstrip())
    assert isinstance(sent, wire.ServerCall)
    assert sent.params == [*call[:-1], bool(call[-1])]
    if not 5 <= len(submit) <= 6 or not all(isinstance(p, str) for p in submit):
        return
    _, job_id, extranonce2, ntime, nonce, *bits = submit
    share = headers.Share(job_id, extranonce2, ntime, nonce, bits[0] if bits else None)
    try:
        headers.verify(job, replace(share, ntime=job.ntime))  # a bridge's own jobs are whole
        plain = headers.verify(job, share)
    except ValueError:
        return
    prepared = PreparedJob(job)
    try:
        digest = prepared.hash(extranonce2, ntime, nonce, share.version_bits)
    except Rejected:
        return  # an ntime too far from the job's, an extranonce2 of another length
    value = int.from_bytes(digest, "little")
    assert (value, value <= prepared.target) == (plain.hash_value, plain.meets_job)
    assert prepared.difficulty(value) == plain.difficulty
    assert len(plain.header) == (80 if job.claimtrie is None else lbry.HEADER_BYTES)


def assert_lists(*values: object) -> None:
    """Both halves are what a line of Stratum has under ``params``."""
    if not all(isinstance(value, list) for value in values):
        raise TypeError("no lists")


def check_header(data: bytes) -> None:
    """Bytes that are a header come back from its fields; others are refused in few words."""
    try:
        parsed = headers.parse_header(data)
    except ValueError as error:
        assert len(data) not in (80, lbry.HEADER_BYTES)
        if len(str(error)) > 200:
            raise AssertionError(f"an error text of {len(str(error))} characters") from error
        return
    assert headers.assemble_header(parsed) == data
    assert (parsed.claimtrie is None) == (len(data) == 80)
    if parsed.claimtrie is not None:
        assert 0 <= lbry.proof_of_header(data) < 2**256


LBRY: list[tuple[str, tuple[bytes, ...], Callable[[bytes], None], float]] = [
    ("Goldshell page", PAGES, check_goldshell, 0.5),
    ("LBRY job and share", JOBS_AND_SHARES, check_job_and_share, 0.5),
    ("header bytes", (GENESIS, GENESIS[:80], GENESIS * 2), check_header, 0.5),
    ("LBRY conversation", LBRY_CONVERSATIONS, check_conversation, 0.1),
]
"""Name, corpus, check and weight of each target."""
