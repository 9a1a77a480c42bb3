"""A miner that shares no code with the lab mines against `asiclab bridge`: each share accepted and logged."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.independent_miner import Miner


@contextmanager
def bridge(folder: Path, *options: str) -> Iterator[dict[str, Any]]:
    """A bridge in a process of its own; gives its ready line, and demands a clean stop."""
    command = [
        *(sys.executable, "-m", "experiments.cli", "bridge", "--host", "127.0.0.1", "--port", "0"),
        *("--db", f"sqlite:///{folder / 'lab.db'}", "--json", *options),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["ready"] is True
        yield ready
        process.send_signal(signal.SIGTERM)
        last, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert json.loads(last.splitlines()[-1])["run"] == ready["run"]
    finally:
        process.kill()
        process.communicate()


def stored(folder: Path) -> list[sqlite3.Row]:
    """Shares of the only run, as they were committed."""
    with sqlite3.connect(folder / "lab.db") as database:
        database.row_factory = sqlite3.Row
        return database.execute("SELECT * FROM shares ORDER BY id").fetchall()


def mine(folder: Path, *options: str, roll_versions: bool, seconds: float, shares: int | None) -> Miner:
    with bridge(folder, *options) as ready:
        miner = Miner(ready["host"], ready["port"], roll_versions=roll_versions)
        try:
            miner.mine(seconds, shares)
        finally:
            miner.close()
    return miner


def check(miner: Miner, rows: list[sqlite3.Row]) -> None:
    """Each share that the miner found was accepted, and is in the database with the miner's own numbers."""
    assert [(share.params, share.error) for share in miner.found if share.answer is not True] == []
    assert [row["valid"] for row in rows] == [1] * len(miner.found)
    names = ("job_id", "extranonce2", "ntime", "nonce", "version_bits")
    for share, row in zip(miner.found, rows, strict=True):
        sent = [*share.params[1:], None][:5]
        assert [row[name] for name in names] == sent
        assert row["difficulty"] == (0xFFFF << 208) / share.hash_value
        assert row["difficulty"] >= share.difficulty
        assert row["kernel_ns"] is not None or not sys.platform.startswith("linux")
        assert row["response_ns"] > 0


@pytest.mark.parametrize("roll_versions", [False, True], ids=["5 parameters", "6 parameters"])
@pytest.mark.parametrize("mode", ["stream", "swh"])
def test_every_share_of_an_independent_miner_is_accepted_and_logged(
    tmp_path: Path, mode: str, roll_versions: bool
) -> None:
    options = ("--difficulty", "0.00002", "--mode", mode, "--job-period", "1")
    miner = mine(tmp_path, *options, roll_versions=roll_versions, seconds=120, shares=12)
    assert len(miner.found) >= 12
    assert {len(share.params) for share in miner.found} == {6 if roll_versions else 5}
    check(miner, stored(tmp_path))
    if roll_versions:
        assert len({share.params[5] for share in miner.found}) > 1


@pytest.mark.slow
def test_an_independent_miner_for_a_minute(tmp_path: Path) -> None:
    options = ("--difficulty", "0.0001", "--job-period", "10")
    miner = mine(tmp_path, *options, roll_versions=False, seconds=60, shares=None)
    expected = miner.hashes / (2**32 * 0.0001)  # a fair hash, however fast this machine
    assert len(miner.found) == pytest.approx(expected, abs=5 * expected**0.5 + 3)
    assert len(miner.found) >= 3
    check(miner, stored(tmp_path))
