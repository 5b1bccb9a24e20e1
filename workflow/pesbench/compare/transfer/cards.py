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


@dataclass(frozen=True)
class Transferred:
    """A potential of the study.

    Attributes:
        path: Path of the card.
        family: Family of its entry.
        potential: Name that its seeds share.
        route: One of `ROUTES` of the plan.
        frames: Number of expensive labels.
        force_mae: Force MAE on held-out frames of the expensive level, meV/Å.
        distance: Distance of its descriptors from normal distributions (`metrics.gaussianity`).
        start_before, start_after: The same of the network before and after its pretraining; NaN
            where there was none, or the card does not tell.
    """

    path: Path
    family: str
    potential: str
    route: str
    frames: int
    force_mae: float
    distance: float
    start_before: float
    start_after: float


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
        nan = float("nan")
        return Transferred(
            path=path,
            family=entry.family,
            potential=entry.potential,
            route=own["route"],
            frames=int(own["frames"]),
            force_mae=float(card["errors"][SEEN]["force_mae_mev_per_angstrom"]),
            distance=float(own["descriptors"]["distance"]),
            start_before=float(start.get("before", {}).get("distance", nan)),
            start_after=float(start.get("after", {}).get("distance", nan)),
        )
