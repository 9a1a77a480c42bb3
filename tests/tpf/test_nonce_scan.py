"""Nonces are taken apart as the chip and the emulator make them; a fingerprint is found where one is planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, f_oneway, kruskal

from experiments.puf import read_run
from firmware_bridge.bm13xx.frames import NonceAnswer
from firmware_bridge.bm13xx.nonces import origin
from firmware_bridge.emulator.geometry import decode_s9
from firmware_bridge.emulator.virtual import VirtualConfig, simulate
from firmware_bridge.errors import UserError
from firmware_bridge.timing.run_data import MinerInfo, RunData, build_run_data
from firmware_bridge.trace.importer import import_file
from firmware_bridge.trace.reader import TraceReader
from tpf import groups
from tpf.nonce import counter_uniformity, decode, evenness, layout_named
from tpf.scan import nonce_report, residuals


def run(**settings: object) -> RunData:
    return simulate(VirtualConfig(**settings)).to_run_data()  # type: ignore[arg-type]


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 6, 77, 128]))
def test_bm1366_as_the_chain_reads_it(word: int, chips: int) -> None:
    told = origin(NonceAnswer(word, 0, 0, 0), chips)
    on_the_wire = int.from_bytes(word.to_bytes(4, "little"), "big")
    found = decode(layout_named("bm1366", chips), on_the_wire)
    assert found.core[0] == told.core
    if told.chip is not None and chips > 1:
        assert found.chip[0] == told.chip
    single = decode(layout_named("lv06"), on_the_wire)
    assert (single.chip[0], single.core[0], single.counter[0]) == (0, told.core, word & 0x1FFFFFF)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20))
def test_s9_as_the_emulator_makes_it(nonces: list[int]) -> None:
    words = np.array(nonces, np.uint32)
    found = decode(layout_named("s9"), words)
    for own, told in zip((found.chip, found.core, found.counter), decode_s9(words), strict=True):
        np.testing.assert_array_equal(own, told)


def test_row_zero_of_the_recording() -> None:
    """Nonce of the first recorded share, statistics.md §7."""
    nonce = int.from_bytes(((42 << 26) | (429295 << 7) | 11).to_bytes(4, "little"), "big")
    found = decode(layout_named("s9"), nonce)
    assert (found.chip[0], found.core[0], found.counter[0]) == (42, 11, 429295)


def test_layouts_that_are_not_there() -> None:
    with pytest.raises(UserError, match="s9, lv06, bm1366"):
        layout_named("s19")
    with pytest.raises(UserError, match="1 to 128"):
        layout_named("bm1366", 200)


def test_evenness_is_a_chi_square_of_the_seen_parts() -> None:
    codes = np.repeat([0, 3, 7], [10, 12, 20])
    found = evenness("chip", codes)
    assert found.chi2 == pytest.approx(chisquare([10, 12, 20]).statistic)
    assert (found.seen, found.fewest, found.most, found.code_fewest, found.code_most) == (3, 10, 20, 0, 7)
    assert evenness("chip", np.arange(50)).chi2 is None  # one share of each tells nothing
    assert counter_uniformity(np.arange(1000), 1000)[0] < 0.001
    assert counter_uniformity(np.arange(500), 1000)[1] < 1e-6


def test_statistics_of_groups_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 7, 200)
    values = rng.normal(size=200) + 0.2 * codes
    parts = [values[codes == g] for g in range(7)]
    ranks = np.argsort(np.argsort(values)) + 1.0
    assert groups.f_statistic(values, codes, 7) == pytest.approx(f_oneway(*parts).statistic)
    assert groups.kruskal_statistic(ranks, codes, 7) == pytest.approx(kruskal(*parts).statistic)
    assert groups.effective_size(np.array([5, 5, 5])) == 5


@given(st.integers(1, 400), st.integers(0, 2**31))
def test_labels_stay_in_their_block(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes, block = rng.integers(0, 5, n), groups.blocks_of(n)
    assert np.all(np.diff(block) >= 0)
    other = groups.permuted(codes, block, rng)
    for number in np.unique(block):
        assert sorted(codes[block == number]) == sorted(other[block == number])


def test_interval_of_the_spread_covers_it() -> None:
    """Random effects of known size: 95 % intervals hold it, and the detectable one is found nine times out of ten."""
    rng = np.random.default_rng(1)
    k, size = 40, 30
    freedom = (k - 1, k * (size - 1))
    codes = np.repeat(np.arange(k), size)
    detectable = groups.detectable_sd(1.0, freedom, size, 0.05)
    held = found = 0
    for _ in range(300):
        values = rng.normal(0, detectable, k)[codes] + rng.normal(size=codes.size)
        f = groups.f_statistic(values, codes, k)
        _, (low, high) = groups.between_sd(f, 1.0, freedom, size)
        held += low <= detectable <= high
        found += f > 1.4053  # scipy.stats.f.isf(0.05, 39, 1160)
    assert 0.91 <= held / 300 <= 0.985
    assert 0.85 <= found / 300 <= 0.95


def test_a_drift_of_the_host_is_no_fingerprint() -> None:
    rng = np.random.default_rng(2)
    n = 2000
    codes = np.sort(rng.integers(0, 20, n))  # chips one after the other, and the host slows down meanwhile
    drift = np.linspace(0, 10, n)
    found = groups.group_test("chip", drift + rng.normal(size=n), codes, rng, permutations=99)
    assert found is None or found.kruskal_p > 0.01


@pytest.mark.parametrize(("model", "part", "own"), [("s9", "chip", 0.5), ("lv06", "core", 0.4)])
def test_a_planted_fingerprint_is_found_with_its_size(model: str, part: str, own: float) -> None:
    planted = nonce_report(run(model=model, seed=2, variation_ms=own, device=5), permutations=199)
    assert planted.verdict.code == "evidence"
    (test,) = (t for t in planted.tests if t.part == part)
    assert test.sd_ci[0] < own < test.sd_ci[1]
    assert planted.r2 > 0.999
    plain = nonce_report(run(model=model, seed=2), permutations=199)
    assert plain.verdict.code == "no_evidence"
    assert "Detectable effect" in plain.verdict.text


@pytest.mark.costly
def test_alike_devices_are_hardly_ever_called_different() -> None:
    codes = [nonce_report(run(shares=700, seed=s), seed=s, permutations=99).verdict.code for s in range(12)]
    assert codes.count("evidence") <= 2
    assert codes.count("cannot_tell") == 0


@pytest.mark.slow
def test_the_level_holds_and_the_detectable_spread_is_found() -> None:
    """100 runs without, at most 9 alarms (5 % is the aim); 40 at the stated spread, at least 80 %."""
    plain = [nonce_report(run(shares=1000, seed=s), seed=s, permutations=99) for s in range(100)]
    assert sum(r.verdict.code == "evidence" for r in plain) <= 9
    spread = float(np.mean([t.detectable_ms for r in plain for t in r.tests if t.part == "chip"]))
    found = [
        nonce_report(run(shares=1000, seed=s, device=s, variation_ms=spread), seed=s, permutations=99)
        for s in range(40)
    ]
    assert sum(r.verdict.code == "evidence" for r in found) >= 32


def test_what_cannot_be_laid_to_chips_is_refused() -> None:
    times = build_run_data(run_id="a", kind="live", time_ns=np.arange(9), time_source="kernel")
    with pytest.raises(UserError, match="arrival times alone"):
        nonce_report(times)
    rng = np.random.default_rng(0)
    alien = build_run_data(
        run_id="b", kind="live", time_ns=np.arange(300) * 10**8, time_source="kernel", job=np.arange(300),
        response_ns=rng.integers(1, 10**8, 300), since_notify_ns=rng.integers(1, 10**8, 300),
        extranonce2=rng.integers(0, 99, 300), nonce=rng.integers(0, 2**32, 300), version_bits=np.zeros(300),
    )  # fmt: skip
    with pytest.raises(UserError, match="no layout"):
        nonce_report(alien)
    two = build_run_data(
        run_id="c", kind="live", time_ns=np.arange(4), time_source="kernel", miner=np.array([1, 2, 1, 2]),
        miners={1: MinerInfo("left", "s9", None, 1.0, 1.0), 2: MinerInfo("right", "s9", None, 1.0, 1.0)},
    )  # fmt: skip
    with pytest.raises(UserError, match="left, right"):
        nonce_report(two)
    with pytest.raises(UserError, match="do not follow the scan"):
        residuals(run(shares=20))


def test_the_recorded_s9_carries_no_fingerprint(traces: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lab.db"
    import_file(url, traces / "s9_stratum_shares.csv")
    _, data = read_run(TraceReader(url), "latest")
    found = nonce_report(data, permutations=199)
    assert found.layout == "s9"
    assert [e.seen for e in found.evenness] == [63, 114]
    assert found.r2 > 0.999
    assert 1.0 < found.residual_sd_ms < 2.0
    assert found.verdict.code == "no_evidence"
    for test in found.tests:
        assert test.sd_ci[0] == 0.0
        assert test.detectable_ms < 0.45
