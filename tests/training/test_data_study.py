"""The data study: nested sets, as many steps for all, tests that were not trained on."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.io import read
from torch.nn.functional import softplus

from examples import tblite_entry
from pesbench import cli
from pesbench.core.coordinates.approach import hydrogen_alone
from pesbench.core.errors import UserError
from pesbench.core.geometry import apart
from pesbench.core.interface import Result, Status
from pesbench.files.atomic import write_json
from pesbench.files.molecules.reading import read_systems
from pesbench.files.molecules.xyz import write_extxyz
from pesbench.files.split import read_split, write_split
from pesbench.files.strict_yaml import read_yaml
from pesbench.models.as_calculator import atoms_batch
from pesbench.models.families.tblite import TBLiteModel
from pesbench.models.models_file import read_models
from pesbench.orchestration.config import resolve
from pesbench.training.approach_frames import (
    Approaches,
    Inputs,
    in_conformer,
    make_approaches,
    write_approaches,
)
from pesbench.training.data_plan import (
    ADDED,
    APPROACH,
    CORE,
    HARVESTED,
    MD,
    RANDOM,
    DataTraining,
    read_plan,
)
from pesbench.training.data_registry import write_data_registry
from pesbench.training.nested import in_order, nested_set, tenth_of, write_nested_set
from pesbench.training.sampling import ENERGY, FORCES, Sampling, isolated_atoms, langevin_frames

REPO = Path(__file__).parents[2]
RESOURCES = REPO / "resources/data_study"
PLAN = REPO / "config/data_training.yaml"
SEVEN = {system.id: system for system in read_systems(RESOURCES / "molecules.extxyz")}
MINI = {system.id: system for system in read_systems(REPO / "resources/mini/molecules.extxyz")}
SIZES = (25, 100, 400, 1600)


# --- the plan ------------------------------------------------------------------------------------


def test_the_plan_has_three_seeds_at_both_ends_and_as_many_steps_everywhere():
    plan = read_plan(PLAN)
    trainings = plan.trainings()
    assert plan.kinds == (MD, APPROACH, CORE)
    assert len(trainings) == 2 * (len(plan.kinds) * (3 + 1 + 1 + 3) + 2)  # two of harvested frames
    assert [plan.repeats(n) * n for n in plan.frames] == [1600] * 4
    assert (plan.mace().epochs, plan.mace().batch_size) == (20, 16)  # as the testbed
    with pytest.raises(UserError, match="30 frames: the plan has sets of 25, 100, 400, 1600"):
        plan.repeats(30)
    three = trainings["mace-core-25-seed_3"]
    assert (three.potential, three.frames_name) == ("mace-core-25", "md-25-draw_3")
    assert trainings["testbed-approach-400"].frames_name == "approach-400-draw_1"


def test_the_molecules_are_others_than_those_of_the_test():
    """Seven molecules, each in another conformer than the one of `mini`, of which four give."""
    assert list(read_split(RESOURCES / "split.csv")) == sorted(SEVEN)
    assert len(SEVEN) == 7
    assert "ethanol" in SEVEN
    for name, system in SEVEN.items():
        assert np.array_equal(system.numbers, MINI[name].numbers)
        assert np.array_equal(system.bonds, MINI[name].bonds)
        assert apart(system.numbers, system.positions, MINI[name].positions) > 0.1
    approached = read_plan(PLAN).approached
    assert set(approached) < set(SEVEN)
    assert len(approached) == 4
    systems = yaml.safe_load((REPO / "config/data_study.yaml").read_text())["systems"]
    assert systems == [f"*/{name}_*" for name in sorted(SEVEN)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"frames": [30, 100]}, "`frames`: 30 is no divisor of 100"),
        ({"repeated": [50]}, "`repeated`: 50 is not among `frames`"),
        ({"potential": {"repulsion": "zlb"}}, "`repulsion` is 'zlb'"),
        ({"training": {"epochs": 40, "patience_epochs": 5}}, "may end a training early"),
        ({"frames": [5], "repeated": [], "harvest": {}}, "`batch_frames` is 16, more than the 5"),
        ({"framez": [25]}, "unknown key 'framez'"),
        ({"epoch_frames": 1000}, "`frames`: 400 is no divisor of 1000"),
        ({"approached": []}, "`approached`"),
        ({"harvest": {"frames": [50]}}, "`harvest.frames`: 50 is not among `frames`"),
        ({"harvest": {"frames": [25]}, "kinds": ["core"]}, "begins with potentials of md"),
        ({"harvest": {"round": 1}}, "unknown key"),
    ],
)
def test_a_wrong_plan_is_one_line(tmp_path, change, said):
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(PLAN.read_text()) | change))
    with pytest.raises(UserError) as error:
        read_plan(path)
    assert said in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_harvested_frames_are_a_fourth_curve():
    """One tenth of the frames, from the dynamics of the potential of the same draw without them."""
    plan = read_plan(PLAN)
    assert sorted(one.name for one in plan.trainings().values() if one.kind == HARVESTED) == [
        "mace-harvested-100", "mace-harvested-400", "testbed-harvested-100",
        "testbed-harvested-400",
    ]  # fmt: skip
    one = plan.trainings()["mace-harvested-400"]
    assert (one.kind, one.round, plan.md_frames(one), plan.most_harvested(one)) == (
        HARVESTED, 1, 360, 40,
    )  # fmt: skip
    assert [asked.name for asked in one.asked] == ["mace-md-400"]
    assert one.frames_name == "frames-mace-harvested-400"
    assert plan.target == "data-study"


def test_rounds_begin_with_a_common_start_and_ask_the_round_before():
    plan = read_plan(REPO / "config/harvest_training.yaml")
    trainings = plan.trainings()
    assert len(trainings) == 2 * 2 * (1 + 3 + 3)  # families, seeds; start, harvested, random
    assert plan.target == "study-harvest"
    assert plan.repeats(100) * 100 == plan.largest == 800
    third = trainings["testbed-added-100-round_3-seed_2"]
    start, first, second = third.asked
    assert start == DataTraining("testbed", MD, 100, 2)
    assert [one.name for one in (first, second)] == [
        "testbed-added-100-round_1-seed_2", "testbed-added-100-round_2-seed_2",
    ]  # fmt: skip
    assert all(trainings[one.name] == one for one in third.asked)
    assert third.potential == trainings["testbed-added-100-round_3"].potential
    like = trainings["testbed-random-100-round_3-seed_2"]
    assert (like.kind, like.asked) == (RANDOM, third.asked)
    assert third.kind == ADDED
    assert (plan.md_frames(third), plan.most_harvested(third)) == (100, 20)
    assert third.frames_name != like.frames_name


# --- nested sets ---------------------------------------------------------------------------------


def _frame(system, step, kind="train"):
    atoms = Atoms("CO", [(0, 0, 0), (0, 0, 1.1 + 0.001 * step)])
    atoms.info = {"system": system, "temperature_k": 300.0, "replicate": 0, "step": step,
                  "part": kind, ENERGY: -1.0, "charge": 0, "spin": 1}  # fmt: skip
    atoms.arrays[FORCES] = np.zeros((2, 3))
    return atoms


def _names(frames):
    return [(atoms.info["system"], atoms.info["step"]) for atoms in frames]


POOL = [_frame(f"m{k % 3}", k) for k in range(1900)]
APPROACHES = [_frame("m0", 10_000 + k) for k in range(160)]


@pytest.mark.parametrize("approaches", [[], APPROACHES])
def test_a_smaller_set_is_in_every_larger_one(approaches):
    made = [nested_set(POOL, n, approaches) for n in SIZES]
    for n, one in zip(SIZES, made, strict=True):
        assert len(one.train) == len(set(_names(one.train))) == n
        assert len(one.valid) == tenth_of(n)
        assert one.n_approach == (tenth_of(n) if approaches else 0)
        assert sum(step >= 10_000 for _, step in _names(one.train)) == one.n_approach
        assert not set(_names(one.train)) & set(_names(one.valid))
    for small, large in pairwise(made):
        assert set(_names(small.train)) < set(_names(large.train))
        assert set(_names(small.valid)) < set(_names(large.valid))


@pytest.mark.parametrize("approaches", [[], APPROACHES])
def test_another_draw_has_other_frames_and_is_nested_as_well(approaches):
    one = nested_set(POOL, 25, approaches)
    small, large = (nested_set(POOL, n, approaches, draw=2) for n in (25, 100))
    assert set(_names(small.train)) < set(_names(large.train))
    assert set(_names(small.valid)) < set(_names(large.valid))
    assert len(set(_names(small.train)) & set(_names(one.train))) < 5
    drawn = [{step for _, step in _names(n.train) if step >= 10_000} for n in (one, small)]
    assert not drawn[0] & drawn[1]
    assert len(drawn[1]) == (3 if approaches else 0)


def test_both_kinds_share_their_md_frames_and_validate_alike():
    alone, beside = nested_set(POOL, 100), nested_set(POOL, 100, APPROACHES)
    assert _names(alone.train)[:90] == _names(beside.train)[:90]
    assert _names(alone.valid) == _names(beside.valid)


def test_the_order_is_of_names_and_the_molecules_take_turns():
    order = _names(in_order(POOL))
    assert order == _names(in_order(POOL[::-1]))
    assert [name for name, _ in order[:6]] == ["m0", "m1", "m2"] * 2
    assert sorted(order) == sorted(_names(POOL))


def test_too_few_frames_are_one_line():
    with pytest.raises(UserError, match="9 MD frames to train on are there, 25 are needed"):
        nested_set(POOL[:10], 25)
    with pytest.raises(UserError, match="2 closest-approach frames are there, 3 are needed"):
        nested_set(POOL, 25, APPROACHES[:2])


def test_the_file_of_a_set_repeats_its_frames_and_its_record_says_so(tmp_path):
    held_out = [_frame("m0", 20_000 + k, "seen") for k in range(4)]
    frames, record = tmp_path / "f.extxyz", tmp_path / "f.json"
    parts = [_frame("m1", 30_000 + k, "valid") for k in range(9)]
    write_extxyz(frames, [*POOL[:200], *parts, *held_out])
    write_json(record, {"counts": {}, "seen": ["m0"], "unseen": []})
    approaches = tmp_path / "a.extxyz"
    write_extxyz(approaches, APPROACHES[:20])
    sizes = {}
    for count in (25, 100):
        out, told = tmp_path / f"{count}.extxyz", tmp_path / f"{count}.json"
        write_nested_set(frames, record, count, 100 // count, out, told, approaches)
        written = read(out, ":")
        sizes[count] = [a.info["part"] for a in written].count("train")
        assert [a.info["part"] for a in written].count("seen") == 4
        found = json.loads(told.read_text())["training_set"]
        assert found == {
            "frames": count, "draw": 1, "repeats": 100 // count,
            "validation_frames": tenth_of(count), "approach_frames": tenth_of(count),
            "approach_molecules": ["m0"], "made_by": "make data-study",
        }  # fmt: skip
    assert sizes == {25: 100, 100: 100}  # an epoch has as many steps


@pytest.mark.parametrize(
    ("key", "where"),
    [("temperature_k", "frames"), ("replicate", "frames"), ("step", "frames"),
     ("system", "approaches"), (ENERGY, "approaches")],
)  # fmt: skip
def test_frames_that_do_not_tell_what_they_are_of_are_one_line(tmp_path, key, where):
    files = {"frames": [*POOL[:40], _frame("m0", 1, "valid")], "approaches": APPROACHES[:5]}
    files[where] = [atoms.copy() for atoms in files[where]]
    del files[where][3].info[key]
    for name, some in files.items():
        write_extxyz(tmp_path / f"{name}.extxyz", some)
    write_json(tmp_path / "f.json", {})
    given = [tmp_path / name for name in ("frames.extxyz", "f.json", "o.extxyz", "o.json")]
    with pytest.raises(UserError, match=rf"{where}\.extxyz: a frame without `{key}` \(.*; make"):
        write_nested_set(*given[:2], 20, 1, *given[2:], tmp_path / "approaches.extxyz")
    assert not given[2].exists()


# --- closest-approach frames ---------------------------------------------------------------------


def _hard_spheres(batch):
    """E = Σ 5/d⁶ eV over pairs; it does not converge below 0.5 Å."""
    positions = batch.positions
    vector = positions[None] - positions[:, None]
    d = np.linalg.norm(vector, axis=2) + 1e3 * np.eye(len(positions))
    status, said = (Status.ERROR, "no convergence") if d.min() < 0.5 else (Status.OK, "")
    forces = -(30 * vector / d[..., None] ** 8).sum(axis=1)
    return Result(np.array([2.5 * (d**-6.0).sum()]), forces, (status,), (said,))


def _sampled(name, count=12, scale=0.08):
    """Frames around the geometry that trainings start from, labelled."""
    system, rng = SEVEN[name], np.random.default_rng(len(name))
    frames = []
    for k in range(count):
        atoms = Atoms(
            system.numbers, system.positions + rng.normal(0, scale, (len(system.numbers), 3))
        )
        atoms.info = {
            "system": name,
            "temperature_k": 300.0,
            "part": "valid" if k == 3 else "train",
        }
        atoms.info[ENERGY] = float(_hard_spheres(atoms_batch([atoms])).energies[0])
        frames.append(atoms)
    return frames


WANTED = Approaches(("ethanol", "methylhydrazine"), 24, 30.0, 0.01)
STARTS = [*_sampled("ethanol"), *_sampled("methylhydrazine")]


@pytest.fixture(scope="module")
def approached():
    return make_approaches(STARTS, SEVEN, MINI, WANTED, _hard_spheres)


def test_approach_frames_are_converged_bounded_and_of_one_pair_each(approached):
    assert [a.info["system"] for a in approached] == ["ethanol", "methylhydrazine"] * 12
    for atoms in approached:
        i, j = map(int, atoms.info["pair"].split("-"))
        system = SEVEN[atoms.info["system"]]
        assert [i, j] in system.bonds.tolist()
        assert atoms.get_distance(i, j) == pytest.approx(atoms.info["distance_angstrom"])
        starts = [s.get_distance(i, j) for s in STARTS if s.info["system"] == system.id]
        assert atoms.info["distance_angstrom"] < max(starts)  # no bond is stretched
        assert atoms.info["distance_angstrom"] >= 0.5  # below it nothing converges
        assert atoms.info["above_start_ev"] <= 30.0
        assert (atoms.info["config_weight"], atoms.info["part"]) == (0.01, "train")
        # only the pair has moved, of a bond to hydrogen the hydrogen alone
        moved = min(
            (np.flatnonzero(np.abs(atoms.positions - s.positions).max(axis=1) > 1e-9)
             for s in STARTS if s.info["system"] == system.id), key=len,
        )  # fmt: skip
        assert set(moved.tolist()) <= {i, j}
        assert len(moved) <= (1 if hydrogen_alone(system.numbers, (i, j)) else 2)
    pairs = {(a.info["system"], a.info["pair"]) for a in approached}
    assert len(pairs) == len(SEVEN["ethanol"].bonds) + len(SEVEN["methylhydrazine"].bonds)


def test_fewer_approach_frames_are_the_first_of_more(approached):
    few = make_approaches(STARTS, SEVEN, MINI, replace(WANTED, count=5), _hard_spheres)
    for one, other in zip(few, approached, strict=False):
        assert np.array_equal(one.positions, other.positions)


def _near_the_test(name, count=40, scale=0.08):
    """Frames around the geometry of the test, as far from it as heat brings them."""
    test, rng = MINI[name], np.random.default_rng(7)
    found = []
    for _ in range(count):
        atoms = Atoms(test.numbers, test.positions + rng.normal(0, scale, test.positions.shape))
        atoms.info = STARTS[0].info | {"system": name}
        found.append(atoms)
    return found


def test_no_frame_starts_from_the_conformer_of_the_test(approached):
    """A start is in the conformer of the training; a hot frame of the test's own is none."""
    for atoms in approached:
        assert 1.5 * atoms.info["apart_from_own_angstrom"] < atoms.info["apart_from_test_angstrom"]
    near = _near_the_test("ethanol")
    far = [apart(a.numbers, a.positions, MINI["ethanol"].positions) for a in near]
    assert max(far) > 0.1  # a distance alone would take it for another conformer
    beside = make_approaches([*STARTS, *near], SEVEN, MINI, WANTED, _hard_spheres)
    for one, other in zip(beside, approached, strict=True):
        assert np.array_equal(one.positions, other.positions)
    alone = replace(WANTED, molecules=("ethanol",))
    with pytest.raises(UserError, match=r"none of its 40 frames is 1\.5 times closer"):
        make_approaches(near, SEVEN, MINI, alone, _hard_spheres)


@pytest.mark.parametrize("key", ["part", "temperature_k", ENERGY])
def test_starts_that_lack_what_is_asked_of_them_are_one_line(tmp_path, key):
    """Before the method is loaded, which here is none."""
    frames = [_frame("ethanol", k, "valid" if k else "train") for k in range(2)]
    del frames[1].info[key]
    write_extxyz(tmp_path / "f.extxyz", frames)
    molecules = RESOURCES / "molecules.extxyz"
    inputs = Inputs(tmp_path / "f.extxyz", molecules, molecules)
    with pytest.raises(UserError, match=rf"f\.extxyz: .*`{key}`.*; (make|take)"):
        write_approaches(read_plan(PLAN), inputs, None, tmp_path / "out.extxyz")


@pytest.mark.parametrize("name", read_plan(PLAN).approached)
def test_heat_is_not_taken_for_another_conformer(name):
    own, test = SEVEN[name], MINI[name]
    of_test = [in_conformer(a.positions, own, test) for a in _near_the_test(name)]
    of_own = [in_conformer(a.positions, own, test) for a in _sampled(name, 40)]
    assert not any(of_test)
    assert np.mean(of_own) > 0.5


def test_a_molecule_that_gives_no_frame_is_one_line():
    low = replace(WANTED, highest_ev=-100.0)
    with pytest.raises(UserError, match="converges on none of 200 frames below -100 eV"):
        make_approaches(STARTS, SEVEN, MINI, low, _hard_spheres)
    with pytest.raises(UserError, match="no molecule 'benzene'"):
        make_approaches(STARTS, SEVEN, MINI, replace(WANTED, molecules=("benzene",)), _hard_spheres)


# --- trainings -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of two sizes with short trainings, from frames to registry, by its commands."""
    folder = tmp_path_factory.mktemp("study")
    sampling = Sampling(temperatures_k=(300.0,), equilibration_steps=4, interval_steps=2, frames=12)
    names, evaluate = ("ethanol", "glycolaldehyde"), TBLiteModel("GFN2-xTB").evaluate
    frames = isolated_atoms([SEVEN[name] for name in names], evaluate)
    for name in names:
        for replicate in (0, 1):
            for k, atoms in enumerate(
                langevin_frames(SEVEN[name], 300.0, replicate, sampling, evaluate)
            ):
                atoms.info["part"] = "seen" if replicate else "valid" if k == 9 else "train"
                frames.append(atoms)
    write_extxyz(folder / "sampled.extxyz", frames)
    write_json(
        folder / "sampled.json",
        {
            "sampling": {"temperatures_k": [300.0]}, "counts": {}, "seen": list(names),
            "unseen": [], "method": {"name": "gfn2-xtb", "settings": {"method": "GFN2-xTB"}},
        },
    )  # fmt: skip
    plan = yaml.safe_load(PLAN.read_text()) | {
        "frames": [5, 10], "repeated": [], "approached": ["ethanol"],
        "harvest": {},
        "training": {"epochs": 2, "batch_frames": 4, "patience_epochs": 2},
        "potential": {"channels": 8, "heads": 2, "blocks": 1, "n_gaussians": 16},
    }  # fmt: skip
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan))
    write_json(folder / "method.json", tblite_entry().deciding())
    write_split(dict.fromkeys(names, "seen"), folder / "split.csv")
    return folder


def _run(*words):
    assert cli.main([str(word) for word in words]) == 0


def test_the_commands_lead_from_frames_to_a_registry(study):
    plan = ("--plan", study / "plan.yaml")
    sampled = ("--frames", study / "sampled.extxyz")
    _run("sample-approach", *plan, *sampled, "--molecules", RESOURCES / "molecules.extxyz",
         "--tested", REPO / "resources/mini/molecules.extxyz", "--method", study / "method.json",
         "--out", study / "approaches.extxyz")  # fmt: skip
    steps = {}
    for source in ("md", "approach"):
        for count in (5, 10):
            more = ("--approach", study / "approaches.extxyz") if source == "approach" else ()
            name = f"{source}-{count}"
            _run("training-set", *sampled, "--record", study / "sampled.json", "--count",
                 count, "--repeats", 10 // count, *more, "--out", study / f"{name}.extxyz",
                 "--out-record", study / f"{name}.json")  # fmt: skip
    weights = study / "weights"
    weights.mkdir()
    for name, source in {
        "testbed-md-5": "md-5", "testbed-core-10": "md-10", "testbed-approach-10": "approach-10",
        "mace-core-5": "md-5",
    }.items():  # fmt: skip
        _run("train-data", name, *plan, "--frames", study / f"{source}.extxyz", "--record",
             study / f"{source}.json", "--work", study / "work" / name, "--out",
             weights / f"{name}.pt")  # fmt: skip
        card = json.loads((weights / f"{name}.json").read_text())
        assert card["training_set"]["frames"] == int(name.rpartition("-")[2])
        assert card["training_set"]["repeats"] * card["training_set"]["frames"] == 10
        assert card["errors"]["train"]["frames"] == card["training_set"]["frames"]  # each once
        assert "make data-study" in (weights / f"{name}.md").read_text()
        assert "resources/data_study" in (weights / f"{name}.md").read_text()
        steps[name] = card.get("epochs")
    assert steps["testbed-md-5"] == steps["testbed-core-10"] == 2
    core = json.loads((weights / "testbed-core-10.json").read_text())
    assert core["switches"]["repulsion"] == "zbl_fixed"
    assert core["repulsion_scale"] == 1.0
    stored = torch.load(weights / "testbed-core-10.pt", weights_only=True)["state"]
    assert float(softplus(stored["repulsion_raw"])) == pytest.approx(1.0, abs=1e-6)  # not trained
    mace = json.loads((weights / "mace-core-5.json").read_text())
    assert "--pair_repulsion" in mace["training_command"]
    # neither the schedule nor the scale depends on the frames
    assert "--scheduler=ExponentialLR" in mace["training_command"]
    assert "--scaling=no_scaling" in mace["training_command"]
    network = torch.load(weights / "mace-core-5.pt", weights_only=False)
    assert network.scale_shift.scale.item() == 1.0
    assert any("pair_repulsion" in name for name, _ in network.named_buffers())
    assert not any("pair_repulsion" in name for name, _ in network.named_parameters())
    _registry_of(study, weights)


def _registry_of(study, weights):
    """The registry has every training that is there, with checksum and seeds."""
    plan = read_plan(study / "plan.yaml")
    where = (REPO / "config/models.yaml", "gfn2-xtb", study / "split.csv", study / "models.yaml")
    (study / "empty").mkdir()
    with pytest.raises(UserError, match=r"no weights of the trainings; .* `make data-study`"):
        write_data_registry(plan, study / "empty", *where)
    write_data_registry(plan, weights, *where)  # one that failed takes no other with it
    done = [name for name, one in plan.trainings().items() if (weights / one.weights_name).exists()]
    assert list(read_models(study / "models.yaml")) == ["gfn2-xtb", *done]
    missing = [name for name in plan.trainings() if name not in done]
    assert 0 < len(done) < len(plan.trainings())
    told = (study / "models.yaml").read_text().splitlines()
    assert [line for line in told if line.startswith("# not")] == [
        f"# not trained: {name}" for name in missing
    ]
    for one in plan.trainings().values():
        if not (weights / one.weights_name).is_file():
            like = "testbed-md-5.pt" if one.family == "testbed" else "mace-core-5.pt"
            (weights / one.weights_name).write_bytes((weights / like).read_bytes())
    write_data_registry(plan, weights, *where)
    found = read_models(study / "models.yaml")
    assert list(found) == ["gfn2-xtb", *plan.trainings()]
    assert found["mace-core-5"].settings["level_of_theory"] == "GFN2-xTB"
    config = read_yaml(REPO / "config/data_study.yaml") | {"models_file": str(where[-1])}
    run = resolve(config, REPO)
    assert set(run.models) == set(found)
    for task in ("approach", "dynamics"):  # of the seven molecules
        assert set(run.tasks[task].models) == set(found)
        assert run.tasks[task].selected == sorted(SEVEN)
    seeds = replace(plan, repeated=(5,), seeds=2)
    for one in seeds.trainings().values():
        (weights / one.weights_name).write_bytes(b"")
    write_data_registry(seeds, weights, *where)
    again = read_models(study / "models.yaml")
    assert again["testbed-md-5-seed_2"].potential == "testbed-md-5"
    (weights / "testbed-md-5.pt").unlink()
    three = replace(seeds, seeds=3)
    for seed in (2, 3):
        (weights / f"testbed-md-5-seed_{seed}.pt").write_bytes(b"")
    write_data_registry(three, weights, *where)  # the second seed names the others
    again = read_models(study / "models.yaml")
    assert again["testbed-md-5-seed_3"].potential == "testbed-md-5-seed_2"
    with pytest.raises(UserError, match="no model 'gfn3'; "):
        write_data_registry(plan, weights, REPO / "config/models.yaml", "gfn3", *where[2:])
