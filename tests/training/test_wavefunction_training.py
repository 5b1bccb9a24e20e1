"""Trained wave functions: where they are calculated, what is refused, and the file that ships."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("pyscf")

from pesbench.cli import main
from pesbench.core.errors import UserError
from pesbench.core.family import family_of
from pesbench.models.addresses import file_sha256
from pesbench.models.families.wavefunction.archive import read_states
from pesbench.models.families.wavefunction.exchanges import exchanges
from pesbench.models.frame_by_frame import UnsupportedError
from pesbench.models.weights import read_weights
from pesbench.training.wavefunction import trained
from pesbench.training.wavefunction_plan import (
    candidates,
    equidistant,
    read_training,
    read_trainings,
)

MOLECULES = "resources/fci/molecules.extxyz"
HYDROGEN = {"basis": "6-31g", "lengths_angstrom": [0.6, 1.2], "candidates": 12, "calculations": 4}


@pytest.fixture
def plan(tmp_path, repo):
    def write(wanted: dict, **changes) -> Path:
        path = tmp_path / "plan.yaml"
        content = {"molecules": str(repo / MOLECULES), "trainings": {"mine": wanted}}
        path.write_text(yaml.safe_dump({**content, **changes}, sort_keys=False))
        return path

    return write


def test_the_plan_that_ships_is_read(repo, monkeypatch):
    monkeypatch.chdir(repo)
    path = Path("config/wavefunction_training.yaml")
    assert {"wavefunction-fci", "wavefunction-fci-narrow"} <= set(read_trainings(path))
    molecules = read_training(path, "wavefunction-fci")
    assert [one.system.id for one in molecules] == [
        "hydrogen", "lithium-hydride", "nitrogen", "water", "h4-chain", "h6-chain",
    ]  # fmt: skip
    assert all(one.keys.calculations <= 22 for one in molecules)


def test_weights_that_ship_are_those_of_their_card(repo):
    path = repo / "resources/weights/wavefunction-fci.zip"
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["sha256"] == file_sha256(path)
    found = read_states(read_weights(path, None, family_of("wavefunction")))
    for states, told in zip(found, card["molecules"], strict=True):
        assert list(states.numbers) == told["numbers"]
        assert len(states.ranks) == len(told["geometries"]) <= 22
        assert states.ranks[-1] == told["states"]
        assert told["held_out"]["least_energy_error_ev"] > -1e-8  # variational


def test_candidates_have_the_lengths_that_were_asked_for(plan):
    (water,) = read_training(
        plan({"water": {"basis": "sto-3g", "lengths_angstrom": [0.7, 1.6], "candidates": 40}}),
        "mine",
    )
    found = candidates(water, seed=1)
    lengths = np.array([np.linalg.norm(place[1:] - place[0], axis=1) for place in found[1:]])
    assert lengths.min() >= 0.7 - 1e-12
    assert lengths.max() <= 1.6 + 1e-12
    np.testing.assert_array_equal(found[0], water.system.positions)
    again = candidates(water, seed=1)
    np.testing.assert_array_equal(found, again)
    steps = [np.linalg.norm(place[1] - place[0]) for place in equidistant(water)]
    np.testing.assert_allclose(np.diff(steps), 0.9 / 21)


def test_images_are_the_exchanges_that_keep_the_bonds(plan):
    path = plan({name: {"basis": "sto-3g"} for name in ("water", "nitrogen", "h6-chain")})
    water, nitrogen, chain = read_training(path, "mine")

    def found(one):
        return exchanges(one.system.numbers.tolist(), one.system.bonds.tolist())

    assert found(water) == [(0, 1, 2), (0, 2, 1)]
    assert found(nitrogen) == [(0, 1)]  # its exchange is a rotation
    assert found(chain) == [(0, 1, 2, 3, 4, 5), (5, 4, 3, 2, 1, 0)]


def test_greedy_takes_what_it_knows_least(plan):
    (hydrogen,) = read_training(plan({"hydrogen": HYDROGEN}), "mine")
    trainer, variances = trained(hydrogen, seed=3)
    lengths = [float(np.ptp(place[:, 2])) for place in trainer.positions]
    assert lengths[0] == pytest.approx(0.7462)
    assert lengths[1] == pytest.approx(1.2)  # the far end differs most from the minimum
    assert (np.diff(variances) < 0).all()
    assert max(trainer.variances([hydrogen.system.positions])) < 1e-12  # calculated there


def test_the_command_writes_the_same_file_again(plan, tmp_path):
    path = plan({"hydrogen": HYDROGEN})
    for name in ("one", "two"):
        out = tmp_path / name / "mine.zip"
        main(["train-wavefunction", "mine", "--plan", str(path), "--out", str(out)])
    assert (tmp_path / "one/mine.zip").read_bytes() == (tmp_path / "two/mine.zip").read_bytes()
    card = json.loads((tmp_path / "one/mine.json").read_text())
    assert card["sha256"] == file_sha256(tmp_path / "one/mine.zip")
    (told,) = card["molecules"]
    assert (told["formula"], told["states"]) == ("H2", 4)
    assert told["held_out"]["largest_energy_error_ev"] < 1e-3
    assert "| H2 | 6-31g | 16 | greedy |" in (tmp_path / "one/mine.md").read_text()


@pytest.mark.parametrize(
    ("molecules", "reason"),
    [
        ({}, "no molecule; give at least one"),
        ({"water": {}}, "basis"),
        ({"water": {"basis": "sto-3g", "points": "random"}}, "points"),
        ({"water": {"basis": "sto-3g", "lengths_angstrom": [2, 1]}}, "give .less, more."),
        ({"water": {"basis": "sto-3g", "points": "list"}}, "belong together"),
        ({"wasser": {"basis": "sto-3g"}}, "not in .*did you mean|not in "),
    ],
)
def test_a_bad_plan_is_one_line(plan, molecules, reason):
    with pytest.raises(UserError, match=reason) as refused:
        read_training(plan(molecules), "mine")
    assert "\n" not in str(refused.value)
    assert "plan.yaml" in str(refused.value)


@pytest.mark.parametrize(
    ("comment", "rows", "reason"),
    [
        ("id=x charge=1 spin=1", ["O 0 0 0", "H 0 .8 .6", "H 0 -.8 .6", "H .9 0 -.3"],
         "neutral singlets only"),
        ("id=x charge=0 spin=3", ["O 0 0 0", "O 0 0 1.2"], "neutral singlets only"),
        ("id=x charge=0 spin=1", ["H 0 0 0", "H 0 0 3"], "one molecule without rings"),
    ],
)  # fmt: skip
def test_molecules_that_are_none_for_full_ci_are_refused(plan, tmp_path, comment, rows, reason):
    file = tmp_path / "other.extxyz"
    file.write_text("\n".join([str(len(rows)), comment, *rows, ""]))
    path = plan({"x": {"basis": "sto-3g"}}, molecules=str(file))
    with pytest.raises(UserError, match=reason):
        read_training(path, "mine")


def test_a_molecule_too_large_for_full_ci_is_refused_before_it_is_calculated(plan, tmp_path):
    path = plan({"nitrogen": {"basis": "cc-pvtz"}})
    out = tmp_path / "mine.zip"
    assert main(["train-wavefunction", "mine", "--plan", str(path), "--out", str(out)]) != 0
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "rows", "reason"),
    [
        ("ammonia", ["N 0 0 .1", "H .94 0 -.25", "H -.47 .81 -.25", "H -.47 -.81 -.25"],
         "p functions with more than 3 atoms"),
        ("water", ["O 0 0 0", "H 0 .9 .6", "H 0 -.7 .6"], "do not superpose, by"),
        ("carbonyl", ["C 0 0 0", "O 0 0 1.2", "O 0 0 -1.2"], "no orientation about its axis"),
    ],
)  # fmt: skip
def test_what_an_exchange_or_a_mirror_would_change_is_refused_in_one_line(
    plan, tmp_path, name, rows, reason, caplog
):
    file = tmp_path / "other.extxyz"
    file.write_text("\n".join([str(len(rows)), f"id={name} charge=0 spin=1", *rows, ""]))
    path = plan({name: {"basis": "sto-3g", "calculations": 1}}, molecules=str(file))
    out = str(tmp_path / "mine.zip")
    assert main(["train-wavefunction", "mine", "--plan", str(path), "--out", out]) == 2
    (said,) = caplog.messages
    assert reason in said
    assert "\n" not in said
    assert not Path(out).exists()


def test_too_little_memory_is_told_before_it_is_taken(plan, monkeypatch):
    (water,) = read_training(plan({"water": {"basis": "6-31g"}}), "mine")
    needed = 8 * (2 * 44 + 80) * 1_656_369
    monkeypatch.setattr("pesbench.training.wavefunction.available_bytes", lambda: needed)
    with pytest.raises(UnsupportedError, match=r"22 calculations .* GB, of 2\.2 GB that are free"):
        trained(water, seed=1)


def test_listed_geometries_need_the_atoms_in_order(plan, tmp_path):
    listed = tmp_path / "listed.extxyz"
    listed.write_text("2\nid=a charge=0 spin=1\nH 0 0 0\nLi 0 0 1.5\n")
    block = {"basis": "6-31g", "points": "list", "file": str(listed)}
    with pytest.raises(UserError, match="other atoms, or in another order"):
        read_training(plan({"lithium-hydride": block}), "mine")
    listed.write_text("2\nid=a charge=0 spin=1\nLi 0 0 0\nH 0 0 1.5\n")
    (one,) = read_training(plan({"lithium-hydride": block}), "mine")
    trainer, _ = trained(one, seed=1)
    assert len(trainer.vectors) == 1
