"""Settings of the bond scans."""

from __future__ import annotations

from dataclasses import dataclass

from pesbench.core.settings import setting


@dataclass(frozen=True)
class BondSettings:
    """Settings of the scores of bond scans."""

    energy_ceiling_ev: float = setting(
        10.0,
        help="Energy of the reference above its minimum, in eV, up to which abrupt changes of "
        "the force and false and missing extrema count.",
        above=0,
        at_most=1000,
        stage="score",
    )
