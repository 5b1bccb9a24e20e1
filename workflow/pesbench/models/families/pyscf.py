"""Family `pyscf`: Kohn-Sham density functional theory with a named functional and basis.

Every frame is a calculation of its own from the same kind of guess: with orbitals of a neighbouring
frame its numbers would depend on the order of the work.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from ase.units import Bohr, Hartree

from pesbench.core.errors import UserError
from pesbench.core.family import EntrySettings, Family, LoadJob
from pesbench.core.interface import Batch, Model, ModelInfo
from pesbench.core.settings import setting
from pesbench.models.frame_by_frame import FrameByFrame

NO_DISPERSION = "none"
_MEMORY_BESIDE_MB = 2000  # that PySCF's buffers take no part of
MAX_CYCLES = 50  # of DIIS, and again of the second-order solver
# Dispersion parameters that go by the name of one functional and belong to another.
_PARAMETERS_OF = {
    ("wb97x", "d3bj"): "wb97x-v",
    ("wb97x", "d3zero"): "wb97x-d3, which PySCF lacks",
    ("wb97x", "d4"): "wb97x-v",
}


@dataclass(frozen=True, kw_only=True)
class PySCFSettings(EntrySettings):
    """Keys of an entry. A frame may take minutes: `batch_size` and `timeout_s` differ."""

    functional: str = setting(
        help="PySCF's name of the functional without dispersion, such as `b3lyp` or `wb97m-v`."
    )
    dispersion: str = setting(
        NO_DISPERSION,
        help="Dispersion correction. D3 and D4 replace the functional's own VV10: `wb97m-v` with "
        "`d3bj` is ωB97M-D3(BJ).",
        choices=(NO_DISPERSION, "d3bj", "d3zero", "d4"),
    )
    basis: str = setting(
        help="PySCF's name of the basis set, such as `def2-tzvppd`, with its effective core "
        "potentials; scans with elements that it lacks are `unsupported`."
    )
    density_fit: bool = setting(True, help="Whether Coulomb and exchange integrals are fitted.")
    grid_level: int = setting(
        4,
        help="Level of PySCF's integration grid, 1 to 9; larger is finer. (On level 0, forces "
        "differ from the slope of the energy by tenths of an eV/Å.)",
        at_least=1,
        at_most=9,
    )
    conv_tol: float = setting(
        1e-9,
        help="Largest change of the energy in the last cycle, in Hartree.",
        above=0,
        at_most=1,
    )
    max_memory_mb: int = setting(
        4000,
        help="Largest memory of PySCF's buffers, in MB.",
        at_least=1,
        at_most=100_000_000,
    )
    batch_size: int = setting(
        1,
        help="Frames of a call; `auto` would measure for a long time, because a frame may take "
        "minutes.",
        at_least=1,
        at_most=1_000_000,
    )
    timeout_s: float = setting(
        3600,
        help="Longest time that a call of the model may take, in seconds.",
        above=0,
        at_most=10_000_000,
    )


@dataclass(frozen=True)
class KohnSham:
    """Settings that decide a calculation.

    Attributes:
        functional: PySCF's name, without dispersion.
        dispersion: `d3bj`, `d3zero` or `d4`, in place of a functional's own non-local correlation
            (VV10); or `none`, which leaves the functional as it is.
        basis: Name of a set in PySCF, with the effective core potentials that belong to it.
        density_fit: Whether Coulomb and exchange integrals are fitted.
        grid_level: PySCF's integration grid, 1 to 9.
        conv_tol: Largest change of the energy in the last cycle, Hartree.
        max_memory_mb: What PySCF's buffers may take.
    """

    functional: str
    dispersion: str
    basis: str
    density_fit: bool = True
    grid_level: int = 4
    conv_tol: float = 1e-9
    max_memory_mb: int = 4000


class SCFNotConvergedError(Exception):
    """No self-consistent density was found: the frame has no energy."""


def check_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Refuse settings that PySCF does not support, before any work.

    Args:
        name: Name of the entry, for the message.
        settings: Keys of the entry.

    Raises:
        UserError: PySCF or pyscf-dispersion is not installed, or does not know the functional, the
            basis, or dispersion parameters for the functional.
    """
    place, wanted = f"model {name!r}", _kohn_sham(settings)
    needed = ["pyscf"] + ["pyscf.dispersion"] * (wanted.dispersion != NO_DISPERSION)
    for module in needed:
        if not _installed(module):
            package = module.replace(".", "-")
            raise UserError(f"{place}: {package} is not installed; pip install '.[pyscf]'")
    reason = _bad_functional(wanted.functional)
    if reason:
        raise UserError(f"{place}: `functional: {wanted.functional}`: {reason}")
    if not basis_elements(wanted.basis):
        raise UserError(
            f"{place}: `basis: {wanted.basis}`: PySCF has no such basis set; "
            "give a name such as def2-tzvppd (pseudopotential sets are not taken)"
        )
    reason = _bad_dispersion(wanted)
    if reason:
        raise UserError(f"{place}: `dispersion: {wanted.dispersion}`: {reason}")


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent is not there
        return False


def _kohn_sham(settings: Mapping[str, Any]) -> KohnSham:
    return KohnSham(**{k: v for k, v in settings.items() if k in KohnSham.__dataclass_fields__})


def _bad_functional(functional: str) -> str:
    """Why a functional cannot be used, or ""."""
    from pyscf.dft import libxc
    from pyscf.scf.dispersion import parse_dft

    try:
        _, _, dispersion = parse_dft(functional)
        if not dispersion:
            libxc.parse_xc(functional)
    except NotImplementedError:
        dispersion = "its own"
    except (KeyError, ValueError):
        return "PySCF knows no such functional; give a name of libxc such as b3lyp or wb97m-v"
    if dispersion:
        return (
            "names a dispersion correction; give that as `dispersion` (wb97m-d3bj: wb97m-v, d3bj)"
        )
    if libxc.needs_laplacian(functional):
        return "needs the Laplacian of the density, for which PySCF has no forces; take another"
    return ""


def _bad_dispersion(wanted: KohnSham) -> str:
    """Why a dispersion correction cannot be used with a functional, or ""."""
    if wanted.dispersion == NO_DISPERSION:
        return ""
    from pyscf import gto
    from pyscf.dispersion.dftd3 import DFTD3Dispersion
    from pyscf.dispersion.dftd4 import DFTD4Dispersion
    from pyscf.scf.dispersion import parse_disp

    other = _PARAMETERS_OF.get((wanted.functional.lower(), wanted.dispersion))
    if other:
        return f"the parameters named {wanted.functional} were made for {other}; take that or none"
    method, kind, three_body = parse_disp(wanted.functional, wanted.dispersion)
    probe = DFTD4Dispersion if wanted.dispersion == "d4" else DFTD3Dispersion
    arguments = {} if wanted.dispersion == "d4" else {"version": kind}
    try:
        probe(gto.M(atom="He", verbose=0), xc=method, atm=three_body, **arguments)
    except RuntimeError as error:
        said = " ".join(str(error).split())
        return (
            f"no parameters for the functional {wanted.functional} ({said}); take another, or none"
        )
    return ""


def basis_elements(basis: str) -> frozenset[int]:
    """Atomic numbers of the elements that a basis set of PySCF covers; empty if it has no such set.

    Args:
        basis: A name. Neither a file nor a set made for pseudopotentials, whose cores would be
            missing.
    """
    from pyscf import gto

    if os.path.exists(basis) or "gth" in basis.lower():  # noqa: PTH110 - a name, not a path
        return frozenset()
    known = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice to install another source of basis sets
        for number, symbol in enumerate(chemical_symbols):
            if number == 0:
                continue
            try:
                gto.basis.load(basis, symbol)
            except (KeyError, RuntimeError, ValueError):  # which of them depends on the name
                continue
            known.add(number)
    return frozenset(known)


def core_potentials(basis: str, symbols: set[str]) -> dict[str, Any]:
    """The effective core potentials that belong to a basis set, by element.

    Without them PySCF would take the valence functions of heavy elements (of def2 from Rb on) for
    a basis of all electrons, and not say so.
    """
    from pyscf import gto

    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for symbol in sorted(symbols):
            try:
                potential = gto.basis.load_ecp(basis, symbol)
            except RuntimeError:  # a set that has none for any element
                continue
            if potential:
                found[symbol] = potential
    return found


class PySCFModel(FrameByFrame):
    """Kohn-Sham DFT: restricted for singlets, unrestricted for other multiplicities.

    Singlets are restricted as in BSCT-SPICE: a bond is stretched with its two electrons in one
    orbital, and its curve does not end in two radicals.

    Args:
        method: What decides the calculation.
    """

    def __init__(self, method: KohnSham) -> None:
        self._method = method
        self._elements = basis_elements(method.basis)

    @property
    def info(self) -> ModelInfo:
        from pyscf import __config__

        details = {"pyscf": version("pyscf"), **asdict(self._method)}
        if self._method.dispersion != NO_DISPERSION:
            details["pyscf-dispersion"] = version("pyscf-dispersion")
        if getattr(__config__, "conf_file", None):  # a user's own, which may change any default
            details["pyscf_config_file"] = str(__config__.conf_file)
        return ModelInfo(
            elements=self._elements,
            charges=True,
            spins=True,
            batched=False,
            device="cpu",
            dtype="float64",
            details=details,
        )

    def single(self, system: Batch) -> tuple[float, np.ndarray]:
        field = _converged(self._mean_field(system))
        gradient = field.nuc_grad_method().kernel()
        return field.e_tot * Hartree, -np.asarray(gradient) * (Hartree / Bohr)

    def _mean_field(self, system: Batch) -> Any:
        """A calculation that has not been run.

        Raises:
            ValueError: the electrons do not add up to the multiplicity.
        """
        from pyscf import dft, gto

        method = self._method
        symbols = [chemical_symbols[z] for z in system.numbers]
        charge, multiplicity = int(system.charge[0]), int(system.spin[0])
        electrons = int(system.numbers.sum()) - charge
        unpaired = multiplicity - 1
        if unpaired > electrons or (electrons - unpaired) % 2:
            raise ValueError(f"{electrons} electrons cannot have multiplicity {multiplicity}")
        molecule = gto.M(
            atom=list(zip(symbols, system.positions / Bohr, strict=True)),
            unit="Bohr",  # ASE's, so that no second value of the constant comes in
            basis=method.basis,
            ecp=core_potentials(method.basis, set(symbols)),
            charge=charge,
            spin=unpaired,
            verbose=0,
            max_memory=method.max_memory_mb,
        )
        field = dft.RKS(molecule) if multiplicity == 1 else dft.UKS(molecule)
        field.xc = method.functional
        if method.dispersion != NO_DISPERSION:
            field.disp = method.dispersion
            field.nlc = 0  # it takes the place of VV10
        if method.density_fit:
            field = field.density_fit()
        field.grids.level = method.grid_level
        field.conv_tol = method.conv_tol
        field.max_cycle = MAX_CYCLES
        field.chkfile = None
        return field


def _converged(field: Any) -> Any:
    """Run a calculation: DIIS, and where that fails, on from there with the second-order solver.

    Raises:
        SCFNotConvergedError: neither converged.
    """
    field.kernel()
    if field.converged:
        return field
    density = field.make_rdm1()
    second_order = field.newton()
    second_order.max_cycle = MAX_CYCLES
    second_order.kernel(dm0=density)
    if not second_order.converged:
        raise SCFNotConvergedError(
            f"SCF not converged in {MAX_CYCLES} cycles of DIIS and {MAX_CYCLES} of second order"
        )
    return second_order


class PySCF(Family):
    """Kohn-Sham density functional theory."""

    name = "pyscf"
    about = (
        "Kohn-Sham density functional theory with PySCF, a method (extra `pyscf`): every frame "
        "from scratch, restricted for singlets "
        "([docs/references.md](../docs/references.md))."
    )
    settings = PySCFSettings
    packages = ("pyscf", "pyscf-dispersion")
    modules = ("pyscf",)
    extra = "pyscf"
    gpu = False
    seconds_on_cpu = 30.0
    runs_code = False

    def is_method(self, settings: Mapping[str, Any]) -> bool:
        return True

    def memory_mb(self, settings: Mapping[str, Any]) -> int:
        return int(settings.get("max_memory_mb", 4000)) + _MEMORY_BESIDE_MB

    def check(self, name: str, settings: Mapping[str, Any]) -> None:
        check_settings(name, settings)

    def load(self, job: LoadJob) -> Model:
        return PySCFModel(_kohn_sham(job.settings))


FAMILY = PySCF()
