"""Settings of the vibrations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pesbench.core.settings import check_limits, setting


@dataclass(frozen=True)
class VibrationSettings:
    """Settings of the frequencies."""

    displacement_angstrom: float = setting(
        0.01,
        help="Displacement of an atom to either side, in Å, at most 0.1.",
        above=0,
        at_most=0.1,
    )
    relax_steps: int = setting(
        500,
        help="Largest number of steps of the relaxation with the model.",
        at_least=0,
        at_most=1_000_000,
    )
    relax_fmax: float = setting(
        0.01,
        help="Largest force on an atom of a relaxed molecule, in eV/Å.",
        above=0,
        at_most=10,
    )

    def check(self) -> Self:
        """The settings, where no value is out of its limits.

        Raises:
            UserError: one line with the setting and the cure.
        """
        check_limits(self, "vibrations")
        return self
