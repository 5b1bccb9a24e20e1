"""Settings of the repulsive core."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pesbench.core.settings import PATH, check_limits, setting


@dataclass(frozen=True)
class CoreSettings:
    """What real models are asked, and which trained heads stand beside them."""

    dimers: bool = setting(
        True,
        help="Whether all pairs of H, C, N, O, F, P, S, Cl and Br are pushed together in "
        "isolation, once a model.",
    )
    bonds: int = setting(
        2,
        help="Number of bonds of each molecule that are pushed to overlap and relaxed, one at a "
        "time, spread evenly over the bond graph.",
        at_least=0,
        at_most=100,
    )
    overlaps: tuple[float, ...] = setting(
        (0.4, 0.5, 0.6),
        help="Distances of the pushed pair, over the sum of the two covalent radii.",
        at_least=0.1,
        at_most=0.65,
        unique=True,
    )
    relax_steps: int = setting(
        200,
        help="Largest number of steps of such a relaxation (BFGS).",
        at_least=0,
        at_most=1_000_000,
    )
    relax_fmax: float = setting(
        0.05,
        help="Largest force on an atom of a relaxed molecule, in eV/Å.",
        above=0,
        at_most=10,
    )
    heads: str | None = setting(
        None,
        help="CSV of the heads that are trained on the Lennard-Jones dimer, as `make "
        "architecture` makes it; without one the section shows closed forms alone.",
        path=PATH,
        stage="score",
    )

    def check(self) -> Self:
        """The settings, where no value is out of its limits.

        Raises:
            UserError: one line with the setting and the cure.
        """
        check_limits(self, "lj_core")
        return self
