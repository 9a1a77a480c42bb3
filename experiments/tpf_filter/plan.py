"""What a comparison of filters does: the miner, the arms' jobs and blocks, what is planted and what is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from firmware_bridge.emulator.physics import Physics
    from firmware_bridge.emulator.virtual_config import VirtualConfig

ARMS = ("none", "filter", "random")
SHARES_PER_JOB = 12.0
JOBS_PER_BLOCK = 60
REPLACE_PART = 0.1
"""Defaults: mean shares of a whole job, whole jobs of a block, and where in a job it is given up."""
PILOTS = 2
"""Blocks that do not count, from which the placebo learns how many jobs the filter keeps."""
SCALE = 2.0**-36
"""Hashes are tried down to here: sixteen a share on an S9. Nothing that is measured depends on it."""


@dataclass(frozen=True)
class FilterPlan:
    """What is done.

    Attributes:
        model: of the miner.
        winning_jobs: planted leak that a filter can use; 0 is a fair hash.
        plants: other planted effects; all of them delays.
        physics: of an emulated miner; None for that of its model.
        blocks: how often each arm is run.
        block_s: how long each time; None for that of 60 jobs.
        job_s: how long a whole job lasts; None for that of 12 shares.
        replace_s: after how long one is given up; None for a tenth of a job.
        keep_rate: part of the jobs that the filter keeps.
        classifier: that is trained, where none is given.
        training_jobs: jobs of the run that it is trained on.
        smallest: saving below which nobody cares: what could be overlooked decides between *no* and *cannot tell*.
        seed: of everything.
    """

    model: str = "s9"
    winning_jobs: float = 0.0
    plants: Mapping[str, float] = field(default_factory=dict)
    physics: Physics | None = None
    blocks: int = 16
    block_s: float | None = None
    job_s: float | None = None
    replace_s: float | None = None
    keep_rate: float = 0.5
    classifier: str = "logistic"
    training_jobs: int = 600
    smallest: float = 0.05
    seed: int = 0

    def resolved(self) -> FilterPlan:
        """For virtual time: with every time said, whole periods of the telemetry in a block.

        Raises:
            UserError: if the plan makes no sense.
        """
        timed = self.timed(self.share_s())
        assert timed.block_s is not None
        return replace(timed, block_s=timed.whole_s(timed.block_s))

    def timed(self, share_s: float | None) -> FilterPlan:
        """With every time said.

        Args:
            share_s: mean time between shares; None where nobody knows.

        Raises:
            UserError: if the plan makes no sense, or a time can only be guessed.
        """
        from tpf.paired_blocks import FEWEST_BLOCKS

        if self.blocks < FEWEST_BLOCKS:
            raise UserError(
                f"--blocks is at least {FEWEST_BLOCKS}: {self.blocks} cannot show a difference at 5 %"
            )
        if not 0 < self.keep_rate <= 1:
            raise UserError(f"--keep-rate lies above 0 and at most at 1, not at {self.keep_rate!r}")
        if not 0 < self.smallest < 1:
            raise UserError(f"--smallest is a saving between 0 and 1, not {self.smallest!r}")
        job_s = self.job_s
        if job_s is None:
            if share_s is None:
                raise UserError(
                    f"nobody knows how many shares {self.model} finds: say with --job-seconds how long a whole job "
                    f"lasts, best {SHARES_PER_JOB:g} shares or more"
                )
            job_s = float(f"{SHARES_PER_JOB * share_s:.2g}")
        replace_s = REPLACE_PART * job_s if self.replace_s is None else self.replace_s
        block_s = JOBS_PER_BLOCK * job_s if self.block_s is None else self.block_s
        if not 0 < replace_s < job_s:
            raise UserError(
                f"a job of {job_s:g} s is given up after more than 0 s and before its end, not after {replace_s:g} s "
                "(--replace-after, --job-seconds)"
            )
        if not job_s < block_s < math.inf:
            raise UserError(
                f"a block lasts for several jobs of {job_s:g} s, not for {block_s:g} s (--block-seconds)"
            )
        return replace(self, job_s=job_s, replace_s=replace_s, block_s=block_s)

    def share_s(self, difficulty: float = 0.0) -> float:
        """Mean time between shares of the emulated miner, of its smallest or a higher difficulty.

        Raises:
            UserError: if that model cannot be emulated.
        """
        from experiments.subjects import check_virtual
        from firmware_bridge.emulator.model import get_model

        check_virtual(self.model)
        config = self.config(0, 1.0)
        asked = max(difficulty, config.floor())
        return asked * 2.0**32 / (get_model(self.model).capacity_ths * config.pace() * 1e12)

    def whole_s(self, seconds: float) -> float:
        """As many whole periods of the telemetry, rounded up."""
        period_s = self.config(0, 1.0).resolved_physics().telemetry_period_s
        return math.ceil(seconds / period_s - 1e-9) * period_s

    def config(self, seed: int, seconds: float) -> VirtualConfig:
        """The emulated miner for a while, at its nominal point, with all of its telemetry."""
        from firmware_bridge.emulator.program import Step
        from firmware_bridge.emulator.virtual_config import VirtualConfig

        return VirtualConfig(
            model=self.model,
            shares=None,
            seed=seed,
            scale=SCALE,
            mode="stream",
            job_period_s=self.job_s or 1.0,
            plants=dict(self.plants),
            physics=self.physics,
            program=(Step(seconds),),
            winning_jobs=self.winning_jobs,
        )

    def times(self) -> dict[str, float]:
        """As the filters take them."""
        assert self.job_s is not None
        assert self.replace_s is not None
        return {"keep_s": self.job_s, "replace_s": self.replace_s}

    def chance(self, *place: int) -> int:
        """Seed of one part of what is done."""
        return int(np.random.SeedSequence([self.seed, 23, *place]).generate_state(1)[0])

    def order(self) -> list[tuple[int, str]]:
        """Block and arm in the order in which they run: the arms of each block by chance."""
        rng = np.random.default_rng([self.seed, 31])
        return [(n, ARMS[at]) for n in range(self.blocks) for at in rng.permutation(len(ARMS)).tolist()]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        told = asdict(self)
        return {**told, "physics": None if self.physics is None else self.physics.to_json()}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> FilterPlan:
        """From plain data.

        Raises:
            UserError: if it is not what :meth:`to_json` gives.
        """
        from firmware_bridge.emulator.physics import Physics

        try:
            kept = {f.name: told[f.name] for f in fields(cls)}
            physics = kept["physics"]
            return cls(**{**kept, "physics": None if physics is None else Physics(**physics)})
        except (KeyError, TypeError) as error:
            raise UserError(f"this is no plan of a comparison of filters: {error}") from None
