"""LBRY and Bitcoin miners on one bridge, in one run, each with its own header, hash and difficulty unit."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from firmware_bridge import headers
from firmware_bridge.stratum import wire
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.server import Bridge
from firmware_bridge.trace import formats
from firmware_bridge.trace.importer import import_file
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.records import job_from_row
from firmware_bridge.trace.writer import TraceWriter
from tests.independent_lbry_miner import LbryMiner
from tests.independent_miner import Miner

try:
    hashlib.new("ripemd160", b"")
except ValueError:
    pytest.skip("the independent miner needs OpenSSL's RIPEMD-160", allow_module_level=True)


def mine_all(miners: list[Miner], shares: int) -> None:
    threads = [threading.Thread(target=m.mine, args=(60.0, shares)) for m in miners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.fixture
async def mined(tmp_path: Path) -> tuple[TraceReader, LbryMiner, Miner]:
    db = f"sqlite:///{tmp_path / 'lab.db'}"
    config = BridgeConfig(port=0, difficulty=0.00002, mode="stream", job_period_s=0.5, merkle_branches=2)
    bridge = Bridge(config, partial(TraceWriter, db), np.random.default_rng(7))
    host, port = await bridge.start()
    serving = asyncio.ensure_future(bridge.serve(90.0))
    lbry = await asyncio.to_thread(partial(LbryMiner, host, port, user="box", agent="icbtminer/1.0"))
    bitcoin = await asyncio.to_thread(partial(Miner, host, port, user="s9", agent="bmminer/2.0.0"))
    lbry.work = lbry.work and type(lbry.work)(lbry.work.params, lbry.work.difficulty)
    await asyncio.to_thread(mine_all, [lbry, bitcoin], 12)
    for miner in (lbry, bitcoin):
        miner.close()
    bridge.request_stop("done")
    await serving
    return TraceReader(db), lbry, bitcoin


@pytest.mark.costly
async def test_each_share_of_both_kinds_is_accepted_stored_and_exported_without_loss(
    mined: tuple[TraceReader, LbryMiner, Miner], tmp_path: Path
) -> None:
    reader, lbry, bitcoin = mined
    for miner in (lbry, bitcoin):
        assert len(miner.found) >= 12
        assert [(s.params, s.error) for s in miner.found if s.answer is not True] == []
    names = {row["miner"]: row["name"] for row in reader.dicts(1, "miners")}
    jobs = {row["job"]: job_from_row(row) for row in reader.dicts(1, "jobs")}
    found = {"box": iter(lbry.found), "s9": iter(bitcoin.found)}
    unit = {"box": 256, "s9": 1}
    for row in reader.share_rows(1):
        assert row.valid
        name = names[row.miner]
        share = next(found[name])
        assert row.difficulty == pytest.approx(((0xFFFF << 208) * unit[name]) / share.hash_value)
        assert (jobs[row.job or 0].claimtrie is not None) is (name == "box")
        verified = headers.verify(
            jobs[row.job or 0],
            headers.Share(row.job_id or "", row.extranonce2 or "", row.ntime or "", row.nonce or ""),
        )
        assert verified.meets_job
        assert verified.hash_value == share.hash_value
    out = tmp_path / "shares.csv"
    formats.export_run(reader, 1, out, "csv")
    (out.parent / (out.name + ".run.json")).unlink(missing_ok=True)  # so that each share is verified anew
    again = import_file(f"sqlite:///{tmp_path / 'again.db'}", out)
    assert again.rejected_rows == []
    assert again.valid == again.shares == len(lbry.found) + len(bitcoin.found)


def test_notify_has_ten_parameters_with_the_claim_trie_third() -> None:
    job = headers.Job("a", "11" * 32, "01", "02", (), "00000001", "1f00ffff", "5631b2b3", claimtrie="22" * 32)
    call = wire.decode_server(wire.encode_notify(job).rstrip())
    assert isinstance(call, wire.ServerCall)
    assert len(call.params) == 10
    assert call.params[2] == "22" * 32
    assert wire.notify_job(call.params, extranonce1="").claimtrie == "22" * 32
    with pytest.raises(wire.WireError, match="claim trie"):
        wire.notify_job([*call.params[:2], 5, *call.params[3:]], extranonce1="")
