"""Four emulated devices of four kinds at once: one command records them all into one run."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firmware_bridge.trace.reader import TraceReader
from tests.devices.conftest import needs_own_ports
from tests.lab_process import first_line

SCALES = {"s9": "2^-25", "lv06": "2^-24", "lb-box": "2^-23"}
TICKET = 256
"""Difficulty of the run: about 10 shares/s of an S9, 40 of an LB-Box, 0.4 of an LV06."""
READINGS = 4


def record(lab: Any, seconds: float, first: int) -> tuple[TraceReader, dict[str, Any]]:
    """Run bridge and devices, at least so long and until each has shares; addresses count from 127.0.0.``first``."""
    urls = {
        "s9": f"s9://127.0.0.{first}:14028?http=18080",
        "lv06": f"lv06://127.0.0.{first + 1}:18080",
        "lb-box": f"lb-box://127.0.0.{first + 2}:18080?api=14028",
    }
    with ExitStack() as stack:

        def start(*arguments: object) -> subprocess.Popen[str]:
            return stack.enter_context(lab.process(*arguments, "--json"))

        chain = start("emulate", "bm1366", "--count", 2, "--scale", "2^-24", "--fault", "pace=8")
        link = first_line(chain)
        bridge = start(
            "bridge", "--port", 0, "--mode", "swh", "--difficulty", TICKET, "--record", "--serial", link["url"],
            "--device-period", 1, *(word for url in urls.values() for word in ("--device", url)),
        )  # fmt: skip
        ready = first_line(bridge)
        children = [chain]
        for model, url in urls.items():
            place = url.partition("://")[2].partition(":")[0]
            ports = ("--bind", place, "--http-port", 18080, "--api-port", 14028)
            pool = ("--pool", f"{ready['host']}:{ready['port']}", "--scale", SCALES[model])
            children.append(start("emulate", model, *ports, *pool, "--seed", first))
        reader = TraceReader(f"sqlite:///{lab.folder / 'lab.db'}")
        begin = time.monotonic()
        while time.monotonic() - begin < 150:
            time.sleep(1)
            if time.monotonic() - begin >= seconds and enough(reader):
                break
        bridge.send_signal(signal.SIGTERM)
        out, err = bridge.communicate(timeout=120)
        assert bridge.returncode == 0, err
        end = json.loads(out)
        for child in children:
            child.send_signal(signal.SIGTERM)
            child.communicate(timeout=60)
    return reader, end


def enough(reader: TraceReader) -> bool:
    """Whether four miners have what is checked below."""
    miners = {row["miner"]: row["model"] for row in reader.dicts(1, "miners")}
    shares = reader.columns(1, "shares", ["miner"]).values["miner"].tolist()
    readings = reader.columns(1, "telemetry", ["miner"]).values["miner"].tolist()
    return len(miners) == 4 and all(
        shares.count(number) >= (1 if model == "lv06" else 8)
        and (model == "bm1366" or readings.count(number) >= READINGS)
        for number, model in miners.items()
    )


def check(lab: Any, reader: TraceReader, end: dict[str, Any]) -> None:
    miners = {row["model"]: row for row in reader.dicts(1, "miners")}
    assert set(miners) == {"s9", "lv06", "lb-box", "bm1366"}
    assert end["miners"] == 4
    shares = reader.columns(1, "shares", ["miner", "valid", "interval_ns", "difficulty"])
    numbers, valid = shares.values["miner"], shares.values["valid"].astype(bool)
    invalid = {row.reason for row in reader.share_rows(1) if not row.valid}
    assert invalid <= {"duplicate"}  # an S9 that loads its previous job again sends shares twice
    stats = lab.json("stats", "latest")
    for model, row in miners.items():
        own = (numbers == row["miner"]) & valid
        assert own.sum() >= (1 if model == "lv06" else 5), model
        assert (shares.values["difficulty"][own] >= (row["floor"] or TICKET) * 0xFFFF / 0x10000).all()
        assert stats["miners"][str(row["miner"])]["shares"] == int((numbers == row["miner"]).sum()), model
    telemetry = reader.columns(1, "telemetry", ["miner", "hash_rate_ghs", "temperature_c", "frequency_mhz"])
    nominal = {"s9": 13_600.0, "lv06": 433.6, "lb-box": 175.0}
    for model, ghs in nominal.items():
        own = telemetry.values["miner"] == miners[model]["miner"]
        assert own.sum() >= READINGS
        assert np.nanmean(telemetry.values["hash_rate_ghs"][own]) == pytest.approx(ghs, rel=0.05)
        assert np.nanmin(telemetry.values["temperature_c"][own]) > 30
    own = telemetry.values["miner"] == miners["bm1366"]["miner"]
    assert telemetry.values["frequency_mhz"][own][-1] == 485.0
    with sqlite3.connect(Path(lab.folder) / "lab.db") as database:
        links = {
            row[0].partition("://")[0] for row in database.execute("SELECT DISTINCT link FROM recorded_bytes")
        }
    assert links == {"stratum", "serial", "http", "cgminer"}


@pytest.mark.costly
@pytest.mark.xdist_group("timing")
def test_four_kinds_of_devices_in_one_run(lab) -> None:
    needs_own_ports("127.0.0.61", 14028, 18080)
    reader, end = record(lab, 10, 61)
    check(lab, reader, end)


@pytest.mark.slow
def test_four_kinds_of_devices_for_two_minutes(lab) -> None:
    needs_own_ports("127.0.0.71", 14028, 18080)
    reader, end = record(lab, 120, 71)
    check(lab, reader, end)
