"""Settings of the alarms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pesbench.core.settings import PATH, check_limits, setting


@dataclass(frozen=True)
class AlarmSettings:
    """Settings of the alarms."""

    others: bool = setting(
        True,
        help="Whether each model is also asked about the trajectories of all other models here, "
        "for committees and for disagreement in dynamics. Costs half of the dynamics for each "
        "other model.",
    )
    reference_frames: str | None = setting(
        None,
        help="extxyz file of the frames that the models were trained on, which are the reference "
        "set of the distances of descriptors then. Without one, frames near the minima of the "
        "scans are.",
        path=PATH,
    )
    reference_window_angstrom: float = setting(
        0.15,
        help="Frames of a scan that are at most so far, in Å, from the minimum of the reference "
        "stand for what a model knows.",
        above=0,
        at_most=2,
        stage="score",
    )
    calibration_alarms_per_ps: float = setting(
        0.05,
        help="False alarms per ps that a threshold has on the stable trajectories of the molecules "
        "that it is set on.",
        at_least=0,
        at_most=1000,
        stage="score",
    )

    def check(self) -> Self:
        """The settings, where no value is out of its limits.

        Raises:
            UserError: one line with the setting and the cure.
        """
        check_limits(self, "alarms")
        return self
