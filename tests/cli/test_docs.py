"""Every shell example of the documentation runs, and what it names exists."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
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
    "asiclab compare 3f2ac81d 9c41b07e": "compare --help",
    "asiclab compare 3f2ac81d 9c41b07e --out both.html --json": "compare --help",
    "asiclab proofs check": "proofs check --help",
    "asiclab proofs certify --correct 70 --trials 100 --baseline 1/2": "proofs certify --help",
    "asiclab vbm eta --out eta.html": "vbm eta --seconds 1 --out eta.html",
    "asiclab vbm ab --round-trip 50 --t-hash 200 --firmware waits --out waits.html": (
        "vbm ab --round-trip 10 --t-hash 20 --blocks 2 --block-seconds 0.5 --out waits.html"
    ),
    "asiclab vbm ab --round-trip 50 --t-hash 200 --firmware queues --out queues.html": "vbm ab --help",
    "asiclab vbm ab --round-trip 50 --t-hash 200": "vbm ab --help",
    "asiclab tpf frontier --hashes 1e7 --plot frontier.png": (
        "tpf frontier --hashes 6e3 --zero-bits 2 --plot frontier.png"
    ),
    "asiclab tpf frontier": "tpf frontier --hashes 6e3 --zero-bits 2",
    "asiclab puf evaluate --emulate s9 --devices 6 --repeats 3": "puf evaluate --help",
    "asiclab tpf filter --plant winning_jobs=0.5 --seed 1 --out kept-filter": (
        "tpf filter --plant winning_jobs=0.5 --seed 1 --out kept-filter --blocks 6 --block-seconds 9 "
        "--training-jobs 150"
    ),
    "asiclab tpf filter --seed 1": "tpf filter --help",
    "asiclab tpf filter --model kept-filter --seed 2": (
        "tpf filter --model kept-filter --seed 2 --blocks 6 --block-seconds 6 --training-jobs 150"
    ),
    "asiclab tpf signature": "tpf signature --hashes 3200 --zero-bits 3 --permutations 319",
    "asiclab narma --encode frequency --mode monologue --seed 1": (
        "narma --encode frequency --mode monologue --train 300 --test 150 --permutations 39 --lags 2"
    ),
    "asiclab narma --encode duty --mode monologue --seed 1": (
        "narma --encode duty --mode monologue --train 300 --test 150 --permutations 39 --lags 2"
    ),
    "asiclab reservoir properties --emulate s9 --plant thermal=300 --seed 1 --plot properties.png": (
        "reservoir properties --emulate s9 --plant thermal=300 --seed 1 --plot properties.png --steps 400"
    ),
    "asiclab reservoir properties --trace latest": "reservoir properties --trace latest --steps 400",
    "asiclab narma --emulate s9 --time wall --mode monologue --job-period 0.05 --plant queue=90 "
    "--physics hash_rate_ths=120": "narma --help",
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
    "asiclab run frequency-sweep --quick --trace latest",
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
    "asiclab tpf filter --device",
    "asiclab tpf filter --emulate s9 --time wall",
    "asiclab tpf filter --trace",
    "asiclab bridge --filter",
    "asiclab narma --device",
    "asiclab run poisson --device",
    "asiclab run frequency-sweep --device",
    "asiclab run voltage-sweep --device",
    "asiclab run regime-map --device",
    "asiclab run poisson --emulate s9 --time wall",
    "asiclab dashboard",
)
"""What waits for a miner or takes its ports: the command and its options have to exist."""


HELP: dict[tuple[str, ...], str] = {}
"""What a command says of itself, asked once."""


def named_options_exist(lab: Any, line: str) -> None:
    words = shlex.split(line)[1:]
    command = tuple(words[:2] if words[0] in ("devices", "mqtt", "sentinel", "tpf", "vbm") else words[:1])
    shown = HELP.get(command) or HELP.setdefault(command, lab(*command, "--help").stdout)
    assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--[a-z-]+", shown)), line


def shell_lines(page: Path) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


def runs_an_experiment(line: str) -> bool:
    """Whether the line runs here as it stands: with no device, and with no RUN of the reader's own."""
    elsewhere = re.search(r"--device |\bRUN\b", line) or line.startswith(NEEDS_A_DEVICE)
    return line.startswith("asiclab run ") and not elsewhere


def prepared(lab: Any, page: Path) -> None:
    """What pages take for granted: the excerpt, a table of times, and a newest run."""
    if all(line.startswith((*NOT_OURS, *NEEDS_A_DEVICE)) for line in shell_lines(page)):
        return
    (lab.folder / "tests" / "vectors").mkdir(parents=True)
    excerpt = PROJECT / "tests" / "vectors" / "s9_stratum_shares_300.csv"
    (lab.folder / "tests" / "vectors" / excerpt.name).write_bytes(excerpt.read_bytes())
    times = np.cumsum(np.random.default_rng(1).exponential(0.3, 50))
    (lab.folder / "clicks.csv").write_text("time_s\n" + "\n".join(f"{t:.6f}" for t in times) + "\n")
    if "lab.db" not in shell_lines(page)[0]:
        lab("import", excerpt)  # pages speak of the newest run as if there were one
    if any(map(runs_an_experiment, shell_lines(page))):
        lab("run", "share-rate", "--size", "fast", "--jobs", "1")  # and of findings: one that takes a second


FIRST_PAGES = ("README.md", "docs/getting-started.md", "docs/experiments.md")
"""What a newcomer types; these examples run among the short tests, those of all other pages among the slow ones."""


@pytest.mark.costly
@pytest.mark.parametrize("page", FIRST_PAGES)
def test_examples_of_the_first_pages_run(lab, page: str) -> None:
    examples_run(lab, PROJECT / page)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [p for p in PAGES if shell_lines(p) and str(p.relative_to(PROJECT)) not in FIRST_PAGES],
    ids=lambda p: p.stem,
)
def test_examples_run(lab, page: Path) -> None:
    examples_run(lab, page)


def test_examples_are_of_this_lab() -> None:
    for line in (line for page in PAGES for line in shell_lines(page)):
        assert line.startswith(("asiclab ", *NOT_OURS)), line


def examples_run(lab: Any, page: Path) -> None:
    prepared(lab, page)
    for line in shell_lines(page):
        if line.startswith(NOT_OURS):
            continue
        if line.startswith((*NEEDS_A_DEVICE, "asiclab run ")):
            named_options_exist(lab, line)
            continue
        shorter = SHORTER.get(line, line.removeprefix("asiclab ")).replace("--shares 2588", "--shares 500")
        lab(*shlex.split(shorter))


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [p for p in PAGES if any(map(runs_an_experiment, shell_lines(p)))], ids=lambda p: p.stem
)
def test_examples_of_experiments_run(lab, page: Path) -> None:
    prepared(lab, page)
    for line in filter(runs_an_experiment, shell_lines(page)):
        lab(*shlex.split(line.removeprefix("asiclab ").replace("--quick", "--size fast --jobs 1")))


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
    assert {"demo", "test", "test-slow", "check", "study", "bench", "docs"} <= named
    assert named <= targets


def _code(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^```.*?^```|`[^`\n]+`", text, flags=re.M | re.S))


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


@cache
def anchors(page: Path) -> set[str]:
    """Those that GitHub gives the headings of a page."""
    found: list[str] = []
    for heading in re.findall(r"^#+ +(.+)$", without_code(page.read_text(encoding="utf-8")), flags=re.M):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        times = found.count(slug)
        found += [slug, f"{slug}-{times}"] if times else [slug]
    return set(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(PROJECT)))
def test_links_within_the_documentation_lead_somewhere(page: Path) -> None:
    text = without_code(page.read_text(encoding="utf-8"))
    for target, _, anchor in (link.partition("#") for link in re.findall(r"\]\(([^)\s]+)\)", text)):
        if target.startswith(("http:", "https:")):
            continue
        there = page.parent / target if target else page
        assert there.exists(), f"{page.name}: {target}"
        if anchor:
            assert there.suffix == ".md", f"{page.name}: {target}#{anchor}"
            assert anchor in anchors(there), f"{page.name}: {target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(PROJECT)))
def test_pages_show_alike_on_github_and_on_the_site(page: Path) -> None:
    """The site's Markdown begins a list or a table only after an empty line, and nests by four spaces."""
    before = ""
    for line in without_code(page.read_text(encoding="utf-8")).splitlines():
        begins = re.match(r"([-*+]|\d+\.) |\|", line)
        if begins and before.strip() and not before.startswith((" ", "#")):
            assert re.match(r"([-*+]|\d+\.) |\|", before), f"{page.name}: an empty line before {line!r}"
        assert not re.match(r" {1,3}([-*+]|\d+\.) ", line), f"{page.name}: four spaces before {line!r}"
        before = line


def test_every_page_has_its_place_in_the_site() -> None:
    """What `make docs` holds as well, for who has not installed it."""
    nav = (PROJECT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    named = set(re.findall(r": (\S+\.md)$", nav, flags=re.M))
    docs = PROJECT / "docs"
    wanted = {page.relative_to(docs).as_posix() for page in PAGES if page.is_relative_to(docs)}
    for entry in (entry for entry in named if entry.endswith("*.md")):
        wanted -= {page.relative_to(docs).as_posix() for page in docs.glob(entry)}
    assert wanted == {entry for entry in named if (docs / entry).exists()}
    assert named - wanted == {"contributing.md", "changelog.md"} | {n for n in named if n.endswith("*.md")}


def _said(tree: ast.AST) -> Iterator[str]:
    """Codes that a module gives to a verdict, or to a dictionary or a variable called code."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="Verdict" | "LeakageVerdict"), args=[first, *_]):
                yield from _texts(first)
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "code":
                        yield from _texts(value)
            case ast.Assign(targets=[ast.Name(id="code")], value=value):
                yield from _texts(value)
            case ast.Assign(
                targets=[ast.Tuple(elts=[ast.Name(id="code"), *_])], value=ast.Tuple(elts=[value, *_])
            ):
                yield from _texts(value)


def _texts(node: ast.AST) -> Iterator[str]:
    branches = [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]
    yield from (b.value for b in branches if isinstance(b, ast.Constant) and isinstance(b.value, str))


def test_every_word_of_a_verdict_is_explained() -> None:
    from experiments.experiment import CODES
    from firmware_bridge.timing.verdict import CANNOT_TELL, CONSISTENT, DEVIATES

    said = {CONSISTENT, DEVIATES, CANNOT_TELL, *CODES}
    for package in ("firmware_bridge", "reservoir", "tpf", "experiments"):
        for module in (PROJECT / package).rglob("*.py"):
            text = module.read_text(encoding="utf-8")
            if "Verdict(" in text or re.search(r"\bcode\b", text):
                said |= set(_said(ast.parse(text)))
    assert {"gain", "no_gain", "saves", "loss", "memory", "nothing_before_exact"} <= said
    page = (PROJECT / "docs" / "verdicts.md").read_text(encoding="utf-8")
    assert {word for word in said if f"`{word}`" not in page} == set()


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
    for command in ("make test", "make test-slow", "make check", "make docs"):
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
