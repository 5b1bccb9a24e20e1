"""Which models are seeds of one potential, and which may disagree."""

from __future__ import annotations

from collections.abc import Mapping

from pesbench.models.registry import ModelEntry
from pesbench.models.roles import role


def kin(
    model: str, entries: Mapping[str, ModelEntry], level_of_theory: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The committee of a model, and the models that it may disagree with.

    Those of the scan set's own level of theory are left out: to disagree with them is to be wrong.
    So are controls and perturbed models, whose defects are known, and precisions of one potential.

    Args:
        model: Name of the model.
        entries: Entries of all models, with what describes them.
        level_of_theory: Of the scan set.

    Returns:
        Seeds of its potential with itself, sorted; empty if it has none. One model of each other
        potential, sorted.
    """
    own = entries[model]
    seeds = sorted(n for n, one in entries.items() if one.potential == own.potential)
    others: dict[str, str] = {}
    for name in sorted(entries):
        one = entries[name]
        potential = str(one.settings.get("variant_of", one.potential))
        mine = {own.potential, own.settings.get("variant_of", own.potential)}
        if potential in mine or role(one, level_of_theory) != "model":
            continue
        others.setdefault(potential, name)
    committee = tuple(seeds) if len(seeds) > 1 else ()
    return committee, tuple(sorted(others.values()))
