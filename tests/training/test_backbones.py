"""Backbones of the spectral diagnosis: the plan, the registry, and sevenn's exact resume."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import ase.io
import numpy as np
import pytest
import yaml
from ase import Atoms

from examples import REPO
from methanol import METHANOL
from pesbench.commands.plan_trainings import begin_training
from pesbench.core.errors import UserError
from pesbench.files.environment import Environment
from pesbench.orchestration.config import read_models
from pesbench.training.backbone_plan import read_backbones
from pesbench.training.backbones import TARGET, write_backbone_registry
from pesbench.training.mace import MACETraining, card_text
from pesbench.training.sampling import ISOLATED, TRAIN, VALID
from pesbench.training.sevennet import (
    STATE,
    SevenNetTraining,
    check_isolated,
    prepare,
    train,
)

PLAN = REPO / "config" / "backbones.yaml"


def test_the_plan_has_the_backbones_of_the_question() -> None:
    plan = read_backbones(PLAN)
    every = plan.trainings()
    assert [name for name in every if name.startswith("sevennet-l2")] == [
        "sevennet-l2", "sevennet-l2-seed_2", "sevennet-l2-seed_3", "sevennet-l2-seed_4"
    ]  # fmt: skip
    of_sevennet = [one.backbone.l_max for one in every.values() if one.weights_name[-4:] == ".pth"]
    assert sorted(of_sevennet) == [1, 1, 2, 2, 2, 2, 3, 3]
    of_mace = {
        (one.backbone.l_max, one.backbone.correlation)
        for one in every.values()
        if one.weights_name.endswith(".model")
    }
    assert of_mace == {(1, 2), (1, 3), (2, 2), (2, 3)}
    assert plan.sampling_words[:4] == ["--only", "aspirin", "--temperatures-k", "500"]
    # further seeds repeat no training, and a key of one family none of the other
    asked = {name: plan.asked_of(every[name]) for name in ("sevennet-l2", "mace-l2-c2")}
    assert asked["sevennet-l2"] == plan.asked_of(every["sevennet-l2-seed_4"])
    changed = replace(plan, learning_rate=0.5, cutoff_angstrom=9.0)
    assert asked["sevennet-l2"] != changed.asked_of(every["sevennet-l2"])
    assert asked["mace-l2-c2"] == changed.asked_of(every["mace-l2-c2"])
    assert SevenNetTraining(**asked["sevennet-l2"]).epochs == 30
    assert MACETraining(**asked["mace-l2-c2"]).epochs == 30


def test_a_wrong_plan_is_one_line(tmp_path: Path) -> None:
    plan = yaml.safe_load(PLAN.read_text())
    for change, said in (
        ({"family": "sevennet", "l_max": 1}, "call it `sevennet-mace-it`"),
        ({"family": "chgnet", "l_max": 1}, "family"),
        ({"family": "mace", "l_max": 9}, "l_max"),
        ({"family": "mace", "l_max": 1, "degree": 2}, "degree"),
    ):
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump(plan | {"backbones": {"mace-it": change}}))
        with pytest.raises(UserError, match=said) as caught:
            read_backbones(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no training 'sevennet-l4'"):
        read_backbones(PLAN).training_of("sevennet-l4", "plan")


def test_the_registry_has_all_entries_and_what_is_trained(tmp_path: Path) -> None:
    plan, registry = read_backbones(PLAN), REPO / "config/models.yaml"
    out = tmp_path / "models.yaml"
    # what needs no backbone is asked where none is trained
    write_backbone_registry(plan, tmp_path, registry, "gfn2-xtb", tmp_path, out)
    assert yaml.safe_load(out.read_text()) == yaml.safe_load(registry.read_text())
    assert (tmp_path / "models.csv").read_text().count(",no\n") == len(plan.trainings())
    for name in ("sevennet-l2-seed_2.pth", "sevennet-l2-seed_3.pth", "mace-l1-c3.model"):
        (tmp_path / name).write_text(name)
    with pytest.raises(UserError, match="no model 'gfn9'"):
        write_backbone_registry(plan, tmp_path, registry, "gfn9", tmp_path, out)
    write_backbone_registry(plan, tmp_path, registry, "gfn2-xtb", tmp_path, out)
    assert read_models(out)["sevennet-l2-seed_3"].family == "sevennet"
    entries = yaml.safe_load(out.read_text())
    assert list(entries) == [
        *yaml.safe_load(registry.read_text()),
        "sevennet-l2-seed_2", "sevennet-l2-seed_3", "mace-l1-c3",
    ]  # fmt: skip
    assert entries["sevennet-l2-seed_3"]["seed_of"] == "sevennet-l2-seed_2"
    assert entries["mace-l1-c3"]["level_of_theory"] == entries["gfn2-xtb"]["level_of_theory"]
    assert entries["mace-l1-c3"]["description"].endswith("L = 1, correlation 3")
    assert "# not trained: sevennet-l1\n" in out.read_text()
    rows = dict.fromkeys((tmp_path / "models.csv").read_text().splitlines())
    assert {"sevennet-l2,sevennet-l2,no", "sevennet-l2-seed_2,sevennet-l2,yes"} < rows.keys()


def test_the_degree_of_mace_is_an_option_of_its_training() -> None:
    assert "--max_L=0" in MACETraining().options()
    assert "--max_L=2" in MACETraining(max_l=2).options()


# --- sevenn --------------------------------------------------------------------------------------


def frames(count: int, seed: int) -> list[ase.Atoms]:
    """Methanol with springs between all atoms."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        moved = METHANOL.positions + rng.normal(scale=0.05, size=(6, 3))
        atoms = ase.Atoms(METHANOL.numbers, moved)
        away = moved - METHANOL.positions
        atoms.info = {"REF_energy": -190.0 - 12.0 + 5 * float((away**2).sum()), "part": TRAIN}
        atoms.arrays["REF_forces"] = -10 * away
        found.append(atoms)
    return found


def test_a_folder_of_another_training_is_emptied_and_of_something_else_refused(
    tmp_path: Path,
) -> None:
    parts = {TRAIN: frames(2, 0), VALID: frames(1, 1)}
    work = tmp_path / "work"
    prepare({"seed": 1}, parts, work)
    (work / STATE).write_text("state")
    prepare({"seed": 1}, parts, work)
    assert (work / STATE).is_file()
    prepare({"seed": 2}, parts, work)
    assert not (work / STATE).exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="something else than a training"):
        prepare({"seed": 1}, parts, other)
    assert (other / "thesis.txt").read_text() == "mine"


def test_without_sevenn_a_training_is_one_line(tmp_path: Path) -> None:
    if find_spec("sevenn") is not None:
        pytest.skip("sevenn is installed here")
    parts = {TRAIN: frames(2, 0), VALID: frames(1, 1), ISOLATED: []}
    with pytest.raises(UserError, match="sevenn is not installed in this environment"):
        train("it", parts, SevenNetTraining(1), tmp_path / "work", Environment(), 1)


def test_an_element_without_an_isolated_atom_is_one_line(tmp_path: Path) -> None:
    parts = {TRAIN: frames(2, 0), VALID: frames(1, 1), ISOLATED: [Atoms("H")]}
    with pytest.raises(UserError, match=r"no isolated atom of .*`pesbench sample` writes them"):
        check_isolated(parts, tmp_path / "frames.extxyz")


def test_a_card_does_not_take_the_place_of_the_weights(tmp_path: Path) -> None:
    out, made = tmp_path / "weights.json", tmp_path / "frames.json"
    told = {"threads": 1, "plan": PLAN, "frames": tmp_path / "frames.extxyz", "record": made}
    with pytest.raises(UserError, match=r"weights\.json: the command is given this file a second"):
        begin_training(Namespace(out=out, **told))
    with pytest.raises(UserError, match=r"--card .*frames\.json"):  # the record of the frames
        begin_training(Namespace(out=made.with_suffix(".pth"), **told))


def test_the_card_of_a_mace_names_its_molecule_and_how_it_is_made_again() -> None:
    card = json.loads((REPO / "resources/weights/mace-mini.json").read_text(encoding="utf-8"))
    told = card_text(card | {"seen": ["aspirin"], "made_by": TARGET})
    assert "frames of aspirin, sampled" in told
    assert f"* all again: `{TARGET}`" in told
    assert "make weights-mace" not in told
