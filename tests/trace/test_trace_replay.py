"""A replay gives what the live run gave, when it gave it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from firmware_bridge.clock import VirtualClock
from firmware_bridge.errors import UserError
from firmware_bridge.headers import Job
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.replay import ShareEvent, replay
from firmware_bridge.trace.schema import MinerRow, RunRecord, ShareRow
from firmware_bridge.trace.writer import TraceWriter


class Sleeper:
    """A clock that passes only by sleeping, a little longer than asked as real sleeps do."""

    def __init__(self, overshoot_ns: int = 50_000) -> None:
        self.clock = VirtualClock()
        self._overshoot_ns = overshoot_ns

    async def sleep(self, seconds: float) -> None:
        late = self._overshoot_ns if seconds else 0
        self.clock.advance_to(self.clock.monotonic_ns() + round(seconds * 1e9) + late)


def live_run(url: str, count: int, **changes: object) -> list[ShareEvent]:
    """Write a run as a bridge does and return the events that its consumer saw."""
    rng = random.Random(7)
    seen = []
    with TraceWriter(url) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge"))
        miners = {run.miner(MinerRow(name)): name for name in ("one", "two")}
        time_ns = 10**15
        for n in range(count):
            time_ns += rng.randrange(1, 200_000_000)
            miner = rng.choice(list(miners))
            job = Job(
                f"{n:x}", "ab" * 32, "01", "02", ("cd" * 32,) * (n % 3), "20000000", "1d00ffff", "69637392",
                difficulty=0.5, scale=2**-20, version_mask=0x1FFFE000, symbol=rng.random() - 0.5,
                symbol_fields={"ntime": "69637392"},
            )  # fmt: skip
            number = run.job(miner, job, sent_wall_ns=time_ns - 5, sent_monotonic_ns=time_ns - 5)
            known = n % 10 != 9
            row = ShareRow(
                miner, number if known else None, f"{n:x}", "00000001", "69637392", "00ff00ff", "00002000",
                rng.expovariate(1.0), known, None if known else "stale", time_ns + 3, time_ns, time_ns + 2**60,
                None, 5, 5,
            )._replace(**changes)  # fmt: skip
            run.share(row)
            seen.append(ShareEvent(row, job if known else None, miners[miner]))
        run.end("success")
    return seen


async def test_a_replay_gives_the_events_of_the_live_run(tmp_path: Path) -> None:
    url = str(tmp_path / "lab.db")
    seen = live_run(url, 600)
    for _ in range(2):
        replayed = [event async for event in replay(TraceReader(url), 1, None)]
        assert replayed == seen
        assert [e.job.symbol_fields for e in replayed if e.job] == [
            e.job.symbol_fields for e in seen if e.job
        ]


@pytest.mark.parametrize("speed", [1.0, 7.5, 0.5])
async def test_events_come_in_recorded_time(tmp_path: Path, speed: float) -> None:
    url = str(tmp_path / "lab.db")
    seen = live_run(url, 100)
    sleeper = Sleeper()
    arrivals = []
    async for event in replay(TraceReader(url), 1, speed, clock=sleeper.clock, sleep=sleeper.sleep):
        arrivals.append((sleeper.clock.monotonic_ns(), event.row.monotonic_ns))
    assert len(arrivals) == len(seen)
    first = arrivals[0][1]
    for arrived_ns, stamped_ns in arrivals:
        assert arrived_ns == pytest.approx(
            (stamped_ns - first) / speed, abs=60_000
        )  # overshoot does not add up


async def test_at_full_speed_no_time_passes_and_others_may_run(tmp_path: Path) -> None:
    url = str(tmp_path / "lab.db")
    live_run(url, 600)
    sleeper = Sleeper()
    async for _ in replay(TraceReader(url), 1, None, clock=sleeper.clock, sleep=sleeper.sleep):
        pass
    assert sleeper.clock.monotonic_ns() == 0


async def test_a_slow_consumer_gets_late_events_at_once(tmp_path: Path) -> None:
    url = str(tmp_path / "lab.db")
    live_run(url, 50)
    sleeper = Sleeper(overshoot_ns=0)
    total = 0
    async for event in replay(TraceReader(url), 1, 1.0, clock=sleeper.clock, sleep=sleeper.sleep):
        sleeper.clock.advance_to(sleeper.clock.monotonic_ns() + 10**9)  # slower than the recording
        total += 1
        assert event.row.miner in (1, 2)
    assert sleeper.clock.monotonic_ns() == pytest.approx(total * 10**9, rel=0.05)


async def test_runs_without_times_can_only_be_replayed_at_full_speed(tmp_path: Path) -> None:
    url = str(tmp_path / "lab.db")
    live_run(url, 5, monotonic_ns=None, kernel_ns=None, wall_ns=None)
    with pytest.raises(UserError, match="no clock stamped every share"):
        async for _ in replay(TraceReader(url), 1, 1.0):
            pass
    assert len([event async for event in replay(TraceReader(url), 1, None)]) == 5
    with pytest.raises(UserError, match="positive number or max, not -1"):
        async for _ in replay(TraceReader(url), 1, -1.0):
            pass


async def test_a_recording_replays_by_its_wall_clock(tmp_path: Path, excerpt: Path) -> None:
    from firmware_bridge.trace.importer import import_file

    url = str(tmp_path / "lab.db")
    import_file(url, excerpt)
    sleeper = Sleeper(overshoot_ns=0)
    reader = TraceReader(url)
    walls = []
    async for event in replay(reader, 1, 1000.0, clock=sleeper.clock, sleep=sleeper.sleep):
        assert event.job is not None
        assert event.job.job_id == event.row.job_id
        walls.append(event.row.wall_ns or 0)
    assert sleeper.clock.monotonic_ns() == pytest.approx((walls[-1] - walls[0]) / 1000, rel=1e-6)
