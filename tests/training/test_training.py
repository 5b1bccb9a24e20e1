"""Training of the small potentials: the split, the frames, the card; a small one is trained."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import units
from ase.build import molecule
from hypothesis import given, settings
from hypothesis import strategies as st

import fake_calculators
from examples import matches, tblite_entry
from pesbench import cli
from pesbench.core.errors import UserError
from pesbench.core.interface import Result, Status
from pesbench.core.systems import System
from pesbench.files.atomic import write_json
from pesbench.files.molecules.reading import read_systems
from pesbench.files.split import read_split, write_split
from pesbench.models.addresses import file_sha256
from pesbench.models.as_calculator import atoms_batch
from pesbench.models.families.tblite import TBLiteModel
from pesbench.models.registry import ModelEntry, load, resolve_weights
from pesbench.orchestration.config import read_models
from pesbench.testbed.variants import find_variant
from pesbench.training import sampling
from pesbench.training.sampling import Sampling, langevin_frames, sample
from pesbench.training.split import bond_types, split_systems

REPO = Path(__file__).parents[2]
MINI = read_systems(REPO / "resources/mini/molecules.extxyz")
WEIGHTS = REPO / "resources/weights"
# those of apax need an environment of their own: test_apax_training.py
SHIPPED = [
    path.stem for path in matches(WEIGHTS, "*.json") if not path.with_suffix(".zip").exists()
]
TESTBED = [name for name in SHIPPED if name.startswith("testbed-")]
SHORT = Sampling(
    temperatures_k=(300.0,), equilibration_steps=20, interval_steps=10, frames=5, validation_every=5
)


def _all_types(systems):
    return frozenset().union(*(bond_types(system) for system in systems))


def test_the_shipped_split_is_the_one_the_code_makes():
    split = split_systems(MINI)
    assert split == read_split(REPO / "resources/mini/split.csv")
    seen = [system for system in MINI if split[system.id] == "seen"]
    assert len(seen) == 20  # two thirds of 29
    assert _all_types(seen) == _all_types(MINI)


@given(st.sets(st.sampled_from([s.id for s in MINI]), min_size=1), st.floats(0, 1))
@settings(max_examples=50)
def test_every_bond_type_stays_among_the_seen(names, fraction):
    systems = [system for system in MINI if system.id in names]
    split = split_systems(systems, fraction)
    seen = [system for system in systems if split[system.id] == "seen"]
    assert _all_types(seen) == _all_types(systems)
    assert len(systems) - len(seen) <= fraction * len(systems) + 1e-6
    assert split == split_systems(systems[::-1], fraction)  # no matter in which order


def test_splits_are_read_back_and_bad_ones_refused(tmp_path):
    write_split({"a": "seen", "b": "unseen"}, tmp_path / "s.csv")
    assert read_split(tmp_path / "s.csv") == {"a": "seen", "b": "unseen"}
    for text, said in {
        "system\na\n": "no column 'split'",
        "system,split\na,maybe\n": "line 2: 'maybe' is neither",
        "system,split\na,seen\na,seen\n": "line 3: the system 'a' occurs twice",
    }.items():
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(UserError, match=said):
            read_split(tmp_path / "bad.csv")
    with pytest.raises(UserError, match="no such file"):
        read_split(tmp_path / "none.csv")


def _system(name):
    return next(system for system in MINI if system.id == name)


DIATOMIC = System("CO", np.array([6, 8]), np.array([[0.0, 0, 0], [1.42, 0, 0]]), np.array([[0, 1]]))


def _morse(batch):
    """The Morse potential of the fakes, through the contract; one system a call."""
    energy, forces = fake_calculators.morse(batch.numbers, batch.positions)
    return Result(np.array([energy]), forces, (Status.OK,), ("",))


def test_frames_carry_what_the_method_says_and_repeat():
    frames = langevin_frames(DIATOMIC, 300.0, 0, SHORT, _morse)
    assert [frame.info["step"] for frame in frames] == [20, 30, 40, 50, 60]
    again = langevin_frames(DIATOMIC, 300.0, 0, SHORT, _morse)
    other = langevin_frames(DIATOMIC, 300.0, 1, SHORT, _morse)
    assert np.array_equal(frames[-1].positions, again[-1].positions)
    assert not np.allclose(frames[-1].positions, other[-1].positions)
    answer = _morse(atoms_batch([frames[2]]))
    assert answer.energies[0] == frames[2].info["REF_energy"]
    assert np.array_equal(answer.forces, frames[2].arrays["REF_forces"])


@pytest.mark.parametrize("temperature", [100.0, 400.0])
def test_the_thermostat_holds_its_temperature(temperature):
    """Equipartition: the one vibration of a diatomic holds k T / 2 above the minimum."""
    long = replace(SHORT, frames=800, equilibration_steps=400, interval_steps=20)
    frames = langevin_frames(DIATOMIC, temperature, 0, long, _morse)
    above = np.mean([f.info["REF_energy"] for f in frames]) + fake_calculators.DEPTH_EV
    assert above == pytest.approx(0.5 * units.kB * temperature, rel=0.2)


def test_a_trajectory_ends_where_the_method_fails_or_a_bond_breaks():
    calls = []

    def failing(batch):
        calls.append(1)
        result = _morse(batch)
        if len(calls) > 45:
            return replace(result, status=(Status.ERROR,), messages=("no SCF",))
        return result

    assert len(langevin_frames(DIATOMIC, 300.0, 0, SHORT, failing)) == 3

    def repulsive(batch):
        result = _morse(batch)
        return replace(result, forces=10 * (batch.positions - batch.positions.mean(axis=0)))

    assert len(langevin_frames(DIATOMIC, 300.0, 0, SHORT, repulsive)) < 5


def test_held_out_frames_have_trajectories_of_their_own():
    systems = [_system("hydroxylamine"), _system("hydrazine")]
    split = {"hydroxylamine": "seen", "hydrazine": "unseen"}
    frames, counts = sample(systems, split, SHORT, tblite_entry())
    assert counts["trajectories"] == 3
    by_part = {}
    for frame in frames:
        key = (frame.info.get("system"), frame.info.get("replicate"))
        by_part.setdefault(frame.info["part"], []).append(key)
    assert by_part.pop("isolated") == [(None, None)] * 3  # H, N and O, of the seen molecule
    assert by_part == {
        "train": [("hydroxylamine", 0)] * 4,
        "valid": [("hydroxylamine", 0)],
        "seen": [("hydroxylamine", 1)] * 5,
        "unseen": [("hydrazine", 1)] * 5,
    }
    with pytest.raises(UserError, match="names no system 'hydrazine'"):
        sample(systems, {"hydroxylamine": "seen"}, SHORT, tblite_entry())


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    ase.io.write(folder / "m.extxyz", [molecule("CH3SH"), molecule("CH3CH2SH")])
    write_split({"m-0": "seen", "m-1": "unseen"}, folder / "split.csv")
    write_json(folder / "method.json", tblite_entry().deciding())
    command = [
        "sample", "--molecules", folder / "m.extxyz", "--split", folder / "split.csv", "--method",
        folder / "method.json", "--temperatures-k", 300, "--frames", 10, "--interval-steps", 10,
        "--out", folder / "frames.extxyz", "--record", folder / "frames.json",
    ]  # fmt: skip
    assert cli.main([str(word) for word in command]) == 0
    return folder


def _train(folder, work, out, epochs):
    return [
        sys.executable, "-m", "pesbench", "train-mace", "tiny",
        "--frames", folder / "frames.extxyz", "--record", folder / "frames.json",
        "--num-channels", "4", "--epochs", str(epochs), "--work", work, "--out", out,
    ]  # fmt: skip


def test_a_killed_training_goes_on_and_ends_with_weights_and_card(frames, tmp_path):
    """Killed while the checkpoint of an epoch is written: that epoch is done again, not all."""
    work, out = tmp_path / "work", tmp_path / "tiny.model"
    command = [str(word) for word in _train(frames, work, out, 8)]
    first = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    for line in first.stderr:  # told as it happens, before the epoch's checkpoint is written
        if line.startswith("Epoch 4"):
            break
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    first.stderr.close()
    assert not out.exists()
    # whatever the kill hit, the last checkpoint is now what one cut short in writing is
    last = max((work / "checkpoints").glob("*.pt"), key=_epoch)
    assert _epoch(last) >= 3
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{last}: was cut short, or holds more than tensors; going on from" in done.stderr
    # it went on from a checkpoint: the first epoch was not done again
    assert "Epoch 0" not in done.stderr
    assert "Epoch 7" in done.stderr
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["sha256"] == file_sha256(out)
    assert card["elements"] == ["C", "H", "S"]
    assert card["errors"]["unseen"]["frames"] == 10
    assert card["seen"] == ["m-0"]
    assert card["frames_sha256"] == file_sha256(frames / "frames.extxyz")
    assert "held out, unseen" in out.with_suffix(".md").read_text()


def _epoch(checkpoint):
    return int(checkpoint.stem.removesuffix("_swa").rpartition("-")[2])


def test_checkpoints_are_whole_and_few(tmp_path):
    """The last two of each stage; what is cut short or damaged goes before it is read."""
    import torch

    from pesbench.training.mace import drop_old_checkpoints, drop_unfinished_checkpoints

    drop_old_checkpoints(tmp_path / "none")
    names = [f"tiny_run-7_epoch-{epoch}.pt" for epoch in (2, 9, 10, 11)]
    names += [f"tiny_run-7_epoch-{epoch}_swa.pt" for epoch in (12, 13)]
    for name in names:
        torch.save({"model": torch.arange(500)}, tmp_path / name)
    (tmp_path / "tiny_run-7.model").touch()  # none of ours
    drop_old_checkpoints(tmp_path)
    left = [*names[2:], "tiny_run-7.model"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(left)
    cut, empty, flipped = (tmp_path / names[k] for k in (3, 4, 5))
    cut.write_bytes(cut.read_bytes()[:900])
    empty.write_bytes(b"")
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    drop_unfinished_checkpoints(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [left[-1], names[2]]


def test_other_frames_do_not_continue_an_old_training(frames, tmp_path, monkeypatch):
    """Checkpoints that have seen other frames would make the card's held-out errors untrue."""
    from pesbench.training import mace

    seen = []

    def run(command, folder):
        seen.append(sorted(path.name for path in folder.iterdir() if path.name == "checkpoint"))
        (folder / "checkpoint").touch()
        (folder / "model").mkdir(exist_ok=True)
        (folder / "model" / "tiny.model").touch()
        return 1.0

    monkeypatch.setattr(mace, "_run_training", run)
    training = mace.MACETraining(num_channels=4, epochs=2)
    other = tmp_path / "other.extxyz"
    other.write_text((frames / "frames.extxyz").read_text())
    mace.train("tiny", frames / "frames.extxyz", training, tmp_path / "work")
    mace.train("tiny", other, training, tmp_path / "work")  # the same content
    ase.io.write(other, ase.io.read(other, index=":")[:-1], format="extxyz")
    mace.train("tiny", other, training, tmp_path / "work")
    mace.train("tiny", other, mace.MACETraining(num_channels=8, epochs=2), tmp_path / "work")
    assert seen == [[], ["checkpoint"], [], []]


def test_errors_on_a_card_are_those_of_the_model(frames):
    """Computed again from the forces, one frame at a time."""
    from pesbench.training.mace import errors, read_parts

    parts = read_parts(frames / "frames.extxyz")
    model = TBLiteModel("GFN1-xTB")
    found = errors(model, parts["seen"])
    differences = [
        np.abs(model.evaluate(atoms_batch([a])).forces - a.arrays["REF_forces"]).mean()
        for a in parts["seen"]
    ]
    assert found["force_mae_mev_per_angstrom"] == pytest.approx(
        1000 * np.mean(differences), abs=0.01
    )


@pytest.fixture(scope="module")
def registry():
    return read_models(REPO / "config/models.yaml")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_are_what_their_card_says(name, registry):
    card = json.loads((WEIGHTS / f"{name}.json").read_text())
    suffix, largest_bytes = (".pt", 1_000_000) if name in TESTBED else (".model", 2_000_000)
    path = WEIGHTS / f"{name}{suffix}"
    assert path.stat().st_size == card["bytes"] <= largest_bytes
    assert file_sha256(path) == card["sha256"]
    split = read_split(REPO / "resources/mini/split.csv")
    assert card["seen"] == sorted(s for s, group in split.items() if group == "seen")
    assert card["training_wall_s"] > 0
    assert not card.get("smoke", False)
    assert f"# {name}\n" in (WEIGHTS / f"{name}.md").read_text()
    # the entry is of these weights, and the model says something of a molecule
    settings = resolve_weights(name, registry[name].settings, REPO)
    entry = ModelEntry(name, registry[name].family, settings)
    assert entry.weights_path == path
    assert entry.settings["sha256"] == card["sha256"]
    methanol = molecule("CH3OH")
    result = load(entry, scan_set=None, device="cpu").evaluate(atoms_batch([methanol]))
    assert result.status == (Status.OK,)
    assert np.isfinite(result.energies).all()
    assert 0 < np.abs(result.forces).max() < 50


@pytest.mark.parametrize(
    ("name", "limit"), [("mace-mini", 80), ("mace-mini-zbl", 80), ("testbed-base", 100)]
)
def test_shipped_weights_are_good_enough(name, limit):
    """So that differences beside the baseline of the ladder are of design, not of underfitting."""
    card = json.loads((WEIGHTS / f"{name}.json").read_text())
    assert card["errors"]["seen"]["frames"] > 500
    assert card["errors"]["seen"]["force_mae_mev_per_angstrom"] < limit


def test_the_shipped_testbed_is_that_of_its_config(registry):
    """At least twelve potentials, trained as config/testbed.yaml says, a baseline beside each."""
    assert set(TESTBED) == {n for n, entry in registry.items() if entry.family == "testbed"}
    made_of, seeds, on_frames = {}, {}, {}
    for name in TESTBED:
        card = json.loads((WEIGHTS / f"{name}.json").read_text())
        variant = find_variant(REPO / "config/testbed.yaml", name)
        assert card["switches"] == variant.potential.to_dict(), name
        assert card["training"] == asdict(variant.training), name
        assert card["sampling"]["temperatures_k"] == list(Sampling().temperatures_k), name
        # scans whose FSD was in the loss are no test of it
        seen = list(variant.fsd_scans) if variant.training.fsd_weight else []
        assert card.get("fsd_scans", []) == registry[name].settings.get("seen_scans", []) == seen
        choices = json.dumps([card["switches"], card["training"]])
        made_of.setdefault(registry[name].potential, set()).add(choices)
        seeds.setdefault(registry[name].potential, set()).add(card["sha256"])
        on_frames.setdefault(card["frames_sha256"], set()).add(registry[name].potential)
    # frames that are sampled on another machine are others: each file of them has its baseline
    assert all("testbed-base" in potentials for potentials in on_frames.values()), on_frames
    assert max(len(potentials) for potentials in on_frames.values()) >= 12
    assert len(TESTBED) >= 12
    # seeds differ in the seed and the draw of frames
    assert {len(choices) for choices in made_of.values()} == {1}
    assert len({*chain(*made_of.values())}) == len(made_of) >= 12
    several = {name: len(found) for name, found in seeds.items() if len(found) > 1}
    assert several == {"testbed-base": 2, "testbed-rough": 3, "testbed-smooth": 3}


def test_frames_are_sampled_near_equilibrium_unless_told(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(sampling, "write_frames", lambda *words: asked.append(words[2]))
    write_json(tmp_path / "method.json", tblite_entry().deciding())
    command = [
        "sample", "--molecules", REPO / "resources/mini/molecules.extxyz", "--split",
        REPO / "resources/mini/split.csv", "--method", tmp_path / "method.json",
        "--out", tmp_path / "f.extxyz", "--record", tmp_path / "f.json",
    ]  # fmt: skip
    for more in ([], ["--temperatures-k", 300, 600, 1000, 1500]):
        assert cli.main([str(word) for word in [*command, *more]]) == 0
    near, hot = asked
    assert near == Sampling()
    assert near.temperatures_k == (300.0, 600.0)
    assert hot == replace(near, temperatures_k=(300.0, 600.0, 1000.0, 1500.0))


def test_frames_of_something_else_are_refused(tmp_path):
    from pesbench.training.mace import read_parts

    ase.io.write(tmp_path / "a.extxyz", molecule("H2O"))
    with pytest.raises(UserError, match=r"without `part` \(OH2\); make the file with `pesbench"):
        read_parts(tmp_path / "a.extxyz")
    with pytest.raises(UserError, match="no such file"):
        read_parts(tmp_path / "none.extxyz")


def test_a_system_without_bonds_is_never_broken():
    atoms = System("he", np.array([2]), np.zeros((1, 3)), np.empty((0, 2), dtype=np.int64))
    assert not sampling.is_broken(atoms.positions, atoms)
