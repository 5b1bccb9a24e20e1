"""One round of harvest, from a potential that fails to one that is trained on where it failed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms

from pesbench import cli
from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.files.atomic import write_json
from pesbench.files.molecules.reading import read_systems
from pesbench.files.molecules.xyz import write_extxyz
from pesbench.models.as_calculator import atoms_batch
from pesbench.models.families.tblite import TBLiteModel
from pesbench.references.calculators import write_geometries
from pesbench.tasks.dynamics.stored import Trajectories
from pesbench.training.frames import once, read_parts
from pesbench.training.grown import Growth, passes, steps_to, write_grown_set
from pesbench.training.sampling import ENERGY, FORCES, Sampling, isolated_atoms, langevin_frames

REPO = Path(__file__).parents[2]
MOLECULES = REPO / "resources/data_study/molecules.extxyz"


# --- sets that grow -------------------------------------------------------------------------------


def _frame(system, step, part="train", length=1.1):
    atoms = Atoms("CO", [(0, 0, 0), (0, 0, length + 0.001 * step)])
    atoms.info = {"system": system, "temperature_k": 300.0, "replicate": 0, "step": step,
                  "part": part, ENERGY: -1.0, "charge": 0, "spin": 1}  # fmt: skip
    atoms.arrays[FORCES] = np.zeros((2, 3))
    return atoms


def _names(frames):
    return [(atoms.info["system"], atoms.info["step"]) for atoms in frames]


@pytest.fixture
def made(tmp_path):
    """Sampled frames, two harvests of 3 and 0 frames, and random frames."""
    record = {"sampling": {"temperatures_k": [300.0], "equilibration_steps": 400,
                           "interval_steps": 100, "frames": 4}, "counts": {},
              "seen": ["m0", "m1"], "unseen": [],
              "method": {"name": "m", "settings": {}}}  # fmt: skip
    pool = [_frame(f"m{k % 2}", k, "valid" if k == 9 else "train") for k in range(40)]
    write_extxyz(tmp_path / "sampled.extxyz", [*pool, _frame("m0", 1000, "seen")])
    hot = [_frame(f"m{k % 2}", 5000 + k, "valid" if k == 3 else "train") for k in range(8)]
    write_extxyz(tmp_path / "hot.extxyz", hot)
    for name in ("sampled", "hot"):
        write_json(tmp_path / f"{name}.json", record)
    write_extxyz(tmp_path / "one.extxyz", [_frame("m0", 7000 + k) for k in range(3)])
    (tmp_path / "two.extxyz").write_text("")
    for name, labelled in (("one", 5), ("two", 0)):
        told = {"labelled": labelled, "spent": {"wall_s": 2.0}, "dynamics_wall_s": 10.0,
                "settings": {"most": 4}}  # fmt: skip
        write_json(tmp_path / f"{name}.json", told)
    return tmp_path


def _grown(made, kind="added", random=None, epoch=40):
    growth = Growth([made / "one.extxyz", made / "two.extxyz"], kind, random)
    write_grown_set(made / "sampled.extxyz", made / "sampled.json", 10, epoch, growth,
                    made / "set.extxyz", made / "set.json", "make something", 1)  # fmt: skip
    return read_parts(made / "set.extxyz"), json.loads((made / "set.json").read_text())


def test_harvested_frames_are_added_and_an_epoch_stays_as_long(made):
    parts, record = _grown(made)
    assert len(parts["train"]) == 40
    different = once(parts, record)["train"]
    assert len(different) == record["training_set"]["frames"] == 13
    assert [step for _, step in _names(different)][10:] == [7000, 7001, 7002]
    counts = Counter(_names(parts["train"]))
    assert set(counts.values()) == {3, 4}  # 40 = 3 · 13 + 1
    assert counts[_names(different)[0]] == 4
    assert record["training_set"]["grown"] == {
        "kind": "added", "start_frames": 10, "asked_frames": 18, "added": [3, 0],
        "method_calls": 5, "asking_wall_s": 24.0,
    }  # fmt: skip
    assert _names(parts["seen"]) == [("m0", 1000)]


def test_random_frames_are_as_many_and_the_rest_is_the_same(made):
    harvested, _ = _grown(made)
    parts, record = _grown(made, "random", made / "hot.extxyz")
    assert _names(parts["train"][:10]) == _names(harvested["train"][:10])
    assert _names(parts["valid"]) == _names(harvested["valid"])
    assert all(step >= 5000 for _, step in _names(parts["train"][10:13]))
    assert record["training_set"]["frames"] == 13
    last = {}  # step of the last random frame of each molecule
    for name, step in _names(parts["train"][10:13]):
        last[name] = max(last.get(name, 0), step)
    assert record["training_set"]["grown"]["method_calls"] == sum(last.values())
    assert record["training_set"]["grown"]["asking_wall_s"] is None  # it is not known


def test_steps_are_counted_once_a_trajectory_and_up_to_the_last_frame():
    frames = [_frame("m0", 500), _frame("m0", 700), _frame("m1", 400), _frame("m1", 600)]
    frames[3].info["temperature_k"] = 1000.0
    assert steps_to(frames) == 700 + 400 + 600
    assert steps_to(frames[:1]) == 500
    assert steps_to([]) == 0


def test_too_few_random_frames_or_too_short_an_epoch_are_told(made):
    write_extxyz(made / "hot.extxyz", [_frame("m0", 1), _frame("m0", 2, "valid")])
    with pytest.raises(UserError, match="holds 2 frames, and 3 were harvested; sample more"):
        _grown(made, "random", made / "hot.extxyz")
    with pytest.raises(UserError, match="13 frames to train on, and an epoch has 12"):
        _grown(made, epoch=12)
    assert len(passes([Atoms("C")], 3)) == 3


# --- one round, by its commands -------------------------------------------------------------------


def _run(*words):
    assert cli.main([str(word) for word in words]) == 0


@pytest.fixture(scope="module")
def sampled(tmp_path_factory):
    """Some frames of ethanol, their plan, and ethanol as a scan set."""
    folder = tmp_path_factory.mktemp("loop")
    (ethanol,) = [one for one in read_systems(MOLECULES) if one.id == "ethanol"]
    evaluate = TBLiteModel("GFN2-xTB").evaluate
    sampling = Sampling(temperatures_k=(300.0,), equilibration_steps=4, interval_steps=2, frames=14)
    frames = isolated_atoms([ethanol], evaluate)
    for k, atoms in enumerate(langevin_frames(ethanol, 300.0, 0, sampling, evaluate)):
        atoms.info["part"] = "valid" if k == 9 else "train"
        frames.append(atoms)
    write_extxyz(folder / "sampled.extxyz", frames)
    told = {"sampling": {"temperatures_k": [300.0]}, "counts": {}, "seen": ["ethanol"],
            "unseen": [],
            "method": {"name": "gfn2-xtb", "settings": {"method": "GFN2-xTB"}}}  # fmt: skip
    write_json(folder / "sampled.json", told)
    plan = yaml.safe_load((REPO / "config/harvest_training.yaml").read_text()) | {
        "frames": [5], "epoch_frames": 20, "repeated": [],
        "harvest": {"frames": [5], "rounds": 1, "per_round": 4, "temperature_k": 3000,
                    "replicates": 1, "duration_ps": 0.1},
        "training": {"epochs": 2, "batch_frames": 4, "patience_epochs": 2},
        "potential": {"channels": 8, "heads": 2, "blocks": 1, "n_gaussians": 16},
    }  # fmt: skip
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan))
    lines = MOLECULES.read_text().splitlines(keepends=True)
    at = next(k for k, line in enumerate(lines) if " id=ethanol " in line) - 1
    (folder / "ethanol.extxyz").write_text("".join(lines[at : at + 2 + len(ethanol.numbers)]))
    write_geometries(folder / "ethanol.extxyz", folder / "start.h5", folder / "skipped.csv",
                     name="start", bonds_to_hydrogen=False)  # fmt: skip
    return folder


def _train(folder, name, frames):
    _run("train-data", name, "--plan", folder / "plan.yaml", "--frames",
         folder / f"{frames}.extxyz", "--record", folder / f"{frames}.json", "--work",
         folder / "work" / name, "--out", folder / f"{name}.pt")  # fmt: skip


def _move(folder, name):
    _run("data-dynamics", name, "--plan", folder / "plan.yaml", "--weights",
         folder / f"{name}.pt", "--scan-set", folder / "start.h5", "--out",
         folder / f"{name}.h5")  # fmt: skip


def test_a_potential_is_trained_on_where_it_failed(sampled):
    """The file of `harvest` is read by the trainings of both families, whole and unchanged."""
    frames = ("--frames", sampled / "sampled.extxyz", "--record", sampled / "sampled.json",
              "--count", 5, "--study", "study-harvest")  # fmt: skip
    _run("training-set", *frames, "--repeats", 4, "--out", sampled / "md.extxyz", "--out-record",
         sampled / "md.json")  # fmt: skip
    _train(sampled, "testbed-md-5", "md")
    _move(sampled, "testbed-md-5")
    found = sampled / "found.extxyz"
    _run("harvest", sampled / "testbed-md-5.h5", "--labels", "gfn2-xtb", "--models-file",
         REPO / "config/models.yaml", "--known", sampled / "md.extxyz", "--most", 4,
         "--apart-angstrom", 0.05, "--device", "cpu", "--out", found)  # fmt: skip
    record = json.loads(found.with_suffix(".json").read_text())
    count = record["frames"]
    assert 1 <= count <= 4  # after two epochs no potential survives 3000 K
    assert record["dynamics_wall_s"] > 0
    _run("training-set", *frames, "--harvested", found, "--epoch-frames", 20, "--out",
         sampled / "grown.extxyz", "--out-record", sampled / "grown.json")  # fmt: skip
    for family in ("testbed", "mace"):
        name = f"{family}-added-5-round_1"
        _train(sampled, name, "grown")
        card = json.loads((sampled / f"{name}.json").read_text())
        chosen = card["training_set"]
        assert chosen["frames"] == card["errors"]["train"]["frames"] == 5 + count
        assert (chosen["grown"]["kind"], chosen["grown"]["added"]) == ("added", [count])
        assert "make study-harvest" in (sampled / f"{name}.md").read_text()
    _move(sampled, name)  # MACE, which breaks but loads
    with Trajectories(sampled / f"{name}.h5") as moved:
        assert {moved.trajectory(one).status for one in moved.names} <= {Status.OK}
    parts = read_parts(sampled / "grown.extxyz")
    assert len(parts["train"]) == 20
    harvested = once(parts, card)["train"][5:]
    assert len(harvested) == count
    result = TBLiteModel("GFN2-xTB").evaluate(atoms_batch(harvested))
    assert np.allclose(result.energies, [a.info[ENERGY] for a in harvested], atol=1e-6)
    forces = np.concatenate([a.arrays[FORCES] for a in harvested])
    assert np.allclose(result.forces, forces, atol=1e-5)
