"""What the cards of potentials say of the labels that they were trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pesbench.compare.model_card import card_content
from pesbench.core.errors import reading
from pesbench.files.split import SEEN
from pesbench.models.registry import ModelEntry
from pesbench.training.transfer_plan import ROUTES

MOMENTS = ("distance", "skewness", "excess_kurtosis", "rejected")  # of descriptors


@dataclass(frozen=True)
class Transferred:
    """A potential of the study.

    Attributes:
        path: Path of the card.
        family: Family of its entry.
        potential: Name that its seeds share.
        route: One of `ROUTES` of the plan.
        frames: Number of expensive labels.
        level: Level of theory of these labels.
        force_mae: Force MAE on held-out frames of that level, meV/Å.
        descriptors: `MOMENTS` of its descriptors (`metrics.gaussianity`), and with `_untrained` and
            `_pretrained` those of the network before and after its pretraining; NaN where there was
            none, or the card does not tell.
    """

    path: Path
    family: str
    potential: str
    route: str
    frames: int
    level: str
    force_mae: float
    descriptors: Mapping[str, float]


def transferred_of(entries: Mapping[str, ModelEntry]) -> dict[str, Transferred]:
    """The potentials whose cards tell what they started from, by name.

    Args:
        entries: Resolved, by name.

    Raises:
        UserError: a card is that of other weights, or not understood.
    """
    read = {name: _read(entry) for name, entry in entries.items()}
    return {name: one for name, one in read.items() if one is not None}


def _read(entry: ModelEntry) -> Transferred | None:
    path, card = entry.card_path, card_content(entry)
    if path is None or card is None or "transfer" not in card:
        return None
    with reading(path, "not a model card that is understood", "make it again"):
        own = card["transfer"]
        if own["route"] not in ROUTES:
            raise ValueError(f"a route {own['route']!r}")
        start = own.get("start_descriptors") or {}
        told = {
            "": own["descriptors"],
            "_untrained": start.get("before", {}),
            "_pretrained": start.get("after", {}),
        }
        return Transferred(
            path=path,
            family=entry.family,
            potential=entry.potential,
            route=own["route"],
            frames=int(own["frames"]),
            level=str(entry.settings.get("level_of_theory", "")),
            force_mae=float(card["errors"][SEEN]["force_mae_mev_per_angstrom"]),
            descriptors={
                f"{moment}{state}": float(moments[moment] if moments else "nan")
                for state, moments in told.items()
                for moment in MOMENTS
            },
        )
