"""Settings of the bond scans."""

from __future__ import annotations

from dataclasses import dataclass

from pesbench.core.settings import setting


@dataclass(frozen=True)
class BondSettings:
    """How bond scans are scored."""

    energy_ceiling_ev: float = setting(
        10.0,
        help="Abrupt changes of the force, and false and missing extrema, count where the "
        "reference is at most so far above its minimum, in eV.",
        above=0,
        at_most=1000,
        stage="score",
    )
