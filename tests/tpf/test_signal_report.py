"""All signals of a run: those of a recording and of an emulation are noise, planted ones are found in both halves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.puf import read_run
from firmware_bridge.emulator.virtual import VirtualConfig, run_virtual, simulate
from firmware_bridge.errors import UserError
from firmware_bridge.timing.run_data import RunData, build_run_data
from firmware_bridge.trace.importer import import_file
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.writer import TraceWriter
from tpf.signals.report import SignalReport, signal_report
from tpf.signals.run_hashes import RunHashes, read_hashes

OF_INTERVALS = {"cv10_alarms", "time_entropy", "chronos_coupling", "heartbeat_named", "heartbeat_anywhere"}
OF_HASHES = {"hamming_diffusion", "avalanche", "assembly", "lempel_ziv"}


def arrivals(intervals_ms: np.ndarray) -> RunData:
    times = np.cumsum(np.r_[0, np.round(intervals_ms * 1e6).astype(np.int64)])
    return build_run_data(run_id="a", kind="recorded", time_ns=times, time_source="wall", unverified=True)


def values(report: SignalReport) -> dict[str, float]:
    return {signal.name: signal.value for signal in report.signals}


@pytest.mark.costly
def test_a_recording_has_the_signals_of_its_own_mechanics(traces: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lab.db"
    import_file(url, traces / "s9_stratum_shares.csv")
    reader = TraceReader(url)
    _, data = read_run(reader, "latest")
    hashes = read_hashes(reader, reader.resolve("latest"), 1)
    assert hashes is not None
    assert len(hashes.headers) == 2546  # unique shares, statistics.md §7
    assert hashes.hashes[0][::-1].tobytes().hex().startswith("0000000000e43e7427b6b2c8bbab2dd6")
    report = signal_report(data, hashes, draws=39)
    assert report.verdict.code == "no_evidence"
    assert {s.name for s in report.signals} == OF_INTERVALS | OF_HASHES
    found = {s.name: s for s in report.signals}
    # plain nulls are rejected by what is known: dead time, and leading zeros that a share has by selection
    assert found["cv10_alarms"].nulls[0].p_value < 0.01
    assert found["hamming_diffusion"].nulls[0].p_value < 1e-6
    assert found["hamming_diffusion"].value == pytest.approx(216 / 512, abs=0.002)
    assert found["assembly"].value == pytest.approx(1.1147, abs=0.001)
    assert all(s.p_value > 0.01 for s in report.signals if not s.name.startswith("heartbeat"))


@pytest.mark.costly
def test_an_emulated_run_is_noise_and_reads_its_own_hashes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lab.db"
    config = VirtualConfig(shares=400, seed=3)
    with TraceWriter(url) as writer:
        run_virtual(config, writer)
    reader = TraceReader(url)
    _, data = read_run(reader, "latest")
    hashes = read_hashes(reader, reader.resolve("latest"), 1)
    trace = simulate(config)
    assert hashes is not None
    first = np.unique(trace.row_share, return_index=True)[1]
    expected = trace.digest[trace.row_share[np.sort(first)]].astype(">u4").tobytes()
    assert hashes.hashes.tobytes() == expected
    assert all(
        int.from_bytes(h.tobytes(), "little") <= t for h, t in zip(hashes.hashes, hashes.targets, strict=True)
    )
    report = signal_report(data, hashes, draws=39)
    assert report.verdict.code == "no_evidence"
    assert "Only 399 intervals" in report.verdict.text
    assert report.to_json()["signals"]["avalanche"]["detectable"] > 0
    again = signal_report(data, hashes, draws=39)
    assert values(again) == values(report)
    repeated = RunHashes(
        hashes.headers, np.repeat(hashes.hashes[:40], 10, axis=0)[: len(hashes.headers)], hashes.targets
    )
    found = signal_report(data, repeated, draws=39)
    assert found.verdict.code == "evidence"
    assert {"hamming_diffusion", "assembly"} <= set(found.replicated)
    assert read_hashes(reader, reader.resolve("latest"), 2) is None


def test_bare_arrivals_have_no_hashes_and_no_mechanics() -> None:
    rng = np.random.default_rng(0)
    report = signal_report(arrivals(20 + rng.exponential(80, 1200)), None, draws=39)
    assert {s.name for s in report.signals} == OF_INTERVALS
    assert report.verdict.code == "no_evidence"
    assert report.hashes == 0


@pytest.mark.costly
def test_a_rhythm_in_the_arrivals_is_evidence_and_a_half_of_one_is_not() -> None:
    rng = np.random.default_rng(4)
    candidates = np.cumsum(rng.exponential(50.0, 4000)) / 1e3
    swing = 0.5 * (1 + 0.6 * np.sin(2 * np.pi * 2.4 * candidates))
    kept = candidates[rng.random(4000) < swing]
    report = signal_report(arrivals(np.diff(kept) * 1e3), None, draws=39)
    assert report.verdict.code == "evidence"
    assert "heartbeat_named" in report.replicated
    half = np.where(candidates < 0.35 * candidates[-1], swing, 0.5)
    kept = candidates[rng.random(4000) < half]
    partial = signal_report(arrivals(np.diff(kept) * 1e3), None, draws=39)
    assert partial.verdict.code == "no_evidence"
    assert "not in both halves" in partial.verdict.text


@pytest.mark.costly
def test_noise_is_hardly_ever_called_a_signal() -> None:
    rng = np.random.default_rng(2)
    codes = [
        signal_report(arrivals(rng.exponential(100, 300)), None, draws=39, seed=seed).verdict.code
        for seed in range(8)
    ]
    assert codes.count("evidence") <= 1


def test_mistakes_are_named() -> None:
    data = arrivals(np.random.default_rng(3).exponential(100, 120))
    with pytest.raises(UserError, match="0 Hz"):
        signal_report(data, None, frequency_hz=0.0)
    with pytest.raises(UserError, match="100 are needed"):
        signal_report(arrivals(np.ones(20)), None)
    two = replace(data, miner=np.arange(data.n, dtype=np.int32) % 2)
    with pytest.raises((UserError, KeyError)):
        signal_report(two, None)
