"""One file per experiment; whoever adds a file with an ``EXPERIMENT`` in it has added it to the catalogue."""

from __future__ import annotations

import difflib
from functools import lru_cache
from importlib import import_module
from pkgutil import iter_modules

from experiments.experiment import Experiment
from firmware_bridge.errors import UserError


@lru_cache(maxsize=1)
def catalogue() -> dict[str, Experiment]:
    """Every experiment by name, in order of names."""
    found = {}
    for module in sorted(info.name for info in iter_modules(__path__)):
        experiment = import_module(f"{__name__}.{module}").EXPERIMENT
        if experiment.name in found:
            raise ValueError(f"two experiments are called {experiment.name}")
        found[experiment.name] = experiment
    return dict(sorted(found.items()))


def get_experiment(name: str) -> Experiment:
    """An experiment by name.

    Raises:
        UserError: if there is none, with the nearest names if any are near.
    """
    every = catalogue()
    if name not in every:
        near = difflib.get_close_matches(name, every, n=3)
        meant = f"; did you mean {' or '.join(near)}?" if near else "."
        raise UserError(f"there is no experiment {name!r}{meant} See: asiclab experiments list")
    return every[name]
