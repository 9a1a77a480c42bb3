"""Any other miner, through pyasic: telemetry of about 20 makes, nothing set.

That library does not read back what was measured, keeps no raw payload and swallows errors, so the four models of this
lab have drivers of their own; here it is good for logging what another miner says of itself beside its shares.
"""

from __future__ import annotations

import asyncio
import json
from types import MappingProxyType
from typing import Any

from firmware_bridge.devices import fields
from firmware_bridge.devices.device import Capabilities, Device
from firmware_bridge.devices.settings import Limits, OperatingPoint, Setting
from firmware_bridge.devices.tap import TapFactory
from firmware_bridge.devices.telemetry import BoardReading, Identity, PoolState, Telemetry
from firmware_bridge.errors import DeviceError, UserError

INSTALL = "pip install 'asic-reservoir-lab[miners]'"
NOTHING = "a miner of another make is read only: pyasic does not measure whether a setting took effect"
READS = frozenset(
    {
        "temperature_c", "board_temperature_c", "power_w", "fan_rpm", "fans_rpm", "hash_rate_ghs", "hardware_errors",
        "uptime_s", "boards", "pools",
    }
)  # fmt: skip


class PyasicMiner(Device):
    """A miner that pyasic knows.

    Args:
        address: ``pyasic://HOST``.
        host: its address.
        taps: taken and not used: the library shows no bytes.
        timeout_s: of one whole question; it asks many things.
        **common: see :class:`Device`.
    """

    name = "pyasic"
    limits = Limits(bounds=MappingProxyType({}), max_temperature_c=0.0)
    work = "stratum"

    def __init__(
        self,
        address: str,
        host: str,
        *,
        taps: TapFactory | None = None,
        timeout_s: float = 30.0,
        **common: Any,
    ) -> None:
        super().__init__(address, **common)
        self._host = host
        self._timeout_s = timeout_s
        self._miner: Any = None

    async def _found(self) -> Any:
        """The library's own object for this host.

        Raises:
            UserError: if the library is not installed.
            DeviceError: if it knows nothing at this address.
        """
        if self._miner is None:
            try:
                import pyasic
            except ImportError as error:
                raise UserError(f"{self.address}: pyasic is not installed: {INSTALL}") from error
            miner = await self._asked(pyasic.get_miner(self._host), "get_miner")
            if miner is None:
                raise DeviceError(f"{self.address}: pyasic finds no miner there that it knows")
            self._miner = miner
        return self._miner

    async def _asked(self, question: Any, what: str) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await question
        except TimeoutError:
            raise DeviceError(f"{self.address}: {what}: no answer within {self._timeout_s:g} s") from None
        except Exception as error:  # whatever the library raises is a device that was not understood
            cause = error.__cause__ or error
            raise DeviceError(f"{self.address}: {what}: {type(cause).__name__}: {cause}") from error

    async def identify(self) -> Identity:
        """Who pyasic takes it for."""
        miner = await self._found()
        firmware = await self._asked(miner.get_fw_ver(), "get_fw_ver")
        return Identity(
            make=_text(getattr(miner, "make", None)) or "unknown",
            model=_text(getattr(miner, "model", None)) or type(miner).__name__,
            firmware=_text(firmware),
            chips=_whole(getattr(miner, "expected_chips", None)),
        )

    async def read_telemetry(self) -> Telemetry:
        """Read what pyasic gives; its own configuration, which fails for some makes, is left out."""
        miner = await self._found()
        data = await self._asked(miner.get_data(exclude=["config"]), "get_data")
        boards = tuple(_board(number, board) for number, board in enumerate(data.hashboards or ()))
        fans = tuple(s for fan in data.fans or () if (s := _number(getattr(fan, "speed", None))) is not None)
        pools = tuple(
            PoolState(
                str(pool.url or ""), _text(pool.user), pool.active if isinstance(pool.active, bool) else None
            )
            for pool in data.pools or ()
        )
        return Telemetry(
            wall_ns=self.clock.wall_ns(),
            monotonic_ns=self.clock.monotonic_ns(),
            temperature_c=fields.largest([b.temperature_c for b in boards]),
            board_temperature_c=fields.largest([b.board_temperature_c for b in boards]),
            power_w=_number(data.wattage),
            fan_rpm=max(fans) if fans else None,
            hash_rate_ghs=_rate_ghs(data.hashrate),
            uptime_s=_number(data.uptime),
            boards=boards,
            fans_rpm=fans,
            pools=pools,
            raw=json.dumps(data.as_dict(), default=str),
        )

    async def read_point(self) -> OperatingPoint:
        """Nothing that could be set."""
        return OperatingPoint()

    async def capabilities(self) -> Capabilities:
        """What can be read."""
        return Capabilities(READS, (), dict.fromkeys(Setting, NOTHING))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return str(value) if value not in (None, "") else None


def _rate_ghs(rate: Any) -> float | None:
    """A hash rate of the library in GH/s: it carries its unit, hashes per second of which are its value."""
    if rate is None:
        return None
    unit = _number(getattr(getattr(rate, "unit", None), "value", None))
    value = _number(getattr(rate, "rate", None))
    return None if unit is None or value is None else value * unit / 1e9


def _board(number: int, board: Any) -> BoardReading:
    return BoardReading(
        board=number,
        temperature_c=_number(getattr(board, "chip_temp", None)),
        board_temperature_c=_number(getattr(board, "temp", None)),
        hash_rate_ghs=_rate_ghs(getattr(board, "hashrate", None)),
        chips=_whole(getattr(board, "chips", None)),
    )
