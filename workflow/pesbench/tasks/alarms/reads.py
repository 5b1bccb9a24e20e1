"""Whose trajectories a model is asked about. The workflow finds this module by its name."""

from __future__ import annotations

from collections.abc import Mapping

from pesbench.models.registry import ModelEntry
from pesbench.tasks.alarms.kin import kin


def reads(model: str, entries: Mapping[str, ModelEntry], level_of_theory: str) -> list[str]:
    """The models on whose trajectories a score needs the answers of a model.

    These are the model itself, the seeds of its potential, and the models that it may disagree
    with. Of each potential one seed disagrees with other potentials, so that the further seeds are
    asked about the trajectories of their own potential alone.

    Args:
        model: Name of the model.
        entries: Entries of all models of the task, by name.
        level_of_theory: Of the scan set.
    """
    relatives = {name: kin(name, entries, level_of_theory) for name in entries}
    return [
        name
        for name, (committee, others) in relatives.items()
        if model == name or model in committee or model in others
    ]
