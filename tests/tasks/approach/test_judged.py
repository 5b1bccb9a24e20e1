"""What becomes of a pair on which a model or the reference fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import fake_calculators
from pesbench.core.interface import Status
from pesbench.core.systems import System
from pesbench.files.evaluation import ScanEvaluation
from pesbench.tasks.approach import pairs
from pesbench.tasks.approach.judged import METRICS, judge

OK, ERROR, NONFINITE = (one.code for one in (Status.OK, Status.ERROR, Status.NONFINITE))
CO = System(
    "co", np.array([6, 8]), np.array([[0.0, 0, 0], [1.43, 0, 0]]), np.array([[0, 1]])
)  # fmt: skip
OCS = System(
    "ocs", np.array([8, 6, 16]), np.array([[0.0, 0, 0], [1.4, 0.1, 0], [2.6, 1.2, 0.3]]),
    np.array([[0, 1], [1, 2]]),
)  # fmt: skip


def bond():
    (found,) = pairs.bonded(CO)
    return found


def contact():
    (found,) = pairs.contacts(OCS, 3)
    return found


def diatomic(name="C-O"):
    return next(one for one in pairs.diatomics("co") if one.id == f"diatomic/{name}")


def answer(pair, function=fake_calculators.morse):
    """What a model says of a pair; `function` maps numbers and positions to energy and forces."""
    said = [function(pair.scan.numbers, x) for x in pair.scan.positions]
    return ScanEvaluation(
        scan_id=pair.id,
        energy=np.array([energy for energy, _ in said]),
        forces=np.stack([forces for _, forces in said]),
        frame_status=np.zeros(pair.scan.n_frames, dtype=np.int8),
        status=Status.OK,
        message="",
        wall_s=0.0,
    )


def broken(whole, frames, code):
    status = whole.frame_status.copy()
    status[frames] = code
    energy, forces = whole.energy.copy(), whole.forces.copy()
    energy[frames], forces[frames] = np.nan, np.nan
    how = Status.from_code(code)
    return replace(
        whole, frame_status=status, energy=energy, forces=forces, status=how, message="no number"
    )


def test_morse_repels_down_to_the_end():
    found = judge(bond(), answer(bond()))
    assert (found.status, found.message, found.judged_by) == (Status.OK, "", "own minimum")
    values = found.values
    assert tuple(values) == METRICS
    for name in ("monotone", "force_monotone", "above_minimum", "end_repulsive", "consistent"):
        assert values[name] == 1, name
    assert values["hole_radius_angstrom"] == values["force_hole_radius_angstrom"] == 0
    assert np.isnan(values["wall_ratio_05"])  # there is no reference
    assert values["zbl_ratio_05"] < 0.5  # an exponential is softer than nuclei


def test_no_number_at_the_end_is_a_failure_of_the_pair():
    pair = bond()
    last = pair.grids[pairs.NUMBERS].stop - 1
    found = judge(pair, broken(answer(pair), [last], NONFINITE))
    assert (found.status, found.message) == (Status.NONFINITE, "no number")
    assert np.isnan(list(found.values.values())).all()
    # also where the reference does not converge: a bonded pair needs none
    reference = broken(answer(pair), [last], ERROR)
    assert judge(pair, broken(answer(pair), [last], NONFINITE), reference).status is (
        Status.NONFINITE
    )


def test_a_frame_of_the_published_grid_alone_fails_no_pair():
    pair = bond()
    found = judge(pair, broken(answer(pair), [pair.grids[pairs.FIGURE].start], NONFINITE))
    assert found.status is Status.OK


def test_where_neither_model_nor_reference_converges_the_pair_is_judged_on_the_rest():
    pair = bond()
    lost = [40, 41, 63]
    whole = answer(pair)
    found = judge(pair, broken(whole, lost, ERROR), broken(whole, [*lost, 20], ERROR))
    assert (found.status, found.n_masked) == (Status.OK, 3)
    assert found.values["monotone"] == 1
    assert found.values["wall_ratio_05"] == pytest.approx(1)
    # a model that fails where the reference converges has failed
    found = judge(pair, broken(whole, [*lost, 30], ERROR), broken(whole, lost, ERROR))
    assert found.status is Status.ERROR
    # and without a reference, unless errors are left out
    assert judge(pair, broken(whole, lost, ERROR)).status is Status.ERROR
    found = judge(pair, broken(whole, lost, ERROR), without_errors=True)
    assert (found.status, found.n_masked) == (Status.OK, 3)
    assert judge(pair, broken(whole, range(40), ERROR), without_errors=True).status is Status.ERROR


def test_contacts_and_isolated_pairs_are_judged_where_the_reference_converges():
    for pair in (contact(), diatomic()):
        whole, first = answer(pair), pair.grids[pairs.NUMBERS].start
        lost = [first + 62, first + 63]
        found = judge(pair, broken(whole, lost, NONFINITE), broken(whole, lost, ERROR))
        assert (found.status, found.judged_by, found.n_masked) == (Status.OK, "reference", 2)
        assert found.values["monotone"] == 1
        assert np.isnan(found.values["below_minimum_ev"])
        nothing = judge(pair, whole, broken(whole, range(pair.scan.n_frames), ERROR))
        assert nothing.status is Status.MASKED
        assert "no frame to judge it by" in nothing.message


def test_a_pair_of_which_few_frames_are_left_is_masked():
    """No frame fails on one frame, which says nothing of the approach."""
    (inner, *_) = pairs.inner(CO)
    for pair, n_judged in ((contact(), 64), (diatomic(), 64), (inner, 30)):
        whole = answer(pair)
        for left, status in ((1, Status.MASKED), (n_judged // 2 - 1, Status.MASKED),
                             (n_judged // 2, Status.OK)):  # fmt: skip
            lost = broken(whole, range(left, n_judged), ERROR)
            found = judge(pair, lost, lost)
            assert (found.status, found.n_masked) == (status, n_judged - left)
            assert np.isnan(list(found.values.values())).all() == (status is Status.MASKED)
            if status is Status.MASKED:
                frames = f"{left} of {n_judged} frames are left"
                assert (found.judged_by, found.message) == ("", f"{frames} to judge it by")


def test_a_bond_is_masked_where_its_wall_has_few_frames():
    """The frames from the minimum on to larger distances judge nothing."""
    (pair,) = pairs.bonded(replace(CO, numbers=np.array([6, 1])))  # from twice the distance
    whole = answer(pair)
    for left in (1, 3, 20, 32):  # of 64, but only 48 lie below the minimum
        lost = broken(whole, range(left, 64), ERROR)
        assert judge(pair, lost, lost).status is Status.MASKED, left
    lost = broken(whole, range(46, 64), ERROR)
    assert judge(pair, lost, lost).status is Status.OK


def test_what_is_told_of_the_last_frame_is_not_that_of_another():
    for pair in (bond(), contact(), diatomic(), next(iter(pairs.inner(CO)))):
        whole = answer(pair)
        last = pair.grids.get(pairs.NUMBERS, pair.grids.get(pairs.INNER)).stop - 1
        lost = broken(whole, [last], ERROR)
        found = judge(pair, lost, lost)
        assert (found.status, found.n_masked) == (Status.OK, 1)
        at_the_end = ("energy_end_ev", "end_repulsive", "inner_repulsive")
        assert np.isnan([found.values[name] for name in at_the_end]).all()
        kept = judge(pair, whole, whole).values
        assert not np.isnan([kept[name] for name in at_the_end]).all()
        monotone = "inner_monotone" if pair.kind == pairs.INNER else "monotone"
        assert found.values[monotone] == 1


def test_contacts_and_isolated_pairs_need_a_reference():
    for pair in (contact(), diatomic()):
        found = judge(pair, answer(pair))
        assert (found.status, found.message) == (
            Status.MASKED, "there is no reference to judge it by",
        )  # fmt: skip
        assert np.isnan(list(found.values.values())).all()


def test_a_minimum_of_the_reference_within_a_tenth_of_an_angstrom_is_no_defect():
    pair = diatomic()

    def shifted(by):
        def function(numbers, positions):
            length = positions[1, 0] - positions[0, 0]
            wide = positions.copy()
            wide[1, 0] += by * (length > 0)
            return fake_calculators.morse(numbers, wide)

        return function

    reference = answer(pair)
    near = judge(pair, answer(pair, shifted(0.05)), reference).values
    far = judge(pair, answer(pair, shifted(0.4)), reference).values
    assert (near["monotone"], near["n_spurious_minima"]) == (1, 0)
    assert (far["monotone"], far["n_spurious_minima"]) == (0, 1)


def test_the_wall_is_compared_with_that_of_the_reference():
    pair = bond()
    reference = answer(pair)

    def twice(numbers, positions):
        energy, forces = fake_calculators.morse(numbers, positions)
        return 2 * energy, 2 * forces

    values = judge(pair, answer(pair, twice), reference).values
    assert values["wall_ratio_05"] == pytest.approx(2)
    assert values["wall_ratio_03"] == pytest.approx(2)
    assert values["zbl_ratio_03"] == pytest.approx(
        2 * judge(pair, reference, reference).values["zbl_ratio_03"]
    )


def test_a_model_without_energies_is_judged_by_its_force():
    pair = bond()
    whole = answer(pair)
    blind = replace(whole, energy=np.full(len(whole.energy), np.nan))
    values = judge(pair, blind).values
    assert values["force_monotone"] == 1
    assert np.isnan([values["monotone"], values["barrier_ev"], values["consistent"]]).all()
    turned = replace(blind, forces=-whole.forces)
    values = judge(pair, turned).values
    assert values["force_monotone"] == 0
    assert values["force_hole_radius_angstrom"] > 0.1


def test_forces_that_are_no_gradient_are_not_consistent():
    pair = bond()
    whole = answer(pair)
    values = judge(pair, replace(whole, forces=1.5 * whole.forces)).values
    assert (values["monotone"], values["consistent"]) == (1, 0)
    assert values["consistency_gap"] == pytest.approx(0.5, abs=0.02)


def test_energies_beyond_float32_are_finite_here_and_hide_nothing():
    """What overflows in float32 is inf, and a failure; just below, it is a number."""
    pair = bond()
    whole = answer(pair)
    last = pair.grids[pairs.NUMBERS].stop - 1
    energy = whole.energy.copy()
    energy[last] = float(np.finfo(np.float32).max)
    found = judge(pair, replace(whole, energy=energy))
    assert found.status is Status.OK
    assert found.values["monotone"] == 1
    energy[30] -= 40.0
    found = judge(pair, replace(whole, energy=energy))
    assert found.values["monotone"] == 0
    assert found.values["hole_radius_angstrom"] > pair.scan.coordinate[30]


def test_the_protocol_of_others_within_a_molecule():
    for pair in pairs.inner(OCS):
        found = judge(pair, answer(pair))
        assert found.values["inner_monotone"] == 1
        assert np.isnan(found.values["monotone"])
    lost = broken(answer(pair), [29], NONFINITE)
    assert judge(pair, lost).status is Status.NONFINITE


def test_the_quantities_of_mlip_arena_are_of_pairs_of_one_element():
    one = diatomic("O-O")
    found = judge(one, answer(one), answer(one)).values
    assert found["arena_tortuosity"] == pytest.approx(1)
    assert found["arena_force_flips"] == 1
    other = diatomic("C-O")
    assert np.isnan(judge(other, answer(other), answer(other)).values["arena_tortuosity"])
    gap = broken(answer(one), [one.grids[pairs.ARENA].start], ERROR)
    assert np.isnan(judge(one, gap, answer(one)).values["arena_tortuosity"])
