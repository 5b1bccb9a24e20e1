"""Singlets and radicals: the spin that reaches a package is the one that the molecule has.

Packages count it as a multiplicity, as unpaired electrons or as S; one taken for another turns
every singlet into another state without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.units import Bohr, Hartree

from mace_networks import write_networks
from pesbench.core.interface import Status, molecules_batch
from pesbench.models.addresses import file_sha256
from pesbench.models.models_file import make_entry
from pesbench.models.registry import load

Answer = tuple[float, np.ndarray]
Direct = Callable[[Atoms, int, int], Answer]
STATES = {  # molecule, charge, unpaired electrons; and as many of another state
    "a singlet": ("H2O", 0, 0, 2),
    "a radical": ("CH3", 0, 1, 3),
    "a radical cation": ("H2O", 1, 1, 3),
    "a triplet": ("O2", 0, 2, 4),
}


def by_tblite(atoms: Atoms, charge: int, unpaired: int) -> Answer:
    from tblite.ase import TBLite

    atoms = atoms.copy()
    atoms.calc = TBLite(
        method="GFN2-xTB", charge=charge, multiplicity=unpaired + 1, verbosity=0, accuracy=0.01
    )
    return atoms.get_potential_energy(), atoms.get_forces()


def by_pyscf(atoms: Atoms, charge: int, unpaired: int) -> Answer:
    import pyscf

    geometry = [(a.symbol, a.position) for a in atoms]
    cell = pyscf.M(atom=geometry, basis="sto-3g", charge=charge, spin=unpaired, verbose=0)
    field = (cell.UKS if unpaired else cell.RKS)(xc="lda,vwn").density_fit()
    field.grids.level = 1
    energy = field.kernel() * Hartree
    return energy, -field.nuc_grad_method().kernel() * Hartree / Bohr


def by_mace(network: Path) -> Direct:
    """The answers of MACE's own calculator, which takes a multiplicity."""
    from mace.calculators import MACECalculator

    calculator = MACECalculator(model_paths=str(network), device="cpu", default_dtype="float64")

    def direct(atoms: Atoms, charge: int, unpaired: int) -> Answer:
        atoms = atoms.copy()
        atoms.info = {"charge": charge, "spin": unpaired + 1}
        return calculator.get_potential_energy(atoms), calculator.get_forces(atoms)

    return direct


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MACE network that embeds charge and multiplicity, as MACE-OMOL-0 does."""
    folder = tmp_path_factory.mktemp("weights")
    write_networks(folder)
    return folder / "embedded.model"


def settings_of(model: str, network: Path) -> dict[str, Any]:
    """Keys of an entry."""
    taken = {"charges": True, "spins": True}
    mace = {"family": "ase", "calculator": "mace.calculators:MACECalculator"} | taken
    path = {"model_paths": str(network)}
    return {
        "tblite": {"family": "tblite", "method": "GFN2-xTB", "accuracy": 0.01},
        "pyscf": {"family": "pyscf", "functional": "lda,vwn", "basis": "sto-3g", "grid_level": 1},
        "mace": {"family": "mace", "weights": str(network), "sha256": file_sha256(network)},
        "ase, info": mace | {
            "arguments": path | {"device": "${device}", "default_dtype": "${dtype}"},
            "dtype": "float64",
        },
        "ase, other names": mace | {
            "arguments": path | {
                "default_dtype": "float64",
                "info_keys": {"total_charge": "q", "total_spin": "m"},
            },
            "info": {"q": "charge", "m": "multiplicity"},
        },
        "ase, initial moments": {
            "family": "ase", "calculator": "tblite.ase:TBLite", "fresh": True, "initial": True,
            "arguments": {"method": "GFN2-xTB", "verbosity": 0, "accuracy": 0.01},
        } | taken,
    }[model]  # fmt: skip


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("model", "package"),
    [
        ("tblite", "tblite"),
        ("pyscf", "pyscf"),
        ("mace", "mace"),
        ("ase, info", "mace"),
        ("ase, other names", "mace"),
        ("ase, initial moments", "tblite"),
    ],
)
def test_a_molecule_has_its_own_state(model: str, package: str, state: str, embedded: Path) -> None:
    entry = make_entry("m", settings_of(model, embedded))
    loaded = load(entry, scan_set=None, device="cpu")
    assert loaded.info.spins
    assert loaded.info.charges

    name, charge, unpaired, other = STATES[state]
    atoms = molecule(name)
    atoms.positions += np.random.default_rng(3).normal(0, 0.03, atoms.positions.shape)
    result = loaded.evaluate(
        molecules_batch([atoms.positions], [atoms.numbers], [charge], [unpaired + 1])
    )
    assert result.status == (Status.OK,), result.messages
    direct = {"tblite": by_tblite, "pyscf": by_pyscf, "mace": by_mace(embedded)}[package]
    energy, forces = direct(atoms, charge, unpaired)
    assert abs(result.energies[0] - energy) < 1e-4
    assert abs(result.forces - forces).max() < 1e-3
    assert abs(result.energies[0] - direct(atoms, charge, other)[0]) > 1e-3
