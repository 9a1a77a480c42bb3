"""Properties against closed forms, and beside what noise and systems without the property give."""

from __future__ import annotations

import json

import numpy as np
import pytest

from firmware_bridge.errors import UserError
from reservoir.baselines import delay_line
from reservoir.consistency import consistency, echo_state, lyapunov_of_esn
from reservoir.fading import fading_memory, separation
from reservoir.networks import EchoStateNetwork
from reservoir.properties import properties
from reservoir.ranks import (
    NoiseFloor,
    condition_number,
    dimension,
    effective_rank,
    numerical_rank,
    participation_ratio,
    ranks,
    ranks_of,
)


def uniform(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, n)


def node(u: np.ndarray, rho: float, noise: float = 0.0, seed: int = 1, start: float = 0.0) -> np.ndarray:
    """``x[k] = rho x[k-1] + (1 - rho) u[k] + noise e[k]``, shape (T, 1)."""
    from scipy.signal import lfilter

    drive = (1 - rho) * u + noise * np.random.default_rng(seed).standard_normal(u.size)
    return np.asarray(lfilter([1.0], [1.0, -rho], drive, zi=[rho * start])[0])[:, None]


def drawn(nodes: int, **parameters: float) -> EchoStateNetwork:
    return EchoStateNetwork(nodes, **parameters).fit(np.zeros((1, 1)))  # type: ignore[arg-type]


# ---- fading memory ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [0.5, 0.9])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_linear_node_remembers_what_its_equation_says(rho: float, noise: float) -> None:
    """``C(d) = (1 - rho)² rho^2d var(u) / var(x)`` with ``var(x) = ((1 - rho)² var(u) + noise²) / (1 - rho²)``."""
    rows = 40_000
    u = uniform(rows, 3)
    power = (1 - rho) ** 2 / 3
    exact = power * rho ** (2 * np.arange(31)) * (1 - rho**2) / (power + noise**2)
    found = fading_memory(node(u, rho, noise)[200:], u, 30)
    # the sampling error of a squared correlation grows with the memory that both series share
    error = 4 * np.sqrt((4 * exact + 1 / rows) / rows) / np.sqrt(1 - rho**2) * (1 + rho)
    assert (np.abs(found.capacity - exact) < error).all()
    expected = int(np.flatnonzero(exact[1:] < found.threshold)[0]) + 1
    assert found.falls_at is not None
    assert abs(found.falls_at - expected) <= max(1, 0.2 * expected)
    assert found.total == pytest.approx(exact[1 : found.falls_at].sum(), abs=0.05)


def test_a_memoryless_node_falls_at_once_even_where_its_input_remembers() -> None:
    u = uniform(5_000)
    found = fading_memory(np.tanh(2 * u)[:, None], u, 20)
    assert found.falls_at == 1
    assert found.total == 0.0
    assert found.capacity[0] > 0.9
    slow = node(u, 0.8)[:, 0]
    trap = fading_memory(np.hstack([slow[:, None], slow[:, None] ** 2]), slow, 20)
    assert trap.capacity[1] > 20 * trap.threshold  # the input itself has memory ...
    assert trap.input_only[1] > trap.capacity[1] - 1e-3  # ... which powers of the present input show as well
    assert trap.falls_at == 1


def test_a_delay_line_falls_after_its_last_tap() -> None:
    u = uniform(5_000)
    found = fading_memory(delay_line(u, 7)[50:], u, 20)
    assert found.falls_at == 7
    assert found.capacity[:7] == pytest.approx(np.ones(7))
    assert found.total == pytest.approx(6.0)
    assert fading_memory(delay_line(u, 7)[50:], u, 5).falls_at is None


# ---- separation ------------------------------------------------------------------------------------------------------


def test_a_delay_line_separates_its_inputs_perfectly_and_noise_not_at_all() -> None:
    u, rng = uniform(3_000), np.random.default_rng(1)
    found = separation(delay_line(u, 5), u, rng, window=5)
    assert found.correlation > 0.99
    assert found.p_value == pytest.approx(1 / 100)
    assert abs(found.null_mean) < 0.05
    ps = [separation(rng.standard_normal((1_000, 4)), u[:1_000], rng, rows=100).p_value for _ in range(20)]
    assert 0.25 < np.mean(ps) < 0.75
    assert sum(p < 0.05 for p in ps) <= 5
    with pytest.raises(UserError, match="vary"):
        separation(np.ones((1_000, 2)), u[:1_000], rng)


# ---- dimension and ranks ---------------------------------------------------------------------------------------------


def test_dimensions_of_known_matrices() -> None:
    rng = np.random.default_rng(1)
    white = rng.standard_normal((20_000, 8))
    assert participation_ratio(white) == pytest.approx(8, rel=0.01)
    assert participation_ratio(np.outer(white[:, 0], np.ones(5))) == pytest.approx(1.0)
    assert participation_ratio(np.ones((5, 2))) == 0.0
    assert condition_number(white * [1, 1, 1, 1, 1, 1, 1, 1e-3]) == pytest.approx(1e3, rel=0.05)
    assert effective_rank(np.eye(6)) == pytest.approx(6.0)
    assert numerical_rank(np.diag([1.0, 0.1, 1e-3]), noise=0.01) == 2


@pytest.mark.parametrize(("rows", "nodes"), [(50, 5), (300, 100), (2_000, 40)])
def test_noise_has_the_dimension_that_its_null_says(rows: int, nodes: int) -> None:
    rng = np.random.default_rng(2)
    scale = np.geomspace(1e-6, 1e3, nodes)  # units of the nodes do not matter
    drawn_ = [dimension(rng.standard_normal((rows, nodes)) * scale) for _ in range(20)]
    assert np.mean([d.participation for d in drawn_]) == pytest.approx(drawn_[0].participation_null, rel=0.02)
    assert np.mean([d.condition for d in drawn_]) == pytest.approx(
        drawn_[0].condition_null, rel=0.1 if nodes > 10 else 0.3
    )


def test_shared_drive_lowers_the_dimension_below_its_null() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((1_000, 20)) + 3.0 * rng.standard_normal((1_000, 1))
    found = dimension(np.hstack([x, np.full((1_000, 1), 4.0)]))
    assert found.rank == 20
    assert found.participation < 2 < 19 < found.participation_null
    assert found.condition > 2 * found.condition_null
    assert dimension(np.ones((50, 2))).to_json()["condition"] is None


def test_a_network_tells_inputs_apart_and_forgets_their_past() -> None:
    net = drawn(30, spectral_radius=0.5, input_scaling=0.5)
    rng = np.random.default_rng(2)

    def noisy(u: np.ndarray) -> np.ndarray:
        return net.transform(u[:, None]) + 1e-4 * rng.standard_normal((u.size, 30))

    found = ranks(noisy, np.random.default_rng(3), streams=60, repeats=40)
    assert found.kernel > 15
    assert found.generalisation is not None
    assert found.generalisation <= 3
    assert found.noise > 0
    assert found.null == 0.0
    assert found.quality == found.kernel - found.generalisation


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("repeats", [5, 60])
def test_pure_noise_earns_no_rank(repeats: int, shared: bool) -> None:
    """Also where all nodes share a part of it, and one is far louder than the others."""
    rng = np.random.default_rng(4)
    loud = np.r_[20.0, np.ones(29)]

    def noise(u: np.ndarray) -> np.ndarray:
        common = 3.0 * rng.standard_normal((u.size, 1)) if shared else 0.0
        return (rng.standard_normal((u.size, 30)) + common) * loud

    found = [ranks(noise, rng, streams=60, length=2, common=1, repeats=repeats) for _ in range(20)]
    assert sum(f.kernel > 0 for f in found) <= 2
    assert sum((f.generalisation or 0) > 0 for f in found) <= 2
    assert np.mean([f.null for f in found]) < 0.2
    alone = ranks(noise, rng, streams=60, length=2, common=1)
    assert alone.kernel == alone.null == 30  # without repeats noise has full rank, and the null says so


def test_a_kernel_of_known_rank_stands_above_its_noise() -> None:
    rng = np.random.default_rng(5)
    signal = rng.standard_normal((200, 4)) @ rng.standard_normal((4, 25))
    repeats = signal[:1] + 0.05 * rng.standard_normal((30, 25))
    noisy = signal + 0.05 * rng.standard_normal(signal.shape)
    found = ranks_of(noisy, None, NoiseFloor.of(repeats), rng)
    assert (found.kernel, found.generalisation, found.null) == (4, None, 0.0)
    assert ranks_of(noisy, None, None, rng).kernel == 25  # what a tolerance of rounding makes of it
    with pytest.raises(UserError, match="two or more repeats"):
        NoiseFloor.of(repeats[:1])


# ---- consistency and echo state --------------------------------------------------------------------------------------


def test_replicas_agree_as_much_as_noise_lets_them() -> None:
    rng = np.random.default_rng(4)
    signal = rng.standard_normal((20_000, 3))
    replicas = [signal + rng.standard_normal(signal.shape) for _ in range(3)]
    found = consistency(replicas)
    assert found.mean == pytest.approx(0.5, abs=0.02)  # signal and noise are equally strong
    assert found.capacity == pytest.approx(1.5, abs=0.05)
    assert found.p_value == pytest.approx(1 / 200)
    assert found.by_node == pytest.approx(
        [np.mean([np.corrcoef(replicas[i][:, n], replicas[j][:, n])[0, 1] for i, j in ((0, 1), (0, 2), (1, 2))])
         for n in range(3)]
    )  # fmt: skip
    with pytest.raises(UserError, match="two or more"):
        consistency([signal])
    with pytest.raises(UserError, match="more rows"):
        consistency([signal[:20], signal[:20]])


@pytest.mark.parametrize("rho", [0.0, 0.95])
def test_replicas_that_share_no_input_are_not_consistent(rho: float) -> None:
    """The null follows their own correlation in time, which makes chance agree far better than its rows suggest."""
    rng = np.random.default_rng(6)
    found = []
    for _ in range(60):
        pair = [
            np.hstack([node(rng.standard_normal(1_000), rho) for _ in range(4)])
            + 1e-6 * rng.standard_normal((1_000, 4))
            for _ in range(2)
        ]
        found.append(consistency(pair, guard=100))
    assert np.std([f.mean for f in found]) == pytest.approx(np.mean([f.null for f in found]), rel=0.35)
    assert abs(np.mean([f.mean for f in found])) < 3 * found[0].null / np.sqrt(60)
    assert sum(f.p_value < 0.05 for f in found) <= 10  # 3 expected
    assert np.mean([f.capacity < f.capacity_null_high for f in found]) > 0.85


@pytest.mark.parametrize(("spectral_radius", "forgets"), [(0.8, True), (3.0, False)])
def test_the_echo_state_is_told_from_chaos(spectral_radius: float, forgets: bool) -> None:
    net = drawn(60, spectral_radius=spectral_radius, input_scaling=0.1)
    u = uniform(2000)[:, None]
    start = np.random.default_rng(1).standard_normal(60)
    found = echo_state(net.transform(u), net.transform(u, initial=start))
    exponent = lyapunov_of_esn(net, u, np.random.default_rng(2))
    assert found.forgets is forgets
    assert (exponent < 0) is forgets
    if forgets:
        assert found.exponent == pytest.approx(exponent, abs=0.05)
        assert found.end < 1e-10
    else:
        assert found.end == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("rho", [0.8, 0.95])
def test_noisy_replicas_show_the_decay_down_to_their_noise(rho: float, given: bool) -> None:
    """A linear node forgets with ``ln rho`` per step; two runs' noise is ``sqrt(2) noise / sqrt(1 - rho²)`` apart."""
    u, noise = uniform(2_000), 1e-4
    runs = [np.hstack([node(u, rho, noise, seed=10 * r + n, start=s) for n in range(20)])
            for r, s in ((1, -5.0), (2, 5.0), (3, 5.0), (4, 5.0))]  # fmt: skip
    found = echo_state(runs[0], runs[1], alike=(runs[2], runs[3]) if given else None)
    assert found.exponent == pytest.approx(np.log(rho), abs=0.02)
    assert found.forgets
    assert found.floor * found.unrelated == pytest.approx(
        np.sqrt(20) * np.sqrt(2) * noise / np.sqrt(1 - rho**2) / runs[0][1000:, 0].std(), rel=0.1
    )
    assert found.start > 1.0 > 0.1 > found.end


def test_runs_that_share_nothing_show_no_echo_state_and_runs_that_meet_at_once_do() -> None:
    rng = np.random.default_rng(7)
    found = echo_state(rng.standard_normal((1_000, 5)), rng.standard_normal((1_000, 5)))
    assert not found.forgets
    assert np.isnan(found.exponent)
    assert found.to_json()["exponent"] is None
    u = uniform(1_000)
    first, second = node(u, 0.0), node(u, 0.0)
    second[0] += 1.0
    at_once = echo_state(first, second)
    assert at_once.forgets
    assert at_once.to_json()["exponent"] == "-inf"
    kept = echo_state(np.hstack([first, first]), np.hstack([first, first + 5.0]))
    assert not kept.forgets  # what was different stays so
    with pytest.raises(UserError, match="40 rows"):
        echo_state(first[:30], second[:30])


# ---- all of one recording --------------------------------------------------------------------------------------------


def linear_network(nodes: int, u: np.ndarray) -> np.ndarray:
    """Orthogonal W of radius 0.7, as a delay line seen through a mixing of its taps."""
    rng = np.random.default_rng(1)
    q, _ = np.linalg.qr(rng.standard_normal((nodes, nodes)))
    w_in, x = rng.standard_normal(nodes), np.zeros((u.size, nodes))
    for k in range(u.size):
        x[k] = 0.7 * q @ x[k - 1] + w_in * u[k]
    return x


def test_linear_systems_process_as_much_as_their_rank_and_nothing_but_linearly() -> None:
    u = uniform(20_000, 5)
    for x, nodes in ((delay_line(u, 8), 8), (linear_network(8, u), 8)):
        found = properties(x, u, delays=40, degree=2, rng=np.random.default_rng(1))
        assert found.capacity is not None
        assert found.capacity.rank == nodes
        assert found.capacity.by_degree[2] == 0.0
        assert abs(found.capacity.total - nodes) < 3 * found.capacity.standard_error + 0.05
        assert sum(found.capacity.by_delay.values()) == pytest.approx(found.capacity.total)


def test_one_recording_gives_all_that_it_can_and_says_what_it_cannot() -> None:
    net, u = drawn(20, spectral_radius=0.8, input_scaling=0.5), uniform(3_000, 8)
    rng = np.random.default_rng(9)
    runs = [net.transform(u[:, None], initial=rng.uniform(-1, 1, 20)) for _ in range(3)]
    runs = [run + 1e-3 * rng.standard_normal(run.shape) for run in runs]
    found = properties(runs[0], u, replicas=runs[1:], rng=rng)
    assert found.consistency is not None
    assert found.consistency.mean > 0.99
    assert found.echo_state is not None
    assert found.echo_state.forgets
    assert found.ranks is not None
    assert 5 < found.ranks.kernel <= 20
    assert found.ranks.null == 0.0
    assert found.capacity is not None
    # what is consistent bounds what can be computed
    assert found.capacity.total < found.consistency.capacity + 3 * found.capacity.standard_error
    assert found.input_memory < 2 * found.input_memory_null
    assert set(found.missing) == {"ranks.generalisation"}
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["nodes"] == 20
    alone = properties(runs[0], u, rng=np.random.default_rng(1))
    assert alone.consistency is alone.echo_state is alone.ranks is None
    assert all("again" in alone.missing[name] for name in ("consistency", "echo_state", "ranks"))
    again = properties(runs[0], u, rng=np.random.default_rng(1))
    assert alone.to_json() == again.to_json()


def test_noise_has_no_property_but_dimension() -> None:
    rng = np.random.default_rng(11)
    u = rng.choice([0.0, 1.0], 3_000)
    x, again = rng.standard_normal((2, 3_000, 10))
    found = properties(x, u, replicas=[again], rng=rng)
    assert found.capacity is not None
    assert found.fading_memory is not None
    assert found.consistency is not None
    assert found.echo_state is not None
    assert found.ranks is not None
    assert found.separation is not None
    assert found.dimension is not None
    assert found.capacity.total == found.fading_memory.total == 0.0
    assert found.fading_memory.falls_at == 1
    assert abs(found.consistency.mean) < 4 * found.consistency.null
    assert not found.echo_state.forgets
    assert found.ranks.kernel == 0
    assert found.separation.p_value > 0.01
    assert found.dimension.participation == pytest.approx(found.dimension.participation_null, rel=0.02)


def test_what_is_too_short_is_left_out_with_its_reason() -> None:
    u = uniform(70)
    found = properties(delay_line(u, 30), u, washout=40, delays=5, rng=np.random.default_rng(1))
    assert found.capacity is None
    assert "more rows than states" in found.missing["capacity"]
    assert found.separation is None
    assert "record more rows" in found.missing["separation"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"u": np.ones(5)}, "shape"),
        ({"states": np.full((200, 2), np.nan)}, "finite"),
        ({"washout": 200}, "washout"),
        ({"delays": 0}, "delays"),
        ({"replicas": [np.ones((9, 2))]}, "shape"),
    ],
)
def test_mistakes_are_named(change: dict[str, object], text: str) -> None:
    arguments: dict[str, object] = {"states": np.ones((200, 2)), "u": uniform(200), **change}
    with pytest.raises(UserError, match=text):
        properties(**arguments, rng=np.random.default_rng(1))  # type: ignore[arg-type]
