"""The check sums of the BM13xx UART protocol (``hardware.md`` §1.3): CRC5 of commands and answers, CRC16 of jobs."""

from __future__ import annotations

import binascii
from functools import lru_cache

import numpy as np
import numpy.typing as npt

CRC5_POLYNOMIAL = 0x05
"""x^5 + x^2 + 1, most significant bit first, no reflection, no final xor."""
CRC5_INITIAL = 0x1F
CRC16_INITIAL = 0xFFFF


def _crc5_table() -> tuple[int, ...]:
    """Register after eight zero bits, from the register and a byte xored into its top; both stand in bits 7-3."""
    table = []
    for state in range(256):
        value = state
        for _ in range(8):
            value = (value << 1) ^ (CRC5_POLYNOMIAL << 3) if value & 0x80 else value << 1
            value &= 0xFF
        table.append(value)
    return tuple(table)


_TABLE = _crc5_table()


def crc5(data: bytes, initial: int = CRC5_INITIAL) -> int:
    """CRC5 of whole bytes, 0..31.

    Over an answer without its ``AA 55``, last byte included, it is 0 where the answer is intact.
    """
    state = initial << 3
    for byte in data:
        state = _TABLE[state ^ byte]
    return state >> 3


def answer_tail(payload: bytes, kind: int) -> int:
    """Last byte of an answer: its 3 type bits and the CRC5 over the payload and those bits.

    Args:
        payload: bytes after ``AA 55``, without the last one.
        kind: type of the answer, 0..7.
    """
    state = crc5(payload)
    for bit in (kind >> 2 & 1, kind >> 1 & 1, kind & 1):
        carry = (state >> 4) ^ bit
        state = ((state << 1) & 0x1F) ^ (CRC5_POLYNOMIAL if carry else 0)
    return kind << 5 | state


def crc16(data: bytes) -> int:
    """CRC16 CCITT-FALSE: polynomial 0x1021, initial value 0xFFFF, most significant bit first."""
    return binascii.crc_hqx(data, CRC16_INITIAL)


@lru_cache(maxsize=4)
def position_tables(length: int) -> tuple[npt.NDArray[np.uint8], int]:
    """CRC5 of messages of one length as a sum over their bytes, for many messages at once.

    Returns:
        Table of shape (length, 256) and a constant: the CRC5 is the xor of ``table[i, byte i]`` and the constant.
    """
    table = np.zeros((length, 256), dtype=np.uint8)
    for position in range(length):
        zeros = bytes(length - 1 - position)
        for byte in range(256):
            table[position, byte] = crc5(bytes((byte,)) + zeros, initial=0)
    table.flags.writeable = False
    return table, crc5(bytes(length))
