"""Far from the training geometries: near equilibrium trained, compressed and broken scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from ase.units import Bohr, Hartree
from numpy.typing import NDArray

from pesbench.compare.wavefunction.scans import KINDS, model_of
from pesbench.core.interface import batch_of
from pesbench.core.progress import track
from pesbench.models.families.wavefunction.full_ci import solved
from pesbench.training.wavefunction import Trainer, check_full_ci, full_ci_of
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
        UserError: there is no such training, a molecule is none for full CI, or a geometry has no
            state.
    """
    rows: list[dict[str, object]] = []
    molecules = [_with(one, max(NUMBERS)) for one in read_training(plan, name)]
    for molecule in molecules:
        check_full_ci(molecule, _places(molecule)[0], f"{plan}: {name}: {molecule.system.id}")
    for molecule in track(molecules, len(molecules), "molecules"):
        with full_ci_of(f"{plan}: {name}: {molecule.system.id}"):
            rows += _molecule_rows(molecule)
    return pd.DataFrame(rows)


def _with(plan: MoleculePlan, calculations: int) -> MoleculePlan:
    """The plan of a molecule with so many calculations at equal steps."""
    return replace(plan, keys=replace(plan.keys, points=EQUIDISTANT, calculations=calculations))


def _places(plan: MoleculePlan) -> list[NDArray[np.float64]]:
    """The geometries in Å that are scored, (N, 3) each, that with the closest atoms first."""
    return [with_bonds(plan.system, np.full(len(plan.system.bonds), one)) for one in LENGTHS]


def _molecule_rows(plan: MoleculePlan) -> list[dict[str, object]]:
    system = plan.system
    numbers = tuple(system.numbers.tolist())
    places = _places(plan)
    exact = [solved(numbers, plan.keys.basis, place / Bohr) for place in places]
    energies = np.array([one.energy for one in exact]) * Hartree
    forces = np.array([-one.gradient for one in exact]) * (Hartree / Bohr)
    low, high = plan.keys.lengths_angstrom
    rows: list[dict[str, object]] = []
    for number in NUMBERS:
        wanted = _with(plan, number)
        trainer = Trainer(wanted)
        for geometry in equidistant(wanted):
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
