"""Carries out commands that come over the network, on the devices that a run polls, and tells what became of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from firmware_bridge.errors import DeviceError, LabError, LimitError, TraceError, UserError
from firmware_bridge.telemetry.commands import Command, CommandDesk, Reason, Refused

if TYPE_CHECKING:
    from firmware_bridge.stratum.server import Bridge
    from firmware_bridge.telemetry.poll import DevicePoller

log = logging.getLogger(__name__)

Find = Callable[[str], "DevicePoller | None"]
"""The device that a name in a topic means."""
Answer = Callable[[str, bytes], None]
"""Sends an answer on the topic of a name; must not block."""


class CommandPost:
    """Takes commands for the devices of a run; attach it before them, so that it ends before they are restored.

    Args:
        desk: judges the commands.
        find: the device of a name.
        answer: where answers go.
        beyond_factory: whether the user of this lab agreed to values outside the factory's table; no message can.
    """

    def __init__(
        self, desk: CommandDesk, find: Find, answer: Answer, *, beyond_factory: bool = False
    ) -> None:
        self._desk = desk
        self._find = find
        self._answer = answer
        self._beyond_factory = beyond_factory
        self._bridge: Bridge | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, bridge: Bridge) -> None:
        """Take commands from now on."""
        self._bridge = bridge

    async def stop(self) -> None:
        """Take no more, and let go of what is not finished; the device's own restoration mends what it left."""
        self._bridge = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def take(self, name: str, payload: bytes, *, retained: bool) -> None:
        """A command came for a miner."""
        bridge = self._bridge
        if bridge is None:
            return
        poller = self._find(name)
        found = self._desk.judge(
            name,
            payload,
            retained=retained,
            known=poller is not None,
            wall_ns=bridge.clock.wall_ns(),
            monotonic_ns=bridge.clock.monotonic_ns(),
        )
        if isinstance(found, Refused) or poller is None:
            assert isinstance(found, Refused)
            self._refuse(bridge, name, found, None if poller is None else poller.miner)
            return
        self._desk.begin(name)
        task = asyncio.get_running_loop().create_task(self._carry_out(bridge, name, found, poller))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, bridge: Bridge, name: str, command: Command, poller: DevicePoller) -> None:
        device, touched, refused = poller.device, True, None
        try:
            if command.point is None:
                applied = await device.restore()
            else:
                applied = await device.apply(command.point, beyond_factory=self._beyond_factory)
        except LimitError as error:
            touched, refused = False, Refused(Reason.LIMIT, command.id, str(error))
        except UserError as error:
            touched, refused = False, Refused(Reason.NOT_SUPPORTED, command.id, str(error))
        except LabError as error:
            refused = Refused(Reason.DEVICE, command.id, str(error))
        except Exception as error:  # a fault in a driver ends neither the run nor the taking of commands
            log.exception("%s: internal error", name)
            fault = DeviceError(f"internal error of its driver: {type(error).__name__}")
            refused = Refused(Reason.DEVICE, command.id, str(fault))
        finally:
            self._desk.end(name, bridge.clock.monotonic_ns(), changed=touched)
        if refused is not None:
            self._refuse(bridge, name, refused, poller.miner)
            return
        outcome = None if applied is None else applied.to_json()
        detail = {
            "id": command.id,
            "asked": "restore" if command.point is None else "set",
            "applied": outcome,
        }
        with contextlib.suppress(TraceError):  # the bridge itself stops for that
            poller.changed(applied, command.reason)
            bridge.run.event("command", "info", detail, miner=poller.miner)
        self._send(bridge, name, {"id": command.id, "accepted": True, "applied": outcome})

    def _refuse(self, bridge: Bridge, name: str, refused: Refused, miner: int | None) -> None:
        log.warning("command to %.60r refused: %s %.80s", name, refused.reason.value, refused.detail)
        detail = {"name": name[:80], **refused.to_json()}
        bridge.peer_event("command-refused", "warning", detail, miner)
        self._send(bridge, name, {"accepted": False, **refused.to_json()})

    def _send(self, bridge: Bridge, name: str, content: dict[str, Any]) -> None:
        text = json.dumps({**content, "wall_ns": bridge.clock.wall_ns()}, allow_nan=False)
        self._answer(name, text.encode())
