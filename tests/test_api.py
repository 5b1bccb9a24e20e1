"""`import pesbench`: what a notebook uses, and what it costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pesbench
from pesbench.core.interface import ModelInfo
from structure import read

STUDY = Path("resources/study/mini")
FEW = 60  # modules that the interpreter itself needs


def _modules_after(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_importing_it_imports_nothing_else():
    before, after = _modules_after("pass"), _modules_after("import pesbench")
    own = {name for name in after if name.split(".")[0] == "pesbench"}
    assert own == {"pesbench"}
    assert len(after - before) < FEW
    assert not after & {"numpy", "h5py", "pandas", "torch", "ase", "scipy"}


@pytest.mark.parametrize("name", ["ScanSet", "Evaluation", "Trajectories", "score_scan"])
def test_a_name_imports_no_torch_and_no_pandas(name):
    after = _modules_after(f"import pesbench; pesbench.{name}")
    assert not after & {"pandas", "torch", "matplotlib", "yaml"}


def test_every_public_name_is_there_and_documented(repo):
    assert set(pesbench.__all__) < set(dir(pesbench))
    for name in pesbench.__all__:
        assert getattr(pesbench, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'scan_set'"):
        _ = pesbench.scan_set
    tree = ast.parse((repo / "workflow/pesbench/__init__.py").read_text())
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    told = {alias.name for node in typed.body for alias in node.names}
    assert told == set(pesbench.__all__)  # what type checkers and editors see
    assert (repo / "workflow/pesbench/py.typed").is_file()


def test_no_module_of_the_package_uses_it(repo):
    for module in read(repo).values():
        assert "pesbench.api" not in module.imports | module.later
        source = repo / "workflow" / Path(*module.name.split(".")).with_suffix(".py")
        if source.is_file():
            for node in ast.walk(ast.parse(source.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module == "pesbench":
                    assert [alias.name for alias in node.names] == ["__version__"], source


@pytest.fixture(scope="module")
def study(repo):
    return repo / STUDY


@pytest.fixture(scope="module")
def scan(study):
    with pesbench.ScanSet(study / "mini.h5") as scan_set:
        return scan_set.scan("C-N/methylamine_0-1")


def test_the_reference_itself_has_the_best_scores(scan):
    scores = pesbench.score_scan(scan, scan.forces, scan.energy)
    assert scores["fsd_full"] == scores["force_mae"] == scores["energy_mae"] == 0
    without = pesbench.score_scan(scan, scan.forces)
    assert without["fsd_full"] == 0
    assert np.isnan(without["energy_mae"])
    # as stored of a model that has no energies
    assert pesbench.score_scan(scan, scan.forces, np.full(scan.n_frames, np.nan)) == pytest.approx(
        without, nan_ok=True
    )


def test_a_model_of_a_file_has_the_score_that_the_study_tells(repo, study, scan):
    weights = repo / "resources/weights/testbed-base.pt"
    model = pesbench.load_model(weights, family="testbed", device="cpu")
    evaluation = pesbench.evaluate_scan(model, scan)
    assert evaluation.status is pesbench.Status.OK
    scores = pesbench.score_scan(scan, evaluation.forces, evaluation.energy)
    stored = pd.read_parquet(study / "testbed-base/scores/bonds.parquet").set_index("scan")
    assert scores["fsd_full"] == pytest.approx(stored.loc[scan.id, "fsd_full"], rel=1e-3)
    assert scores["force_mae"] == pytest.approx(stored.loc[scan.id, "force_mae"], rel=1e-3)


def test_a_model_of_the_registry_is_loaded_by_its_name(repo, study, scan, monkeypatch):
    monkeypatch.chdir(repo)
    model = pesbench.load_model("control-noise_0.01", scan_set=study / "mini.h5")
    forces = pesbench.evaluate_scan(model, scan).forces
    stored = pd.read_parquet(study / "control-noise_0.01/scores/bonds.parquet").set_index("scan")
    fsd = pesbench.score_scan(scan, forces)["fsd_full"]
    assert fsd == pytest.approx(stored.loc[scan.id, "fsd_full"], rel=1e-6)


def test_what_a_model_cannot_do_is_a_status(scan):
    class Broken:
        info = ModelInfo(None, True, False, "cpu", "float64")

        def evaluate(self, batch):
            raise RuntimeError("no forces today")

    evaluation = pesbench.evaluate_scan(Broken(), scan)
    assert evaluation.status is pesbench.Status.ERROR
    assert "no forces today" in evaluation.message
    with pytest.raises(pesbench.UserError, match="holds what is no number"):
        pesbench.score_scan(scan, evaluation.forces)


def test_arrays_of_another_shape_are_refused(scan):
    with pytest.raises(pesbench.UserError, match=r"`forces` has the shape \(3,\)"):
        pesbench.score_scan(scan, [1.0, 2.0, 3.0])
    with pytest.raises(pesbench.UserError, match=r"`energy` has the shape"):
        pesbench.score_scan(scan, scan.forces, scan.energy[:-1])
    with pytest.raises(pesbench.UserError, match="no weight file"):
        pesbench.load_model("nowhere.model", family="mace")
    with pytest.raises(pesbench.UserError, match="no model 'nobody'"):
        pesbench.load_model("nobody", models_file=Path(__file__).parents[1] / "config/models.yaml")
