"""Between rows of the tables and the nouns of the lab."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Table

from firmware_bridge.headers import Job
from firmware_bridge.trace.schema import jobs


def columns_after_run(table: Table) -> tuple[str, ...]:
    """Names of an event table's columns without ``id`` and ``run``: the order of a stored row."""
    return tuple(column.name for column in table.columns if column.name not in ("id", "run"))


def storable(value: Any) -> Any:
    """A value that every database takes: in texts ``?`` for half a surrogate pair, ``\ufffd`` for NUL.

    SQLite takes NUL, so only what a stranger may have sent into other statements than row inserts needs this there.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")
    return value


JOB_COLUMNS = columns_after_run(jobs)


def job_row(
    number: int, miner: int | None, job: Job, *, sent_wall_ns: int | None, sent_monotonic_ns: int | None
) -> tuple[Any, ...]:
    """Row of the jobs table (columns after ``run``) for a job as it was sent."""
    return (
        number,
        miner,
        job.job_id,
        job.prevhash,
        job.coinb1,
        job.coinb2,
        json.dumps(job.merkle_branch, separators=(",", ":")) if job.merkle_branch else "[]",
        job.version,
        job.nbits,
        job.ntime,
        job.extranonce1,
        job.extranonce2_size,
        job.clean,
        job.difficulty,
        job.scale,
        job.version_mask,
        job.symbol,
        json.dumps(job.symbol_fields, sort_keys=True) if job.symbol_fields else None,
        sent_wall_ns,
        sent_monotonic_ns,
        job.claimtrie,
    )


def job_from_row(row: Mapping[str, Any]) -> Job:
    """The job that a row of the jobs table tells of.

    A recording of arrival times alone has no job fields; those texts are then empty, and nothing can be verified.
    """
    return Job(
        job_id=row["job_id"],
        prevhash=row["prevhash"] or "",
        coinb1=row["coinb1"] or "",
        coinb2=row["coinb2"] or "",
        merkle_branch=tuple(json.loads(row["merkle_branch"] or "[]")),
        version=row["version"] or "",
        nbits=row["nbits"] or "",
        ntime=row["ntime"] or "",
        extranonce1=row["extranonce1"] or "",
        extranonce2_size=4 if row["extranonce2_size"] is None else int(row["extranonce2_size"]),
        clean=True if row["clean"] is None else bool(row["clean"]),
        difficulty=1.0 if row["difficulty"] is None else float(row["difficulty"]),
        scale=1.0 if row["scale"] is None else float(row["scale"]),
        version_mask=int(row["version_mask"] or 0),
        symbol=row["symbol"],
        symbol_fields=json.loads(row["symbol_fields"] or "{}"),
        claimtrie=row["claimtrie"],
    )
