"""Settings of `pesbench harvest`."""

from __future__ import annotations

from dataclasses import dataclass

from pesbench.core.settings import setting


@dataclass(frozen=True)
class HarvestSettings:
    """What is harvested, and the limits of what is kept."""

    most: int = setting(100, help="Most frames that are written.", at_least=1, at_most=1_000_000)
    last_steps: int = setting(
        100,
        help="Steps before a failure that are looked at; so many are stored.",
        at_least=1,
        at_most=100,
    )
    apart_angstrom: float = setting(
        0.1,
        help="Least distance of two frames of one molecule, in Å: the root mean square difference "
        "of their distances of atoms, sorted within each pair of elements.",
        at_least=0,
        at_most=10,
    )
    closest: float = setting(
        0.5,
        help="Least distance of two atoms over the sum of their covalent radii; dynamics counts a "
        "closer pair as a failure.",
        at_least=0,
        at_most=10,
    )
    longest_bond: float = setting(
        2.0,
        help="Largest length of a bond over that sum; beyond, dynamics counts it as broken, and a "
        "closed-shell method is no reference.",
        above=0,
        at_most=100,
    )
    largest_force: float = setting(
        50.0,
        help="Largest force on an atom in a label, in eV/Å: a loss of squares would see few others "
        "beside a larger one.",
        above=0,
        at_most=1e6,
    )
