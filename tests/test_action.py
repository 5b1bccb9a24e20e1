"""The GitHub Action and the workflow that publishes the page: their shell steps, run here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples import HELPERS, REPO

ACTION, PAGE = REPO / "action.yml", REPO / ".github" / "workflows" / "page.yml"
SCRIPTS = REPO / ".github" / "scripts"
GITHUB = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"]  # `shell: bash`


def _read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _steps() -> list[dict[str, Any]]:
    jobs = _read(PAGE)["jobs"].values()
    return [*_read(ACTION)["runs"]["steps"], *(step for job in jobs for step in job["steps"])]


def test_no_step_pastes_an_input_into_a_script():
    scripts = [step["run"] for step in _steps() if "run" in step]
    assert len(scripts) == 5
    assert not [script for script in scripts if "${{" in script]


def test_every_script_that_a_step_runs_is_there():
    named = [
        name
        for step in _steps()
        for name in re.findall(r"\.github/scripts/([a-z]+\.sh)", step.get("run", ""))
    ]
    assert {*named} == {path.name for path in SCRIPTS.glob("*.sh")}
    for name in named:
        subprocess.run(["bash", "-n", SCRIPTS / name], check=True)


def test_every_expression_of_the_action_is_declared():
    action = _read(ACTION)
    used = set(re.findall(r"\$\{\{\s*inputs\.([\w-]+)", ACTION.read_text()))
    assert used == {*action["inputs"]}
    assert all({"description", "default"} <= {*one} for one in action["inputs"].values())
    told = (SCRIPTS / "check.sh").read_text()
    assert all(f"{name}=%s" in told for name in action["outputs"])


def _environment(step: dict[str, Any], inputs: dict[str, str], place: Path) -> dict[str, str]:
    """The variables of a step, as GitHub would fill them in."""
    given = {name: one["default"] for name, one in _read(ACTION)["inputs"].items()} | inputs

    def value(found: re.Match[str]) -> str:
        what = found[1]
        if what.startswith("inputs."):
            return given[what.removeprefix("inputs.")]
        return {"github.action_path": str(REPO), "runner.temp": str(place)}[what]

    told = {
        key: re.sub(r"\$\{\{\s*([\w.-]+)\s*\}\}", value, text) for key, text in step["env"].items()
    }
    files = {"GITHUB_OUTPUT": place / "output", "GITHUB_STEP_SUMMARY": place / "summary.md"}
    path = f"{HELPERS}{os.pathsep}{os.environ.get('PYTHONPATH', REPO / 'workflow')}"
    # the step that sets up Python puts the one that has pesbench first
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {
        **os.environ, **told, **{k: str(v) for k, v in files.items()},
        "PYTHONPATH": path, "PATH": programs,
    }  # fmt: skip


@pytest.fixture
def step(tmp_path):
    """Runs the step of the action with a name; gives its exit code, outputs and summary."""

    def run(name: str, **inputs: str) -> tuple[int, dict[str, str], str]:
        (chosen,) = (one for one in _read(ACTION)["runs"]["steps"] if one.get("name") == name)
        done = subprocess.run(
            [*GITHUB, chosen["run"]], cwd=tmp_path, capture_output=True, text=True, check=False,
            env=_environment(chosen, {k.replace("_", "-"): v for k, v in inputs.items()}, tmp_path),
        )  # fmt: skip
        told = (tmp_path / "output").read_text() if (tmp_path / "output").is_file() else ""
        outputs = dict(line.split("=", 1) for line in told.splitlines())
        summary = tmp_path / "summary.md"
        shown = summary.read_text() if summary.is_file() else ""
        return done.returncode, outputs, shown + done.stdout + done.stderr

    return run


CONFORMANCE = "--parts\nconformance"
CHECK, INSTALL = "Check the model", "Install pesbench and the packages of the model"


def test_a_model_that_conforms_passes_and_leaves_its_report(step, tmp_path):
    (tmp_path / "mine.py").write_text("from check_calculators import Smooth as Calc\n")
    code, outputs, said = step(CHECK, calculator="mine:Calc", arguments=CONFORMANCE)
    assert code == 0, said
    assert outputs["exit-code"] == "0"
    assert "conforms" in outputs["verdict"]
    report = tmp_path / "pesbench-check"
    assert json.loads((report / "check.json").read_text())
    assert outputs["verdict"] in (report / "check.txt").read_text()
    assert "<pre>" in said


def test_a_model_that_fails_fails_the_step_and_leaves_its_report(step, tmp_path):
    bent = (
        "from check_calculators import Smooth\n\n\nclass Calc(Smooth):\n"
        "    def calculate(self, *arguments, **words):\n"
        "        super().calculate(*arguments, **words)\n"
        "        self.results['forces'] = 1.5 * self.results['forces']\n"
    )
    (tmp_path / "mine.py").write_text(bent)
    code, outputs, said = step(CHECK, calculator="mine:Calc", arguments=CONFORMANCE)
    assert code == 1, said
    assert outputs["exit-code"] == "1"
    assert "failed:" in outputs["verdict"]
    assert (tmp_path / "pesbench-check" / "check.json").is_file()


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "give one of"),
        ({"model": "no-such"}, "no-such"),
        ({"calculator": "mine:Calc", "trust": "yes; touch owned"}, "give true or false"),
        ({"calculator": "$(touch owned)"}, "$(touch owned)"),
        ({"model": "<script>alert(1)</script>"}, "&lt;script&gt;"),
    ],
)
def test_bad_input_is_told_and_runs_nothing(step, tmp_path, inputs, said):
    code, _, told = step(CHECK, **inputs)
    assert code == 2, told
    assert said in told
    assert not (tmp_path / "owned").exists()


def test_options_of_pip_are_no_packages(step):
    code, _, told = step(INSTALL, packages="numpy\n --index-url elsewhere")
    assert code == 2
    assert "begins with a dash" in told


# --- the site ------------------------------------------------------------------------------------


def _site(*words: object) -> subprocess.CompletedProcess[str]:
    script = SCRIPTS / "site.sh"
    return subprocess.run(
        ["bash", script, *map(str, words)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def results(tmp_path):
    """A folder of results with its pages."""
    folder = tmp_path / "results"
    (folder / "explorer" / "data").mkdir(parents=True)
    (folder / "explorer" / "index.html").write_text("<!doctype html>")
    (folder / "explorer" / "data" / "_a.js").write_text("0")
    for name in ("leaderboard.html", "leaderboard.csv", "leaderboard.json"):
        (folder / name).write_text(name)
    return folder


def test_a_site_has_the_explorer_as_its_first_page(results, tmp_path):
    site = tmp_path / "site"
    done = _site(results, site)
    assert done.returncode == 0, done.stderr
    found = {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}
    assert found == {
        "index.html", "data/_a.js", "leaderboard.html", "leaderboard.csv", "leaderboard.json",
        ".nojekyll",
    }  # fmt: skip


def test_a_site_can_lead_to_another_page(results, tmp_path):
    page = (REPO / "workflow/pesbench/report/explorer/assets/index.html").read_text()
    (results / "explorer" / "index.html").write_text(page)
    site = tmp_path / "site"
    done = _site(results, site, "example", "An example")
    assert done.returncode == 0, done.stderr
    link = '\n<footer><a href="example/index.html">An example</a></footer>'
    assert (site / "index.html").read_text() == page.replace("</main>", f"</main>{link}")


def test_a_site_is_no_place_where_something_is(results, tmp_path):
    kept = tmp_path / "site"
    kept.mkdir()
    assert _site(results, kept).returncode == 2
    (results / "explorer" / "index.html").unlink()
    done = _site(results, tmp_path / "other")
    assert done.returncode == 2
    assert "python -m pesbench report" in done.stderr
    assert not (tmp_path / "other").exists()
