"""SIGKILL at random points, a few of them: `benchmarks/kill_test.py` does more."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from pesbench.engine.batching import BatchLimit

REPO = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _benchmarks_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(REPO))


def test_a_dozen_kills_leave_nothing_and_cost_one_checkpoint_each(tmp_path):
    from benchmarks.kill_test import COMMAND, WORKER, kill_test

    *_, outcome = kill_test(12, 6, tmp_path, ["scans", "dynamics"])
    assert outcome.kills.total() == 12
    assert {victim for _, victim in outcome.kills} == {COMMAND, WORKER}
    assert {job for job, _ in outcome.kills} == {"scans", "dynamics"}


@pytest.mark.parametrize(("stage", "seed"), [("scans", 1), ("dynamics", 2)])
def test_a_network_in_batches_of_measured_size_is_killed_once(tmp_path, stage, seed):
    if importlib.util.find_spec("torch") is None:
        pytest.skip("needs torch")
    from benchmarks.kill_test import kill_test

    (outcome,) = kill_test(1, seed, tmp_path, [f"testbed-base {stage}"])
    assert outcome.kills.total() == 1
    (again,) = outcome.again.values()
    assert len(again) == 1  # in the middle of the work
    ((limit,),) = outcome.limits.values()
    assert limit.atoms is not None  # `auto`: a fixed size is a number of systems


def test_the_check_of_what_is_asked_can_fail():
    from benchmarks.kill_test import KillTestError, Undisturbed, check_asked

    whole = Undisturbed(Path(), list("abcdefghij"), lambda reached: 3)
    assert check_asked("x", whole, [list("abcde"), list("defg"), [], list("hij")]) == [2, 0]
    for runs, said in (
        ([list("abcde"), list("bcdefghij")], "4 geometries asked again after 5, more than the 3"),
        ([list("abc"), list("efghij")], "after 3 geometries it asks for others"),
        ([list("abx")], "after 0 geometries it asks for others"),
        ([list("abcde"), list("fgh")], "8 of 10 geometries asked"),
    ):
        with pytest.raises(KillTestError, match=said):
            check_asked("x", whole, runs)


@pytest.mark.parametrize(
    ("defect", "said"),
    [
        (None, None),
        ("measured again", "batches of another size after a kill"),
        ("other numbers", "out.h5 differs from the undisturbed file"),
        ("too much again", "5 geometries asked again after 5"),
        ("a part", "out.h5.part left behind"),
        ("torn", "out.h5 is not whole"),
    ],
)
def test_the_test_of_kills_can_fail(tmp_path, defect, said):
    """A shard that ends in the middle when it is run first, as if it had been killed there."""
    from benchmarks.kill_test import Job, KillTestError, kill_until_complete

    runs = []

    def run(out, tally):
        whole = out.name != "out.h5"
        runs.append(whole)
        limit = {"systems": None, "atoms": 8}
        if defect == "measured again" and runs == [False]:
            limit["atoms"] = 16
        first = runs == [False]
        rest = "abcdefghij" if defect == "too much again" else "defghij"
        asked = "abcdefghij" if whole else "abcde" if first else rest
        with tally.open("a") as file:
            file.write("".join(f"{letter * 16}\n" for letter in asked))
        if not whole:
            note = out.parent / "out.h5.checkpoint" / "limit.json"
            note.parent.mkdir(exist_ok=True)
            note.write_text(json.dumps(limit))
        if first:
            return
        if defect == "a part":
            (out.parent / "out.h5.part").touch()
        if defect == "torn" and not whole:
            out.write_bytes(b"half")
            return
        with h5py.File(out, "w") as file:
            other = defect == "other numbers" and not whole  # in the last bit
            file["energy"] = np.nextafter(1.0, 2.0) if other else 1.0
            file.attrs["batch_limit"] = json.dumps(limit)
            file.attrs["wall_s"] = float(len(runs))

    job = Job("x", tmp_path, run, lambda *_: lambda reached: 3, 10, 0.0, 0.0)
    place = tmp_path / "000"
    place.mkdir()
    rng = np.random.default_rng(0)
    if said is None:
        found = kill_until_complete(job, place, rng, 0)
        assert (found.again, found.limit) == ([2], BatchLimit(atoms=8))
        assert runs == [False, False, True]
    else:
        with pytest.raises(KillTestError, match=said):
            kill_until_complete(job, place, rng, 0)
