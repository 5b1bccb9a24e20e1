"""What the cards of potentials say of the frames that they were trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pesbench.compare.model_card import card_content
from pesbench.core.errors import UserError, reading
from pesbench.files.split import SEEN
from pesbench.models.registry import ModelEntry
from pesbench.training.data_plan import APPROACH, CORE, HARVESTED, MD, ROUNDS


@dataclass(frozen=True)
class TrainedOn:
    """What a potential was trained on.

    Attributes:
        path: Path of the card.
        family: Family of its entry.
        potential: Name that its seeds share.
        kind: One of `KINDS` or `ROUNDS` of the plan.
        frames: Number of frames; where harvested ones take the place of others, the number that
            was asked for, since dynamics that seldom fail give fewer.
        approach_frames: Closest-approach frames among them.
        approach_molecules: Molecules of these.
        harvested_frames: Frames among them on which another potential failed.
        force_mae: Force MAE on the held-out frames, meV/Å; NaN if the card does not tell.
        round: How often frames were added.
        method_calls: Calls of the method that the added frames took.
        asking_wall_s: Seconds of the dynamics that they are from, and of their labels; NaN if
            nobody has measured them.
        training_wall_s: Seconds of the training; NaN if the card does not tell.
    """

    path: Path
    family: str
    potential: str
    kind: str
    frames: int
    approach_frames: int
    approach_molecules: frozenset[str]
    force_mae: float
    harvested_frames: int = 0
    round: int = 0
    method_calls: int = 0
    asking_wall_s: float = 0.0
    training_wall_s: float = float("nan")


def trained_of(entries: Mapping[str, ModelEntry]) -> dict[str, TrainedOn]:
    """The potentials whose cards tell of a chosen set of frames, by name.

    Args:
        entries: Resolved, by name.

    Raises:
        UserError: a card is that of other weights, or not understood.
    """
    read = {name: _read(entry) for name, entry in entries.items()}
    return {name: one for name, one in read.items() if one is not None}


def in_rounds(trained: Mapping[str, TrainedOn]) -> bool:
    """Whether some potentials are those of rounds that add frames."""
    return any(one.kind in ROUNDS for one in trained.values())


def _read(entry: ModelEntry) -> TrainedOn | None:
    path, card = entry.card_path, card_content(entry)
    # the potentials of the transfer study are compared on their own
    if path is None or card is None or "training_set" not in card or "transfer" in card:
        return None
    with reading(path, "not a model card that is understood", "make it again"):
        chosen = card["training_set"]
        grown = chosen.get("grown", {})
        kind, wall_s = _kind(card, path), grown.get("asking_wall_s", 0.0)
        error = card["errors"].get(SEEN, {}).get("force_mae_mev_per_angstrom")
        return TrainedOn(
            path=path,
            family=entry.family,
            potential=entry.potential,
            kind=kind,
            frames=int(grown["asked_frames"] if kind == HARVESTED else chosen["frames"]),
            approach_frames=int(chosen["approach_frames"]),
            approach_molecules=frozenset(map(str, chosen["approach_molecules"])),
            force_mae=float("nan") if error is None else float(error),
            harvested_frames=sum(grown.get("added", ())) if kind == HARVESTED else 0,
            round=len(grown.get("added", ())),
            method_calls=int(grown.get("method_calls", 0)),
            asking_wall_s=float("nan") if wall_s is None else float(wall_s),
            training_wall_s=float(card.get("training_wall_s", "nan")),
        )


def _kind(card: Mapping[str, Any], path: Path) -> str:
    core = card.get("switches", {}).get("repulsion", "none")
    if "--pair_repulsion" in card.get("training_command", ()):
        core = "zbl_fixed"  # what MACE adds is not trained
    approached = bool(card["training_set"]["approach_frames"])
    if core not in ("none", "zbl_fixed") or (approached and core != "none"):
        what = "approach frames and a core" if approached else "a core that is trained"
        raise UserError(f"{path}: a potential with {what} is of no kind that is compared here")
    if grown := card["training_set"].get("grown"):
        return str(grown["kind"])
    return CORE if core == "zbl_fixed" else APPROACH if approached else MD
