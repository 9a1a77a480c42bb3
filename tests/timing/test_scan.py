from __future__ import annotations

import numpy as np
import pytest
from scan_runs import COUNTER_MAX, SLOPE_MS, s9_run

from firmware_bridge.timing.nulls import MechanisticNull, delay_ladder, late_loads
from firmware_bridge.timing.run_data import MinerInfo, RunData, build_run_data
from firmware_bridge.timing.scan import LAYOUTS, ScanLayout, align, bm1366_layout, layout_of, scan_summary


def test_recorded_nonces_decode_to_chips_cores_and_a_linear_scan(recording: RunData) -> None:
    position = LAYOUTS["s9"].decode(recording.nonce, recording.extranonce2, recording.version_bits)
    assert (position.chip[0], position.core[0], position.counter[0]) == (42, 11, 429295)
    summary = scan_summary(recording)
    assert summary is not None
    assert (summary.chips, summary.cores, summary.counter_max, summary.clean) == (63, 114, 470453, 853)
    assert summary.r2 == pytest.approx(0.9996915, abs=1e-6)
    assert summary.slope_ms == pytest.approx(0.2327336, abs=1e-6)
    assert summary.intercept_ms == pytest.approx(21.53815, abs=1e-4)
    assert summary.capacity_ths == pytest.approx(14.5179, abs=1e-3)
    assert summary.naive_ths == pytest.approx(2546 * 256 * 2**32 / 251.558534 / 1e12, rel=1e-6)
    assert summary.duty == pytest.approx(0.7665, abs=1e-3)


def test_scan_regression_equals_scipy_on_a_run_of_known_slope() -> None:
    run = s9_run(3000, 1, noise_ms=0.5)
    summary = scan_summary(run)
    assert summary is not None
    assert summary.slope_ms == pytest.approx(SLOPE_MS, abs=2e-4)
    assert summary.intercept_ms == pytest.approx(21.5, abs=0.1)
    assert summary.counter_ms == pytest.approx(SLOPE_MS * (1 << 19) / COUNTER_MAX, abs=0.1)


def test_alignment_separates_late_jobs_and_recovers_their_cause(recording: RunData) -> None:
    alignment = align(recording)
    assert alignment is not None
    late = late_loads(recording, alignment)
    assert late is not None
    assert 30 < late.threshold_ms < 40
    assert late.after_short > 0.7
    assert late.after_long < 0.1
    assert 28 < late.extra_ms < 36
    assert alignment.spread_ms < 2


def test_no_late_loads_are_seen_where_there_are_none() -> None:
    run = s9_run(2000, 2, late=False)
    alignment = align(run)
    assert alignment is not None
    assert late_loads(run, alignment) is None


def test_mechanistic_null_reproduces_the_recorded_intervals(recording: RunData) -> None:
    alignment = align(recording)
    assert alignment is not None
    null = MechanisticNull.fit(recording, alignment, late_loads(recording, alignment))
    drawn = null.simulate(20_000, np.random.default_rng(0))
    seen = recording.interval_ms[1:]
    assert drawn.mean() == pytest.approx(seen.mean(), rel=0.03)
    assert drawn.std() / drawn.mean() == pytest.approx(seen.std() / seen.mean(), abs=0.03)
    quantiles = np.linspace(0.1, 0.9, 9)
    np.testing.assert_allclose(np.quantile(drawn, quantiles), np.quantile(seen, quantiles), rtol=0.08, atol=2)


def test_layout_is_recognised_by_its_nonces_alone(recording: RunData) -> None:
    unknown = MinerInfo("?", None, None, 1.0, 256.0)
    nameless = RunData(
        **{
            **{f: getattr(recording, f) for f in recording.__dataclass_fields__},
            "miners": {1: unknown},
        }
    )
    layout = layout_of(nameless)
    assert layout is not None
    assert layout.model == "s9"
    rng = np.random.default_rng(3)
    random = build_run_data(
        run_id="cpu",
        kind="live",
        time_ns=np.cumsum(rng.integers(1, 10**8, 1000)),
        time_source="kernel",
        job=np.arange(1000),
        response_ns=rng.integers(1, 10**8, 1000),
        since_notify_ns=np.full(1000, 2 * 10**8),
        extranonce2=rng.integers(0, 1000, 1000),
        nonce=rng.integers(0, 2**32, 1000),
        version_bits=np.zeros(1000),
    )
    assert layout_of(random) is None
    assert scan_summary(random) is None


@pytest.mark.parametrize("layout", [LAYOUTS["lv06"], bm1366_layout(1)], ids=lambda layout: layout.model)
def test_layouts_of_the_bm1366_read_core_counter_and_version_batch(layout: ScanLayout) -> None:
    # captured BM1366 response 08 39 28 A9 with version bits 0003: core 4 (hardware.md §1.11)
    wire_nonce = int.from_bytes(bytes.fromhex("083928A9"), "little")
    position = layout.decode(
        np.array([wire_nonce], np.uint32), np.array([7], np.uint64), np.array([0x0003 << 13], np.uint32)
    )
    assert position.core[0] == 4
    assert position.counter[0] == 0x0003928A9 & 0x1FFFFFF
    assert position.coarse.tolist() == [[7.0, 0.0]]


@pytest.mark.parametrize("chips", [1, 12])
def test_the_nonces_of_a_chain_follow_its_clock_chip_by_chip(chips: int) -> None:
    from firmware_bridge.bm13xx.frames import JobFrame
    from firmware_bridge.bm13xx.nonces import share_fields
    from firmware_bridge.bm13xx.registers import hash_counting_number
    from firmware_bridge.emulator.bm1366_scan import JobScan

    hcn = hash_counting_number(485.0, chips)
    responses, nonces, bits = [], [], []
    for number in range(4):
        frame = JobFrame(0, 0x1703A30C, number, bytes(32), bytes(32), 0x20000000)
        work = JobScan(
            frame,
            chips=chips,
            frequency_mhz=485.0,
            hcn=hcn,
            ticket_mask=0,
            rolling=0x9000FFFF,
            scale=2.0**-22,
        )
        while work.next_s < 0.6:
            for hit in work.run_unit():
                nonce, version_bits = share_fields(hit.answer)
                responses.append(round((hit.after_s + 0.0005) * 1e9) + number)
                nonces.append(int(nonce, 16))
                bits.append(int(version_bits, 16))
    size = len(responses)
    run = build_run_data(
        run_id="chain",
        kind="live",
        time_ns=np.cumsum(np.full(size, 10**6)),
        time_source="monotonic",
        job=np.zeros(size, np.int64),
        response_ns=np.array(responses),
        since_notify_ns=np.array(responses),
        extranonce2=np.zeros(size, np.int64),
        nonce=np.array(nonces, np.uint32),
        version_bits=np.array(bits),
        miners={1: MinerInfo("bm1366", "bm1366", f"bm1366 over serial, {chips} chips", 2.0**-22, 1.0)},
    )
    summary = scan_summary(run)
    assert summary is not None
    assert (summary.layout, summary.chips) == ("bm1366", chips)
    assert summary.r2 is not None
    assert summary.r2 > 0.999999
    assert summary.intercept_ms == pytest.approx(0.5, abs=1e-3)
    assert summary.counter_ms == pytest.approx(hcn * 80e-6, rel=1e-4)
    assert summary.capacity_ths == pytest.approx(chips * 894 * 485e6 / 1e12, rel=0.02)
    assert align(run) is not None


def test_a_chain_of_unknown_length_is_read_as_one_chip() -> None:
    unknown = MinerInfo("x", "bm1366", None, 1.0, 256.0)
    run = build_run_data(
        run_id="x", kind="live", time_ns=np.arange(1, 4), time_source="monotonic", job=np.zeros(3, np.int64),
        extranonce2=np.zeros(3, np.int64), nonce=np.arange(3), version_bits=np.zeros(3), miners={1: unknown},
    )  # fmt: skip
    layout = layout_of(run)
    assert layout is not None
    assert (layout.counter_span, layout.hashes_per_count) == (1 << 25, 894)


def test_delay_ladder_stops_at_the_first_model_that_holds() -> None:
    rng = np.random.default_rng(1)
    work = rng.exponential(80, 3000)
    assert [f.model for f in delay_ladder(work, rng)] == ["exponential"]
    dead = delay_ladder(20 + work, rng)
    assert dead[-1].model == "dead time + exponential"
    assert dead[-1].parameters_ms["dead_ms"] == pytest.approx(20, abs=0.5)
    blurred = delay_ladder(60 + work + rng.normal(0, 10, 3000), rng)
    assert blurred[-1].model == "dead time + Gaussian delay + exponential"
    assert blurred[-1].p_value > 0.05
    assert blurred[-1].parameters_ms["delay_sd_ms"] == pytest.approx(10, abs=4)
    rejected = delay_ladder(np.abs(rng.normal(100, 10, 3000)), rng)
    assert rejected[-1].p_value < 0.05
