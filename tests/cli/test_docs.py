"""Every shell example of the documentation runs, and what it names exists."""

from __future__ import annotations

import re
import runpy
import shlex
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import config as lab_config
from experiments.cli.command import _registry

PROJECT = Path(__file__).resolve().parents[2]
PAGES = sorted([PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *(PROJECT / "docs").rglob("*.md")])

SHORTER = {
    # what waits for a miner, runs for minutes, or is done by another test at full length
    "asiclab bridge --host 0.0.0.0 --port 3333 --difficulty 256 --mode swh": "bridge --port 0 --seconds 0.2",
    "asiclab bridge --host 0.0.0.0 --mode swh --difficulty 256 --shares 2500": "emulate s9 --shares 500",
    "asiclab bridge --port 0 --mode swh --difficulty 256 --seconds 2 --json": "bridge --port 0 --seconds 0.2 --json",
    "asiclab emulate s9 --pool 127.0.0.1:3333 --seconds 60": "emulate --help",
    "asiclab bridge --port 3333 --difficulty 256 --db sqlite:///pool.db --seconds 60": "bridge --port 0 --seconds 0.2",
    "asiclab proxy --upstream 127.0.0.1:3333 --seconds 60": "proxy --upstream 127.0.0.1:1 --port 0 --seconds 0.2",
    "asiclab emulate s9 --pool 127.0.0.1:3334 --scale 2^-26 --seconds 60": "emulate --help",
    "asiclab demo --out demo-out": "demo --help",
    "asiclab vbm eta --out eta.html": "vbm eta --seconds 1 --out eta.html",
    "asiclab vbm ab --round-trip 50 --t-hash 200 --firmware waits --out waits.html": (
        "vbm ab --round-trip 10 --t-hash 20 --blocks 2 --block-seconds 0.5 --out waits.html"
    ),
    "asiclab vbm ab --round-trip 50 --t-hash 200 --firmware queues --out queues.html": "vbm ab --help",
    "asiclab vbm ab --round-trip 50 --t-hash 200": "vbm ab --help",
    "asiclab sentinel rehearse --model lv06 --out rehearsal": (
        "sentinel rehearse --model lv06 --fault fan-failed --hours 0.5 --out rehearsal"
    ),
}
NOT_OURS = ("python3 -m venv", ".venv/bin/pip", ". .venv/bin/activate", "make ")


NEEDS_A_DEVICE = (
    "asiclab devices ",
    "asiclab sentinel watch",
    "asiclab sentinel hold",
    "asiclab emulate bm1366",
    "asiclab emulate lb-box",
    "asiclab emulate lv06 --",
    "asiclab emulate s9 --bind",
    "asiclab bridge --serial",
    "asiclab bridge --device",
    "asiclab bridge --record",
    "asiclab bridge --mqtt",
    "asiclab broker",
    "asiclab mqtt ",
    "asiclab proxy --host",
    "asiclab proxy --upstream stratum",
    "asiclab vbm ab --device",
)
"""What waits for a miner or takes its ports: the command and its options have to exist."""


def named_options_exist(lab: Any, line: str) -> None:
    words = shlex.split(line)[1:]
    command = words[:2] if words[0] in ("devices", "mqtt", "sentinel", "vbm") else words[:1]
    shown = lab(*command, "--help").stdout
    assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--[a-z-]+", shown)), line


def shell_lines(page: Path) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


@pytest.mark.costly
@pytest.mark.parametrize("page", [p for p in PAGES if shell_lines(p)], ids=lambda p: p.stem)
def test_examples_run(lab, page: Path) -> None:
    (lab.folder / "tests" / "vectors").mkdir(parents=True)
    excerpt = PROJECT / "tests" / "vectors" / "s9_stratum_shares_300.csv"
    (lab.folder / "tests" / "vectors" / excerpt.name).write_bytes(excerpt.read_bytes())
    times = np.cumsum(np.random.default_rng(1).exponential(0.3, 50))
    (lab.folder / "clicks.csv").write_text("time_s\n" + "\n".join(f"{t:.6f}" for t in times) + "\n")
    if "lab.db" not in shell_lines(page)[0]:
        lab("import", excerpt)  # pages speak of the newest run as if there were one
    for line in shell_lines(page):
        if line.startswith(NOT_OURS):
            continue
        if line.startswith(NEEDS_A_DEVICE):
            named_options_exist(lab, line)
            continue
        words = shlex.split(
            SHORTER.get(line, line.removeprefix("asiclab ")).replace("--shares 2588", "--shares 500")
        )
        assert line.startswith("asiclab "), line
        lab(*words)


def test_python_examples_run(with_excerpt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(with_excerpt.folder)
    blocks = [
        (p, b) for p in PAGES for b in re.findall(r"^```python\n(.*?)^```", p.read_text(), flags=re.M | re.S)
    ]
    assert blocks
    for page, block in blocks:
        exec(compile(block, page.name, "exec"), {})


def test_make_targets_of_the_documentation_exist() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.M))
    named = {t for page in PAGES for t in re.findall(r"`?\bmake ([a-z]+(?:-[a-z]+)*)\b`?", _code(page))}
    assert {"demo", "test", "test-slow", "check", "study", "bench"} <= named
    assert named <= targets


def _code(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^```.*?^```|`[^`\n]+`", text, flags=re.M | re.S))


def test_links_within_the_documentation_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not target.startswith(("http://", "https://")):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_lab_toml_of_the_documentation_is_valid(tmp_path: Path) -> None:
    from typer.main import get_command

    from experiments.cli import app

    (text,) = re.findall(
        r"^```toml\n(.*?)^```", (PROJECT / "docs" / "getting-started.md").read_text(), flags=re.M | re.S
    )
    file = tmp_path / "lab.toml"
    file.write_text(text)
    lab_config.check(lab_config.load(file), _registry(get_command(app)))
    assert tomllib.loads(text)["bridge"]["difficulty"] == 512


def test_continuous_integration_runs_what_the_readme_says() -> None:
    script = (PROJECT / ".ci" / "run").read_text()
    assert script.index("make test PYTHON") < script.index("make test-slow PYTHON")
    workflow = (PROJECT / ".github" / "workflows" / "ci.yml").read_text()
    for command in ("make test", "make test-slow", "make check"):
        assert command in workflow


def test_excerpt_is_the_head_of_the_recording(excerpt: Path, traces: Path) -> None:
    head = (traces / "s9_stratum_shares.csv").read_bytes().splitlines(keepends=True)[:301]
    assert excerpt.read_bytes() == b"".join(head)


def test_newest_pip_is_found_on_an_index_page() -> None:
    """`make` puts pip into .venv itself where Debian's Python came without ensurepip."""
    found: dict[str, Any] = runpy.run_path(str(PROJECT / ".ci" / "get_pip.py"))
    digest = "ab" * 32
    page = (
        '<a href="../../f/pip-9.0.3-py3-none-any.whl">x</a>'
        f'<a href="../../f/pip-24.10-py3-none-any.whl#sha256={digest}">x</a>'
        '<a href="../../f/pip-24.9.1-py3-none-any.whl">x</a><a href="../../f/pip-25.0b1-py3-none-any.whl">x</a>'
    )
    assert found["newest"](page) == ("../../f/pip-24.10-py3-none-any.whl", digest)
    with pytest.raises(SystemExit, match="no wheel"):
        found["newest"]("<html></html>")
