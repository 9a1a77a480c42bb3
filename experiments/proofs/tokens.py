"""Splits Lean text into tokens, as Lean itself does, so that nothing hides in a comment, a string or a quoted name."""

from __future__ import annotations

import re
from dataclasses import dataclass

_IDENT_START = r"(?:[A-Za-z_]|(?![λΠΣ])[^\W\d_])"
_IDENT_PART = rf"(?:{_IDENT_START}(?:(?![λΠΣ])[\w'!?])*|«[^»]*»)"
_IDENT = re.compile(rf"{_IDENT_PART}(?:\.{_IDENT_PART})*")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|\d+(?:\.\d+)?")
_CHARACTER = re.compile(r"'(?:\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)|[^\\'])'", re.S)
_STRING = re.compile(r'"(?:\\.|[^"\\])*"', re.S)
_RAW = re.compile(r'r(#*)"')
_BLANK = re.compile(r"\s+")
_OPERATOR = set("<>|=+*/^&%$!@:.,;~-?")


@dataclass(frozen=True)
class Token:
    """A piece of text that means something.

    Attributes:
        kind: ``name``, ``number``, ``string``, ``character``, ``symbol``, ``doc`` (a documentation comment) or ``trap``
            (text that can be read in two ways).
        text: as it stands; of a name without the marks «».
        line: from 1.
        column: from 0.
        start: index of its first character.
        end: index after its last one.
        quoted: whether it is a name with the marks «».
    """

    kind: str
    text: str
    line: int
    column: int
    start: int
    end: int
    quoted: bool = False

    @property
    def parts(self) -> list[str]:
        """Parts of a name."""
        return self.text.split(".")


def tokens(text: str) -> list[Token]:
    """Every token; comments are left out, documentation stays.

    A string that can hold code, because it is interpolated, is followed by the tokens within it.
    """
    found: list[Token] = []
    lines = _Lines(text)
    _scan(text, 0, len(text), lines, found)
    return found


class _Lines:
    """Line and column of an index."""

    def __init__(self, text: str) -> None:
        self.starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def __call__(self, index: int) -> tuple[int, int]:
        from bisect import bisect_right

        line = bisect_right(self.starts, index)
        return line, index - self.starts[line - 1]


def _scan(text: str, at: int, end: int, lines: _Lines, found: list[Token]) -> None:
    def add(kind: str, start: int, stop: int, shown: str | None = None, quoted: bool = False) -> None:
        line, column = lines(start)
        found.append(
            Token(kind, text[start:stop] if shown is None else shown, line, column, start, stop, quoted)
        )

    begin = at
    while at < end:
        if match := _BLANK.match(text, at, end):
            at = match.end()
        elif text.startswith(("--", "/-"), at):
            # "<--" is "<-" and a minus to Lean: what follows an operator without a blank is not surely a comment
            if at > begin and text[at - 1] in _OPERATOR:
                add("trap", at - 1, at + 2)
            if text.startswith("--", at):
                stop = text.find("\n", at, end)
                at = end if stop < 0 else stop
            else:
                stop = _comment_end(text, at, end)
                if text.startswith(("/--", "/-!"), at):
                    add("doc", at, stop)
                at = stop
        elif match := _RAW.match(text, at, end):
            stop = text.find('"' + match[1], match.end(), end)
            stop = end if stop < 0 else stop + 1 + len(match[1])
            add("string", at, stop)
            at = stop
        elif match := _IDENT.match(text, at, end):
            add("name", at, match.end(), re.sub("[«»]", "", match[0]), "«" in match[0])
            at = match.end()
        elif match := _NUMBER.match(text, at, end):
            add("number", at, match.end())
            at = match.end()
        elif text[at] == '"':
            match = _STRING.match(text, at, end)
            stop = match.end() if match else end
            add("string", at, stop)
            if "{" in text[at:stop]:
                _scan(text, at + 1, stop - 1, lines, found)
            at = stop
        elif match := _CHARACTER.match(text, at, end):
            add("character", at, match.end())
            at = match.end()
        else:
            add("symbol", at, at + 1)
            at += 1


def _comment_end(text: str, at: int, end: int) -> int:
    depth, at = 1, at + 2
    if text.startswith(("-", "!"), at):
        at += 1
    while at < end and depth:
        if text.startswith("-/", at):
            depth, at = depth - 1, at + 2
        elif text.startswith("/-", at):
            depth, at = depth + 1, at + 2
        else:
            at += 1
    return at
