"""Where a link shows the bytes that pass over it, so that a flight recorder can keep them."""

from __future__ import annotations

from typing import Protocol


class Tap(Protocol):
    """Takes the bytes of one link in the order in which they pass; empty bytes mean the end of that direction.

    Secrets are replaced by whoever implements this, with the link's own rule, before anything is stored.
    """

    def sent(self, data: bytes) -> None:
        """Bytes that were handed to the link."""

    def received(
        self,
        data: bytes,
        *,
        kernel_ns: int | None = None,
        monotonic_ns: int | None = None,
        wall_ns: int | None = None,
    ) -> None:
        """Bytes that arrived, with the stamps that the link gave them; missing stamps are those of now."""


class TapFactory(Protocol):
    """Opens a tap for a link: what a driver is given that has several links, or makes one per request."""

    def __call__(self, link: str) -> Tap:
        """Tap of the link with this name, a URL such as ``http://10.0.0.7`` or ``serial:///dev/ttyUSB0``."""
