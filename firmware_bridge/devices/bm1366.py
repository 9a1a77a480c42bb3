"""A chain of BM1366 on a serial port as a device (``hardware.md`` §1): its clock can be set, its voltage cannot."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from firmware_bridge.bm13xx import pll
from firmware_bridge.bm13xx import registers as r
from firmware_bridge.bm13xx.chain import Chain
from firmware_bridge.bm13xx.port import SerialPort
from firmware_bridge.devices.device import Capabilities, Capability, Device
from firmware_bridge.devices.settings import Bound, Limits, OperatingPoint, Reading, Setting
from firmware_bridge.devices.tap import TapFactory
from firmware_bridge.devices.telemetry import BoardReading, Identity, Telemetry
from firmware_bridge.errors import DeviceError
from firmware_bridge.headers import DEFAULT_VERSION_MASK, Job

FACTORY_MHZ = (400.0, 425.0, 450.0, 475.0, 485.0, 500.0, 525.0, 550.0, 575.0)
LIMITS = Limits(
    bounds={
        Setting.FREQUENCY: Bound(
            56.25, 650.0, FACTORY_MHZ, "PLL of the BM1366, hardware.md §1.7; menu of AxeOS §4.2"
        )
    },
    max_temperature_c=75.0,
)
"""Nothing on the serial port tells the temperature: who cools the chips has to know it."""

MEASURE_S = 3.0
"""How long hashes are counted: one chip at 485 MHz counts 101 times 2^32 in a second."""
MEASURE_TRIES = 3
UNSURE_AT_MOST = 0.02
"""A measurement that a busy host makes less certain than this is taken again."""
CLOCK_TOLERANCE = 0.015
SETTLE_S = 0.3

NO_VOLTAGE = "a regulator beside the chips sets their voltage, the serial port does not reach it"
NO_FAN = "the serial port does not reach the fan"


@dataclass(frozen=True, slots=True)
class _Count:
    """Hash counter of the chain, the middle of the time in which it was read, and how long that was."""

    hashes: int
    middle_ns: int
    width_ns: int


class Bm1366(Device):
    """A chain behind one port.

    Opening it sends nothing; the first question makes the chips answer in their 11-byte form and counts them.

    Args:
        address: ``bm1366:///dev/ttyUSB0``.
        path: of the port.
        scale: difficulty scale of an emulated chain.
        taps: of the flight recorder.
        **common: see :class:`Device`.
    """

    name = "bm1366"
    limits = LIMITS
    work = "serial"
    unknown_hint = ": its clock was never set since it was powered; asiclab bridge --serial brings a chain up"

    def __init__(
        self, address: str, path: str, *, scale: float = 1.0, taps: TapFactory | None = None, **common: Any
    ) -> None:
        super().__init__(address, **common)
        self.path = path
        self.scale = scale
        self._taps = taps
        self._chain: Chain | None = None
        self._words: dict[float, int] = {}  # PLL registers as they were found, by the clock they make

    async def chain(self) -> Chain:
        """The chain, opened and counted.

        Raises:
            UserError: if the port cannot be opened.
            DeviceError: if no chip answers.
        """
        if self._chain is None:
            tap = self._taps(f"serial://{self.path}") if self._taps else None
            chain = Chain(SerialPort(self.path, r.RESET_BAUD, tap=tap), sleep=self.sleep)
            chain.start()
            try:
                await chain.find()
            except BaseException:
                chain.close()
                raise
            self._chain = chain
        return self._chain

    async def identify(self) -> Identity:
        """Count the chips."""
        chain = await self.chain()
        return Identity(
            "Bitmain",
            "BM1366",
            chips=chain.chips,
            cores=r.CORES,
            chip="BM1366",
            serial=os.path.basename(self.path),
        )

    async def read_registers(self) -> dict[str, int]:
        """Every register that is known, of the first chip, by its number in hex; those that answer."""
        chain = await self.chain()
        found: dict[str, int] = {}
        for register in r.FACTS:
            try:
                answer = (await chain.ask(register, 0))[0]
            except DeviceError:
                continue
            found[f"{register:02X}"] = answer.value >> 16 if register == r.Register.CHIP_ID else answer.value
        return found

    async def read_telemetry(self) -> Telemetry:
        """Clock and counters of each chip; nothing on this link tells temperature, voltage or power."""
        chain = await self.chain()
        clocks = await chain.ask(r.Register.PLL0)
        errors = await chain.ask(r.Register.ERROR_COUNTER)
        hashes = await chain.ask(r.Register.TOTAL_HASHES)
        frequencies = [held.frequency_mhz if (held := pll.decode(a.value)) else None for a in clocks]
        boards = tuple(
            BoardReading(board=number, frequency_mhz=mhz, hardware_errors=wrong.value, chips=1)
            for number, (mhz, wrong) in enumerate(zip(frequencies, errors, strict=False))
        )
        known = [f for f in frequencies if f is not None]
        raw = {
            "chips": chain.chips,
            "pll0": [f"{a.value:08x}" for a in clocks],
            "error_counter": [a.value for a in errors],
            "total_hashes": [a.value for a in hashes],
            "link": chain.decoder.counts.to_json(),
        }
        return Telemetry(
            wall_ns=self.clock.wall_ns(),
            monotonic_ns=self.clock.monotonic_ns(),
            frequency_mhz=sum(known) / len(known) if known else None,
            hardware_errors=sum(a.value for a in errors),
            boards=boards,
            raw=json.dumps(raw),
        )

    async def read_point(self) -> OperatingPoint:
        """The clock that the first chip's PLL makes; before any host set it there is none."""
        word = await (await self.chain()).pll_word()
        held = pll.decode(word)
        if held is None:
            return OperatingPoint()
        self._words.setdefault(held.frequency_mhz, word)
        return OperatingPoint(frequency_mhz=held.frequency_mhz)

    async def capabilities(self) -> Capabilities:
        """The clock."""
        await self.chain()
        reads = frozenset({"frequency_mhz", "hardware_errors", "boards"})
        cannot = {
            Setting.CORE_VOLTAGE: NO_VOLTAGE,
            Setting.FAN: NO_FAN,
            Setting.POWER_PLAN: "a chip has no power plans",
        }
        return Capabilities(
            reads, (Capability(Setting.FREQUENCY, False, "hash counter of the chips"),), cannot
        )

    async def _too_hot_c(self) -> float | None:
        """Nothing on this link tells the temperature."""
        return None

    async def _write_point(self, point: OperatingPoint) -> bool:
        chain = await self.chain()
        if point.frequency_mhz is not None:
            # dividers that were found are brought back as they were, though others make the same clock
            word = self._words.get(point.frequency_mhz)
            await chain.set_frequency(point.frequency_mhz, from_mhz=await chain.frequency(), word=word)
        return False

    async def _measure(self, point: OperatingPoint) -> Mapping[Setting, Reading]:
        """The clock that the chips' own hash counters show while they hash."""
        if point.frequency_mhz is None:
            return {}
        chain = await self.chain()
        if await chain.hashes() == await self._hashes_after(chain, SETTLE_S):
            chain.dispatch(_measuring_job(), "00000000")
            await self.sleep(SETTLE_S)
        what = "total hash counter / 894 small cores"
        reading = Reading(None, 0.0, what)
        for _ in range(MEASURE_TRIES):
            first, second = await self._counted(chain, 0.0), await self._counted(chain, MEASURE_S)
            counts = second.hashes - first.hashes
            elapsed_s = (second.middle_ns - first.middle_ns) / 1e9
            if counts <= 0 or elapsed_s <= 0:
                continue
            rate = counts * r.HASHES_PER_COUNT / elapsed_s
            measured = rate / (r.SMALL_CORES * chain.chips) / 1e6
            # each chip's counter was cut off twice, and read at some time between question and answer
            unsure = 1.5 * chain.chips / counts + (first.width_ns + second.width_ns) / 2e9 / elapsed_s
            reading = Reading(round(measured, 1), point.frequency_mhz * (CLOCK_TOLERANCE + unsure), what)
            if unsure <= UNSURE_AT_MOST:
                break
        return {Setting.FREQUENCY: reading}

    async def _counted(self, chain: Chain, after_s: float) -> _Count:
        """The hash counter after a while, and between which times it was read."""
        if after_s:
            await self.sleep(after_s)
        asked_ns = self.clock.monotonic_ns()
        hashes = await chain.hashes()
        width_ns = self.clock.monotonic_ns() - asked_ns
        return _Count(hashes, asked_ns + width_ns // 2, width_ns)

    async def _hashes_after(self, chain: Chain, seconds: float) -> int:
        await self.sleep(seconds)
        return await chain.hashes()

    async def aclose(self) -> None:
        """Close the port."""
        if self._chain is not None:
            self._chain.close()
            self._chain = None


def _measuring_job() -> Job:
    """Work that keeps the chips hashing; what they find is not looked at."""
    return Job(
        "measure", "00" * 32, "00" * 60, "00" * 60, (), "20000000", "1703a30c", "00000000", "00000000",
        version_mask=DEFAULT_VERSION_MASK,
    )  # fmt: skip
