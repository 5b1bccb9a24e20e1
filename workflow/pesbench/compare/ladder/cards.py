"""Model cards beside weight files: what a potential was made of, and how two of them differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pesbench.compare.model_card import card_content
from pesbench.core.errors import UserError, reading
from pesbench.models.registry import ModelEntry

UNITS = {
    "cutoff": "Å",
    "force_weight": "Å",
    "fsd_weight": "eV·Å",
    "rank_width": "Å",
    "smearing": "Å",
}
FRAMES = "frames"
# a choice that has no effect unless another one is made
_APPLIES_WITH = {"repulsion_scale": ("repulsion", ("zbl", "zbl_fixed"))}


@dataclass(frozen=True)
class Card:
    """Content of a card.

    Attributes:
        path: Path of the file.
        choices: The switches of the potential, its training's schedule, the frames it was trained
            on and whether it is a smoke test; empty of a card without switches.
        force_mae_mev_per_angstrom: Force MAE on held-out frames, by `seen` and `unseen`.
        rotation_mev_per_angstrom: Root mean square by which forces do not turn with the molecule;
            None if the card does not tell.
        trained_scans: Ids of the scans whose FSD was in its loss.
        frames: Checksum of the frames that it was trained and judged on; "" if the card does not
            tell.
        chosen_frames: Whether these are a chosen set, of which each seed has its own.
    """

    path: Path
    choices: dict[str, Any]
    force_mae_mev_per_angstrom: dict[str, float]
    rotation_mev_per_angstrom: float | None
    trained_scans: frozenset[str] = frozenset()
    frames: str = ""
    chosen_frames: bool = False


def read_card(entry: ModelEntry) -> Card | None:
    """The card beside an entry's weights; None where there is none.

    Args:
        entry: Resolved.

    Raises:
        UserError: the card is no JSON, or that of other weights.
    """
    path, content = entry.card_path, card_content(entry)
    if path is None or content is None:
        return None
    with reading(path, "not a model card that is understood", "make it again"):
        choices = {}
        if "switches" in content:
            choices = {
                **content["switches"],
                **content.get("training", {}),
                FRAMES: str(content.get("frames_sha256", "unknown"))[:8],
                "smoke_test": bool(content.get("smoke", False)),
            }
        rotation = content.get("rotation", {}).get("force_rms_mev_per_angstrom")
        return Card(
            path=path,
            choices=choices,
            force_mae_mev_per_angstrom={
                part: float(errors["force_mae_mev_per_angstrom"])
                for part, errors in content.get("errors", {}).items()
                if "force_mae_mev_per_angstrom" in errors
            },
            rotation_mev_per_angstrom=None if rotation is None else float(rotation),
            trained_scans=frozenset(content.get("fsd_scans", ())),
            frames=str(content.get("frames_sha256", "")),
            chosen_frames="training_set" in content,
        )


def _applies(key: str, choices: Mapping[str, Any]) -> bool:
    other, values = _APPLIES_WITH.get(key, (None, ()))
    return other is None or choices.get(other) in values


def changes(choices: Mapping[str, Any], baseline: Mapping[str, Any]) -> dict[str, Any]:
    """The choices that are other than the baseline's; a choice that says nothing is none.

    Args:
        choices: Choices of a card.
        baseline: Choices of the baseline's card.

    Returns:
        The value of each, None where the baseline alone has the key.
    """
    keys = [*choices, *(key for key in baseline if key not in choices)]
    return {
        key: choices.get(key)
        for key in keys
        if choices.get(key) != baseline.get(key)
        and (_applies(key, choices) or _applies(key, baseline))
    }


def switched(choices: Mapping[str, Any], other: Mapping[str, Any]) -> frozenset[str]:
    """The keys in which two potentials differ; one that comes with another one is not counted."""
    return frozenset(
        key for key in changes(choices, other) if _applies(key, choices) and _applies(key, other)
    )


def seeds_on_other_frames(potential: str, cards: Mapping[str, Card]) -> tuple[str, ...]:
    """The seeds of a potential that were trained on other frames than its first one.

    Args:
        potential: Name that the seeds share.
        cards: Card of each seed by name, the first one first.

    Raises:
        UserError: a seed differs from the first one in another choice.
    """
    others = []
    for name, card in cards.items():
        first = next(iter(cards.values()))
        differing = switched(card.choices, first.choices)
        if wrong := differing - {FRAMES}:
            raise UserError(
                f"{card.path}: differs in {min(wrong)!r} from {first.path}, which the registry "
                f"says is the same potential ({potential!r}) with another seed; correct `seed_of`"
            )
        if differing:
            others.append(name)
    return tuple(others)


def note_on_frames(others: Sequence[str]) -> list[str]:
    """A note on `seeds_on_other_frames`; none where there is no such seed."""
    if not others:
        return []
    return [
        "Seeds that were trained on other frames than the first one of their potential: "
        f"{', '.join(others)}. Their noise holds that of the frames, too."
    ]


def said(changed: Mapping[str, Any]) -> str:
    """Changes as text, such as `smearing: 0.4 Å`; "" for none."""
    return ", ".join(f"{key}: {_value(key, value)}" for key, value in changed.items())


def _value(key: str, value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(str(part) for part in value)
    text = f"{value:g}" if isinstance(value, int | float) else str(value)
    return f"{text} {UNITS[key]}" if key in UNITS else text
