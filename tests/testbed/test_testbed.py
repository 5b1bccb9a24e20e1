"""The testbed's potential: its equations against their definitions, its promises, its file."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from scipy.spatial.transform import Rotation

import fake_calculators
from pesbench.commands.check.subset import SCANS
from pesbench.core.errors import HostError, UserError
from pesbench.core.interface import (
    Batch,
    DeviceOutOfMemoryError,
    ModelInfo,
    Result,
    Status,
    check_result,
)
from pesbench.files.evaluation import Evaluation
from pesbench.files.scan_set import ScanSet
from pesbench.metrics.smoothness import equilibrium_index, force_smoothness_deviation
from pesbench.models.addresses import file_sha256
from pesbench.models.as_calculator import atoms_batch
from pesbench.models.families.testbed.family import FAMILY
from pesbench.models.families.testbed.model import TestbedModel, like_sizes
from pesbench.models.families.testbed.neighbours import (
    edge_coordinate,
    hard_ranks,
    log_bias,
    neighbour_slots,
    soft_ranks,
)
from pesbench.models.families.testbed.network import (
    REPULSION_CUTOFF_ANGSTROM,
    Attention,
    AttentionPotential,
    Block,
    own,
)
from pesbench.models.families.testbed.rational import crowding
from pesbench.models.families.testbed.repulsion import zbl
from pesbench.models.families.testbed.settings import CHOICES, PotentialSettings
from pesbench.models.families.testbed.weights import (
    FORMAT,
    VERSION,
    Trained,
    potential_of,
    write_weights,
)
from pesbench.models.registry import ModelEntry, check_entry, load
from pesbench.models.torch_devices import choose_device
from pesbench.models.weights import Weights, read_weights
from pesbench.testbed.cards import rotation_variance
from pesbench.testbed.settings import TrainingSettings
from pesbench.testbed.smoothness_loss import smooth_fsd
from shards import evaluate_shard

REPO = Path(__file__).parents[2]
KINDS = CHOICES["neighbours"]
# small enough to be quick, and with so small a k that ranks decide which edges there are
TINY = {"k": 3.0, "channels": 8, "heads": 2, "n_gaussians": 32, "smearing": 0.3}
NO_EDGE = {"cutoff": 5.0, "k": 3.0, "rank_width": 0.2, "sharpness": 0.1}
MOLECULES = ("H2O", "CH3OH", "NH3", "CH3SH", "CO")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(seed: int = 0, **switches) -> AttentionPotential:
    """An untrained potential in float64, its elements shifted and scaled apart."""
    torch.manual_seed(seed)
    made = AttentionPotential(PotentialSettings.of(TINY | switches, "here")).double().eval()
    with torch.no_grad():
        made.energy_scale.uniform_(5.0, 20.0)  # or forces would be some meV/Å
        made.energy_shift.uniform_(-1.0, 1.0)
        if "rational" in made.settings.readout:
            made.rational.coefficients[1] = 0.5  # about 0.01 before training, likewise
    return made


def geometries(*names: str, seed: int = 0) -> list[Atoms]:
    rng = np.random.default_rng(seed)
    frames = [molecule(name) for name in names]
    for atoms in frames:
        atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
    return frames


def padded(frames: list[Atoms]) -> tuple[torch.Tensor, torch.Tensor]:
    n = max(len(atoms) for atoms in frames)
    positions = torch.zeros(len(frames), n, 3, dtype=torch.float64)
    numbers = torch.zeros(len(frames), n, dtype=torch.long)
    for s, atoms in enumerate(frames):
        positions[s, : len(atoms)] = torch.tensor(atoms.positions)
        numbers[s, : len(atoms)] = torch.tensor(atoms.numbers)
    return positions, numbers


def model(made: AttentionPotential, atomic: float = 0.0) -> TestbedModel:
    return TestbedModel(Trained(made, np.full(len(made.settings.elements), atomic)), {})


def distances(seed: int = 0, n: int = 6, *, missing: int = 0):
    """Of random points, and which of them there are; two molecules, the second with gaps."""
    points = torch.tensor(np.random.default_rng(seed).uniform(0, 4, (2, n, 3)))
    real = torch.ones(2, n, dtype=torch.bool)
    real[1, n - missing :] = missing == 0
    return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist"), real


# --- ranks, edges and their weight ---------------------------------------------------------------


def test_soft_ranks_are_their_definition():
    distance, real = distances(missing=2)
    found = soft_ranks(distance, real, 0.3)
    for s, i, j in itertools.product(range(2), range(6), range(6)):
        wanted = 0.0
        for m in range(6):
            if real[s, m]:
                u = float(distance[s, i, j] - distance[s, i, m]) / 0.3
                wanted += 1 / (1 + math.exp(-u))
        assert float(found[s, i, j]) == pytest.approx(wanted, rel=1e-12)


def test_ranks_count_who_is_nearer():
    distance, real = distances(missing=2)
    hard, sharp = hard_ranks(distance, real), soft_ranks(distance, real, 1e-7)
    for s, i, j in itertools.product(range(2), range(6), range(6)):
        if real[s, i] and real[s, j]:
            nearer = int((distance[s, i, real[s]] < distance[s, i, j]).sum())
            assert hard[s, i, j] == nearer
            # the limit of the soft rank: j itself counts a half
            assert float(sharp[s, i, j]) == pytest.approx(nearer + 0.5, abs=1e-9)
    assert hard[0].diagonal().tolist() == [0] * 6


def _edges(kind, distance, real, **settings):
    return edge_coordinate(distance, real, kind=kind, **(NO_EDGE | settings))


@pytest.mark.parametrize("kind", KINDS)
def test_an_edge_is_seen_alike_from_both_ends(kind):
    distance, real = distances(1)
    x = _edges(kind, distance, real)
    assert torch.equal(x, x.transpose(1, 2))
    assert x.diagonal(dim1=1, dim2=2).abs().max() == 0
    assert (x[:, ~torch.eye(6, dtype=torch.bool)] > 0).all()


def test_edges_by_hand():
    """Three points on a line at 0, 1 and 3 Å: the last has the middle as its first neighbour."""
    place = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
    distance = (place[:, None] - place).abs()[None]
    real = torch.ones(1, 3, dtype=torch.bool)
    radius = [[0, 0.2, 0.6], [0.2, 0, 0.4], [0.6, 0.4, 0]]
    np.testing.assert_allclose(_edges("radius", distance, real)[0], radius, atol=1e-15)
    # of the pair 1-2 the larger rank counts: 2 is the second of 1, 1 is the first of 2
    hard = [[0, 1 / 3, 2 / 3], [1 / 3, 0, 2 / 3], [2 / 3, 2 / 3, 0]]
    np.testing.assert_allclose(_edges("hard_knn", distance, real)[0], hard, atol=1e-15)

    def sigma(u):
        return 1 / (1 + math.exp(-u / 0.2))

    from_1 = sigma(2) + sigma(1) + 0.5  # of 2: against itself, 1 and 0
    from_2 = sigma(2) + sigma(-1) + 0.5  # of 1: against 2, 0 and itself
    terms = [from_1 / 3, from_2 / 3, 2 / 5]
    wanted = 0.1 * math.log(sum(math.exp(t / 0.1) for t in terms))
    assert float(_edges("soft_knn", distance, real)[0, 1, 2]) == pytest.approx(wanted, rel=1e-12)
    assert max(terms) < wanted < max(terms) + 0.1 * math.log(3)


def test_only_soft_ranks_have_a_slope():
    for kind, has in (("hard_knn", False), ("soft_knn", True)):
        distance, real = distances(2)
        distance = distance.requires_grad_()
        # so large a cutoff that ranks alone decide
        (slope,) = torch.autograd.grad(
            _edges(kind, distance, real, cutoff=1e9).sum(), distance, allow_unused=True
        )
        assert bool(slope.abs().max() > 1e-3) is has


def test_the_weight_of_an_edge():
    x = torch.tensor([0, 0.25, 0.5, 0.75, 0.9, 0.95], dtype=torch.float64)
    wanted = [1.00, 0.936, 0.717, 0.276, 0.014, 1e-4]
    tolerance = [1e-12, 6e-4, 6e-4, 6e-4, 6e-4, 6e-6]
    assert ((log_bias(x).exp() - torch.tensor(wanted)).abs() < torch.tensor(tolerance)).all()
    beyond = torch.tensor([1.0, 1 + 1e-9, 1.2, 200.0], dtype=torch.float64)
    assert log_bias(beyond).exp().tolist() == [0] * 4
    assert log_bias(beyond.float()).exp().tolist() == [0] * 4
    grid = torch.linspace(0, 1.5, 3001, dtype=torch.float64)
    assert (log_bias(grid).exp().diff() <= 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_weight_of_an_edge_has_slopes_everywhere(dtype):
    x = torch.tensor([0, 0.5, 0.99, 0.9995, 1.0, 1.0005, 1.5, 200.0], dtype=dtype)
    x.requires_grad_()
    # as in the attention: beside the atom's own token
    weight = torch.softmax(torch.stack((torch.zeros_like(x), log_bias(x))), dim=0)[1]
    (first,) = torch.autograd.grad(weight.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert torch.isfinite(first).all()
    assert torch.isfinite(second).all()
    assert first[4:].abs().max() == 0
    assert first[1] < 0


# --- repulsion -----------------------------------------------------------------------------------

ANCHORS = {  # eV at 0.3, 0.5 and 0.8 Å, and half of their last digit
    (1, 1): ((16.5, 5.9, 1.9), (0.05, 0.05, 0.05)),
    (6, 1): ((80.7, 26.4, 7.6), (0.05, 0.05, 0.05)),
    (6, 6): ((398, 120, 31.8), (0.5, 0.5, 0.05)),
    (6, 8): ((511, 151, 39.4), (0.5, 0.5, 0.05)),
    (8, 1): ((103, 33, 9.4), (0.5, 0.5, 0.05)),
}


@pytest.mark.parametrize("pair", ANCHORS)
def test_the_repulsion_has_its_published_values(pair):
    distance = torch.tensor([0.3, 0.5, 0.8], dtype=torch.float64)
    first, second = (torch.full((3,), z) for z in pair)
    wanted, half = (torch.tensor(v, dtype=torch.float64) for v in ANCHORS[pair])
    found = zbl(distance, first, second, cutoff=1e9)  # so far away that its cosine is 1
    assert ((found - wanted).abs() <= 1.01 * half).all()
    assert torch.equal(found, zbl(distance, second, first, cutoff=1e9))


def test_the_repulsion_ends_without_a_step():
    cutoff, h = 2.0, 1e-5
    d = torch.tensor([0.4, 1.0, 1.9, 2.0, 2.5], dtype=torch.float64, requires_grad=True)
    z = torch.full((5,), 6)
    (slope,) = torch.autograd.grad(zbl(d, z, z, cutoff).sum(), d)
    with torch.no_grad():
        numeric = (zbl(d + h, z, z, cutoff) - zbl(d - h, z, z, cutoff)) / (2 * h)
        assert zbl(d, z, z, cutoff)[3:].abs().max() < 1e-12
        halved = zbl(d[1:2], z[:1], z[:1], cutoff) / zbl(d[1:2], z[:1], z[:1], 1e9)
    np.testing.assert_allclose(slope, numeric, rtol=1e-7, atol=1e-4)
    assert (slope[:3] < 0).all()
    assert slope[3:].abs().max() < 1e-12
    assert float(halved) == pytest.approx(0.5)  # the cosine in the middle


@pytest.mark.parametrize("scale", [0.1, 1.0])
@pytest.mark.parametrize("forces", CHOICES["forces"])
@pytest.mark.parametrize("repulsion", ["zbl", "zbl_fixed"])
def test_the_repulsion_is_added_to_energy_and_forces(scale, forces, repulsion):
    frames = geometries("H2O", "CH3OH")
    without = network(forces=forces)
    having = network(forces=forces, repulsion=repulsion, repulsion_scale=scale)
    assert having.repulsion_raw.requires_grad == (repulsion == "zbl")
    having.load_state_dict(without.state_dict(), strict=False)
    energy, force = (
        (a - b).detach()
        for a, b in zip(having(*padded(frames)), without(*padded(frames)), strict=True)
    )
    for s, atoms in enumerate(frames):
        positions = torch.tensor(atoms.positions, requires_grad=True)
        i, j = np.triu_indices(len(atoms), 1)
        length = (positions[i] - positions[j]).norm(dim=1)
        z = torch.tensor(atoms.numbers)
        wanted = scale * zbl(length, z[i], z[j], REPULSION_CUTOFF_ANGSTROM).sum()
        (slope,) = torch.autograd.grad(wanted, positions)
        assert float(energy[s]) == pytest.approx(float(wanted.detach()), rel=1e-6)
        np.testing.assert_allclose(force[s, : len(atoms)], -slope, rtol=1e-5, atol=1e-9)
    assert force.abs().max() > scale


# --- attention -----------------------------------------------------------------------------------


def _attention(temperature: float) -> Attention:
    torch.manual_seed(3)
    return Attention(8, 2, temperature).double()


@pytest.mark.parametrize("temperature", [1.0, 2.0, 8.0])
def test_attention_is_its_definition(temperature):
    """The temperature divides q·k and not the bias of the edge."""
    attention = _attention(temperature)
    tokens = 2 * torch.randn(1, 2, 3, 8, dtype=torch.float64)
    bias = -torch.rand(1, 2, 3, dtype=torch.float64) * 3
    found = attention(tokens, bias).detach()
    q, k, v = attention.project(attention.norm(tokens)).detach().split(8, dim=3)
    for i, m in itertools.product(range(2), range(3)):
        mixed = torch.zeros(8, dtype=torch.float64)
        for part in (slice(0, 4), slice(4, 8)):  # two heads
            weight = [
                math.exp(
                    float(q[0, i, m, part] @ k[0, i, n, part]) / (temperature * 2.0)
                    + float(bias[0, i, n])
                )
                for n in range(3)
            ]
            for n in range(3):
                mixed[part] += weight[n] / sum(weight) * v[0, i, n, part]
        np.testing.assert_allclose(found[0, i, m], attention.out(mixed).detach(), atol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_last_block_leaves_the_atoms_own_tokens_as_a_whole_block_would(temperature):
    """And their slopes, for these are the forces."""
    torch.manual_seed(5)
    block = Block(8, 2, temperature).double()
    x = torch.rand(2, 4, 4, dtype=torch.float64)
    x = (x + x.transpose(1, 2)).masked_fill(torch.eye(4, dtype=torch.bool), 0.0)
    slots = neighbour_slots(x)
    bias = log_bias(slots.of(x))
    tokens = torch.randn(*bias.shape, 8, dtype=torch.float64, requires_grad=True)
    whole, short = own(block(tokens, bias, slots)), block.of_own(tokens, bias, slots)
    np.testing.assert_allclose(short.detach(), whole.detach(), atol=1e-12)
    slopes = [torch.autograd.grad((some**3).sum(), tokens)[0] for some in (short, whole)]
    np.testing.assert_allclose(*slopes, atol=1e-11)


def test_the_temperature_flattens_the_attention():
    """Its Jacobian falls as 1/τ, and with it what a token can do to another."""
    tokens = torch.randn(1, 1, 5, 8, dtype=torch.float64)
    bias = torch.zeros(1, 1, 5, dtype=torch.float64)

    def spread(temperature):  # between the five slots, which differ by their queries alone
        return float(_attention(temperature)(tokens, bias).detach().std(dim=2).max())

    found = [spread(t) for t in (1.0, 2.0, 4.0, 8.0, 1e6)]
    assert found == sorted(found, reverse=True)
    assert found[3] < found[0] / 4
    assert found[4] < 1e-5 * found[0]


def test_a_vanished_edge_says_nothing():
    attention = _attention(8.0)
    tokens = torch.randn(1, 1, 4, 8, dtype=torch.float64)
    bias = log_bias(torch.tensor([[[0.0, 0.5, 1.0, 1.3]]], dtype=torch.float64))
    other = tokens.clone()
    other[:, :, 2:] = 100 * torch.randn(1, 1, 2, 8, dtype=torch.float64)
    assert torch.equal(attention(tokens, bias)[:, :, :2], attention(other, bias)[:, :, :2])


def test_slots_hold_an_atom_and_its_neighbours():
    far = 1.5
    x = torch.tensor(
        [
            [
                [0.0, far, 0.2, 0.4],
                [far, 0.0, 0.6, far],
                [0.2, 0.6, 0.0, far],
                [0.4, far, far, 0.0],
            ],
            [
                [0.0, far, far, far],
                [far, 0.0, far, far],
                [far, far, 0.0, 0.9],
                [far, far, 0.9, 0.0],
            ],
        ]
    )
    slots = neighbour_slots(x)
    own_and_neighbours = [[0, 2, 3], [1, 2], [2, 0, 1], [3, 0]], [[0], [1], [2, 3], [3, 2]]
    for s, i in itertools.product(range(2), range(4)):
        wanted = own_and_neighbours[s][i]
        assert slots.other[s, i, : len(wanted)].tolist() == wanted
        assert (slots.of(x)[s, i, len(wanted) :] == far).all()
    pairs = torch.arange(32.0).view(2, 4, 4)
    counts = slots.of(x) < 1
    seen = slots.swapped(slots.of(pairs)[..., None])[..., 0]
    assert torch.equal(seen[counts], slots.of(pairs.transpose(1, 2))[counts])


# --- the potential -------------------------------------------------------------------------------


@pytest.mark.parametrize("repulsion", CHOICES["repulsion"])
@pytest.mark.parametrize("readout", CHOICES["readout"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_forces_are_the_slope_of_the_energy(kind, readout, repulsion):
    made = network(neighbours=kind, readout=readout, repulsion=repulsion)
    (atoms,) = geometries("CH3OH")
    positions, numbers = padded([atoms])
    _, forces = made(positions, numbers)
    h = 1e-5
    steps = h * torch.eye(3 * len(atoms), dtype=torch.float64).view(-1, len(atoms), 3)
    moved = torch.cat((positions + steps, positions - steps))
    energy = made(moved, numbers.repeat(len(moved), 1))[0].view(2, len(atoms), 3)
    numeric = -(energy[0] - energy[1]) / (2 * h)
    np.testing.assert_allclose(forces[0], numeric.detach(), rtol=1e-6, atol=1e-7)
    assert forces.abs().max() > 0.05
    np.testing.assert_allclose(forces.sum(1), 0, atol=1e-11)


def test_direct_forces_are_none_of_the_energy():
    frames = padded(geometries("CH3OH", "H2O"))
    direct = network(forces="direct")
    slope = network()
    slope.load_state_dict(direct.state_dict(), strict=False)
    (energy, forces), (same, others) = direct(*frames), slope(*frames)
    assert torch.equal(energy, same)
    assert (forces - others).abs().max() > 0.05
    assert forces.sum(1).abs().max() > 0.01  # nothing makes them add up to 0
    assert forces[1, 3:].abs().max() == 0  # no atom there


@pytest.mark.parametrize("forces", CHOICES["forces"])
@pytest.mark.parametrize("kind", KINDS)
def test_order_and_place_of_the_atoms_do_not_matter(kind, forces):
    made = network(neighbours=kind, forces=forces, repulsion="zbl")
    (atoms,) = geometries("CH3SH")
    energy, force = made(*padded([atoms]))
    order = np.random.default_rng(4).permutation(len(atoms))
    permuted = made(*padded([atoms[order]]))
    np.testing.assert_allclose(permuted[0].detach(), energy.detach(), rtol=1e-12)
    np.testing.assert_allclose(permuted[1].detach()[0], force.detach()[0][order], atol=1e-11)
    atoms.positions += [7.0, -11.0, 30.0]
    shifted = made(*padded([atoms]))
    np.testing.assert_allclose(shifted[0].detach(), energy.detach(), rtol=1e-11)
    np.testing.assert_allclose(shifted[1].detach(), force.detach(), atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("forces", CHOICES["forces"])
def test_pairs_without_a_slot_say_nothing(kind, forces, monkeypatch):
    """Energies and forces are those of attention over all pairs of a molecule."""
    made = network(neighbours=kind, forces=forces, cutoff=2.0)
    frames = padded(geometries("C2H6", "CH3OH", "CH3SH"))
    found = made(*frames)
    n_slots = []

    def all_pairs(x):
        n_slots.append((neighbour_slots(x).other.shape[2], x.shape[1]))
        return neighbour_slots(torch.zeros_like(x))

    monkeypatch.setattr("pesbench.models.families.testbed.network.neighbour_slots", all_pairs)
    for some, every in zip(found, made(*frames), strict=True):
        np.testing.assert_allclose(some.detach(), every.detach(), rtol=0, atol=1e-12)
    assert n_slots[0][0] < n_slots[0][1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coordinate", [math.nan, math.inf])
def test_a_position_that_is_no_number_has_no_energy(kind, coordinate):
    """Its pairs are not left out as if it were far away."""
    positions, numbers = padded(geometries("CH3OH"))
    positions[0, 1, 0] = coordinate
    energy, _ = network(neighbours=kind)(positions, numbers)
    assert not torch.isfinite(energy).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("forces", CHOICES["forces"])
def test_a_molecule_is_alone_in_a_batch(kind, forces):
    made = model(network(neighbours=kind, forces=forces, repulsion="zbl", readout="bounded"), -3.0)
    batch = atoms_batch(geometries(*MOLECULES))
    together = made.evaluate(batch)
    for s in range(batch.n_systems):
        alone = made.evaluate(batch.select([s]))
        np.testing.assert_allclose(alone.energies[0], together.energies[s], atol=1e-10)
        np.testing.assert_allclose(alone.forces, together.forces[batch.system == s], atol=1e-10)


def test_an_atom_alone_and_atoms_out_of_reach():
    """Nothing but its own shift is left of an atom without neighbours, wherever they are."""
    made = model(network(repulsion="zbl"), -3.0)
    one = made.evaluate(atoms_batch([Atoms("C")]))
    assert np.isfinite(one.energies).all()
    assert np.abs(one.forces).max() == 0
    far = made.evaluate(atoms_batch([Atoms("CO", positions=[[0, 0, 0], [0, 0, 5.5]])]))
    other = made.evaluate(atoms_batch([Atoms("O")]))
    assert far.energies[0] == pytest.approx(one.energies[0] + other.energies[0], rel=1e-12)
    assert np.abs(far.forces).max() == 0


def test_the_elements_are_told_apart():
    made = network()
    energies = {
        float(made(*padded([Atoms(symbols, positions=[[0, 0, 0], [0, 0.3, 1.2]])]))[0].detach())
        for symbols in ("CO", "CN", "NO", "CC", "OO")
    }
    assert len(energies) == 5


def test_a_bounded_readout_has_a_bottom():
    h = torch.linspace(-60, 60, 24001, dtype=torch.float64)
    own = torch.zeros(1, len(h), 8, dtype=torch.float64)
    own[0, :, 0] = h
    numbers = torch.full((1, len(h)), 8)
    energy = {}
    for readout in CHOICES["readout"]:
        made = network(readout=readout)
        made.energy_head = torch.nn.Linear(8, 1, bias=False, dtype=torch.float64)
        made.energy_head.weight.data = torch.eye(8, dtype=torch.float64)[:1]
        for scale in (1.7, -1.7):  # nothing keeps it from changing its sign in training
            made.energy_scale.data[:] = scale
            made.energy_shift.data[:] = -5.0
            energy[readout, scale] = made.atomic_energies(own, numbers)[0].detach()
    for scale in (1.7, -1.7):
        bounded = energy["bounded", scale]
        np.testing.assert_allclose(bounded, 1.7 * h / (1 + torch.exp(-h)) - 5.0, atol=1e-12)
        assert -5.0 - 0.2785 * 1.7 < bounded.min() < -5.0 - 0.2784 * 1.7
        np.testing.assert_allclose(energy["linear", scale], scale * h - 5.0, atol=1e-12)


def test_no_tokens_however_large_fall_below_the_bottom():
    made = network(readout="bounded")
    with torch.no_grad():
        for parameter in made.energy_head.parameters():
            parameter *= 1e4
        own = 1e6 * torch.randn(50, 7, 8, dtype=torch.float64)
        numbers = torch.tensor([1, 6, 7, 8, 15, 16, 6]).repeat(50, 1)
        energy = made.atomic_energies(own, numbers)
        index = made.place[numbers]
        least = made.energy_shift[index] - 0.2785 * made.energy_scale[index].abs()
    assert (energy >= least).all()
    assert energy.max() > 1e4


def test_crowding_is_its_sum_and_diverges_where_atoms_overlap():
    d, far = 0.7, 1.9
    distance = torch.tensor([[[0, d, far, 1e3], [d, 0, 2.5, 1e3], [far, 2.5, 0, 1e3], [1e3] * 4]])
    real = torch.tensor([[True, True, True, False]])
    found = crowding(distance.double(), real, 2.0)[0]

    def part(r):
        return (0.5 * (math.cos(math.pi * r / 2) + 1)) ** 2 / r

    expected = [part(d) + part(far), part(d), part(far), 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    closer = [float(crowding(distance.double() * s, real, 2.0)[0, 1]) for s in (1, 0.1, 0.01)]
    assert closer[2] > 9 * closer[1] > 81 * closer[0]


def test_crowding_ends_without_a_step_in_three_derivatives():
    """1,3 pairs of atoms are that far apart: the slope of a force must not jump there either."""
    d = torch.tensor([1.9999, 2.0001], dtype=torch.float64, requires_grad=True)
    distance = torch.zeros(2, 2, 2, dtype=torch.float64)
    distance[:, 0, 1] = distance[:, 1, 0] = d
    value = crowding(distance, torch.ones(2, 2, dtype=torch.bool), 2.0)[:, 0]
    for largest in (1e-12, 1e-10, 1e-6, 3e-3):
        np.testing.assert_allclose(value.detach(), 0, atol=largest)
        (value,) = torch.autograd.grad(value.sum(), d, create_graph=True)


@pytest.mark.parametrize("readout", ["rational", "rational_plain"])
def test_a_rational_readout_is_its_quotient(readout):
    made = network(readout=readout)
    made.rational.coefficients.data = torch.tensor([1.0, -2, 0.5, 0, 1, 0.3]).double()
    z = torch.linspace(-3, 5, 9, dtype=torch.float64)
    leading = math.log(2) + 0.1
    expected = (1 - 2 * z + 0.5 * z**2 + leading * z**3) / (
        torch.log1p(torch.exp(1 + 0.3 * z)) + 1e-4
    )
    torch.testing.assert_close(made.rational(z), expected)


def test_only_the_latent_that_crowding_raises_makes_a_wall():
    """Two atoms at 0.05 Å: the plain latent is of bounded features, and need not grow."""
    pairs = [Atoms("CO", positions=[[0, 0, 0], [0, 0, d]]) for d in (0.4, 0.2, 0.05)]
    steep, plain = (
        network(readout=one)(*padded(pairs))[0].detach().numpy()
        for one in ("rational", "rational_plain")
    )
    assert steep[2] > 10 * steep[1] > 40 * abs(steep[0])
    assert np.ptp(plain) < 0.1 * np.ptp(steep)


@pytest.mark.parametrize("readout", ["rational", "rational_plain"])
def test_forces_of_a_rational_readout_are_the_slope_of_its_energy(readout):
    made = network(readout=readout)
    positions, numbers = padded([molecule("CH3OH")])
    forces = made(positions, numbers)[1].detach()[0].flatten()
    h, n = 1e-5, len(forces)
    moved = positions.detach().repeat(2 * n, 1, 1).reshape(2, n, n)
    moved += h * torch.stack([torch.eye(n), -torch.eye(n)])
    energies = made(moved.reshape(2 * n, n // 3, 3), numbers.repeat(2 * n, 1))[0].detach()
    expected = -(energies[:n] - energies[n:]) / (2 * h)
    np.testing.assert_allclose(forces, expected, rtol=1e-5, atol=1e-7)


# the seed of the weights and of the atoms
@pytest.mark.parametrize(
    ("seed", "kind", "low", "high", "growth"),
    [(0, "soft_knn", 0, 5, 2), (1, "soft_knn", 0, 5, 2), (0, "hard_knn", 100, np.inf, 1)],
)
def test_continuity(seed, kind, low, high, growth):
    """One of 20 atoms on its way through the others: the largest step over the median step."""
    made = network(seed, neighbours=kind, k=6.0, channels=16, heads=4)
    rng = np.random.default_rng(seed)
    start = torch.tensor(rng.uniform(0, 4.5, (20, 3)))
    numbers = torch.tensor(rng.choice([1, 6, 7, 8], 20))
    direction = torch.tensor(rng.normal(size=3))
    path = torch.linspace(0, 1.1, 2001, dtype=torch.float64)[:, None] * direction / direction.norm()
    positions = start.repeat(2001, 1, 1)
    positions[:, 0] += path
    energies = []
    with torch.no_grad():  # forces would take most of the time
        for some in positions.split(50):
            z = numbers.repeat(len(some), 1)
            atoms, _ = made.atoms(some, z, z > 0)
            energies.append(made.atomic_energies(atoms, z).sum(1))
    energy = torch.cat(energies)
    step, double = energy.diff().abs(), energy[::2].diff().abs()
    assert low < float(step.max() / step.median()) < high
    # the largest step of a smooth curve grows with the step, a jump does not
    assert float(double.max() / step.max()) == pytest.approx(growth, abs=0.02)


def test_broad_smearing_makes_a_smoother_curve():
    """Of the same weights: the curvature of the energy along a bond."""
    bend = []
    for width in (0.02, 0.1, 0.4):
        made = network(smearing=width, n_gaussians=256, neighbours="radius")
        length = torch.arange(1.0, 1.6, 0.002, dtype=torch.float64)
        positions = torch.zeros(len(length), 2, 3, dtype=torch.float64)
        positions[:, 1, 2] = length
        energy, _ = made(positions, torch.tensor([[6, 8]]).repeat(len(length), 1))
        bend.append(float(energy.detach().diff(n=2).square().mean().sqrt()))
    assert bend[0] > 3 * bend[1] > 9 * bend[2]


# --- rotation ------------------------------------------------------------------------------------


class Fake:
    """A model of which the behaviour under rotation is known; keeps what it was asked."""

    info = ModelInfo(None, False, True, "cpu", "float64")

    def __init__(self, wind: float) -> None:
        self.wind, self.asked = wind, []

    def evaluate(self, batch: Batch) -> Result:
        self.asked.append(batch)
        energies, forces = np.zeros(batch.n_systems), np.zeros((batch.n_atoms, 3))
        for s in range(batch.n_systems):
            mine = batch.system == s
            energy, force = fake_calculators.morse(batch.numbers[mine], batch.positions[mine])
            energies[s] = energy - self.wind * batch.positions[mine, 2].sum()
            forces[mine] = force + np.array([0, 0, self.wind])
        return Result(energies, forces, (Status.OK,) * batch.n_systems, ("",) * batch.n_systems)


def test_a_model_that_turns_with_its_molecules_has_no_rotation_variance():
    found = rotation_variance(Fake(0.0), geometries(*MOLECULES))
    assert found["force_rms_mev_per_angstrom"] == 0
    assert found["energy_rms_mev_per_atom"] == 0
    assert found["frames"] == 5


def test_rotation_variance_of_a_wind_along_z():
    """Of F = (0, 0, w) the difference is w (z − R z), of E = −w Σ z that of the z."""
    fake, frames = Fake(0.3), geometries("H2O", "CH3OH")
    found = rotation_variance(fake, frames)
    base, *turned = fake.asked
    assert len(turned) == found["rotations"] >= 4
    force, energy = [], []
    for batch in turned:
        turn = np.linalg.lstsq(base.positions, batch.positions, rcond=None)[0].T
        assert np.linalg.det(turn) == pytest.approx(1)
        force += [0.3 * (np.array([0, 0, 1.0]) - turn[:, 2])] * batch.n_atoms
        lift = np.bincount(batch.system, (batch.positions - base.positions)[:, 2])
        energy += list(-0.3 * lift / np.array([3, 6]))
    wanted = 1000 * np.sqrt(np.mean(np.square(force)))
    assert found["force_rms_mev_per_angstrom"] == pytest.approx(wanted, abs=1e-3)
    wanted = 1000 * np.sqrt(np.mean(np.square(energy)))
    assert found["energy_rms_mev_per_atom"] == pytest.approx(wanted, abs=1e-4)


def test_an_untrained_potential_does_not_turn_with_its_molecules():
    found = rotation_variance(model(network()), geometries("CH3OH"))
    assert found["force_rms_mev_per_angstrom"] > 1
    assert found["energy_rms_mev_per_atom"] > 0.1


# --- the contract and the file -------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.pt"
    made = network(5, repulsion="zbl", elements=("H", "C", "N", "O"))
    energies = np.array([-10.0, -1000.0, -1400.0, -2000.0])
    write_weights(Trained(made.float(), energies, {"name": "tiny"}), path)
    return path


def entry(path: Path, dtype: str = "float64", **settings) -> ModelEntry:
    base = {"weights": str(path), "sha256": file_sha256(path), "dtype": dtype, "batch_size": 100}
    return ModelEntry("tiny", "testbed", base | settings)


def weights_of(path: Path) -> Weights:
    return read_weights(path, None, FAMILY)


def test_weights_come_back(weights):
    trained = potential_of(weights_of(weights), torch.float64, torch.device("cpu"))
    again = network(5, repulsion="zbl", elements=("H", "C", "N", "O"))
    for parameter in again.parameters():  # as the file has them
        parameter.data = parameter.data.float().double()
    assert trained.network.settings == again.settings
    assert trained.made_of == {"name": "tiny"}
    assert not any(p.requires_grad for p in trained.network.parameters())
    frames = padded(geometries("CH3OH", "H2O"))
    found, wanted = trained.network.state_dict(), again.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in found)
    for one, other in zip(trained.network(*frames), again(*frames), strict=True):
        # TorchScript orders sums otherwise where parameters want gradients
        torch.testing.assert_close(one, other.detach(), rtol=1e-12, atol=1e-12)
    model_ = load(entry(weights), scan_set=None, device="cpu")
    result = model_.evaluate(atoms_batch(geometries("CH3OH", "H2O")))
    atoms = [-1000.0 - 2000.0 - 4 * 10.0, -2000.0 - 2 * 10.0]
    np.testing.assert_allclose(
        result.energies, again(*frames)[0].detach() + torch.tensor(atoms), rtol=1e-12
    )


def test_two_precisions(weights):
    batch = atoms_batch(geometries("CH3OH", "H2O", "NH3"))
    double, single = (
        load(entry(weights, dtype), scan_set=None, device="cpu") for dtype in ("float64", "float32")
    )
    assert (double.info.dtype, single.info.dtype) == ("float64", "float32")
    assert double.info.elements == frozenset({1, 6, 7, 8})
    assert double.info.charges is False
    a, b = double.evaluate(batch), check_result(batch, single.evaluate(batch))
    assert b.forces.dtype == b.energies.dtype == np.float64
    assert 0 < np.abs(a.forces - b.forces).max() < 1e-3
    # atoms' energies are added in float64: 2000 eV cost no digits
    assert 0 < np.abs(a.energies - b.energies).max() < 1e-4


def test_the_same_batch_gives_the_same_bits(weights):
    """Resume and comparison of scans rely on it; the first call is no other."""
    batch = atoms_batch(geometries("CH3OH", "H2O"))
    model_ = load(entry(weights), scan_set=None, device="cpu")
    results = [model_.evaluate(batch) for _ in range(4)]
    assert all(np.array_equal(r.forces, results[0].forces) for r in results)
    assert all(np.array_equal(r.energies, results[0].energies) for r in results)


def test_periodic_systems_are_refused(weights):
    batch = atoms_batch([Atoms("CO", positions=[[0, 0, 0], [0, 0, 1.1]], cell=[9, 9, 9], pbc=True)])
    with pytest.raises(ValueError, match="periodic system; this potential knows molecules only"):
        load(entry(weights), scan_set=None, device="cpu").evaluate(batch)


def test_atoms_in_one_place_have_no_numbers(weights):
    """Two atoms without a direction between them: a failure, no force of 0."""
    batch = atoms_batch([Atoms("CO"), *geometries("H2O")])
    result = load(entry(weights), scan_set=None, device="cpu").evaluate(batch)
    assert check_result(batch, result).status == (Status.NONFINITE, Status.OK)


def test_out_of_memory_is_told_from_other_errors():
    made = network()
    batch = atoms_batch(geometries("H2O"))

    def fail(message):
        def forward(*_):
            raise RuntimeError(message)

        return forward

    made.forward = fail("CUDA out of memory. Tried to allocate 3 GiB\nmore")
    with pytest.raises(DeviceOutOfMemoryError, match=r"3 GiB$"):
        model(made).evaluate(batch)
    made.forward = fail("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        model(made).evaluate(batch)


def test_scans_with_other_elements_are_unsupported(weights, toys, toy_set, tmp_path):
    """Through the worker; what it can do is what the model does here."""
    ids = ["C-O/c", "O-S/f"]
    evaluate_shard(entry(weights), toy_set, ids, tmp_path / "out.h5", device="cpu")
    with Evaluation(tmp_path / "out.h5") as evaluation:
        good, bad = (evaluation.scan(scan_id) for scan_id in ids)
    assert (bad.status, bad.message) == (Status.UNSUPPORTED, "unknown elements: S")
    assert np.isnan(bad.energy).all()
    assert good.status is Status.OK
    scan = toys["C-O/c"]
    frames = [Atoms(scan.numbers, positions) for positions in scan.positions]
    wanted = load(entry(weights), scan_set=None, device="cpu").evaluate(atoms_batch(frames))
    np.testing.assert_allclose(good.energy, wanted.energies, rtol=1e-12)
    np.testing.assert_allclose(good.forces.reshape(-1, 3), wanted.forces, atol=1e-10)


def _content(path: Path, **changes):
    return torch.load(path, weights_only=True) | changes


class Thing:
    """Nothing that weights are made of."""


WRONG = {
    "text": (lambda path, _: path.write_text("channels: 8\n"), "is text"),
    "a MACE model": (
        lambda path, _: path.write_bytes((REPO / "resources/weights/mace-mini.model").read_bytes()),
        "holds a mace.",
    ),
    "another dictionary": (lambda path, _: torch.save({"format": "x"}, path), "no weights of"),
    "a state dict": (
        lambda path, _: torch.save(torch.nn.Linear(2, 2).state_dict(), path),
        "holds a dictionary (a state dict",
    ),
    "a list": (lambda path, _: torch.save([1], path), "holds no dictionary"),
    "half a file": (
        lambda path, good: path.write_bytes(good.read_bytes()[: good.stat().st_size // 2]),
        "is cut short or damaged",
    ),
    "an object": (
        lambda path, _: torch.save({"format": FORMAT, "thing": Thing()}, path),
        "torch cannot read these weights",
    ),
    "a later version": (
        lambda path, good: torch.save(_content(good, version=VERSION + 1), path),
        f"weights of version {VERSION + 1}",
    ),
    "weights of other settings": (
        lambda path, good: torch.save(
            _content(good, settings=PotentialSettings.of(TINY | {"channels": 4}, "").to_dict()),
            path,
        ),
        "weights and settings do not belong together",
    ),
    "an unknown switch": (
        lambda path, good: torch.save(
            _content(good, settings=_content(good)["settings"] | {"magic": 1}), path
        ),
        "no switch 'magic'",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_files_that_are_no_weights_are_one_line(kind, weights, tmp_path):
    write, said = WRONG[kind]
    path = tmp_path / "wrong.pt"
    write(path, weights)
    with pytest.raises(UserError) as caught:
        potential_of(weights_of(path), torch.float32, torch.device("cpu"))
    message = str(caught.value)
    assert str(path) in message
    assert said in message
    assert "\n" not in message
    assert len(message) < 700


def test_the_check_before_work_knows_weights(weights, tmp_path):
    check_entry(entry(weights))
    path = tmp_path / "wrong.pt"
    path.write_text("text")
    with pytest.raises(UserError, match=r"model 'tiny': .*give the \.pt file that `pesbench train"):
        check_entry(entry(path))


def test_devices(monkeypatch):
    assert choose_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(HostError, match="'cuda:1' is asked for, but torch sees no GPU"):
        choose_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda", 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
@pytest.mark.parametrize("kind", KINDS)
def test_the_gpu_says_what_the_cpu_says(kind, tmp_path):
    path = tmp_path / "tiny.pt"
    write_weights(Trained(network(neighbours=kind, repulsion="zbl"), np.zeros(6)), path)
    batch = atoms_batch(geometries(*MOLECULES))
    cpu, gpu = (load(entry(path), scan_set=None, device=d).evaluate(batch) for d in ("cpu", "cuda"))
    np.testing.assert_allclose(gpu.energies, cpu.energies, atol=1e-9)
    np.testing.assert_allclose(gpu.forces, cpu.forces, atol=1e-9)


# --- the smooth FSD ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scan():
    """Of hydroxylamine, with forces that are wrong by a rotation of 3° and a wiggle."""
    with ScanSet(SCANS) as scans:
        found = scans.scan("N-O/hydroxylamine_0-1")
    turn = Rotation.from_rotvec([0.03, 0.04, 0.0]).as_matrix()
    wiggle = 1 + 0.2 * np.sin(37 * found.coordinate)
    return found, found.forces @ turn.T * wiggle[:, None, None]


def _smooth(scan, forces, **options):
    q = equilibrium_index(scan.energy)
    return smooth_fsd(
        torch.tensor(scan.coordinate), forces, torch.tensor(scan.forces), q, **options
    )


def test_the_smooth_fsd_tends_to_the_fsd(scan):
    found, forces = scan
    q = equilibrium_index(found.energy)
    fsd = force_smoothness_deviation(found.coordinate, forces, found.forces, q).full
    powers = (1, 2, 8, 64, 4096, 1e6)
    values = [float(_smooth(found, torch.tensor(forces), power=p)) for p in powers]
    assert values == sorted(values)
    assert values[-1] <= fsd + 1e-9
    assert values[-1] == pytest.approx(fsd, rel=1e-4)
    assert values[0] < 0.5 * fsd
    # the mean of the slopes themselves
    ratio = np.log(np.maximum(((forces - found.forces[q]) ** 2).sum((1, 2)), 1.0))
    ratio -= np.log(np.maximum(((found.forces - found.forces[q]) ** 2).sum((1, 2)), 1.0))
    slope = np.abs(np.diff(ratio) / np.diff(found.coordinate))
    assert values[0] == pytest.approx(slope.mean(), rel=1e-6)
    assert values[2] == pytest.approx((slope**8).mean() ** (1 / 8), rel=1e-6)


def test_the_smooth_fsd_has_the_slope_of_itself(scan):
    found, forces = scan
    variable = torch.tensor(forces, requires_grad=True)
    (slope,) = torch.autograd.grad(_smooth(found, variable), variable)
    rng = np.random.default_rng(6)
    for _ in range(5):
        direction = rng.normal(size=forces.shape)
        h = 1e-5
        up, down = (_smooth(found, torch.tensor(forces + s * h * direction)) for s in (1, -1))
        numeric = float(up - down) / (2 * h)
        assert float((slope * torch.tensor(direction)).sum()) == pytest.approx(numeric, rel=1e-5)
        assert abs(numeric) > 1e-3


@pytest.mark.parametrize("factor", [0.0, 1.0, 1e5])
def test_the_smooth_fsd_is_finite_in_float32(scan, factor):
    """Where the forces are perfect, where they are nothing, and where they are far too large."""
    found, _ = scan
    forces = torch.tensor(factor * found.forces, dtype=torch.float32, requires_grad=True)
    q = equilibrium_index(found.energy)
    value = smooth_fsd(
        torch.tensor(found.coordinate, dtype=torch.float32), forces,
        torch.tensor(found.forces, dtype=torch.float32), q,
    )  # fmt: skip
    (slope,) = torch.autograd.grad(value, forces)
    assert torch.isfinite(value)
    assert torch.isfinite(slope).all()
    if factor == 1.0:
        assert value < 1e-4


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"neighbors": "radius"}, "no switch 'neighbors'; there are blocks, channels"),
        ({"neighbours": "knn"}, "`neighbours` is 'knn'; give one of radius, hard_knn, soft_knn"),
        ({"readout": True}, "`readout` is True; give one of linear, bounded, rational"),
        ({"temperature": 0}, "`temperature` is 0; give a number above 0"),
        ({"temperature": "2"}, "`temperature` is '2'; give a number above 0"),
        ({"smearing": math.nan}, "`smearing` is nan; give a number above 0"),
        ({"cutoff": math.inf}, "`cutoff` is inf; give a number above 0"),
        ({"blocks": 1.5}, "`blocks` is 1.5; give a whole number above 0"),
        ({"channels": True}, "`channels` is True; give a whole number above 0"),
        ({"repulsion_scale": -0.1}, "`repulsion_scale` is -0.1; give a number above 0"),
        ({"channels": 10, "heads": 4}, "`channels` is 10 and `heads` 4"),
        ({"elements": ["C", "H", "C"]}, "`elements`: none, or one twice"),
        ({"elements": []}, "`elements`: none, or one twice"),
        ({"elements": ["C", "Q"]}, "`elements`: 'Q' is no element"),
        ({"elements": [6, 1]}, "`elements`: 6 is no element"),
        ({"elements": [["C"]]}, "`elements` is [['C']]; give a list of symbols"),
        ({"elements": None}, "`elements` is None; give a list of symbols"),
        ({"elements": 6}, "`elements` is 6; give a list of symbols"),
        ({"elements": "CH"}, "`elements` is 'CH'; give a list of symbols"),
    ],
)
def test_switches_that_make_no_sense(values, said):
    with pytest.raises(UserError) as caught:
        PotentialSettings.of(values, "file.yaml: soft")
    assert str(caught.value).startswith("file.yaml: soft: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"lr": 0.1}, "no setting 'lr'; there are batch_frames"),
        ({"epochs": 0}, "`epochs` is 0; give a whole number above 0"),
        ({"fsd_weight": -1}, "`fsd_weight` is -1; give a number of at least 0"),
        ({"ema_decay": 1.0}, "`ema_decay` is 1.0; give a number below 1"),
        ({"learning_rate": None}, "`learning_rate` is None; give a number above 0"),
    ],
)
def test_schedules_that_make_no_sense(values, said):
    with pytest.raises(UserError, match=r"^file\.yaml: soft: ") as caught:
        TrainingSettings.of(values, "file.yaml: soft")
    assert said in str(caught.value)
    assert TrainingSettings.of({"fsd_weight": 0, "weight_decay": 0}, "").fsd_weight == 0


def test_settings_survive_json():
    made = PotentialSettings.of(TINY | {"elements": ["O", "H"], "temperature": 2}, "")
    assert PotentialSettings.of(made.to_dict(), "") == made
    assert made.elements == ("O", "H")
    assert replace(made, channels=4) != made


def test_systems_of_like_size_share_a_call():
    sizes = np.array([12, 5, 9, 6, 8, 5, 11, 7])
    groups = like_sizes(sizes)
    assert [sizes[group].tolist() for group in groups] == [[5, 6, 5], [8, 7], [9], [12, 11]]
    assert sorted(np.concatenate(groups).tolist()) == list(range(8))
