"""The command line: one subcommand a stage, each of them what one rule runs."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from pesbench import __version__
from pesbench.errors import HostError, UserError


def _entry(arguments: argparse.Namespace) -> None:
    from pesbench.config import closest, read_models, resolve_entry
    from pesbench.storage import write_json

    registry = read_models(arguments.models_file)
    if arguments.model not in registry:
        hint = closest(arguments.model, registry)
        raise UserError(f"{arguments.models_file}: no model {arguments.model!r}; {hint}")
    entry = resolve_entry(registry[arguments.model], arguments.models_file, Path.cwd())
    write_json(arguments.out, entry.deciding())


def _import_archive(arguments: argparse.Namespace) -> None:
    from pesbench import provenance
    from pesbench.progress import track
    from pesbench.references import bsct_spice
    from pesbench.storage import write_scan_set

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

    relax_file(arguments.smiles, arguments.out)


def _scan_molecules(arguments: argparse.Namespace) -> None:
    from pesbench.models.registry import ModelEntry
    from pesbench.references.calculators import build_scan_set
    from pesbench.references.quality import QualityLimits

    build_scan_set(
        arguments.molecules,
        ModelEntry.from_file(arguments.reference, arguments.weights),
        arguments.out,
        arguments.skipped,
        name=arguments.name,
        level_of_theory=arguments.level_of_theory,
        bonds_to_hydrogen=arguments.bonds_to_hydrogen,
        limits=QualityLimits(
            failed_frames=arguments.failed_frames,
            energy_jump_ev=arguments.energy_jump_ev,
            wall_jump_ev=arguments.wall_jump_ev,
            prominence_ev=arguments.prominence_ev,
        ),
        device=arguments.device,
        threads=arguments.threads,
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    from pesbench.evaluate import evaluate_shard
    from pesbench.models.registry import ModelEntry

    evaluate_shard(
        ModelEntry.from_file(arguments.entry, arguments.weights),
        arguments.scan_set,
        arguments.scans or _all_scans(arguments.scan_set),
        arguments.out,
        device=arguments.device,
        threads=arguments.threads,
    )


def _all_scans(scan_set: Path) -> tuple[str, ...]:
    from pesbench.storage import ScanSet

    with ScanSet(scan_set) as opened:
        return opened.ids


def _score(arguments: argparse.Namespace) -> None:
    from pesbench.scores import write_scores

    write_scores(arguments.scan_set, arguments.evaluations, arguments.out)


def _worst(arguments: argparse.Namespace) -> None:
    import pandas as pd

    from pesbench.report import figures, worst
    from pesbench.storage import ScanSet

    scores = pd.read_parquet(arguments.scores)
    with ScanSet(arguments.scan_set) as scan_set:
        table = worst.write(
            arguments.csv,
            arguments.extxyz,
            scan_set=scan_set,
            evaluations=arguments.evaluations,
            scores=scores,
        )
        model = str(scores["model"].iloc[0])
        figure = figures.worst_scans(scan_set, arguments.evaluations, table, model)
    figures.save(figure, arguments.figure)


def _leaderboard(arguments: argparse.Namespace) -> None:
    from pesbench import provenance
    from pesbench.report import tables
    from pesbench.report.inputs import read_inputs
    from pesbench.storage import ScanSet

    with ScanSet(arguments.scan_set) as scan_set:
        inputs = read_inputs(arguments.results, arguments.models, arguments.models_file, scan_set)
        title = f"{scan_set.name}: smoothness against {scan_set.level_of_theory}"
        dropped = [i for i in scan_set.ids if scan_set.quality(i)[0] == "dropped"]
        made = [
            ("dropped by the gate on references, not planned", ", ".join(dropped) or "no scan"),
            *provenance.describe(scan_set.sha256),
        ]
    board = inputs.board(arguments.rank_by)
    tables.write(board, arguments.csv, arguments.markdown, title, made)


def _figures(arguments: argparse.Namespace) -> None:
    from pesbench.report import figures
    from pesbench.report.inputs import read_inputs
    from pesbench.storage import ScanSet

    with ScanSet(arguments.scan_set) as scan_set:
        inputs = read_inputs(arguments.results, arguments.models, arguments.models_file, scan_set)
    board = inputs.board(arguments.rank_by)
    figures.save(figures.fsd_by_bond(board, inputs.scores, inputs.facts), arguments.by_bond)
    figures.save(figures.control_ladders(board, inputs.facts), arguments.ladders)


def _page(arguments: argparse.Namespace) -> None:
    from pesbench.report import page
    from pesbench.report.inputs import read_inputs
    from pesbench.storage import ScanSet

    with ScanSet(arguments.scan_set) as scan_set:
        inputs = read_inputs(arguments.results, arguments.models, arguments.models_file, scan_set)
        page.write_leaderboard(
            arguments.html,
            inputs,
            scan_set,
            results=arguments.results,
            rank_by=arguments.rank_by,
            by_bond=arguments.by_bond,
            ladders=arguments.ladders,
            skipped=arguments.skipped,
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pesbench",
        description="Smoothness of machine-learning potentials: one subcommand a stage.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--log", type=Path, help="write messages to this file, too")
    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")

    stage = stages.add_parser("entry", help="resolve one entry of the registry")
    stage.add_argument("model", help="name of the entry")
    stage.add_argument("--models-file", type=Path, default=Path("config/models.yaml"))
    stage.add_argument("--out", type=Path, required=True, help="JSON of the resolved entry")
    stage.set_defaults(run=_entry)

    stage = stages.add_parser("import-archive", help="BSCT-SPICE from its archive to a scan set")
    stage.add_argument("--archive", required=True, help="address, tarball or folder")
    stage.add_argument("--name", default="bsct_spice", help="of the scan set")
    stage.add_argument("--cache", type=Path, default=Path("resources/bsct_spice/cache"),
                       help="folder a download is kept in")  # fmt: skip
    stage.add_argument("--manifest", type=Path,
                       default=Path("resources/bsct_spice/files.sha256.gz"))  # fmt: skip
    stage.add_argument("--out", type=Path, required=True, help="scan set")
    stage.set_defaults(run=_import_archive)

    stage = stages.add_parser("relax-molecules", help="SMILES to geometries, with GFN2-xTB")
    stage.add_argument("--smiles", type=Path, required=True, help="CSV with id and smiles")
    stage.add_argument("--out", type=Path, required=True, help="extxyz of the geometries")
    stage.set_defaults(run=_relax_molecules)

    stage = stages.add_parser("scan-molecules", help="bond scans of molecules, with a reference")
    stage.add_argument("--molecules", type=Path, required=True, help="file that ASE reads")
    stage.add_argument("--reference", type=Path, required=True, help="resolved entry (JSON)")
    stage.add_argument("--weights", type=Path, help="of the reference, if it has any")
    stage.add_argument("--level-of-theory", required=True, help="of the reference")
    stage.add_argument("--name", required=True, help="of the scan set")
    stage.add_argument("--out", type=Path, required=True, help="scan set")
    stage.add_argument("--skipped", type=Path, required=True,
                       help="CSV of skipped, marked and dropped scans")  # fmt: skip
    stage.add_argument("--device", default="auto", help="auto, cpu or cuda")
    stage.add_argument("--bonds-to-hydrogen", action="store_true")
    stage.add_argument("--failed-frames", type=int, default=5)
    stage.add_argument("--energy-jump-ev", type=float, default=0.02)
    stage.add_argument("--wall-jump-ev", type=float, default=0.15)
    stage.add_argument("--prominence-ev", type=float, default=0.01)
    stage.add_argument("--threads", type=int, default=1)
    stage.set_defaults(run=_scan_molecules)

    stage = stages.add_parser("evaluate", help="a model's energies and forces on scans")
    stage.add_argument("--entry", type=Path, required=True, help="resolved entry (JSON)")
    stage.add_argument("--weights", type=Path, help="weight file, for an entry that has one")
    stage.add_argument("--scan-set", type=Path, required=True)
    stage.add_argument("--scans", nargs="+", metavar="ID", help="which scans (default: all)")
    stage.add_argument("--device", default="auto", help="auto, cpu or cuda")
    stage.add_argument("--threads", type=int, default=1)
    stage.add_argument("--out", type=Path, required=True, help="evaluation")
    stage.set_defaults(run=_evaluate)

    stage = stages.add_parser("score", help="scores of a stored evaluation")
    stage.add_argument("--scan-set", type=Path, required=True)
    stage.add_argument("--evaluations", type=Path, nargs="+", required=True, metavar="FILE")
    stage.add_argument("--out", type=Path, required=True, help="parquet, one row a scan")
    stage.set_defaults(run=_score)

    stage = stages.add_parser("worst", help="where one model breaks")
    stage.add_argument("--scan-set", type=Path, required=True)
    stage.add_argument("--evaluations", type=Path, nargs="+", required=True, metavar="FILE")
    stage.add_argument("--scores", type=Path, required=True)
    stage.add_argument("--csv", type=Path, required=True)
    stage.add_argument("--extxyz", type=Path, required=True)
    stage.add_argument("--figure", type=Path, required=True)
    stage.set_defaults(run=_worst)

    stage = stages.add_parser("leaderboard", help="one row a model, as csv and md")
    _add_report_inputs(stage)
    stage.add_argument("--csv", type=Path, required=True)
    stage.add_argument("--markdown", type=Path, required=True)
    stage.set_defaults(run=_leaderboard)

    stage = stages.add_parser("figures", help="FSD by bond type; the control ladders")
    _add_report_inputs(stage)
    stage.add_argument("--by-bond", type=Path, required=True)
    stage.add_argument("--ladders", type=Path, required=True)
    stage.set_defaults(run=_figures)

    stage = stages.add_parser("page", help="leaderboard, figures and worst scans as one HTML page")
    _add_report_inputs(stage)
    stage.add_argument("--by-bond", type=Path, required=True)
    stage.add_argument("--ladders", type=Path, required=True)
    stage.add_argument("--skipped", type=Path, help="CSV of skipped, marked and dropped scans")
    stage.add_argument("--html", type=Path, required=True)
    stage.set_defaults(run=_page)
    return parser


def _add_report_inputs(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("--results", type=Path, required=True, help="folder of the scan set")
    stage.add_argument("--models", nargs="+", required=True, metavar="MODEL")
    stage.add_argument("--models-file", type=Path, default=Path("config/models.yaml"))
    stage.add_argument("--scan-set", type=Path, required=True)
    stage.add_argument("--rank-by", default="fsd_full", help="score that ranks, lower is better")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one stage.

    Returns:
        Exit code: 0, 2 for bad input (one line on stderr), 75 where the machine failed and a
        second call continues.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    arguments = _parser().parse_args(argv)
    if arguments.log is not None:
        arguments.log.parent.mkdir(parents=True, exist_ok=True)
        logging.getLogger().addHandler(logging.FileHandler(arguments.log, mode="w"))
    try:
        arguments.run(arguments)
    except (UserError, HostError) as error:
        logging.getLogger("pesbench").error("pesbench: error: %s", error)
        return error.exit_code
    return 0
