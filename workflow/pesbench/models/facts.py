"""Facts about a model that tables and figures show beside its scores."""

from __future__ import annotations

from dataclasses import dataclass

from pesbench.models.registry import ModelEntry
from pesbench.models.roles import role

ROLES = ("model", "reference", "perturbed", "control")  # in the order of the leaderboard


@dataclass(frozen=True)
class ModelFacts:
    """Facts about a model that a leaderboard shows beside its scores.

    Attributes:
        name: Name of the entry.
        family: Family of the entry.
        role: `model`, `reference`, `perturbed` or `control`.
        level_of_theory: Level of the method, or of the data a model was trained on; "" if
            unknown.
        theory_gap: Whether that differs from the scan set's, so that scores contain the gap.
        control: Kind and dose of a control, None for the other roles.
        perturbation: Kind and dose of a perturbed model, None for the other roles.
        base: Entry that a perturbed model is made from, "" for the other roles.
    """

    name: str
    family: str
    role: str
    level_of_theory: str = ""
    theory_gap: bool = False
    control: tuple[str, float | None] | None = None
    perturbation: tuple[str, float] | None = None
    base: str = ""


def model_facts(entry: ModelEntry, level_of_theory: str) -> ModelFacts:
    """What the tables need to know of an entry, against a scan set's level of theory."""
    settings = entry.settings
    what = role(entry, level_of_theory)
    own = str(settings.get("level_of_theory", ""))
    return ModelFacts(
        name=entry.name,
        family=entry.family,
        role=what,
        level_of_theory=own,
        # a perturbed model has its base's
        theory_gap=what in ("model", "perturbed") and own != level_of_theory,
        control=(settings["control"], settings.get("dose")) if what == "control" else None,
        perturbation=(
            (str(settings["perturbation"]), float(settings["dose"]))
            if what == "perturbed"
            else None
        ),
        base=str(settings["base"]) if what == "perturbed" else "",
    )
