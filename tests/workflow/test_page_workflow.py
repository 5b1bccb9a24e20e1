"""The workflow that publishes the page: its shell steps, run in a copy with a small example."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import ase.io
import pytest
import yaml
from ase import Atoms

from workflow_copy import REPO, Copy

PAGE = REPO / ".github" / "workflows" / "page.yml"
GITHUB = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"]  # `shell: bash`
KEPT = ("gfn2-xtb", "testbed-base", "testbed-rough")  # the whole study takes a minute
EXAMPLE = {
    "scan_set": "mini",
    "scan_sets": {"mini": {"source": "molecules", "molecules": "toy.extxyz", "reference": "morse"}},
    "models_file": "toy.yaml",
    "models": ["morse"],
    "controls": [],
    "dynamics": {"models": ["morse"], "temperatures_k": [300], "duration_ps": 0.02},
}
MORSE = {"family": "ase", "calculator": "fake_calculators:Morse", "level_of_theory": "Morse"}


def _checkout(copy: Copy) -> None:
    """What the steps need beside the workflow: a small example, the kept scores, `.venv`."""
    root = copy.root
    molecule = Atoms("CO", [[0, 0, 0], [0, 0, 1.13]])
    molecule.info |= {"id": "co", "smiles": "[C:1][O:2]", "spin": 1}
    ase.io.write(root / "toy.extxyz", molecule)
    (root / "toy.yaml").write_text(yaml.safe_dump({"morse": MORSE}))
    (root / "config" / "config.yaml").write_text(yaml.safe_dump(EXAMPLE))
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPO / name, root / name)
    shutil.copytree(REPO / ".github", root / ".github")
    (root / ".venv").symlink_to(root / "environment")
    for name in ("pyproject.toml", "envs/constraints.txt"):  # what they name is installed
        os.utime(root / name, (0, 0))
    kept = root / "resources" / "study" / "mini"
    for folder in kept.iterdir():
        if (folder / "model.json").is_file() and folder.name not in KEPT:
            shutil.rmtree(folder)


@pytest.mark.skipif(
    not (Path(sys.prefix) / ".installed").exists(), reason="this environment is not that of `make`"
)
def test_the_steps_that_publish_the_page_make_both_sites(tmp_path):
    copy = Copy(tmp_path / "checkout", "results")
    _checkout(copy)
    steps = yaml.safe_load(PAGE.read_text(encoding="utf-8"))["jobs"]["build"]["steps"]
    path = os.pathsep.join(map(str, (copy.root / "workflow", REPO / "tests/helpers")))
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")  # `make test` runs this very test
    told = {key: value for key, value in os.environ.items() if key not in outer}
    told["PYTHONPATH"] = path
    scripts = [step["run"] for step in steps if "run" in step]
    assert len(scripts) == 3
    for script in scripts:
        done = subprocess.run(
            [*GITHUB, script], cwd=copy.root, env=told, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, script + done.stdout + done.stderr
    site = copy.root / "_site"
    board = (site / "leaderboard.csv").read_text()
    assert all(name in board for name in KEPT)
    assert 'href="example/index.html"' in (site / "index.html").read_text()
    assert (site / "example" / "index.html").is_file()
    assert "morse" in (site / "example" / "leaderboard.csv").read_text()
    for what in ("bonds/scan-*.js", "dynamics/run-*.js"):
        assert list((site / "example" / "data").glob(what)), what
