"""Puts the Lean project into the wheel, beside the package that checks it; all else stands in pyproject.toml."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithLean(build_py):
    """Copies ``lean/`` to ``experiments/lean/``; an editable installation finds it in the checkout."""

    def run(self) -> None:
        """Build the packages, then copy."""
        super().run()
        source = Path("lean")
        if self.editable_mode or not source.is_dir():
            return
        target = Path(self.build_lib) / "experiments" / "lean"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(".lake", "*.olean", ".*"))


setup(cmdclass={"build_py": BuildWithLean})
