"""kill -9 of the proxy under load: no acknowledged share is missing, and those whose way was cut off are known."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import sys
from pathlib import Path

import pytest

from firmware_bridge.stratum.outcomes import outcomes_of
from firmware_bridge.trace.reader import TraceReader
from tests.stratum.bridge_kit import EVERY_HASH, PATIENCE_S, db_url, eventually
from tests.stratum.proxy_kit import Client
from tests.stratum.strict_pool import StrictPool

ENOUGH = 150


async def load(miner: Client, process: asyncio.subprocess.Process, enough: int) -> set[str]:
    """Submit with up to 64 unanswered, and kill once enough were acknowledged; the nonces of those that were."""
    job, nonce = miner.jobs[0], 0
    waiting: dict[int, str] = {}
    acknowledged: set[str] = set()
    try:
        while True:
            while len(waiting) < 64:
                share = miner.share(nonce, job=job)
                waiting[miner.send("mining.submit", share)] = share[4]
                nonce += 1
            message = await miner.read()
            if "method" not in message:
                assert message["result"] is True
                acknowledged.add(waiting.pop(message["id"]))
            if len(acknowledged) == enough and process.returncode is None:
                process.kill()
    except (EOFError, ConnectionError):
        return acknowledged


@pytest.mark.parametrize("mode", ["vbm", "relay"])
@pytest.mark.parametrize("times", [1, pytest.param(8, marks=pytest.mark.slow)])
async def test_no_acknowledged_share_is_missing_and_the_open_ones_are_known(
    tmp_path: Path, project: Path, mode: str, times: int
) -> None:
    chance = random.Random(times)
    for _ in range(times):
        async with StrictPool(EVERY_HASH, delay_s=0.002) as pool:
            command = [
                *(sys.executable, "-m", "experiments.cli", "proxy", "--port", "0", "--json", "--mode", mode),
                *("--upstream", f"127.0.0.1:{pool.port}", "--db", db_url(tmp_path)),
            ]
            process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, cwd=project
            )
            try:
                assert process.stdout is not None
                ready = json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE_S))
                miner = await (await Client.connect(ready["port"])).ready()
                enough = ENOUGH + chance.randrange(100)

                acknowledged = await asyncio.wait_for(load(miner, process, enough), 4 * PATIENCE_S)
            finally:
                if process.returncode is None:
                    process.kill()
                await process.wait()
            await eventually(lambda pool=pool: not pool.here)
        assert len(acknowledged) >= enough
        assert set(pool.verdicts) == {"accepted"}
        taken = {params[4] for _, params in pool.shares}
        reader = TraceReader(db_url(tmp_path))
        number = reader.resolve(ready["run"])
        with sqlite3.connect(tmp_path / "lab.db") as database:
            assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            query = "SELECT nonce FROM shares WHERE run = ? AND valid"
            stored = {nonce for (nonce,) in database.execute(query, (number,))}
        assert acknowledged <= stored
        outcomes = outcomes_of(reader, number)
        still_open = {key[3] for key in outcomes.open}
        assert outcomes.accepted + len(still_open) == len(stored)
        assert stored - still_open <= taken  # what the trace calls accepted, the pool has accepted
