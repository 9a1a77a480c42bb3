"""Registers of the BM1366 and what their values mean (``hardware.md`` §1.1, 1.5, 1.6, 1.9)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from types import MappingProxyType

CHIP_MODEL = 0x1366
CORES = 112
SMALL_CORES_PER_CORE = 8
SMALL_CORES = 894
"""Of the 896 small cores, those that hash: the hash rate is this many nonces per clock."""
CRYSTAL_MHZ = 25.0
HCN_TICK_NS = 80
"""One tick of the hash counting number: 12.5 MHz, measured on a log of a real chip."""
HASHES_PER_COUNT = 1 << 32
"""Unit of the error counter and of the hash counters."""
VERSIONS_PER_JOB = 1 << 16
VERSION_SHIFT = 13
"""The 16 rolled bits are bits 28-13 of the version."""

RESET_BAUD = 115_200
WORKING_BAUD = 1_000_000
"""What a host sets for the chip's 1,041,667."""
RESET_DIVIDER = 26
WORKING_DIVIDER = 2


class Register(IntEnum):
    """Numbers of the registers."""

    CHIP_ID = 0x00
    PLL0 = 0x08
    HASH_COUNTING_NUMBER = 0x10
    TICKET_MASK = 0x14
    MISC_CONTROL = 0x18
    FAST_UART = 0x28
    UART_RELAY = 0x2C
    CORE_MAILBOX = 0x3C
    ERROR_COUNTER = 0x4C
    ANALOG_MUX = 0x54
    IO_DRIVE_STRENGTH = 0x58
    DOMAIN_0_HASHES = 0x88
    DOMAIN_1_HASHES = 0x89
    DOMAIN_2_HASHES = 0x8A
    DOMAIN_3_HASHES = 0x8B
    TOTAL_HASHES = 0x8C
    VERSION_ROLLING = 0xA4
    SOFT_RESET = 0xA8


DOMAIN_HASHES = (
    Register.DOMAIN_0_HASHES,
    Register.DOMAIN_1_HASHES,
    Register.DOMAIN_2_HASHES,
    Register.DOMAIN_3_HASHES,
)


@dataclass(frozen=True, slots=True)
class RegisterFact:
    """What is known of a register.

    Attributes:
        name: for people.
        power_on: its value after a reset, None where nobody has told it.
        unit: of its value, where it is a number.
    """

    name: str
    power_on: int | None = None
    unit: str | None = None


FACTS: MappingProxyType[int, RegisterFact] = MappingProxyType(
    {
        Register.CHIP_ID: RegisterFact("chip id, low byte is the address", 0x13660000),
        Register.PLL0: RegisterFact("PLL of the hashing clock"),
        Register.HASH_COUNTING_NUMBER: RegisterFact("nonce space of a batch of 8 versions", unit="80 ns"),
        Register.TICKET_MASK: RegisterFact("hash bits that must be 0 besides the first 32", 0),
        Register.MISC_CONTROL: RegisterFact("misc control"),
        Register.FAST_UART: RegisterFact("UART divider", 0x01301A00),
        Register.UART_RELAY: RegisterFact("UART relay along the chain"),
        Register.CORE_MAILBOX: RegisterFact("mailbox to core registers"),
        Register.ERROR_COUNTER: RegisterFact("erroneous hashes", 0, "2^32 hashes"),
        Register.ANALOG_MUX: RegisterFact("analog multiplexer: temperature diode"),
        Register.IO_DRIVE_STRENGTH: RegisterFact("drive strength of the pins"),
        Register.DOMAIN_0_HASHES: RegisterFact("hashes of domain 0", 0, "2^32 hashes"),
        Register.DOMAIN_1_HASHES: RegisterFact("hashes of domain 1", 0, "2^32 hashes"),
        Register.DOMAIN_2_HASHES: RegisterFact("hashes of domain 2", 0, "2^32 hashes"),
        Register.DOMAIN_3_HASHES: RegisterFact("hashes of domain 3", 0, "2^32 hashes"),
        Register.TOTAL_HASHES: RegisterFact("hashes of the chip", 0, "2^32 hashes"),
        Register.VERSION_ROLLING: RegisterFact("version rolling: bit 31 on, low 16 bits the mask", 0),
        Register.SOFT_RESET: RegisterFact("soft reset of the cores"),
    }
)
"""All that is known; with version rolling off (A4 = 0) answers have 9 bytes."""


def name_of(register: int) -> str:
    """Number and meaning of a register, for messages."""
    fact = FACTS.get(register)
    return f"{register:02X}" if fact is None else f"{register:02X} ({fact.name})"


def _reversed_bytes(value: int) -> int:
    """Reverse the bits within each of the four bytes."""
    value = (value & 0x55555555) << 1 | value >> 1 & 0x55555555
    value = (value & 0x33333333) << 2 | value >> 2 & 0x33333333
    return (value & 0x0F0F0F0F) << 4 | value >> 4 & 0x0F0F0F0F


def ticket_difficulty(difficulty: float) -> int:
    """Largest power of two that is at most ``difficulty``, in 1 .. 2^32: what the chip can be told.

    Raises:
        ValueError: if the difficulty is below 1, which the chip never goes under, or no finite number.
    """
    if not 1.0 <= difficulty < float("inf"):
        raise ValueError(f"a BM1366 reports from difficulty 1 on, so the difficulty cannot be {difficulty!r}")
    return 1 << min(int(difficulty).bit_length() - 1, 32)


def encode_ticket_mask(difficulty: float) -> int:
    """Value of the ticket mask for the largest power of two that is at most ``difficulty``.

    Raises:
        ValueError: if the difficulty is below 1 or not finite.
    """
    return _reversed_bytes(ticket_difficulty(difficulty) - 1)


def decode_ticket_mask(value: int) -> int | None:
    """Difficulty of a ticket mask; None where it asks for bits that are no power of two less one."""
    mask = _reversed_bytes(value)
    return mask + 1 if mask & (mask + 1) == 0 else None


def passes_ticket(hash_value: int, mask: int) -> bool:
    """Whether a chip with this ticket mask reports a hash (little-endian number): a bit test, no comparison.

    The first 32 bits are 0, and of the next 32 those that the register has: it is laid over the digest's seventh word
    as SHA-256 writes it, whose bytes a number holds in reverse.
    """
    seventh = int.from_bytes((hash_value >> 192 & 0xFFFFFFFF).to_bytes(4, "little"), "big")
    return hash_value >> 224 == 0 and seventh & mask == 0


def threshold(difficulty: float) -> float:
    """Smallest share difficulty that a ticket of this difficulty lets through.

    The chip asks for zero bits, so for hashes below 2^224 / ticket, while difficulty 1 is 0xFFFF * 2^208: it lets
    through one in 65,536 nonces that lie a hair below the nominal difficulty.
    """
    return ticket_difficulty(difficulty) * (0xFFFF / 0x10000)


def version_rolling(mask: int) -> int:
    """Value of register A4 that rolls the version bits of ``mask``.

    Raises:
        ValueError: if the mask has bits that the chip cannot roll.
    """
    if mask & ~0x1FFFE000:
        raise ValueError(f"a BM1366 rolls bits of 1fffe000 only, not {mask:08x}")
    return 0x90000000 | mask >> VERSION_SHIFT


def rolled_mask(value: int) -> int:
    """Version bits that a chip with this value of A4 rolls; 0 where rolling is off."""
    return (value & 0xFFFF) << VERSION_SHIFT if value >> 31 else 0


def next_power_of_two(number: int) -> int:
    """Smallest power of two that is at least ``number`` (of at least 1)."""
    return 1 << max(0, number - 1).bit_length()


def hash_counting_number(frequency_mhz: float, chips: int = 1, cores: int = CORES) -> int:
    """Ticks of 80 ns in which a small core sweeps its share of the nonces: one batch of 8 versions.

    Raises:
        ValueError: if there is no chip or no clock.
    """
    if chips < 1 or not 0 < frequency_mhz < float("inf"):
        raise ValueError(f"{chips} chips at {frequency_mhz} MHz have no nonce space")
    ticks = Fraction(25, 2) / Fraction(frequency_mhz)
    return int(Fraction(1 << 32, next_power_of_two(cores) * next_power_of_two(chips)) * ticks)


def versions_last_s(hcn: int, mask: int) -> float:
    """Seconds until a chip has gone through every version of a job; from then on it finds the same nonces again.

    Args:
        hcn: hash counting number, the ticks of one batch of 8 versions.
        mask: version bits that are rolled.
    """
    return (1 << mask.bit_count()) / SMALL_CORES_PER_CORE * hcn * HCN_TICK_NS / 1e9


def fast_uart(divider: int) -> int:
    """Value of register 28 for a divider: 26 after reset, 2 at work.

    Raises:
        ValueError: if the divider has more than 8 bits.
    """
    if not 0 <= divider <= 255:
        raise ValueError(f"a UART divider lies in 0 .. 255, not {divider}")
    return (0x01300000 if divider == RESET_DIVIDER else 0x11300000) | divider << 8


def uart_baud(value: int) -> float:
    """Baud rate of a chip whose register 28 has this value."""
    return CRYSTAL_MHZ * 1e6 / (8 * ((value >> 8 & 0xFF) + 1))
