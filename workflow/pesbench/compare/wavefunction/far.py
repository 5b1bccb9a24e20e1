"""Far from the training geometries: near equilibrium trained, compressed and broken scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from ase.units import Bohr, Hartree

from pesbench.compare.wavefunction.scans import KINDS, model_of
from pesbench.core.interface import batch_of
from pesbench.core.progress import track
from pesbench.models.families.wavefunction.full_ci import solved
from pesbench.training.wavefunction import Trainer
from pesbench.training.wavefunction_plan import (
    EQUIDISTANT,
    MoleculePlan,
    equidistant,
    read_training,
    with_bonds,
)

NUMBERS = (2, 4, 8, 22)  # of calculations, each at equal steps
LENGTHS = np.round(np.arange(0.3, 4.001, 0.1), 3)  # Å, of all bonds of a molecule together
INSIDE, SHORTER, LONGER = "inside", "shorter", "longer"


def far_rows(plan: Path, name: str) -> pd.DataFrame:
    """Errors against full CI where all bonds of a molecule have one length.

    Args:
        plan: File of trainings.
        name: A training whose `lengths_angstrom` are the range that is trained in.

    Returns:
        A row a molecule, kind, number of calculations and length: energies in eV above full CI, and
        mean absolute errors of the components of forces in eV/Å.

    Raises:
        UserError: there is no such training.
        NotConvergedError: a geometry has no state.
    """
    rows: list[dict[str, object]] = []
    molecules = read_training(plan, name)
    for molecule in track(molecules, len(molecules), "molecules"):
        rows += _molecule_rows(molecule)
    return pd.DataFrame(rows)


def _molecule_rows(plan: MoleculePlan) -> list[dict[str, object]]:
    system = plan.system
    numbers = tuple(system.numbers.tolist())
    places = [with_bonds(system, np.full(len(system.bonds), length)) for length in LENGTHS]
    exact = [solved(numbers, plan.keys.basis, place / Bohr) for place in places]
    energies = np.array([one.energy for one in exact]) * Hartree
    forces = np.array([-one.gradient for one in exact]) * (Hartree / Bohr)
    low, high = plan.keys.lengths_angstrom
    rows: list[dict[str, object]] = []
    for number in NUMBERS:
        keys = replace(plan.keys, points=EQUIDISTANT, calculations=number)
        trainer = Trainer(replace(plan, keys=keys))
        for geometry in equidistant(replace(plan, keys=keys)):
            trainer.add(geometry)
        for kind in KINDS:
            found = model_of(trainer.states(), kind, None).evaluate(
                batch_of([system] * len(places), places)
            )
            assert found.energies is not None
            wrong = np.abs(found.forces.reshape(forces.shape) - forces).mean(axis=(1, 2))
            for k, length in enumerate(LENGTHS):
                region = SHORTER if length < low else LONGER if length > high else INSIDE
                rows.append(
                    {
                        "system": system.id,
                        "interpolates": kind,
                        "calculations": number,
                        "states": len(trainer.vectors),
                        "length_angstrom": float(length),
                        "region": region,
                        "energy_error_ev": float(found.energies[k] - energies[k]),
                        "force_mae_ev_per_angstrom": float(wrong[k]),
                    }
                )
    return rows
