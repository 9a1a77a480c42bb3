"""What MkDocs does not do by itself for this site: whole folders in the navigation, pages that lie elsewhere, the API.

A hook of ``mkdocs.yml``. Nothing that it makes is written into ``docs/``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

PROJECT = Path(__file__).resolve().parent.parent
PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Files of the project that are pages of the site as well."""
HOME = {"README.md": "index.md"}
PACKAGES = ("firmware_bridge", "reservoir", "tpf", "experiments")
NOT_PUBLIC = ("experiments.cli", "firmware_bridge.trace.migrations")
"""Documented by ``--help``; read by alembic alone."""
EXTERNAL = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^\"'> ]+"
    r"|<link\b[^>]*\brel=[\"']?(?:stylesheet|preload|icon|preconnect)\b[^>]*\bhref=[\"']?(?:https?:)?//[^\"'> ]+"
)
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)")


def rooms() -> dict[str, list[str]]:
    """Packages that hold modules, with the public modules of each; the page of a package has its own modules only."""
    found: dict[str, list[str]] = {}
    for file in sorted(file for package in PACKAGES for file in (PROJECT / package).rglob("*.py")):
        parts = file.relative_to(PROJECT).with_suffix("").parts
        name = ".".join(parts)
        if not name.startswith(NOT_PUBLIC) and not any(part.startswith("_") for part in parts):
            found.setdefault(".".join(parts[:-1]), []).append(name)
    return dict(sorted(found.items()))


def api_page(room: str, modules: list[str]) -> str:
    """Markdown of a room's page."""
    options = {"members": False, "show_root_heading": False, "show_root_toc_entry": False}
    own = "\n".join(
        [f"::: {room}", "    options:", *(f"      {k}: {str(v).lower()}" for k, v in options.items())]
    )
    parts = [f"# {room}", own, *(f"::: {module}" for module in modules)]
    return "\n\n".join(parts) + "\n"


def from_root(text: str) -> str:
    """Links of a file that lies in the project's root, as they are for a page in ``docs/``."""
    return LINK.sub(lambda m: m[1].removeprefix("docs/") if m[1].startswith("docs/") else f"../{m[1]}", text)


def _pages_of(folder: str) -> Iterator[dict[str, str] | str]:
    """The pages of a folder, its README first: what follows is called as the experiment, or by its own heading."""
    names = sorted(
        (p.name for p in (PROJECT / "docs" / folder).glob("*.md")), key=lambda n: (n != "README.md", n)
    )
    for name in names:
        path = f"{folder}/{name}"
        yield {name.removesuffix(".md"): path} if folder == "experiments" else path


def _expanded(nav: Any) -> Any:
    if isinstance(nav, list):
        return [_expanded(entry) for entry in nav]
    if isinstance(nav, dict):
        return {title: _expanded(entry) for title, entry in nav.items()}
    if nav == "api/*.md":
        return ["api/index.md", *({room: f"api/{room}.md"} for room in rooms())]
    return list(_pages_of(nav.removesuffix("/*.md"))) if nav.endswith("/*.md") else nav


def on_config(config: Any) -> Any:
    """Put whole folders into the navigation."""
    config.nav = _expanded(config.nav)
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add what is no file in ``docs/``."""
    for source, target in PAGES.items():
        text = from_root((PROJECT / source).read_text(encoding="utf-8"))
        files.append(File.generated(config, target, content=text))
    made = rooms()
    for room, modules in made.items():
        files.append(File.generated(config, f"api/{room}.md", content=api_page(room, modules)))
    files.append(File.generated(config, "api/index.md", content=_index(made)))
    return files


def _index(made: dict[str, list[str]]) -> str:
    lines = [
        "# API",
        "Made of the docstrings: the public names of each package. Imports go one way, from `experiments` to `tpf` and "
        "`reservoir`, from these to `firmware_bridge`. Times are integer nanoseconds, units stand in the names, and "
        "what is not known is `None`.",
        "| package | what | modules |\n|---|---|---|",
    ]
    rows = "\n".join(
        f"| [`{room}`]({room}.md) | {_first_line(room)} | {len(modules)} |" for room, modules in made.items()
    )
    return "\n\n".join(lines) + "\n" + rows + "\n"


def _first_line(package: str) -> str:
    tree = ast.parse((PROJECT / package.replace(".", "/") / "__init__.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead links that leave ``docs/`` to where the site has what they name; what it has not, MkDocs reports."""
    here = PurePosixPath(page.file.src_uri).parent

    def led(match: re.Match[str]) -> str:
        target = match[1]
        outside = _outside(here, target)
        if outside is None:
            return target
        known = {**PAGES, **HOME}.get(outside)
        module = outside.removesuffix("/__init__.py").removesuffix(".py").rstrip("/").replace("/", ".")
        if known is None and outside.endswith(".py"):
            room = module if module in rooms() else module.rpartition(".")[0]
            known = f"api/{room}.md#{module}" if room in rooms() else None
        elif known is None and module in rooms():
            known = f"api/{module}.md"
        return target if known is None else "../" * len(here.parts) + known

    return LINK.sub(led, markdown)


def _outside(here: PurePosixPath, target: str) -> str | None:
    """Path from the project's root of what lies outside of ``docs/``."""
    parts: list[str] = ["docs", *here.parts]
    for part in PurePosixPath(target).parts:
        if part == "..":
            if not parts:
                return None
            parts.pop()
        else:
            parts.append(part)
    return None if parts[:1] == ["docs"] else "/".join(parts)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Refuse a page that would load something from elsewhere when it is read."""
    if (found := EXTERNAL.search(output)) is not None:
        raise PluginError(f"{page.file.src_uri} loads from elsewhere: {found[0]}")
    return output
