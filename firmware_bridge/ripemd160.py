"""RIPEMD-160 in Python, for systems whose OpenSSL no longer offers it (Dobbertin, Bosselaers, Preneel 1996)."""

from __future__ import annotations

import struct

_MASK = 0xFFFFFFFF
_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)
_LEFT_CONSTANTS = (0x00000000, 0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xA953FD4E)
_RIGHT_CONSTANTS = (0x50A28BE6, 0x5C4DD124, 0x6D703EF3, 0x7A6D76E9, 0x00000000)

_RHO = (7, 4, 13, 1, 10, 6, 15, 3, 12, 0, 9, 5, 2, 14, 11, 8)
_IDENTITY = tuple(range(16))
_PI = tuple((9 * i + 5) % 16 for i in range(16))


def _orders(first: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Order of the message words in each of the five rounds: the permutation rho once more per round."""
    orders = [first]
    for _ in range(4):
        orders.append(tuple(_RHO[i] for i in orders[-1]))
    return tuple(orders)


_LEFT_ORDER, _RIGHT_ORDER = _orders(_IDENTITY), _orders(_PI)
_SHIFTS = (
    (11, 14, 15, 12, 5, 8, 7, 9, 11, 13, 14, 15, 6, 7, 9, 8),
    (12, 13, 11, 15, 6, 9, 9, 7, 12, 15, 11, 13, 7, 8, 7, 7),
    (13, 15, 14, 11, 7, 7, 6, 8, 13, 14, 13, 12, 5, 5, 6, 9),
    (14, 11, 12, 14, 8, 6, 5, 5, 15, 12, 15, 14, 9, 9, 8, 6),
    (15, 12, 13, 13, 9, 5, 8, 6, 14, 11, 12, 11, 8, 6, 5, 5),
)
"""Rotation by message word, one row per round: the same for both lines."""


def _mix(number: int, x: int, y: int, z: int) -> int:
    match number:
        case 0:
            return x ^ y ^ z
        case 1:
            return (x & y) | (~x & z)
        case 2:
            return (x | ~y) ^ z
        case 3:
            return (x & z) | (y & ~z)
    return x ^ (y | ~z)


def _rotate(value: int, bits: int) -> int:
    value &= _MASK
    return (value << bits | value >> (32 - bits)) & _MASK


def _line(state: tuple[int, ...], words: tuple[int, ...], *, right: bool) -> tuple[int, ...]:
    orders, constants = (_RIGHT_ORDER, _RIGHT_CONSTANTS) if right else (_LEFT_ORDER, _LEFT_CONSTANTS)
    a, b, c, d, e = state
    for number in range(5):
        mixing = 4 - number if right else number
        for word in orders[number]:
            total = a + _mix(mixing, b, c, d) + words[word] + constants[number]
            a, e, d, c, b = e, d, _rotate(c, 10), b, (_rotate(total, _SHIFTS[number][word]) + e) & _MASK
    return a, b, c, d, e


def ripemd160(data: bytes) -> bytes:
    """Digest of 20 bytes."""
    padded = data + b"\x80" + bytes(-(len(data) + 9) % 64) + struct.pack("<Q", 8 * len(data))
    state: tuple[int, ...] = _START
    for (*words,) in struct.iter_unpack("<16I", padded):
        left = _line(state, tuple(words), right=False)
        right = _line(state, tuple(words), right=True)
        state = tuple((state[(i + 1) % 5] + left[(i + 2) % 5] + right[(i + 3) % 5]) & _MASK for i in range(5))
    return struct.pack("<5I", *state)
