"""The transfer study: labels, pretrainings, and trainings that start from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.build import molecule
from ase.io import read

from examples import fake_entry, tblite_entry, written_entry
from fake_calculators import morse
from pesbench import cli
from pesbench.core.errors import UserError
from pesbench.files.atomic import write_json
from pesbench.files.checkpoint import Checkpoint
from pesbench.files.environment import FORMAT
from pesbench.files.molecules.reading import read_systems
from pesbench.files.molecules.xyz import write_extxyz
from pesbench.files.split import write_split
from pesbench.files.strict_yaml import read_yaml
from pesbench.models.families.tblite import TBLiteModel
from pesbench.models.families.testbed.network import AttentionPotential
from pesbench.models.families.testbed.settings import PotentialSettings
from pesbench.models.families.testbed.weights import Trained
from pesbench.models.models_file import read_models
from pesbench.models.registry import ModelEntry
from pesbench.orchestration.config import resolve
from pesbench.tasks.approach.settings import ApproachSettings
from pesbench.tasks.approach.task import TASK
from pesbench.testbed.settings import TrainingSettings
from pesbench.testbed.training import Training, already_given
from pesbench.training import atomic, transfer
from pesbench.training.atom_targets import atom_targets
from pesbench.training.feature_networks import MACEFeatures, TestbedFeatures
from pesbench.training.frames import level_of, read_frames
from pesbench.training.nested import nested_set
from pesbench.training.sampling import ENERGY, FORCES, Sampling, langevin_frames
from pesbench.training.transfer_plan import ROUTES, read_transfer_plan

REPO = Path(__file__).parents[2]
PLAN = REPO / "config/transfer_training.yaml"
SYSTEMS = {s.id: s for s in read_systems(REPO / "resources/data_study/molecules.extxyz")}
SMALL = {"channels": 8, "heads": 2, "blocks": 1, "n_gaussians": 16}


# --- the plan ------------------------------------------------------------------------------------


def test_the_plan_has_three_routes_and_a_pretraining_for_every_seed():
    plan = read_transfer_plan(PLAN)
    trainings = plan.trainings()
    assert len(trainings) == 2 * len(ROUTES) * (3 + 1 + 1 + 3)
    assert [plan.repeats(n) * n for n in plan.frames] == [200] * 4
    assert len(plan.starts()) == 2 * 2 * 3
    three = trainings["mace-cheap-20-seed_3"]
    assert (three.potential, three.start.name) == ("mace-cheap-20", "mace-cheap-start-seed_3")
    assert trainings["testbed-scratch-50"].start is None
    # a pretraining belongs to the plan, whatever asks for it
    assert {one.start.name for one in trainings.values() if one.start} == set(plan.starts())
    # MACE takes epochs and frames a step of the testbed, and those of its pretraining
    assert [(m.epochs, m.batch_size) for m in (plan.mace(), plan.mace(plan.pretraining))] == [
        (100, 16), (12, 16),
    ]  # fmt: skip
    assert len(plan.molecules) == 6
    assert set(plan.molecules) < set(SYSTEMS)


def test_the_dynamics_give_enough_frames_for_a_pretraining():
    plan = read_transfer_plan(PLAN)
    words = plan.sampling_words
    pool = int(words[-1]) * len(plan.molecules) * len(plan.temperatures_k)
    frames = [_frame(k) for k in range(pool)]
    assert len(nested_set(frames, plan.cheap_frames).train) == plan.cheap_frames
    assert len(nested_set(frames[: plan.pool_frames], plan.largest).train) == plan.largest


def test_the_config_asks_the_six_molecules_and_their_level():
    plan = read_transfer_plan(PLAN)
    config = read_yaml(REPO / "config/transfer.yaml")
    file = REPO / config["scan_sets"]["transfer"]["molecules"]
    assert [system.id for system in read_systems(file)] == sorted(plan.molecules)
    assert config["scan_sets"]["transfer"]["reference"] == plan.expensive
    assert "systems" not in config["approach"]  # all of them
    asked = {name: config["approach"][name] for name in ("contacts", "diatomics")}
    assert not TASK.needs_reference(ApproachSettings(**asked))  # 3 hours of the functional
    known = read_models(REPO / "config/models.yaml")
    assert known[plan.expensive].settings["level_of_theory"] == "wB97X/6-31G*"
    assert known[plan.cheap].family == "tblite"


def test_the_molecules_are_those_of_mini():
    of_mini = {one.id: one for one in read_systems(REPO / "resources/mini/molecules.extxyz")}
    for one in read_systems(REPO / "resources/transfer/molecules.extxyz"):
        other = of_mini[one.id]
        assert (one.smiles, one.charge, one.spin) == (other.smiles, other.charge, other.spin)
        assert one.numbers.tolist() == other.numbers.tolist()
        assert one.positions.tolist() == other.positions.tolist()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"frames": [30, 100]}, "`frames`: 30 is no divisor of 100"),
        ({"pool_frames": 219}, "`pool_frames` is 219, fewer than"),
        ({"start_rate": 2}, "`start_rate`"),
        ({"expensiv": "x"}, "unknown key 'expensiv'"),
        ({"training": {"epochs": 40, "patience_epochs": 5}}, "may end a training early"),
        ({"pretraining": {"epochs": 200}}, "`pretraining`: `patience_epochs` is 100, which may"),
        ({"pretraining": {"epoch": 2}}, "`pretraining`"),
    ],
)
def test_a_wrong_plan_is_one_line(tmp_path, change, said):
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(PLAN.read_text()) | change))
    with pytest.raises(UserError) as error:
        read_transfer_plan(path)
    assert said in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


# --- labels --------------------------------------------------------------------------------------


def _frame(step, system="m0", part="train", symbols="CO"):
    atoms = Atoms(symbols, [(0, 0, 1.1 * k + 0.0001 * step) for k in range(len(Atoms(symbols)))])
    atoms.info = {"system": system, "temperature_k": 300.0, "replicate": 0, "step": step,
                  "part": part, ENERGY: -1.0, "charge": 0, "spin": 1}  # fmt: skip
    atoms.arrays[FORCES] = np.zeros((len(atoms), 3))
    return atoms


def _sampled(folder, odd="CO"):
    """Frames of a bond that is longer by 0.01 Å a step; the fourth is of another molecule."""
    parts = ["valid" if k % 10 == 9 else "train" for k in range(20)]
    frames = [_frame(k, f"m{k % 2}", part) for k, part in enumerate(parts)]
    frames[3] = _frame(3, "m1", symbols=odd)
    frames += [_frame(100 + k, part="seen") for k in range(6)]
    for atoms in frames:
        atoms.positions[1, 2] += 0.01 * atoms.info["step"]
    write_extxyz(folder / "f.extxyz", frames)
    sampled = {"method": {"name": "cheap", "settings": {}}, "counts": {}, "seen": ["m0", "m1"]}
    write_json(folder / "f.json", sampled)


def _label(folder, entry, *more):
    """How `label-frames` ends for 20 frames and 4 that are held out."""
    _, method, *trust = written_entry(entry, folder / "method.json")
    return cli.main(
        ["label-frames", "--frames", str(folder / "f.extxyz"), "--record", str(folder / "f.json"),
         "--method", method, *trust, "--pool", "20", "--held-out", "4", "--out",
         str(folder / "out.extxyz"), "--out-record", str(folder / "out.json"), *more]
    )  # fmt: skip


def test_labels_continue_after_the_last_piece_and_tell_what_has_none(tmp_path, monkeypatch):
    """The eighth frame is not answered, the fourth holds an element that is unknown."""
    _sampled(tmp_path, odd="CN")
    tally = tmp_path / "tally"
    arguments = {"fault": "raise", "window": [1.165, 1.175], "tally": str(tally)}
    entry = fake_entry("Faulty", arguments=arguments, elements=["C", "O"])
    append = Checkpoint.append

    def dies(self, **arrays):
        append(self, **arrays)
        if self.count == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "append", dies)
    assert _label(tmp_path, entry) == cli.INTERRUPTED
    assert not (tmp_path / "out.extxyz").exists()
    before = len(tally.read_text().splitlines())
    assert before in (7, 8)
    monkeypatch.setattr(Checkpoint, "append", append)
    assert _label(tmp_path, entry) == 0
    assert len(tally.read_text().splitlines()) == 23
    labelled = read(tmp_path / "out.extxyz", ":")
    assert len(labelled) == 22
    for atoms in labelled:
        energy, forces = morse(atoms.numbers, atoms.positions)
        assert atoms.info[ENERGY] == pytest.approx(energy, abs=1e-7)
        assert np.allclose(atoms.arrays[FORCES], forces, atol=1e-7)
    about = json.loads((tmp_path / "out.json").read_text())
    assert sorted(about["not_labelled"]) == [
        "m1 at step 3: unknown elements: N",
        "m1 at step 7: RuntimeError: SCF did not converge in 250 cycles",
    ]
    assert about["sampled_with"]["name"] == "cheap"
    assert about["method"]["name"] == entry.name
    assert sum(about["counts"].values()) == 22
    assert about["spent"]["times_interrupted"] == 1


def test_labels_run_where_the_command_says(tmp_path, caplog):
    _sampled(tmp_path)
    entry = fake_entry("TellsItsThreads", arguments={"device": "${device}"})
    assert _label(tmp_path, entry, "--device", "cpu", "--threads", "3") == 0
    assert {atoms.info[ENERGY] for atoms in read(tmp_path / "out.extxyz", ":")} == {3.0}
    assert _label(tmp_path, entry, "--device", "cuda:7") != 0
    assert "cuda:7" in caplog.text
    stamp = tmp_path / "there.json"
    stamp.write_text(json.dumps({"format": FORMAT, "failure": "no wheel for this machine"}))
    assert _label(tmp_path, entry, "--environment", str(stamp)) == 2
    assert "no wheel for this machine" in caplog.text


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (ModelEntry("zero", "control", {"control": "zero"}), "leave it out of `label-frames`"),
        (fake_entry("ForcesOnly"), "gives no energies"),
        (fake_entry("construction_raises"), "no parameters for this method"),
        (fake_entry(elements=["H"]), "a part is left without a frame"),
        # frames name no bonds
        (ModelEntry("uff", "rdkit", {"field": "UFF"}), "a part is left without a frame"),
    ],
)
def test_a_method_that_gives_no_labels_is_one_line(tmp_path, caplog, entry, said):
    _sampled(tmp_path)
    assert _label(tmp_path, entry) == 2
    (line,) = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
    assert said in line
    assert "\n" not in line
    assert not (tmp_path / "out.extxyz").exists()
    if entry.family == "rdkit":
        assert "a force field needs the bond graph" in caplog.text


def test_too_few_frames_to_label_are_one_line(tmp_path, caplog):
    _sampled(tmp_path)
    assert _label(tmp_path, fake_entry(), "--pool", "21") == 2
    assert "20 frames to train on, 21 are asked for" in caplog.text


def test_frames_that_do_not_tell_what_they_are_of_are_one_line(tmp_path, caplog):
    _sampled(tmp_path)
    frames = read_frames(tmp_path / "f.extxyz")
    del frames[-1].info["replicate"]
    write_extxyz(tmp_path / "f.extxyz", frames)
    assert _label(tmp_path, fake_entry()) == 2
    assert "a frame without `replicate` (m0); make the file with" in caplog.text


# --- a training that starts from weights ---------------------------------------------------------


def _network(seed):
    torch.manual_seed(seed)
    return AttentionPotential(PotentialSettings.of(SMALL, "test"))


def _shifted(frames, network, shift):
    """The frames with the network's own forces, and energies that differ by so much an atom."""
    for atoms in frames:
        own = already_given(network, [atoms])[0]
        atoms.info[ENERGY] = own + sum(shift[symbol] for symbol in atoms.symbols)
    return frames


COMPOSITIONS = ["CO", "OCO", "HCN", "HOH", "NCCN", "HCCH"]
SHIFT = {"H": -13.0, "C": -1030.0, "N": -1480.0, "O": -2040.0}


def _begin(folder, start, epochs=3, name="m"):
    frames = [_frame(k, symbols=c) for k, c in enumerate(COMPOSITIONS)]
    frames = _shifted(frames, _network(1), SHIFT)
    settings = TrainingSettings(epochs=epochs, batch_frames=3, patience_epochs=epochs)
    potential = PotentialSettings.of(SMALL, "test")
    made_of = {"start_from": "one"} if start is not None else {}
    held = Trained(start, np.zeros(1)) if start is not None else None
    return Training(name, potential, settings, frames, frames[:2], folder, made_of, start=held)


def test_a_start_is_taken_over_and_the_energies_of_elements_are_refitted(tmp_path):
    start = _network(1)
    run = _begin(tmp_path / "a", start)
    for name, value in start.state_dict().items():
        assert torch.equal(run.network.state_dict()[name], value), name
    elements = run.potential.elements
    for symbol, energy in SHIFT.items():
        assert run.atomic[elements.index(symbol)] == pytest.approx(energy, abs=1e-3)
    other = _begin(tmp_path / "b", None)
    assert not torch.equal(other.network.from_element.weight, start.from_element.weight)
    wide = AttentionPotential(PotentialSettings.of(SMALL | {"channels": 16}, "test"))
    with pytest.raises(UserError, match=r"other switches \(`channels` was 16 and is 8"):
        _begin(tmp_path / "c", wide)


def test_a_training_with_a_start_resumes_exactly(tmp_path, monkeypatch):
    whole = _begin(tmp_path / "whole", _network(1)).run().network.state_dict()
    first = _begin(tmp_path / "parts", _network(1))
    epoch = Training._epoch

    def killed(self, number):
        if number == 2:
            raise KeyboardInterrupt
        return epoch(self, number)

    monkeypatch.setattr(Training, "_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    monkeypatch.setattr(Training, "_epoch", epoch)
    again = _begin(tmp_path / "parts", _network(1))
    assert len(again.history) == 1
    for name, value in again.run().network.state_dict().items():
        assert torch.equal(value, whole[name]), name
    with pytest.raises(UserError, match="`start_from` was 'one'"):
        _begin(tmp_path / "parts", None)


# --- charges and bond orders ---------------------------------------------------------------------


def test_charges_and_bond_orders_of_known_molecules():
    """A triple bond in N₂, a single one in H₂, two equal double ones in CO₂; no net charge."""
    for name, order in (("N2", 3), ("H2", 1)):
        (found,) = atom_targets(molecule(name), "GFN2-xTB").bond_orders
        assert found == pytest.approx(order, abs=0.1)
    found = atom_targets(molecule("CO2"), "GFN2-xTB")
    assert found.charges.sum() == pytest.approx(0, abs=1e-6)
    assert found.charges[0] > 0 > found.charges[1] == pytest.approx(found.charges[2])
    assert found.pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert found.bond_orders[0] == pytest.approx(found.bond_orders[1])
    assert 1.7 < found.bond_orders[0] < 2.2
    assert found.bond_orders[2] < 0.5
    assert found.lengths[2] == pytest.approx(2 * found.lengths[0])


def test_a_frame_without_charges_is_one_line(monkeypatch):
    from tblite.interface import Calculator

    def fails(self):
        raise RuntimeError("SCF not converged\nin 250 cycles")

    monkeypatch.setattr(Calculator, "singlepoint", fails)
    atoms = molecule("H2")
    atoms.info |= {"system": "hydrogen", "step": 40}
    said = r"hydrogen at step 40: GFN2-xTB gives no charges \(SCF not converged in 250 cycles\)"
    with pytest.raises(UserError, match=said):
        atom_targets(atoms, "GFN2-xTB")


def test_the_heads_see_a_pair_from_either_end_alike():
    heads = atomic.Heads(4)
    atoms, lengths = torch.randn(3, 4), torch.tensor([1.0, 2.0])
    one = heads(atoms, torch.tensor([[0, 1], [1, 2]]), lengths)[1]
    other = heads(atoms, torch.tensor([[1, 0], [2, 1]]), lengths)[1]
    assert torch.equal(one, other)


def _mace(frames):
    from pesbench.training.mace_settings import MACETraining
    from pesbench.training.mace_start import neighbours, untrained

    how = MACETraining(num_channels=4, correlation=1, max_ell=1)
    elements = sorted({int(z) for atoms in frames for z in atoms.numbers})
    return untrained(how, elements, neighbours(frames, how.r_max), 3), how


@pytest.mark.parametrize("family", ["testbed", "mace"])
def test_pretraining_on_atoms_learns_and_resumes_exactly(tmp_path, monkeypatch, family):
    frames = [molecule(name) for name in ("H2O", "CH4", "CH3OH", "CO2", "H2CO", "HCOOH")]

    def begin(folder, epochs=8):
        network = (
            MACEFeatures(_mace(frames)[0]) if family == "mace" else TestbedFeatures(_network(2))
        )
        return atomic.AtomicPretraining(
            "m", network, frames, frames, "GFN2-xTB", epochs, folder, {"a": 1}
        )

    monkeypatch.setattr(atomic, "LEARNING_RATE", 0.02)
    one = begin(tmp_path / "one")
    before, readout = one._errors(), _readout(one, family)
    found = one.run()
    assert found["charge_mae_e"] < before["charge_mae_e"]
    assert found["bond_order_mae"] < before["bond_order_mae"]
    assert all(torch.equal(a, b) for a, b in zip(readout, _readout(one, family), strict=True))
    two, step = begin(tmp_path / "two"), atomic.AtomicPretraining._step

    def killed(self, some, epoch, generator):
        # denormal numbers are zero, as in the trainings of the testbed
        assert torch.tensor([1e-30]) * torch.tensor([1e-10]) == 0
        if epoch == 5:
            raise KeyboardInterrupt
        return step(self, some, epoch, generator)

    monkeypatch.setattr(atomic.AtomicPretraining, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        two.run()
    monkeypatch.setattr(atomic.AtomicPretraining, "_step", step)
    again = begin(tmp_path / "two")
    assert again.done == 4
    assert again.run() == found
    for name, value in again.network.module.state_dict().items():
        assert torch.equal(value, one.network.module.state_dict()[name]), name
    with pytest.raises(UserError, match="a pretraining of other settings"):
        begin(tmp_path / "two", epochs=9)


def _readout(run, family):
    """The readout of the energy, which nothing here trains."""
    part = run.network.module.readouts if family == "mace" else run.network.module.energy_head
    return [one.clone() for one in part.parameters()]


# --- MACE ----------------------------------------------------------------------------------------


def test_a_start_of_mace_is_read_whole_and_runs_nothing(tmp_path):
    from pesbench.training.mace_settings import MACETraining
    from pesbench.training.mace_start import (
        graphs_of,
        joined,
        read_start,
        refitted_energies,
        write_start,
    )

    frames = [_frame(k, symbols=c) for k, c in enumerate(COMPOSITIONS)]
    network, how = _mace(frames)
    write_start(network, tmp_path / "s.pt")
    again = read_start(tmp_path / "s.pt", how)
    with torch.no_grad():
        one, other = (
            net(joined(graphs_of(net, frames)), compute_force=False)["energy"]
            for net in (network, again)
        )
    assert torch.equal(one, other)
    for atoms, energy in zip(frames, one.tolist(), strict=True):
        atoms.info[ENERGY] = energy + sum(SHIFT[symbol] for symbol in atoms.symbols)
    found = refitted_energies(frames, again)
    for z, symbol in ((1, "H"), (6, "C"), (7, "N"), (8, "O")):
        assert found[z] == pytest.approx(SHIFT[symbol], abs=1e-3)
    with pytest.raises(UserError, match="weights of another architecture"):
        read_start(tmp_path / "s.pt", MACETraining(num_channels=8, correlation=1, max_ell=1))
    torch.save(network, tmp_path / "pickled.pt")  # would run code
    with pytest.raises(UserError, match="torch cannot read these weights"):
        read_start(tmp_path / "pickled.pt", how)
    with pytest.raises(UserError, match="holds element 9"):
        graphs_of(network, [_frame(0, symbols="F")])


@pytest.mark.parametrize("kept", [0, 2])
def test_too_few_held_out_frames_are_refused_before_any_work(tmp_path, kept, monkeypatch):
    """No frame of the part, or fewer atoms of each element than moments need."""
    frames = [_frame(k, part="valid" if k == 9 else "train") for k in range(10)]
    frames += [_frame(100 + k, part="seen") for k in range(kept)]
    write_extxyz(tmp_path / "f.extxyz", frames)
    monkeypatch.setattr(transfer, "read_record", None)  # nothing else is looked at
    plan = read_transfer_plan(PLAN)
    given = (tmp_path / "f.extxyz", tmp_path / "f.json")
    said = r"f\.extxyz: no element has 20 atoms in the frames of the part `seen`"
    for start in plan.starts().values():
        with pytest.raises(UserError, match=said):
            transfer.train_start(plan, start, *given, tmp_path / "work", tmp_path / "w.pt")
    for name in ("testbed-scratch-20", "mace-scratch-20"):
        one = plan.trainings()[name]
        with pytest.raises(UserError, match=said):
            transfer.train_transfer(plan, one, *given, None, tmp_path / "work", tmp_path / "w.pt")
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("settings", "level"),
    [
        ({"functional": "wb97x", "basis": "6-31g*", "dispersion": "none"}, "wb97x/6-31g*"),
        ({"functional": "wb97m-v", "basis": "def2-tzvppd", "dispersion": "d3bj"},
         "wb97m-v+d3bj/def2-tzvppd"),
        ({"method": "GFN2-xTB"}, "GFN2-xTB"),
        ({}, "m"),
    ],
)  # fmt: skip
def test_the_level_of_labels_has_its_dispersion(settings, level):
    assert level_of({"method": {"name": "m", "settings": settings}}) == level


# --- from frames to a registry -------------------------------------------------------------------


def _run(*words):
    assert cli.main([str(word) for word in words]) == 0


def _as_the_start(start, trained):
    """With a rate of nearly 0, the weights are those of the start."""
    state = torch.load(start, weights_only=True)["state"]
    found = torch.load(trained, weights_only=False)
    found = found["state"] if isinstance(found, dict) else found.state_dict()
    compared = [name for name in state if not name.startswith("atomic_energies_fn")]
    assert len(compared) > 20
    for name in compared:
        assert torch.allclose(found[name].float(), state[name].float(), atol=1e-6), name


@pytest.mark.parametrize(
    ("family", "route"), [("testbed", "atomic"), ("testbed", "cheap"), ("mace", "cheap")]
)
def test_the_commands_lead_from_frames_to_a_registry(tmp_path, family, route):
    """One molecule, N = 4, two epochs."""
    sampling = Sampling(temperatures_k=(300.0,), equilibration_steps=4, interval_steps=2, frames=30)
    evaluate, frames = TBLiteModel("GFN2-xTB").evaluate, []
    for replicate in (0, 1):
        for k, atoms in enumerate(
            langevin_frames(SYSTEMS["ethanol"], 300.0, replicate, sampling, evaluate)
        ):
            atoms.info["part"] = "seen" if replicate else "valid" if k % 10 == 9 else "train"
            frames.append(atoms)
    write_extxyz(tmp_path / "cheap.extxyz", frames)
    write_json(
        tmp_path / "cheap.json",
        {
            "sampling": {"temperatures_k": [300.0]}, "counts": {}, "seen": ["ethanol"],
            "unseen": [], "method": tblite_entry().deciding(),
        },
    )  # fmt: skip
    plan = tmp_path / "plan.yaml"
    content = yaml.safe_load(PLAN.read_text()) | {
        "molecules": ["ethanol"], "expensive": "gfn1-xtb", "cheap_frames": 20, "pool_frames": 9,
        "held_out_frames": 4, "frames": [4, 8], "repeated": [], "potential": SMALL,
        "training": {"epochs": 2, "batch_frames": 2, "patience_epochs": 2},
        "pretraining": {"epochs": 2, "patience_epochs": 2}, "start_rate": 1e-9,
    }  # fmt: skip
    plan.write_text(yaml.safe_dump(content))
    _run("entry", "gfn1-xtb", "--models-file", REPO / "config/models.yaml", "--out",
         tmp_path / "method.json")  # fmt: skip
    cheap = ("--frames", tmp_path / "cheap.extxyz", "--record", tmp_path / "cheap.json")
    _run("label-frames", *cheap, "--method", tmp_path / "method.json", "--pool", 9, "--held-out",
         4, "--out", tmp_path / "e.extxyz", "--out-record", tmp_path / "e.json")  # fmt: skip
    sets = {}
    for level, count, repeats in (("cheap", 20, 1), ("e", 4, 2)):
        sets[level] = ("--frames", tmp_path / f"{level}-n.extxyz", "--record",
                       tmp_path / f"{level}-n.json")  # fmt: skip
        _run("training-set", "--frames", tmp_path / f"{level}.extxyz", "--record",
             tmp_path / f"{level}.json", "--count", count, "--repeats", repeats, "--study",
             "study-transfer", "--out", sets[level][1], "--out-record", sets[level][3])  # fmt: skip
    weights = tmp_path / "weights"
    weights.mkdir()
    start, name = f"{family}-{route}-start", f"{family}-{route}-4"
    given = ("--plan", plan, "--work", tmp_path / "work" / start)
    _run("pretrain", start, *given, *sets["cheap"], "--out", weights / f"{start}.pt")
    given = ("--plan", plan, "--work", tmp_path / "work" / name)
    _run("train-transfer", name, *given, *sets["e"], "--start", weights / f"{start}.pt", "--out",
         weights / f"{name}.pt")  # fmt: skip
    card = json.loads((weights / f"{name}.json").read_text())
    own = card["transfer"]
    assert (own["route"], own["frames"], own["start"]) == (route, 4, start)
    assert card["level_of_theory"] == "GFN1-xTB"
    assert own["descriptors"]["columns"] > 0
    # moments depend on the number of frames: those of the labelled ones in all states
    states = [*own["start_descriptors"].values(), own["descriptors"]]
    assert [state["atoms"] for state in states] == [9 * 4] * 3
    assert own["start_descriptors"]["before"] != own["start_descriptors"]["after"]
    assert "make study-transfer" in (weights / f"{name}.md").read_text()
    _as_the_start(weights / f"{start}.pt", weights / f"{name}.pt")
    without = ["train-transfer", name, *given, *sets["e"], "--out", weights / "n.pt"]
    assert cli.main([str(word) for word in without]) == 2
    write_split({"ethanol": "seen"}, tmp_path / "split.csv")
    registry = tmp_path / "models.yaml"
    _run("transfer-models", "--plan", plan, "--weights", weights, "--models-file",
         REPO / "config/models.yaml", "--split", tmp_path / "split.csv", "--out",
         registry)  # fmt: skip
    known = read_models(registry)
    assert list(known) == ["gfn1-xtb", "gfn2-xtb", name]
    config = read_yaml(REPO / "config/transfer.yaml") | {"models_file": str(registry)}
    config["scan_sets"]["transfer"]["reference"] = "gfn1-xtb"
    for block in (config, config["approach"], config["dynamics"]):
        block["models"] = [name, "gfn2-xtb"]
    run = resolve(config, REPO)
    assert "gfn1-xtb" not in run.tasks["dynamics"].models
