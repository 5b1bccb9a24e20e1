"""The rows of the closest approach in a check."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.units import kB

import check_calculators as fakes
import pesbench
from pesbench import Limits
from pesbench.commands.check.approach import Answered, approach_rows
from pesbench.commands.check.dynamics import check_systems
from pesbench.commands.check.report import Verdict
from pesbench.core.interface import Status
from pesbench.engine.scans import without_model
from pesbench.tasks.approach.judged import Judged, judge
from pesbench.tasks.approach.pairs import bonded

ROWS = ("open_pairs", "hole_radius", "worst_pair")


def checked(calculator, **options):
    return pesbench.check(calculator, parts=["approach"], **options)


class Holed(fakes.Smooth):
    """Attracts carbon and oxygen below half an Å."""

    def answer(self, atoms):
        energy, forces = super().answer(atoms)
        for c in np.flatnonzero(atoms.numbers == 6):
            for o in np.flatnonzero(atoms.numbers == 8):
                vector = atoms.positions[o] - atoms.positions[c]
                length = np.linalg.norm(vector)
                if length < 0.5:
                    energy -= 5e3 * (0.5 - length) ** 2
                    forces[c] += 1e4 * (0.5 - length) * vector / length
                    forces[o] -= 1e4 * (0.5 - length) * vector / length
        return energy, forces


class NoNumberAtTheEnd(fakes.Smooth):
    """NaN where two atoms are closer than 0.11 Å."""

    def answer(self, atoms):
        energy, forces = super().answer(atoms)
        distances = atoms.get_all_distances() + 9 * np.eye(len(atoms))
        return (np.nan if distances.min() < 0.11 else energy), forces


class NoNumberOfOneBond(fakes.Smooth):
    """NaN where carbon and oxygen are closer than 0.2 Å: of C-O of acetaldehyde alone."""

    def answer(self, atoms):
        energy, forces = super().answer(atoms)
        distances = atoms.get_all_distances()
        near = distances[np.ix_(atoms.numbers == 6, atoms.numbers == 8)] < 0.2
        return (np.nan if near.any() else energy), forces


class FailsWhenClose(fakes.Smooth):
    """Raises where two atoms are closer than 0.2 Å, as a method that does not converge."""

    def answer(self, atoms):
        distances = atoms.get_all_distances() + 9 * np.eye(len(atoms))
        if distances.min() < 0.2:
            raise RuntimeError("SCF did not converge")
        return super().answer(atoms)


def test_a_sound_model_passes():
    report = checked(fakes.Smooth())
    rows = {name: report.row(name) for name in ROWS}
    assert {row.verdict for row in rows.values()} == {Verdict.PASS}
    assert [rows[name].value for name in ROWS] == [0, 0, 0]
    assert [rows[name].limit for name in ROWS] == [0.1, 0.6, 0.05]
    assert rows["open_pairs"].note == "33 of 33 bonded pairs repel down to 0.1 Å"
    assert len(report.pairs) == 33
    assert {pair["monotone"] for pair in report.pairs} == {1.0}
    assert report.to_dict()["pairs"][0]["pair"] == "bond/acetaldehyde_0-1"


def test_a_hole_is_named_with_what_it_costs(tmp_path):
    report = checked(Holed(), limits=Limits(open_pairs=0.0, hole_radius=0.3))
    share, radius, worst = (report.row(name) for name in ROWS)
    assert share.value == pytest.approx(1 / 33)
    assert share.verdict is Verdict.FAIL
    assert share.note == "32 of 33 bonded pairs repel down to 0.1 Å"
    assert 0.4 < radius.value < 0.52
    assert radius.note.startswith("C-O of acetaldehyde")
    (hole,) = [pair for pair in report.pairs if not pair["monotone"]]
    assert hole["barrier_ev"] > 2
    assert worst.value == pytest.approx(kB * 1000 / hole["barrier_ev"])
    assert worst.value < 0.05
    assert worst.verdict is Verdict.PASS
    assert report.write_frames(tmp_path / "shown.extxyz") == 2  # of the two rows that fail


def test_no_number_is_no_wall():
    report = checked(NoNumberAtTheEnd())
    share = report.row("open_pairs")
    assert share.verdict is Verdict.ERROR
    assert "energy or force is not finite" in share.note
    assert not report.passed


def test_one_pair_without_a_number_is_an_error_whatever_the_limit(tmp_path):
    report = checked(NoNumberOfOneBond(), limits=Limits(open_pairs=1.0))
    share, radius, worst = (report.row(name) for name in ROWS)
    assert (share.value, share.verdict) == (None, Verdict.ERROR)
    assert share.note.startswith(
        "32 of 33 bonded pairs repel down to 0.1 Å; 1 without a score, "
        "bond/acetaldehyde_1-2: nonfinite: "
    )
    assert radius.note == worst.note == "no hole (of 32 scored pairs)"
    assert report.exit_code == 1
    assert report.write_frames(tmp_path / "shown.extxyz") == 1


def test_what_does_not_converge_is_left_out_and_told():
    report = checked(FailsWhenClose())
    share = report.row("open_pairs")
    assert share.verdict is Verdict.PASS
    left_out = sum(pair["n_masked"] for pair in report.pairs)
    assert left_out > 33
    assert (
        f"; {left_out} frames that ended with an error are left out, the first at 0.20 Å"
        in share.note
    )


def test_a_model_of_forces_alone_is_judged_by_them():
    report = checked(fakes.ForcesOnly())
    assert [report.row(name).value for name in ROWS] == [0, 0, 0]


def test_molecules_of_unknown_elements_are_counted():
    report = checked(fakes.Smooth(), elements=["H", "C", "O"])
    assert report.row("open_pairs").note == (
        "6 of 6 bonded pairs repel down to 0.1 Å, 27 unsupported"
    )
    nothing = checked(fakes.Smooth(), elements=["H", "C", "O"], limits=Limits(open_pairs=0.0))
    assert nothing.passed


def answered(status, count=4):
    pairs = list(bonded(check_systems()[0], figure=False))[:count]
    found = []
    for pair in pairs:
        answer = without_model(pair.scan, status, "no answer")
        found.append(Answered(pair, answer, judge(pair, answer)))
    return found


def test_rows_where_nothing_was_scored():
    rows = approach_rows(answered(Status.UNSUPPORTED), Limits())
    assert {row.verdict for row in rows} == {Verdict.INFO}
    rows = approach_rows(answered(Status.CRASHED), Limits())
    assert rows[0].verdict is Verdict.ERROR
    assert "no answer" in rows[0].note
    assert [row.name for row in rows] == list(ROWS)


def test_pairs_of_which_too_few_frames_are_left_are_told_and_few():
    (sound,) = answered(Status.UNSUPPORTED, 1)
    values = dict.fromkeys(sound.judged.values, np.nan)
    closed = values | {"monotone": 1.0, "hole_radius_angstrom": 0.0}
    good = replace(sound, judged=replace(sound.judged, status=Status.OK, values=closed))
    few = replace(sound, judged=Judged(Status.MASKED, "9 of 63 frames are left", "", 0, values))
    share, radius, _ = approach_rows([good] * 9 + [few], Limits())
    assert (share.value, share.verdict) == (0, Verdict.PASS)
    assert share.note == (
        "9 of 10 bonded pairs repel down to 0.1 Å; 1 without a score, bond/acetaldehyde_0-1: "
        "masked: 9 of 63 frames are left"
    )
    assert radius.note == "no hole (of 9 scored pairs)"
    for found in ([good] * 8 + [few] * 2, [few]):
        assert approach_rows(found, Limits())[0].verdict is Verdict.ERROR


def test_a_hole_beside_a_pair_that_fails():
    (sound,) = answered(Status.UNSUPPORTED, 1)
    values = dict.fromkeys(sound.judged.values, float("nan")) | {
        "monotone": 0.0, "hole_radius_angstrom": 0.7, "barrier_ev": 9.0,
    }  # fmt: skip
    holed = replace(sound, judged=replace(sound.judged, status=Status.OK, values=values))
    (lost,) = answered(Status.NONFINITE, 1)
    share, radius, worst = approach_rows([holed, lost], Limits())
    assert (share.value, share.verdict) == (None, Verdict.ERROR)
    assert share.note.startswith("0 of 2 bonded pairs repel")
    assert share.note.endswith("; 1 without a score, bond/acetaldehyde_0-1: nonfinite: no answer")
    assert (radius.value, radius.verdict) == (0.7, Verdict.FAIL)
    assert radius.note.endswith("(of 1 scored pairs)")
    assert worst.note.endswith("(of 1 scored pairs)")
    # what is called scored and has no number is not taken for a wall
    empty = replace(holed, judged=replace(holed.judged, values=dict.fromkeys(values, np.nan)))
    assert not empty.scored
    assert not empty.open
    assert approach_rows([empty], Limits())[0].verdict is Verdict.ERROR
