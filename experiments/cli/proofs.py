"""``asiclab proofs``: the theorems that the verdicts rest on, checked by Lean on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.command import EXIT_CHECK_FAILED, LabCommand, lab_group
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, Seed
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.proofs.check import Options
    from experiments.proofs.findings import CheckResult
    from experiments.proofs.manifest import Manifest

proofs = lab_group("proofs", "The theorems that the verdicts rest on, checked by Lean.")

Folder = Annotated[
    Path | None, typer.Argument(metavar="DIR", help="Lean project; by default the one of the lab.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Check everything anew, whatever is known already.")]
Timeout = Annotated[float, typer.Option("--timeout", min=1.0, metavar="S", help="How long Lean may take.")]
TIMEOUT_S = 1500.0


def check(
    folder: Folder = None,
    fresh: Fresh = False,
    write_manifest: Annotated[
        bool,
        typer.Option(
            "--write-manifest",
            help="Write statements.json anew, if nothing else is wrong; review its changes.",
        ),
    ] = False,
    timeout: Timeout = TIMEOUT_S,
    json: Json = False,
    config: Config = None,
) -> None:
    """Let Lean check every proof and hold every statement against the agreed one.

    Exit code 1 where anything is wrong or no Lean can be had. The first run fetches a WebAssembly build of Lean
    (180 MB) unless Lean itself is installed; needs 4 GB of memory.
    """
    from experiments.cli import output
    from experiments.proofs.check import Options

    result = _checked(
        _folder(folder), Options(fresh=fresh, write_manifest=write_manifest, timeout_s=timeout), json
    )
    if json:
        output.emit(result)
    else:
        _print(result)
    if not result.ok:
        raise typer.Exit(EXIT_CHECK_FAILED)


def list_theorems(folder: Folder = None, json: Json = False, config: Config = None) -> None:
    """The theorems that were agreed on in statements.json, without starting Lean."""
    from experiments.cli import output

    for name, row in _agreed(folder).theorems.items():
        if json:
            output.emit({key: row[key] for key in ("name", "module", "statement", "axioms", "doc")})
        else:
            typer.echo(f"{name:<52} {(row['doc'] or '').split('. ')[0].replace(chr(10), ' ')[:100]}".rstrip())


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of a theorem; its last part is enough.")],
    folder: Folder = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """One theorem: what it says, in words and in Lean, and what it rests on."""
    from experiments.cli import output

    rows = _agreed(folder).theorems
    found = [row for full, row in rows.items() if full == name or full.endswith(f".{name}")]
    if not found:
        raise UserError(f"no theorem is called {name!r}; see asiclab proofs list")
    for row in found:
        if json:
            output.emit(row)
            continue
        axioms = ", ".join(row["axioms"]) or "none"
        typer.echo(f"{row['doc'] or ''}\n\n{row['statement']}\n\nModule: {row['module']}\nAxioms: {axioms}\n")


def certify(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="A stored run, evaluated as by asiclab tpf evaluate; or the JSON of that (FILE.json, - for stdin).",
        ),
    ] = None,
    correct: Annotated[int | None, typer.Option("--correct", min=0, help="Correct predictions.")] = None,
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="Predictions.")] = None,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", metavar="A/B", help="Success probability that the null does not exceed."),
    ] = None,
    alpha: Annotated[
        str | None,
        typer.Option(
            "--alpha", metavar="A/B", help="Error probability to stay under; 1/20 if nowhere given."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Keep the Lean file that was checked.")
    ] = None,
    timeout: Timeout = TIMEOUT_S,
    seed: Seed = 0,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Let Lean check that a count this high is improbable unless the predictor beats its baseline.

    The counts come from an evaluated run, or from --correct, --trials and --baseline. Exit code 1 where the count is
    not improbable enough or Lean does not accept the certificate.
    """
    from experiments.cli import output
    from experiments.proofs.certificate import certified, counts_of

    counts = counts_of(run, db=db, seed=seed, correct=correct, trials=trials, baseline=baseline, alpha=alpha)
    with output.bar("Lean", shown=not json) as move:
        result = certified(counts, lambda what, done, total: move(done, total), timeout_s=timeout)
    if out is not None:
        out.write_text(result.lean, encoding="utf-8")
    if json:
        output.emit(result)
    else:
        typer.echo(result.words)
        for violation in result.check.violations if result.check else ():
            typer.echo(f"{violation.file}:{violation.line}: {violation.kind}: {violation.text}")
    if not result.ok:
        raise typer.Exit(EXIT_CHECK_FAILED)


def page(
    folder: Folder = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it there.")] = None,
    config: Config = None,
) -> None:
    """The page of all claims and theorems, docs/proofs.md, from statements.json."""
    from experiments.proofs.page import rendered

    text = rendered(_agreed(folder))
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")


def _checked(folder: Path, options: Options, json: bool) -> CheckResult:
    import time

    from experiments.cli import output
    from experiments.proofs import sources
    from experiments.proofs.check import check, no_answer
    from experiments.proofs.errors import LeanError, ToolchainError
    from experiments.proofs.findings import CheckResult

    begin = time.monotonic()
    try:
        with output.bar("Lean", shown=not json) as move:
            return check(folder, options, lambda what, done, total: move(done, total))
    except (ToolchainError, LeanError) as error:
        if json:
            typer.echo(f"asiclab: {error}", err=True)
        wrong = no_answer(sources.read(folder), error)
        return CheckResult("none", time.monotonic() - begin, violations=(wrong,))


def _print(result: CheckResult) -> None:
    from experiments.cli import output

    if result.modules:
        output.table(
            f"{result.toolchain}: {result.seconds:.1f} s{', known from an earlier run' if result.cached else ''}",
            ("module", "s", "theorems"),
            [
                (m.name, f"{m.seconds:.1f}", str(sum(t.module == m.name for t in result.theorems)))
                for m in result.modules
            ],
        )
    for violation in result.violations:
        typer.echo(f"{violation.file}:{violation.line}: {violation.kind}: {violation.text}")
    count = f"{len(result.theorems)} theorems in {len(result.modules)} modules"
    if result.ok:
        typer.echo(f"ok: {count}, no gap, nothing but propext, Classical.choice and Quot.sound assumed")
    else:
        typer.echo(f"NOT ok: {count}, {result.sorries} gaps, {len(result.violations)} violations")


def _folder(folder: Path | None) -> Path:
    from experiments.proofs.check import project_folder

    if folder is not None and not folder.is_dir():
        raise UserError(f"{folder} is no folder")
    return folder or project_folder()


def _agreed(folder: Path | None) -> Manifest:
    from experiments.proofs import manifest, sources

    file = _folder(folder) / sources.MANIFEST
    try:
        return manifest.read(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{file} cannot be read ({error}); write it with: asiclab proofs check --write-manifest"
        ) from None


def register(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    proofs.command("check", cls=LabCommand)(check)
    proofs.command("list", cls=LabCommand)(list_theorems)
    proofs.command("show", cls=LabCommand)(show)
    proofs.command("certify", cls=LabCommand)(certify)
    proofs.command("page", cls=LabCommand)(page)
    app.add_typer(proofs)
