"""Splits Lean text into tokens, as Lean itself does, so that nothing hides in a comment, a string or a quoted name."""

from __future__ import annotations

import re
from dataclasses import dataclass

# the letters of Lean and no others: a name that ended later here than there would hide the word after it
_LETTER = "A-Za-z_Α-ΟΡΤ-Ωα-κμ-ωϊ-ϻℂ-⅏\U0001d49c-\U0001d59f"
_IDENT_PART = rf"(?:[{_LETTER}][{_LETTER}0-9'!?₀-₉ₐ-ₜᵢ-ᵪⱼ]*|«[^»]*»)"
_IDENT = re.compile(rf"{_IDENT_PART}(?:\.{_IDENT_PART})*")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|\d+(?:\.\d+)?")
_AFTER_NUMBER = re.compile(r"[^\W\d]|\.[eE][+-]?\d")
_CHARACTER = re.compile(r"'(?:\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)|[^\\'])'", re.S)
_STRING = re.compile(r'"(?:\\.|[^"\\])*"', re.S)
_RAW = re.compile(r'r(#*)"')
_BLANK = re.compile(r"\s+")
_BEFORE_COMMENT = re.compile(r"[\s\w'\"»()\[\]{}⟨⟩]")


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

    A string that can hold code, because it is interpolated, is a trap, and is followed by the tokens within it.
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
            # "<--" is "<-" and a minus to Lean, "\\/-" an or and a minus: after an operator it is not surely a comment
            if at > begin and not _BEFORE_COMMENT.match(text[at - 1]):
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
            # after a dot or a backquote the r is a name to Lean, and an ordinary string begins
            if at > begin and not re.match(r"[\s(\[{⟨,]", text[at - 1]):
                add("trap", at - 1, match.end())
            add("string", at, stop)
            at = stop
        elif match := _IDENT.match(text, at, end):
            add("name", at, match.end(), re.sub("[«»]", "", match[0]), "«" in match[0])
            at = match.end()
        elif match := _NUMBER.match(text, at, end):
            add("number", at, match.end())
            # "1e5axiom" is a number and a word to Lean
            if _AFTER_NUMBER.match(text, match.end(), end):
                add("trap", at, match.end() + 1)
            at = match.end()
        elif text[at] == '"':
            match = _STRING.match(text, at, end)
            stop = match.end() if match else end
            add("string", at, stop)
            # Lean ends an interpolated string elsewhere: code within it can hold further strings
            if "{" in text[at:stop]:
                add("trap", at, stop)
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
