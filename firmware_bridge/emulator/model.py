"""What an emulated miner is: facts of its hardware and how its firmware speaks Stratum, one file per model."""

from __future__ import annotations

from dataclasses import dataclass

from firmware_bridge.errors import UserError
from firmware_bridge.stratum.client_session import ClientProfile


@dataclass(frozen=True, slots=True)
class Model:
    """Facts of one model.

    Attributes:
        name: as on the command line.
        title: as on the box.
        code: number of its scan geometry.
        client: its Stratum client; the emulator adds its own name to the user agent.
        user: default worker name.
        floor: smallest difficulty that its chips report.
        capacity_ths: hash rate while hashing, TH/s.
        default_scale: difficulty scale at which one CPU core keeps up.
        lbry: whether it hashes LBRY.
    """

    name: str
    title: str
    code: int
    client: ClientProfile
    user: str
    floor: float
    capacity_ths: float
    default_scale: float = 2.0**-20
    lbry: bool = False


def get_model(name: str) -> Model:
    """The model of that name.

    Raises:
        UserError: if there is none.
    """
    from firmware_bridge.emulator import lb_box, lv06, s9

    models = {m.name: m for m in (s9.MODEL, lv06.MODEL, lb_box.MODEL)}
    try:
        return models[name]
    except KeyError:
        raise UserError(f"there is no emulated miner {name!r}; there are {', '.join(models)}") from None
