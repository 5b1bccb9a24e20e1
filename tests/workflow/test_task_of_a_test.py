"""A task is one folder: one that exists in a test only goes all the way, and one may be removed."""

from __future__ import annotations

import ast
import hashlib
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import ase.io
import h5py
import numpy as np
import pandas as pd
import pytest
import yaml

from examples import HELPERS, REPO, matches, rule_files
from pesbench.core.found import tasks as known_tasks
from workflow_copy import Copy, jobs_of

PACKAGE = REPO / "workflow" / "pesbench"
TASK = "breathing"
SYSTEMS = ("hydrazine", "methanethiol")
FAKES = {
    "morse": {"family": "ase", "calculator": "fake_calculators:Morse"},
    # of hydrazine, where the first two atoms are far apart
    "faulty": {
        "family": "ase",
        "calculator": "fake_calculators:Faulty",
        "arguments": {"fault": "raise", "formulas": ["H4N2"], "window": [1.5, 9.0]},
    },
}
pytestmark = pytest.mark.xdist_group("task of a test")  # one copy, one order


def _config(model: str, results: str) -> dict:
    return {
        "scan_set": "two",
        "scan_sets": {
            "two": {"source": "molecules", "molecules": "two.extxyz", "reference": "gfn2-xtb"}
        },
        "models": [model],
        "controls": ["control-zero"] if model == "morse" else [],
        "dynamics": {"models": []},
        TASK: {"models": [model], "frames": 7},
        "results": results,
    }


def _files(root: Path) -> dict[str, str]:
    """sha256 of every file of the package and of the rules, by path."""
    paths = [root / "Snakefile", *(root / "workflow").rglob("*")]
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path.is_file() and "__pycache__" not in path.parts
    }


@dataclass
class Made:
    """A copy with the task, and what was made in it.

    Attributes:
        copy: Of the workflow.
        board: The leaderboard of each of the two runs, by model.
        merged: Folder of both runs together.
    """

    copy: Copy
    board: dict[str, pd.DataFrame]
    merged: Path

    def results(self, model: str) -> Path:
        return self.copy.root / f"results-{model}" / "two"


def _pesbench(copy: Copy, *words: str) -> subprocess.CompletedProcess[str]:
    return copy.python("-m", "pesbench", *words)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    copy = Copy(tmp_path_factory.mktemp("task"), "results")
    shutil.copytree(HELPERS / TASK, copy.root / "workflow/pesbench/tasks" / TASK)
    frames = ase.io.read(REPO / "resources/mini/molecules.extxyz", index=":")
    two = [atoms for atoms in frames if atoms.info["id"] in SYSTEMS]
    assert len(two) == 2
    ase.io.write(copy.root / "two.extxyz", two)
    with (copy.root / "config/models.yaml").open("a") as file:
        file.write(yaml.safe_dump(FAKES))
    board = {}
    for model in FAKES:
        config = copy.root / f"{model}.yaml"
        config.write_text(yaml.safe_dump(_config(model, f"results-{model}")))
        done = copy.snakemake("--configfile", config.name)
        assert done.returncode == 0, done.stdout + done.stderr
        table = pd.read_csv(copy.root / f"results-{model}" / "two" / "leaderboard.csv")
        board[model] = table.set_index("model")
    folders = [f"results-{model}/two" for model in FAKES]
    done = _pesbench(copy, "merge", *folders, "--out", "both")
    assert done.returncode == 0, done.stdout + done.stderr
    return Made(copy, board, copy.root / "both")


def test_no_other_file_was_changed(made: Made) -> None:
    before, after = _files(REPO), _files(made.copy.root)
    assert len(before) > 100
    added = {path for path in after if path.startswith(f"workflow/pesbench/tasks/{TASK}/")}
    assert {path: after[path] for path in after.keys() - added} == before
    assert added


def test_its_answers_and_scores_are_in_its_folders(made: Made) -> None:
    for model in FAKES:
        files = matches(made.results(model) / model / TASK, "*.h5")
        assert [path.name for path in files] == ["0000.h5", "0001.h5"]  # a molecule a job
        with h5py.File(files[0]) as file:
            assert len(file["hydrazine/energy"]) == 7  # of the config
    scores = {
        model: pd.read_parquet(made.results(model) / model / "scores" / f"{TASK}.parquet")
        for model in FAKES
    }
    for table in scores.values():
        assert list(table["system"]) == list(SYSTEMS)
    assert list(scores["morse"]["status"]) == ["ok", "ok"]
    # a failure is a result: the reason is kept, and there is no number
    assert list(scores["faulty"]["status"]) == ["error", "ok"]
    assert "SCF did not converge" in scores["faulty"]["message"][0]
    assert np.isnan(scores["faulty"]["roughness_ev"][0])
    assert scores["faulty"]["roughness_ev"][1] == scores["morse"]["roughness_ev"][1] > 0


def test_it_stands_on_the_leaderboard_and_on_the_page(made: Made) -> None:
    column = f"{TASK}_roughness_ev"
    for model, rows in (("morse", 2), ("faulty", 1)):
        board = made.board[model]
        scores = pd.read_parquet(made.results(model) / model / "scores" / f"{TASK}.parquet")
        assert board.loc[model, column] == pytest.approx(scores["roughness_ev"].mean())
        assert board.loc[model, f"{column}_n"] == rows
        assert board.loc[model, f"{TASK}_n_planned"] == 2
        assert model != "morse" or pd.isna(board.loc["control-zero", column])
        text = (made.results(model) / "leaderboard.md").read_text()
        page = (made.results(model) / "leaderboard.html").read_text()
        for shown in (text, page):
            assert "Breathing molecules" in shown
            assert "Whole molecules were made larger and smaller." in shown
        assert "Roughness of every molecule." in page
        section = made.results(model) / "sections" / TASK
        assert (section / "section.json").is_file()
        assert (section / "breathing.csv").is_file()
        assert (section / "roughness.png").stat().st_size > 0


def test_both_runs_are_merged(made: Made) -> None:
    board = pd.read_csv(made.merged / "leaderboard.csv").set_index("model")
    for model in FAKES:
        column = f"{TASK}_roughness_ev"
        assert board.loc[model, column] == pytest.approx(made.board[model].loc[model, column])
    page = (made.merged / "leaderboard.html").read_text()
    assert "Breathing molecules" in page
    assert (made.merged / "sections" / TASK / "roughness.png").is_file()


def test_it_is_planned(made: Made) -> None:
    done = made.copy.snakemake("plan", "--configfile", "morse.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    plan = pd.read_csv(made.results("morse") / "plan.csv").set_index("model")
    assert plan.loc["morse", f"{TASK}_shards"] == 2
    assert plan.loc["morse", f"{TASK}_hours"] > 0
    # seven frames of two molecules of six atoms
    assert plan.loc["morse", f"{TASK}_atom_frames"] == 2 * 7 * 6


def test_it_is_in_the_report_of_snakemake(made: Made) -> None:
    done = made.copy.snakemake("--configfile", "morse.yaml", "--report", "report.zip")
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(made.copy.root / "report.zip") as report:
        text = b"".join(report.read(name) for name in report.namelist())
    assert TASK.encode() in text
    assert b"roughness" in text


def test_a_second_run_does_nothing_and_a_setting_runs_its_stage_alone(made: Made) -> None:
    run = ("--configfile", "morse.yaml")
    assert made.copy.planned(*run) == {}
    jobs = made.copy.planned(*run, "--config", f"{TASK}={{models: [morse], frames: 7, factor: 2}}")
    assert jobs["score"] == 1
    assert not {"run", "run_on_cpu"} & jobs.keys()
    jobs = made.copy.planned(*run, "--config", f"{TASK}={{models: [morse], frames: 8}}")
    assert jobs["run_on_cpu"] == 2
    # the module of the settings counts, although `run.py` and `score.py` do not import it
    module = made.copy.root / "workflow/pesbench/tasks" / TASK / "settings.py"
    before = module.read_text()
    module.write_text(before.replace("at_most=0.5", "at_most=0.4"))
    try:
        jobs = made.copy.planned(*run)
    finally:
        module.write_text(before)
    assert (jobs["run_on_cpu"], jobs["score"]) == (2, 1)


@pytest.mark.parametrize(
    ("module", "old", "rules"),
    [
        (f"tasks/{TASK}/task.py", '"roughness"', ("section", "leaderboard", "page", "explorer")),
        ("report/merged.py", "Where the results", ("leaderboard", "page", "explorer")),
        # it was not asked
        ("compare/association/comparison.py", "No model ran", ("page", "explorer")),
    ],
)
def test_changed_code_of_the_report_makes_what_shows_it_again(
    made: Made, module: str, old: str, rules: tuple[str, ...]
) -> None:
    path = made.copy.root / "workflow/pesbench" / module
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, f"{old[:-1]} (new){old[-1]}"))
    try:
        assert made.copy.planned("--configfile", "morse.yaml") == dict.fromkeys(rules, 1)
    finally:
        path.write_text(before)


# --- who knows of a task -------------------------------------------------------------------------

# `pesbench check` is two tasks on thirty scans; the public API gives a notebook their functions;
# a harvest is of trajectories, which its study asks for
BY_NAME = (
    "commands/check/", "__init__.py", "api.py", "training/harvest.py", "training/data_dynamics.py",
)  # fmt: skip


def _imported(path: Path) -> set[str]:
    """Dotted names of what a module imports, and of the texts in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


def _reads(parts: tuple[str, ...], task: str) -> bool:
    """Whether a file belongs to a task that declares that it reads the answers of another."""
    own = known_tasks().get(parts[1]) if parts[0] == "tasks" else None
    return own is not None and task in (*own.run_reads, *own.score_reads)


def test_no_file_names_the_modules_of_a_task_but_itself_and_comparisons() -> None:
    tasks = [path.parent.name for path in matches(PACKAGE / "tasks", "*/task.py")]
    assert {"bonds", "dynamics", "vibrations"} <= set(tasks)
    foreign = []
    for path in matches(PACKAGE, "**/*.py"):
        place = path.relative_to(PACKAGE)
        if place.parts[0] == "compare" or str(place).startswith(BY_NAME):
            continue
        for task in tasks:
            if place.parts[:2] != ("tasks", task):
                module = f"pesbench.tasks.{task}"
                named = {one for one in _imported(path) if one.startswith(module)}
                if _reads(place.parts, task):  # then with the reader of its files
                    named = {one for one in named if not one.startswith(f"{module}.stored.")}
                foreign += [f"{place}: {one}" for one in sorted(named)]
    # the reference energies of scans are the answers of the one task that always runs
    rules = rule_files()
    rules.remove(REPO / "workflow/rules/references.smk")
    for path in rules:
        others = [task for task in tasks if task != path.parent.name]
        foreign += [f"{path}: {task}" for task in others
                    if f"pesbench.tasks.{task}" in path.read_text()]  # fmt: skip
    assert foreign == []


# --- a task less ---------------------------------------------------------------------------------


def test_without_vibrations_the_rest_works(made: Made) -> None:
    """The last test: it removes the folder from the copy. No config of these names the task."""
    copy, page = made.copy, made.results("morse") / "leaderboard.html"
    shutil.rmtree(copy.root / "workflow/pesbench/tasks/vibrations")
    assert "vibrations" not in yaml.safe_load((copy.root / "config/config.yaml").read_text())
    assert copy.planned()["run_on_cpu"] > 0
    page.unlink()
    done = copy.snakemake("--configfile", "morse.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not {"run", "run_on_cpu", "score"} & jobs_of(done).keys()
    folders = [f"results-{model}/two" for model in FAKES]
    done = _pesbench(copy, "merge", *folders, "--out", "less")
    assert done.returncode == 0, done.stdout + done.stderr
    for shown in (page, copy.root / "less" / "leaderboard.html"):
        assert "Breathing molecules" in shown.read_text()
