"""Commands that make the report from stored scores."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pesbench.commands.parsing import Stages
from pesbench.core.errors import UserError

if TYPE_CHECKING:
    from pesbench.files.scan_set import ScanSet
    from pesbench.models.registry import ModelEntry
    from pesbench.report.inputs import ReportInputs


def add(stages: Stages) -> None:
    """The subcommands of this module."""
    stage = stages.add_parser(
        "describe", help="models.json: what the registry says of the models of a run"
    )
    stage.add_argument("--models", nargs="+", required=True, metavar="MODEL")
    stage.add_argument("--models-file", type=Path, default=Path("config/models.yaml"))
    stage.add_argument("--out", action="output", required=True, help="models.json")
    stage.set_defaults(run=_describe)

    stage = stages.add_parser("worst", help="where one model breaks")
    stage.add_argument("--scan-set", type=Path, required=True)
    stage.add_argument("--evaluations", type=Path, nargs="+", required=True, metavar="FILE")
    stage.add_argument("--scores", type=Path, required=True)
    stage.add_argument("--csv", action="output", required=True)
    stage.add_argument("--extxyz", action="output", required=True)
    stage.add_argument("--figure", action="output", required=True)
    stage.set_defaults(run=_worst)

    stage = stages.add_parser("parity", help="numerical variants of one checkpoint, compared")
    _add_report_inputs(stage)
    stage.add_argument("--evaluations", type=Path, nargs="+", required=True, metavar="FILE")
    stage.add_argument("--csv", action="output", required=True)
    stage.set_defaults(run=_parity)

    stage = stages.add_parser("associate", help="does smoothness predict stability?")
    _add_report_inputs(stage)
    stage.add_argument("--csv", action="output", required=True)
    stage.add_argument("--markdown", action="output", required=True)
    stage.add_argument("--figure", action="output", help="PNG of smoothness against stability")
    stage.add_argument("--dose-csv", action="output",
                       help="CSV, where perturbed models ran dynamics")  # fmt: skip
    stage.add_argument("--dose-figure", action="output",
                       help="PNG of stability and metrics against dose")  # fmt: skip
    stage.add_argument("--dose-metrics-figure", action="output",
                       help="PNG of all metrics against dose")  # fmt: skip
    stage.set_defaults(run=_associate)

    stage = stages.add_parser("ladder", help="models one design choice apart, side by side")
    _add_report_inputs(stage)
    stage.add_argument("--ladder", nargs="+", required=True, metavar="MODEL",
                       help="which of the models, in order, the baseline first")  # fmt: skip
    stage.add_argument("--vibrations", nargs="*", default=[], metavar="MODEL",
                       help="which of the models have frequencies")  # fmt: skip
    stage.add_argument("--csv", action="output", required=True)
    stage.add_argument("--claims", action="output", required=True,
                       help="CSV of what they say of claims")  # fmt: skip
    stage.add_argument("--markdown", action="output", required=True)
    stage.add_argument("--figure", action="output", required=True)
    stage.set_defaults(run=_ladder)

    stage = stages.add_parser("leaderboard", help="one row a model, as csv and md")
    _add_report_inputs(stage)
    stage.add_argument("--parity", type=Path, help="CSV made by `parity`")
    stage.add_argument("--association", type=Path, help="CSV made by `associate`")
    _add_ladder(stage)
    stage.add_argument("--merged", type=Path, help="merged.json made by `merge`")
    stage.add_argument("--csv", action="output", required=True)
    stage.add_argument("--markdown", action="output", required=True)
    stage.set_defaults(run=_leaderboard)

    stage = stages.add_parser("strict", help="exit code 1 where a model failed")
    _add_report_inputs(stage)
    stage.add_argument("--vibrations", nargs="*", default=[], metavar="MODEL",
                       help="of which of the models there are frequencies")  # fmt: skip
    stage.add_argument("--out", action="output", required=True, help="written if none failed")
    stage.set_defaults(run=_strict)

    stage = stages.add_parser("figures", help="FSD by bond type; the control ladders")
    _add_report_inputs(stage)
    stage.add_argument("--by-bond", action="output", required=True)
    stage.add_argument("--ladders", action="output", required=True)
    stage.set_defaults(run=_figures)

    stage = stages.add_parser("page", help="leaderboard, figures and worst scans as one HTML page")
    _add_report_inputs(stage)
    stage.add_argument("--by-bond", type=Path, required=True)
    stage.add_argument("--ladders", type=Path, required=True)
    stage.add_argument("--skipped", type=Path, help="CSV of skipped, marked and dropped scans")
    stage.add_argument("--parity", type=Path, help="CSV made by `parity`")
    stage.add_argument("--association", type=Path, help="CSV made by `associate`")
    stage.add_argument("--association-figure", type=Path, help="PNG made by `associate`")
    stage.add_argument("--dose-figure", type=Path, help="PNG made by `associate`")
    stage.add_argument("--dose-metrics-figure", type=Path, help="PNG made by `associate`")
    _add_ladder(stage)
    stage.add_argument("--ladder-figure", type=Path, help="PNG made by `ladder`")
    stage.add_argument("--merged", type=Path, help="merged.json made by `merge`")
    stage.add_argument("--html", action="output", required=True)
    stage.set_defaults(run=_page)


def _add_ladder(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("--ladder", type=Path, nargs=2, metavar=("CSV", "CLAIMS"),
                       help="the two files made by `ladder`")  # fmt: skip


def _add_report_inputs(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("--results", type=Path, required=True, help="folder of the scan set")
    stage.add_argument("--models", nargs="+", required=True, metavar="MODEL")
    stage.add_argument("--models-file", type=Path, default=Path("config/models.yaml"))
    stage.add_argument("--scan-set", type=Path, required=True)
    stage.add_argument("--dynamics", nargs="*", default=[], metavar="MODEL",
                       help="which of the models ran dynamics")  # fmt: skip
    stage.add_argument("--rank-by", default="fsd_full", help="score that ranks, lower is better")


def _inputs(arguments: argparse.Namespace, scan_set: ScanSet) -> ReportInputs:
    """What every stage of the report reads."""
    from pesbench.report.inputs import read_inputs

    return read_inputs(
        arguments.results,
        arguments.models,
        arguments.models_file,
        scan_set,
        arguments.dynamics,
    )


def _entries(arguments: argparse.Namespace) -> dict[str, ModelEntry]:
    """The models of a report, resolved: two ways to write one path are one checkpoint."""
    from pesbench.models.models_file import read_models, resolve_entry
    from pesbench.models.record import is_record, recorded_entries

    if is_record(arguments.models_file):  # weights need not be here; their sha256 tells them apart
        recorded = recorded_entries(arguments.models_file)
        return {name: recorded[name] for name in arguments.models}
    registry = read_models(arguments.models_file)
    return {
        name: resolve_entry(registry[name], arguments.models_file, Path.cwd())
        for name in arguments.models
    }


def _describe(arguments: argparse.Namespace) -> None:
    from pesbench.core.names import closest
    from pesbench.models.models_file import read_models
    from pesbench.models.record import describe, write_record

    registry = read_models(arguments.models_file)
    if unknown := [name for name in arguments.models if name not in registry]:
        raise UserError(
            f"{arguments.models_file}: no model {unknown[0]!r}; {closest(unknown[0], registry)}"
        )
    described = describe((registry[name] for name in arguments.models), Path.cwd())
    write_record(arguments.out, described)


def _worst(arguments: argparse.Namespace) -> None:
    from pesbench.files.scan_set import ScanSet
    from pesbench.files.stored_tables import read_scores
    from pesbench.report import figures
    from pesbench.tasks.bonds import score as scan_scores
    from pesbench.tasks.bonds import worst, worst_figure

    scores = read_scores(arguments.scores, scan_scores.COLUMNS, scan_scores.TEXT, scan_scores.WORDS)
    if scores.empty:
        raise UserError(f"{arguments.scores}: holds no row; score again")
    with ScanSet(arguments.scan_set) as scan_set:
        worst.write(
            arguments.csv,
            arguments.extxyz,
            scan_set=scan_set,
            evaluations=arguments.evaluations,
            scores=scores,
        )
        model = str(scores["model"].iloc[0])
        figure = worst_figure.worst_scans(scan_set, arguments.evaluations, scores, model)
    figures.save(figure, arguments.figure)


def _parity(arguments: argparse.Namespace) -> None:
    from pesbench.compare.parity import files_by_model, parity
    from pesbench.core.text import csv_table
    from pesbench.files.atomic import write_text
    from pesbench.files.scan_set import ScanSet

    with ScanSet(arguments.scan_set) as scan_set:
        inputs = _inputs(arguments, scan_set)
        files = files_by_model(arguments.evaluations, scan_set.sha256)
    if missing := [name for name in arguments.models if name not in files]:
        raise UserError(f"--evaluations: none is of model {missing[0]!r}; add its files")
    entries = _entries(arguments)
    table = parity(entries, files, inputs.scores)
    write_text(arguments.csv, csv_table(table))


def _associate(arguments: argparse.Namespace) -> None:
    from pesbench.compare import association, association_figures, dose, dose_figures
    from pesbench.files import provenance
    from pesbench.files.scan_set import ScanSet
    from pesbench.report import figures

    with ScanSet(arguments.scan_set) as scan_set:
        inputs = _inputs(arguments, scan_set)
        title = f"{scan_set.name}: {association.HEADING.lower()}"
        made = provenance.describe(scan_set.sha256)
    entries = _entries(arguments)
    doses = dose.dose_table(inputs, entries)
    for option in ("dose_csv", "dose_figure", "dose_metrics_figure"):
        if getattr(arguments, option) is not None and doses.empty:
            named = "--" + option.replace("_", "-")
            raise UserError(f"{named}: no perturbed model ran dynamics; leave the option out")
    found = association.associate(inputs, entries)
    association.write(found, arguments.csv, arguments.markdown, title, made)
    if arguments.figure is not None:
        figures.save(association_figures.association(found), arguments.figure)
    if arguments.dose_csv is not None:
        dose.write(doses, arguments.dose_csv)
    if arguments.dose_figure is not None:
        figures.save(dose_figures.dose_response(doses), arguments.dose_figure)
    if arguments.dose_metrics_figure is not None:
        figures.save(dose_figures.dose_metrics(doses), arguments.dose_metrics_figure)


def _ladder(arguments: argparse.Namespace) -> None:
    from pesbench.compare import ladder, ladder_figure, ladder_text
    from pesbench.files import provenance
    from pesbench.files.scan_set import ScanSet
    from pesbench.report import figures
    from pesbench.report.inputs import read_inputs

    if unknown := [name for name in arguments.ladder if name not in arguments.models]:
        raise UserError(f"--ladder: {unknown[0]!r} is not among --models; add it")
    with ScanSet(arguments.scan_set) as scan_set:
        inputs = read_inputs(
            arguments.results,
            arguments.models,
            arguments.models_file,
            scan_set,
            arguments.dynamics,
            arguments.vibrations,
        )
        title = f"{scan_set.name}: {ladder_text.HEADING.lower()}"
        made = provenance.describe(scan_set.sha256)
    found = ladder.make_ladder(inputs, _entries(arguments), arguments.ladder)
    ladder_text.write(
        found, arguments.csv, arguments.claims, arguments.markdown, title=title, made=made
    )
    figures.save(ladder_figure.figure(found), arguments.figure)


def _leaderboard(arguments: argparse.Namespace) -> None:
    from pesbench.files import provenance
    from pesbench.files.scan_set import ScanSet
    from pesbench.report import tables

    with ScanSet(arguments.scan_set) as scan_set:
        inputs = _inputs(arguments, scan_set)
        title = f"{scan_set.name}: smoothness against {scan_set.level_of_theory}"
        dropped = [i for i in scan_set.ids if scan_set.quality(i)[0] == "dropped"]
        made = [
            ("dropped by the gate on references, not planned", ", ".join(dropped) or "no scan"),
            *provenance.describe(scan_set.sha256),
        ]
    board = inputs.board(arguments.rank_by)
    more = inputs.more(
        arguments.parity, board, arguments.association, arguments.ladder, arguments.merged
    )
    tables.write(board, arguments.csv, arguments.markdown, title, made, more)


def _strict(arguments: argparse.Namespace) -> int:
    from pesbench.files.atomic import write_text
    from pesbench.files.scan_set import ScanSet
    from pesbench.report.inputs import read_inputs
    from pesbench.report.strict import model_failures

    with ScanSet(arguments.scan_set) as scan_set:
        inputs = read_inputs(
            arguments.results,
            arguments.models,
            arguments.models_file,
            scan_set,
            arguments.dynamics,
            arguments.vibrations,
        )
    failures = model_failures(
        {
            "scans": inputs.scores,
            "trajectories": inputs.dynamics,
            "molecules": inputs.vibrations,
        }
    )
    logger = logging.getLogger("pesbench")
    if not failures:
        write_text(arguments.out, f"no failure of {len(arguments.models)} models\n")
        return 0
    failed = {failure.model for failure in failures}
    logger.error("strict: %d of %d models failed", len(failed), len(arguments.models))
    for failure in failures:
        logger.error("%s", failure)
    return 1


def _figures(arguments: argparse.Namespace) -> None:
    from pesbench.files.scan_set import ScanSet
    from pesbench.report import figures

    with ScanSet(arguments.scan_set) as scan_set:
        inputs = _inputs(arguments, scan_set)
    board = inputs.board(arguments.rank_by)
    figures.save(figures.fsd_by_bond(board, inputs.scores, inputs.facts), arguments.by_bond)
    figures.save(figures.control_ladders(board, inputs.facts), arguments.ladders)


def _page(arguments: argparse.Namespace) -> None:
    from pesbench.files.scan_set import ScanSet
    from pesbench.report import page

    with ScanSet(arguments.scan_set) as scan_set:
        inputs = _inputs(arguments, scan_set)
        page.write_leaderboard(
            arguments.html,
            inputs,
            scan_set,
            results=arguments.results,
            rank_by=arguments.rank_by,
            by_bond=arguments.by_bond,
            ladders=arguments.ladders,
            skipped=arguments.skipped,
            parity=arguments.parity,
            association=arguments.association,
            association_figure=arguments.association_figure,
            dose_figure=arguments.dose_figure,
            dose_metrics_figure=arguments.dose_metrics_figure,
            ladder=arguments.ladder,
            ladder_figure=arguments.ladder_figure,
            merged=arguments.merged,
        )
