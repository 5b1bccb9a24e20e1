"""Commands that make scan sets."""

from __future__ import annotations

import argparse
from pathlib import Path

from pesbench.commands.arguments import add_settings, settings_of
from pesbench.commands.parsing import ENTRY_SHA256, Stages, add_running, where_of
from pesbench.core.errors import UserError
from pesbench.references.settings import MoleculeScansSettings, QualityLimits


def add(stages: Stages) -> None:
    """The subcommands of this module."""
    stage = stages.add_parser(
        "import-archive", help="convert the archive of BSCT-SPICE to a scan set"
    )
    stage.add_argument("--archive", required=True, help="address, tarball or folder of the archive")
    stage.add_argument("--name", default="bsct_spice", help="name of the scan set")
    stage.add_argument("--cache", type=Path, default=Path("resources/bsct_spice/cache"),
                       help="folder that keeps the download")  # fmt: skip
    stage.add_argument("--manifest", type=Path,
                       default=Path("resources/bsct_spice/files.sha256.gz"))  # fmt: skip
    stage.add_argument("--out", action="output", required=True, help="scan set file")
    stage.set_defaults(run=_import_archive)

    stage = stages.add_parser(
        "relax-molecules",
        help="make geometries from SMILES, relaxed with GFN2-xTB",
        for_people=True,
    )
    stage.add_argument(
        "--smiles", type=Path, required=True, help="CSV with the columns id and smiles"
    )
    stage.add_argument(
        "--unlike", type=Path, help="file of molecules, other conformers of which are made"
    )
    stage.add_argument("--out", action="output", required=True, help="extxyz of the geometries")
    stage.set_defaults(run=_relax_molecules)

    stage = stages.add_parser(
        "prepare-molecules", help="make the geometries of a config's molecules"
    )
    stage.add_argument("--molecules", required=True,
                       help="file of molecules, or `molecules` of the config as JSON")  # fmt: skip
    stage.add_argument(
        "--relax", type=Path, help="resolved entry (JSON) of the method that relaxes them"
    )
    stage.add_argument("--weights", type=Path, help="weight file of that entry, if it has one")
    stage.add_argument("--entry-sha256", help=ENTRY_SHA256)
    add_running(stage)
    stage.add_argument("--out", action="output", required=True, help="extxyz of the molecules")
    stage.set_defaults(run=_prepare_molecules)

    stage = stages.add_parser(
        "scan-molecules", help="make bond scans of molecules, without a reference"
    )
    stage.add_argument(
        "--molecules", type=Path, required=True, help="file made by `prepare-molecules`"
    )
    stage.add_argument("--name", required=True, help="name of the scan set")
    stage.add_argument("--bonds-to-hydrogen", action="store_true")
    stage.add_argument("--bonds", nargs="+", default=MoleculeScansSettings.bonds, metavar="TYPE",
                       help="bond types, such as C-N, or globs of them")  # fmt: skip
    stage.add_argument(
        "--out", action="output", required=True, help="scan set file without a reference"
    )
    stage.add_argument("--skipped", action="output", required=True,
                       help="CSV of the bonds that are not scanned")  # fmt: skip
    stage.set_defaults(run=_scan_molecules)

    stage = stages.add_parser(
        "collect-references", help="combine scans with their reference, and apply the quality gate"
    )
    stage.add_argument("--scans", type=Path, required=True, help="file made by `scan-molecules`")
    stage.add_argument("--references", type=Path, nargs="+", required=True, metavar="FILE",
                       help="evaluations of the reference method")  # fmt: skip
    stage.add_argument("--skipped-bonds", type=Path, required=True,
                       help="file made by `scan-molecules`")  # fmt: skip
    stage.add_argument("--level-of-theory", required=True, help="level of theory of the reference")
    add_settings(stage, QualityLimits, "run")
    stage.add_argument("--out", action="output", required=True, help="scan set file")
    stage.add_argument("--skipped", action="output", required=True,
                       help="CSV of skipped, marked and dropped scans")  # fmt: skip
    stage.set_defaults(run=_collect_references)


def _import_archive(arguments: argparse.Namespace) -> None:
    from pesbench.core.progress import track
    from pesbench.files import provenance
    from pesbench.files.scan_set import write_scan_set
    from pesbench.references import bsct_spice

    manifest = bsct_spice.read_manifest(arguments.manifest)
    archive = bsct_spice.fetch_archive(arguments.archive, arguments.cache)
    folders = bsct_spice.verified_folders(archive, manifest)
    scans = (bsct_spice.read_scan(scan_id, files) for scan_id, files in folders)
    try:
        write_scan_set(
            arguments.out,
            track(scans, bsct_spice.N_SCANS, "scans"),
            name=arguments.name,
            level_of_theory=bsct_spice.LEVEL_OF_THEORY,
            source=bsct_spice.SOURCE,
            provenance=provenance.collect(),
        )
    except UserError:
        if archive.parent == arguments.cache:
            archive.unlink()  # a download that is not the published data is fetched anew next time
        raise


def _relax_molecules(arguments: argparse.Namespace) -> None:
    from pesbench.references.relax import relax_file

    relax_file(arguments.smiles, arguments.out, arguments.unlike)


def _prepare_molecules(arguments: argparse.Namespace) -> None:
    from pesbench.models.registry import ModelEntry
    from pesbench.references.molecules import prepare_file, read_specs

    relax = None
    if arguments.relax is not None:
        relax = ModelEntry.from_file(arguments.relax, arguments.weights, arguments.entry_sha256)
    prepare_file(
        read_specs(arguments.molecules),
        arguments.out,
        relax=relax,
        device=arguments.device,
        threads=arguments.threads,
        environment=where_of(arguments),
    )


def _scan_molecules(arguments: argparse.Namespace) -> None:
    from pesbench.references.calculators import write_geometries

    write_geometries(
        arguments.molecules,
        arguments.out,
        arguments.skipped,
        name=arguments.name,
        bonds_to_hydrogen=arguments.bonds_to_hydrogen,
        types=arguments.bonds,
    )


def _collect_references(arguments: argparse.Namespace) -> None:
    from pesbench.references.calculators import collect_references

    collect_references(
        arguments.scans,
        arguments.references,
        arguments.out,
        arguments.skipped,
        skipped=arguments.skipped_bonds,
        level_of_theory=arguments.level_of_theory,
        limits=settings_of(arguments, QualityLimits),
    )
