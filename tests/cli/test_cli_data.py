"""Import, export, replay, bundle, runs, stats and report on the recorded excerpt and an emulated run."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

COLUMNS = (
    "miner job_id extranonce2 ntime nonce version_bits difficulty valid reason "
    "kernel_ns monotonic_ns wall_ns interval_ns"
)


def test_import_prints_run_shares_valid_and_rejected_rows(lab, excerpt: Path) -> None:
    result = lab.json("import", excerpt)
    assert set(result) >= {"run", "shares", "valid", "rejected_rows"}
    assert (result["shares"], result["valid"], result["rejected_rows"]) == (300, 300, [])


def test_broken_row_is_named_with_its_line_and_the_rest_is_kept(lab, excerpt: Path) -> None:
    lines = excerpt.read_text().splitlines()
    lines[4] = lines[4].replace(",1d00ffff,", ",zz00ffff,")
    lines[9] = "hardly a row"
    broken = lab.folder / "broken.csv"
    broken.write_text("\n".join(lines) + "\n")
    result = lab.json("import", broken)
    assert result["shares"] == 298
    assert [row["line"] for row in result["rejected_rows"]] == [5, 10]
    told = lab("import", broken).stderr
    assert "broken.csv:5:" in told
    assert "broken.csv:10:" in told


def test_arrival_times_of_any_csv_are_marked_unverified(lab) -> None:
    rows = "\n".join(f"{i},{i * 0.31:.3f}" for i in range(1, 60))
    (lab.folder / "clicks.csv").write_text(f"number,time_s\n{rows}\n")
    result = lab.json("import", "clicks.csv", "--map", "timestamp=time_s")
    assert (result["shares"], result["valid"]) == (59, 0)
    (run,) = lab.json("runs")["runs"]
    assert run["unverified"]
    lab("import", "clicks.csv", "--map", "timestamp", code=2)
    assert "time_t" in lab("import", "clicks.csv", "--map", "timestamp=time_t", code=2).stderr
    assert "--map" in lab("import", "clicks.csv", code=2).stderr


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_export_has_its_columns_and_comes_back_without_loss(with_excerpt, form: str) -> None:
    lab = with_excerpt
    if form == "parquet":
        pytest.importorskip("pyarrow")
    result = lab.json("export", "latest", "--format", form, "--out", f"shares.{form}")
    assert result["shares"] == 300
    again = lab.json("import", f"shares.{form}")
    assert again["shares"] == 300
    first = lab.json("export", again["run"], "--format", "csv", "--out", "again.csv")
    assert first["format"] == "csv"
    if form == "csv":
        read = list(csv.DictReader((lab.folder / "shares.csv").open()))
        assert set(COLUMNS.split()) <= set(read[0])
        assert read[0]["nonce"] == "8b7746ab"
        assert (lab.folder / "shares.csv").read_bytes() == (lab.folder / "again.csv").read_bytes()


def test_bundle_comes_back_and_a_changed_one_is_refused(with_excerpt) -> None:
    lab = with_excerpt
    result = lab.json("bundle", "latest", "--out", "run.zip")
    assert result["shares"] == 300
    assert lab.json("import", "run.zip")["shares"] == 300
    changed = bytearray((lab.folder / "run.zip").read_bytes())
    changed[len(changed) // 2] ^= 0xFF
    (lab.folder / "changed.zip").write_bytes(changed)
    assert "changed.zip" in lab("import", "changed.zip", code=2).stderr


def test_replay_gives_the_same_events_at_any_speed(with_excerpt) -> None:
    lab = with_excerpt
    fast = lab.json("replay", "latest", "--speed", "max")
    paced = lab.json("replay", "latest", "--speed", "400")
    assert fast["digest"] == paced["digest"]
    assert (fast["shares"], fast["complete"]) == (300, True)
    assert paced["seconds"] > fast["seconds"]
    lines = lab("replay", "latest", "--speed", "max", "--events").stdout.splitlines()
    assert json.loads(lines[0])["nonce"] == "8b7746ab"
    for speed in ("0", "-1", "fast", "nan"):
        assert "--speed" in lab("replay", "latest", "--speed", speed, code=2).stderr


def test_runs_are_listed_tagged_annotated_merged_and_removed(with_excerpt, excerpt: Path) -> None:
    lab = with_excerpt
    first = lab.json("runs")["runs"][0]["run"]
    second = lab.json("import", excerpt)["run"]
    assert lab.json("runs", "tag", second, "cold", "s9")["tags"] == ["cold", "s9"]
    assert lab.json("runs", "tag", second, "cold", "--remove")["tags"] == ["s9"]
    assert lab.json("runs", "note", second, "after [bold]repasting")["notes"] == "after [bold]repasting"
    assert "[bold]repasting" in lab("runs").stdout
    merged = lab.json("runs", "merge", first, second)
    assert merged["shares"] == 600
    assert "--yes" in lab("runs", "rm", second, "--json", code=2).stderr
    lab("runs", "rm", second, "--yes")
    assert {run["run"] for run in lab.json("runs", "list")["runs"]} == {first, merged["run"]}
    assert second in lab("stats", second, code=2).stderr


def test_run_is_found_by_a_unique_prefix(with_excerpt) -> None:
    lab = with_excerpt
    name = lab.json("runs")["runs"][0]["run"]
    assert lab.json("replay", name[:6], "--speed", "max")["run"] == name


STREAM_KEYS = (
    "n mean_ms cv cv2 lv burstiness fano allan_factor_1s pe3 pe4 pe5 sampen ljung_box_20 ljung_box_20_p ks_exp "
    "ks_exp_p ad_exp ad_exp_p entropy_10ms oadev_16"
)
TOP_KEYS = (
    "shares unique duplicates jobs span_s min_difficulty pareto_ks pareto_alpha n_over_512 n_over_1024 clock_tick_ns "
    "scan hashrate verdict intervals first_share"
)

SCAN_KEYS = "chips cores counter_max slope_ms intercept_ms counter_ms r2 spearman_residual"


def test_stats_prints_every_key(emulated) -> None:
    stats = emulated.json("stats")
    assert set(TOP_KEYS.split()) <= set(stats)
    for stream in ("intervals", "first_share"):
        assert set(STREAM_KEYS.split()) <= set(stats[stream])
        assert set(stats[stream]["fano"]) == {"0.25", "1", "5"}
    assert set(SCAN_KEYS.split()) <= set(stats["scan"])
    assert set(stats["hashrate"]) >= {"capacity_ths", "naive_ths", "duty"}
    assert set(stats["verdict"]) >= {"code", "text", "null", "p_value", "explained_by", "detectable"}
    assert stats["verdict"]["code"] in ("consistent", "deviates", "cannot_tell")
    assert stats["shares"] == 700
    assert "700" in emulated("stats").stdout


def test_stats_of_the_recording(lab, traces: Path) -> None:
    """Values of the recording that were worked out independently."""
    imported = lab.json("import", traces / "s9_stratum_shares.csv")
    assert (imported["shares"], imported["valid"]) == (2588, 2588)
    stats = lab.json("stats", imported["run"])
    assert (stats["unique"], stats["duplicates"], stats["jobs"]) == (2546, 42, 2325)
    assert stats["span_s"] == pytest.approx(251.558534, abs=5e-7)
    assert stats["n_over_512"] == 1304
    intervals = stats["intervals"]
    assert intervals["mean_ms"] == pytest.approx(97.23948, abs=5e-6)
    assert intervals["cv"] == pytest.approx(0.826902, abs=5e-7)
    assert intervals["cv2"] == pytest.approx(0.840075, abs=5e-7)
    assert intervals["lv"] == pytest.approx(0.747451, abs=5e-7)
    assert intervals["ks_exp_p"] < 0.01
    verdict = stats["verdict"]
    assert verdict["code"] == "consistent"
    explained = " ".join(verdict["explained_by"])
    for mechanism in ("dead time", "late load", "scan"):
        assert mechanism in explained
    assert verdict["detectable"]
    assert "2587" in verdict["text"]
    assert lab.json("stats", imported["run"]) == stats, "equal seeds give equal numbers"


def test_short_run_cannot_tell(with_excerpt) -> None:
    stats = with_excerpt.json("stats")
    assert stats["verdict"]["code"] == "cannot_tell"
    assert "300" in stats["verdict"]["text"]
