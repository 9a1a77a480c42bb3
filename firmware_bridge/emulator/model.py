"""What an emulated miner is: facts of its hardware and of its Stratum client, one instance per model file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from firmware_bridge.errors import UserError

Step = Literal["subscribe", "configure", "suggest_difficulty", "authorize"]


@dataclass(frozen=True, slots=True)
class Model:
    """Facts of one model.

    Attributes:
        name: as on the command line.
        title: as on the box.
        code: number of its scan geometry.
        agent: user agent of ``mining.subscribe``.
        user: default worker name.
        floor: smallest difficulty that its chips report.
        capacity_ths: hash rate while hashing, TH/s.
        handshake: order of its first requests.
        lockstep: whether it reads the answer to each of them before it sends the next.
        version_bits: whether it rolls the version and submits six parameters.
        integer_difficulty: whether it reads a difficulty as an integer (0.5 becomes 0).
        strictly_above: whether it sends a share only if its difficulty exceeds the pool's.
        understands: methods of the server that it acts on; others are ignored.
        most_branches: merkle branches beyond which its firmware fails, or None.
    """

    name: str
    title: str
    code: int
    agent: str
    user: str
    floor: float
    capacity_ths: float
    handshake: tuple[Step, ...]
    lockstep: bool
    version_bits: bool
    integer_difficulty: bool
    strictly_above: bool
    understands: frozenset[str]
    most_branches: int | None = None


def get_model(name: str) -> Model:
    """The model of that name.

    Raises:
        UserError: if there is none.
    """
    from firmware_bridge.emulator import lv06, s9

    models = {m.name: m for m in (s9.MODEL, lv06.MODEL)}
    try:
        return models[name]
    except KeyError:
        raise UserError(f"there is no emulated miner {name!r}; there are {', '.join(models)}") from None
