"""Role of a model in a run: which are ranked, and which are shown beside the ranks."""

from __future__ import annotations

from pesbench.core.family import MODEL, family_of
from pesbench.models.registry import ModelEntry


def role(entry: ModelEntry, level_of_theory: str) -> str:
    """`control`, `perturbed`, `reference` (its method is the scan set's own level) or `model`.

    A model that was *trained* on that level is no reference, but the best judged of the models. A
    perturbed one is neither, whatever its base: its defect is known, as that of a control.
    """
    if (own := family_of(entry.family).role) != MODEL:
        return own
    return "reference" if own_level(entry) == level_of_theory else MODEL


def own_level(entry: ModelEntry) -> str:
    """The level of theory of a scan set that an entry is the reference of.

    A method has its own level. Anything trained or perturbed is the reference of nothing but
    itself, not of the level of its training data.
    """
    level = str(entry.settings.get("level_of_theory") or "")
    if family_of(entry.family).is_method(entry.settings):
        return level or entry.name
    return f"{entry.name} (trained on {level})" if level else entry.name
