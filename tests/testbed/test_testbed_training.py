"""Training of the testbed: the loss, the batches, resume to the bit, refusals, the card."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.build import molecule
from scipy.spatial.transform import Rotation

import fake_calculators
from examples import fake_entry, tblite_entry, toy_scan
from pesbench import cli
from pesbench.commands.check.subset import SCANS
from pesbench.core.errors import UserError
from pesbench.files.atomic import write_json
from pesbench.files.scan_set import ScanSet, write_scan_set
from pesbench.metrics.smoothness import force_smoothness_deviation
from pesbench.models.addresses import file_sha256
from pesbench.models.as_calculator import atoms_batch
from pesbench.models.families.testbed.family import FAMILY
from pesbench.models.families.testbed.network import REPULSION_CUTOFF_ANGSTROM, AttentionPotential
from pesbench.models.families.testbed.repulsion import zbl
from pesbench.models.families.testbed.settings import PotentialSettings
from pesbench.models.families.testbed.weights import potential_of
from pesbench.models.registry import ModelEntry, load
from pesbench.models.weights import read_weights
from pesbench.testbed.cards import (
    SMOKE_EPOCHS,
    SMOKE_EVERY,
    Sources,
    read_record,
    read_scans,
    train_variant,
)
from pesbench.testbed.settings import TrainingSettings
from pesbench.testbed.smoothness_loss import smooth_fsd
from pesbench.testbed.tensors import atomic_energies, batches, frame_tensors, rotated
from pesbench.testbed.training import CHECKPOINT, HISTORY, SETTINGS, Training, fixed_core
from pesbench.testbed.variants import Variant, find_variant, read_variants
from pesbench.training.frames import errors, read_parts

REPO = Path(__file__).parents[2]
TINY = {
    "k": 3.0, "channels": 8, "heads": 2, "blocks": 1, "n_gaussians": 16, "smearing": 0.4,
    "elements": ["H", "N", "O"],
}  # fmt: skip
ABLE = {"k": 6.0, "channels": 16, "n_gaussians": 64, "smearing": 0.1}  # to learn something
QUICK = {"epochs": 4, "batch_frames": 8, "learning_rate": 0.01, "ema_decay": 0.9}
SCAN = "N-O/hydroxylamine_0-1"
CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _threads_variable(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the command sets it, and it is put back


def labelled(name: str, count: int, part: str, seed: int) -> list[Atoms]:
    """Frames of a molecule about its geometry, labelled by a Morse potential."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        atoms = molecule(name)
        atoms.positions += rng.normal(scale=0.08, size=atoms.positions.shape)
        energy, forces = fake_calculators.morse(atoms.numbers, atoms.positions)
        atoms.info |= {"system": name, "part": part, "REF_energy": energy - 70.0 * len(atoms)}
        atoms.arrays["REF_forces"] = forces
        frames.append(atoms)
    return frames


TRAIN = labelled("H2O", 10, "train", 0) + labelled("NH3", 10, "train", 1)
VALID = labelled("H2O", 3, "valid", 2) + labelled("NH3", 3, "valid", 3)


def training(
    folder: Path,
    *,
    name: str = "tiny",
    train: Sequence[Atoms] = TRAIN,
    valid: Sequence[Atoms] = VALID,
    switches: dict | None = None,
    made_of: dict | None = None,
    scans=(),
    fsd_every: int = 0,
    device: torch.device = CPU,
    **settings,
) -> Training:
    return Training(
        name,
        PotentialSettings.of(TINY | (switches or {}), "here"),
        TrainingSettings.of(QUICK | settings, "here"),
        train,
        valid,
        folder,
        made_of or {},
        scans=scans,
        fsd_every=fsd_every,
        device=device,
    )


def told(run: Training) -> list[dict]:
    """The history without what differs from call to call; NaN as None, to be compared."""
    rows = [asdict(epoch) for epoch in run.history]
    for row in rows:
        del row["wall_s"]
        row["fsd_per_angstrom"] = row["fsd_per_angstrom"] if row["fsd_per_angstrom"] > 0 else None
    return rows


def same_weights(a: dict, b: dict) -> bool:
    assert a.keys() == b.keys()
    return all(torch.equal(a[key], b[key]) for key in a)


# --- batches, rotations, energies of atoms -------------------------------------------------------


@pytest.mark.parametrize("count", [1, 7, 8, 33])
def test_batches_hold_every_frame_once_and_like_sizes_together(count):
    sizes = np.random.default_rng(count).integers(2, 12, count)
    found = batches(sizes, 8, np.random.default_rng(0))
    assert sorted(np.concatenate(found).tolist()) == list(range(count))
    assert sorted(map(len, found), reverse=True) == [8] * (count // 8) + [count % 8] * (
        count % 8 > 0
    )
    ranges = sorted((sizes[index].min(), sizes[index].max()) for index in found)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(ranges))


def test_batches_are_drawn_anew_from_their_generator():
    sizes = np.full(40, 5)

    def drawn(seed):
        return [index.tolist() for index in batches(sizes, 8, np.random.default_rng(seed))]

    assert drawn(1) == drawn(1)
    assert {frozenset(b) for b in drawn(1)}.isdisjoint({frozenset(b) for b in drawn(2)})
    mixed = [batches(np.repeat([3, 9], 16), 8, np.random.default_rng(s))[0][0] for s in range(20)]
    assert {int(index) < 16 for index in mixed} == {True, False}  # small ones are not always first


def test_rotations_turn_positions_and_forces_of_each_frame_alike():
    tensors = frame_tensors(TRAIN, TINY["elements"], np.zeros(3))
    turned = rotated(tensors, np.random.default_rng(0))
    assert torch.equal(turned.energies, tensors.energies)
    assert torch.equal(turned.numbers, tensors.numbers)
    found = []
    for f, size in enumerate(tensors.sizes):
        before = np.concatenate((tensors.positions[f, :size], tensors.forces[f, :size]))
        after = np.concatenate((turned.positions[f, :size], turned.forces[f, :size]))
        turn, off = Rotation.align_vectors(after, before)  # one for both, and no reflection
        assert off < 1e-4
        found.append(turn.as_matrix())
    assert np.std(found, axis=0).min() > 0.3  # each its own
    assert turned.positions[0, 3:].abs().max() == 0  # no atom there


def test_frames_become_tensors_about_their_middle():
    atomic = np.array([-1.0, -2.0, -3.0])
    far = [atoms.copy() for atoms in TRAIN]
    for atoms in far:
        atoms.positions += 1000.0  # of which float32 would leave little
    tensors = frame_tensors(far, TINY["elements"], atomic)
    assert tensors.positions.abs().max() < 3
    assert tensors.energies[0] == pytest.approx(TRAIN[0].info["REF_energy"] + 5.0, rel=1e-6)
    np.testing.assert_allclose(tensors.forces[0, :3], TRAIN[0].arrays["REF_forces"], rtol=1e-6)
    picked = tensors.pick(np.array([3, 0]))
    assert picked.positions.shape == (2, 3, 3)  # no longer than the larger of them
    assert torch.equal(picked.forces[1], tensors.forces[0, :3])


def test_energies_of_atoms():
    frames = [molecule(name) for name in ("H2O", "NH3", "N2H4", "O2")]
    value = {"H": -13.6, "N": -1480.0, "O": -2040.0}
    for atoms in frames:
        atoms.info |= {
            "REF_energy": sum(value[s] for s in atoms.symbols),
            "system": str(atoms.symbols),
        }
    found = atomic_energies(frames, ["H", "N", "O", "P"])
    np.testing.assert_allclose(found, [-13.6, -1480.0, -2040.0, 0.0], atol=1e-8)
    high = frames[0].copy()  # one that is far above the others, and hardly counts
    high.info |= {"REF_energy": high.info["REF_energy"] + 30.0, "config_weight": 1e-12}
    beside = atomic_energies([*frames, high], ["H", "N", "O", "P"])
    np.testing.assert_allclose(beside, found, atol=1e-6)
    with pytest.raises(UserError, match=r"a frame of OH2 holds O, which is not among .* H, N; add"):
        atomic_energies(frames, ["H", "N"])


@pytest.mark.parametrize("repulsion", ["none", "zbl", "zbl_fixed"])
def test_the_energies_of_atoms_are_those_without_a_core_that_is_not_trained(repulsion, tmp_path):
    """Frames whose energies are those of their atoms and of the fixed core, nothing else."""
    potential = PotentialSettings(repulsion=repulsion, elements=("H", "O"))
    frames = [*labelled("OH", 4, "train", 6), *labelled("H2O", 4, "train", 7)]
    core = fixed_core(AttentionPotential(potential), frames)
    if repulsion != "zbl_fixed":
        assert not core.any()
        return
    d = torch.tensor([frames[0].get_distance(0, 1)])
    wanted = float(zbl(d, torch.tensor([8]), torch.tensor([1]), REPULSION_CUTOFF_ANGSTROM))
    assert core[0] == pytest.approx(wanted, rel=1e-5)
    assert core.min() > 0.1
    for atoms, of_core in zip(frames, core, strict=True):
        own = sum({"H": -13.6, "O": -2040.0}[s] for s in atoms.symbols)
        atoms.info["REF_energy"] = own + of_core
    settings = TrainingSettings(epochs=1, batch_frames=4)
    made = Training("a", potential, settings, frames[:6], frames[6:], tmp_path)
    np.testing.assert_allclose(made.atomic, [-13.6, -2040.0], atol=1e-3)


# --- the schedule --------------------------------------------------------------------------------


def test_a_training_learns(tmp_path):
    """On two atoms, of which little has to be learnt."""
    train, valid = labelled("OH", 20, "train", 6), labelled("OH", 6, "valid", 7)
    run = training(
        tmp_path, train=train, valid=valid, switches=ABLE,
        epochs=40, learning_rate=0.03, patience_epochs=40,
    )  # fmt: skip
    trained = run.run()
    first, last = run.history[0], run.history[-1]
    assert last.loss < 0.3 * first.loss
    best = run.best["valid_force_mae_mev_per_angstrom"]
    assert best < 0.3 * first.valid_force_mae_mev_per_angstrom
    assert last.valid_energy_mae_mev_per_atom < 0.2 * first.valid_energy_mae_mev_per_atom
    # what is returned is the best epoch of the average, and it is as good as was said of it
    tensors = frame_tensors(valid, TINY["elements"], run.atomic)
    _, forces = trained.network(tensors.positions, tensors.numbers)
    off = (forces - tensors.forces).abs()[tensors.numbers > 0]
    assert 1000 * float(off.mean()) == pytest.approx(best, rel=1e-4)
    assert trained.made_of["epoch"] == run.best["epoch"]
    assert not trained.network.training
    assert not any(p.requires_grad for p in trained.network.parameters())


def test_the_loss_is_its_definition(tmp_path):
    run = training(tmp_path, energy_weight=3.0, force_weight=0.5)
    tensors = frame_tensors(TRAIN, TINY["elements"], run.atomic)
    energy, forces = run.network(tensors.positions, tensors.numbers)
    off = (energy - tensors.energies).detach().abs().numpy() / tensors.sizes
    lengths = [
        float((forces[f, i] - tensors.forces[f, i]).detach().norm())
        for f, size in enumerate(tensors.sizes)
        for i in range(size)
    ]
    wanted = 3.0 * np.mean(off) + 0.5 * np.mean(lengths)
    assert float(run._loss(tensors).detach()) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 19, 20, 21, 60])
def test_the_learning_rate_rises_and_falls(tmp_path, steps):
    """Of one step an epoch; told is the rate that it is taken with."""
    run = training(tmp_path, train=TRAIN[:1], valid=VALID[:1], epochs=steps, patience_epochs=steps)
    run.run()
    rates = [epoch.learning_rate for epoch in run.history]
    assert len(rates) == steps
    highest = QUICK["learning_rate"] * (1 + 1e-9)
    assert max(rates) <= highest
    if steps > 2:
        assert rates[-1] < 1e-3 * highest
        assert rates[3:] == sorted(rates[3:], reverse=True)
    if steps == 60:
        assert rates[1] < rates[2] == pytest.approx(QUICK["learning_rate"])


def test_the_average_of_the_weights(tmp_path, monkeypatch):
    run = training(tmp_path, epochs=2)
    update, seen = run.average.update_parameters, []

    def record(network):
        seen.append([p.detach().clone() for p in network.parameters()])
        update(network)

    monkeypatch.setattr(run.average, "update_parameters", record)
    run.run()
    assert len(seen) == 6  # three batches an epoch
    wanted = seen[0]
    for weights in seen[1:]:
        wanted = [0.9 * a + 0.1 * w for a, w in zip(wanted, weights, strict=True)]
    for found, value in zip(run.average.module.parameters(), wanted, strict=True):
        torch.testing.assert_close(found.detach(), value)
    assert not same_weights(run.average.module.state_dict(), run.network.state_dict())


def test_the_best_epoch_is_kept_and_training_ends_when_it_gets_no_better(tmp_path, monkeypatch):
    said = iter([100.0, 90.0, 95.0, 90.0, 80.0])
    states = []

    def valid_errors(self):
        states.append({k: v.clone() for k, v in self.average.module.state_dict().items()})
        return next(said), 1.0

    monkeypatch.setattr(Training, "_valid_errors", valid_errors)
    run = training(tmp_path, epochs=9, patience_epochs=2)
    trained = run.run()
    assert len(run.history) == 4
    assert run.best["epoch"] == trained.made_of["epoch"] == 2
    assert same_weights(trained.network.state_dict(), states[1])
    again = training(tmp_path, epochs=9, patience_epochs=2)  # is over
    assert same_weights(again.run().network.state_dict(), states[1])
    assert len(again.history) == 4


def test_names_are_seeds(tmp_path):
    runs = [training(tmp_path / str(k), name=n, epochs=1) for k, n in enumerate(("a", "a", "b"))]
    before = [run.network.state_dict()["energy_head.1.weight"].clone() for run in runs]
    assert torch.equal(before[0], before[1])
    assert not torch.equal(before[0], before[2])
    trained = [run.run().network.state_dict() for run in runs]
    assert same_weights(trained[0], trained[1])
    assert told(runs[0]) == told(runs[1]) != told(runs[2])


# --- resume --------------------------------------------------------------------------------------


class Killed(BaseException):
    """As an interrupt from outside."""


def killed_after(monkeypatch, steps: int) -> None:
    """Trainings die in the middle of the step after so many."""
    loss, calls = Training._loss, itertools.count(1)

    def dying(self, frames):
        value = loss(self, frames)
        if next(calls) > steps:
            raise Killed
        return value

    monkeypatch.setattr(Training, "_loss", dying)


@pytest.mark.parametrize("steps", [0, 6, 8])
def test_a_training_that_was_killed_ends_like_one_that_was_not(tmp_path, monkeypatch, steps):
    """Before the first epoch, between two and within the third (of three steps each)."""
    whole = training(tmp_path / "whole")
    wanted = whole.run()
    with monkeypatch.context() as patched:
        killed_after(patched, steps)
        with pytest.raises(Killed):
            training(tmp_path / "killed").run()
    torch.manual_seed(99)  # no matter what else was drawn since
    again = training(tmp_path / "killed")
    assert len(again.history) == steps // 3
    found = again.run()
    assert told(again) == told(whole)
    assert len(told(again)) == 4
    assert same_weights(again.network.state_dict(), whole.network.state_dict())
    assert same_weights(again.average.state_dict(), whole.average.state_dict())
    assert same_weights(found.network.state_dict(), wanted.network.state_dict())
    assert found.made_of == wanted.made_of
    rows = (tmp_path / "killed" / HISTORY).read_text().splitlines()
    assert len(rows) == 5
    assert rows[0].startswith("epoch,learning_rate,loss,valid_force_mae_mev_per_angstrom")


def test_denormal_numbers_are_zero_within_a_training_alone(tmp_path, monkeypatch):
    """They make it slow; whatever else this process computes keeps them."""
    seen = []

    def product():
        return float(torch.tensor([1e-30]) * torch.tensor([1e-10]))

    def look(self, number):
        seen.append(product())
        raise Killed

    monkeypatch.setattr(Training, "_epoch", look)
    with pytest.raises(Killed):
        training(tmp_path).run()
    assert seen == [0.0]
    assert 0 < product() < 1e-38


def test_a_finished_training_is_not_done_again(tmp_path, monkeypatch):
    wanted = training(tmp_path).run()
    monkeypatch.setattr(Training, "_epoch", lambda *_: pytest.fail("trained again"))
    assert same_weights(training(tmp_path).run().network.state_dict(), wanted.network.state_dict())


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"learning_rate": 0.02}, "`training.learning_rate` was 0.01 and is 0.02"),
        ({"epochs": 5}, "`training.epochs` was 4 and is 5"),
        ({"switches": {"neighbours": "radius"}}, "`potential.neighbours` was 'soft_knn' and is"),
        ({"switches": {"elements": ["H", "O", "N"]}}, "`potential.elements` was"),
        ({"made_of": {"frames_sha256": "b"}}, "`frames_sha256` was 'a' and is 'b'"),
        ({"made_of": {}}, "`frames_sha256` was 'a' and is None"),
        ({"name": "other"}, "`name` was 'tiny' and is 'other'"),
    ],
)
def test_a_folder_of_another_training_is_refused_and_kept(tmp_path, other, said):
    mine = {"made_of": {"frames_sha256": "a"}}
    training(tmp_path, **mine)
    before = (tmp_path / SETTINGS).read_bytes()
    with pytest.raises(UserError) as caught:
        training(tmp_path, **(mine | other))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: a training of other settings ({said}")
    assert message.endswith("restore them to continue it, or remove the folder to start anew")
    assert "\n" not in message
    assert (tmp_path / SETTINGS).read_bytes() == before
    training(tmp_path, **mine)


# --- what goes wrong -----------------------------------------------------------------------------


def _bad_value(loss, frames):
    return loss * math.nan


def _bad_slope(loss, frames):
    """A number, of which the slope is none: 0 times the root's slope at 0."""
    parameter = torch.zeros((), requires_grad=True)
    return loss + 0.0 * parameter.sqrt() + 0.0 * (loss - loss).sqrt()


@pytest.mark.parametrize(
    ("spoil", "said"), [(_bad_value, "loss is"), (_bad_slope, "gradient of the loss is")]
)
def test_a_loss_that_is_no_number_stops_at_the_last_good_checkpoint(
    tmp_path, monkeypatch, spoil, said
):
    """In the last step of an epoch: a gradient that is none would spoil weights and checkpoint."""
    whole = training(tmp_path / "whole")
    wanted = whole.run()
    loss, calls = Training._loss, itertools.count(1)
    with monkeypatch.context() as patched:
        patched.setattr(
            Training,
            "_loss",
            lambda self, f: spoil(loss(self, f), f) if next(calls) == 9 else loss(self, f),
        )
        with pytest.raises(UserError) as caught:
            training(tmp_path / "bad").run()
    assert f"tiny: the {said} not a number in epoch 3" in str(caught.value)
    assert f"the checkpoint of epoch 2 is kept in {tmp_path / 'bad'}" in str(caught.value)
    assert "\n" not in str(caught.value)
    stored = torch.load(tmp_path / "bad" / CHECKPOINT, weights_only=True)
    assert len(stored["history"]) == 2
    assert all(torch.isfinite(value).all() for value in stored["network"].values())
    again = training(tmp_path / "bad")
    assert same_weights(again.run().network.state_dict(), wanted.network.state_dict())


def test_a_learning_rate_beyond_all_measure_is_one_line(tmp_path):
    run = training(tmp_path, learning_rate=1e30)
    with pytest.raises(UserError, match="not a number in epoch 1; training stops; train with a"):
        run.run()
    assert not (tmp_path / CHECKPOINT).exists()  # nothing to go on from


def test_trainings_without_frames_or_scans(tmp_path):
    with pytest.raises(UserError, match="tiny: no frame to train on; sample more"):
        training(tmp_path, train=[])
    with pytest.raises(UserError, match="tiny: no frame to validate with"):
        training(tmp_path, valid=[])
    for wish in ({"fsd_weight": 0.1}, {"fsd_every": 1}):
        with pytest.raises(UserError, match="tiny: the FSD needs scans; name some with `fsd_scans"):
            training(tmp_path, **wish)
    methane = labelled("CH4", 1, "valid", 0)
    with pytest.raises(UserError, match="a frame of CH4 holds C, which is not among"):
        training(tmp_path, valid=methane)
    scans = read_scans(SCANS, ["C-O/ethanol_1-2"])
    with pytest.raises(UserError, match="the scan C-O/ethanol_1-2 holds an element that is not"):
        training(tmp_path, scans=scans, fsd_every=1)
    assert not list(tmp_path.iterdir())


def test_frames_that_are_unfit_are_named(tmp_path):
    path = tmp_path / "frames.extxyz"
    with pytest.raises(UserError, match="no such file; make it with `pesbench sample`"):
        read_parts(path)
    frames = [atoms.copy() for atoms in [*TRAIN, *VALID]]

    def refused(**changed):
        ase.io.write(path, frames, format="extxyz")
        with pytest.raises(UserError) as caught:
            read_parts(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    frames[13].arrays["REF_forces"][2, 1] = np.nan
    assert "frame 13 (NH3): its energy or a force is missing or not a number" in refused()
    frames[4].info["REF_energy"] = np.inf
    assert "frame 4 (H2O)" in refused()
    del frames[2].info["REF_energy"]
    assert "frame 2 (H2O)" in refused()
    del frames[1].arrays["REF_forces"]
    assert "frame 1 (H2O)" in refused()
    del frames[0].info["part"]
    assert "a frame without `part`" in refused()
    frames = VALID
    assert "holds no train frame; sample more" in refused()
    frames = TRAIN
    assert "holds no valid frame; sample more" in refused()
    frames = [*TRAIN, *VALID]
    ase.io.write(path, frames, format="extxyz")
    parts = read_parts(path)
    assert {part: len(found) for part, found in parts.items()} == {"train": 20, "valid": 6}
    np.testing.assert_allclose(
        parts["valid"][4].arrays["REF_forces"], VALID[4].arrays["REF_forces"], atol=1e-7
    )


def test_frames_that_are_cut_short_are_refused_wherever_they_end(tmp_path):
    """At every byte: also within the last number, which would be read as another one."""
    path = tmp_path / "frames.extxyz"
    ase.io.write(path, [TRAIN[0], VALID[0]], format="extxyz")
    whole = path.read_bytes()
    first = whole.index(b"\n3\n", 5) + 1  # where the second frame begins
    assert set(read_parts(path)) == {"train", "valid"}
    said = set()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(UserError) as caught:
            read_parts(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        if end != first:
            assert message.endswith("; make it again with `pesbench sample`")
        said.add(message)
    assert f"{path}: is empty; make it again with `pesbench sample`" in said
    assert any("Frame has 1 atoms, expected 3" in message for message in said)
    assert any("its last line has no end" in message for message in said)


@pytest.mark.parametrize("content", [b"hello\n", b"\n \n", b"\xff\xfe\n", b"3\n\n"])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "frames.extxyz"
    path.write_bytes(content)
    with pytest.raises(
        UserError, match=r"frames\.extxyz: is .*make it again with `pesbench sample`"
    ):
        read_parts(path)


# --- variants ------------------------------------------------------------------------------------


def write_variants(path: Path, **content) -> Path:
    path.write_text(yaml.safe_dump({"potential": TINY, "training": QUICK} | content))
    return path


def test_variants_stand_on_what_holds_for_all(tmp_path):
    path = write_variants(
        tmp_path / "v.yaml",
        fsd_scans=[SCAN],
        fsd_every=3,
        variants={
            "base": {},
            "hard": {"potential": {"neighbours": "hard_knn"}, "training": {"epochs": 7}},
            "hard-2": {"like": "hard"},
        },
    )
    found = read_variants(path)
    assert list(found) == ["base", "hard", "hard-2"]
    assert found["base"].potential == PotentialSettings.of(TINY, "")
    assert found["hard"].potential == replace(found["base"].potential, neighbours="hard_knn")
    assert found["hard"].training == replace(found["base"].training, epochs=7)
    assert found["hard-2"] == replace(found["hard"], name="hard-2")
    assert (found["base"].fsd_scans, found["base"].fsd_every) == ((SCAN,), 3)
    assert find_variant(path, "hard") == found["hard"]
    with pytest.raises(UserError, match="no variant 'hrd'; did you mean 'hard'"):
        find_variant(path, "hrd")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"variants": {"a": {"potential": {"temp": 2}}}}, "a: no switch 'temp'; there are"),
        ({"variants": {"a": {"potential": {"readout": "x"}}}}, "a: `readout` is 'x'; give one of"),
        ({"variants": {"a": {"training": {"lr": 1}}}}, "a: no setting 'lr'; there are"),
        ({"variants": {"a": {"training": {"epochs": "4"}}}}, "a: `epochs` is '4'; give a whole"),
        ({"variants": {"a": {}}, "potential": {"elements": ["H", "H"]}}, "a: `elements`: none, or"),
        ({"variants": {"a": {}, "b": {"like": "aa"}}}, "`like: aa` is no variant with switches"),
        ({"variants": {"a": {"like": "b"}, "b": {"like": "a"}}}, "is no variant with switches"),
        (
            {"variants": {"a": {}, "b": {"like": "a", "potential": {"temperature": 2}}}},
            "b: `like: a` is that one with another seed; take out its own",
        ),
        ({"variants": {"a b/c": {}}}, "no name for a file"),
        ({"variants": {}}, "variants"),
        ({"variants": {"a": {"magic": 1}}}, "magic"),
        ({"variants": {"a": {}}, "fsd_every": -1}, "fsd_every"),
    ],
)
def test_variants_that_make_no_sense(tmp_path, content, said):
    path = write_variants(tmp_path / "v.yaml", **content)
    with pytest.raises(UserError) as caught:
        read_variants(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_shipped_variants_are_read():
    found = read_variants(REPO / "config/testbed.yaml")
    assert len(found) >= 12
    assert len({json.dumps(asdict(v.potential)) for v in found.values()}) >= 12
    assert next(iter(found.values())).potential == PotentialSettings.of(
        yaml.safe_load((REPO / "config/testbed.yaml").read_text())["potential"], ""
    )


# --- smoothness in the loop ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def scans():
    return read_scans(SCANS, [SCAN])


def test_scans_are_found_or_named(tmp_path, toys):
    assert read_scans(None, []) == []
    with pytest.raises(UserError, match="give --scan-set"):
        read_scans(None, [SCAN])
    with pytest.raises(UserError, match="no scan 'N-O/nothing'; correct `fsd_scans`"):
        read_scans(SCANS, [SCAN, "N-O/nothing"])
    scan = toys["N-O/e"]
    path = tmp_path / "s.h5"
    falling = replace(scan, energy=np.linspace(1, 0, scan.n_frames))
    gap = replace(scan, id="N-O/gap", energy=np.where(np.arange(13) == 1, np.nan, scan.energy))
    write_scan_set(path, [falling, gap], name="s", level_of_theory="", source="", provenance={})
    with pytest.raises(UserError, match=r"N-O/e: .*minimum at an end of the scan; take it out of"):
        read_scans(path, ["N-O/e"])
    (found,) = read_scans(path, ["N-O/gap"])  # frames without a reference are left out
    used = np.isfinite(gap.energy)
    np.testing.assert_allclose(found.coordinate, scan.coordinate[used], rtol=1e-6)
    assert found.frames.positions.shape == (12, 2, 3)
    assert found.q == np.argmin(scan.energy[used])


def test_the_fsd_that_is_told_is_the_metric(tmp_path, scans):
    run = training(tmp_path, scans=scans, fsd_every=2)
    run.run()
    told_fsd = [epoch.fsd_per_angstrom for epoch in run.history]
    assert [math.isfinite(value) for value in told_fsd] == [False, True, False, True]
    with ScanSet(SCANS) as shipped:
        scan = shipped.scan(SCAN)
    numbers = torch.tensor(np.tile(scan.numbers, (scan.n_frames, 1)))
    forces = run.average.module.double()(torch.tensor(scan.positions), numbers)[1].detach().numpy()
    q = int(np.argmin(scan.energy))
    fsd = force_smoothness_deviation(scan.coordinate, forces, scan.forces, q)
    assert told_fsd[-1] == pytest.approx(fsd.full, rel=1e-3)  # in float32, over steps of 0.02 Å
    # looking changes nothing
    assert same_weights(
        training(tmp_path / "blind").run().network.state_dict(),
        {k: v.float() for k, v in run.best["state"].items()},
    )


def test_the_fsd_of_the_loss_is_that_of_the_scan_turned_as_a_whole(tmp_path, scans, monkeypatch):
    """What the potential is asked, and what its forces are compared with, turn together."""
    given = []

    def record(*arguments):
        given.append(arguments)
        return smooth_fsd(*arguments)

    monkeypatch.setattr("pesbench.testbed.training.smooth_fsd", record)
    run = training(tmp_path, scans=scans, fsd_weight=0.1)
    run.network = lambda positions, numbers: (None, 2.0 * positions)
    (scan,) = scans
    values = [float(run._fsd_term(scan, np.random.default_rng(k))) for k in range(3)]
    before = np.concatenate((2.0 * scan.frames.positions, scan.frames.forces))
    turns = []
    for coordinate, forces, reference, q in given:
        assert torch.equal(coordinate, scan.coordinate)
        assert q == scan.q
        after = np.concatenate((forces, reference))
        turn, off = Rotation.align_vectors(after.reshape(-1, 3), before.reshape(-1, 3))
        assert off < 1e-2  # root of a sum over 1000 vectors of up to 300 eV/Å
        turns.append(turn.as_matrix())
    assert np.std(turns, axis=0).max() > 0.3
    wanted = smooth_fsd(scan.coordinate, 2.0 * scan.frames.positions, scan.frames.forces, scan.q)
    np.testing.assert_allclose(values, float(wanted), rtol=1e-4)


def test_a_training_for_smoothness_ends_smoother(tmp_path):
    """Of two atoms whose scan is longer than what is trained on."""
    scan = toy_scan("e", "NO", 40)
    path = tmp_path / "s.h5"
    write_scan_set(path, [scan], name="s", level_of_theory="", source="", provenance={})
    frames = []
    for positions, energy, forces in zip(scan.positions, scan.energy, scan.forces, strict=True):
        atoms = Atoms(scan.numbers, positions, info={"REF_energy": energy})
        atoms.arrays["REF_forces"] = forces
        if 1.0 < atoms.get_distance(0, 1) < 2.2:
            frames.append(atoms)
    fsd = []
    for weight in (0, 0.1):
        run = training(
            tmp_path / str(weight), train=frames, valid=frames[::3], epochs=20, switches=ABLE,
            scans=read_scans(path, [scan.id]), fsd_every=20, fsd_weight=weight,
        )  # fmt: skip
        run.run()
        fsd.append(run.history[-1].fsd_per_angstrom)
    assert fsd[1] < 0.6 * fsd[0]


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sampled(tmp_path_factory) -> Path:
    """A folder with `frames.extxyz`, `frames.json` and `variants.yaml`."""
    folder = tmp_path_factory.mktemp("sampled")
    held_out = labelled("H2O", 9, "seen", 4) + labelled("N2H4", 9, "unseen", 5)
    ase.io.write(folder / "frames.extxyz", [*TRAIN, *VALID, *held_out], format="extxyz")
    write_json(
        folder / "frames.json",
        {
            "method": tblite_entry().deciding(),
            "sampling": {"temperatures_k": [300.0]},
            "counts": {"frames_train": 20},
            "seen": ["H2O", "NH3"],
            "unseen": ["N2H4"],
        },
    )
    write_variants(
        folder / "variants.yaml",
        fsd_scans=[SCAN],
        variants={
            "tiny": {"training": {"epochs": 24}},
            "zbl": {"potential": {"repulsion": "zbl", "repulsion_scale": 0.5}},
        },
    )
    return folder


def command(folder: Path, work: Path, *more: object, name: str = "tiny") -> list[str]:
    words = [
        "train", name, "--variants", folder / "variants.yaml", "--frames", folder / "frames.extxyz",
        "--record", folder / "frames.json", "--work", work / "work", "--out", work / f"{name}.pt",
    ]  # fmt: skip
    return [str(word) for word in (*words, *more)]


def test_a_smoke_test_through_the_command(sampled, tmp_path):
    options = ("--smoke", "--scan-set", SCANS, "--fsd-every", 2)
    assert cli.main(command(sampled, tmp_path, *options, name="zbl")) == 0
    out = tmp_path / "zbl.pt"
    card = json.loads(out.with_suffix(".json").read_text(), parse_constant=pytest.fail)
    assert card["smoke"] is True
    assert card["sha256"] == file_sha256(out)
    assert card["bytes"] == out.stat().st_size
    assert card["level_of_theory"] == "GFN2-xTB"
    assert card["frames_sha256"] == file_sha256(sampled / "frames.extxyz")
    assert card["seen"] == ["H2O", "NH3"]
    assert card["unseen"] == ["N2H4"]
    assert card["epochs"] == len(card["history"]) == SMOKE_EPOCHS == 2
    assert card["history"][0]["fsd_per_angstrom"] is None
    assert card["history"][1]["fsd_per_angstrom"] > 0
    assert card["training"]["epochs"] == SMOKE_EPOCHS
    assert 0.4 < card["repulsion_scale"] < 0.6
    assert card["switches"] == find_variant(sampled / "variants.yaml", "zbl").potential.to_dict()
    assert {part: e["frames"] for part, e in card["errors"].items()} == {
        "train": math.ceil(20 / SMOKE_EVERY), "seen": 2, "unseen": 2,
    }  # fmt: skip
    model = load(
        ModelEntry(
            "zbl", "testbed", {"weights": str(out), "sha256": file_sha256(out), "dtype": "float64"}
        ),
        scan_set=None,
        device="cpu",
    )
    parts = read_parts(sampled / "frames.extxyz")
    for part, e in card["errors"].items():
        off = [
            np.abs(model.evaluate(atoms_batch([a])).forces - a.arrays["REF_forces"]).ravel()
            for a in parts[part][::SMOKE_EVERY]
        ]
        wanted = 1000 * np.concatenate(off).mean()
        assert e["force_mae_mev_per_angstrom"] == pytest.approx(wanted, abs=0.011)
        assert e == errors(model, parts[part][::SMOKE_EVERY])
    trained = potential_of(read_weights(out, None, FAMILY), torch.float32, CPU)
    assert card["parameters"] == sum(p.numel() for p in trained.network.parameters())
    assert trained.made_of["frames_sha256"] == card["frames_sha256"]
    assert trained.made_of["name"] == "zbl"
    text = out.with_suffix(".md").read_text()
    for said in (
        "# zbl", "A smoke test, no potential", "| held out, unseen | 2 |",
        f"* weights: {card['parameters']} parameters, {card['bytes']} bytes",
        "| `repulsion` | zbl | none |", card["sha256"], "* never seen: N2H4", "GFN2-xTB frames",
        f"Factor of the repulsion after training: {card['repulsion_scale']}",
    ):  # fmt: skip
        assert said in text
    assert (tmp_path / "work" / HISTORY).is_file()


def test_a_command_that_was_killed_goes_on_in_another_process(sampled, tmp_path):
    """Each in a process of its own: where another model of e3nn ran before, TorchScript keeps what
    it has optimised for that one, and rounds differently."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"

    def start(folder: Path) -> subprocess.Popen:
        words = [sys.executable, "-m", "pesbench", *command(sampled, folder)]
        return subprocess.Popen(words, start_new_session=True, stderr=subprocess.PIPE, text=True)

    first = start(broken)
    lines = []
    for line in first.stderr:
        lines.append(line)
        if line.startswith("tiny: epoch 3:"):
            break
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    first.stderr.close()
    assert lines[-1].startswith("tiny: epoch 3:"), lines
    assert not (broken / "tiny.pt").exists()
    others = [start(folder) for folder in (broken, whole)]
    continued, undisturbed = (other.communicate(timeout=300)[1] for other in others)
    assert [other.returncode for other in others] == [0, 0], (continued, undisturbed)
    done = re.findall(r"continuing after epoch (\d+)", continued)
    assert len(done) == 1
    assert 3 <= int(done[0]) < 24
    assert "continuing" not in undisturbed
    found, wanted = (
        potential_of(read_weights(folder / "tiny.pt", None, FAMILY), torch.float32, CPU)
        for folder in (broken, whole)
    )
    assert same_weights(found.network.state_dict(), wanted.network.state_dict())
    assert found.made_of == wanted.made_of
    cards = [json.loads((folder / "tiny.json").read_text()) for folder in (broken, whole)]
    for card in cards:
        for epoch in card["history"]:
            del epoch["wall_s"]
    for key in ("history", "errors", "rotation", "best_epoch", "epochs"):
        assert cards[0][key] == cards[1][key]
    assert cards[0]["epochs"] == 24


@pytest.mark.parametrize(
    ("options", "name", "said"),
    [
        ((), "tinny", "no variant 'tinny'; did you mean 'tiny'?"),
        (("--fsd-every", 1), "tiny", "the FSD of scans is asked for; give --scan-set"),
        (("--fsd-weight", 0.1), "tiny", "the FSD of scans is asked for; give --scan-set"),
        (("--record", "nowhere.json"), "tiny", "nowhere.json: no record of frames ("),
        (("--frames", "nowhere.extxyz"), "tiny", "nowhere.extxyz: no such file; make it with"),
    ],
)
def test_commands_that_cannot_be_done_are_one_line(sampled, tmp_path, caplog, options, name, said):
    assert cli.main(command(sampled, tmp_path, *options, name=name)) == 2
    (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
    assert said in record.getMessage()
    assert "\n" not in record.getMessage()
    assert not list(tmp_path.iterdir())  # before any work


@pytest.mark.parametrize("stage", ["train", "train-mace"])
@pytest.mark.parametrize(("kept", "said"), [(0.0, "is empty"), (0.5, "is cut short")])
def test_frames_that_are_not_whole_are_one_line(sampled, tmp_path, caplog, stage, kept, said):
    """Cut in the middle of a frame, at the end of a line, as a copy over a full disk may be."""
    lines = (sampled / "frames.extxyz").read_text().splitlines(keepends=True)
    frames = tmp_path / "cut.extxyz"
    frames.write_text("".join(lines[: int(kept * len(lines))]))
    words = command(sampled, tmp_path / "none", "--frames", frames)
    if stage == "train-mace":
        k = words.index("--variants")
        words = [stage, *words[1:k], *words[k + 2 :]]
    assert cli.main(words) == 2
    (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
    assert record.getMessage().startswith(f"pesbench: error: {frames}: {said}")
    assert "make it again with `pesbench sample`" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert not (tmp_path / "none").exists()  # before any work


@pytest.mark.parametrize("option", ["--fsd-weight=nan", "--fsd-weight=-1", "--fsd-every=0.5"])
def test_options_that_make_no_sense(sampled, tmp_path, capsys, option):
    with pytest.raises(SystemExit) as caught:
        cli.main(command(sampled, tmp_path, option))
    assert caught.value.code == 2
    assert "must be a" in capsys.readouterr().err


def test_options_stand_above_the_variant(sampled, tmp_path):
    options = ("--smoke", "--scan-set", SCANS, "--fsd-weight", 0.25, "--fsd-every", 0)
    assert cli.main(command(sampled, tmp_path, *options)) == 0
    card = json.loads((tmp_path / "tiny.json").read_text())
    assert card["training"]["fsd_weight"] == 0.25
    assert [epoch["fsd_per_angstrom"] for epoch in card["history"]] == [None, None]
    # it is another training now
    assert cli.main(command(sampled, tmp_path, "--smoke")) == 2


def test_a_smoke_test_is_not_continued_in_earnest(sampled, tmp_path, caplog):
    assert cli.main(command(sampled, tmp_path, "--smoke")) == 0
    assert cli.main(command(sampled, tmp_path)) == 2
    assert "`smoke` was True and is False" in caplog.text


def test_records_of_other_methods(tmp_path):
    record = {
        "method": fake_entry(name="morse").deciding(),
        "sampling": {}, "counts": {}, "seen": [], "unseen": [],
    }  # fmt: skip
    path = tmp_path / "r.json"
    write_json(path, record)
    assert read_record(path)["level_of_theory"] == "morse"
    for content in ("{", "[]", json.dumps({k: v for k, v in record.items() if k != "seen"})):
        path.write_text(content)
        with pytest.raises(UserError, match=r"r\.json: no record of frames"):
            read_record(path)


def test_held_out_frames_are_judged_where_there_are_any(sampled, tmp_path):
    variant = Variant("tiny", PotentialSettings.of(TINY, ""), TrainingSettings.of(QUICK, ""))
    frames = tmp_path / "frames.extxyz"
    sources = Sources(frames, sampled / "frames.json")
    ase.io.write(frames, [*TRAIN, *VALID], format="extxyz")
    train_variant(variant, sources, tmp_path / "work", tmp_path / "out.pt", smoke=True)
    card = json.loads((tmp_path / "out.json").read_text())
    assert list(card["errors"]) == ["train"]
    assert "| trained on | 3 |" in (tmp_path / "out.md").read_text()
    # an element that was never trained on would be taken for another
    ase.io.write(frames, [*TRAIN, *VALID, *labelled("CH4", 1, "unseen", 0)], format="extxyz")
    with pytest.raises(UserError, match="a frame of CH4 holds C, which is not among"):
        train_variant(variant, sources, tmp_path / "other", tmp_path / "none.pt", smoke=True)
    assert not (tmp_path / "other").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
def test_a_training_on_the_gpu_goes_on(tmp_path, monkeypatch, scans):
    options = {"device": torch.device("cuda"), "scans": scans, "fsd_every": 1, "fsd_weight": 0.1}
    with monkeypatch.context() as patched:
        killed_after(patched, 6)
        with pytest.raises(Killed):
            training(tmp_path, **options).run()
    run = training(tmp_path, **options)
    assert len(run.history) == 2
    trained = run.run()
    assert len(run.history) == 4
    assert next(trained.network.parameters()).device.type == "cpu"


class _Opens:
    """Pickled, a program that makes a file when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_what_lies_in_the_folder_is_looked_at_before_it_is_continued(tmp_path):
    training(tmp_path).run()
    checkpoint, settings = tmp_path / "checkpoint.pt", tmp_path / "settings.json"
    whole, said = checkpoint.read_bytes(), settings.read_text()
    checkpoint.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"checkpoint.pt: damaged .*; remove its folder"):
        training(tmp_path)
    for foreign in (_Opens(tmp_path / "ran"), {"threads": 1}, [], {"threads": "many"}):
        torch.save(foreign, checkpoint)
        with pytest.raises(UserError, match=r"checkpoint.pt: damaged .*; remove its folder"):
            training(tmp_path)
    assert not (tmp_path / "ran").exists()
    checkpoint.write_bytes(whole)
    settings.unlink()  # of whatever training the checkpoint is
    with pytest.raises(UserError, match="a training of other settings"):
        training(tmp_path)
    settings.write_text(said)
    assert len(training(tmp_path).history) == 4


def test_a_training_goes_on_with_the_threads_it_was_begun_with(tmp_path):
    training(tmp_path).run()
    torch.set_num_threads(2)
    try:
        training(tmp_path)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(1)


def test_a_look_at_the_fsd_is_no_other_training_but_other_scans_to_train_with_are(tmp_path):
    scans = read_scans(SCANS, [SCAN])
    training(tmp_path / "a", scans=scans, fsd_every=2).run()
    training(tmp_path / "a")  # without a look
    training(tmp_path / "b", scans=scans, fsd_weight=0.01, epochs=1).run()
    moved = [replace(scan, coordinate=scan.coordinate + 0.01) for scan in scans]
    with pytest.raises(UserError, match="a training of other settings"):
        training(tmp_path / "b", scans=moved, fsd_weight=0.01, epochs=1)
