"""The publisher of a bridge's run, in a thread of its own, so that nothing of it runs in the bridge's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from firmware_bridge.errors import LabError, TraceError
from firmware_bridge.telemetry.mqtt import MqttSettings
from firmware_bridge.telemetry.publisher import Publisher
from firmware_bridge.telemetry.publisher_watch import BEHIND_S

if TYPE_CHECKING:
    from firmware_bridge.stratum.server import Bridge

log = logging.getLogger(__name__)

PATIENCE_S = 30.0
"""How long the end of a run waits for the broker; what is left then is published at the next start."""


class LivePublisher:
    """Publishes a bridge's run while it is written; give it to ``Bridge.attach``.

    Args:
        settings: of the broker, and the lab's name.
        db: URL of the trace that the bridge writes.
        patience_s: how long the end of the run may wait for the broker.
        behind_s: how long rows may wait before that is an event of the run.

    Attributes:
        publisher: at work from ``start`` on.
        settled: whether everything had been acknowledged at the end.
    """

    def __init__(
        self, settings: MqttSettings, db: str, *, patience_s: float = PATIENCE_S, behind_s: float = BEHIND_S
    ) -> None:
        self.settings = settings
        self.publisher: Publisher | None = None
        self.settled = False
        self._db, self._patience_s, self._behind_s = db, patience_s, behind_s
        self._bridge: Bridge | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None

    async def start(self, bridge: Bridge) -> None:
        """Connect; a broker that cannot be reached now is no error.

        Raises:
            UserError: if the broker does not let us in.
        """
        self._bridge = bridge
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._main, args=(started,), name="mqtt", daemon=True)
        self._thread.start()
        await asyncio.wrap_future(started)

    async def stop(self) -> None:
        """Nothing yet: rows come until the run has ended."""

    async def ended(self) -> None:
        """Publish what is left, as far as patience reaches."""
        thread, loop, over = self._thread, self._loop, self._over
        if thread is None or loop is None or over is None:
            return
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            loop.call_soon_threadsafe(over.set)
        await asyncio.to_thread(thread.join)

    def _main(self, started: Future[None]) -> None:
        try:
            asyncio.run(self._run(started))
        except Exception as error:
            if not started.done():
                started.set_exception(error)
            else:
                log.error("%s: publishing has ended: %s", self.settings.address, error)
                self._tell("mqtt-ended", "error", {"error": str(error)})

    async def _run(self, started: Future[None]) -> None:
        assert self._bridge is not None
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        publisher = Publisher(
            self.settings,
            self._db,
            tell=self._tell,
            presence=self._bridge.presence,
            clock=self._bridge.clock,
            behind_s=self._behind_s,
        )
        try:
            publisher.add(self._bridge.run.run_id, live=True)
            publisher.add_unfinished()
            await publisher.start()
        except BaseException:
            await publisher.stop()
            raise
        self.publisher = publisher
        started.set_result(None)
        work = self._loop.create_task(publisher.work())
        over = self._loop.create_task(self._over.wait())
        try:
            await asyncio.wait((work, over), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                if not publisher.client.connected:
                    log.warning("waiting up to %g s for %s", self._patience_s, self.settings.address)
                self.settled = await publisher.finish(self._patience_s)
                if not self.settled:
                    log.warning(
                        "not everything was published; it is at the next start, or by `asiclab mqtt publish`"
                    )
            over.cancel()
            work.cancel()
            results = await asyncio.gather(work, over, return_exceptions=True)
            if isinstance(results[0], LabError):
                raise results[0]
        finally:
            await publisher.stop()

    def _tell(self, kind: str, severity: str, detail: dict[str, Any], miner: int | None = None) -> None:
        """An event of the run; one after its end is logged only."""
        assert self._bridge is not None
        run = self._bridge.run
        if run.ended or run.failed is not None:
            log.warning("%s: %s", kind, detail)
            return
        with contextlib.suppress(TraceError):
            run.event(kind, severity, detail, miner=miner)
