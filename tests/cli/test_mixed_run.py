"""Four emulated devices of four kinds at once: one command records them all into one run."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firmware_bridge.trace.reader import TraceReader
from tests.devices.conftest import needs_own_ports

SCALES = {"s9": "2^-25", "lv06": "2^-24", "lb-box": "2^-23"}
TICKET = 256
"""Difficulty of the run: about 10 shares/s of an S9, 40 of an LB-Box, 0.4 of an LV06."""


def ready_line(child: subprocess.Popen[str]) -> dict[str, Any]:
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line, child.communicate()[1]
    value: dict[str, Any] = json.loads(line)
    return value


def record(lab: Any, seconds: float, first: int) -> tuple[TraceReader, dict[str, Any]]:
    """Run bridge and devices; addresses count from 127.0.0.``first``."""
    addresses = {model: f"127.0.0.{first + n}" for n, model in enumerate(SCALES)}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with ExitStack() as stack:

        def start(*arguments: object) -> subprocess.Popen[str]:
            return stack.enter_context(lab.process(*arguments, "--json"))

        chain = start("emulate", "bm1366", "--count", 2, "--scale", "2^-24", "--fault", "pace=8")
        link = ready_line(chain)
        devices = []
        children = {}
        for model, address in addresses.items():
            ports = ("--http-port", 0, "--api-port", 0)
            pool = ("--pool", f"127.0.0.1:{port}", "--scale", SCALES[model])
            children[model] = start("emulate", model, "--bind", address, *pool, *ports, "--seed", first)
            devices += ["--device", ready_line(children[model])["url"]]
        bridge = start(
            "bridge", "--port", port, "--mode", "swh", "--difficulty", TICKET, "--record", "--seconds", seconds,
            "--serial", link["url"], "--device-period", 1, *devices,
        )  # fmt: skip
        ready_line(bridge)
        out, err = bridge.communicate(timeout=seconds + 120)
        assert bridge.returncode == 0, err
        end = json.loads(out)
        for child in (*children.values(), chain):
            child.send_signal(signal.SIGTERM)
            child.communicate(timeout=60)
    return TraceReader(f"sqlite:///{lab.folder / 'lab.db'}"), end


def check(lab: Any, reader: TraceReader, end: dict[str, Any], seconds: float) -> None:
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
        assert own.sum() >= seconds / 4
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
    needs_own_ports("127.0.0.61")
    reader, end = record(lab, 15, 61)
    check(lab, reader, end, 15)


@pytest.mark.slow
def test_four_kinds_of_devices_for_two_minutes(lab) -> None:
    needs_own_ports("127.0.0.71")
    reader, end = record(lab, 120, 71)
    check(lab, reader, end, 120)
