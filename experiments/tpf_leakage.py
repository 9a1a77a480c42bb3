"""Does timing tell anything of the hash to come? From a run, a recording or a table to a report."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from firmware_bridge.emulator.virtual_config import VirtualConfig
    from firmware_bridge.trace.writer import TraceWriter
    from tpf.dataset import Dataset
    from tpf.report import LeakageReport

PLANTED = "quality_delay_ms"
"""The effect that can be planted into a recording, and that this experiment is there to find."""

FOUND_AT = {PLANTED: 1.0}
"""Kind to strength that ``asiclab tpf evaluate`` finds with power 0.9 or more at 2588 shares (measured)."""

DEFAULT_LABEL = "label"


def dataset_of(
    source: str,
    db: str,
    *,
    label: str | None = None,
    threshold: float | None = None,
    miner: str | None = None,
    truth: bool = False,
    delay_ms: float = 0.0,
    most_shares: int | None = None,
) -> Dataset:
    """The table of a run, a table in a file, or a recording in a file.

    Args:
        source: id of a run, a unique prefix, ``latest``, or a file.
        db: database of the runs.
        label: column of the label; of a file that is a table.
        threshold: what counts as a success.
        miner: whose shares, where a run has several.
        truth: label by the emulator's planted effect.
        delay_ms: planted into a copy of the run.
        most_shares: of a longer run, stretches are read; None: as :mod:`tpf.run_dataset` has it.

    Raises:
        UserError: if there is no such run or file, or the options do not go with it.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise UserError(f"--threshold is a finite number, not {threshold}")
    path = Path(source)
    is_file = path.is_file() or path.suffix.lower() in (".csv", ".tsv", ".parquet", ".zip")
    if not is_file:
        if label is not None:
            raise UserError(
                f"--label names a column of a file; {source!r} is a run, whose label is its verified difficulty "
                "(--threshold D)"
            )
        return _of_run(db, source, threshold, miner, truth, delay_ms, most_shares)
    column = label or _label_column(path)
    if column is None:
        return _of_recording(path, threshold, miner, truth, delay_ms, most_shares)
    if truth or delay_ms or miner is not None:
        raise UserError(
            f"{path}: a table has no miner, no emulator and no arrival times: leave these options out"
        )
    from tpf.csv_dataset import read_csv

    return read_csv(path, column, threshold=threshold)


def _of_run(
    db: str,
    name: str,
    threshold: float | None,
    miner: str | None,
    truth: bool,
    delay_ms: float,
    most_shares: int | None,
) -> Dataset:
    from firmware_bridge.trace.reader import TraceReader
    from tpf.run_dataset import MOST_SHARES, read_dataset

    reader = TraceReader(db)
    run = reader.resolve(name)
    most = MOST_SHARES if most_shares is None else most_shares
    return read_dataset(
        reader, run, threshold=threshold, miner=miner, truth=truth, delay_ms=delay_ms, most=most
    )


def _label_column(path: Path) -> str | None:
    """``label`` where a CSV has such a column; None where it is a recording that can be imported."""
    from firmware_bridge.trace import tabular
    from firmware_bridge.trace.importer import check_csv

    if path.suffix.lower() not in (".csv", ".tsv", ".txt", ""):
        return None
    columns = tabular.open_csv(path).columns
    if DEFAULT_LABEL in columns:
        return DEFAULT_LABEL
    try:
        check_csv(path, None)
    except UserError:
        raise UserError(
            f"{path}: say which column is to be predicted: --label COLUMN; it has {', '.join(columns)}"
        ) from None
    return None


def _of_recording(
    path: Path,
    threshold: float | None,
    miner: str | None,
    truth: bool,
    delay_ms: float,
    most_shares: int | None,
) -> Dataset:
    from dataclasses import replace

    from firmware_bridge.trace.importer import import_file

    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/recording.db"
        import_file(url, path)
        found = _of_run(url, "latest", threshold, miner, truth, delay_ms, most_shares)
    return replace(found, name=path.name)


def not_read_note(left_out: Mapping[str, int]) -> str | None:
    """What to say of a run that was too long to be read whole."""
    from tpf.run_dataset import NOT_READ

    count = left_out.get(NOT_READ, 0)
    return (
        f"{count} shares of this long run were not read: stretches spread evenly over it were (--most-shares)"
        if count
        else None
    )


def planted_delay_ms(plants: Mapping[str, float]) -> float:
    """The delay to plant into a recording.

    Raises:
        UserError: if another effect is asked for.
    """
    others = [kind for kind in plants if kind != PLANTED]
    if others:
        raise UserError(
            f"into a recording only {PLANTED} can be planted, not {', '.join(others)}: the others act while a miner "
            "works; plant them with --emulate MODEL"
        )
    return float(plants.get(PLANTED, 0.0))


def emulation(model: str, plants: Mapping[str, float], seed: int, shares: int) -> VirtualConfig:
    """A virtual run that can be evaluated."""
    from firmware_bridge.emulator.virtual_config import VirtualConfig

    return VirtualConfig(model=model, shares=shares, seed=seed, plants=dict(plants))


def write_run(config: VirtualConfig, writer: TraceWriter, *, cli: Mapping[str, Any] | None = None) -> str:
    """Emulate into a trace; the run's id."""
    from firmware_bridge.emulator.virtual import run_virtual
    from firmware_bridge.emulator.virtual_config import settings_of

    run = run_virtual(config, writer)
    if cli is not None:
        run.update(config={**settings_of(config), "cli": dict(cli)})
    return run.run_id


def report_of_emulation(
    config: VirtualConfig, *, seed: int | None = None, alpha: float = 0.05
) -> LeakageReport:
    """Evaluate an emulated run that no trace keeps: for studies of many."""
    from firmware_bridge.emulator.virtual import simulate
    from tpf.report import evaluate
    from tpf.run_dataset import run_dataset

    found = run_dataset(simulate(config).to_run_data())
    return evaluate(found, alpha=alpha, seed=config.seed if seed is None else seed)


def count_evidence(
    seeds: range, plants: Mapping[str, float], *, model: str = "s9", shares: int = 2588
) -> int:
    """In how many of the seeds an emulated run says *evidence*: false alarms without plants, power with them."""
    return sum(
        report_of_emulation(emulation(model, plants, seed, shares)).verdict.code == "evidence"
        for seed in seeds
    )
