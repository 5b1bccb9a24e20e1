"""Whether any method could make sense of a molecule."""

from __future__ import annotations

import numpy as np
from ase.data import covalent_radii

from pesbench.core.systems import System

LONGEST_BOND = 1.5  # covalent-radius sums


def why_impossible(system: System) -> str:
    """What no method could make sense of, with the cure, or "".

    Atoms on top of each other (closer than half the sum of their covalent radii), bonds longer than
    1.5 of it, and a number of electrons that the multiplicity does not allow.
    """
    if not len(system.numbers):
        return "it has no atom; remove it"
    if (system.numbers < 1).any():
        return "an atom is no element (`*` or X); name every element"
    if system.spin < 1:
        return f"`spin` is {system.spin}; give the multiplicity 2S + 1, at least 1"
    electrons = int(system.numbers.sum()) - system.charge
    unpaired = system.spin - 1
    if electrons < unpaired or (electrons - unpaired) % 2:
        return (
            f"{electrons} electrons cannot have spin {system.spin} (multiplicity 2S + 1); "
            "correct `charge` or `spin`"
        )
    distance = np.linalg.norm(system.positions[:, None] - system.positions[None], axis=2)
    radii = covalent_radii[system.numbers]
    # a comparison with NaN is false: a molecule without a geometry passes
    close = np.triu(distance < 0.5 * (radii[:, None] + radii[None]), k=1)
    if close.any():
        i, j = np.argwhere(close)[0].tolist()
        return (
            f"atoms {i} and {j} are {distance[i, j]:.3f} Å apart, on top of each other; "
            "correct the geometry"
        )
    i, j = system.bonds.T
    long = distance[i, j] > LONGEST_BOND * (radii[i] + radii[j])
    if long.any():
        k = int(np.argmax(long))
        return (
            f"the bonded atoms {i[k]} and {j[k]} are {distance[i[k], j[k]]:.2f} Å apart; "
            "make the molecule whole, or correct its SMILES"
        )
    return ""
