"""The pages on attaching a miner: their limits are those in force, and their steps lead to a recorded share."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.limit_tables import BLOCK, PAGES, written
from tests.cli.test_docs import shell_lines
from tests.devices.conftest import emulated
from tests.lab_process import started_beside

WAIT_S = 240
ADDRESSES = {"s9": "s9://10.0.0.5", "lv06": "lv06://10.0.0.7", "lb-box": "lb-box://10.0.0.8"}
SECTIONS = ("What is needed", "Wiring", "To the first recorded share", "What to check", "What goes wrong",
            "Limits in force", "Safety", "Putting it back", "Unconfirmed")  # fmt: skip


@pytest.mark.parametrize("model", PAGES)
def test_limits_on_a_page_are_those_in_force(model: str) -> None:
    text = PAGES[model].read_text(encoding="utf-8")
    assert len(BLOCK.findall(text)) == 1
    assert f"limits of {model}," in text
    assert text == written(model, text), "make it anew: python -m tests.cli.limit_tables"


@pytest.mark.parametrize("model", PAGES)
def test_every_page_says_the_same_kinds_of_things(model: str) -> None:
    headings = [
        line.removeprefix("## ") for line in PAGES[model].read_text().splitlines() if line.startswith("## ")
    ]
    assert [h for h in headings if h in SECTIONS] == list(SECTIONS)


class Walk:
    """Commands of a page, each in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        return await started_beside(self.folder, *words)

    async def run(self, *words: str) -> tuple[int, list[dict[str, Any]]]:
        child = await self.start(*words)
        out, err = await child.communicate()
        assert b"Traceback" not in err, err.decode()
        assert child.returncode is not None, words
        return child.returncode, [json.loads(line) for line in out.splitlines()]

    @contextlib.asynccontextmanager
    async def running(self, *words: str) -> AsyncIterator[dict[str, Any]]:
        """A command that goes on: its first line; its last one must not be an error."""
        child = await self.start(*words)
        assert child.stdout is not None
        try:
            line = await child.stdout.readline()
            assert line, (await child.communicate())[1].decode()
            yield json.loads(line)
        finally:
            if child.returncode is None:
                child.terminate()
            await child.communicate()


def steps(model: str, *replacements: tuple[str, str]) -> list[list[str]]:
    """The command lines of a page, with what stands for a device replaced."""
    lines = []
    for line in shell_lines(PAGES[model]):
        for old, new in replacements:
            line = line.replace(old, new)
        lines.append(shlex.split(line)[1:])
    return lines


def with_option(words: list[str], option: str, value: str) -> list[str]:
    given = list(words)
    if option in given:
        at = given.index(option)
        del given[at : at + 2]
    return [*given, option, value]


async def shares_of(walk: Walk) -> int:
    _, objects = await walk.run("runs")
    rows = [row for found in objects for row in found.get("runs", [found])]
    return max((int(row.get("shares") or 0) for row in rows), default=0)


async def until_a_share_is_there(walk: Walk) -> None:
    while await shares_of(walk) == 0:  # each look is a process of a second
        pass


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(model, marks=pytest.mark.costly if model == "lv06" else pytest.mark.slow)
        for model in ADDRESSES
    ],
)
async def test_the_steps_of_a_page_lead_to_a_recorded_share(model: str, tmp_path: Path) -> None:
    walk = Walk(tmp_path)
    async with asyncio.timeout(WAIT_S), emulated(model) as (_, ready):
        todo = steps(model, (ADDRESSES[model], ready["url"]))
        by_name = {tuple(words[:2]): words for words in todo}
        code, (shown,) = await walk.run(*by_name["devices", "show"])
        assert code == 0
        assert shown["telemetry"]["pools"]  # what the page says to write down
        code, (report,) = await walk.run(*by_name["devices", "test"])
        assert report["counts"]["confirmed"] > 0
        bridge = next(words for words in todo if words[0] == "bridge")
        bridge = with_option(with_option(bridge, "--host", "127.0.0.1"), "--port", "0")
        async with walk.running(*bridge) as listening:
            words = with_option(by_name["devices", "set"], "--pool", f"127.0.0.1:{listening['port']}")
            code, (answer,) = await walk.run(*words)
            assert code == 0
            assert answer["pool"].endswith(str(listening["port"]))
            await until_a_share_is_there(walk)
        code, _ = await walk.run(*by_name["devices", "restore"])
        assert code == 0


@pytest.mark.slow
async def test_the_steps_of_the_page_on_a_chain_lead_to_a_recorded_share(tmp_path: Path) -> None:
    walk = Walk(tmp_path)
    async with asyncio.timeout(WAIT_S):
        emulate = ("emulate", "bm1366", "--count", "1", "--scale", "2^-24")
        async with walk.running(*emulate) as chain:
            path = chain["url"].removeprefix("bm1366://")
            todo = steps("bm1366", ("/dev/ttyUSB0", path))
            code, (shown,) = await walk.run(*next(w for w in todo if w[:2] == ["devices", "show"]))
            assert code == 0
            assert shown["identity"]["chips"] == 1
            fast = [words for words in todo if words[0] == "bridge"][-1]
            assert path in fast
            async with walk.running(*(chain["url"] if w == path else w for w in fast), "--port", "0"):
                await until_a_share_is_there(walk)
