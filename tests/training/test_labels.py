"""Labels of frames: pieces of a checkpoint, and what ends them."""

from __future__ import annotations

import numpy as np
import pytest

from examples import fake_entry
from fake_calculators import morse
from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.core.systems import System
from pesbench.files.checkpoint import Checkpoint
from pesbench.training.labels import PIECE, Labelling, Method

N = 2 * PIECE + 2
LENGTHS = 1.1 + 0.01 * np.arange(N)


@pytest.fixture
def made(tmp_path):
    """Labels of a bond CO of several lengths, and how often the method was asked."""
    tally = tmp_path / "tally"

    def make(fault="", lengths=LENGTHS, threads=1):
        arguments = {"tally": str(tally)}
        if fault:
            arguments |= {"fault": fault, "window": [1.115, 1.125]}
        entry = fake_entry("Faulty" if fault else "Morse", arguments=arguments)
        frames = [
            System("co", np.array([6, 8]), np.array([[0, 0, 0], [0, 0, x]]), np.array([[0, 1]]))
            for x in lengths
        ]
        return Labelling(Method(entry, "cpu", threads), frames, tmp_path / "out")

    def asked():
        return len(tally.read_text().splitlines())

    return make, asked


def test_a_frame_has_its_own_label(made):
    make, asked = made
    some = make()
    some.run()
    assert len(some.labels) == asked() == N
    for k, label in some.labels.items():
        frame = some.frames[k]
        energy, forces = morse(frame.numbers, frame.positions)
        assert (label.status, label.message) == (Status.OK, "")
        assert label.energy == pytest.approx(energy, abs=1e-12)
        assert np.allclose(label.forces, forces, atol=1e-12)
    assert some.spent["atom_frames"] == 2 * N


def test_it_labels_what_is_wanted_and_asks_again(made):
    """More than a piece at first, then one frame by what the labels so far are, then none."""
    make, asked = made
    first, seen = [7, *range(PIECE)], []

    def wanted(labels):
        seen.append(list(labels))
        return first if not labels else [9] if 9 not in labels else []

    some = make()
    some.run(wanted)
    assert list(some.labels) == [*first, 9]
    assert seen == [[], first, [*first, 9]]
    assert asked() == PIECE + 2
    energy, _ = morse(some.frames[7].numbers, some.frames[7].positions)
    assert some.labels[7].energy == pytest.approx(energy, abs=1e-12)
    again = make()
    again.run(lambda labels: [9, 8] if not labels else [])
    assert list(again.labels) == [9, 8]
    assert again.labels[9].energy == some.labels[9].energy
    assert asked() == PIECE + 3  # what is stored is not asked for again


def test_where_nothing_is_wanted_no_method_is_loaded(made, monkeypatch):
    monkeypatch.setattr("pesbench.training.labels.PatientWorker", None)
    some = made[0]()
    some.run(lambda labels: [])
    assert some.labels == {}


@pytest.mark.parametrize("fault", ["exit", "raise", "nan_energy"])
def test_a_frame_without_a_label_takes_no_other_with_it(made, fault):
    some = made[0](fault)
    some.run()
    status = {"exit": Status.CRASHED, "raise": Status.ERROR, "nan_energy": Status.NONFINITE}
    failed = some.labels.pop(2)
    assert failed.status is status[fault]
    assert failed.message
    assert {label.status for label in some.labels.values()} == {Status.OK}


def test_a_killed_call_loses_one_piece_at_most(made, monkeypatch):
    make, asked = made
    append = Checkpoint.append

    def killed(self, **arrays):
        if self.count == 1:
            raise KeyboardInterrupt
        append(self, **arrays)

    monkeypatch.setattr(Checkpoint, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        make().run()
    monkeypatch.setattr(Checkpoint, "append", append)
    some = make()
    assert some.checkpoint.count == 1
    some.run()
    assert asked() == N + PIECE
    assert some.spent["times_interrupted"] == 1
    # what was labelled holds for the same frames, method and machine alone
    assert make().checkpoint.count == 3
    assert make(lengths=LENGTHS + 1e-9).checkpoint.count == 0
    some = make()
    some.run()
    assert make(threads=2).checkpoint.count == 0


def test_a_damaged_piece_is_one_line(made):
    make, _ = made
    make().run()
    piece = make().checkpoint.folder / "000001.npz"
    piece.write_bytes(piece.read_bytes()[:50])
    with pytest.raises(UserError, match=r"000001\.npz") as error:
        make().run()
    assert "\n" not in str(error.value)
