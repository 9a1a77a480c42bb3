"""The parts of the proxy that need no sockets: sharing extranonce2, time efficiency, names, settings."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.efficiency import (
    eta,
    hash_time_for_gain,
    idle_fraction,
    idle_s,
    throughput_gain,
)
from firmware_bridge.errors import UserError
from firmware_bridge.headers import Job
from firmware_bridge.stratum.forwards import ProxyStats, reason_of
from firmware_bridge.stratum.lines import WireError
from firmware_bridge.stratum.proxy import ProxyConfig, Upstream
from firmware_bridge.stratum.space import Space, own_bytes
from firmware_bridge.stratum.upstream import extranonces, same_owner
from firmware_bridge.stratum.verify import PreparedJob

hex_bytes = st.binary(max_size=40).map(bytes.hex)
times = st.floats(0, 1e6)


# ---- extranonce2 -----------------------------------------------------------------------------------------------------


@given(data=st.data(), size=st.integers(1, 16), coinb1=hex_bytes, coinb2=hex_bytes, extranonce1=hex_bytes)
def test_what_the_pool_hashes_is_what_the_miner_hashed(
    data: st.DataObject, size: int, coinb1: str, coinb2: str, extranonce1: str
) -> None:
    own = data.draw(st.integers(0, size))
    space = Space(extranonce1, size, own)
    number = data.draw(st.integers(0, space.jobs - 1))
    branch = data.draw(st.lists(st.binary(min_size=32, max_size=32).map(bytes.hex), max_size=3))
    job = Job("pool", "00" * 32, coinb1, coinb2, tuple(branch), "20000000", "1d00ffff", "65000000")
    mine = space.job(job, number, "mine")
    assert (mine.job_id, mine.extranonce2_size) == ("mine", size - own)
    extranonce2 = data.draw(st.binary(min_size=size - own, max_size=size - own)).hex()
    whole = space.upstream_extranonce2(extranonce2, number)
    assert len(whole) == 2 * size

    def double(raw: bytes) -> bytes:
        return hashlib.sha256(hashlib.sha256(raw).digest()).digest()

    root = double(bytes.fromhex(coinb1 + extranonce1 + whole + coinb2))
    for node in branch:
        root = double(root + bytes.fromhex(node))
    header = (0x20000000).to_bytes(4, "little") + bytes(32) + root
    header += b"".join(bytes.fromhex(text)[::-1] for text in ("65000000", "1d00ffff", "0000002a"))
    assert PreparedJob(mine).hash(extranonce2, "65000000", "0000002a", None) == double(header)


@given(size=st.integers(2, 8), data=st.data())
def test_no_two_of_number_and_extranonce2_are_the_same_to_the_pool(size: int, data: st.DataObject) -> None:
    space = Space("00", size, own_bytes(size))
    parts = st.tuples(
        st.integers(0, space.jobs - 1), st.binary(min_size=space.miner_size, max_size=space.miner_size)
    )
    drawn = data.draw(st.lists(parts, unique=True, max_size=20))
    assert len({space.upstream_extranonce2(e.hex(), n) for n, e in drawn}) == len(drawn)


def test_a_number_that_does_not_exist_is_an_error() -> None:
    job = Job("1", "00" * 32, "", "", (), "20000000", "1d00ffff", "65000000")
    with pytest.raises(OverflowError):
        Space("00", 4, 1).job(job, 256, "x")
    with pytest.raises(ValueError, match="5 of 4"):
        Space("00", 4, 5)


@pytest.mark.parametrize(
    ("size", "wanted", "left", "kept"),
    [
        (1, None, 2, 0), (2, None, 2, 0), (3, None, 2, 1), (4, None, 2, 1), (5, None, 2, 1), (6, None, 2, 2),
        (8, None, 2, 4), (12, None, 2, 4), (4, None, 4, 0), (8, None, 4, 4), (4, 2, 2, 2), (4, 8, 2, 2), (8, 0, 2, 0),
    ],
)  # fmt: skip
def test_how_many_bytes_are_kept(size: int, wanted: int | None, left: int, kept: int) -> None:
    assert own_bytes(size, wanted, left) == kept


# ---- efficiency ------------------------------------------------------------------------------------------------------


def test_eta_of_known_cycles() -> None:
    assert eta(3.0, 0.9, 0.1) == pytest.approx(0.75)
    assert eta(1.0, 0.0, 0.0) == 1.0
    assert eta(0.0, 1.0) == 0.0
    assert eta(0.0, 0.0) is None


def test_the_published_gain_is_one_of_throughput_and_not_of_idle_time() -> None:
    t_hash = hash_time_for_gain(0.25, 0.1)
    assert t_hash == pytest.approx(0.4)
    assert throughput_gain(t_hash, 0.1) == pytest.approx(0.25)
    assert idle_fraction(t_hash, 0.1) == pytest.approx(0.2)


def test_a_miner_with_a_queue_gains_nothing() -> None:
    assert throughput_gain(0.4, 0.1, queued_work_s=0.1) == 0.0
    assert throughput_gain(0.4, 0.1, queued_work_s=0.05) == pytest.approx(0.125)
    assert idle_s(0.1, 1.0) == 0.0


@given(t_hash=st.floats(1e-6, 1e6), before=times, after=times, queue=times)
def test_the_gain_is_the_quotient_of_the_two_etas(
    t_hash: float, before: float, after: float, queue: float
) -> None:
    gain = throughput_gain(t_hash, before, after, queued_work_s=queue)
    old, new = eta(t_hash, idle_s(before, queue)), eta(t_hash, idle_s(after, queue))
    assert gain is not None
    assert old is not None
    assert new is not None
    assert 1.0 + gain == pytest.approx(new / old)
    assert idle_fraction(t_hash, before, queue) == pytest.approx(1.0 - old)


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_times_that_are_none_are_errors(wrong: float) -> None:
    for call in (lambda: eta(wrong, 1.0), lambda: eta(1.0, wrong), lambda: throughput_gain(1.0, wrong)):
        with pytest.raises(ValueError, match="is a time"):
            call()
    with pytest.raises(ValueError, match="a gain"):
        hash_time_for_gain(wrong, 1.0)


# ---- names and settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "offered", "follow"),
    [
        ("pool.example.com", "pool.example.com", True),
        ("POOL.example.com.", "pool.example.com", True),
        ("eu.pool.example.com", "us.pool.example.com", True),
        ("eu.example.com", "us.example.com", True),
        ("example.com", "evil.com", False),
        ("pool.example.com", "example.com.evil.net", False),
        ("pool.example.com", "pool.example.net", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "11.0.0.1", False),
        ("pool.0.0.1", "10.0.0.1", False),
        ("localhost", "evil", False),
        ("::1", "::2", False),
    ],
)
def test_whom_a_pool_may_send_miners_to(known: str, offered: str, follow: bool) -> None:
    assert same_owner(known, offered) is follow


@pytest.mark.parametrize("extranonce1", ["", "00", "ab" * 32])
@pytest.mark.parametrize("size", [1, 4, 32])
def test_extranonces_of_pools(extranonce1: str, size: int) -> None:
    assert extranonces([extranonce1, size, "more"]) == (extranonce1, size)


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["00"],
        ["zz", 4],
        ["0", 4],
        ["00 ", 4],
        ["00", 0],
        ["00", 33],
        ["00", "4"],
        ["00", True],
        [1, 4],
        ["ab" * 33, 4],
    ],
    ids=str,
)
def test_what_are_no_extranonces(wrong: list[object]) -> None:
    with pytest.raises(WireError, match="extranonce1 is hex"):
        extranonces(wrong)


@pytest.mark.parametrize(
    ("code", "text", "reason"),
    [
        (21, "Job not found", "stale"), (22, "x", "duplicate"), (23, "x", "low-difficulty"), (24, "x", "unauthorized"),
        (25, "x", "not-subscribed"), (20, "Stale share", "stale"), (20, "duplicate", "duplicate"), (20, "odd", "other"),
        (-2, "Share is above target", "low-difficulty"), (20, "ntime out of range", "ntime"),
    ],
)  # fmt: skip
def test_reasons_of_pools(code: int, text: str, reason: str) -> None:
    assert reason_of(code, text) == reason


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("stratum+tcp://me:pw@pool.example:3333", ("pool.example", 3333, "me", "pw")),
        ("stratum+tcp://wallet.rig%201:p%40ss@pool:1", ("pool", 1, "wallet.rig 1", "p@ss")),
        ("pool.example:3333", ("pool.example", 3333, None, None)),
        ("tcp://me@[::1]:3333", ("::1", 3333, "me", None)),
    ],
)
def test_urls_of_pools(url: str, expected: tuple[str, int, str | None, str | None]) -> None:
    pool = Upstream.parse(url)
    assert (pool.host, pool.port, pool.user, pool.password) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "pool",
        "pool:0",
        "pool:99999",
        "stratum+ssl://me:secret@pool:1",
        "http://pool:1",
        "pool:1/x",
        "tcp://[:1",
    ],
)
def test_what_is_no_url_of_a_pool_is_an_error_without_its_password(url: str) -> None:
    with pytest.raises(UserError) as caught:
        Upstream.parse(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "else"}, {"work": "else"}, {"mode": "relay", "difficulty": 1.0}, {"difficulty": -1.0},
        {"own_bytes": 9}, {"hold_s": 0.0}, {"retries": 0}, {"return_after_s": -1.0}, {"port": 99999},
        {"version_mask": -1}, {"job_period_s": float("nan")},
    ],
    ids=str,
)  # fmt: skip
def test_settings_out_of_bounds_are_errors(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        ProxyConfig((Upstream("pool", 1),), **wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="needs a pool"):
        ProxyConfig(())


def test_a_snapshot_has_no_password() -> None:
    config = ProxyConfig((Upstream("pool", 1, "me", "swordfish"), Upstream("other", 2)))
    assert "swordfish" not in str(config.snapshot())
    assert "swordfish" not in repr(config)
    assert config.snapshot()["upstreams"][0]["password"] == "***"
    assert config.snapshot()["upstreams"][1]["password"] is None


def test_a_summary_of_nothing_has_no_zeros_for_what_is_unknown() -> None:
    record = ProxyStats().summary(0.0)
    unknown = ("stale_rate", "duplicate_rate", "upstream_reject_rate", "accepted_difficulty_per_hour")
    assert [record[name] for name in (*unknown, "eta_answer", "eta_work")] == [None] * 6
    assert record["upstream_round_trip_ms"]["p50"] is None


def test_a_summary_counts_what_it_says() -> None:
    stats = ProxyStats(
        accepted=8, rejected=2, stale=1, duplicates=1, upstream_accepted=6, accepted_difficulty=600.0
    )
    stats.upstream_rejected["stale"] += 2
    stats.hash_ns.extend([30_000_000] * 4)
    stats.answer_ns.extend([10_000_000] * 4)
    record = stats.summary(1800.0)
    assert record["accepted_difficulty_per_hour"] == 1200.0
    assert record["stale_rate"] == record["duplicate_rate"] == 0.1
    assert record["upstream_reject_rate"] == 0.25
    assert record["eta_answer"] == pytest.approx(0.75)
