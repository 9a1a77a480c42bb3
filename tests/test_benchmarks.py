"""The harness of the benchmarks: which way a ratio points, what a row holds, and that the load generator counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.bench_ack import echo
from benchmarks.bench_broker import embedded, messages_per_s
from benchmarks.bench_proxy import measure, quantile, sides
from benchmarks.harness import Benchmark, Row, SkippedError, against_budget, paired
from benchmarks.load import drive

KEYS = {"name", "ours", "reference", "unit", "ratio", "aim"}


def test_more_per_second_is_better_and_the_best_rounds_count() -> None:
    ours, theirs = iter([10.0, 30.0, 20.0]), iter([40.0, 50.0, 10.0])
    row = paired("x", lambda: next(ours), lambda: next(theirs), unit="rows/s", aim=0.5, rounds=3)
    assert (row.ours, row.reference, row.ratio) == (30.0, 50.0, 0.6)
    assert row.detail == {"rounds": 3, "ratio_median": 0.6, "ratio_min": 0.25, "ratio_max": 2.0}


def test_fewer_seconds_are_better() -> None:
    ours, theirs = iter([2.0, 4.0, 3.0]), iter([6.0, 8.0, 9.0])
    row = paired("x", lambda: next(ours), lambda: next(theirs), unit="s", aim=None, rounds=3)
    assert (row.ours, row.reference, row.ratio) == (2.0, 6.0, 3.0)
    assert against_budget("x", lambda: 2.0, 5.0, unit="s", aim=1.0).ratio == 2.5
    assert against_budget("x", lambda: 2.0, 5.0, unit="MH/s", aim=1.0).ratio == 0.4


def test_sides_take_turns_in_going_first() -> None:
    order: list[str] = []
    paired(
        "x",
        lambda: order.append("a") or 1.0,  # type: ignore[func-returns-value]
        lambda: order.append("b") or 1.0,  # type: ignore[func-returns-value]
        unit="1/s",
        aim=None,
        rounds=3,
    )
    assert "".join(order) == "abbaab"


def run_main(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    benchmarks: list[Benchmark],
    *options: str,
) -> tuple[int, list[dict[str, object]]]:
    monkeypatch.setattr(command, "MODULES", ("one",))
    monkeypatch.setattr(command, "load", lambda module: benchmarks)
    code = command.main(["--json", *options])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def yields(heavy: bool) -> Iterator[Row]:
    yield Row("fine", 2.0, 1.0, "1/s", 2.0, 0.5)


def test_each_row_is_a_line_of_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, rows = run_main(monkeypatch, capsys, [Benchmark("fine", yields)])
    assert code == 0
    assert rows == [{"name": "fine", "ours": 2.0, "reference": 1.0, "unit": "1/s", "ratio": 2.0, "aim": 0.5}]


def test_what_takes_long_runs_only_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heavy = [Benchmark("long", yields, heavy=True)]
    code, rows = run_main(monkeypatch, capsys, heavy)
    assert code == 0
    assert rows[0].keys() == KEYS | {"skipped"}
    assert "--heavy" in str(rows[0]["skipped"])
    assert run_main(monkeypatch, capsys, heavy, "--heavy")[1][0]["ratio"] == 2.0


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (SkippedError("no such peer; install it"), 0, "install it"),
        (ModuleNotFoundError("no", name="some_peer.part"), 0, "some_peer"),
        (ModuleNotFoundError("no", name="firmware_bridge.gone"), 1, "broke"),
        (RuntimeError("boom"), 1, "broke"),
    ],
)
def test_a_benchmark_that_cannot_run_says_why(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
    said: str,
) -> None:
    def fails(heavy: bool) -> Iterator[Row]:
        raise error
        yield

    got, rows = run_main(monkeypatch, capsys, [Benchmark("gone", fails)])
    assert got == code
    assert rows[0]["ratio"] is None
    assert said in str(rows[0]["skipped"])


def test_an_unknown_name_is_a_user_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err


@pytest.mark.parametrize("name", command.MODULES)
def test_every_benchmark_can_be_loaded(name: str) -> None:
    found = command.load(name)
    assert found
    assert all(isinstance(benchmark, Benchmark) for benchmark in found)


@pytest.mark.parametrize(("clients", "in_flight"), [(1, 1), (1, 64), (5, 8)])
def test_the_load_generator_counts_what_a_server_answers(clients: int, in_flight: int) -> None:
    with echo() as port:
        load = drive(port, clients=clients, in_flight=in_flight, submits=300, talk=False)
    assert load.answered == 300 * clients
    assert load.per_second > 0
    assert (load.median_ms is not None) == (in_flight == 1)


def test_the_sides_of_the_proxy_benchmark_answer_every_share(tmp_path: Path) -> None:
    with sides(tmp_path, 0.0) as clients:
        found = measure(clients, rounds=2, shares=5)
    assert {side: len(values) for side, values in found.items()} == {"tcp relay": 10, "relay": 10, "vbm": 10}
    assert all(values == sorted(values) and values[0] > 0 for values in found.values())
    assert quantile([1.0, 2.0, 3.0], 0.5) == 2.0


async def test_messages_through_a_broker_are_counted() -> None:
    with embedded() as port:
        assert await messages_per_s(port, 50) > 0
