"""What our docstrings have of reStructuredText, as the Markdown of the site: roles, simple tables, literal blocks."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, NameResolutionError, Object

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc|const|obj):`~?([\w.]+)`")
RULE = r"^=+(?: +=+)+ *$"
TABLE = re.compile(rf"{RULE}\n(?:.+\n)+?{RULE}(?:\n(?:.+\n)+?{RULE})?", re.M)
LITERAL = re.compile(r"(^|\S)::$", re.M)


class Rst(Extension):
    """Rewrites the docstrings as they are loaded."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrite one docstring; a role whose name is on no page stays code."""
        if obj.docstring is None:
            return

        def linked(match: re.Match[str]) -> str:
            name = match[1]
            try:
                path = obj.resolve(name)
            except NameResolutionError:
                path = name
            return f'<autoref identifier="{path}" optional><code>{name}</code></autoref>'

        text = ROLE.sub(linked, obj.docstring.value)
        text = TABLE.sub(lambda table: f"```text\n{table[0]}\n```", text)
        obj.docstring.value = LITERAL.sub(lambda m: f"{m[1]}:" if m[1] else "", text)
