"""``asiclab reservoir properties``: what it finds in emulated miners whose memory is known, draws and refuses."""

from __future__ import annotations

import re

import numpy as np
import pytest

from experiments.narma_plan import Plan
from experiments.narma_runs import emulation, steps_of_emulation
from firmware_bridge.emulator.effects import HEAT_TAU_MS

SHORT = ("--steps", 600, "--washout", 60, "--delays", 8, "--degree", 2)


def test_planted_heat_is_a_memory_that_replicas_agree_on_and_the_trace_gives_it_again(lab) -> None:
    planted = ("--plant", "thermal=1500", "--job-period", 2)
    found = lab.json("reservoir", "properties", *planted, "--seed", 3, "--plot", "p.svg", *SHORT)
    assert found["verdict"]["code"] == "memory"
    assert found["fading_memory"]["total"] > 0.2
    assert found["consistency"]["p_value"] <= 0.01
    assert found["ranks"]["kernel"] >= 1
    assert found["ranks"]["generalisation"] < found["ranks"]["kernel"]
    assert found["ranks"]["null"] < 0.5
    assert not any(name.startswith("ranks") for name in found["missing"])
    assert len(found["runs"]) == 3
    assert len(found["columns"]) == found["nodes"]
    assert found["missing_shares"] < 0.05
    shown = " ".join(
        re.findall(r"<text[^>]*>([^<]*)</text>", (lab.folder / "p.svg").read_text(encoding="utf-8"))
    )
    for value in (found["fading_memory"]["total"], found["capacity"]["total"], found["consistency"]["mean"]):
        assert f"{value:.3f}" in shown
    for column in found["columns"]:
        assert column in shown
    again = lab.json(
        "reservoir", "properties", *[a for run in found["runs"] for a in ("--trace", run)], *SHORT
    )
    for name in ("fading_memory", "capacity", "consistency", "echo_state", "separation", "dimension"):
        assert again[name] == found[name]
    assert "reservoir.ranks" in again["missing"]["ranks.generalisation"]
    alone = lab("reservoir", "properties", "--trace", found["runs"][0], *SHORT).stdout
    assert "needs replicas" in alone
    # what a run with a lead is scored on lies behind the washout
    split = ("--train", 400, "--test", 100, "--washout", 60, "--permutations", 20, "--lags", 0)
    assert lab.json("narma", "--trace", found["runs"][1], *split)["task"] == "narma10"


def test_a_miner_with_nothing_planted_remembers_nothing(lab) -> None:
    text = lab("reservoir", "properties", "--seed", 2, *SHORT).stdout
    assert "Verdict: no_memory." in text
    for row in (
        "kernel rank",
        "conditional Lyapunov exponent",
        "condition number",
        "information processing capacity",
    ):
        assert row in text
    found = lab.json("reservoir", "properties", "--trace", "latest", *SHORT)
    assert found["fading_memory"]["total"] == found["capacity"]["total"] == 0.0
    assert found["fading_memory"]["falls_at"] == 1


def test_lags_are_called_the_memory_of_the_host(lab) -> None:
    """A clock that prints the input is remembered only by who keeps the last rows."""
    base = ("--encode", "frequency", "--range", "100:700", "--replicas", 1, "--seed", 2, *SHORT)
    own = lab.json("reservoir", "properties", *base)
    runs = [part for run in own["runs"] for part in ("--trace", run)]
    host = lab.json("reservoir", "properties", *runs, "--lags", 2, *SHORT)
    assert own["capacity"]["by_delay"]["0"] > 0.3
    assert own["fading_memory"]["total"] < 0.25  # an interval begins with the last share of the step before
    assert own["fading_memory"]["falls_at"] <= 2
    assert host["fading_memory"]["total"] > own["fading_memory"]["total"] + 0.4
    assert host["fading_memory"]["falls_at"] >= 3
    assert "memory is the host" in host["verdict"]["text"]
    assert "memory is the host" not in own["verdict"]["text"]


@pytest.mark.costly
def test_the_memory_of_planted_heat_is_the_one_of_its_equation(lab) -> None:
    """``C(d) = w_d² var(s) / var(x)``, where heat found t after a job's sending is a low-pass of the jobs before it."""
    strength, period_s, steps = 400.0, 1.0, 6000
    found = lab.json(
        "reservoir", "properties", "--plant", f"thermal={strength:g}", "--observe", "response",
        "--job-period", period_s, "--steps", steps, "--delays", 6, "--degree", 1, "--replicas", 0, "--seed", 1,
    )  # fmt: skip
    plan = Plan(mode="monologue", period_s=period_s, train=steps, test=0, seed=1)
    quiet = steps_of_emulation(emulation(plan, "s9"))
    own_ms = quiet.response_ns[np.unique(quiet.step, return_index=True)[1]] / 1e6
    left = np.exp(-own_ms / HEAT_TAU_MS)
    keep = np.exp(-1e3 * period_s / HEAT_TAU_MS)
    # heat at a share = (1 - left) s_k + left (1 - keep) sum_d keep^(d-1) s_(k-d)
    weights = strength * left.mean() * (1.0 - keep) * keep ** np.arange(6)
    power = 1.0 / 12.0
    spread = np.var(left) * (
        power * (1.0 + (1.0 - keep) / (1.0 + keep))
    )  # of the mixture itself, about its mean
    fixed = (strength * (1.0 - left.mean())) ** 2 * power + (weights**2).sum() * power
    variance = np.var(own_ms) + fixed + strength**2 * spread  # the mean heat is the same whenever it is read
    expected = weights**2 * power / variance
    # three sampling errors of a squared correlation, and what the host's poll and late shares do to the equation
    error = 3.0 * np.sqrt(4.0 * expected * (1.0 - expected) ** 2 / steps) + 0.01
    assert (np.abs(np.array(found["fading_memory"]["capacity"][1:7]) - expected) < error).all()
    assert found["fading_memory"]["total"] == pytest.approx(expected.sum(), abs=0.05)
    assert expected.sum() > 0.2


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--trace", "latest", "--emulate", "s9"), "give one of them"),
        (("--trace", "latest", "--plant", "input=1"), "as it is"),
        (("--emulate", "lb-box"), "s9 and lv06"),
        (("--washout", 5), "at least 20"),
        (("--encode", "voltage"), "no limits are known"),
        (("--plot", "a.gif"), ".png"),
        (("--observe", "mood"), "no observation"),
    ],
)
def test_mistakes_are_named_with_what_to_do(lab, arguments: tuple[object, ...], why: str) -> None:
    result = lab("reservoir", "properties", *arguments, "--steps", 60, code=2)
    assert why in result.stderr
    assert "Traceback" not in result.stderr


def test_runs_with_other_inputs_are_no_replicas(lab) -> None:
    split = (
        "--train",
        400,
        "--test",
        200,
        "--washout",
        60,
        "--permutations",
        20,
        "--lags",
        0,
        "--mode",
        "monologue",
    )
    names = [lab.json("narma", "--seed", seed, *split)["run"] for seed in (1, 2)]
    result = lab("reservoir", "properties", "--trace", names[0], "--trace", names[1], *SHORT, code=2)
    assert "no replica" in result.stderr
