"""Settings of the closest approach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pesbench.core.settings import check_limits, setting


@dataclass(frozen=True)
class ApproachSettings:
    """Settings of the closest approach: which pairs, beside the bonded ones, come close."""

    contacts: int = setting(
        3,
        help="Number of the closest pairs without a bond that are approached, of each molecule.",
        at_least=0,
        at_most=100,
    )
    in_molecule: bool = setting(
        True,
        help="Whether each atom approaches its nearest neighbour from 0.30 to 0.03 Å, as in "
        '"Attracting Trouble".',
    )
    diatomics: bool = setting(
        True,
        help="Whether all pairs of H, C, N, O, F, P, S, Cl and Br are approached in isolation, "
        "once a model.",
    )

    def check(self) -> Self:
        """The settings, where no value is out of its limits.

        Raises:
            UserError: one line with the setting and the cure.
        """
        check_limits(self, "approach")
        return self
