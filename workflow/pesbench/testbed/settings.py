"""The schedule of the testbed's training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pesbench.core.errors import UserError
from pesbench.models.families.testbed.settings import check_values


@dataclass(frozen=True)
class TrainingSettings:
    """The schedule of a training.

    The loss of a batch is w_E ⟨|ΔE|/N⟩ + w_F ⟨|ΔF|⟩ + w_S FSD: energies in eV an atom, the length
    of an atom's force error in eV/Å, the smooth FSD of one scan in Å⁻¹.

    Attributes:
        epochs: Largest number of epochs.
        batch_frames: Frames a step.
        learning_rate: Highest learning rate; it rises over the first 5 % of the steps, then falls
            as a cosine.
        weight_decay: Weight decay of both optimisers.
        energy_weight: w_E, dimensionless.
        force_weight: w_F in Å.
        fsd_weight: w_S in eV·Å; 0 leaves the term out.
        ema_decay: Decay of the moving average of the weights, a step.
        max_gradient_norm: A longer gradient is shortened to it.
        patience_epochs: Epochs without a better force error on the validation frames until the end.
    """

    epochs: int = 36
    batch_frames: int = 16
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    energy_weight: float = 2.0
    force_weight: float = 1.0
    fsd_weight: float = 0.0
    ema_decay: float = 0.996
    max_gradient_norm: float = 5.0
    patience_epochs: int = 15

    @classmethod
    def of(cls, values: Mapping[str, Any], place: str) -> Self:
        """A schedule from a mapping, refused where a key or a value makes no sense.

        Args:
            values: Keys as the attributes; what is left out has its default.
            place: Place of the settings, for messages.

        Raises:
            UserError: an unknown setting, or a value it cannot have.
        """
        check_values(cls, values, place, "setting", may_be_zero=("fsd_weight", "weight_decay"))
        made = cls(**values)
        if not made.ema_decay < 1:
            raise UserError(f"{place}: `ema_decay` is {made.ema_decay!r}; give a number below 1")
        return made
