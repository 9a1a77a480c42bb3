"""A miner over its socket as the subject of an experiment: one run of the bridge per cell, and everything set back.

An emulated miner in wall time is one, in a process of its own; so is a device in the network, whose pool is set for
the cell and set back at its end, whatever ended it; a chain on a serial port; and any miner that somebody points here.
Where an experiment varies the clock or the core voltage, each cell sets it through the device's own driver.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from experiments import attached_miner
from experiments.attached_run import Recording, since
from experiments.share_rates import shares_per_s
from experiments.subjects import VIRTUAL_MODELS, Emulated
from firmware_bridge.errors import DeviceError, UserError

if TYPE_CHECKING:
    from experiments.experiment import Point
    from experiments.held_point import Held
    from experiments.live import Feed
    from experiments.narma_plan import Plan as DrivenPlan
    from firmware_bridge.devices.device import Device
    from firmware_bridge.devices.settings import Bound, OperatingPoint
    from firmware_bridge.timing.run_data import RunData

CAN_SET = ("difficulty", "mode", "job_period_s", "source", "telemetry_period_s")
"""Settings of a cell that the bridge alone decides, so that nothing of the miner is changed for them; ``source`` is a
``SymbolSource`` of the bridge, ``telemetry_period_s`` how often a device in the network is asked."""
SETTINGS = {"frequency": "frequency_mhz", "voltage": "core_voltage_mv"}
"""What an experiment calls a setting of the miner, and what its points and the devices do."""
SETTLE_S = 60.0
"""From a change of clock or voltage to the first share that counts: that of the published voltage sweep."""
RESTART_S = 60.0
"""A restart for a pool or a setting; an LV06 is away for 40 to 60 s."""
RESTARTS = {False: 2, True: 4}
"""Restarts of a cell by whether it sets the miner: pool there and back, settings there and back."""
SLOWER = 2.0
"""A cell ends after so many times the time that its shares should take."""
EMULATED = {"s9": ("frequency_mhz",), "lv06": ("frequency_mhz", "core_voltage_mv")}
"""What emulated miners in wall time let set over their own page or API."""


@dataclass(frozen=True)
class Attached:
    """A miner in wall time.

    Attributes:
        db: trace that its runs go into.
        device: URL of a device, ``bm1366:PORT`` of a chain, ``any`` for whoever connects, or ``emulate:MODEL``.
        model: whose emulator stands for it in the placebo arm, and whose hash rate in the arithmetic.
        host: address of this host that the miner reaches.
        port: of the bridge; 0 takes a free one.
        patience_s: how long the miner may stay away.
        password_file: with the password of its worker, for its own pool too.
        agreed: whether the user has agreed that its pool, clock and voltage are changed.
        plants: of an emulated one.
        physics: of an emulated one, what differs from the model's own.
        settle_s: from a change of clock or voltage to the first share that counts.
        period_s: between jobs where a clock sends the symbols; None: what is usual for the model.
        settable: settings that it takes, as far as it was asked (:meth:`asked`); None: not asked.
        cannot: why not the others.
    """

    db: str = field(repr=False)
    device: str
    model: str = "s9"
    host: str = "127.0.0.1"
    port: int = 0
    patience_s: float = 300.0
    password_file: str | None = None
    agreed: bool = False
    plants: Mapping[str, float] = field(default_factory=dict)
    physics: Mapping[str, Any] = field(default_factory=dict)
    settle_s: float = SETTLE_S
    period_s: float | None = None
    settable: tuple[str, ...] | None = None
    cannot: Mapping[str, str] = field(default_factory=dict)
    kind = "device"

    def __post_init__(self) -> None:
        if not 0.0 <= self.settle_s < math.inf:
            raise UserError(f"--settle is a time from 0 s on, not {self.settle_s!r}")
        if self.period_s is not None and not 0.0 < self.period_s < math.inf:
            raise UserError(f"--job-period is a time above 0 s, not {self.period_s!r}")
        if self.in_network and "://" not in self.device:
            raise UserError(
                f"{self.device!r} is no address of a miner; write lv06://HOST, s9://HOST, bm1366:PORT, or any for "
                "whoever connects"
            )
        if self.in_network and self.host == "127.0.0.1" and not self.local:
            raise UserError(f"--device {self.device} needs --host ADDRESS, where the miner reaches this host")
        if self.in_network and not self.agreed:
            raise UserError(
                f"the pool of {self.device} would be changed for each cell and set back at its end, and so would clock "
                "and voltage where the experiment varies them; agree with --yes"
            )

    @property
    def emulated(self) -> bool:
        """Whether it is an emulated miner."""
        return self.device.startswith("emulate:")

    @property
    def in_network(self) -> bool:
        """Whether it is a device whose pool is set."""
        return in_network(self.device)

    @property
    def local(self) -> bool:
        """Whether its address is one of this host, so that it reaches this host by the default address."""
        return is_local(self.device)

    def placebo(self) -> Emulated:
        """An ordinary emulated miner of that model, in virtual time."""
        return Emulated(self.model)

    def to_json(self) -> dict[str, Any]:
        """Plain data, without the places that may differ between machines."""
        from firmware_bridge.devices.journal import without_secrets

        told = {"kind": self.kind, "device": without_secrets(self.device), "model": self.model}
        waits = {"settle_s": self.settle_s, "period_s": self.period_s}
        return {**told, **waits, "plants": dict(self.plants), "physics": dict(self.physics)}

    # ---- what it can be set to ---------------------------------------------------------------------------------------

    def asked(self) -> Attached:
        """The same, with what the device says that it can be set to; nothing is changed.

        Raises:
            LabError: if it does not answer, or is another model.
        """
        if self.settable is not None:
            return self
        if not self.in_network:
            why = "it is only known that it mines" if self.device == "any" else "it has no such setting"
            takes = (
                EMULATED[self.model] if self.emulated else () if self.device == "any" else ("frequency_mhz",)
            )
            return replace(
                self, settable=takes, cannot=dict.fromkeys(set(SETTINGS.values()) - set(takes), why)
            )
        device, settable, cannot = asyncio.run(self._ask())
        if self.device.startswith("http"):  # it was asked who it is
            return replace(self, device=device, model=model_of(device), settable=settable, cannot=cannot)
        return replace(self, settable=settable, cannot=cannot)

    async def _ask(self) -> tuple[str, tuple[str, ...], dict[str, str]]:
        device = await attached_miner.opened(self)
        try:
            await device.identify()
            able = await device.capabilities()
        finally:
            await device.aclose()
        settable = tuple(str(c.setting) for c in able.sets if str(c.setting) in SETTINGS.values())
        return device.address, settable, {str(s): why for s, why in able.cannot.items()}

    def takes(self, setting: str) -> bool:
        """Whether it can be set; a device that was not asked is taken to be able to."""
        return self.settable is None or setting in self.settable

    def lacks(self, capabilities: Sequence[str]) -> str | None:
        """Why an experiment that needs these cannot be made on it; None where it can."""
        for name in capabilities:
            setting = SETTINGS.get(name)
            if setting is not None and not self.takes(setting):
                return f"{self.device} cannot set {setting}: {self.cannot.get(setting, 'it has no such setting')}"
        return None

    def bound(self, setting: str) -> Bound | None:
        """Hard limits of a setting, and what the vendor's menu offers; None where none are known."""
        from firmware_bridge.devices.settings import Setting

        driver = self._driver()
        return None if driver is None else driver.limits.bounds.get(Setting(setting))

    def check(self, points: Sequence[Point]) -> None:
        """Refuse points that this model must not be set to, before anything is touched.

        Raises:
            LimitError: naming the setting, the value and what is allowed.
        """
        driver = self._driver()
        for point in points:
            wanted = _operating_point(point)
            if wanted.given() and driver is not None:
                driver.checked(wanted, beyond_factory=self.agreed or self.emulated)

    def _driver(self) -> type[Device] | None:
        from firmware_bridge.devices.registry import model_of

        return model_of(f"{self.model}:" if self.emulated else self.device)

    # ---- how long it takes -------------------------------------------------------------------------------------------

    @property
    def hash_rate_ths(self) -> float | None:
        """What the physics of an emulated one say; None where it is that of the model."""
        rate_ths = self.physics.get("hash_rate_ths")
        return None if rate_ths is None else float(rate_ths)

    def shares_per_s(self, point: Point) -> float:
        """Shares in a second at the clock and the difficulty of a point, by the arithmetic of hash rates."""
        return shares_per_s(
            self.model,
            float(point.get("difficulty", 0.0)),
            frequency_mhz=float(point["frequency_mhz"]) if "frequency_mhz" in point else None,
            hash_rate_ths=self.hash_rate_ths,
        )

    def between_s(self, point: Point) -> float:
        """Time of a cell before and after its shares count: restarts, and settling."""
        sets = bool(_operating_point(point).given())
        restarts = RESTARTS[sets] * RESTART_S if self.in_network else 0.0
        return restarts + (self.settle_s if sets else 0.0)

    def tells(self, quantity: str) -> bool:
        """Whether it is a device in the network whose readings hold this field of the telemetry; nothing is changed.

        Raises:
            DeviceError: if it does not answer.
        """

        async def ask() -> bool:
            device = await attached_miner.opened(self)
            try:
                return quantity in (await device.capabilities()).reads
            finally:
                await device.aclose()

        return self.in_network and asyncio.run(ask())

    # ---- recording ---------------------------------------------------------------------------------------------------

    def data(self, seed: int, *, shares: int, **settings: Any) -> RunData:
        """Record so many shares into the trace; with ``drive``, so many as its symbols call for.

        Raises:
            UserError: if a setting is not one that the bridge decides.
            LabError: if the miner does not come, stays away, or cannot be set back.
        """
        other = sorted(set(settings) - {*CAN_SET, "drive"})
        if other:
            raise UserError(
                f"{self.device}: {', '.join(other)} cannot be set for a cell; this experiment needs an emulated miner"
            )
        drive = settings.pop("drive", None)
        source = settings.pop("source", None) if drive is None else _feed(drive)
        recording = Recording(
            self,
            seed,
            shares if drive is None else None,
            carrier="prevhash" if drive is None else drive.field,
            source=source,
            telemetry_period_s=settings.pop("telemetry_period_s", None),
        )
        return self._load(asyncio.run(recording.run(settings)))

    def at(self, seed: int, point: Point, *, shares: int, **settings: Any) -> tuple[RunData, Held | None]:
        """Hold it at a point, let it settle, and record so many shares, or what comes in twice the time for them.

        Args:
            seed: of the jobs.
            point: with ``frequency_mhz`` and ``core_voltage_mv`` where they are set, and ``difficulty``.
            shares: that count; those that came while it settled stay in the trace, and are left out.
            settings: see :meth:`data`.

        Raises:
            LimitError: if the point is outside the limits, or the chip too hot.
            LabError: as :meth:`data`, and where another setting was measured than asked for.
        """
        self.check([point])
        seconds = SLOWER * shares / self.shares_per_s(point)
        recording = Recording(self, seed, shares, hold=_operating_point(point), seconds=seconds)
        if "difficulty" in point:
            settings["difficulty"] = float(point["difficulty"])
        settings.setdefault("swh_timeout_s", max(30.0, 5.0 / self.shares_per_s(point)))
        run_id = asyncio.run(recording.run(settings))
        return since(
            self._load(run_id), recording.began_wall_ns, recording.began_monotonic_ns
        ), recording.held

    def driven(self, plan: DrivenPlan, seed: int) -> str:
        """Drive it with the input of a plan (``asiclab narma``); id of the run in the trace.

        Args:
            plan: what to send.
            seed: of an emulated miner's chance.

        Raises:
            DeviceError: if it did not come to the end of the plan, or was not left as it was found.
        """
        from experiments.live import LiveConfig, drive
        from firmware_bridge.trace.writer import TraceWriter

        async def carried_out() -> Any:
            config = LiveConfig(
                host=self.host, port=self.port, period_s=self.period_s, patience_s=self.patience_s
            )
            miner = await attached_miner.miner_of(self, seed, carrier=plan.encode, on_notice=self.notice)
            return await drive(
                plan,
                config,
                miner,
                partial(TraceWriter, self.db),
                told={"experiment": True},
                plants=self.plants,
                physics=self.own_physics(),
            )

        found = asyncio.run(carried_out())
        if found.problems or not found.complete:  # one that could not be set back is among them
            why = "; ".join(found.problems) or "it was stopped"
            raise DeviceError(f"{self.device}: {found.done} of {found.steps} steps were sent: {why}")
        return str(found.run_id)

    def _load(self, run_id: str) -> RunData:
        from firmware_bridge.timing.intervals import load_run
        from firmware_bridge.trace.reader import TraceReader

        reader = TraceReader(self.db)
        return load_run(reader, reader.resolve(run_id))

    def own_physics(self) -> dict[str, Any]:
        """Physics of an emulated miner, for the record; nothing is known of a real one."""
        from dataclasses import asdict

        from firmware_bridge.emulator.physics import Physics

        return asdict(replace(Physics.of(self.model), **self.physics)) if self.emulated else {}

    def notice(self, text: str) -> None:
        """A line for people: how far it is, and what its own pool is, where that has to be set by hand."""
        print(text, file=sys.stderr)


def planned(db: str, told: Mapping[str, Any]) -> Attached:
    """The miner of a stored plan; one from before its times were stored has the usual ones."""
    # a plan asks no miner, so that where it is reached does not matter
    return Attached(
        db,
        told["device"],
        told["model"],
        "0.0.0.0",
        agreed=True,
        plants=told["plants"],
        physics=told["physics"],
        settle_s=told.get("settle_s", SETTLE_S),
        period_s=told.get("period_s"),
    )


def _operating_point(point: Point) -> OperatingPoint:
    from firmware_bridge.devices.settings import OperatingPoint

    given = {name: float(point[name]) for name in SETTINGS.values() if name in point}
    return OperatingPoint(**given)  # type: ignore[arg-type]


def _feed(drive: Any) -> Feed:
    """The symbols of a virtual run's ``drive``, one per job."""
    from experiments.live import Feed
    from reservoir.encoding import Encoding

    return Feed(Encoding(field=drive.field, mode="monologue", feedback=0.0), drive.symbols)


def in_network(device: str) -> bool:
    """Whether a device is one whose pool is set."""
    return device != "any" and not device.startswith(("emulate:", "bm1366:", "/"))


def is_local(device: str) -> bool:
    """Whether the address of a device is one of this host."""
    return "//127." in device or "//localhost" in device


def model_of(device: str) -> str:
    """Model whose emulator stands for a device: its own where there is one, else an S9."""
    scheme = device.split(":")[1] if device.startswith("emulate:") else device.partition(":")[0]
    scheme = {"axeos": "lv06", "bm1366": "lv06"}.get(scheme, scheme)
    return scheme if scheme in VIRTUAL_MODELS else "s9"
