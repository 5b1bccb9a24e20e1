"""The stages of tasks as commands: `pesbench run TASK`, `pesbench score TASK`, ..."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pesbench.commands.arguments import add_settings, settings_of
from pesbench.commands.parsing import Stages, add_model, all_scans, entry_of, where_of
from pesbench.core.found import has_stage, stage, tasks
from pesbench.core.jobs import PrepareJob, RunJob, ScoreJob
from pesbench.core.paths import MODELS_FILE
from pesbench.core.task import SCAN, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pesbench.models.registry import ModelEntry


def add(stages: Stages) -> None:
    """The subcommands of this module: one a stage, with one of its own a task."""
    for name, line, options in (
        ("prepare", "make the inputs of a task that all models share", _add_prepare),
        ("run", "run a task for a model", _add_run),
        ("controls", "run and score all controls in a task", _add_controls),
        ("score", "score the answers of a model in a task", _add_score),
    ):
        of_stage = stages.add_parser(name, help=line)
        each = of_stage.add_subparsers(dest="task", required=True, metavar="TASK")
        for task in tasks().values():
            if name == "prepare" and not has_stage(task.name, "prepare"):
                continue
            if name == "controls" and not task.asks_controls:
                continue
            options(each.add_parser(task.name, help=task.summary, description=task.summary), task)


def _add_prepare(parser: argparse.ArgumentParser, task: Task) -> None:
    _add_items(parser, task)
    add_settings(parser, task.settings, "run")
    parser.add_argument("--out", action="output", required=True, help="file of inputs (HDF5)")
    parser.set_defaults(run=_prepare)


def _add_run(parser: argparse.ArgumentParser, task: Task) -> None:
    add_model(parser)
    _add_items(parser, task)
    add_settings(parser, task.settings, "run")
    _add_prepared(parser, task)
    _add_answers(parser, task.run_reads)
    parser.add_argument("--out", action="output", required=True, help="file of answers (HDF5)")
    parser.set_defaults(run=_run)


def _add_controls(parser: argparse.ArgumentParser, task: Task) -> None:
    parser.add_argument("--models", nargs="+", required=True, metavar="CONTROL")
    parser.add_argument("--models-file", type=Path, default=Path(MODELS_FILE))
    _add_items(parser, task)
    _add_selected(parser, task)
    add_settings(parser, task.settings, "run")
    add_settings(parser, task.settings, "score")
    parser.add_argument("--results", type=Path, required=True, help="folder of the scan set")
    parser.set_defaults(run=_controls)


def _add_score(parser: argparse.ArgumentParser, task: Task) -> None:
    parser.add_argument("--files", type=Path, nargs="+", required=True, metavar="FILE",
                        help="files made by `run`")  # fmt: skip
    if task.asks_reference:
        parser.add_argument("--reference", type=Path, nargs="+", default=[], metavar="FILE",
                            required=task.needs_reference(),
                            help="files made by `run` with the reference method of the scan "
                            "set")  # fmt: skip
    parser.add_argument("--entry", type=Path, help="resolved entry (JSON) of the model")
    parser.add_argument("--scan-set", type=Path, required=True)
    parser.add_argument("--seen-systems", type=Path,
                        help="CSV with the columns system and split, for this model")  # fmt: skip
    if task.item == SCAN:
        parser.add_argument("--seen-scans", nargs="+", default=[], metavar="SCAN",
                            help="scans that the model was trained on; they get no "
                            "score")  # fmt: skip
    _add_selected(parser, task)
    add_settings(parser, task.settings, "score")
    _add_prepared(parser, task)
    _add_answers(parser, task.score_reads)
    if task.score_reads:
        parser.add_argument("--record", type=Path, required=True,
                            help="`models.json`, which describes the models")  # fmt: skip
    parser.add_argument("--out", action="output", required=True, help="scores (parquet)")
    parser.set_defaults(run=_score)


def _add_items(parser: argparse.ArgumentParser, task: Task) -> None:
    parser.add_argument("--scan-set", type=Path, required=True)
    parser.add_argument(f"--{task.item}s", nargs="+", dest="items", metavar="ID",
                        help=f"ids of {task.item}s (default: all)")  # fmt: skip


def _add_selected(parser: argparse.ArgumentParser, task: Task) -> None:
    parser.add_argument("--selected", nargs="+", default=["*"], metavar="ID",
                        help=f"ids or globs of {task.item}s to score (default: all)")  # fmt: skip


def _add_prepared(parser: argparse.ArgumentParser, task: Task) -> None:
    if has_stage(task.name, "prepare"):
        parser.add_argument("--prepared", type=Path, required=True, help="file made by `prepare`")


def _add_answers(parser: argparse.ArgumentParser, tasks_read: Sequence[str]) -> None:
    if tasks_read:
        parser.add_argument("--answers", type=Path, nargs="+", default=[], metavar="FILE",
                            help=f"files that `run` made for the tasks {', '.join(tasks_read)}, of "
                            "all models (default: none)")  # fmt: skip


def _items(arguments: argparse.Namespace, task: Task) -> Sequence[str]:
    """The ids that were given, else all of the scan set."""
    if arguments.items:
        return sorted(set(arguments.items))
    if task.item == SCAN:
        return all_scans(arguments.scan_set)
    from pesbench.files.scan_set import ScanSet
    from pesbench.files.scan_set_systems import scan_set_systems

    with ScanSet(arguments.scan_set) as scan_set:
        return [system.id for system in scan_set_systems(scan_set)]


def _prepare(arguments: argparse.Namespace) -> None:
    task = tasks()[arguments.task]
    job = PrepareJob(
        arguments.scan_set,
        _items(arguments, task),
        settings_of(arguments, task.settings),
        arguments.out,
    )
    stage(task.name, "prepare")(job)


def _run(arguments: argparse.Namespace) -> None:
    task = tasks()[arguments.task]
    job = RunJob(
        entry_of(arguments),
        arguments.scan_set,
        _items(arguments, task),
        settings_of(arguments, task.settings),
        arguments.out,
        device=arguments.device,
        threads=arguments.threads,
        prepared=getattr(arguments, "prepared", None),
        environment=where_of(arguments),
        answers=getattr(arguments, "answers", ()),
    )
    stage(task.name, "run")(job)


def _controls(arguments: argparse.Namespace) -> None:
    from pesbench.commands.controls import make_controls

    task = tasks()[arguments.task]
    make_controls(
        task.name,
        arguments.models,
        arguments.models_file,
        arguments.results,
        scan_set=arguments.scan_set,
        items=_items(arguments, task),
        settings=settings_of(arguments, task.settings),
        selected=arguments.selected,
    )


def _scored_entry(arguments: argparse.Namespace) -> ModelEntry | None:
    from pesbench.models.record import deciding_entry

    return deciding_entry(arguments.entry) if arguments.entry is not None else None


def _score(arguments: argparse.Namespace) -> None:
    from pesbench.commands.scoring import write_scores

    task = tasks()[arguments.task]
    job = ScoreJob(
        files=sorted(arguments.files),
        scan_set=arguments.scan_set,
        settings=settings_of(arguments, task.settings),
        entry=_scored_entry(arguments),
        reference=sorted(getattr(arguments, "reference", ())),
        split=arguments.seen_systems,
        seen_scans=getattr(arguments, "seen_scans", ()),
        selected=arguments.selected,
        prepared=getattr(arguments, "prepared", None),
        answers=getattr(arguments, "answers", ()),
        record=getattr(arguments, "record", None),
    )
    write_scores(task.name, job, arguments.out)
