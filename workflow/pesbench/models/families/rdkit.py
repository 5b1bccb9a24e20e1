"""Family `rdkit`: the classical force fields MMFF94, MMFF94s and UFF, as RDKit has them.

The terms of such a field follow from bonds, bond orders and formal charges. They are set up once a
molecule from its bond graph and mapped SMILES, and stay the same in every frame: a field with bonds
perceived in every frame jumps where a bond is lost.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.units import kcal, mol
from numpy.typing import NDArray

from pesbench.core.bond_graph import canonical_bonds
from pesbench.core.family import EntrySettings, Family, LoadJob
from pesbench.core.interface import Batch, Model, ModelInfo
from pesbench.core.settings import setting
from pesbench.core.smiles import bonds_from_smiles
from pesbench.models.frame_by_frame import FrameByFrame, UnsupportedError

if TYPE_CHECKING:
    from rdkit.Chem import Mol

UFF = "UFF"
FIELDS = ("MMFF94", "MMFF94s", UFF)
# with parameters in some surroundings, or as an ion
_MMFF_ELEMENTS = frozenset({1, 3, 6, 7, 8, 9, 11, 12, 14, 15, 16, 17, 19, 20, 26, 29, 30, 35, 53})
_UFF_ELEMENTS = frozenset(range(1, 104))
_MOLECULES_KEPT = 1024
_MOST_ITERATIONS = 10_000  # of the search for bond orders, which can be exponential


@dataclass(frozen=True, kw_only=True)
class RDKitSettings(EntrySettings):
    """Keys of an entry."""

    field: str = setting(help="Force field.", choices=FIELDS)


class RDKitModel(FrameByFrame):
    """A force field of RDKit.

    Args:
        field: One of `FIELDS`.
    """

    def __init__(self, field: str) -> None:
        self._field = field
        self._set_up = functools.lru_cache(_MOLECULES_KEPT)(_Field)

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            elements=_UFF_ELEMENTS if self._field == UFF else _MMFF_ELEMENTS,
            charges=True,
            batched=False,
            device="cpu",
            dtype="float64",
            details={"rdkit": version("rdkit"), "field": self._field},
        )

    def single(self, system: Batch) -> tuple[float, NDArray[np.float64]]:
        """Energy in eV and forces in eV/Å of a batch of one system.

        Raises:
            UnsupportedError: the field has no parameters for the molecule.
            ValueError: the batch has no bond graph, or its SMILES is of another molecule.
        """
        if not system.topologies:
            raise ValueError("a force field needs the bond graph of each system")
        if system.spin[0] != 1:
            raise UnsupportedError("a force field knows closed shells only")
        topology = system.topologies[0]
        # by content: a topology that reaches the worker is another object in every call
        field = self._set_up(
            self._field,
            tuple(system.numbers.tolist()),
            tuple(map(tuple, canonical_bonds(topology.bonds).tolist())),
            topology.smiles,
            int(system.charge[0]),
        )
        if field.unsupported:
            raise UnsupportedError(field.unsupported)
        return field.evaluate(system.positions)


class _Field:
    """A force field with the terms of one molecule.

    Args:
        field: One of `FIELDS`.
        numbers: Atomic numbers.
        bonds: Pairs of atom indices.
        smiles: Mapped SMILES or "".
        charge: Total charge in e.

    Attributes:
        unsupported: Reason why the field has no parameters for it, or "".
    """

    def __init__(
        self,
        field: str,
        numbers: tuple[int, ...],
        bonds: tuple[tuple[int, int], ...],
        smiles: str,
        charge: int,
    ) -> None:
        self.unsupported = ""
        atomic_numbers, graph = np.array(numbers), np.array(bonds, dtype=np.int64).reshape(-1, 2)
        try:
            if smiles:
                self._molecule = molecule_of_smiles(smiles, atomic_numbers, graph)
            else:
                self._molecule = molecule_of_graph(atomic_numbers, graph, charge)
            self._terms = _terms(field, self._molecule, charge)
        except UnsupportedError as error:  # kept, so that it is not looked for again in each frame
            self.unsupported = str(error)

    def evaluate(self, positions: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Energy in eV and forces in eV/Å, shape (N, 3), at positions in Å, shape (N, 3)."""
        place = positions.ravel().tolist()
        energy = self._terms.CalcEnergy(place)
        gradient = np.array(self._terms.CalcGrad(place)).reshape(-1, 3)
        return energy * kcal / mol, -gradient * (kcal / mol)


def molecule_of_smiles(smiles: str, numbers: NDArray[np.int64], bonds: NDArray[np.int64]) -> Mol:
    """The molecule of a mapped SMILES, its atoms in the order of the map.

    Args:
        smiles: Mapped SMILES.
        numbers: Atomic numbers, shape (N,).
        bonds: Bond graph, shape (B, 2), as `canonical_bonds`.

    Raises:
        UserError: it does not name these atoms.
        ValueError: it has other bonds.
        UnsupportedError: RDKit finds a valence in it that it does not know.
    """
    from rdkit import Chem, rdBase

    if not np.array_equal(bonds_from_smiles(smiles, numbers), bonds):
        raise ValueError(f"the bonds of the SMILES {smiles!r} are not those of the bond graph")
    parameters = Chem.SmilesParserParams()
    parameters.removeHs = False
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles, parameters)
    if molecule is None:
        raise UnsupportedError(f"RDKit knows no valence as in {smiles!r}")
    order = np.argsort([atom.GetAtomMapNum() for atom in molecule.GetAtoms()]).tolist()
    return Chem.RenumberAtoms(molecule, order)


def molecule_of_graph(numbers: NDArray[np.int64], bonds: NDArray[np.int64], charge: int) -> Mol:
    """The molecule of a bond graph, with bond orders and formal charges that RDKit finds for it.

    Args:
        numbers: Atomic numbers, shape (N,).
        bonds: Bond graph, shape (B, 2).
        charge: Total charge in e.

    Raises:
        UnsupportedError: no bond orders fit the graph and the charge.
    """
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDetermineBonds

    molecule = Chem.RWMol()
    for number in numbers.tolist():
        atom = Chem.Atom(number)
        atom.SetNoImplicit(True)  # every hydrogen is there
        molecule.AddAtom(atom)
    for i, j in bonds.tolist():
        molecule.AddBond(i, j, Chem.BondType.SINGLE)
    try:
        with rdBase.BlockLogs():
            rdDetermineBonds.DetermineBondOrders(
                molecule, charge=charge, embedChiral=False, maxIterations=_MOST_ITERATIONS
            )
            Chem.SanitizeMol(molecule)
    except (ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise UnsupportedError(
            f"no SMILES, and RDKit finds no bond orders for the bond graph ({said})"
        ) from error
    return molecule


def _terms(field: str, molecule: Mol, charge: int) -> Any:
    """RDKit's force field of a molecule, whose terms depend on no geometry.

    Raises:
        UnsupportedError: the field has no parameters for it.
    """
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdForceFieldHelpers
    from rdkit.Geometry import Point3D

    formal = Chem.GetFormalCharge(molecule)
    if formal != charge:
        raise UnsupportedError(
            f"its formal charges make {formal:+d}, its total charge is {charge:+d}"
        )
    if any(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms()):
        raise UnsupportedError("a force field knows closed shells only; this is a radical")
    # RDKit leaves out the non-bonded pairs that are far apart when it sets a field up. It gets no
    # frame to set up with, but a made-up helix, and has to keep every pair at any distance, also
    # between molecules of a complex.
    place = Chem.Conformer(molecule.GetNumAtoms())
    for k in range(molecule.GetNumAtoms()):
        place.SetAtomPosition(k, Point3D(np.cos(k), np.sin(k), float(k)))
    molecule.RemoveAllConformers()
    molecule.AddConformer(place)
    with rdBase.BlockLogs():
        if field == UFF:
            if not rdForceFieldHelpers.UFFHasAllMoleculeParams(molecule):
                raise UnsupportedError("UFF has no parameters for one of its atoms")
            if any(_is_bipyramidal(atom) for atom in molecule.GetAtoms()):
                raise UnsupportedError(
                    "an atom with five neighbours: which of them are axial, UFF takes from a "
                    "geometry, and the field would change with it"
                )
            terms = rdForceFieldHelpers.UFFGetMoleculeForceField(
                molecule, vdwThresh=np.inf, ignoreInterfragInteractions=False
            )
        else:
            parameters = rdForceFieldHelpers.MMFFGetMoleculeProperties(molecule, mmffVariant=field)
            if parameters is None:
                raise UnsupportedError(f"{field} has no parameters for one of its atoms")
            terms = rdForceFieldHelpers.MMFFGetMoleculeForceField(
                molecule, parameters, nonBondedThresh=np.inf, ignoreInterfragInteractions=False
            )
    terms.Initialize()
    return terms


def _is_bipyramidal(atom: Any) -> bool:
    from rdkit.Chem import HybridizationType

    return atom.GetDegree() == 5 and atom.GetHybridization() == HybridizationType.SP3D


class RDKit(Family):
    """Classical force fields."""

    name = "rdkit"
    about = (
        "The classical force fields of RDKit, with the bonds of the scan set in every frame. A "
        "molecule that the field has no parameters for is `unsupported` "
        "([docs/rdkit.md](../docs/rdkit.md))."
    )
    settings = RDKitSettings
    packages = ("rdkit",)
    modules = ("rdkit",)
    gpu = False
    seconds_on_cpu = 2e-5
    peak_memory_mb = 1000
    runs_code = False

    def is_method(self, settings: Mapping[str, Any]) -> bool:
        return True

    def load(self, job: LoadJob) -> Model:
        return RDKitModel(job.settings["field"])


FAMILY = RDKit()
