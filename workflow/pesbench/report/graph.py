"""Parts of a report, and the commands that make them.

The rules of the workflow, `pesbench merge`, `pesbench report` and `pesbench plan` all ask here, so
that which sections belong to a run is written once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pesbench.compare.comparison import ANSWERS, ReportRun, comparisons
from pesbench.core.found import has_stage, tasks

SECTIONS = "sections"
LEADERBOARD = ("leaderboard.csv", "leaderboard.md")
PAGE = "leaderboard.html"
_ASSETS = Path(__file__).parent / "explorer" / "assets" / "sources.sha256"
EXPLORER = "explorer"
BOARDS = ("leaderboard", "page", "explorer")  # commands that show all models


def task_sections(run: ReportRun) -> list[str]:
    """The tasks that have a section: those that ran, the one that always runs first."""
    ran = [name for name in tasks() if run.ran.get(name)]
    return sorted(ran, key=lambda name: not tasks()[name].always)


def comparison_sections(run: ReportRun) -> list[str]:
    """The comparisons that apply to a run."""
    return [name for name, one in comparisons().items() if one.applies(run)]


def section_names(run: ReportRun) -> list[str]:
    """The sections of a run in the order in which they are shown: tasks, then comparisons."""
    return [*task_sections(run), *comparison_sections(run)]


def model_sections(run: ReportRun) -> list[tuple[str, str]]:
    """Task and model of every section of a single model.

    Only models have one: nothing breaks in the reference, and where a known defect does is known.
    """
    return [
        (task, model)
        for task in task_sections(run)
        if has_stage(task, "model_section")
        for model in run.ran_as(task, "model")
    ]


def model_section_folder(folder: Path, task: str, model: str) -> Path:
    """Folder of a section of one model in a folder of results."""
    return folder / model / SECTIONS / task


def scores_file(folder: Path, task: str, model: str) -> Path:
    """File of the scores of a model in a folder of results."""
    return folder / model / "scores" / f"{task}.parquet"


def _ran(ran: Mapping[str, Sequence[str]]) -> list[str]:
    return [word for task, models in ran.items() if models for word in ("--ran", task, *models)]


def _common(folder: Path, run: ReportRun, scan_set: Path, models_file: Path) -> list[str]:
    places = ["--results", str(folder), "--scan-set", str(scan_set)]
    return [*places, "--models-file", str(models_file), "--models", *run.entries]


def section_ran(run: ReportRun, name: str) -> dict[str, Sequence[str]]:
    """Models by task whose scores the section of a task reads: its own, and what always runs."""
    return {task: some for task, some in run.ran.items() if task == name or tasks()[task].always}


def _ranking(run: ReportRun) -> list[str]:
    return ["--rank-by", run.rank_by, "--entry-coverage", str(run.entry_coverage)]


def section_command(
    folder: Path, run: ReportRun, name: str, *, scan_set: Path, models_file: Path
) -> list[str]:
    """Words of the command that makes the section of a task."""
    common = _common(folder, run, scan_set, models_file)
    return ["section", name, *common, *_ran(section_ran(run, name)), *_ranking(run)]


def model_section_command(
    folder: Path, task: str, model: str, *, scan_set: Path, files: Sequence[Path]
) -> list[str]:
    """Words of the command that makes the section of a task of one model.

    Args:
        folder: Folder of results.
        task: Name of the task.
        model: Name of the model.
        scan_set: Scan set file.
        files: Files that `run` wrote for the model; none if there are only scores.
    """
    places = ["--results", str(folder), "--scan-set", str(scan_set)]
    given = ["--files", *map(str, files)] if files else []
    return ["model-section", task, "--model", model, *places, *given]


def compare_command(
    folder: Path,
    run: ReportRun,
    name: str,
    *,
    scan_set: Path,
    models_file: Path,
    files: Mapping[str, Mapping[str, Sequence[Path]]],
) -> list[str]:
    """Words of the command that makes the section of a comparison.

    Args:
        folder: Folder of results.
        run: Run of the report.
        name: Name of the comparison.
        scan_set: Scan set file.
        models_file: The registry, or `models.json`.
        files: What `run` wrote, by task and model.
    """
    one = comparisons()[name]
    common = _common(folder, run, scan_set, models_file)
    words = ["compare", name, *common, *_ran(one.scores(run)), *_ranking(run)]
    if one.takes_ladder and run.ladder:
        words += ["--ladder", *run.ladder]
    for task, models in one.answers(run).items():
        paths = [str(path) for model in models for path in files[task][model]]
        words += [f"--{ANSWERS[task]}", *paths] if paths else []
    return words


def board_command(folder: Path, run: ReportRun, what: str, *, scan_set: Path) -> list[str]:
    """Words of the command that makes the leaderboard, the page or the explorer from sections.

    Args:
        folder: Folder of results.
        run: Run of the report.
        what: One of `BOARDS`.
        scan_set: Scan set file.
    """
    places = ["--results", str(folder), "--scan-set", str(scan_set)]
    return [what, *places, "--sections", *section_names(run)]


def explorer_assets() -> str:
    """Digest of the sources that the page of the explorer is built from."""
    return _ASSETS.read_text(encoding="ascii").strip()


def strict_command(folder: Path, run: ReportRun, *, scan_set: Path, models_file: Path) -> list[str]:
    """Words of the command that lists the models that failed, without `--out`."""
    return ["strict", *_common(folder, run, scan_set, models_file), *_ran(run.ran)]


def report_commands(
    folder: Path,
    run: ReportRun,
    *,
    scan_set: Path,
    models_file: Path,
    files: Mapping[str, Mapping[str, Sequence[Path]]],
) -> list[list[str]]:
    """Arguments of `python -m pesbench` that make the report of a folder of results, in order.

    First the sections of models, then those of tasks and comparisons, then leaderboard, page and
    explorer.
    The length of the list is the number of jobs of the report. What stands in `merged.json` and
    `skipped.csv` of the folder is found by these themselves.

    Args:
        folder: Folder of results, with `<model>/scores/<task>.parquet` of every model of `run.ran`.
        run: Entries, level of theory, models by task, models of the design ladder, what ranks.
        scan_set: Scan set file.
        models_file: The registry, or `models.json` of the folder.
        files: What `run` wrote, by task and model; models without any have scores only: they are
            in no comparison of evaluations, and their model sections have tables only.
    """
    places = {"scan_set": scan_set, "models_file": models_file}
    commands = [
        model_section_command(
            folder, task, model, scan_set=scan_set, files=files.get(task, {}).get(model, ())
        )
        for task, model in model_sections(run)
    ]
    commands += [section_command(folder, run, name, **places) for name in task_sections(run)]
    commands += [
        compare_command(folder, run, name, files=files, **places)
        for name in comparison_sections(run)
    ]
    boards = (board_command(folder, run, what, scan_set=scan_set) for what in BOARDS)
    return [*commands, *boards]
