"""Stamps, calibration and the watch over the clocks."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from firmware_bridge.clock import SystemClock, VirtualClock
from firmware_bridge.stratum import kernel_time
from firmware_bridge.stratum.calibrate import calibrate
from firmware_bridge.stratum.kernel_time import Stamp, StampedTransport, enable_kernel_stamps, receive
from firmware_bridge.stratum.watch import Watch
from tests.stratum.bridge_kit import PATIENCE_S, eventually


def loopback_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        enable_kernel_stamps(listener)
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    return client, server


@pytest.mark.xdist_group("timing")
def test_the_kernel_stamp_is_that_of_the_arrival_not_of_the_read() -> None:
    client, server = loopback_pair()
    with client, server:
        # the kernel switches stamping on a moment later; until then it stamps the read
        lag_ns, deadline = 0, time.monotonic() + PATIENCE_S
        while lag_ns < 9_000_000:
            assert time.monotonic() < deadline, "the stamps stay those of the read"
            client.sendall(b"x")
            time.sleep(0.01)
            stamp = receive(server, SystemClock())[1]
            lag_ns = stamp.wall_ns - (stamp.kernel_ns or stamp.wall_ns)
        before = time.time_ns()
        client.sendall(b"hello\n")
        after = time.time_ns()
        time.sleep(0.05)
        data, stamp = receive(server, SystemClock())
    assert data == b"hello\n"
    assert stamp.kernel_ns is not None
    assert before <= stamp.kernel_ns <= after
    assert stamp.wall_ns - stamp.kernel_ns > 45_000_000


def test_without_kernel_stamps_the_field_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_time.sys, "platform", "darwin")
    client, server = loopback_pair()
    with client, server:
        assert enable_kernel_stamps(server) is False
        client.sendall(b"hello\n")
        data, stamp = receive(server, VirtualClock())
    assert data == b"hello\n"
    assert stamp == Stamp(None, 0, 1_700_000_000_000_000_000)


async def test_the_transport_pauses_resumes_and_tells_its_end_once() -> None:
    client, server = loopback_pair()
    got: list[bytes] = []
    ends: list[str] = []
    transport = StampedTransport(
        asyncio.get_running_loop(), server, SystemClock(), lambda data, _: got.append(data), ends.append
    )
    assert server.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    transport.start()
    client.sendall(b"one")
    await eventually(lambda: got)
    transport.pause_reading()
    client.sendall(b"two")
    await asyncio.sleep(0.02)
    assert got == [b"one"]
    transport.resume_reading()
    await eventually(lambda: len(got) > 1)
    assert got == [b"one", b"two"]
    client.close()
    await eventually(lambda: ends)
    transport.abort("again")
    assert ends == ["closed by the client"]


async def test_what_the_kernel_does_not_take_is_sent_later_and_in_order() -> None:
    client, server = loopback_pair()
    client.setblocking(False)
    ends: list[str] = []
    loop = asyncio.get_running_loop()
    transport = StampedTransport(loop, server, SystemClock(), lambda *_: None, ends.append)
    transport.start()
    sent = bytearray()
    while transport.stalled_since_ns is None:
        chunk = bytes([len(sent) // 4096 % 251]) * 4096
        transport.write(chunk)
        sent += chunk
    transport.close()
    received = bytearray()
    while True:
        data = await asyncio.wait_for(loop.sock_recv(client, 65536), PATIENCE_S)
        if not data:
            break
        received += data
    client.close()
    assert received == sent
    assert ends == ["closed by the bridge"]


@pytest.mark.xdist_group("timing")
async def test_calibration_measures_this_host_quickly() -> None:
    for _ in range(5):  # a busy host may be slow now and then, not always
        start = time.monotonic()
        floor = await calibrate(SystemClock())
        if (took := time.monotonic() - start) < 3.0:  # half a second on a quiet host
            break
    assert took < 3.0
    assert floor["ack_rtt_n"] == 400
    assert floor["timer_jitter_n"] == 100
    assert 0 < floor["ack_rtt_us_p50"] <= floor["ack_rtt_us_p99"] <= floor["ack_rtt_us_max"]
    assert 0 < floor["kernel_to_user_us_p50"] < floor["ack_rtt_us_p50"]
    assert 0 < floor["timer_jitter_us_p50"] <= floor["timer_jitter_us_p99"]


async def test_calibration_without_kernel_stamps_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_time.sys, "platform", "darwin")
    floor = await calibrate(SystemClock())
    assert floor["kernel_to_user_us_p50"] is None
    assert floor["kernel_to_user_n"] == 0
    assert floor["ack_rtt_us_p50"] > 0


class FakeClock:
    """A clock whose parts move as told."""

    def __init__(self) -> None:
        self.monotonic = 1_000_000_000
        self.offset = 1_700_000_000_000_000_000
        self.slept = 0

    def monotonic_ns(self) -> int:
        return self.monotonic

    def wall_ns(self) -> int:
        return self.monotonic + self.offset

    def boottime(self) -> int | None:
        return self.monotonic + self.slept


@pytest.fixture
def watched() -> tuple[FakeClock, Watch, list[tuple[str, str, dict[str, Any]]]]:
    clock, events = FakeClock(), []
    return clock, Watch(clock, lambda *event: events.append(event), boottime=clock.boottime), events


def test_a_step_either_way_is_an_event_and_a_reason_to_stop(watched: Any) -> None:
    clock, watch, events = watched
    for step in (2_000_000, -3_600_000_000_000):
        clock.monotonic += 250_000_000
        assert watch.check() is None
        clock.monotonic += 250_000_000
        clock.offset += step
        assert "set by" in watch.check()
        assert events.pop() == ("clock-step", "error", {"step_ns": step})
        assert not events


def test_slewing_and_reading_noise_are_tolerated(watched: Any) -> None:
    clock, watch, events = watched
    for i in range(10_000):  # 40 minutes at the largest slew, with noise
        clock.monotonic += 250_000_000
        clock.offset += 125_000 + (50_000 if i % 2 else -50_000)
        assert watch.check() is None
    assert events == []


def test_sleep_is_told_from_a_step(watched: Any) -> None:
    clock, watch, events = watched
    clock.monotonic += 250_000_000
    clock.offset += 60_000_000_000
    clock.slept += 60_000_000_000
    assert "suspended for 60.000 s" in watch.check()
    assert events == [("suspend", "error", {"asleep_ns": 60_000_000_000, "wall_step_ns": 60_000_000_000})]


def test_a_stalled_loop_is_an_event_and_no_reason_to_stop(watched: Any) -> None:
    clock, watch, events = watched
    clock.monotonic += 250_000_000 + 700_000_000
    assert watch.check() is None
    assert events == [("loop-stall", "warning", {"late_ns": 700_000_000})]


@pytest.mark.xdist_group("timing")
def test_the_clocks_of_this_host_are_calm() -> None:
    events: list[Any] = []
    watch = Watch(SystemClock(), lambda *event: events.append(event), period_s=0.01)
    for _ in range(20):
        time.sleep(0.01)
        assert watch.check() is None
    assert [event for event in events if event[0] != "loop-stall"] == []
