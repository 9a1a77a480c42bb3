"""What a run in virtual time is to be, and what of that makes no sense."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from firmware_bridge.emulator import effects
from firmware_bridge.emulator.model import get_model
from firmware_bridge.emulator.physics import Physics
from firmware_bridge.errors import UserError
from firmware_bridge.headers import DEFAULT_VERSION_MASK, MAX_TARGET, target_from_difficulty

if TYPE_CHECKING:
    from firmware_bridge.emulator.drive import Drive
    from firmware_bridge.emulator.program import Step

DEFAULT_SHARES = 2588
"""Length of a run where nothing is said: that of the recording."""


@dataclass(frozen=True)
class VirtualConfig:
    """What to simulate.

    Attributes:
        model: ``s9`` or ``lv06``.
        shares: rows after which the run ends; None if ``seconds`` are given.
        seconds: virtual time after which it ends; None if ``shares`` are given. Both: whatever comes first.
        seed: of everything random.
        scale: difficulty scale S.
        difficulty: nominal pool difficulty; the chip never reports below its floor.
        mode: ``swh`` (a new job at the arrival of every share, as in the recording) or ``stream``.
        job_period_s: job period of the stream mode.
        plants: planted effects, kind to strength.
        physics: timing model; None means the default of the model.
        start_wall_ns: wall time at the start.
        program: operating points that follow each other; their time then is the run's, in the place of ``shares`` and
            ``seconds``.
        drive: symbols that the jobs carry; the run ends with them, in the place of ``shares`` and ``seconds``. With a
            programme: one symbol per step.
        variation_ms: planted difference between devices: standard deviation of the delays of its chips (S9) or cores
            (LV06); 0 makes all devices alike.
        device: which device it is; with ``variation_ms`` its delays are those of this number in every run.
        winning_jobs: planted leak, see :func:`~firmware_bridge.emulator.effects.luck_of`; 0 is a fair hash.
        job_lengths_s: stream mode: time from each job to the next, in the place of ``job_period_s``; the run ends with
            them, or before.
    """

    model: str = "s9"
    shares: int | None = DEFAULT_SHARES
    seconds: float | None = None
    seed: int = 0
    scale: float = 2.0**-32
    difficulty: float = 256.0
    mode: str = "swh"
    job_period_s: float = 30.0
    plants: dict[str, float] = field(default_factory=dict)
    physics: Physics | None = None
    start_wall_ns: int = 1_700_000_000_000_000_000
    program: tuple[Step, ...] = ()
    drive: Drive | None = None
    variation_ms: float = 0.0
    device: int = 0
    winning_jobs: float = 0.0
    job_lengths_s: tuple[float, ...] = ()

    def planted(self) -> dict[str, float]:
        """Everything planted, for the record of the run."""
        more = {"variation": self.own_variation_ms(), effects.WINNING_JOBS: self.winning_jobs}
        return {**self.plants, **{kind: strength for kind, strength in more.items() if strength}}

    def own_variation_ms(self) -> float:
        """Planted difference between devices, wherever it was given."""
        return self.variation_ms or self.plants.get("variation", 0.0)

    def luck(self) -> float:
        """Strength of ``winning_jobs``, wherever it was given."""
        return self.winning_jobs or self.plants.get(effects.WINNING_JOBS, 0.0)

    def resolved_physics(self) -> Physics:
        """The physics in force."""
        return Physics.of(self.model) if self.physics is None else self.physics

    def floor(self) -> float:
        """Smallest nominal difficulty that the miner submits."""
        own = get_model(self.model).floor * math.exp(-self.plants.get("below", 0.0))
        return max(own, self.difficulty)

    def pace(self) -> float:
        """Hash rate over the model's own."""
        from firmware_bridge.emulator.variation import own_pace

        rate = self.resolved_physics().hash_rate_ths
        pace = 1.0 if rate is None else rate / get_model(self.model).capacity_ths
        return pace * own_pace(self.device, self.plants.get("devices", 0.0))

    def version_mask(self) -> int:
        """Version bits that the pool lets the miner roll."""
        return DEFAULT_VERSION_MASK if get_model(self.model).client.version_bits else 0

    def agent(self) -> str:
        """User agent, scale included."""
        from firmware_bridge.stratum.lines import scale_token

        return f"{get_model(self.model).client.agent} {scale_token(self.scale)}"

    def check(self) -> None:
        """Refuse what cannot be simulated.

        Raises:
            UserError: naming the field and what it may be.
        """
        get_model(self.model)
        effects.checked_plants(self.plants)
        if not 0 <= self.variation_ms < float("inf"):
            raise UserError(
                f"the variation between devices is a number of ms >= 0, not {self.variation_ms!r}"
            )
        effects.checked_luck(self.winning_jobs)
        if self.job_lengths_s and (self.mode != "stream" or self.drive is not None):
            raise UserError("jobs have lengths of their own in the mode stream alone, and without symbols")
        if any(not 0 < length < float("inf") for length in self.job_lengths_s):
            raise UserError("the length of a job is above 0 s")
        if self.device < 0:
            raise UserError(f"a device is a number >= 0, not {self.device!r}")
        if self.mode not in ("swh", "stream"):
            raise UserError(f"mode is swh or stream, not {self.mode!r}")
        if self.drive is not None:
            self._check_drive(self.drive)
        if self.program:
            self._check_program()
        elif self.drive is None and self.shares is None and self.seconds is None:
            raise UserError("say how long to emulate: --shares N or --seconds S")
        for name in ("shares", "seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"{name} is above 0, not {value!r}")
        if self.mode == "stream" and not 0 < self.job_period_s < float("inf"):
            raise UserError(f"the job period is above 0 s, not {self.job_period_s!r}")
        if not 0 < self.difficulty < float("inf"):
            raise UserError(f"a difficulty is a positive number, not {self.difficulty!r}")
        whole = self.difficulty <= get_model(self.model).floor or self.difficulty == int(self.difficulty)
        if get_model(self.model).client.integer_difficulty and not whole:
            raise UserError(f"{self.model} reads a difficulty as an integer: give a whole number")
        if not 0 < self.scale <= 1:
            raise UserError(f"a difficulty scale is above 0 and at most 1, not {self.scale!r}")
        if target_from_difficulty(self.floor() * self.scale) >= MAX_TARGET:
            raise UserError(
                f"at scale {self.scale!r} every hash meets difficulty {self.floor():g}: "
                "shares would carry no difficulty; raise the difficulty or the scale"
            )

    def _check_drive(self, drive: Drive) -> None:
        from firmware_bridge.emulator.drive import SETTINGS

        drive.check(self.mode)
        if self.shares is not None or self.seconds is not None:
            raise UserError("the symbols of a run say how long it lasts: leave --shares and --seconds out")
        setting = SETTINGS.get(drive.field)
        if bool(self.program) != (setting is not None):
            raise UserError(
                "symbols in the clock or the voltage need a programme with one step per symbol, others need none"
            )
        if setting is None:
            return
        if len(self.program) != len(drive.symbols):
            raise UserError(
                f"{len(drive.symbols)} symbols for the {len(self.program)} steps of the programme"
            )
        if any(getattr(step, setting) is None for step in self.program):
            raise UserError(f"each step of the programme says its {setting}: that is what carries a symbol")
        if any(abs(step.seconds - self.job_period_s) > 1e-9 for step in self.program):
            raise UserError(
                f"a step holds its symbol for the job period of {self.job_period_s:g} s, no longer and no shorter"
            )

    def _check_program(self) -> None:
        if self.shares is not None or self.seconds is not None:
            raise UserError(
                "the steps of a programme say how long it lasts: leave --shares and --seconds out"
            )
        period_s = self.resolved_physics().telemetry_period_s
        for step in self.program:
            periods = step.seconds / period_s
            if abs(periods - round(periods)) > 1e-9:
                raise UserError(
                    f"a step lasts a multiple of the telemetry period of {period_s:g} s, not {step.seconds:g} s"
                )


def settings_of(config: VirtualConfig) -> dict[str, Any]:
    """What the record of a run keeps as its configuration."""
    apart = ("physics", "plants", "start_wall_ns", "program", "drive", "job_lengths_s")
    settings = {f.name: getattr(config, f.name) for f in fields(config) if f.name not in apart}
    return settings if config.drive is None else {**settings, "drive": config.drive.to_json()}
