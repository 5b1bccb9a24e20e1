"""Settings of the cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pesbench.core.settings import check_limits, setting


@dataclass(frozen=True)
class CostSettings:
    """How long a model is timed."""

    warm_up: int = setting(
        5,
        help="Calls before those that are timed: compilers and caches of a model need some.",
        at_least=1,
        at_most=1_000,
    )
    steps: int = setting(
        200,
        help="Largest number of calls that are timed, each of one molecule in a geometry of its "
        "own.",
        at_least=3,
        at_most=100_000,
    )
    budget_s: float = setting(
        30,
        help="Time after which no further call is made, in seconds; at least three are timed.",
        above=0,
        at_most=100_000,
    )
    displacement_angstrom: float = setting(
        0.02,
        help="Standard deviation of the displacement of each coordinate, in Å.",
        above=0,
        at_most=0.1,
    )

    def check(self) -> Self:
        """The settings, where no value is out of its limits.

        Raises:
            UserError: one line with the setting and the cure.
        """
        check_limits(self, "cost")
        return self
