"""Detectors of the alarms against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from ase.data import covalent_radii

from pesbench.metrics import geometry_sentinels as geometry
from pesbench.metrics import physics_sentinels as physics
from pesbench.metrics.descriptor_distances import (
    AXES,
    LEAST_ATOMS,
    POOLED,
    fit_set,
    reference_space,
    shrinkage,
)
from pesbench.metrics.maxvol import active_set, grades
from pesbench.tasks.alarms import labels, several
from pesbench.tasks.alarms.events import (
    events,
    lead_fs,
    quiet_time,
    rate_interval,
    threshold_of_events,
)


@pytest.fixture
def rng():
    return np.random.default_rng(19)


# --- distances -----------------------------------------------------------------------------------


def test_the_squared_distance_from_a_gaussian_cloud_is_that_of_chi_squared(rng):
    mixing = rng.normal(size=(6, 6))  # whatever its axes are
    cloud = rng.normal(size=(20_000, 6)) @ mixing + 3.0
    space = reference_space(cloud, np.full(len(cloud), 6))
    other = rng.normal(size=(20_000, 6)) @ mixing + 3.0
    squared = space.measured(other, np.full(len(other), 6))["mahalanobis"] ** 2
    # mean p and variance 2p
    assert squared.mean() == pytest.approx(6, rel=0.03)
    assert squared.var() == pytest.approx(12, rel=0.1)


def test_the_distance_is_that_of_the_inverse_covariance(rng):
    cloud = rng.normal(size=(5000, 3)) * [1.0, 2.0, 0.1]
    fit = fit_set(cloud, np.ones(len(cloud), dtype=int))
    share = shrinkage(cloud - cloud.mean(axis=0))
    plain = np.cov(cloud.T, bias=True)
    shrunk = (1 - share) * plain + share * np.trace(plain) / 3 * np.eye(3)
    point = np.array([[0.3, -1.0, 0.25]])
    off = point[0] - cloud.mean(axis=0)
    found = np.linalg.norm(fit.project(point, np.array([1])) / fit.widths)
    assert found == pytest.approx(np.sqrt(off @ np.linalg.solve(shrunk, off)))


def test_shrinkage_is_that_of_ledoit_and_wolf(rng):
    samples = rng.normal(size=(30, 5)) * np.arange(1, 6)
    samples -= samples.mean(axis=0)
    covariance = samples.T @ samples / 30
    target = np.trace(covariance) / 5 * np.eye(5)
    spread = np.sum((covariance - target) ** 2)
    noise = sum(np.sum((np.outer(x, x) - covariance) ** 2) for x in samples) / 30**2
    assert shrinkage(samples) == pytest.approx(noise / spread)
    assert shrinkage(rng.normal(size=(20, 50))) > 0.9  # noise alone
    assert shrinkage(rng.normal(size=(50_000, 3)) * [1, 2, 3]) < 0.01
    assert shrinkage(np.zeros((4, 3))) == 1.0


def test_each_element_is_measured_against_its_own_cloud(rng):
    near, far = rng.normal(size=(LEAST_ATOMS, 4)), 100 + rng.normal(size=(LEAST_ATOMS, 4))
    numbers = np.repeat([1, 8], LEAST_ATOMS)
    space = reference_space(np.concatenate([near, far]), numbers)
    assert set(space.fits) == {1, 8, POOLED}
    measured = space.measured(np.array([[100.0] * 4, [100.0] * 4]), np.array([8, 1]))
    own, other = measured["mahalanobis"]
    assert own < 0.5 < 50 < other
    assert measured["outside"].tolist() == [0.0, 1.0]
    assert measured["knn"][0] < 2 < 90 < measured["knn"][1]


def test_one_atom_in_a_hundred_of_the_set_is_outside(rng):
    cloud, numbers = rng.normal(size=(2000, 3)), np.full(2000, 6)
    outside = reference_space(cloud, numbers).measured(cloud, numbers)["outside"]
    assert outside.sum() == 20


def test_elements_with_few_atoms_are_pooled_about_their_own_means(rng):
    hydrogens = rng.normal(size=(LEAST_ATOMS, 3))
    few = np.concatenate([rng.normal(size=(40, 3)) - 50, rng.normal(size=(40, 3)) + 50])
    space = reference_space(
        np.concatenate([hydrogens, few]), np.repeat([1, 7, 8], [LEAST_ATOMS, 40, 40])
    )
    assert set(space.fits) == {1, POOLED}
    measured = space.measured(np.array([[-50.0] * 3, [50.0] * 3, [50.0] * 3]), np.array([7, 8, 7]))
    assert (measured["mahalanobis"][:2] < 1).all()
    assert measured["mahalanobis"][2] > 50
    # an element that the set does not hold has a finite distance
    assert np.isfinite(space.measured(np.zeros((1, 3)), np.array([17]))["mahalanobis"]).all()


def test_wide_descriptors_are_projected(rng):
    wide = rng.normal(size=(600, 100))
    fit = fit_set(wide, np.ones(600, dtype=int))
    assert fit.axes.shape == (100, AXES)
    assert fit.axes.T @ fit.axes == pytest.approx(np.eye(AXES), abs=1e-9)


def test_neighbours_are_the_five_nearest(rng):
    cloud = rng.normal(size=(300, 3)) * [1.0, 5.0, 0.2] + 40.0
    space = reference_space(cloud, np.ones(300, dtype=int))
    points = rng.normal(size=(20, 3)) * 6 + 40.0
    found = space.measured(points, np.ones(20, dtype=int))["knn"]
    plain = np.sort(np.linalg.norm(points[:, None] - cloud, axis=-1), axis=1)[:, :5].mean(axis=1)
    assert found == pytest.approx(plain, rel=1e-9)


def test_too_few_atoms_are_no_set():
    with pytest.raises(ValueError, match="fewer than two"):
        reference_space(np.ones((1, 3)), np.array([1]))
    with pytest.raises(ValueError, match="same descriptor"):
        reference_space(np.ones((10, 3)), np.ones(10, dtype=int))


def test_a_broken_descriptor_has_no_distance(rng):
    space = reference_space(rng.normal(size=(50, 3)), np.ones(50, dtype=int))
    measured = space.measured(np.array([[np.nan, 0, 0]]), np.array([1]))
    assert all(np.isnan(values).all() for values in measured.values())


# --- MaxVol --------------------------------------------------------------------------------------


def test_the_active_set_of_a_known_matrix_is_its_corners():
    square = np.array([[0.0, 0], [1, 0], [0, 1], [0.2, 0.3], [0.5, 0.1], [0.1, 0.4]])
    rows = np.concatenate([square, np.ones((6, 1))], axis=1)
    assert sorted(active_set(rows)) == [0, 1, 2]  # the largest triangle
    inverse = np.linalg.inv(rows[[0, 1, 2]])
    # inside the triangle the coefficients are barycentric; outside one of them exceeds 1
    inside, corner, outside = grades(np.array([[0.25, 0.25, 1], [1.0, 0, 1], [2.0, 0, 1]]), inverse)
    assert (inside, corner, outside) == pytest.approx((0.5, 1.0, 2.0))


def test_no_row_of_the_set_exceeds_the_tolerance(rng):
    rows = rng.standard_cauchy(size=(3000, 12))  # with rows far out
    chosen = active_set(rows)
    assert len(set(chosen.tolist())) == 12
    assert grades(rows, np.linalg.inv(rows[chosen])).max() <= 1.01 * (1 + 1e-6)


def test_rows_that_span_nothing_are_refused():
    with pytest.raises(ValueError, match="do not span"):
        active_set(np.ones((2, 3)))
    with pytest.raises(ValueError, match="depend on each other"):
        active_set(np.ones((5, 2)))


# --- geometry and physics ------------------------------------------------------------------------

WATER = np.array([8, 1, 1])
OH = np.array([[0, 1], [0, 2]])


def water(length, angle=np.pi / 2):
    return np.array(
        [[0.0, 0, 0], [length, 0, 0], [length * np.cos(angle), length * np.sin(angle), 0]]
    )


def test_geometry_sentinels_of_water():
    pairs = geometry.Pairs.of(WATER, OH)
    assert pairs.kinds == ((1, 8, 1), (1, 8, 1), (1, 1, 2))
    frames = np.stack([water(1.0), water(0.5), water(2.0)])
    ratios = pairs.ratios(frames, WATER)
    bond, contact = covalent_radii[[8, 1]].sum(), 2 * covalent_radii[1]
    assert geometry.long_bond(ratios, pairs.apart) == pytest.approx(np.array([1, 0.5, 2]) / bond)
    smallest = [min(r / bond, np.sqrt(2) * r / contact) for r in (1.0, 0.5, 2.0)]
    assert geometry.close_pair(ratios) == pytest.approx(-np.array(smallest))


def test_distances_beyond_those_seen():
    pairs = geometry.Pairs.of(WATER, OH)
    seen = pairs.distances(np.stack([water(0.9), water(1.1)]))
    ranges = geometry.distance_ranges([(pairs, seen)])
    assert ranges[1, 8, 1] == pytest.approx((0.9, 1.1))
    frames = np.stack([water(1.0), water(0.7), water(2.0)])
    beyond = geometry.beyond_ranges(pairs, pairs.distances(frames), ranges)
    assert beyond[0] < 0
    # of 0.7 Å the H-H distance is farther out than O-H: 1.4 (0.9 - 0.7)
    assert beyond[1:] == pytest.approx([np.sqrt(2) * 0.2, np.sqrt(2) * 0.9])
    # atoms that no bonds connect closely may be at any distance
    alone = geometry.Pairs.of(np.array([1, 1]), np.empty((0, 2), dtype=int))
    ranges = geometry.distance_ranges([(alone, np.array([[2.0], [3.0]]))])
    assert geometry.beyond_ranges(alone, np.array([[9.0], [1.5]]), ranges) == pytest.approx(
        [-7.0, 0.5]
    )
    assert np.isnan(geometry.beyond_ranges(pairs, seen, ranges)).all()  # kinds it does not hold


def test_a_single_atom_and_a_molecule_without_bonds_have_no_score():
    none = np.empty((0, 2), dtype=int)
    atom = geometry.Pairs.of(np.array([2]), none)
    ratios = atom.ratios(np.zeros((4, 1, 3)), np.array([2]))
    assert np.isnan(geometry.close_pair(ratios)).all()
    two = geometry.Pairs.of(np.array([1, 1]), none)
    assert np.isnan(geometry.long_bond(np.ones((4, 1)), two.apart)).all()


def test_forces_that_are_the_gradient_match_the_energy():
    x = np.linspace(-1, 1, 41)
    positions = np.zeros((41, 2, 3))
    positions[:, 1, 0] = x
    forces = np.zeros_like(positions)
    forces[:, 1, 0] = -2 * x  # of E = x²: the trapezoidal rule is exact
    exact = physics.energy_force_mismatch(x**2, forces, positions)
    assert exact == pytest.approx(np.zeros(41), abs=1e-9)
    energy = x**2
    energy[20] += 0.01  # a spike of 0.01 eV in steps of 0.05 Å: 0.2 eV/Å on it and its neighbours
    found = physics.energy_force_mismatch(energy, forces, positions)
    assert found[19:22] == pytest.approx(0.2)
    assert np.delete(found, [19, 20, 21]) == pytest.approx(0, abs=1e-9)
    assert np.isnan(physics.energy_force_mismatch(np.full(41, np.nan), forces, positions)).all()


def test_a_jump_counts_in_the_frame_that_follows():
    total = np.zeros(9)
    total[4:] = 0.6  # between steps 3 and 4
    assert physics.energy_jump(total, 2, 3) == pytest.approx([0, 0, 0.2, 0, 0])
    assert physics.energy_jump(total[:4], 2, 3) == pytest.approx([0, 0])
    # what a thermostat does is no jump
    assert physics.energy_jump(total, 2, 3, first=3) == pytest.approx([0, 0, 0.2, 0, 0])
    assert physics.energy_jump(total, 2, 3, first=4) == pytest.approx([0, 0, 0, 0, 0])


# --- several models ------------------------------------------------------------------------------


def test_the_spread_of_a_committee_is_its_biased_deviation():
    forces = np.zeros((3, 1, 2, 3))
    forces[:, 0, 1, 0] = [1.0, 2.0, 6.0]
    assert several.committee_spread(list(forces)) == pytest.approx(np.std([1.0, 2.0, 6.0]))
    with pytest.raises(ValueError, match="two members"):
        several.committee_spread([forces[0]])


def test_what_models_differ_by_at_equilibrium_is_no_disagreement():
    own = np.zeros((3, 2, 3))
    other = np.zeros((3, 2, 3))
    other[:, 0] = [0.3, 0, 0]  # another level of theory
    other[2, 1] = [0, 2.0, 0]
    told = several.difference(own, other)
    assert several.disagreement([told], [told[0]]) == pytest.approx([0, 0, 2.0])
    same = np.zeros_like(told)
    assert several.disagreement([told, same], [told[0], same[0]]) == pytest.approx([0, 0, 1.0])
    with pytest.raises(ValueError, match="no other model"):
        several.disagreement([], [])


def test_disagreement_is_with_the_models_that_answer():
    silent, other = np.zeros((3, 2)), np.array([[0.0, 0.0], [1.0, 4.0], [2.0, 0.0]])
    silent[1:] = np.nan
    found = several.disagreement([silent, other], [silent[0], other[0]])
    assert found == pytest.approx([0, 4.0, 2.0])
    assert np.isnan(several.disagreement([silent], [silent[0]])).tolist() == [False, True, True]


# --- labels --------------------------------------------------------------------------------------


def test_a_frame_is_wrong_beyond_half_an_ev_and_a_fifth():
    reference = np.zeros((4, 2, 3))
    reference[:, 0, 0] = [0, 0, 10, 10]
    forces = reference.copy()
    forces[:, 0, 0] += [0.5, 0.51, 1.9, 2.1]
    assert labels.wrong_frames(forces, reference).tolist() == [False, True, False, True]
    assert labels.largest_error(forces, reference) == pytest.approx([0.5, 0.51, 1.9, 2.1])


def test_auroc_and_precision_by_counting(rng):
    scores = rng.integers(0, 8, size=60).astype(float)  # with ties
    wrong = rng.random(60) < 0.4
    right = scores[~wrong]
    pairs = [(one > right).sum() + 0.5 * (one == right).sum() for one in scores[wrong]]
    assert labels.auroc(scores, wrong) == pytest.approx(sum(pairs) / (wrong.sum() * len(right)))
    values, area, before = sorted(set(scores), reverse=True), 0.0, 0.0
    for value in values:
        above = scores >= value
        recall = (above & wrong).sum() / wrong.sum()
        area += (recall - before) * (above & wrong).sum() / above.sum()
        before = recall
    assert labels.average_precision(scores, wrong) == pytest.approx(area)


def test_perfect_and_empty_scores():
    wrong = np.array([False, False, True, True])
    rising = np.arange(4.0)
    assert labels.auroc(rising, wrong) == labels.average_precision(rising, wrong) == 1.0
    assert labels.auroc(-rising, wrong) == 0.0
    assert labels.auroc(np.zeros(4), wrong) == labels.average_precision(np.zeros(4), wrong) == 0.5
    for all_alike in (np.zeros(4, dtype=bool), np.ones(4, dtype=bool)):
        assert np.isnan(labels.auroc(rising, all_alike))
        assert np.isnan(labels.average_precision(rising, all_alike))
    assert labels.auroc(np.array([0, 1, 2, np.inf]), wrong) == 1.0  # broken frames are suspect
    for one in (wrong, ~wrong):  # those that are infinite are alike, in whatever order
        assert labels.average_precision(np.full(4, np.inf), one) == 0.5
    with pytest.raises(ValueError, match="NaN"):
        labels.auroc(np.array([0, 1, 2, np.nan]), wrong)
    with pytest.raises(ValueError, match="NaN"):
        labels.average_precision(np.array([0, 1, 2, np.nan]), wrong)


def test_the_threshold_finds_the_share_that_it_is_to_find():
    scores, wrong = np.arange(40.0), np.arange(40) >= 20
    threshold = labels.threshold_at_recall(scores, wrong)
    assert threshold == 21.0  # 19 of 20
    assert (scores[wrong] >= threshold).mean() == 0.95
    assert labels.threshold_at_recall(scores, wrong, 1.0) == 20.0
    assert np.isnan(labels.threshold_at_recall(scores, np.zeros(40, dtype=bool)))


# --- events --------------------------------------------------------------------------------------


def test_one_contiguous_crossing_is_one_event():
    scores = np.array([0, 2, 3, 0, 2, 0, 0, 5, 5, 5], float)
    assert events(scores, 1.0).tolist() == [1, 4, 7]
    assert events(scores, 2.0).tolist() == [2, 7]  # at the threshold is not above it
    assert events(scores, -1.0).tolist() == [0]
    assert events(scores, 5.0).tolist() == []
    assert events(np.array([0, np.nan, 0]), 1.0).tolist() == [1]
    assert events(np.array([0, np.inf, 0]), 1e300).tolist() == [1]


def test_the_threshold_allows_so_many_events_and_no_smaller_one_does(rng):
    runs = [np.cumsum(rng.normal(size=500)) for _ in range(4)]

    def allowed(threshold, rate):
        count = sum(len(events(run, threshold)) for run in runs)
        return count <= rate * sum(quiet_time(run, threshold, 0.01) for run in runs)

    for rate in (0, 0.05, 0.15, 0.5):  # of 19.96 in all
        found = threshold_of_events(runs, rate, [0.01] * 4)
        higher = np.unique(np.concatenate(runs))
        assert all(allowed(value, rate) for value in higher[higher >= found])
        below = higher[higher < found]
        assert not allowed(below[-1], rate)  # the largest value below it allows too many
    assert np.isnan(threshold_of_events([], 3, []))
    with pytest.raises(ValueError, match="not a number"):
        threshold_of_events([np.array([np.nan])], 3, [1.0])


def test_the_threshold_of_broken_runs_alarms_of_nothing():
    assert threshold_of_events([np.array([0, np.inf, 0, np.inf])], 1, [0.1]) == np.inf


def test_a_score_that_says_nothing_gives_no_alarm_however_long_the_runs_are():
    """Always above a threshold it would have one event a run, which is a low rate of a long one."""
    constant = [np.zeros(1000)] * 3
    threshold = threshold_of_events(constant, 0.05, [1.0] * 3)
    assert threshold == 0.0
    assert not len(events(constant[0], threshold))
    rising = [np.arange(1000.0)] * 3  # as a sum over time
    threshold = threshold_of_events(rising, 0.05, [1.0] * 3)
    # three events in the time before them: 3 = 0.05 · 60, of the frames 1 to 20 of each
    assert threshold == 20.0
    assert quiet_time(rising[0], threshold, 1.0) == 20.0


def test_the_lead_time_of_a_made_up_trajectory():
    scores = np.zeros(100)  # a frame a femtosecond
    scores[70:] = 3.0
    assert lead_fs(scores, 1.0, 1.0, failure_fs=99.5) == 29.5
    assert lead_fs(scores, 5.0, 1.0, failure_fs=99.5) is None
    assert lead_fs(scores, 1.0, 1.0, failure_fs=70.0) is None  # with the failure is not before it
    scores[10] = 3.0  # the first alarm counts
    assert lead_fs(scores, 1.0, 1.0, failure_fs=99.5) == 89.5


def test_the_interval_of_a_rate_is_that_of_garwood():
    # tables of Garwood (1936): 0 and 10 events
    assert rate_interval(0, 1.0) == pytest.approx((0.0, 3.689), abs=1e-3)
    assert rate_interval(10, 1.0) == pytest.approx((4.795, 18.390), abs=1e-3)
    assert rate_interval(10, 10.0) == pytest.approx((0.4795, 1.8390), abs=1e-4)
    for wrong in ((1, 0.0), (-1, 1.0), (1, float("nan"))):
        with pytest.raises(ValueError, match="exposure"):
            rate_interval(*wrong)
