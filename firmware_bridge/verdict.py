"""What an analysis concludes, in a code for programs and a sentence for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Verdict:
    """What was concluded.

    Attributes:
        code: one word; docs/verdicts.md says what each means.
        text: for people.
    """

    code: str
    text: str

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return {"code": self.code, "text": self.text}
