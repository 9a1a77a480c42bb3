"""The comparison of arms: its test against scipy, its interval, its verdict, and a planted leak that it must find."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from experiments.tpf_filter.plan import FilterPlan
from experiments.tpf_filter.result import Saving, planted_saving, verdict_of
from experiments.tpf_filter.virtual import filtered, run
from firmware_bridge.emulator.effects import luck_of, split_luck
from firmware_bridge.emulator.physics import Physics
from firmware_bridge.emulator.virtual import VirtualConfig, simulate
from firmware_bridge.errors import UserError
from tpf.energy import energy_per_share
from tpf.filter import RandomFilter
from tpf.paired_blocks import PairedDifference, paired_difference


def test_the_p_value_is_that_of_all_exchanges() -> None:
    d = np.random.default_rng(4).normal(0.4, 1.0, 9)
    found = paired_difference(d)
    expected = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert np.isclose(found.p, expected.pvalue)
    shifted = paired_difference(d - found.low - 1e-9)  # the interval inverts the test
    assert shifted.p <= 2 * 0.025 + 2 / 2**9
    assert paired_difference(d - found.low - 0.02).p > 0.05 - 1e-9
    with pytest.raises(UserError, match="--blocks is at least 6"):
        paired_difference(d[:5])


def test_the_interval_covers_what_it_should() -> None:
    rng = np.random.default_rng(7)
    covered = [f.low <= 0.3 <= f.high for f in (paired_difference(rng.normal(0.3, 1, 8)) for _ in range(400))]
    assert 0.92 < np.mean(covered) < 0.98
    many = paired_difference(rng.normal(0.0, 1.0, 30), seed=1)
    t = stats.t.interval(
        0.95, 29, many.mean, many.detectable / (stats.t.ppf(0.975, 29) + stats.t.ppf(0.9, 29))
    )
    np.testing.assert_allclose((many.low, many.high), t, atol=0.05)


def _saving(mean: float, half: float, detectable: float = 0.02) -> Saving:
    return Saving.of(PairedDifference(-mean, -mean - half, -mean + half, 0.5, detectable, 12))


@pytest.mark.parametrize(
    ("saving", "beats", "code"),
    [
        (_saving(0.2, 0.05), _saving(0.2, 0.05), "saves"),
        (_saving(0.2, 0.05), _saving(0.0, 0.05), "cannot_tell"),  # so does replacing by chance
        (_saving(-0.2, 0.05), _saving(0.0, 0.05), "no_saving"),
        (_saving(0.01, 0.02, 0.03), _saving(0.0, 0.05), "no_saving"),
        (_saving(0.01, 0.2, 0.3), _saving(0.0, 0.05), "cannot_tell"),
    ],
)
def test_verdicts(saving: Saving, beats: Saving, code: str) -> None:
    told = verdict_of(saving, beats, 0.05)
    assert told["code"] == code
    assert f"{saving.saving:+.1%}" in told["text"]


def test_the_planted_leak_moves_shares_between_jobs_and_makes_none() -> None:
    config = VirtualConfig(
        shares=None, seconds=150.0, seed=3, scale=2.0**-36, mode="stream", job_period_s=1.0,
        physics=Physics.off(), winning_jobs=0.8,
    )  # fmt: skip
    trace = simulate(config)
    counts = np.bincount(trace.row_job, minlength=trace.symbol.size)
    expected = luck_of(trace.symbol, 0.8) * counts.mean()
    z = (counts - expected) / np.sqrt(expected)
    assert abs(z.mean()) < 0.3
    assert 0.75 < z.std() < 1.3
    fair = simulate(replace(config, winning_jobs=0.0))
    assert abs(trace.n / fair.n - 1) < 0.15
    assert trace.to_run_data().plants == {"winning_jobs": 0.8}
    assert split_luck(["winning_jobs=0.5", "quality=2"]) == (0.5, ["quality=2"])
    for wrong in (["winning_jobs=1"], ["winning_jobs=x"], ["winning_jobs=.1", "winning_jobs=.2"]):
        with pytest.raises(UserError, match="winning_jobs"):
            split_luck(wrong)


def test_a_filtered_run_has_the_jobs_that_its_filter_chose() -> None:
    plan = FilterPlan(physics=Physics.off(), job_s=1.0, replace_s=0.1, block_s=12.0).resolved()
    trace, counts = filtered(
        plan.config(5, 12.0),
        200,
        lambda source: RandomFilter(0.5, np.random.default_rng(8), **plan.times(), source=source),
    )
    lengths = np.diff(trace.job_sent_ns) / 1e9
    wanted = np.random.default_rng(8).random(lengths.size + 1) < 0.5  # what this filter draws
    np.testing.assert_allclose(lengths, np.where(wanted, 1.0, 0.1)[:-1], atol=1e-6)
    assert (counts.kept, counts.replaced) == (wanted.sum(), (~wanted).sum())
    assert counts.shares <= trace.n


def test_the_planted_saving_is_that_of_the_accounting() -> None:
    plan = FilterPlan(physics=Physics.off(), winning_jobs=0.5, job_s=1.0, replace_s=0.1).resolved()
    r = 0.625 + 0.375 * 0.1
    assert np.isclose(planted_saving(plan, 0.5), 1 - energy_per_share(0.5, r, 0.1, 1.0))
    assert abs(planted_saving(replace(plan, winning_jobs=0.0), 0.3)) < 1e-12  # no leak, no saving
    assert planted_saving(replace(plan, winning_jobs=0.0, physics=Physics()), 0.5) < 0  # new work costs time
    with pytest.raises(UserError, match="--blocks"):
        replace(plan, blocks=5).resolved()
    with pytest.raises(UserError, match="--replace-after"):
        replace(plan, replace_s=1.5).resolved()


@pytest.mark.costly
def test_the_right_gain_is_found_and_none_where_none_is() -> None:
    plan = FilterPlan(physics=Physics.off(), blocks=8, block_s=30.0, training_jobs=300, seed=2)
    planted = run(replace(plan, winning_jobs=0.8))
    assert planted.verdict["code"] == "saves"
    assert planted.saving.low < planted.planted < planted.saving.high
    assert planted.planted > 0.2
    accounted = 1 - planted.accounted["filter"] / planted.accounted["none"]
    assert abs(planted.saving.saving - accounted) < 0.05
    fair = run(replace(plan, blocks=6, block_s=12.0))
    assert fair.verdict["code"] != "saves"
    assert abs(fair.saving.saving) < 0.15 < planted.saving.saving
    assert fair.planted == pytest.approx(0.0, abs=1e-12)
    assert {b.arm for b in fair.blocks[:3]} == {"none", "filter", "random"}
