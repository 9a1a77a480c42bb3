"""Turn valid inputs into almost valid ones; equal seeds give equal inputs."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

TOKENS: tuple[bytes, ...] = (
    b"", b"\0", b"\n", b"\r\n", b"\r", b" ", b",", b";", b'"', b"'", b"\\", b"{", b"}", b"[", b"]", b":", b"null",
    b"true", b"false", b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1", b"0", b"-0", b"1e-400", b"0x10", b"1_0",
    b"9223372036854775808", b"18446744073709551616", b"-9223372036854775809", b"3" * 39,
    b"3.5", b"1E+2", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\\ud800", b"\\u0000", b"\\udc00\\ud800",
    "é".encode(), "０".encode(), "\u2028".encode(), "\u202e".encode(), b"__proto__", b"mining.submit", b"scale=",
    b"scale=2^-20", b"scale=2^-9999", b"scale=2^99999", b"scale=nan", b"scale=1e-400", b"scale=-1", b"[[[[[[[[[[",
    b"9" * 400, b"A" * 300, b"[" * 2000, b'{"a":' * 600, b"f" * 64, b"0" * 7, b"%s%n", b"=1+1", b"\t",
)  # fmt: skip

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**53, 2**63, 2**64, 2**200, -(2**63) - 1, 0.5, -0.0, 1e308, 5e-324, "", "0",
    "x", "ffffffff", "FFFFFFFF", "1d00ffff", "-0000001", "0x000000", " 0000000", "0000000g", "a" * 5000,
    "\0", "\ud800", [], {}, [[]], [None], {"": None}, {"version-rolling.mask": 3}, "mining.submit", "mining.notify",
    "mining.configure", "mining.set_difficulty", "bmminer/2.0.0 scale=2^-20", "x scale=0", "x scale=2^9999",
)  # fmt: skip


class Mutator:
    """Draws inputs from a corpus.

    Args:
        corpus: valid inputs.
        seed: equal seeds give equal sequences.
        limit: longest input in bytes.
    """

    def __init__(self, corpus: Sequence[bytes], seed: int, limit: int = 40_000) -> None:
        self.corpus = list(corpus)
        self.random = random.Random(seed)
        self.limit = limit
        self._edits: tuple[Callable[[bytearray], None], ...] = (
            self._flip,
            self._drop,
            self._insert,
            self._token,
            self._repeat,
            self._splice,
            self._cut,
        )

    def __call__(self) -> bytes:
        """The next input."""
        chance = self.random.random()
        if chance < 0.02:
            return self.random.randbytes(self.random.randrange(200))
        data = self.random.choice(self.corpus)
        if chance < 0.35:
            data = self._structured(data)
        if chance < 0.25:
            return data[: self.limit]
        edited = bytearray(data)
        for _ in range(self.random.choice((1, 1, 1, 2, 3, 6))):
            self.random.choice(self._edits)(edited)
        return bytes(edited[: self.limit])

    def _at(self, data: bytearray) -> int:
        return self.random.randrange(len(data) + 1)

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)

    def _drop(self, data: bytearray) -> None:
        at = self._at(data)
        del data[at : at + self.random.choice((1, 1, 2, 8, 50))]

    def _insert(self, data: bytearray) -> None:
        data.insert(self._at(data), self.random.randrange(256))

    def _token(self, data: bytearray) -> None:
        at = self._at(data)
        data[at : at + self.random.choice((0, 0, 1, 4))] = self.random.choice(TOKENS)

    def _repeat(self, data: bytearray) -> None:
        at = self._at(data)
        part = data[at : at + self.random.choice((1, 5, 40))]
        data[at:at] = part * self.random.choice((1, 2, 30, 300))

    def _splice(self, data: bytearray) -> None:
        other = self.random.choice(self.corpus)
        start = self.random.randrange(len(other) + 1)
        at = self._at(data)
        data[at : at + self.random.randrange(30)] = other[start : start + self.random.randrange(100)]

    def _cut(self, data: bytearray) -> None:
        del data[self._at(data) :]

    def _structured(self, data: bytes) -> bytes:
        """Replace, drop or double one node of a JSON document; other data come back as they are."""
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            return data
        nodes: list[tuple[Any, Any]] = []
        stack = [document]
        while stack:
            node = stack.pop()
            keys = (
                node.keys() if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
            )
            for key in keys:
                nodes.append((node, key))
                stack.append(node[key])
        if not nodes:
            return json.dumps(self.random.choice(VALUES)).encode()
        parent, key = self.random.choice(nodes)
        action = self.random.randrange(4)
        if action == 0:
            del parent[key]
        elif action == 1 and isinstance(parent, list):
            parent.insert(key, parent[key])
        else:
            parent[key] = self.random.choice(VALUES)
        return json.dumps(document, ensure_ascii=self.random.random() < 0.5).encode(errors="surrogatepass")
