"""Keys of a scan set in the config, by its `source`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pesbench.core.settings import ADDRESS, PATH, setting


@dataclass(frozen=True)
class ArchiveSettings:
    """A scan set with `source: bsct_spice`."""

    source: str = setting(help="Where the scans come from.", choices=("bsct_spice",))
    archive: str = setting(
        help="Address or local path of GitHub's tarball of `ryanliu30/bsct` at commit "
        "`79d915b0`, or a folder with its content. A download is kept in "
        "`resources/bsct_spice/cache`. Every file is compared with "
        "`resources/bsct_spice/files.sha256.gz`.",
        path=ADDRESS,
    )


@dataclass(frozen=True, kw_only=True)
class MoleculeSettings:
    """A block of `molecules`: one molecule, or a file of them."""

    one_of: ClassVar[tuple[str, ...]] = ("smiles", "file")

    smiles: str | None = setting(
        None,
        help="One molecule. RDKit embeds ten conformers (fewer above 100 atoms) with a seed from "
        "the id, and the one of lowest force-field energy whose bonds are those of the "
        "SMILES is taken. If the distances give no conformer, RDKit starts from random "
        "coordinates.",
    )
    file: str | None = setting(
        None, help="A file of molecules, instead of `smiles`; see below.", path=PATH
    )
    id: str | None = setting(
        None,
        help="Name of the molecule, part of the names of its scans. Without this key it is the "
        "sum formula of a SMILES, and `<file>-<number>` in a file without ids. It is text: "
        "`017`, `1E8` and `T` stay as they are.",
    )
    charge: int | None = setting(
        None,
        help="Total charge in e. It must agree with the charges that a SMILES or a file states.",
        at_least=-1000,
        at_most=1000,
    )
    spin: int | None = setting(
        None,
        help="Multiplicity 2S + 1. It must agree with what a SMILES or a file states. A SMILES "
        "with unpaired electrons needs it, and so does a record of a file with more than "
        "one unpaired electron.",
        at_least=1,
        at_most=1000,
    )
    bonds: tuple[tuple[int, int], ...] | None = setting(
        None,
        help="Pairs of atoms to scan, counted from 0, including bonds with hydrogen. Atoms of a "
        "file are in the order of the file. Atoms of a SMILES are in the order in which it "
        "is written, including written hydrogens, then the other hydrogens; or in the order "
        "of its map numbers if 1 to N stand on all N atoms (an incomplete map is refused). "
        "`prepare-molecules` logs the order, and its extxyz has it. Without this key all "
        "acyclic bonds are scanned that `bonds` and `bonds_to_hydrogen` of the set allow.",
        at_least=0,
        at_most=1_000_000,
    )


@dataclass(frozen=True)
class QualityLimits:
    """The gate on references: what the scan of a reference may do (tasks/bonds/README.md)."""

    failed_frames: int = setting(
        5,
        help="Largest number of frames without a converged reference; a scan with more is dropped.",
        at_least=0,
        at_most=1_000_000,
    )
    energy_jump_ev: float = setting(
        0.02,
        help="Largest difference between a step of the energy and the work of the forces beyond "
        "1.2 equilibrium bond lengths, in eV. A larger one means another electronic state.",
        above=0,
        at_most=1_000_000,
    )
    wall_jump_ev: float = setting(
        0.15,
        help="Largest such difference on the repulsive wall, where the trapezoidal rule itself "
        "errs, in eV.",
        above=0,
        at_most=1_000_000,
    )
    prominence_ev: float = setting(
        0.01,
        help="Prominence from which an interior minimum counts, in eV.",
        above=0,
        at_most=1_000_000,
    )


@dataclass(frozen=True, kw_only=True)
class MoleculesSettings:
    """Origin of the molecules of a scan set."""

    molecules: str | tuple[MoleculeSettings, ...] = setting(
        help="A file of molecules, or a list of blocks; see below.", path=PATH
    )


@dataclass(frozen=True, kw_only=True)
class MoleculeScansSettings(MoleculesSettings):
    """A scan set with `source: molecules`."""

    source: str = setting(help="Where the scans come from.", choices=("molecules",))
    reference: str = setting(
        help="Entry of the registry that computes reference energies and forces."
    )
    relax: str | None = setting(
        None,
        help="Entry of the registry that relaxes every molecule (BFGS, largest force below 0.01 "
        "eV/Å) before it is scanned. Without this key, geometries of files are used as they "
        "are, and SMILES stay at the minimum of RDKit's force field (MMFF94, or UFF if "
        "MMFF94 lacks an atom).",
    )
    bonds: tuple[str, ...] = setting(
        ("*",),
        help="Bond types to scan, such as `C-N`, or globs of them.",
        pattern="^[^-]",  # an option of a command begins with a dash
    )
    bonds_to_hydrogen: bool = setting(
        False,
        help="Whether bonds with a hydrogen are also scanned: of bonds that the bond graph does "
        "not distinguish, such as the three of a methyl group, one. Ranks are by the other "
        "bonds, as in BSCT-SPICE.",
    )
    shard_size: int = setting(
        25,
        help="Number of scans of a job of the reference; a killed job continues after its last "
        "finished scan.",
        at_least=1,
        at_most=1_000_000,
    )
    quality: QualityLimits = setting(
        QualityLimits(),
        help="The quality gate on references. `<results>/<scan_set>/skipped.csv` lists the scans "
        "that it drops or marks, with the reason.",
    )


SOURCES: dict[str, type] = {"bsct_spice": ArchiveSettings, "molecules": MoleculeScansSettings}
