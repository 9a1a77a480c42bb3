"""LBRY's jobs and shares in the trace: verified anew wherever they come in, and no field of theirs is lost."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_trace_import_export import everything

from firmware_bridge import headers
from firmware_bridge.emulator.lbry_span import LbryHasher
from firmware_bridge.emulator.span import PreparedJob
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.jobs import JobFactory
from firmware_bridge.timing.intervals import load_run
from firmware_bridge.timing.summary import summarise
from firmware_bridge.trace import bundle, formats, manage
from firmware_bridge.trace.importer import import_file
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.replay import replay
from firmware_bridge.trace.schema import MinerRow, RunRecord, ShareRow
from firmware_bridge.trace.writer import TraceWriter

START_NS = 1_763_900_000_000_000_000
DIFFICULTY = 2.0**-18  # one in 64 LBRY hashes


def mixed_run(url: str, run_id: str = "mixed") -> None:
    """An LBRY miner of a model that nobody knows and a Bitcoin miner, one real share every 10 ms from each."""
    factory = JobFactory(BridgeConfig(merkle_branches=1), np.random.default_rng(3))
    with TraceWriter(url) as writer:
        run = writer.begin_run(
            RunRecord(kind="live", source="bridge", run_id=run_id, started_wall_ns=START_NS)
        )
        box, s9 = run.miner(MinerRow("box", "some-lbry-box/1")), run.miner(MinerRow("s9", "bmminer/2.0.0"))
        for number in range(12):
            made = {"scale": 1.0, "version_mask": 0, "wall_ns": START_NS}
            job = factory.make(extranonce1="0badcafe", difficulty=DIFFICULTY, lbry=True, **made)  # type: ignore[arg-type]
            (hit, *_) = LbryHasher(100.0, PreparedJob.of(job, DIFFICULTY), 0.0).run(50.0, 5000)
            share = headers.Share(
                job.job_id, hit.extranonce2.to_bytes(4, "little").hex(), job.ntime, f"{hit.nonce:08x}"
            )
            keep(run, box, job, share, START_NS + number * 10**7)
            job = factory.make(extranonce1="0badcafe", difficulty=2.0**-31, **made)  # type: ignore[arg-type]
            nonces = (headers.Share(job.job_id, "00000001", job.ntime, f"{n:08x}") for n in range(10**4))
            share = next(s for s in nonces if headers.verify(job, s).meets_job)
            keep(run, s9, job, share, START_NS + number * 10**7 + 5)
        run.end("success")


def keep(run: Any, miner: int, job: headers.Job, share: headers.Share, wall_ns: int) -> None:
    verified = headers.verify(job, share)
    assert verified.meets_job
    number = run.job(miner, job, sent_wall_ns=wall_ns - 1000, sent_monotonic_ns=wall_ns - 1000)
    run.share(
        ShareRow(
            miner, number, share.job_id, share.extranonce2, share.ntime, share.nonce, None, verified.difficulty,
            True, None, wall_ns, wall_ns, wall_ns, None, 1000, 1000,
        )
    )  # fmt: skip


@pytest.fixture
def reader(tmp_path: Path) -> TraceReader:
    mixed_run(str(tmp_path / "a.db"))
    return TraceReader(str(tmp_path / "a.db"))


@pytest.mark.parametrize("form", [*formats.FORMATS, "zip"])
def test_every_way_out_and_back_keeps_both_kinds_of_shares(
    reader: TraceReader, form: str, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow") if form == "parquet" else None
    out = tmp_path / f"shares.{form}"
    if form == "zip":
        bundle.write_bundle(reader, 1, out)
    else:
        formats.export_run(reader, 1, out, form)
    result = import_file(str(tmp_path / "b.db"), out)
    assert (result.shares, result.valid, result.rejected_rows) == (24, 24, [])
    back = TraceReader(str(tmp_path / "b.db"))
    assert everything(back, 1) == everything(reader, 1)
    jobs = back.dicts(1, "jobs")
    assert [len(job["claimtrie"] or "") for job in jobs] == [64, 0] * 12


@pytest.mark.parametrize("form", formats.FORMATS)
def test_shares_that_come_alone_are_hashed_with_their_claim_trie(
    reader: TraceReader, form: str, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow") if form == "parquet" else None
    out = tmp_path / f"shares.{form}"
    formats.export_run(reader, 1, out, form)
    formats.companion_of(out).unlink()
    result = import_file(str(tmp_path / "b.db"), out)
    assert (result.shares, result.valid, result.rejected_rows) == (24, 24, [])
    back = TraceReader(str(tmp_path / "b.db"))
    assert back.run(1)["unverified"] is False
    assert list(back.share_rows(1)) == list(reader.share_rows(1))
    assert back.dicts(1, "jobs") == reader.dicts(1, "jobs")


def flipped(text: str) -> str:
    return f"{int(text, 16) ^ 1:064x}"


@pytest.mark.parametrize(
    "change", [flipped, lambda text: "", lambda text: text[::-1]], ids=["one bit", "gone", "reversed"]
)
def test_a_claim_trie_that_was_changed_is_found_out(
    reader: TraceReader, change: Callable[[str], str], tmp_path: Path
) -> None:
    out = tmp_path / "shares.csv"
    formats.export_run(reader, 1, out)
    formats.companion_of(out).unlink()
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[4]["job_claimtrie"] = change(rows[4]["job_claimtrie"])  # the third of the box
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    import_file(str(tmp_path / "b.db"), out)
    back = TraceReader(str(tmp_path / "b.db"))
    assert back.run(1)["unverified"] is True
    (event,) = [e for e in back.dicts(1, "events") if e["kind"] == "unverified_shares"]
    assert json.loads(event["detail"]) == {"count": 1, "lines": [6]}


async def test_a_replay_gives_jobs_that_verify_their_shares(reader: TraceReader) -> None:
    kinds = []
    async for event in replay(reader, 1, None):
        row = event.row
        assert event.job is not None
        share = headers.Share(event.job.job_id, row.extranonce2 or "", row.ntime or "", row.nonce or "")
        verified = headers.verify(event.job, share)
        assert verified.meets_job
        assert verified.difficulty == row.difficulty
        kinds.append(event.job.claimtrie is not None)
    assert kinds == [True, False] * 12


def test_merged_runs_keep_their_claim_tries(tmp_path: Path) -> None:
    url = str(tmp_path / "lab.db")
    mixed_run(url, "aa")
    mixed_run(url, "bb")
    manage.merge(url, ["aa", "bb"])
    reader = TraceReader(url)
    once = [job["claimtrie"] for job in reader.dicts(1, "jobs")]
    assert [job["claimtrie"] for job in reader.dicts(3, "jobs")] == once * 2


def test_a_hash_rate_counts_lbrys_unit_by_the_jobs_and_not_by_the_name_of_a_model(
    reader: TraceReader,
) -> None:
    data = load_run(reader, 1)
    assert data.lbry is not None
    assert data.lbry.tolist() == [True, False] * 12
    rates = {}
    for number, name in ((1, "box"), (2, "s9")):
        rates[name] = summarise(load_run(reader, 1, number), confidence=False, verdict=False).to_json()[
            "hashrate"
        ]["naive_ths"]
    per_s = 12 / 0.11
    assert rates["box"] == pytest.approx(DIFFICULTY * 2**24 * per_s / 1e12)
    assert rates["s9"] == pytest.approx(2.0**-31 * 2**32 * per_s / 1e12)
    assert load_run(reader, 1, 2).lbry is not None  # one run, one form
