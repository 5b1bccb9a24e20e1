"""Backbones of the spectral diagnosis: the plan, the registry, and sevenn's exact resume."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import yaml

from examples import REPO
from methanol import METHANOL
from pesbench.core.errors import UserError
from pesbench.files.environment import Environment
from pesbench.training.backbone_plan import read_backbones
from pesbench.training.backbones import write_backbone_registry
from pesbench.training.mace import MACETraining
from pesbench.training.sampling import ISOLATED, TRAIN, VALID
from pesbench.training.sevennet import JOB, STATE, SevenNetTraining, prepare, train

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
    # further seeds repeat no training
    assert "seeds" not in plan.asked_of(every["sevennet-l2"])


def test_a_wrong_plan_is_one_line(tmp_path: Path) -> None:
    plan = yaml.safe_load(PLAN.read_text())
    for change, said in (
        ({"family": "chgnet", "l_max": 1}, "family"),
        ({"family": "mace", "l_max": 9}, "l_max"),
        ({"family": "mace", "l_max": 1, "degree": 2}, "degree"),
    ):
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump(plan | {"backbones": {"it": change}}))
        with pytest.raises(UserError, match=said) as caught:
            read_backbones(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no training 'sevennet-l4'"):
        read_backbones(PLAN).training_of("sevennet-l4", "plan")


def test_the_registry_has_what_is_trained_and_what_stands_beside(tmp_path: Path) -> None:
    plan = read_backbones(PLAN)
    with pytest.raises(UserError, match="holds no weights"):
        write_backbone_registry(
            plan, tmp_path, REPO / "config/models.yaml", ["gfn2-xtb"], tmp_path, tmp_path / "m"
        )
    for name in ("sevennet-l2-seed_2.pth", "sevennet-l2-seed_3.pth", "mace-l1-c3.model"):
        (tmp_path / name).write_text(name)
    out = tmp_path / "models.yaml"
    write_backbone_registry(
        plan, tmp_path, REPO / "config/models.yaml", ["gfn2-xtb", "7net-0"], tmp_path, out
    )
    entries = yaml.safe_load(out.read_text())
    assert list(entries) == [
        "gfn2-xtb", "7net-0", "sevennet-l2-seed_2", "sevennet-l2-seed_3", "mace-l1-c3"
    ]  # fmt: skip
    assert entries["sevennet-l2-seed_3"]["seed_of"] == "sevennet-l2-seed_2"
    assert entries["mace-l1-c3"]["description"].endswith("L = 1, correlation 3")
    assert "# not trained: sevennet-l1\n" in out.read_text()


def test_the_degree_of_mace_is_an_option_of_its_training() -> None:
    assert "--max_L=0" in MACETraining().options()
    assert "--max_L=2" in MACETraining(max_l=2).options()


# --- sevenn --------------------------------------------------------------------------------------

JOB_OF_TEST: dict[str, Any] = {
    "l_max": 1, "channels": 4, "layers": 2, "cutoff_angstrom": 3.0, "epochs": 8,
    "batch_frames": 3, "learning_rate": 0.01, "final_share": 0.1, "energy_weight": 1.0,
    "force_weight": 1.0, "seed": 3, "atoms_ev": {"1": -10.0, "6": -50.0, "8": -100.0},
}  # fmt: skip


def frames(count: int, seed: int) -> list[ase.Atoms]:
    """Methanol with springs between all atoms."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        moved = METHANOL.positions + rng.normal(scale=0.05, size=(6, 3))
        atoms = ase.Atoms(METHANOL.numbers, moved)
        away = moved - METHANOL.positions
        atoms.info = {"ref_energy": -190.0 - 12.0 + 5 * float((away**2).sum()), "part": TRAIN}
        atoms.arrays["ref_forces"] = -10 * away
        found.append(atoms)
    return found


def write_job(folder: Path) -> Path:
    folder.mkdir()
    for part, count, seed in (("train", 7, 0), ("valid", 3, 1)):
        ase.io.write(folder / f"{part}.extxyz", frames(count, seed), format="extxyz")
    (folder / JOB).write_text(json.dumps(JOB_OF_TEST))
    return folder


def test_a_training_that_was_killed_goes_on_exactly_and_its_checkpoint_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec("sevenn") is None:
        pytest.skip("sevenn is not installed here; it has an environment of its own")
    import torch

    from pesbench.models import registry
    from pesbench.models.addresses import file_sha256
    from pesbench.models.as_calculator import atoms_batch
    from pesbench.models.families.sevennet.train import WEIGHTS, Training
    from pesbench.models.registry import ModelEntry

    whole, killed = write_job(tmp_path / "whole"), write_job(tmp_path / "killed")
    done = Training(JOB_OF_TEST, whole)
    done.run()
    with monkeypatch.context() as patch:
        epoch = Training._epoch

        def dies(training: Training, number: int) -> float:
            if number == 3:
                raise KeyboardInterrupt
            return epoch(training, number)

        patch.setattr(Training, "_epoch", dies)
        with pytest.raises(KeyboardInterrupt):
            Training(JOB_OF_TEST, killed).run()
    again = Training(JOB_OF_TEST, killed)
    again.run()
    one, other = (torch.load(path / WEIGHTS, weights_only=False) for path in (whole, killed))
    assert one["model_state_dict"].keys() == other["model_state_dict"].keys()
    for name, value in one["model_state_dict"].items():
        assert torch.equal(value, other["model_state_dict"][name]), name
    assert [h["loss"] for h in again.history] == [h["loss"] for h in done.history]
    assert done.history[-1]["loss"] < done.history[0]["loss"]

    settings = {"weights": str(whole / WEIGHTS), "sha256": file_sha256(whole / WEIGHTS)}
    model = registry.load(ModelEntry("it", "sevennet", settings), scan_set=None, device="cpu")
    tested = frames(3, 1)
    result = model.evaluate(atoms_batch(tested))
    expected = [atoms.info["ref_energy"] for atoms in tested]
    assert np.abs(result.energies - expected).max() < 1.0  # of -202 eV
    errors = done.history[-1]["energy_mae_mev_per_atom"] / 1000
    assert np.abs(result.energies - expected).mean() / 6 == pytest.approx(errors, abs=1e-4)
    irreps = model.describe(atoms_batch(tested))["0_equivariant_gate"].irreps
    assert max(degree for _, degree in irreps) == 1


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
