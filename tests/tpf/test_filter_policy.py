"""The filter as the bridge meets it: what it knows, what it keeps, and that no share is lost by it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.clock import VirtualClock
from firmware_bridge.errors import UserError
from firmware_bridge.stratum.dispatch import JobPolicy, JobSymbol, SequenceSource, SymbolSource
from tests.stratum.bridge_kit import RawMiner, eventually, rows, running_bridge
from tpf.classifier import Model, load_model, save_model, train
from tpf.dataset import Dataset, Feature
from tpf.filter import JobFilter, OnlineFilter, RandomFilter, Rule, rule_of, scorer
from tpf.job_history import FEATURES, NAMES, JobHistory, JobRun, job_dataset

TIMES: dict[str, Any] = {"keep_s": 1.0, "replace_s": 0.1}


@dataclass
class Due:
    """What the bridge says of a job."""

    monotonic_ns: int
    miner: int = 1
    miner_name: str = "w"


def lucky_jobs(n: int = 400) -> JobRun:
    """Jobs of a second each, whose symbol is their number of shares over 10."""
    rng = np.random.default_rng(0)
    symbol = rng.random(n)
    counts = (symbol * 10).astype(int)
    own = np.repeat(np.arange(n), counts)
    at = np.sort(own * 1_000_000_000 + rng.integers(1, 10**9, own.size))
    sent = np.arange(n) * 1_000_000_000
    nothing: dict[str, np.ndarray] = {}
    return JobRun("lucky", sent, symbol, at, own, n * 10**9, np.empty(0, np.int64), nothing)


def trained() -> tuple[Model, Dataset]:
    table = job_dataset(lucky_jobs())
    return train(table, "logistic"), table


def test_features_are_those_of_the_past() -> None:
    history = JobHistory()
    first = dict(zip(NAMES, history.send(1_000_000_000, 0.25), strict=True))
    assert first["symbol"] == 0.25
    assert all(np.isnan(value) for name, value in first.items() if name != "symbol")
    history.hear(1_020_000_000)
    history.hear(1_500_000_000)
    history.read({"temperature_c": 61.0, "unheard_of": 1.0})
    second = dict(zip(NAMES, history.send(3_000_000_000, 0.75), strict=True))
    assert second["previous_symbol"] == 0.25
    assert second["previous_response_ms"] == 20.0
    assert second["previous_rate"] == second["past_rate"] == 1.0  # two shares in two seconds
    assert second["last_interval_ms"] == 480.0
    assert second["since_share_ms"] == 1500.0
    assert second["temperature_c"] == 61.0
    third = dict(zip(NAMES, history.send(4_000_000_000), strict=True))
    assert third["previous_rate"] == 0.0
    assert np.isnan(third["previous_response_ms"])  # not one share came for it
    assert np.isclose(third["past_rate"], 2 / 3)
    assert all(feature.last <= 0 for feature in FEATURES)


def test_nothing_after_the_sending_moves_a_feature() -> None:
    whole = lucky_jobs(60)
    cut = whole.share_ns <= whole.sent_ns[40]
    part = JobRun(
        "part", whole.sent_ns[:42], whole.symbol[:42], whole.share_ns[cut], whole.share_job[cut], 0,
        whole.reading_ns, whole.readings,
    )  # fmt: skip
    np.testing.assert_array_equal(job_dataset(part).X[:41], job_dataset(whole).X[:41])


def test_a_model_of_jobs_keeps_the_better_ones(tmp_path: Path) -> None:
    model, table = trained()
    save_model(model, tmp_path / "f")
    model = load_model(tmp_path / "f")
    rule, clock = rule_of(model, table, 0.3), VirtualClock()
    symbols = np.random.default_rng(5).random(300)
    source = SequenceSource([JobSymbol(value=float(s)) for s in symbols])
    filter_ = OnlineFilter(model, rule, np.random.default_rng(1), **TIMES, source=source)
    policy: JobPolicy = filter_
    as_source: SymbolSource = filter_
    kept = []
    for i, symbol in enumerate(symbols):
        clock.advance_to(i * 10**9)
        sent = as_source.next(Due(clock.monotonic_ns()))  # type: ignore[arg-type]
        assert sent is not None
        assert sent.value == symbol  # the symbol goes out as it is
        kept.append(policy.deadline_s() == 1.0)
        assert policy.deadline_s() in (1.0, 0.1)
        assert policy.replace_on_share(current=True, valid=True) is False
        filter_.hear(1, [clock.monotonic_ns()])
    assert symbols[kept].mean() > symbols[~np.array(kept)].mean() + 0.4
    counts = filter_.counts
    assert (counts.kept, counts.kept + counts.replaced, counts.shares) == (sum(kept), 300, 300)
    assert abs(counts.keep_rate - 0.3) < 0.15


@pytest.mark.xdist_group("timing")
def test_one_score_is_the_score_of_the_table() -> None:
    model, table = trained()
    whole = np.full((5, len(NAMES)), np.nan)
    whole[:, [NAMES.index(name) for name in table.names]] = table.X[100:105]
    one = scorer(model)
    np.testing.assert_allclose([one(row) for row in whole], model.probability(whole, NAMES), rtol=1e-12)
    begun = time.perf_counter()
    for _ in range(50):
        one(whole[0])
    assert (time.perf_counter() - begun) / 50 < 0.05  # the bridge waits for it


@given(
    st.lists(st.sampled_from([0.0, 0.2, 0.5, 1.0]), min_size=1, max_size=40),
    st.floats(0.01, 1.0),
)
def test_a_rule_keeps_the_part_that_it_was_set_to(scores: list[float], keep_rate: float) -> None:
    found = np.array(scores)
    rule = Rule.at_keep_rate(found, keep_rate)
    expected = (found > rule.threshold).mean() + rule.tie * (found == rule.threshold).mean()
    assert np.isclose(expected, keep_rate)


def test_the_placebo_keeps_as_many_whatever_it_sees() -> None:
    filter_ = RandomFilter[JobSymbol](0.3, np.random.default_rng(2), **TIMES)
    for i in range(2000):
        filter_.next(Due(i * 10**8))
    assert abs(filter_.counts.keep_rate - 0.3) < 0.04


def test_what_is_refused() -> None:
    rng = np.random.default_rng(0)
    y = rng.random(900) < 0.3
    shares = Dataset(
        "run-1", np.c_[rng.standard_normal(900) + y], y, (Feature("response_ms", "timing"),), "win",
        np.arange(1, 901), gap=10,
    )  # fmt: skip
    with pytest.raises(UserError, match="response_ms, which nobody knows before"):
        OnlineFilter(train(shares, "logistic"), Rule(0.5), rng, **TIMES)
    with pytest.raises(UserError, match=r"not after 2\.0 s of 1\.0 s"):
        JobFilter(keep_s=1.0, replace_s=2.0)
    with pytest.raises(UserError, match="keep rate lies above 0"):
        RandomFilter(0.0, rng, **TIMES)
    filter_ = JobFilter[JobSymbol](**TIMES)
    filter_.next(Due(0))
    with pytest.raises(UserError, match="other is a second one"):
        filter_.next(Due(1, miner=2, miner_name="other"))


async def test_a_bridge_with_a_filter_loses_no_share(tmp_path: Path) -> None:
    filter_ = RandomFilter[JobSymbol](0.5, np.random.default_rng(3), keep_s=0.2, replace_s=0.02)
    async with running_bridge(tmp_path, policy=filter_, source=filter_, mode="stream") as (bridge, port):
        miner = await (await RawMiner.connect(port)).ready()
        while len(miner.jobs) < 12:
            await miner.read()
        for number, job in enumerate(miner.jobs[:12]):  # work of every job, long after most were replaced
            answer = await miner.ask("mining.submit", ["worker", job[0], "00000000", job[7], f"{number:08x}"])
            assert answer["result"] is True, answer
        await eventually(lambda: bridge.stats.accepted == 12)
        jobs = bridge.stats.jobs
    stored = rows(tmp_path, "select valid from shares")
    assert [row["valid"] for row in stored] == [1] * 12
    counts = filter_.counts
    assert counts.shares == 12
    assert counts.kept + counts.replaced == jobs
    assert counts.kept > 0 < counts.replaced
    assert SimpleNamespace(**counts.to_json()).keep_rate == counts.keep_rate
