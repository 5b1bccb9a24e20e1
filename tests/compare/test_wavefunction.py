"""The study of interpolated wave functions, on the hydrogen molecule and on the smallest chain."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

pytest.importorskip("pyscf")

from examples import build_scan_set
from pesbench.cli import main
from pesbench.compare.wavefunction.far import INSIDE, LONGER, SHORTER, far_rows
from pesbench.compare.wavefunction.nve import Run, calculated_along, nve_rows
from pesbench.compare.wavefunction.scans import chosen_numbers, scan_rows
from pesbench.core.errors import UserError
from pesbench.models.families.wavefunction.full_ci import NotConvergedError
from pesbench.models.registry import ModelEntry
from pesbench.training.wavefunction import train_wavefunction
from pesbench.training.wavefunction_plan import read_training

FCI = ModelEntry("fci", "fci", {"bases": {"H2": "6-31g"}, "level_of_theory": "FCI"})
SMALL = Run(calculations=4, steps=60, exploring_steps=40, every=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, repo) -> Path:
    """A plan, weights and a scan set of hydrogen alone."""
    found = tmp_path_factory.mktemp("wavefunction")
    block = {"basis": "6-31g", "calculations": 3, "candidates": 12, "lengths_angstrom": [0.5, 1.3]}
    trainings = {"mine": {"hydrogen": block}}
    plan = {"molecules": str(repo / "resources/fci/molecules.extxyz"), "trainings": trainings}
    (found / "plan.yaml").write_text(yaml.safe_dump(plan))
    train_wavefunction("mine", found / "plan.yaml", found / "mine.zip")
    molecule = found / "hydrogen.extxyz"
    molecule.write_text(
        "2\nid=hydrogen smiles=[H:1][H:2] charge=0 spin=1\nH 0 0 -0.3731\nH 0 0 0.3731\n"
    )
    build_scan_set(molecule, FCI, found / "hydrogen.h5", bonds_to_hydrogen=True)
    return found


def test_errors_fall_with_the_number_of_calculations(folder):
    table = scan_rows(folder / "hydrogen.h5", folder / "mine.zip")
    assert set(table["interpolates"]) == {"states", "energies"}
    own = table[table["interpolates"] == "states"].sort_values("calculations")
    assert own["calculations"].tolist() == [1, 2, 3]
    assert (np.diff(own["energy_mae"]) < 0).all()
    assert own["spurious_extrema"].iloc[-1] == 0
    assert own["force_mae"].iloc[-1] < 1e-2 < own["force_mae"].iloc[0]


def test_numbers_that_are_compared_end_with_all():
    assert chosen_numbers(1) == [1]
    assert chosen_numbers(5) == [1, 2, 3, 4, 5]
    assert chosen_numbers(22) == [1, 2, 3, 4, 6, 8, 12, 16, 22]


def test_far_from_their_geometries_states_stay_above_full_ci(folder):
    table = far_rows(folder / "plan.yaml", "mine")
    assert set(table["region"]) == {SHORTER, INSIDE, LONGER}
    states = table[table["interpolates"] == "states"]
    assert states["energy_error_ev"].min() > -1e-8
    few, many = (states[states["calculations"] == n] for n in (2, 22))
    assert many["energy_error_ev"].max() < few["energy_error_ev"].max()
    outside = table[(table["region"] == LONGER) & (table["calculations"] == 22)]
    mean = outside.groupby("interpolates")["force_mae_ev_per_angstrom"].mean()
    assert mean["states"] < mean["energies"]


def test_dynamics_calculates_where_it_knows_least_and_keeps_its_energy(folder):
    (hydrogen,) = read_training(folder / "plan.yaml", "mine")
    first = hydrogen.system.positions
    trainer, variances = calculated_along(hydrogen, first, SMALL)
    assert 2 <= len(trainer.ranks) <= 4
    assert (np.diff(variances) < 0).all()
    table, told = nve_rows(hydrogen, first, SMALL)
    assert told["finished"]
    assert told["geometries"] == 61
    assert told["reference_calculations"] == len(trainer.ranks)
    assert told["compared"] == len(table) == 4
    assert table["energy_error_ev"].min() > -1e-8
    assert told["largest_energy_error_mev"] < 1e-2
    # half the step, a quarter of what velocity Verlet leaves: the forces are the gradient
    shorter = replace(SMALL, timestep_fs=SMALL.timestep_fs / 2, steps=120, exploring_steps=80)
    _, again = nve_rows(hydrogen, first, shorter)
    ratio = told["largest_deviation_mev_per_atom"] / again["largest_deviation_mev_per_atom"]
    assert ratio == pytest.approx(4, rel=0.1)


def test_commands_and_page(folder, tmp_path, caplog):
    out, plan = tmp_path / "study", str(folder / "plan.yaml")
    common = ["--folder", str(out)]
    weights, scans = str(folder / "mine.zip"), str(folder / "hydrogen.h5")
    assert main(["wavefunction-page", *common]) == 2  # nothing there yet
    assert main(["wavefunction-scans", "--scan-set", scans, "--weights", weights, *common]) == 0
    short = ["--calculations", "2", "--steps", "20", "--exploring-steps", "40"]
    run = ["wavefunction-nve", "mine", "--plan", plan, "--systems", "hydrogen=0.9", *short]
    assert main([*run, *common]) == 0
    assert main(["wavefunction-page", *common]) == 0
    text = (out / "README.md").read_text()
    assert "smaller force errors than the Gaussian process" in text
    assert "hydrogen: 20 steps with 2 reference calculations" in text
    assert "Far from" not in text  # that part did not run
    assert " s of processor time; commit" in text
    assert "The training" not in text
    assert main(["wavefunction-page", *common, "--cards", str(folder / "mine.json")]) == 0
    text = (out / "README.md").read_text()
    assert "## The training mine" in text
    assert "| hydrogen, 6-31g | 16 |" in text
    for content in ("{", "{}", '{"molecules": [{"id": "a"}]}'):
        (tmp_path / "card.json").write_text(content)
        assert main(["wavefunction-page", *common, "--cards", str(tmp_path / "card.json")]) == 2
        assert "card.json: not the card of a training" in caplog.messages[-1]
        assert "\n" not in caplog.messages[-1]
    assert (out / "errors.png").stat().st_size > 1000
    assert len(pd.read_csv(out / "nve.csv")) == 1
    assert "no answer" not in text
    table = pd.read_csv(out / "scans.csv")
    table.loc[0, "force_mae"] = np.nan
    table.to_csv(out / "scans.csv", index=False)
    assert main(["wavefunction-page", *common]) == 0
    assert (
        f"1 of {len(table)} rows have no answer and are in no mean"
        in (out / "README.md").read_text()
    )


@pytest.mark.parametrize("systems", ["water", "hydrogen=-1", "hydrogen=x"])
def test_bad_systems_are_refused(folder, tmp_path, systems, capsys):
    command = [
        "wavefunction-nve",
        "mine",
        "--plan",
        str(folder / "plan.yaml"),
        "--systems",
        systems,
    ]
    try:
        code = main([*command, "--folder", str(tmp_path)])
    except SystemExit as refused:
        code = refused.code
    assert code == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("system", "basis", "free", "said"),
    [
        ("h6-chain=0.001", "sto-3g", 10**12, "atoms are too close"),
        ("hydrogen=0.9", "6-31g", 10, "GB that are free"),
        ("hydrogen=0.9", "sto-9g", 10**12, "no basis set|not the name of a basis set"),
        ("nitrogen=1.1", "cc-pvtz", 10**12, "determinants, more than"),
    ],
)
def test_what_full_ci_does_not_take_is_one_line_before_any_work(
    repo, tmp_path, monkeypatch, caplog, system, basis, free, said
):
    name = system.partition("=")[0]
    known = {"hydrogen": {"basis": "6-31g"}, name: {"basis": basis}}
    path = tmp_path / "plan.yaml"
    plan = {"molecules": str(repo / "resources/fci/molecules.extxyz"), "trainings": {"mine": known}}
    path.write_text(yaml.safe_dump(plan))
    monkeypatch.setattr("pesbench.training.wavefunction.available_bytes", lambda: free)
    monkeypatch.setattr("pesbench.training.wavefunction.solved", None)  # nothing is calculated
    common = ["mine", "--plan", str(path), "--folder", str(tmp_path / "out")]
    commands = [["wavefunction-nve", *common, "--systems", system]]
    if system != "h6-chain=0.001":
        commands.append(["wavefunction-far", *common])
    for command in commands:
        caplog.clear()
        assert main(command) == 2
        (line,) = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
        assert re.search(said, line)
        assert f"{path}: mine: {name}" in line
        assert "\n" not in line


def test_a_geometry_without_a_state_is_one_line(folder, tmp_path, monkeypatch, caplog):
    def fails(*_):
        raise NotConvergedError("full CI not converged in 300 cycles")

    monkeypatch.setattr("pesbench.training.wavefunction.solved", fails)
    monkeypatch.setattr("pesbench.compare.wavefunction.far.solved", fails)
    common = ["mine", "--plan", str(folder / "plan.yaml"), "--folder", str(tmp_path)]
    for command in (["wavefunction-nve", *common, "--systems", "hydrogen"],
                    ["wavefunction-far", *common]):  # fmt: skip
        assert main(command) == 2
        assert "mine: hydrogen: full CI not converged" in caplog.messages[-1]


@pytest.mark.parametrize("content", ["{", "{}", '{"provenance": {}}', "[]"])
def test_a_damaged_part_of_the_page_is_one_line(tmp_path, caplog, content):
    (tmp_path / "far.csv").write_text("system\n")
    (tmp_path / "far.json").write_text(content)
    assert main(["wavefunction-page", "--folder", str(tmp_path)]) == 2
    (line,) = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
    assert f"{tmp_path / 'far.json'}: not what the study writes beside far.csv" in line
    assert line.endswith("run `wavefunction-far` again")


def test_a_scan_set_of_other_molecules_is_refused(folder, toy_set):
    with pytest.raises(UserError, match="no scan of a molecule that"):
        scan_rows(toy_set, folder / "mine.zip")
