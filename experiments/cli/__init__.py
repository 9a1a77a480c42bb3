"""The ``asiclab`` command: one file per group of commands, heavy libraries only inside the command that needs them."""

from __future__ import annotations

from experiments.cli.app import app, main

__all__ = ["app", "main"]
