"""One archive with a whole run and its checksums, to be handed on and imported elsewhere.

A zip of ``shares.csv``, its companion ``shares.csv.run.json`` and ``manifest.json`` with the size and SHA-256 of each.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firmware_bridge.errors import UserError
from firmware_bridge.trace import formats
from firmware_bridge.trace.recording import ImportResult
from firmware_bridge.trace.restore import restore
from firmware_bridge.trace.writer import TraceWriter

if TYPE_CHECKING:
    from firmware_bridge.trace.reader import TraceReader

FORMAT = "asiclab-bundle-1"
SHARES = "shares.csv"
FILES = (SHARES, f"{SHARES}.run.json")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the archive's own times would make equal runs differ


@dataclass(frozen=True)
class BundleResult:
    """What was packed."""

    path: Path
    run: str
    shares: int
    bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """What ``asiclab bundle --json`` prints."""
        return {
            "path": str(self.path),
            "run": self.run,
            "shares": self.shares,
            "bytes": self.bytes,
            "sha256": self.sha256,
        }


def write_bundle(reader: TraceReader, run: int, out: Path | str) -> BundleResult:
    """Pack a run into a zip archive.

    Raises:
        UserError: if there is no such run or the archive cannot be written.
        TraceError: if the run cannot be read.
    """
    out = Path(out)
    run_id = reader.run(run)["run_id"]
    with tempfile.TemporaryDirectory(prefix="asiclab-") as folder:
        data = Path(folder) / SHARES
        result = formats.export_run(reader, run, data)
        facts = {
            name: {
                "bytes": (data.parent / name).stat().st_size,
                "sha256": formats.sha256_of(data.parent / name),
            }
            for name in FILES
        }
        manifest = {"format": FORMAT, "run_id": run_id, "shares": result.shares, "files": facts}
        part = out.with_name(f".{out.name}.part")
        try:
            with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
                text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
                archive.writestr(_entry("manifest.json"), text)
                for name in FILES:
                    with (data.parent / name).open("rb") as source, archive.open(_entry(name), "w") as target:
                        shutil.copyfileobj(source, target, 1 << 20)
            part.replace(out)
        except OSError as error:
            raise UserError(f"{out}: cannot be written: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)
    return BundleResult(out, run_id, result.shares, out.stat().st_size, formats.sha256_of(out))


def import_bundle(url: str, path: Path) -> ImportResult:
    """Check a bundle against its checksums and store its run.

    Raises:
        UserError: if the archive is damaged, was changed, or is no bundle.
        TraceError: if it cannot be stored.
    """
    with tempfile.TemporaryDirectory(prefix="asiclab-") as folder:
        unpack(path, Path(folder))
        with TraceWriter(url) as writer:
            return restore(Path(folder) / SHARES, writer)


def unpack(path: Path, folder: Path) -> dict[str, Any]:
    """Unpack a bundle's known files into ``folder`` and check them; returns its manifest.

    Raises:
        UserError: if the archive is damaged, was changed, or is no bundle.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = _manifest(path, archive)
            for name in FILES:
                _extract(path, archive, name, manifest["files"][name], folder / name)
            return manifest
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path}: a damaged archive ({error}); copy it again") from error


def _manifest(path: Path, archive: zipfile.ZipFile) -> dict[str, Any]:
    try:
        info = archive.getinfo("manifest.json")
        manifest: dict[str, Any] = json.loads(archive.read(info)) if info.file_size < 1 << 20 else {}
        if manifest["format"] != FORMAT:
            raise UserError(f"{path}: a bundle of another form, {manifest['format']!r}; update the lab")
        for name in FILES:
            int(manifest["files"][name]["bytes"]), str(manifest["files"][name]["sha256"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: a zip archive, but not one made by `asiclab bundle`") from None
    return manifest


def _extract(path: Path, archive: zipfile.ZipFile, name: str, facts: dict[str, Any], target: Path) -> None:
    """Unpack one file, never more bytes than the manifest says."""
    digest, left = hashlib.sha256(), int(facts["bytes"])
    try:
        source = archive.open(name)
    except KeyError:
        raise UserError(f"{path}: {name} is missing from the bundle") from None
    with source, target.open("wb") as file:
        while left >= 0 and (block := source.read(1 << 20)):
            left -= len(block)
            digest.update(block)
            file.write(block)
    if left != 0 or digest.hexdigest() != facts["sha256"]:
        raise UserError(f"{path}: {name} does not match its checksum; the bundle was changed or damaged")


def _entry(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    info.create_system = 3
    return info
