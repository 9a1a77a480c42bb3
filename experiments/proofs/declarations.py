"""What a Lean file declares, by its text: names with their lines, source of definitions, statements of examples."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.proofs.tokens import Token

DECLARE = (
    "theorem",
    "lemma",
    "def",
    "abbrev",
    "structure",
    "class",
    "inductive",
    "instance",
    "example",
    "axiom",
    "opaque",
)
_MODIFIERS = ("private", "protected", "noncomputable", "local", "scoped", "unsafe", "partial", "nonrec")
_COMMANDS = (
    *DECLARE,
    *_MODIFIERS,
    *("namespace", "section", "end", "open", "variable", "set_option", "attribute", "universe", "mutual"),
    *("omit", "include", "deriving", "export", "macro", "notation", "syntax", "elab", "initialize", "import"),
)


@dataclass(frozen=True)
class Declaration:
    """One declaration.

    Attributes:
        keyword: ``theorem``, ``def``, …
        name: full name; empty where the text gives none.
        line: of the keyword.
        source: its text without comments, on one line.
        private: whether other modules cannot see it.
    """

    keyword: str
    name: str
    line: int
    source: str
    private: bool


def declarations(text: str, found: list[Token]) -> list[Declaration]:
    """Declarations of a file in their order.

    Args:
        text: of the file.
        found: its tokens.
    """
    code = [token for token in found if token.kind != "doc"]
    docs = {token.start for token in found if token.kind == "doc"}
    starts = sorted({*docs, *(t.start for n, t in enumerate(code) if _starts_command(code, n))})
    result: list[Declaration] = []
    scopes: list[tuple[str, list[str]]] = []
    for number, token in enumerate(code):
        following = code[number + 1] if number + 1 < len(code) else None
        if token.kind != "name" or token.quoted or _is_field(text, token):
            continue
        if token.text == "namespace" and following is not None:
            scopes.append(("namespace", following.parts))
        elif token.text in ("section", "mutual") and _starts_command(code, number):
            scopes.append((token.text, []))
        elif token.text == "end" and scopes and _starts_command(code, number):
            _leave(scopes, following)
        elif token.text in DECLARE and _starts_declaration(code, number):
            end = next((start for start in starts if start > token.start), len(text))
            result.append(
                Declaration(
                    token.text,
                    _name(token, _after_priority(code, number), scopes),
                    token.line,
                    _source(text, [t for t in code[number:] if t.start < end]),
                    _has_modifier(code, number, "private"),
                )
            )
    return result


def statement_of(source: str) -> str:
    """Text of a declaration up to its proof."""
    depth = 0
    for at, char in enumerate(source):
        depth += (char in "([{⟨") - (char in ")]}⟩")
        if depth == 0 and source.startswith((":=", "where "), at):
            return source[:at].strip()
    return source.strip()


def _leave(scopes: list[tuple[str, list[str]]], following: Token | None) -> None:
    """``end A.B`` closes ``namespace A.B`` as well as ``namespace A`` and ``namespace B``."""
    wanted = len(following.parts) if following is not None and following.kind == "name" else 1
    closed = 0
    while scopes and closed < wanted:
        kind, names = scopes[-1]
        if kind == "namespace" and len(names) > wanted - closed:
            scopes[-1] = (kind, names[: len(names) - (wanted - closed)])
            return
        scopes.pop()
        closed += max(1, len(names))


def _starts_command(code: list[Token], number: int) -> bool:
    """At the start of a line: what follows is a command of its own."""
    token = code[number]
    first = token.column == 0 or number == 0 or code[number - 1].line < token.line
    if token.kind == "symbol":
        return token.column == 0 and token.text in "@#"
    return first and token.column == 0 and token.kind == "name" and token.text in _COMMANDS


def _starts_declaration(code: list[Token], number: int) -> bool:
    """A keyword, not the ``instance`` of ``attribute [instance]`` or ``deriving instance``."""
    before = code[number - 1] if number else None
    after = code[number + 1] if number + 1 < len(code) else None
    if before is not None and before.text in ("deriving", "[", ",", "class"):
        return False
    return after is not None and after.text not in ("]", ",")


def _has_modifier(code: list[Token], number: int, modifier: str) -> bool:
    at = number - 1
    while at >= 0 and code[at].text in _MODIFIERS:
        if code[at].text == modifier:
            return True
        at -= 1
    return False


def _after_priority(code: list[Token], number: int) -> Token | None:
    """What stands where the name of a declaration stands: after the ``(priority := high)`` of an instance."""
    at = number + 1
    if [token.text for token in code[at : at + 2]] == ["(", "priority"]:
        at = next((n + 1 for n in range(at, len(code)) if code[n].text == ")"), len(code))
    return code[at] if at < len(code) else None


def _name(token: Token, following: Token | None, scopes: list[tuple[str, list[str]]]) -> str:
    anonymous = following is None or following.kind != "name" or token.text == "example"
    if anonymous or following is None:
        return ""
    if following.text.startswith("_root_."):
        return following.text.removeprefix("_root_.")
    return ".".join([*(part for _, names in scopes for part in names), following.text])


def _is_field(text: str, token: Token) -> bool:
    return token.start > 0 and text[token.start - 1] == "."


def _source(text: str, part: list[Token]) -> str:
    pieces: list[str] = []
    for number, token in enumerate(part):
        if number and part[number - 1].end != token.start:
            pieces.append(" ")
        pieces.append(text[token.start : token.end])
    return "".join(pieces)
