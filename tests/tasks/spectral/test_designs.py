"""The designs, and what is read of networks whose answer is known in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from methanol import METHANOL
from pesbench.core.interface import Status
from pesbench.core.systems import System
from pesbench.tasks.spectral import designs, heads
from pesbench.tasks.spectral.designs import Conformers, Design, MarkedBond
from pesbench.tasks.spectral.harmonics import (
    random_directions,
    random_rotations,
    real_harmonics,
)
from pesbench.tasks.spectral.metrics import Gains, cliff, gains, r2, readable_up_to
from pesbench.tasks.spectral.probes import (
    ALIKE,
    ANGLE,
    DIAGNOSIS,
    ONE_DIRECTION,
    POLYNOMIAL,
    SILU,
    SYMMETRY,
    Probe,
)
from pesbench.tasks.spectral.reading import NotReadError, read_probe
from pesbench.tasks.spectral.stored import DEEPEST, Shown

RNG = np.random.default_rng(8)


@pytest.fixture(scope="module")
def conformers() -> Conformers:
    rng = np.random.default_rng(0)
    noise = rng.normal(scale=0.03, size=(50, 6, 3))
    positions = METHANOL.positions + noise
    energies = rng.normal(size=50)
    return Conformers(positions[:40], positions[40:], energies[:40], energies[40:])


@pytest.fixture(scope="module")
def bond() -> MarkedBond:
    found = designs.marked_bond(METHANOL)
    assert found is not None
    return found


def test_the_marked_atom_can_go_round_where_nothing_is_in_its_way(bond: MarkedBond) -> None:
    """The hydrogens of the methyl group would meet one another."""
    assert (bond.centre, bond.neighbour, bond.other) == (1, 2, 0)
    length = np.linalg.norm(METHANOL.positions[2] - METHANOL.positions[1])
    assert bond.clearance_angstrom == pytest.approx(1.42 - length)
    alone = System("H2", np.array([1, 1]), np.eye(2, 3), np.array([[0, 1]]))
    assert designs.marked_bond(alone) is None


def distances(positions: np.ndarray) -> np.ndarray:
    return np.linalg.norm(positions[:, None] - positions[None], axis=-1)


def test_design_a_turns_the_whole_molecule(conformers: Conformers, bond: MarkedBond) -> None:
    shown = designs.rotated(conformers, bond, 7, np.random.default_rng(1))
    assert len(shown) == 50 * 7
    assert shown.held_out.sum() == 10 * 7
    for k in (0, 6, 7, 349):
        source = np.concatenate([conformers.trained, conformers.held_out])[shown.groups[k]]
        assert distances(shown.positions[k]) == pytest.approx(distances(source))
    assert (shown.cosines, shown.energies_ev) == (None, None)
    assert not {*shown.groups[shown.held_out]} & {*shown.groups[~shown.held_out]}


def test_design_b_moves_the_marked_neighbour_alone(
    conformers: Conformers, bond: MarkedBond
) -> None:
    shown = designs.moved(conformers, bond, 9, np.random.default_rng(1))
    rest = [k for k in range(6) if k != bond.neighbour]
    first = shown.positions[:9]
    assert np.ptp(first[:, rest], axis=0).max() < 1e-12
    lengths = np.linalg.norm(first[:, 2] - first[:, 1], axis=1)
    source = conformers.trained[0]
    assert lengths == pytest.approx(np.linalg.norm(source[2] - source[1]))
    # one conformer lies upon the other, as far as its vibration lets it
    assert np.abs(shown.positions[9, rest] - first[0, rest]).max() < 0.3
    directions = designs.moved(conformers, bond, 400, np.random.default_rng(2)).directions
    assert np.abs(directions.mean(axis=0)).max() < 0.02
    assert (directions**2).mean(axis=0) == pytest.approx(1 / 3, abs=0.01)


def test_copies_are_the_held_out_frames_each_turned(
    conformers: Conformers, bond: MarkedBond
) -> None:
    rng = np.random.default_rng(1)
    shown = designs.moved(conformers, bond, 5, rng)
    copies = designs.rotated_copies(shown, bond, rng)
    assert copies.held_out.all()
    for one, other in zip(copies.positions, shown.positions[shown.held_out], strict=True):
        assert distances(one) == pytest.approx(distances(other))
        assert np.abs(one - other).max() > 0.1


def test_design_c_takes_the_angle_between_two_bonds(
    conformers: Conformers, bond: MarkedBond
) -> None:
    shown = designs.invariant(conformers, bond)
    k = 3
    one = conformers.trained[k, 2] - conformers.trained[k, 1]
    other = conformers.trained[k, 0] - conformers.trained[k, 1]
    angle = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert shown.cosines[k] == pytest.approx(angle)
    assert shown.energies_ev[k] == conformers.trained_ev[k]
    assert {*shown.groups[shown.held_out]} == {2}


# --- readings ------------------------------------------------------------------------------------


def shown_as(design: Design, features: np.ndarray, sums: np.ndarray | None = None) -> Shown:
    return Shown(
        design.directions, design.groups, design.held_out, design.clear,
        {DEEPEST: features.astype(np.float32)}, {}, design.cosines, design.energies_ev,
        None if sums is None else sums.astype(np.float32),
    )  # fmt: skip


def shallow(design: Design, bond: MarkedBond) -> np.ndarray:
    """Harmonics of one neighbour up to l = 2, as a scalar, a vector and a tensor channel."""
    return real_harmonics(design.directions, 2)


def gated(design: Design, bond: MarkedBond) -> np.ndarray:
    """The same, each channel gated by an invariant of the angle with another bond.

    It is equivariant: the gate does not change under a rotation of the whole molecule.
    """
    other = design.positions[:, bond.other] - design.positions[:, bond.centre]
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    gate = 1 / (1 + np.exp(-6 * (design.directions * other).sum(axis=1, keepdims=True)))
    return gate * real_harmonics(design.directions, 2)


IRREPS = ((1, 0), (1, 1), (1, 2))


def r2_of(probe: Probe, design: Design, features: np.ndarray, l_max: int = 2) -> list[float]:
    found = read_probe(probe, {design.name: shown_as(design, features)}, IRREPS, l_max, 7)
    return [found.by_degree[degree].r2 for degree in range(1, 8)]


@pytest.fixture(scope="module")
def both(conformers: Conformers, bond: MarkedBond) -> tuple[Design, Design]:
    rng = np.random.default_rng(3)
    return (
        designs.rotated(conformers, bond, 40, rng),
        designs.moved(conformers, bond, 40, rng),
    )


def test_a_polynomial_of_one_neighbour_ends_at_the_boundary(
    both: tuple[Design, Design], bond: MarkedBond
) -> None:
    for design, probe in zip(both, (SYMMETRY, DIAGNOSIS), strict=True):
        found = r2_of(probe, design, shallow(design, bond))
        assert found[:4] == pytest.approx([1.0] * 4, abs=1e-3)
        assert max(found[4:]) < 0.05
        assert readable_up_to([np.nan, *found]) == 4


def test_a_gate_leaks_where_the_neighbour_moves_and_never_under_rotation(
    both: tuple[Design, Design], bond: MarkedBond
) -> None:
    rotated, moved = both
    under_rotation = r2_of(SYMMETRY, rotated, gated(rotated, bond))
    assert max(under_rotation[4:]) < 0.05
    assert under_rotation[3] > 0.8  # not 1: the gate differs between conformers
    assert r2_of(DIAGNOSIS, moved, gated(moved, bond))[4] > 0.3


def test_a_lower_l_lowers_the_boundary(both: tuple[Design, Design], bond: MarkedBond) -> None:
    found = r2_of(SYMMETRY, both[0], shallow(both[0], bond), l_max=1)
    assert found[1] > 0.99
    assert max(found[2:]) < 0.05


def test_a_readout_that_is_no_polynomial_blurs_the_boundary(
    both: tuple[Design, Design], bond: MarkedBond
) -> None:
    rotated = both[0]
    sharp = Probe("A", DEEPEST, "square units", 2, 128)
    blurred = Probe("A", DEEPEST, SILU, 0, 128)
    features = shallow(rotated, bond)
    assert r2_of(sharp, rotated, features)[4] < 0.05
    assert r2_of(blurred, rotated, features)[4] > r2_of(sharp, rotated, features)[4] + 0.1


def test_a_shuffled_target_is_not_read(both: tuple[Design, Design], bond: MarkedBond) -> None:
    probe = Probe("B", DEEPEST, POLYNOMIAL, 2, shuffled=True)
    assert max(r2_of(probe, both[1], shallow(both[1], bond))) < 0.05


def test_the_injection_is_found_apart_from_the_energy(
    conformers: Conformers, bond: MarkedBond
) -> None:
    """E is linear in a pooled scalar, the vectors of both bonds give cos θ by their product."""
    rng = np.random.default_rng(4)
    noise = rng.normal(scale=0.5, size=(400, 6, 3))
    scalar = rng.normal(size=(400, 1))
    frames = METHANOL.positions + noise
    wide = Conformers(frames[:300], frames[300:], scalar[:300, 0], scalar[300:, 0])
    shown = designs.invariant(wide, bond)
    other = shown.positions[:, bond.other] - shown.positions[:, bond.centre]
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    vectors = np.concatenate([shown.directions, other], axis=1)
    probe = Probe("C", DEEPEST, "invariants", 2)
    given = {"C": shown_as(shown, vectors, scalar)}
    found = read_probe(probe, given, ((2, 1),), 1, 4).by_degree
    assert found[1].r2 > 0.99
    assert found[1].r2_inj > 0.99
    assert found[1].gains is None
    # P_3 is no function of degree 1 in cos θ, and the energy is predicted all the same
    assert found[3].r2 > 0.9
    assert found[3].r2_inj < 0.7
    # of degree 1 the head sees scalars alone, and there are none at the marked atom
    without = read_probe(Probe("C", DEEPEST, "invariants", 1), given, ((2, 1),), 1, 4).by_degree
    assert without[1].r2_inj < 0.05


def test_too_few_frames_are_a_reason_and_no_number(
    both: tuple[Design, Design], bond: MarkedBond
) -> None:
    design = both[0]
    few = Shown(
        design.directions[:60], design.groups[:60], np.arange(60) % 2 == 1, design.clear[:60],
        {DEEPEST: shallow(design, bond)[:60].astype(np.float32)},
    )  # fmt: skip
    with pytest.raises(NotReadError, match="at least 54 columns, and 30 frames allow 6"):
        read_probe(SYMMETRY, {"A": few}, IRREPS, 2, 7)


def test_a_readout_of_two_channels_does_not_read_a_layer_with_one(
    both: tuple[Design, Design],
) -> None:
    given = {"B": shown_as(both[1], np.ones((2000, 12)))}
    with pytest.raises(NotReadError, match="1 of the 2 channels"):
        read_probe(ALIKE, given, ((4, 0), (1, 1), (1, 2)), 2, 7)


def test_features_that_the_network_did_not_give_say_why(both: tuple[Design, Design]) -> None:
    design = both[0]
    told = {DEEPEST: (Status.NONFINITE, "a feature is not finite")}
    lost = Shown(design.directions, design.groups, design.held_out, design.clear, {}, told)
    with pytest.raises(NotReadError, match="a feature is not finite") as caught:
        read_probe(SYMMETRY, {"A": lost}, IRREPS, 2, 7)
    assert caught.value.status is Status.NONFINITE


def test_the_axis_of_the_laboratory_is_no_special_one(
    both: tuple[Design, Design], bond: MarkedBond
) -> None:
    """What is read of B is the same when all frames are turned alike."""
    moved = both[1]
    turned = replace(moved, directions=moved.directions @ random_rotations(1, RNG)[0].T)
    features = gated(moved, bond)
    one = read_probe(DIAGNOSIS, {"B": shown_as(moved, features)}, IRREPS, 2, 7).by_degree
    other = read_probe(DIAGNOSIS, {"B": shown_as(turned, features)}, IRREPS, 2, 7).by_degree
    for degree in one:
        assert one[degree].r2 == pytest.approx(other[degree].r2, abs=1e-9)


def test_frames_in_which_atoms_nearly_touch_do_not_decide_the_answer(
    both: tuple[Design, Design], bond: MarkedBond
) -> None:
    """Features of the size 1/r^8 there, as an exponential network has them."""
    moved = both[1]
    others = np.delete(moved.positions, (bond.centre, bond.neighbour), axis=1)
    near = np.linalg.norm(others - moved.positions[:, bond.neighbour, None], axis=2).min(axis=1)
    assert np.array_equal(moved.clear, near >= 0.8)
    assert 0.8 < moved.clear.mean() < 0.98
    wild = shallow(moved, bond) * (1 + (0.7 / near[:, None]) ** 16)
    wild[np.flatnonzero(~moved.clear & ~moved.held_out)[:1]] = np.nan
    given = {"B": shown_as(moved, wild)}
    found = read_probe(DIAGNOSIS, given, IRREPS, 2, 7)
    assert found.trained + found.tested == moved.clear.sum()
    assert readable_up_to([np.nan, *(one.r2 for one in found.by_degree.values())]) == 4
    with pytest.raises(NotReadError, match="a feature is not finite") as caught:
        read_probe(replace(DIAGNOSIS, everywhere=True), given, IRREPS, 2, 7)
    assert caught.value.status is Status.NONFINITE
    given = {"B": shown_as(moved, np.nan_to_num(wild))}
    wrong = read_probe(replace(DIAGNOSIS, everywhere=True), given, IRREPS, 2, 7).by_degree
    assert readable_up_to([np.nan, *(one.r2 for one in wrong.values())]) < 4


def test_one_direction_is_read_without_a_network(both: tuple[Design, Design]) -> None:
    """With a hole among the directions a little is read above dL."""
    found = read_probe(ONE_DIRECTION, {"B": shown_as(both[1], np.ones((2000, 9)))}, IRREPS, 2, 7)
    values = [one.r2 for one in found.by_degree.values()]
    assert values[:4] == pytest.approx([1.0] * 4, abs=1e-3)
    assert max(values[4:]) < 0.3


def test_noise_gains_nothing_in_design_c(conformers: Conformers, bond: MarkedBond) -> None:
    """The angle varies little, so that most of the injected part is a constant."""
    rng = np.random.default_rng(5)
    frames = METHANOL.positions + rng.normal(scale=0.03, size=(500, 6, 3))
    energies = rng.normal(size=500)
    shown = designs.invariant(Conformers(frames[:400], frames[400:], energies[:400],
                                         energies[400:]), bond)  # fmt: skip
    noise = rng.normal(size=(500, 8))
    given = {"C": shown_as(shown, noise, np.stack([energies, rng.normal(size=500)], axis=1))}
    found = read_probe(ANGLE, given, ((2, 0), (2, 1)), 1, 7)
    assert found.columns * 5 <= 400
    assert max(abs(one.r2_inj) for one in found.by_degree.values()) < 0.1
    few = replace(given["C"], held_out=np.arange(500) >= 30)
    assert read_probe(ANGLE, {"C": few}, ((2, 0), (2, 1)), 1, 7).columns * 5 <= 30


# --- heads and metrics ---------------------------------------------------------------------------


def test_mixing_keeps_what_turns_together() -> None:
    """Channels are mixed alike for all m: turned features give turned components."""
    rng = np.random.default_rng(0)
    directions = random_directions(50, rng)
    block = np.einsum("sm,c->scm", real_harmonics(directions, 2)[:, 4:], [1.0, 2.0, 0.0])
    block += 0.1 * rng.normal(size=block.shape)
    turned = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    one = heads.Mixing.fit([(2, block)], 2).apply([(2, block)])[0][1]
    other = heads.Mixing.fit([(2, block @ turned)], 2).apply([(2, block @ turned)])[0][1]
    assert np.abs(one @ turned) == pytest.approx(np.abs(other))
    assert one.shape == (50, 2, 5)


def test_columns_never_outnumber_a_fifth_of_the_frames() -> None:
    irreps = ((64, 0), (32, 1), (32, 2))
    for degree in (1, 2, 3):

        def columns(channels: Mapping[int, int], degree: int = degree) -> int:
            width = sum(count * (2 * one + 1) for one, count in channels.items())
            return heads.n_monomials(width, degree)

        for frames in (100, 1000, 5120):
            channels = heads.channels_for(irreps, columns, frames)
            assert 5 * heads.n_monomials(9 * channels, degree) <= frames or channels == 0
        wanted = {1: 8, 2: 4, 3: 1}[degree]
        assert heads.channels_for(irreps, columns, 5120) == wanted
        assert heads.channels_for(irreps, columns, 5120, 1) == 1
    assert heads.channels_for(irreps, columns, 50) == 0
    values = np.random.default_rng(0).normal(size=(7, 4))
    assert heads.monomials(values, 3).shape == (7, heads.n_monomials(4, 3))
    assert heads.monomials(values[:, :0], 3).shape == (7, 0)  # a layer that does not vary


def test_invariants_are_as_many_as_is_said() -> None:
    rng = np.random.default_rng(0)
    blocks = [(one, rng.normal(size=(9, 3, 2 * one + 1))) for one in range(3)]
    for degree in (1, 2):
        assert heads.invariants(blocks, degree).shape[1] == heads.n_invariants(
            {0: 3, 1: 3, 2: 3}, degree
        )


def test_targets_of_a_kind_share_their_strength() -> None:
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(300, 200))
    targets = np.stack([columns[:, 0], rng.normal(size=300)], axis=1)
    alone, together = (
        heads.fit_ridge(columns, targets, np.arange(300) % 10, kinds=kinds).strengths
        for kinds in (np.array([0, 1]), np.array([0, 0]))
    )
    assert alone[0] < alone[1]
    assert together[0] == together[1]


def test_the_strength_keeps_noise_from_being_learnt() -> None:
    rng = np.random.default_rng(0)
    columns, noise = rng.normal(size=(300, 200)), rng.normal(size=(300, 1))
    head = heads.fit_ridge(columns, noise, np.arange(300) % 10)
    assert head.strengths[0] >= 1.0
    exact = heads.fit_ridge(columns, columns[:, :1] * 3 + 2, np.arange(300) % 10)
    assert exact.strengths[0] < 1e-5
    assert exact.predict(columns)[:, 0] == pytest.approx(columns[:, 0] * 3 + 2, abs=1e-3)


def test_r2_and_rho_are_what_they_are_defined_as() -> None:
    target = np.array([1.0, -1.0, 2.0, -2.0])
    assert r2(target, target, 0.0) == 1.0
    assert r2(np.zeros(4), target, 0.0) == 0.0
    assert r2(-target, target, 0.0) == -3.0
    assert np.isnan(r2(np.zeros(4), np.zeros(4), 0.0))
    groups = np.array([0, 0, 1, 1])
    found = gains(target, np.zeros(4), target / 2, target, groups)
    assert found.gain.tolist() == [1.5, 6.0]
    assert found.oracle.tolist() == [2.0, 8.0]
    assert found.rho == 0.75


def test_the_cliff_is_a_ratio_with_an_interval_over_backbones_and_frames() -> None:
    rng = np.random.default_rng(0)

    def some(rho: float, scatter: float) -> Gains:
        oracle = np.full(20, 1.0)
        return Gains(oracle * (rho + scatter * rng.normal(size=20)), oracle)

    at, above = [some(0.9, 0.01) for _ in range(4)], [some(0.09, 0.01) for _ in range(4)]
    found = cliff(at, above)
    assert found.ratio == pytest.approx(10, rel=0.05)
    assert found.low < found.ratio < found.high
    assert found.high / found.low < 1.2
    assert not found.bound
    # backbones that differ widen it, which frames of one alone would not tell
    differing = [some(rho, 0.01) for rho in (0.5, 0.7, 0.9, 1.0)]
    assert cliff(differing, above).difference_low < found.difference_low - 0.1
    # an effect of a conformer that all backbones share does not average out over them
    shared = Gains(at[0].gain + np.linspace(-0.5, 0.5, 20), at[0].oracle)
    apart = [Gains(np.roll(shared.gain, 5 * k), shared.oracle) for k in range(4)]
    wide, narrow = cliff([shared] * 4, above), cliff(apart, above)
    width = wide.difference_high - wide.difference_low
    assert width > 1.5 * (narrow.difference_high - narrow.difference_low)
    nothing = cliff(at, [some(-0.2, 0.0) for _ in range(4)])
    assert nothing.bound
    assert nothing.ratio == pytest.approx(90, rel=0.05)


def test_readable_ends_at_the_first_degree_that_is_not() -> None:
    assert readable_up_to([np.nan, 0.9, 0.8, 0.4, 0.9]) == 2
    assert readable_up_to([np.nan, 0.1]) == 0
    assert readable_up_to([np.nan, 1.0, float("nan"), 1.0]) == 1
