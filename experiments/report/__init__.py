"""One HTML file from a run, readable by someone who has not read the papers."""

from __future__ import annotations

from experiments.report.page import render, write_report

__all__ = ["render", "write_report"]
