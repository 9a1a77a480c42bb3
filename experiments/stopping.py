"""Whoever ends a run, from the keyboard, by SIGTERM or from another process, ends a cell under way in one way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

from experiments.runner import StoppedError

if TYPE_CHECKING:
    from experiments.results import Results

LOOK_S = 1.0
"""Between two looks whether somebody asked."""


@contextmanager
def ended_gently() -> Iterator[None]:
    """SIGTERM ends a cell as Ctrl-C does: a miner is set back, and what was measured is kept.

    What handles SIGINT handles it: an event loop then cancels its work in order, where a ``KeyboardInterrupt`` from
    nowhere could tear any part of it. A shell that starts something in the background has it ignore SIGINT, and an
    event loop would leave that as it is, so SIGINT is heard as well while this lasts.

    Raises:
        KeyboardInterrupt: where SIGTERM ended it, with its number.
    """
    asked = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        handler = signal.getsignal(signal.SIGINT)
        assert callable(handler)
        handler(signal.SIGINT, frame)

    deaf = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if deaf:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:
        if asked:
            raise KeyboardInterrupt(signal.SIGTERM) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        if deaf:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def stopped_from_elsewhere(results: Results, name: str) -> Iterator[Callable[[str], None]]:
    """Interrupt the main thread in the middle of a cell where somebody asks this run to stop.

    A cell on a miner can take hours. Its miner is set back on the way out, as after Ctrl-C. To be used within
    :func:`ended_gently`.

    Args:
        results: where it is asked.
        name: of the experiment, for the message.

    Yields:
        To be told the id of the run once it has one.

    Raises:
        StoppedError: where somebody asked.
    """
    run_ids: list[str] = []
    ended, asked = threading.Event(), threading.Event()
    main = threading.main_thread().ident
    assert main is not None

    def watch() -> None:
        while not ended.wait(LOOK_S):
            if run_ids and results.asked_to_stop(run_ids[-1]):
                asked.set()
                signal.pthread_kill(main, signal.SIGTERM)
                return

    watching = threading.Thread(target=watch, name="stop", daemon=True)
    watching.start()
    try:
        yield run_ids.append
    except KeyboardInterrupt:
        if not asked.is_set():
            raise
        raise StoppedError(
            f"{name}: stopped in the middle of a cell, its miner is set back and earlier cells are kept; "
            "go on with --resume"
        ) from None
    finally:
        with suppress(KeyboardInterrupt):  # the wish came while the last cell ended by itself
            ended.set()
            watching.join()
