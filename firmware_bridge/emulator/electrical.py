"""What a chip draws, how fast its logic is, and how often it hashes wrong, as a function of voltage, clock and heat.

Power is a fixed part, leakage and switching: ``P = P_fixed + P_leak(V, T) + C V² f``. Logic follows the alpha-power law
(Sakurai & Newton 1990, IEEE J. Solid-State Circuits 25:584): its longest path allows ``f_max ~ (V - V_t)^alpha / V``.
Where the clock comes near that, paths fail one after the other, so the share of wrong hashes is a normal integral of
the margin; where half of the hashes are wrong the chip hangs, and only a restart brings it back.

Of these chips only a few points are published; what is not is marked *assumed* and can be replaced.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.emulator import body_kernels
from firmware_bridge.errors import UserError


@dataclass(frozen=True, slots=True)
class ElectricalFacts:
    """One model's figures. Voltages are those that its telemetry shows: of the whole stack of chips on an S9's board.

    Attributes:
        power_w: of the device at the nominal point.
        fixed_share: part of that power which neither clock nor chip temperature changes: controller, fans, regulator.
        leakage_share: part of it which leaks at the nominal temperature.
        leakage_doubles_c: rise of temperature that doubles the leakage; assumed, the usual figure of such processes.
        frequency_mhz: nominal.
        core_voltage_mv: nominal.
        threshold_mv: V_t of the alpha-power law; assumed.
        alpha: exponent of it; 1.3 is that of short channels in the paper.
        reserve: f_max over the nominal clock at the nominal point; chosen so that the vendor's menu works.
        slower_per_c: relative loss of f_max per °C; assumed.
        spread: relative width over which paths fail; assumed.
        source: of the published figures.
    """

    power_w: float
    fixed_share: float
    leakage_share: float
    leakage_doubles_c: float
    frequency_mhz: float
    core_voltage_mv: float
    threshold_mv: float
    alpha: float
    reserve: float
    slower_per_c: float
    spread: float
    source: str

    def __post_init__(self) -> None:
        if not 0 <= self.fixed_share + self.leakage_share < 1:
            raise UserError("the fixed and the leaking share of the power are together below 1")
        if not 0 < self.threshold_mv < self.core_voltage_mv:
            raise UserError("the threshold voltage lies below the nominal core voltage")

    def to_json(self) -> dict[str, Any]:
        """Every value, for the run record."""
        return asdict(self)


FACTS = {
    # 631 MHz, 1350 W. The menu ends at 675 MHz, so f_max lies above it.
    "s9": ElectricalFacts(
        1350.0, 0.05, 0.05, 25.0, 631.0, 8800.0, 5200.0, 1.3, 1.2, 0.001, 0.02,
        "hardware.md §2, §3.3; 1350 W: data sheet",
    ),
    # 400 to 575 MHz and 1100 to 1300 mV are on the menu: 400 MHz has to work at 1100 mV, 575 MHz at 1200 mV.
    "lv06": ElectricalFacts(
        13.2, 0.06, 0.04, 25.0, 485.0, 1200.0, 600.0, 1.3, 1.28, 0.001, 0.025, "hardware.md §4.2, §4.4"
    ),
    "lb-box": ElectricalFacts(
        162.0, 0.06, 0.04, 25.0, 850.0, 420.0, 250.0, 1.3, 1.15, 0.001, 0.02, "hardware.md §5.1: 162 W"
    ),
    "bm1366": ElectricalFacts(
        11.5, 0.0, 0.05, 25.0, 485.0, 1200.0, 600.0, 1.3, 1.28, 0.001, 0.025, "as the LV06's chip"
    ),
}  # fmt: skip


def vector(facts: ElectricalFacts, nominal_c: float) -> npt.NDArray[np.float64]:
    """The figures as the kernels take them; ``nominal_c`` is the chip temperature at the nominal point."""
    switching = 1.0 - facts.fixed_share - facts.leakage_share
    return np.array(
        [
            facts.power_w * facts.fixed_share,
            facts.power_w * facts.leakage_share,
            facts.power_w * switching,
            facts.leakage_doubles_c,
            facts.frequency_mhz,
            facts.core_voltage_mv,
            facts.threshold_mv,
            facts.alpha,
            facts.reserve,
            facts.slower_per_c,
            facts.spread,
            nominal_c,
        ]
    )


def critical_voltage_mv(
    facts: ElectricalFacts, nominal_c: float, frequency_mhz: float, temperature_c: float
) -> float:
    """Voltage below which a chip hangs at a clock: the root of ``error_rate = body_kernels.HANG_ERROR_RATE``."""
    from scipy.optimize import brentq

    e = vector(facts, nominal_c)
    highest = 20.0 * facts.core_voltage_mv

    def excess(voltage_mv: float) -> float:
        return float(body_kernels.max_frequency_mhz(e, voltage_mv, temperature_c)) - frequency_mhz

    if excess(highest) < 0:
        raise UserError(f"no voltage lets this chip run at {frequency_mhz:g} MHz")
    return float(brentq(excess, facts.threshold_mv, highest, xtol=1e-6))
