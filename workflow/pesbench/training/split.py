"""Molecules that a potential is trained on, and molecules that it never sees."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pesbench.core.bond_graph import bond_type
from pesbench.core.systems import System
from pesbench.files.split import SEEN, UNSEEN


def bond_types(system: System) -> frozenset[str]:
    """The bond types of a molecule, bonds with hydrogen among them."""
    numbers = system.numbers.tolist()
    return frozenset(bond_type(numbers[i], numbers[j]) for i, j in system.bonds.tolist())


def split_systems(systems: Sequence[System], unseen_fraction: float = 1 / 3) -> dict[str, str]:
    """Divide molecules into `seen` and `unseen`.

    Molecules are taken out in the order of the sha256 of their ids, as long as every bond type of
    the whole is left among those that stay, so that the unseen ones hold no chemistry that is new
    in kind.

    Args:
        systems: Any order.
        unseen_fraction: Largest share of molecules that is never seen.

    Returns:
        `seen` or `unseen` for every id, sorted by id.
    """
    order = sorted(systems, key=lambda system: hashlib.sha256(system.id.encode()).hexdigest())
    seen = {system.id: bond_types(system) for system in systems}
    wanted = frozenset().union(*seen.values())
    left = int(len(systems) * unseen_fraction + 1e-9)
    for system in order:
        others = [types for name, types in seen.items() if name != system.id]
        if left and frozenset().union(*others) == wanted:
            del seen[system.id]
            left -= 1
    return {name: SEEN if name in seen else UNSEEN for name in sorted(s.id for s in systems)}
