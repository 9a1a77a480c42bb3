"""What the text of a module may not say, whatever Lean makes of it.

The text is read before Lean is started, because Lean runs code while it elaborates: ``#eval`` can write files and end
the process with any exit code. What only the kernel can know is the audit's part.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from experiments.proofs.declarations import statement_of
from experiments.proofs.findings import Violation
from experiments.proofs.sources import Module, Project
from experiments.proofs.tokens import Token

_RUNS = "runs code of its own while it is elaborated"
_SYNTAX = "changes what the text means, so that a statement no longer says what it seems to"
_COMPILER = "lets compiled code stand for a proof"
STOPPING = {
    **dict.fromkeys(
        ("run_cmd", "run_elab", "run_meta", "run_tac", "by_elab", "initialize", "builtin_initialize"), _RUNS
    ),
    **dict.fromkeys(
        ("simproc", "dsimproc", "builtin_simproc", "builtin_dsimproc", "simproc_decl", "include_str"), _RUNS
    ),
    **dict.fromkeys(("register_simp_attr", "register_option", "register_builtin_option", "dbg_trace"), _RUNS),
    **dict.fromkeys(
        ("macro", "macro_rules", "notation", "notation3", "syntax", "declare_syntax_cat"), _SYNTAX
    ),
    **dict.fromkeys(
        ("infix", "infixl", "infixr", "prefix", "postfix", "elab", "elab_rules", "unif_hint"), _SYNTAX
    ),
    **dict.fromkeys(("binder_predicate", "declare_simp_like_tactic", "declare_config_elab"), _SYNTAX),
    **dict.fromkeys(("native_decide", "native", "bv_decide"), _COMPILER),
    **dict.fromkeys(("implemented_by", "extern", "csimp"), _COMPILER),
    "unsafe": "declares what the kernel does not check",
    **dict.fromkeys(
        ("prelude", "module", "meta", "public"), "makes a module of another kind than the audit reads"
    ),
}
"""Words that keep Lean from being started at all."""

WORDS = {
    **dict.fromkeys(("sorry", "admit", "stop"), "leaves a proof open"),
    "axiom": "assumes instead of proving",
    **dict.fromkeys(("partial", "opaque"), "declares what the kernel does not check"),
    **dict.fromkeys(("export", "hiding", "renaming"), "gives a name another meaning"),
    "add_decl_doc": "puts a documentation where nobody reads it",
}
PARTS = {
    **dict.fromkeys(("sorryAx", "lcProof", "lcUnreachable", "lcAny"), "leaves a proof open"),
    **dict.fromkeys(("ofReduceBool", "ofReduceNat", "reduceBool", "reduceNat", "trustCompiler"), _COMPILER),
    **dict.fromkeys(
        ("unsafeCast", "unsafeIO", "unsafeBaseIO", "unsafeEIO", "ptrAddrUnsafe"), "is outside the logic"
    ),
    **dict.fromkeys(
        ("skipKernelTC", "addDecl", "addDeclCore", "addDeclWithoutChecking"), "goes round the kernel"
    ),
    "_root_": "steps out of the project's namespace",
}
OPTIONS = ("maxRecDepth", "maxHeartbeats", "autoImplicit", "relaxedAutoImplicit")
OPTION_FAMILIES = ("linter.",)
ATTRIBUTES = (
    *(
        "simp",
        "grind",
        "ext",
        "congr",
        "refl",
        "symm",
        "trans",
        "norm_cast",
        "push_cast",
        "inline",
        "always_inline",
    ),
    *(
        "noinline",
        "specialize",
        "reducible",
        "irreducible",
        "semireducible",
        "elab_as_elim",
        "expose",
        "deprecated",
    ),
    *("induction_eliminator", "cases_eliminator", "inherit_doc", "nolint", "macro_inline", "match_pattern"),
)
_GREEK_LOOKALIKES = set("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧοϲϳ")
_CODE_CATEGORIES = ("Sm", "So", "Ps", "Pe", "Pi", "Pf", "No")


def scan(module: Module) -> list[Violation]:
    """Every violation in the text of a module, in the order of its lines."""
    found = [*_characters(module), *_words(module), *_options(module), *_attributes(module), *_header(module)]
    return sorted(found, key=lambda violation: violation.line)


def scan_project(project: Project) -> list[Violation]:
    """Every violation in the text of a project: of each module, and of them together."""
    return [*(v for module in project.modules for v in scan(module)), *_twice(project)]


def _twice(project: Project) -> Iterator[Violation]:
    """One name for two things: a private one prints as the public one and takes its place in a list."""
    first: dict[str, str] = {}
    for module in project.modules:
        for declaration in module.declarations:
            nameless = f"{module.name}: {statement_of(declaration.source)}"
            label = declaration.name or (nameless if declaration.keyword == "instance" else "")
            if label and label in first:
                text = f"{label} is declared twice, first in {first[label]}"
                yield Violation(module.file, declaration.line, "twice", text)
            elif label:
                first[label] = f"{module.file}:{declaration.line}"


def _words(module: Module) -> Iterator[Violation]:
    code = [token for token in module.tokens if token.kind != "doc"]
    for number, token in enumerate(code):
        if token.kind == "trap":
            text = f"{token.text!r} can be read in two ways; put a blank between, and no code into a string"
            yield Violation(module.file, token.line, "text", text, stops=True)
        if token.kind == "symbol" and token.text == "#" and _command(code, number):
            name = code[number + 1].text
            yield Violation(module.file, token.line, "command", f"#{name} {_RUNS}", stops=True)
        if token.kind != "name":
            continue
        if token.quoted:
            yield Violation(
                module.file,
                token.line,
                "text",
                f"«{token.text}»: a quoted name can look like anything",
                stops=True,
            )
        if "Lean" in token.parts[:2] or "IO" in token.parts:
            yield Violation(module.file, token.line, "meta", f"{token.text} {_RUNS}", stops=True)
        if token.text in STOPPING:
            yield Violation(
                module.file, token.line, token.text, f"{token.text} {STOPPING[token.text]}", stops=True
            )
        elif token.text in WORDS:
            yield Violation(module.file, token.line, token.text, f"{token.text} {WORDS[token.text]}")
        for part in token.parts:
            if part in PARTS:
                yield Violation(module.file, token.line, part, f"{token.text}: {part} {PARTS[part]}")


def _command(code: list[Token], number: int) -> bool:
    """``#name``, but not the array ``#[`` or the vector ``#v[``."""
    if number + 1 >= len(code):
        return False
    name = code[number + 1]
    after = code[number + 2] if number + 2 < len(code) else None
    vector = after is not None and after.text == "[" and after.start == name.end
    return name.kind == "name" and name.start == code[number].end and not vector


def _options(module: Module) -> Iterator[Violation]:
    for token, option in zip(module.tokens, module.tokens[1:], strict=False):
        if token.kind == "name" and token.text == "set_option":
            allowed = option.text in OPTIONS or option.text.startswith(OPTION_FAMILIES)
            if option.kind != "name" or not allowed:
                text = f"set_option {option.text}: only {', '.join((*OPTIONS, *OPTION_FAMILIES))} may be set"
                yield Violation(module.file, token.line, "option", text)


def _attributes(module: Module) -> Iterator[Violation]:
    code = [token for token in module.tokens if token.kind != "doc"]
    for number, token in enumerate(code):
        if token.text != "[" or number == 0:
            continue
        if not (
            code[number - 1].text == "@"
            or (code[number - 1].kind == "name" and code[number - 1].text == "attribute")
        ):
            continue
        depth, expected = 1, True
        for entry in code[number + 1 :]:
            depth += (entry.text in ("[", "(", "{")) - (entry.text in ("]", ")", "}"))
            if depth == 0:
                break
            if expected and entry.text not in ("local", "scoped", "-"):
                expected = False
                if entry.kind != "name" or entry.text not in ATTRIBUTES:
                    text = (
                        f"@[{entry.text}] is not allowed: an attribute may change what a name means or does"
                    )
                    yield Violation(module.file, entry.line, "attribute", text)
            if depth == 1 and entry.text == ",":
                expected = True


def _header(module: Module) -> Iterator[Violation]:
    code = [token for token in module.tokens if token.kind != "doc"]
    at = 0
    while at < len(code) and code[at].text == "import":
        if at + 1 == len(code) or code[at + 1].kind != "name":
            yield Violation(module.file, code[at].line, "import", "names no module", stops=True)
        at += 2
    for token in code[at:]:
        if token.kind == "name" and token.text == "import":
            text = "an import stands only at the start, and names one module"
            yield Violation(module.file, token.line, "import", text, stops=True)


def _characters(module: Module) -> Iterator[Violation]:
    code = [False] * len(module.text)
    for token in module.tokens:
        if token.kind not in ("doc", "string", "character"):
            code[token.start : token.end] = [True] * (token.end - token.start)
    for line, start, text in _lines(module.text):
        for offset, char in enumerate(text):
            if ord(char) < 128 and (char.isprintable() or char == "\t"):
                continue
            if char == "\r" and offset == len(text) - 1:
                continue
            category = unicodedata.category(char)
            name = unicodedata.name(char, f"U+{ord(char):04X}")
            if category in ("Cf", "Cc", "Co", "Cn", "Cs", "Zl", "Zp"):
                yield Violation(module.file, line, "unicode", f"{name} cannot be seen")
            elif code[start + offset] and not _plain(char, category):
                yield Violation(module.file, line, "unicode", f"{name} can be taken for another letter")


def _lines(text: str) -> Iterator[tuple[int, int, str]]:
    start = 0
    for number, line in enumerate(text.split("\n"), 1):
        yield number, start, line
        start += len(line) + 1


def _plain(char: str, category: str) -> bool:
    """Greek that looks like nothing else, sub- and superscripts, ℕ and the like, and the symbols of mathematics."""
    if char in _GREEK_LOOKALIKES:
        return False
    if "Ͱ" <= char <= "Ͽ" or "ℂ" <= char <= "⅏":
        return True
    return category in _CODE_CATEGORIES or "ₐ" <= char <= "ₜ" or char in "ᵢᵣᵤᵥⱼ×·¬÷"
