"""``asiclab narma`` and ``asiclab reservoir``: what they print, draw and refuse."""

from __future__ import annotations

import pytest

SHORT = ("--train", 600, "--test", 300, "--washout", 100, "--permutations", 39, "--lags", 2)
BASELINES = {
    "mean", "input_only", "delay_line_10", "delay_line_20", "delay_line_quadratic", "shuffled", "esn_100",
    "phase_randomised", "emulator_null", "other_run",
}  # fmt: skip


def test_narma_scores_an_emulated_miner_beside_its_baselines_and_the_trace_again(lab) -> None:
    result = lab.json("narma", "--mode", "monologue", "--plant", "thermal=300", "--seed", 4, *SHORT)
    assert set(result["baselines"]) >= BASELINES
    assert set(result["differences"]) == set(result["baselines"])
    for name in ("nrmse", "nrmse_ci", "gain_over_input_only", "gain_ci", "gain_p", "lambda", "verdict"):
        assert result[name] is not None
    assert result["metric"] == "nrmse_std"
    assert (result["n_train"], result["n_test"], result["washout"]) == (600, 300, 100)
    assert result["gain_over_input_only"] == pytest.approx(result["baselines"]["shuffled"] - result["nrmse"])
    again = lab.json("narma", "--trace", result["run"], *SHORT)
    assert again == result
    assert lab.json("reservoir", "evaluate", "latest", *SHORT) == result
    assert result["run"] in lab("runs", "list").stdout


def test_the_json_has_the_names_that_others_read(lab) -> None:
    """Of what was agreed on, with the types; more may stand beside it."""
    result = lab.json("narma", "--seed", 1, *SHORT)
    kinds: dict[str, type | tuple[type, ...]] = {
        "task": str, "nrmse": float, "nrmse_ci": list, "baselines": dict, "gain_over_input_only": float,
        "gain_ci": list, "gain_p": float, "verdict": dict, "n_train": int, "n_test": int, "washout": int,
        "lambda": float,
    }  # fmt: skip
    assert {name: isinstance(result[name], kind) for name, kind in kinds.items()} == dict.fromkeys(
        kinds, True
    )
    assert set(result["verdict"]) == {"code", "text"}
    assert {len(result["nrmse_ci"]), len(result["gain_ci"])} == {2}
    assert {type(value) for value in result["baselines"].values()} == {float}
    assert set(result["baselines"]) >= BASELINES
    assert result["caution"] is result["symbols"] is None


def test_symbols_of_a_task_are_counted_and_a_printing_carrier_is_called_one(lab) -> None:
    base = ("--task", "xor", "--encode", "duty", "--mode", "monologue", *SHORT)
    text = lab("narma", *base).stdout
    assert "Symbols read right by a logistic readout" in text
    assert "Caution: The duty prints the input" in text
    read = lab.json("narma", "--trace", "latest", *SHORT)["symbols"]
    assert read["delay_line_10_quadratic"] == 1.0
    assert 0.4 < read["most_frequent"] < 0.6


def test_narma_says_what_its_number_is_and_draws_it(lab) -> None:
    text = lab("narma", "--plot", "narma.png", *SHORT).stdout
    assert "NRMSE = RMSE / standard deviation of the target" in text
    assert "Gain over the input alone" in text
    assert "Verdict: " in text
    assert (lab.folder / "narma.png").stat().st_size > 20_000


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--mode", "chat"), "dialogue, monologue, constant"),
        (("--encode", "nonce"), "coinbase"),
        (("--emulate", "lb-box"), "s9 and lv06"),
        (("--trace", "latest", "--emulate", "s9"), "give one of them"),
        (("--trace", "latest", "--plant", "input=1"), "as it is"),
        (("--plant", "queue=5000", "--mode", "monologue"), "grows for ever"),
        (("--task", "chess"), "no task"),
        (("--mask", "binary"), "mls:V"),
        (("--encode", "frequency"), "--mode monologue"),
        (("--encode", "voltage", "--mode", "monologue"), "no limits are known"),
        (("--encode", "frequency", "--mode", "monologue", "--range", "90:500"), "hard limits 100"),
        (("--encode", "frequency", "--mode", "monologue", "--range", "fast"), "LOW:HIGH"),
        (("--range", "100:500"), "goes with --encode frequency"),
        (("--encode", "duty", "--mode", "monologue", "--mask", "mls:4"), "duty needs"),
        (("--observe", "mood"), "no observation"),
        (("--feedback", "1"), "feedback"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(lab, arguments: tuple[str, ...], why: str) -> None:
    result = lab("narma", *arguments, *SHORT, code=2)
    assert why in result.stderr
    assert "Traceback" not in result.stderr
