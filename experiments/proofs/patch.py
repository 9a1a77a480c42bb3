"""The four changes that make the WebAssembly build of Lean start in 8 s instead of 115 s; ``lean.wasm`` stays as it is.

Each is a substitution in the text of ``lean.js`` with a known number of hits: another build is refused, not half
patched.
"""

from __future__ import annotations

import re

from experiments.proofs.errors import ToolchainError

MOUNTS = "LEAN_WASM_MOUNTS"
"""Environment variable of the patched build: folders, ``:`` between them, that Lean sees besides /home and /tmp."""

VERSION = 1

_SYMBOL = "newSymIndex=Object.keys(lib.exports).indexOf(symbol);"
_SYMBOL_MAP = (
    "if(!lib.symIndex){lib.symIndex=new Map(Object.keys(lib.exports).map((k,i)=>[k,i]))}"
    "newSymIndex=lib.symIndex.get(symbol)??-1;"
)
_DEBUG = 'console.log("[DEBUG'
_NAMES = "var _main,_lean_main,"
_ASSIGN = ";function assignWasmExports(wasmExports){"
_REGULAR = re.compile(r'([A-Za-z_$][\w$]*)=Module\["[^"]+"\]=wasmExports\["[^"]+"\](?:\.value)?')
_IDENTIFIER = re.compile(r"[A-Za-z_$][\w$]*")
_SECOND_MOUNT = 'FS.mount(NODEFS,{root:"/home"},"/home");FS.mount(NODEFS,{root:"/tmp"},"/tmp");'
_MOUNT_LOOP = (
    f'for(const m of (process.env.{MOUNTS}||"").split(":").filter(Boolean))'
    '{let q="";for(const s of m.split("/").filter(Boolean)){q+="/"+s;try{FS.mkdir(q)}catch(e){}}'
    "FS.mount(NODEFS,{root:m},m)}"
)


def patched(source: str) -> str:
    """``lean.js`` with the four changes.

    1. A symbol's index is looked up in a map, made once, instead of by a search through 200 000 names each time.
    2. Start-up messages of the program's own start code no longer go to stdout.
    3. 201 060 of 201 110 exported names that nothing refers to are not bound to variables.
    4. The folders named in ``LEAN_WASM_MOUNTS`` are mounted as well.

    Args:
        source: text of the file of the pinned npm package.

    Returns:
        The text to run.

    Raises:
        ToolchainError: if any pattern has another number of hits than in the pinned package.
    """
    text = _replace(source, _SYMBOL, _SYMBOL_MAP, 1)
    begin, end = _find(text, "var ASM_CONSTS={"), _find(text, _NAMES)
    constants = _replace(text[begin:end], _DEBUG, 'void("[DEBUG', 55)
    text = text[:begin] + constants + text[end:]
    text = _without_unused_names(text)
    return only_mounts(text)


def only_mounts(source: str) -> str:
    """``lean.js`` with the fourth change alone: the published start, able to see the cache folder."""
    return _replace(source, _SECOND_MOUNT, _SECOND_MOUNT + _MOUNT_LOOP, 1)


def _without_unused_names(text: str) -> str:
    begin = _find(text, _NAMES) + len("var ")
    middle = _find(text, _ASSIGN)
    body = middle + len(_ASSIGN)
    end = text.index("}", body)
    names, assignments = text[begin:middle].split(","), text[body:end].split(";")
    _expect("declared names", len(names), 201_110)
    used = set(_IDENTIFIER.findall(text[:begin])) | set(_IDENTIFIER.findall(text[middle:body] + text[end:]))
    kept, regular = [], 0
    for assignment in filter(None, assignments):
        match = _REGULAR.fullmatch(assignment)
        regular += match is not None
        # the one irregular assignment sets the function table as well, and stays
        if match is None or match[1] in used:
            kept.append(assignment)
    _expect("regular assignments", regular, 201_108)
    _expect("irregular assignments", len(list(filter(None, assignments))) - regular, 1)
    declared = [name for name in names if name.split("=")[0] in used]
    return text[:begin] + ",".join(declared) + text[middle:body] + ";".join(kept) + text[end:]


def _find(text: str, pattern: str) -> int:
    _expect(pattern, text.count(pattern), 1)
    return text.index(pattern)


def _replace(text: str, pattern: str, by: str, hits: int) -> str:
    _expect(pattern, text.count(pattern), hits)
    return text.replace(pattern, by)


def _expect(what: str, found: int, hits: int) -> None:
    if found != hits:
        raise ToolchainError(
            f"lean.js has {found} instead of {hits} of {what!r}: not the build that the patch is for"
        )
