"""Commands that make the report from stored scores."""

from __future__ import annotations

import argparse
import fnmatch
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pesbench.commands.parsing import Stages, add_ranking, parser
from pesbench.compare.comparison import (
    ANSWERS,
    BONDS,
    Comparison,
    ReportRun,
    comparisons,
    section_of,
)
from pesbench.core.errors import UserError
from pesbench.core.found import has_stage, stage, tasks
from pesbench.core.names import closest
from pesbench.core.paths import MODELS_FILE
from pesbench.report.graph import (
    LEADERBOARD,
    PAGE,
    SECTIONS,
    model_section_folder,
    report_commands,
    scores_file,
)

if TYPE_CHECKING:
    from pesbench.core.section import Section
    from pesbench.files.scan_set import ScanSet
    from pesbench.report.inputs import RunScores

SKIPPED, MODELS = "skipped.csv", "models.json"
_LADDER = "models of the design ladder, the baseline first"


def add(stages: Stages) -> None:
    """The subcommands of this module."""
    one = stages.add_parser(
        "describe", help="write models.json, the registry's description of the models of a run"
    )
    one.add_argument("--models", nargs="+", required=True, metavar="MODEL")
    one.add_argument("--models-file", type=Path, default=Path(MODELS_FILE))
    one.add_argument("--out", action="output", required=True, help="models.json")
    one.set_defaults(run=_describe)

    one = stages.add_parser("section", help="make the tables and figures of a task")
    one.add_argument("task", metavar="TASK", help=", ".join(tasks()))
    _add_run(one)
    add_ranking(one)
    one.set_defaults(run=_section)

    one = stages.add_parser("model-section", help="show where one model fails in a task")
    having = [name for name in tasks() if has_stage(name, "model_section")]
    one.add_argument("task", metavar="TASK", help=", ".join(having))
    one.add_argument("--model", required=True)
    _add_places(one)
    one.add_argument("--files", type=Path, nargs="+", default=[], metavar="FILE",
                     help="files made by `run`; without them, only tables are made")  # fmt: skip
    one.set_defaults(run=_model_section)

    one = stages.add_parser("compare", help="compare models across tasks")
    one.add_argument("name", metavar="NAME", help=", ".join(comparisons()))
    _add_run(one)
    add_ranking(one)
    one.add_argument("--ladder", nargs="+", default=[], metavar="MODEL", help=_LADDER)
    for what in ANSWERS.values():
        one.add_argument(f"--{what}", type=Path, nargs="+", default=[], metavar="FILE",
                         help=f"{what} of the models that are compared")  # fmt: skip
    one.set_defaults(run=_compare)

    for name, line, function in (
        ("leaderboard", "write the leaderboard (CSV, Markdown) from the sections", _leaderboard),
        ("page", "write leaderboard, sections and figures as one HTML page", _page),
    ):
        one = stages.add_parser(name, help=line)
        _add_places(one)
        one.add_argument("--sections", nargs="+", metavar="NAME",
                         help="sections to show, in order (default: all that exist)")  # fmt: skip
        one.set_defaults(run=function)

    one = stages.add_parser("strict", help="exit with code 1 if a model failed")
    _add_run(one)
    one.add_argument(
        "--out", action="output", required=True, help="file that is written if no model failed"
    )
    one.set_defaults(run=_strict)

    one = stages.add_parser(
        "report", help="make sections, leaderboard and page of a folder of results", for_people=True
    )
    one.add_argument(
        "results", type=Path, help="folder of results with its models.json, such as results/mini"
    )
    one.add_argument("--scan-set", type=Path, help="scan set file, if the folder does not hold it")
    one.add_argument("--models-file", type=Path,
                     help="registry with the places of weights and model cards (default: "
                     "models.json of the folder)")  # fmt: skip
    one.add_argument("--ladder", nargs="+", default=[], metavar="MODEL",
                     help=f"{_LADDER}; names or globs")  # fmt: skip
    add_ranking(one)
    one.set_defaults(run=_report)


def _add_places(one: argparse.ArgumentParser) -> None:
    one.add_argument("--results", type=Path, required=True, help="folder of the scan set")
    one.add_argument("--scan-set", type=Path, required=True)


def _add_run(one: argparse.ArgumentParser) -> None:
    _add_places(one)
    one.add_argument("--models", nargs="+", required=True, metavar="MODEL")
    one.add_argument("--models-file", type=Path, default=Path(MODELS_FILE))
    one.add_argument("--ran", nargs="+", action="append", default=[], metavar="WORD",
                     help="a task and the models that ran it; give this option once for each "
                     "task")  # fmt: skip


def _check_known(name: str, names: Sequence[str], what: str) -> None:
    if name not in names:
        raise UserError(f"no {what} {name!r}; {closest(name, list(names))}")


def _read(arguments: argparse.Namespace, scan_set: ScanSet) -> RunScores:
    from pesbench.report.inputs import read_run

    ran = {task: models for task, *models in arguments.ran}
    return read_run(arguments.results, arguments.models, arguments.models_file, scan_set, ran)


def _write(folder: Path, section: Section, scan_set: ScanSet) -> None:
    from pesbench.files import provenance
    from pesbench.report.sections import write_section

    write_section(folder, section, provenance.describe(scan_set.sha256), scan_set.sha256)


def _describe(arguments: argparse.Namespace) -> None:
    from pesbench.models.models_file import read_models
    from pesbench.models.record import describe, write_record

    registry = read_models(arguments.models_file)
    if unknown := [name for name in arguments.models if name not in registry]:
        raise UserError(
            f"{arguments.models_file}: no model {unknown[0]!r}; {closest(unknown[0], registry)}"
        )
    described = describe((registry[name] for name in arguments.models), Path.cwd())
    write_record(arguments.out, described)


def _section(arguments: argparse.Namespace) -> None:
    from pesbench.core.section import SectionInputs
    from pesbench.files.scan_set import ScanSet
    from pesbench.metrics.board import mean_columns
    from pesbench.report import choice
    from pesbench.report.columns import check_rank_by

    name = arguments.task
    check_rank_by(arguments.rank_by)
    _check_known(name, list(tasks()), "task")
    with ScanSet(arguments.scan_set) as scan_set:
        found = _read(arguments, scan_set)
        scores = found.tables.get(name, {})
        if not scores:
            raise UserError(f"section {name}: no model ran it; give some with `--ran {name} MODEL`")
        inputs = SectionInputs(
            name,
            scores,
            found.facts,
            others=found.tables,
            rank_by=arguments.rank_by,
            entry_coverage=arguments.entry_coverage,
        )
        section = stage(name, "section")(inputs)
        if section.board is None:
            section = replace(section, board=mean_columns(name, tasks()[name].metrics, scores))
        if tasks()[name].always:
            told = choice.columns(found.entries, scores, scan_set)
            section = replace(section, board=[*section.board, *told])
        section = _with_identity(name, section, found)
        _write(arguments.results / SECTIONS / name, section, scan_set)


def _with_identity(name: str, section: Section, found: RunScores) -> Section:
    """A section with what is told of the parameters and the precision of its models."""
    from pesbench.report import identity

    scores, always = found.tables[name], tasks()[name].always
    others = {} if always else found.tables.get(BONDS, {})
    told = identity.notes(scores, others, found.entries, found.facts)
    board = [*(section.board or ()), *(identity.columns(scores) if always else ())]
    return replace(section, board=board, notes=[*section.notes, *told])


def _model_section(arguments: argparse.Namespace) -> None:
    from pesbench.core.jobs import ScoreJob
    from pesbench.files.scan_set import ScanSet
    from pesbench.report.inputs import read_task_scores

    name, model = arguments.task, arguments.model
    having = [task for task in tasks() if has_stage(task, "model_section")]
    _check_known(name, having, "task with sections of models")
    with ScanSet(arguments.scan_set) as scan_set:
        path = scores_file(arguments.results, name, model)
        scores = read_task_scores(path, scan_set, tasks()[name])
        job = ScoreJob(arguments.files, arguments.scan_set, settings=None)
        section = stage(name, "model_section")(job, scores)
        _write(model_section_folder(arguments.results, name, model), section, scan_set)


def _compare(arguments: argparse.Namespace) -> None:
    from pesbench.compare.inputs import CompareInputs
    from pesbench.files import provenance
    from pesbench.files.scan_set import ScanSet
    from pesbench.report.columns import check_rank_by

    check_rank_by(arguments.rank_by)
    _check_known(arguments.name, list(comparisons()), "comparison")
    comparison = comparisons()[arguments.name]
    if unknown := [model for model in arguments.ladder if model not in arguments.models]:
        raise UserError(f"--ladder: {unknown[0]!r} is not among --models; add it")
    with ScanSet(arguments.scan_set) as scan_set:
        found = _read(arguments, scan_set)
        ran = {task: list(tables) for task, tables in found.tables.items()}
        run = ReportRun(found.entries, scan_set.level_of_theory, ran, arguments.ladder)
        if not comparison.applies(run):
            raise UserError(
                f"compare {comparison.name}: there is nothing to compare in these models; leave "
                "the command out"
            )
        inputs = CompareInputs(
            facts=list(found.facts.values()),
            tables=found.tables,
            entries=found.entries,
            ladder=arguments.ladder,
            **{
                what: answers_by_model(getattr(arguments, what), scan_set, comparison, run, task)
                for task, what in ANSWERS.items()
            },
            scan_set=scan_set.name,
            scan_set_file=scan_set.path,
            made=provenance.describe(scan_set.sha256),
            rank_by=arguments.rank_by,
            entry_coverage=arguments.entry_coverage,
        )
        section = section_of(comparison.name)(inputs)
        _write(arguments.results / SECTIONS / comparison.name, section, scan_set)


def answers_by_model(
    files: Sequence[Path], scan_set: ScanSet, comparison: Comparison, run: ReportRun, task: str
) -> dict[str, list[Path]]:
    """Files of answers by the model they are of.

    Args:
        files: Evaluations, or trajectories.
        scan_set: Scan set that they must be of.
        comparison: What reads them.
        run: Models and tasks.
        task: Task that they are of, one of `ANSWERS`.

    Raises:
        UserError: one was made on another scan set, or there is none of a model that is compared.
    """
    from pesbench.files.stored_results import stored_results

    found: dict[str, list[Path]] = {}
    for path in sorted(files):
        with stored_results(tasks()[task], path) as stored:
            if stored.scan_set_sha256 != scan_set.sha256:
                raise UserError(f"{path}: was made on another scan set; remove it")
            found.setdefault(stored.model, []).append(path)
    needed = comparison.answers(run).get(task, ())
    if missing := [name for name in needed if name not in found]:
        raise UserError(f"--{ANSWERS[task]}: none is of model {missing[0]!r}; add its files")
    return found


def _leaderboard(arguments: argparse.Namespace) -> None:
    from pesbench.files import provenance
    from pesbench.files.scan_set import ScanSet
    from pesbench.report import choice
    from pesbench.report import tables as text
    from pesbench.report.board import board_of
    from pesbench.report.content import sections_of, title_of

    with ScanSet(arguments.scan_set) as scan_set:
        sections = sections_of(arguments.results, scan_set, arguments.sections)
        dropped = [i for i in scan_set.ids if scan_set.quality(i)[0] == "dropped"]
        made = [
            ("dropped by the gate on references, not planned", ", ".join(dropped) or "no scan"),
            *provenance.describe(scan_set.sha256),
        ]
        csv, md = (arguments.results / name for name in LEADERBOARD)
        board = board_of(sections)
        text.write(board, csv, md, title_of(scan_set), made, sections, about=choice.section(board))


def _page(arguments: argparse.Namespace) -> None:
    from pesbench.files import provenance
    from pesbench.files.atomic import write_text
    from pesbench.files.scan_set import ScanSet
    from pesbench.report import choice, page
    from pesbench.report.board import board_of, model_sections_of
    from pesbench.report.content import answers_of, sections_of, title_of

    with ScanSet(arguments.scan_set) as scan_set:
        sections = sections_of(arguments.results, scan_set, arguments.sections)
        board = board_of(sections)
        skipped = arguments.results / SKIPPED
        html = page.render(
            board,
            title=title_of(scan_set),
            facts=page.facts_of(scan_set),
            answers=answers_of(board, sections),
            skipped=page.read_skipped(skipped) if skipped.is_file() else None,
            sections=sections,
            about=choice.section(board),
            of_models=model_sections_of(arguments.results, scan_set, board, sections),
            made=provenance.describe(scan_set.sha256),
        )
    write_text(arguments.results / PAGE, html)


def _strict(arguments: argparse.Namespace) -> int:
    from pesbench.files.atomic import write_text
    from pesbench.files.scan_set import ScanSet
    from pesbench.report.strict import model_failures

    with ScanSet(arguments.scan_set) as scan_set:
        found = _read(arguments, scan_set)
    failures = model_failures({tasks()[name].rows: some for name, some in found.tables.items()})
    logger = logging.getLogger("pesbench")
    if not failures:
        write_text(arguments.out, f"no failure of {len(arguments.models)} models\n")
        return 0
    failed = {failure.model for failure in failures}
    logger.error("strict: %d of %d models failed", len(failed), len(arguments.models))
    for failure in failures:
        logger.error("%s", failure)
    return 1


def _report(arguments: argparse.Namespace) -> None:
    """The report of what a folder holds: all models of its models.json that have scores."""
    from pesbench.files.layout import check_layout
    from pesbench.files.scan_set import ScanSet
    from pesbench.models.record import read_record
    from pesbench.report.inputs import read_entries

    results = arguments.results
    check_layout(results)
    scan_set = arguments.scan_set or results / f"{results.absolute().name}.h5"
    models_file = arguments.models_file or results / MODELS
    recorded = read_record(results / MODELS)
    names = [name for name in recorded if scores_file(results, BONDS, name).is_file()]
    ran = {
        task: [name for name in names if scores_file(results, task, name).is_file()]
        for task in tasks()
    }
    files = {
        task: {name: sorted((results / name / task).glob("*.h5")) for name in some}
        for task, some in ran.items()
    }
    with ScanSet(scan_set) as opened:
        level = opened.level_of_theory
    scored_only = {
        task: [name for name, found in some.items() if not found] for task, some in files.items()
    }
    matching = (fnmatch.filter(names, pattern) for pattern in arguments.ladder)
    ladder = [*dict.fromkeys(name for some in matching for name in some)]
    run = ReportRun(
        read_entries(models_file, names),
        level,
        ran,
        ladder,
        scored_only,
        arguments.rank_by,
        arguments.entry_coverage,
    )
    run_commands(
        report_commands(
            results,
            run,
            scan_set=scan_set,
            models_file=models_file,
            files=files,
        )
    )


def run_commands(commands: Sequence[Sequence[str]]) -> None:
    """Run commands of this package one after the other in this process.

    Args:
        commands: Words of each, of `pesbench.report.graph.report_commands`.
    """
    made = parser()
    for words in commands:
        arguments = made.parse_args(words)
        arguments.run(arguments)
