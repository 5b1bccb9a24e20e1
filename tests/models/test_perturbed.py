"""Perturbed models: defects of known kind and size, on any geometry."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase.data import covalent_radii

from examples import fake_entry, tblite_entry
from fake_calculators import morse
from pesbench.core.errors import UserError
from pesbench.core.interface import Batch, Status, molecules_batch
from pesbench.core.names import select
from pesbench.core.settings import keys
from pesbench.engine.worker import Worker
from pesbench.files.atomic import write_json
from pesbench.files.fingerprint import family_modules, stage_fingerprint
from pesbench.files.strict_yaml import read_yaml
from pesbench.models.families import perturbed
from pesbench.models.families.perturbed import (
    DOSE_UNITS,
    PARAMETERS,
    Noise,
    PairDefect,
    PerturbedModel,
    all_pairs,
    switch,
)
from pesbench.models.fetching import settle
from pesbench.models.registry import ModelEntry, load
from pesbench.models.roles import role
from pesbench.models.trust import entry_sha256
from pesbench.orchestration import config
from pesbench.orchestration.config import loading_options, read_models, resolve_entry
from pesbench.report.inputs import model_facts

DEFAULTS: dict[str, dict[str, Any]] = {
    "ripple": {"wavelength": 0.1},
    "step": {"distance": 1.1},
    "dip": {"distance": 1.2, "width": 0.05},
    "wall": {"distance": 0.9},
    "curl": {},
    "noise": {"spacing": 0.01, "draw": 1},
}
DOSES = {"ripple": 0.02, "step": 0.3, "dip": 0.7, "wall": 4.0, "curl": 0.05, "noise": 0.4}
CENTRAL = [kind for kind in DEFAULTS if kind != "curl"]
CC = 2 * covalent_radii[6]


def defect(kind: str, dose: float | None = None, **parameters: Any) -> PairDefect:
    return PairDefect(kind, DOSES[kind] if dose is None else dose, DEFAULTS[kind] | parameters)


def one(numbers: list[int], positions: Any) -> Batch:
    return molecules_batch([np.array(positions, dtype=float)], [np.array(numbers)], [0], [1])


def cloud(seed: int = 0, count: int = 9, edge: float = 3.0) -> Batch:
    """Atoms so close that every range of every defect occurs."""
    rng = np.random.default_rng(seed)
    numbers = rng.choice([1, 6, 7, 8], size=count)
    return one(numbers.tolist(), rng.uniform(0, edge, size=(count, 3)))


def moved(batch: Batch, positions: np.ndarray) -> Batch:
    return replace(batch, positions=positions)


def diatomic(r: Any, numbers: tuple[int, int] = (6, 6)) -> Batch:
    """As many systems as distances; the second atom lies at +x."""
    distances = np.atleast_1d(r)
    positions = [np.array([[0, 0, 0], [x, 0, 0]]) for x in distances]
    count = len(distances)
    return molecules_batch(positions, [np.array(numbers)] * count, [0] * count, [1] * count)


def curve(term: PairDefect, r: Any, numbers: tuple[int, int] = (6, 6)) -> tuple[Any, Any]:
    """Energy of a pair and the force that drives it apart."""
    energies, forces = term(diatomic(r, numbers))
    return energies, forces[1::2, 0]


def wrapped(kind: str, dose: float, what: str = "Morse", **arguments: Any) -> PerturbedModel:
    base = load(fake_entry(what, arguments=arguments), scan_set=None, device="cpu")
    return PerturbedModel(base, kind, dose, DEFAULTS[kind])


# --- forces and energies -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CENTRAL)
@pytest.mark.parametrize("seed", [0, 1])
def test_forces_are_minus_the_slope_of_the_energy(kind, seed):
    term, batch, h = defect(kind), cloud(seed), 1e-5
    energies, forces = term(batch)
    assert energies[0] != 0  # the term is met at all
    assert kind == "step" or np.abs(forces).max() > 0.1
    for index in np.ndindex(batch.positions.shape):
        shift = np.zeros_like(batch.positions)
        shift[index] = h
        up, _ = term(moved(batch, batch.positions + shift))
        down, _ = term(moved(batch, batch.positions - shift))
        assert forces[index] == pytest.approx(-(up[0] - down[0]) / (2 * h), abs=1e-6)


def rectangle(term: PairDefect, first: int, second: int, sides: tuple[float, float]) -> float:
    """Work of the defect while one carbon goes around a rectangle and the other stays."""
    corner = np.array([0.6, 0.5, 0.4])
    a, b = np.zeros(3), np.zeros(3)
    a[first], b[second] = sides
    path = [corner, corner + a, corner + a + b, corner + b, corner]
    work = 0.0
    for start, end in itertools.pairwise(path):
        points = start + np.linspace(0, 1, 2001)[:, None] * (end - start)
        batch = molecules_batch(
            [np.stack([np.zeros(3), p]) for p in points], [np.array([6, 6])] * 2001,
            [0] * 2001, [1] * 2001,
        )  # fmt: skip
        _, forces = term(batch)
        middle = (forces[1::2][1:] + forces[1::2][:-1]) / 2
        work += float((middle * np.diff(points, axis=0)).sum())
    return work


@pytest.mark.parametrize(("plane", "curl"), [((0, 1), 2.0), ((1, 0), -2.0), ((0, 2), 0.0)])
def test_the_work_of_the_curl_force_around_a_loop_is_its_curl_times_the_area(plane, curl):
    work = rectangle(defect("curl", 0.3), *plane, (0.9, 0.7))  # all of it below 1.5 R
    assert work == pytest.approx(curl * 0.3 * 0.9 * 0.7, abs=1e-12)


@pytest.mark.parametrize("kind", ["ripple", "dip", "wall"])
def test_no_other_force_does_work_around_a_loop(kind):
    work = rectangle(defect(kind), 0, 1, (0.9, 0.7))
    along = rectangle(defect("curl", DOSES[kind]), 0, 1, (0.9, 0.7))
    assert abs(work) < 1e-4 * abs(along)


def test_the_work_of_the_curl_force_in_one_turn():
    """2πDr² S(x) about the axis, nothing about another one, and no energy."""
    angle = 2 * np.pi * (np.arange(400) + 0.5) / 400
    for r in (1.0, 2.0, 2.5, 2.9, 3.1):
        ring = r * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
        tangent = np.stack([-np.sin(angle), np.cos(angle), 0 * angle], axis=1)
        for axes, turns in (([0, 1, 2], 1.0), ([2, 0, 1], 0.0)):
            batch = molecules_batch(
                [np.stack([np.zeros(3), p]) for p in ring[:, axes]],
                [np.array([6, 6])] * 400, [0] * 400, [1] * 400,
            )  # fmt: skip
            energies, forces = defect("curl", 0.3)(batch)
            work = (forces[1::2] * tangent[:, axes]).sum() * 2 * np.pi * r / 400
            s = float(switch(np.array([r / CC]))[0][0])
            assert work == pytest.approx(turns * 2 * np.pi * 0.3 * r**2 * s, abs=1e-12)
            assert (energies == 0).all()


def _loop_over_pairs(batch: Batch, u: Any) -> float:
    total = 0.0
    for i in range(batch.n_atoms):
        for j in range(i):
            r = float(np.sqrt(((batch.positions[i] - batch.positions[j]) ** 2).sum()))
            rest = covalent_radii[batch.numbers[i]] + covalent_radii[batch.numbers[j]]
            total += u(r, float(rest)) if r < 2 * rest else 0.0
    return total


def _s(x: float) -> float:
    """The switch, from its definition as an integral: S' ∝ t²(1 − t)²."""
    if x <= 1.5:
        return 1.0
    t = np.linspace(0, min(2 * (x - 1.5), 1.0), 20001)
    return 1.0 - float(np.trapezoid(30 * t**2 * (1 - t) ** 2, t))


FORMULAS = {
    "ripple": lambda r, rest: 0.02 * _s(r / rest) * np.sin(2 * np.pi * (r - rest) / 0.1),
    "step": lambda r, rest: -0.3 * (r < 1.1 * rest),
    "dip": lambda r, rest: -0.7 * _s(r / rest) * np.exp(-((r - 1.2 * rest) ** 2) / (2 * 0.05**2)),
    "wall": lambda r, rest: -4.0 * max(0.9 - r / rest, 0.0) ** 3 / 0.3**3,
}


@pytest.mark.parametrize("kind", FORMULAS)
def test_energies_are_those_of_the_documented_formulas(kind):
    batch = cloud(3)
    energies, _ = defect(kind)(batch)
    assert energies[0] == pytest.approx(_loop_over_pairs(batch, FORMULAS[kind]), abs=1e-8)


# --- each kind -----------------------------------------------------------------------------------


def test_the_switch_is_twice_continuously_differentiable():
    x = np.linspace(1.3, 2.2, 9001)
    s, slope = switch(x)
    assert (s[x <= 1.5] == 1).all()
    assert (np.abs(s[x >= 2.0]) < 1e-15).all()
    assert (np.diff(s) <= 0).all()
    assert np.allclose(np.gradient(s, x)[1:-1], slope[1:-1], atol=1e-5)
    bent = np.gradient(slope, x)
    assert np.abs(np.diff(bent)).max() < 0.05  # of at most 23: no jump
    assert switch(np.array([1.75]))[0][0] == pytest.approx(0.5)


def test_a_ripple_has_its_amplitude_and_wavelength():
    r = CC + 0.2 * np.arange(4) / 4
    energies, _ = curve(defect("ripple", 0.01, wavelength=0.2), r)
    assert energies == pytest.approx([0, 0.01, 0, -0.01], abs=1e-15)
    r = np.linspace(0.8 * CC, 1.2 * CC, 5001)
    _, force = curve(defect("ripple", 0.01, wavelength=0.2), r)
    assert np.abs(force).max() == pytest.approx(2 * np.pi * 0.01 / 0.2, rel=1e-4)


@pytest.mark.parametrize("dose", [0.001, 0.3, 10.0])
def test_a_step_is_as_high_as_its_dose_and_has_no_force(dose):
    edge = 1.1 * CC
    energies, force = curve(defect("step", dose), [edge - 1e-9, edge, edge + 1e-9, 0.5, 4.0])
    assert energies.tolist() == [-dose, 0.0, 0.0, -dose, 0.0]
    assert (force == 0).all()
    _, forces = defect("step", dose)(cloud())
    assert (forces == 0).all()


def test_a_dip_is_a_minimum_where_it_is_said_to_be():
    r = np.linspace(0.9 * CC, 1.4 * CC, 1001)
    alone, _ = curve(defect("dip", 1.5), r)
    assert r[alone.argmin()] == pytest.approx(1.2 * CC, abs=1e-3)
    assert alone.min() == pytest.approx(-1.5, rel=1e-3)
    # on a Morse potential, whose only minimum lies at the covalent sum
    for dose, minima in ((0.0, 1), (0.1, 1), (1.5, 2)):
        energy = wrapped("dip", dose).evaluate(diatomic(r)).energies
        falls = np.diff(energy) < 0
        found = r[1:-1][falls[:-1] & ~falls[1:]]
        assert len(found) == minima
    assert found[0] == pytest.approx(CC, abs=0.02)
    assert found[1] == pytest.approx(1.2 * CC, abs=0.02)  # less than half of its width away


def test_a_wall_is_softer_by_its_dose_at_the_core_and_untouched_beyond():
    energies, force = curve(defect("wall", 5.0), [0.6 * CC, 0.9 * CC, CC, 0.9 * CC - 1e-4])
    assert energies[:3] == pytest.approx([-5.0, 0, 0], abs=1e-12)
    assert force[1:3].tolist() == [0.0, 0.0]
    assert -1e-4 < force[3] < 0  # and its slope goes to 0, too
    r = np.linspace(0.6 * CC, CC, 500)
    base, soft = (wrapped("wall", dose).evaluate(diatomic(r)).energies for dose in (0, 5.0))
    assert (soft <= base).all()


def test_noise_is_white_and_normal():
    """One value a cell, unit variance times the dose, no memory from cell to cell."""
    h = 0.001
    term = defect("noise", 0.2, spacing=h)
    depth = h * (np.arange(800, 2800) + 0.5)  # from 2R inwards, where S is 1
    r = 2 * CC - depth
    _, force = curve(term, r)
    _, again = curve(term, r + 0.4 * h)
    assert force == pytest.approx(again, rel=1e-12)
    z = force / 0.2
    assert len(np.unique(z)) == len(z)
    error = 1 / np.sqrt(len(z))
    assert abs(z.mean()) < 4 * error
    assert abs(z.std() - 1) < 4 * error
    spectrum = [np.mean(z[lag:] * z[:-lag]) for lag in range(1, 20)]
    assert np.abs(spectrum).max() < 4 * error


def test_the_energy_of_noise_is_the_integral_of_its_force():
    fine = np.linspace(0.3, 2 * CC, 400_001)
    everywhere = Noise(0.2, 0.01, 1)(fine, np.full(400_001, CC), np.full((400_001, 2), 6))[1]
    energies, _ = curve(defect("noise", 0.2), fine[::100])
    integral = -np.concatenate([[0], np.cumsum(everywhere[1:] + everywhere[:-1])]) / 2
    integral *= fine[1] - fine[0]
    assert energies == pytest.approx((integral - integral[-1])[::100], abs=2e-5)
    assert np.abs(energies).max() < 1  # a random walk of 0.02 eV, not a systematic slope


def test_noise_is_frozen():
    """The same in a new object and a new process, at every dose; another draw is another one."""
    r = np.linspace(1, 2.9, 50)
    _, force = curve(defect("noise", 0.2), r)
    _, twice = curve(defect("noise", 0.4), r)
    assert twice == pytest.approx(2 * force, rel=1e-12)
    code = (
        "import numpy as np; from pesbench.models.families.perturbed import Noise\n"
        "r = np.linspace(1, 2.9, 50)\n"
        f"_, force = Noise(0.2, 0.01, 1)(r, np.full(50, {CC!r}), np.full((50, 2), 6))\n"
        "print(force.tolist())"
    ).replace("np.float64", "")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert json.loads(done.stdout) == pytest.approx(force, rel=1e-12)
    for other in (defect("noise", 0.2, draw=2), defect("noise", 0.2, spacing=0.02)):
        assert not np.allclose(curve(other, r)[1], force)
    _, mixed = curve(defect("noise", 0.2), r, (6, 7))
    _, swapped = curve(defect("noise", 0.2), r, (7, 6))
    assert not np.allclose(mixed, force)
    assert np.array_equal(mixed, swapped)


# --- symmetries ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DEFAULTS)
def test_momentum_is_conserved_and_only_curl_exerts_a_torque(kind):
    batch = cloud(5)
    _, forces = defect(kind)(batch)
    size = np.abs(forces).max() + 1e-3
    assert np.abs(forces.sum(axis=0)).max() < 1e-13 * size
    torque = np.abs(np.cross(batch.positions, forces).sum(axis=0)).max()
    assert torque > 0.1 * size if kind == "curl" else torque < 1e-12 * size


def _rotation(seed: int) -> np.ndarray:
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    return q * np.linalg.det(q)


@pytest.mark.parametrize("kind", DEFAULTS)
def test_permutation_translation_and_rotation(kind):
    term, batch = defect(kind), cloud(7)
    energies, forces = term(batch)
    order = np.random.default_rng(1).permutation(batch.n_atoms)
    permuted = replace(batch, numbers=batch.numbers[order], positions=batch.positions[order])
    shifted = moved(batch, batch.positions + np.array([1.0, -2.0, 0.5]))
    q = _rotation(2)
    for other, expected in ((permuted, forces[order]), (shifted, forces)):
        found = term(other)
        assert found[0] == pytest.approx(energies, abs=1e-10)
        assert found[1] == pytest.approx(expected, abs=1e-9)
    turned = term(moved(batch, batch.positions @ q.T))
    assert turned[0] == pytest.approx(energies, abs=1e-10)
    if kind == "curl":  # about z only
        assert np.abs(turned[1] - forces @ q.T).max() > 0.01
        c, s = np.cos(0.7), np.sin(0.7)
        q = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        turned = term(moved(batch, batch.positions @ q.T))
    assert turned[1] == pytest.approx(forces @ q.T, abs=1e-9)


# --- as a model ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def molecules() -> Batch:
    parts = [cloud(seed, count) for seed, count in enumerate([2, 9, 1, 5, 9])]
    return molecules_batch(
        [p.positions for p in parts], [p.numbers for p in parts], [0] * 5, [1] * 5
    )


@pytest.mark.parametrize("kind", DEFAULTS)
def test_without_a_dose_it_is_the_base_to_the_bit(kind, molecules):
    base = load(fake_entry(), scan_set=None, device="cpu").evaluate(molecules)
    found = wrapped(kind, 0.0).evaluate(molecules)
    assert np.array_equal(found.energies, base.energies)
    assert np.array_equal(found.forces, base.forces)
    assert (found.status, found.messages) == (base.status, base.messages)


@pytest.mark.parametrize("kind", DEFAULTS)
def test_batched_is_single_to_the_bit(kind, molecules):
    model = wrapped(kind, DOSES[kind])
    together = model.evaluate(molecules)
    for s in range(molecules.n_systems):
        alone = model.evaluate(molecules.select([s]))
        assert np.array_equal(alone.energies, together.energies[[s]])
        assert np.array_equal(alone.forces, together.forces[molecules.system == s])


def test_positions_and_composition_may_change_between_calls():
    term = defect("dip")
    for batch in (cloud(0), moved(cloud(0), cloud(1).positions), cloud(1), cloud(1, 8), cloud(0)):
        expected = defect("dip")(batch)
        assert np.array_equal(term(batch)[0], expected[0])
        assert np.array_equal(term(batch)[1], expected[1])


def test_all_pairs_of_the_same_system_and_no_others(molecules):
    pairs = all_pairs(molecules.numbers, molecules.system)
    found = list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    atoms = range(molecules.n_atoms)
    expected = [
        (i, j) for i in atoms for j in atoms if i < j and molecules.system[i] == molecules.system[j]
    ]
    assert sorted(found) == expected
    assert len(set(found)) == len(found)


def test_what_the_base_lacks_it_lacks_too(molecules):
    forces_only = wrapped("ripple", 0.1, "ForcesOnly").evaluate(molecules)
    assert forces_only.energies is None
    assert np.array_equal(forces_only.forces, wrapped("ripple", 0.1).evaluate(molecules).forces)
    faulty = wrapped("ripple", 0.1, "Faulty", fault="raise", window=[0, 0.9])
    batch = diatomic([0.8, 1.2])
    result = faulty.evaluate(batch)
    assert result.status == (Status.ERROR, Status.OK)
    assert "SCF did not converge" in result.messages[0]
    assert np.isnan(result.energies[0])
    assert result.energies[1] == wrapped("ripple", 0.1).evaluate(batch).energies[1]


def test_atoms_in_one_place_or_nowhere_are_the_bases_concern():
    for kind in DEFAULTS:
        _, forces = defect(kind)(one([6, 6], [[0, 0, 0], [0, 0, 0]]))
        assert (forces == 0).all()
        energies, forces = defect(kind)(one([6, 6], [[0, 0, 0], [np.nan, 0, 0]]))
        assert energies.tolist() == [0.0]


def test_periodic_systems_are_refused():
    batch = replace(cloud(), pbc=np.ones((1, 3), dtype=bool), cell=10 * np.eye(3)[None])
    with pytest.raises(ValueError, match="not for periodic systems"):
        wrapped("ripple", 0.1).evaluate(batch)


def test_it_says_what_its_base_is(molecules):
    base = load(tblite_entry(), scan_set=None, device="cpu").info
    info = load(_made(tblite_entry()), scan_set=None, device="cpu").info
    assert replace(info, details={}) == replace(base, details={})
    said = {"perturbation": "ripple", "dose": 0.02, "wavelength": 0.1}
    assert info.details == base.details | {"perturbed": said}


# --- entries -------------------------------------------------------------------------------------


def _made(base: ModelEntry, **settings: Any) -> ModelEntry:
    own = {"perturbation": "ripple", "dose": 0.02, "wavelength": 0.1, "batch_size": 100}
    return ModelEntry("mine", "perturbed", own | settings).with_base(base)


RIPPLE = {"family": "perturbed", "base": "gfn2", "perturbation": "ripple", "dose": 0.02}
OTHERS = {
    "gfn2": {
        "family": "tblite",
        "method": "GFN2-xTB",
        "level_of_theory": "GFN2-xTB",
        "citation": "somebody",
        "timeout_s": 30,
    },
    "fake": {
        "family": "ase",
        "calculator": "fake_calculators:Morse",
        "batch_size": 7,
        "elements": ["C", "O"],
    },
    "network": {
        "family": "mace",
        "weights": "my.model",
        "trust": True,
        "level_of_theory": "DFT",
        "license": "MIT",
        "training_data": "SPICE",
        "conservative": True,
        "seen": {"bsct_spice": "Trained on SPICE."},
    },
    "control-zero": {"family": "control", "control": "zero"},
}


def _registry(folder: Path, **mine: Any) -> Path:
    """A registry with `mine` and what it may be made from; keys that are None are left out."""
    models = folder / "models.yaml"
    own = {key: value for key, value in (RIPPLE | mine).items() if value is not None}
    models.write_text(yaml.safe_dump(OTHERS | {"mine": own, "other": RIPPLE}))
    return models


def _resolved(folder: Path, **mine: Any) -> ModelEntry:
    models = _registry(folder, **mine)
    return resolve_entry(read_models(models)["mine"], models, folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"base": "gfn3"}, "`base`: no model 'gfn3'; did you mean 'gfn2'?"),
        ({"base": "mine"}, "`base`: 'mine' is a perturbed model; name another entry"),
        ({"base": "other"}, "`base`: 'other' is a perturbed model; name another entry"),
        ({"base": "control-zero"}, "`base`: 'control-zero' is a control, defined on the frames"),
        ({"base": 2}, "`base` must be text, not 2; put it in quotes"),
        ({"base": None}, "the key 'base' is missing"),
        ({"dose": None}, "the key 'dose' is missing"),
        ({"dose": -0.1}, "`dose` is -0.1; give a number at least 0"),
        ({"dose": "much"}, "`dose` must be a number"),
        ({"perturbation": None}, "the key 'perturbation' is missing"),
        ({"perturbation": "riple"}, "'riple' is not known; did you mean 'ripple'?"),
        ({"perturbation": "diip", "width": 0.1}, "did you mean 'dip'?"),
        ({"perturbation": ["dip"]}, "`perturbation`"),
        ({"width": 0.1}, "has no `width`"),
        ({"wavelenth": 0.1}, "unknown key 'wavelenth'; did you mean 'wavelength'?"),
        ({"wavelength": 0}, "`wavelength` is 0; give a number above 0"),
        ({"perturbation": "wall", "distance": 0.6}, "`distance` is 0.6; give a number above 0.6"),
        ({"perturbation": "curl", "distance": 1.0}, "perturbation 'curl' has no `distance`"),
        ({"perturbation": "noise", "spacing": 0}, "`spacing` is 0; give a number at least 0.0001"),
        ({"weights": "my.model"}, "unknown key 'weights'"),
        ({"base": "network"}, "model 'network': no weight file at"),
    ],
)
def test_bad_entries_are_one_line(tmp_path, change, said):
    with pytest.raises(UserError) as error:
        _resolved(tmp_path, **change)
    message = str(error.value)
    assert said in message
    assert message.startswith(f"{tmp_path / 'models.yaml'}: model ")
    assert "\n" not in message


def test_the_defaults_are_those_of_these_tests(tmp_path):
    shared = {key.name for key in keys(perturbed.PerturbedSettings)}
    assert tuple(perturbed.FAMILY.kinds) == tuple(DEFAULTS) == tuple(PARAMETERS)
    for kind, parameters in DEFAULTS.items():
        entry = _resolved(tmp_path, perturbation=kind)
        own = [key.name for key in keys(perturbed.FAMILY.kinds[kind]) if key.name not in shared]
        assert tuple(own) == PARAMETERS[kind] == tuple(parameters)
        assert {key: entry.settings[key] for key in parameters} == parameters
        known = {key for keys in PARAMETERS.values() for key in keys}
        assert not (known - set(parameters)) & set(entry.settings)


def test_what_is_left_out_is_that_of_the_base(tmp_path):
    entry = _resolved(tmp_path)
    assert entry.settings["level_of_theory"] == "GFN2-xTB"
    assert (entry.settings["citation"], entry.settings["timeout_s"]) == ("somebody", 30)
    assert entry.settings["batch_size"] == "auto"
    assert _resolved(tmp_path, base="fake").settings["batch_size"] == 7
    own = _resolved(tmp_path, level_of_theory="mine", batch_size=3, timeout_s=5)
    assert own.settings["level_of_theory"] == "mine"
    assert (own.settings["batch_size"], own.settings["timeout_s"]) == (3, 5)
    assert "description" not in entry.settings


def test_its_role_is_its_own_whatever_its_base(tmp_path):
    """Its base is the reference on its own level, and a model elsewhere; so is its gap."""
    entry = _resolved(tmp_path)
    assert [role(entry.base, level) for level in ("GFN2-xTB", "GFN1-xTB")] == ["reference", "model"]
    assert {role(entry, level) for level in ("GFN2-xTB", "GFN1-xTB", "mine")} == {"perturbed"}
    fact = model_facts(entry, "GFN2-xTB")
    assert (fact.perturbation, fact.base, fact.control) == (("ripple", 0.02), "gfn2", None)
    assert not fact.theory_gap
    assert model_facts(entry, "GFN1-xTB").theory_gap
    of_the_base = model_facts(entry.base, "GFN1-xTB")
    assert (of_the_base.perturbation, of_the_base.base) == (None, "")


def test_every_kind_has_a_unit():
    assert set(DOSE_UNITS) == set(PARAMETERS)


def test_the_code_of_its_base_decides_too(tmp_path):
    entry = _resolved(tmp_path)
    assert entry.families == ("perturbed", "tblite")
    assert entry.base.families == ("tblite",)
    prints = [
        stage_fingerprint("pesbench.tasks.bonds.run", *family_modules(families))
        for families in (entry.families, entry.base.families, ("perturbed", "mace"), ("perturbed",))
    ]
    assert len(set(prints)) == 4


def test_what_decides_the_base_decides_it(tmp_path):
    before = _resolved(tmp_path).deciding()
    for key, value, changes in (
        ("method", "GFN1-xTB", True), ("accuracy", 0.1, True), ("timeout_s", 60, True),
        ("citation", "somebody else", False), ("level_of_theory", "another", False),
    ):  # fmt: skip
        content = OTHERS | {"gfn2": OTHERS["gfn2"] | {key: value}, "mine": RIPPLE}
        models = tmp_path / "models.yaml"
        models.write_text(yaml.safe_dump(content))
        after = resolve_entry(read_models(models)["mine"], models, tmp_path).deciding()
        assert (after != before) == changes, key
    assert _resolved(tmp_path, dose=0.03).deciding() != before
    assert _resolved(tmp_path, citation="mine").deciding() == before


def test_a_job_gets_the_weights_of_the_base(tmp_path):
    weights = tmp_path / "my.model"
    weights.write_bytes(b"\x80 the rest is looked at when it is loaded")
    entry = _resolved(tmp_path, base="network")
    assert entry.settings["license"] == "MIT"
    assert "weights" not in entry.settings
    # or it would stand without § beside a base that has it
    assert entry.settings["seen"] == {"bsct_spice": "Trained on SPICE."}
    assert entry.settings["training_data"] == "SPICE"
    assert "conservative" not in entry.settings  # a defect may be none of an energy
    told = ["--entry-sha256", entry.sha256]
    assert loading_options(entry) == [*told, "--weights", str(weights.resolve())]
    value = settle(entry)
    assert str(tmp_path) not in json.dumps(value)  # where they lie decides nothing
    path = tmp_path / "model.json"
    write_json(path, value)
    found = ModelEntry.from_file(path, weights, entry.sha256)
    assert found.deciding() == value
    assert found.base.settings["weights"] == str(weights.resolve())
    with pytest.raises(UserError, match="'mine' has weights; give --weights PATH"):
        ModelEntry.from_file(path, sha256=entry.sha256)
    weights.write_bytes(b"\x80 others")
    with pytest.raises(UserError, match=r"model 'network': .* has sha256"):
        ModelEntry.from_file(path, weights, entry.sha256)


def test_weights_from_an_address_are_fetched_for_the_base(tmp_path, monkeypatch):
    from pesbench.models import fetching, registry

    cached = tmp_path / "cached.model"
    cached.write_bytes(b"\x80")

    def fetch(address, *, sha256, defect):
        assert (address, sha256) == ("https://example.org/a.model", None)
        return type("Pin", (), {"sha256": "a" * 64})

    monkeypatch.setattr(fetching.download, "fetch", fetch)
    for module in (fetching, registry):
        monkeypatch.setattr(module, "cache_path", lambda address: cached)
    base = ModelEntry("network", "mace", {"weights": "https://example.org/a.model"})
    entry = _made(base)
    assert loading_options(entry)[2:] == ["--weights", str(cached)]
    assert settle(entry)["settings"]["base_entry"]["settings"]["sha256"] == "a" * 64
    assert entry_sha256(settle(entry)) == entry.sha256
    assert fetching.fetch_weights(entry).base.settings["weights"] == str(cached)


def test_through_the_worker_from_a_file(tmp_path):
    """From the registry to a job with nothing but the resolved entry."""
    resolved = _resolved(tmp_path, base="fake", dose=0.2)
    write_json(tmp_path / "model.json", settle(resolved))
    entry = ModelEntry.from_file(tmp_path / "model.json", sha256=resolved.sha256)
    r = np.array([1.2, 1.5, 1.9, 2.6])
    batch = diatomic(r, (6, 8))
    with Worker(entry, device="cpu") as worker:
        info = worker.start()
        result = worker.evaluate(batch).result
    assert info.elements == {6, 8}
    assert info.details["perturbed"] == {"perturbation": "ripple", "dose": 0.2, "wavelength": 0.1}
    rest = covalent_radii[6] + covalent_radii[8]
    for k, pair in enumerate(r):
        base, _ = morse(np.array([6, 8]), np.array([[0, 0, 0], [pair, 0, 0]]))
        extra = 0.2 * _s(pair / rest) * np.sin(2 * np.pi * (pair - rest) / 0.1)
        assert result.energies[k] == pytest.approx(base + extra, abs=1e-8)
    assert set(result.status) == {Status.OK}


def test_on_tight_binding_through_the_worker(tmp_path):
    ethane = [[0, 0, 0], [1.53, 0, 0], [-0.4, 1, 0], [-0.4, -0.5, 0.9], [-0.4, -0.5, -0.9],
              [1.93, -1, 0], [1.93, 0.5, 0.9], [1.93, 0.5, -0.9]]  # fmt: skip
    batch = one([6, 6, 1, 1, 1, 1, 1, 1], ethane)
    base = load(tblite_entry(), scan_set=None, device="cpu").evaluate(batch)
    with Worker(_resolved(tmp_path, perturbation="noise", dose=0.5), device="cpu") as worker:
        result = worker.evaluate(batch).result
    energies, forces = defect("noise", 0.5)(batch)
    assert np.abs(forces).max() > 0.1
    assert result.energies == pytest.approx(base.energies + energies, abs=1e-7)
    assert result.forces == pytest.approx(base.forces + forces, abs=1e-6)


def test_it_is_no_method_to_make_a_scan_set_with(tmp_path):
    models = _registry(tmp_path)
    registry = read_models(models)
    with pytest.raises(UserError, match="'mine' is a model with a defect; name a method"):
        config._method("mine", registry, models, "config: `reference`")


def test_an_entry_without_its_base_is_told():
    entry = ModelEntry("mine", "perturbed", RIPPLE)
    with pytest.raises(UserError, match="model 'mine': its base is not resolved"):
        load(entry, scan_set=None, device="cpu")


# --- what ships ----------------------------------------------------------------------------------


def test_the_shipped_ladders(repo):
    """At least 20 models on GFN2-xTB; names say kind and dose, and none is in the default run."""
    registry = read_models(repo / "config/models.yaml")
    shipped = {n: e for n, e in registry.items() if e.family == "perturbed"}
    assert len(shipped) >= 20
    doses: dict[str, list[float]] = {}
    for name, entry in shipped.items():
        settings = entry.settings
        assert name == f"gfn2-{settings['perturbation']}_{settings['dose']}"
        assert entry.base.deciding()["settings"]["method"] == "GFN2-xTB"
        assert settings["level_of_theory"] == "GFN2-xTB"
        load(
            ModelEntry(name, "perturbed", settings).with_base(tblite_entry()),
            scan_set=None,
            device="cpu",
        )
        doses.setdefault(settings["perturbation"], []).append(settings["dose"])
    assert set(doses) == set(PARAMETERS)
    for ladder in doses.values():
        assert len(ladder) >= 4
        assert ladder == sorted(set(ladder))
    default = read_yaml(repo / "config/config.yaml")["models"]
    assert not set(select(default, registry, "default")) & set(shipped)
