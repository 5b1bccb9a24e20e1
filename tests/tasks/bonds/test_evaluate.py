"""Evaluation: a failure costs what it happened on; batches, checkpoints and resuming."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from examples import fake_entry, faulty, tblite_entry, toy_scan, write_toys, written_entry
from pesbench import cli
from pesbench.core.errors import HostError, UserError
from pesbench.core.interface import ModelInfo, Result, Status, molecules_batch
from pesbench.engine import scans as engine_scans
from pesbench.engine.batching import BatchLimit, choose_limit, split
from pesbench.engine.evaluator import GIVE_UP_AFTER, Evaluator, why_unsupported
from pesbench.engine.scans import evaluate_scans, frames_batch
from pesbench.engine.worker import ModelFailureError, ModelLoadError, Timed, Worker
from pesbench.files import provenance
from pesbench.files.checkpoint import Checkpoint
from pesbench.files.evaluation import Evaluation
from pesbench.files.scan_set import ScanSet
from pesbench.models.registry import ModelEntry
from pesbench.tasks.bonds import shard as evaluate
from pesbench.tasks.bonds.score import (
    ENERGY_METRICS,
    FORCE_METRICS,
    TRAINED_ON,
    score_rows,
    score_scan,
)
from shards import evaluate_shard

IDS = ("C-C/a", "C-N/b", "C-O/c", "N-N/d", "N-O/e", "O-S/f")
BAD, FRAME = "C-N/b", 5


def _run(entry, scan_set, out, scans=IDS, **kwargs):
    """Evaluate a shard; every scan of the file by id."""
    evaluate_shard(entry, scan_set, scans, out, device="cpu", **kwargs)
    with Evaluation(out) as evaluation:
        return {scan_id: evaluation.scan(scan_id) for scan_id in evaluation.ids}


def _assert_right(done, scan):
    assert done.status is Status.OK
    assert done.message == ""
    assert np.array_equal(done.energy, scan.energy)
    assert np.array_equal(done.forces, scan.forces)
    assert not done.frame_status.any()


def _computed(tally, scans):
    """Lines of the frames of scans, without those by which the precision was measured."""
    known = {
        f"{Atoms(scan.numbers).get_chemical_formula()} {np.linalg.norm(x[1] - x[0]):.6f}"
        for scan in scans
        for x in scan.positions
    }
    return [line for line in tally.read_text().splitlines() if line in known]


def test_what_was_loaded_and_its_precision_stand_in_the_file(toy_set, tmp_path):
    tally = tmp_path / "tally"
    entry = fake_entry(batch_size=13, arguments={"tally": str(tally)})
    _run(entry, toy_set, tmp_path / "out.h5")
    assert len(tally.read_text().splitlines()) == 6 * 13 + 12
    with Evaluation(tmp_path / "out.h5") as evaluation:
        found = evaluation.attributes
    assert found["dtype_measured"] == "float64"
    assert json.loads(found["model_details"])["parameters_sha256"] == "not visible"
    told = provenance.summary(found, "pesbench.tasks.bonds.run")
    assert (told["dtype_measured"], told["parameters"]) == ("float64", "not visible")


# --- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        ("raise", Status.ERROR, "RuntimeError: SCF did not converge in 250 cycles"),
        ("nan_energy", Status.NONFINITE, "energy or force is not finite"),
        ("extra_atom", Status.ERROR, "forces have shape (3, 3), expected (2, 3)"),
        ("flat_forces", Status.ERROR, "ValueError"),
    ],
)
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_a_frame_that_fails_costs_its_scan_and_nothing_else(
    toys, toy_set, tmp_path, fault, status, said, batch_size
):
    entry = faulty(fault, toys[BAD], FRAME, batch_size=batch_size)
    done = _run(entry, toy_set, tmp_path / "out.h5")
    assert tuple(done) == IDS
    for scan_id in set(IDS) - {BAD}:
        _assert_right(done[scan_id], toys[scan_id])
    bad, scan = done[BAD], toys[BAD]
    assert bad.status is status
    assert bad.message.startswith(f"frame {FRAME} at {scan.coordinate[FRAME]:.3f} Å: ")
    assert said in bad.message
    assert np.flatnonzero(bad.frame_status).tolist() == [FRAME]
    assert bad.frame_status[FRAME] == status.code
    others = np.arange(scan.n_frames) != FRAME  # the good frames are kept for who wants them
    assert np.array_equal(bad.energy[others], scan.energy[others])
    with ScanSet(toy_set) as scan_set:
        rows = {row["scan"]: row for row in score_rows(scan_set, [tmp_path / "out.h5"])}
    assert all(np.isnan(rows[BAD][metric]) for metric in FORCE_METRICS)
    assert rows["C-C/a"]["fsd_full"] == 0.0


def test_forces_whose_squares_overflow_are_no_score(toys, toy_set, tmp_path):
    """They are finite, and so is their mean; the FSD would be NaN with the status ok."""
    _run(fake_entry(), toy_set, tmp_path / "out.h5", IDS[:3])
    with h5py.File(tmp_path / "out.h5", "r+") as file:
        file[BAD]["forces"][FRAME] *= 1e200
    with ScanSet(toy_set) as scan_set:
        rows = {row["scan"]: row for row in score_rows(scan_set, [tmp_path / "out.h5"])}
    assert rows[BAD]["status"] == Status.NONFINITE.value
    assert "eV/Å, whose square is infinite" in rows[BAD]["message"]
    assert rows["C-C/a"]["status"] == Status.OK.value


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        ("segfault", Status.CRASHED, "signal SIGSEGV"),
        ("exit", Status.CRASHED, "exit code 3"),
        ("lose_device", Status.CRASHED, "CUDA error: an illegal memory access"),
        ("hang", Status.TIMEOUT, "no answer in 0.4 s"),
    ],
)
def test_a_frame_that_ends_the_worker_costs_its_scan_and_nothing_else(
    toys, toy_set, tmp_path, fault, status, said
):
    entry = faulty(fault, toys[BAD], FRAME, timeout_s=0.4, batch_size=4)
    done = _run(entry, toy_set, tmp_path / "out.h5", IDS[:3])
    _assert_right(done["C-C/a"], toys["C-C/a"])
    _assert_right(done["C-O/c"], toys["C-O/c"])
    bad = done[BAD]
    assert bad.status is status
    assert said in bad.message
    assert f"frame {FRAME} " in bad.message
    assert bad.frame_status[FRAME] == status.code
    assert (bad.frame_status[:FRAME] == Status.OK.code).all()
    assert np.array_equal(bad.energy[:FRAME], toys[BAD].energy[:FRAME])
    assert np.isnan(bad.energy[FRAME])


def test_a_scan_that_ends_the_worker_is_not_tried_frame_by_frame(toys, toy_set, tmp_path):
    """Thirteen frames that all die: the first one found ends the scan."""
    tally = tmp_path / "tally"
    entry = faulty("exit", toys[BAD], batch_size=13, arguments={"tally": str(tally)})
    done = _run(entry, toy_set, tmp_path / "out.h5", IDS[:3])
    assert done[BAD].status is Status.CRASHED
    assert (done[BAD].frame_status == Status.CRASHED.code).all()
    deaths = [line for line in tally.read_text().splitlines() if line.startswith("CN")]
    assert len(deaths) == 4  # 13, 6, 3 and 1 frames
    _assert_right(done["C-O/c"], toys["C-O/c"])


def test_a_scan_that_hangs_is_waited_for_twice(toys, toy_set, tmp_path):
    """Once as a batch of all scans, once alone: a half that hangs would be waited for again."""
    tally = tmp_path / "tally"
    entry = faulty(
        "hang", toys[BAD], timeout_s=0.5, batch_size=100, arguments={"tally": str(tally)}
    )
    done = _run(entry, toy_set, tmp_path / "out.h5", IDS[:3])
    assert done[BAD].status is Status.TIMEOUT
    assert (done[BAD].frame_status[1:] == Status.TIMEOUT.code).all()
    hung = [line for line in tally.read_text().splitlines() if line.startswith("CN")]
    assert len(hung) == 2
    for scan_id in {*IDS[:3]} - {BAD}:
        _assert_right(done[scan_id], toys[scan_id])


def test_giving_up_within_one_batch_of_many_scans(toys, toy_set, tmp_path):
    tally = tmp_path / "tally"
    entry = faulty("hang", timeout_s=0.5, batch_size=100, arguments={"tally": str(tally)})
    done = _run(entry, toy_set, tmp_path / "out.h5")
    assert [done[scan_id].status for scan_id in IDS[:3]] == [Status.TIMEOUT] * 3
    for scan_id in IDS[3:]:
        assert done[scan_id].status is Status.CRASHED
        assert "not tried: the worker died or hung on 3 scans before" in done[scan_id].message
    assert len(tally.read_text().splitlines()) == 1 + GIVE_UP_AFTER


def test_giving_up_after_three_dead_scans(toys, toy_set, tmp_path):
    tally = tmp_path / "tally"
    entry = faulty("exit", batch_size=1, arguments={"tally": str(tally)})
    done = _run(entry, toy_set, tmp_path / "out.h5")
    assert GIVE_UP_AFTER == 3
    assert {done[scan_id].status for scan_id in IDS} == {Status.CRASHED}
    for scan_id in IDS[:3]:
        assert done[scan_id].message.startswith("frame 0 at ")
        assert "exit code 3" in done[scan_id].message
    for scan_id in IDS[3:]:
        assert done[scan_id].message == "not tried: the worker died or hung on 3 scans before"
        assert np.isnan(done[scan_id].forces).all()
    assert len(tally.read_text().splitlines()) == 3


def test_two_dead_scans_and_a_good_one_are_no_reason_to_give_up(toys, toy_set, tmp_path):
    arguments = {"fault": "exit", "formulas": ["C2", "CN", "N2", "NO"]}
    done = _run(
        fake_entry("Faulty", arguments=arguments, batch_size=1), toy_set, tmp_path / "out.h5"
    )
    for scan_id in ("C-O/c", "O-S/f"):
        _assert_right(done[scan_id], toys[scan_id])
    for scan_id in ("C-C/a", "C-N/b", "N-N/d", "N-O/e"):
        assert done[scan_id].message.startswith("frame 0 at ")


def test_the_hosts_failure_ends_the_command_and_a_second_call_continues(toys, toy_set, tmp_path):
    out = tmp_path / "out.h5"
    tally = tmp_path / "tally"
    arguments = {"tally": str(tally)}
    entry = faulty("memory", toys["N-N/d"], 2, batch_size=13, arguments=arguments)
    for lines in (3 * 13 + 3, 3 * 13 + 3 + 3):  # up to the frame; the second time that scan only
        with pytest.raises(HostError, match="out of memory on the host"):
            _run(entry, toy_set, out)
        assert not out.exists()
        assert len(list((tmp_path / "out.h5.checkpoint").glob("0*.npz"))) == 3
        assert len(tally.read_text().splitlines()) == lines


def test_unsupported_elements_are_not_tried(toys, toy_set, tmp_path):
    tally = tmp_path / "tally"
    entry = fake_entry(elements=["C", "O", "S"], arguments={"tally": str(tally)})
    done = _run(entry, toy_set, tmp_path / "out.h5")
    for scan_id in ("C-N/b", "N-N/d", "N-O/e"):
        assert done[scan_id].status is Status.UNSUPPORTED
        assert done[scan_id].message == "unknown elements: N"
        assert np.isnan(done[scan_id].energy).all()
        assert (done[scan_id].frame_status == Status.UNSUPPORTED.code).all()
    for scan_id in ("C-C/a", "C-O/c", "O-S/f"):
        _assert_right(done[scan_id], toys[scan_id])
    assert {line.split()[0] for line in tally.read_text().splitlines()} == {"C2", "CO", "OS"}


def test_a_charge_that_a_model_does_not_take():
    scan = replace(toy_scan("x", "CN"), charge=-1)
    info = ModelInfo(None, charges=False, batched=False, device="cpu", dtype="float64")
    assert why_unsupported(scan, info) == "the model takes no total charge (-1)"
    assert why_unsupported(replace(scan, charge=0), info) == ""
    assert why_unsupported(scan, replace(info, charges=True)) == ""


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [
        ("construction_raises", Status.ERROR, "no parameters for this method"),
        ("construction_dies", Status.CRASHED, "exit code 7"),
    ],
)
@pytest.mark.parametrize("batch_size", ["auto", 10])
def test_a_model_that_does_not_load_is_a_result_of_every_scan(
    toy_set, tmp_path, what, status, said, batch_size
):
    named = written_entry(fake_entry(what, batch_size=batch_size), tmp_path / "entry.json")
    out = tmp_path / "out.h5"
    code = cli.main(
        ["run", "bonds", *named, "--scan-set", str(toy_set),
         "--device", "cpu", "--out", str(out)]
    )  # fmt: skip
    assert code == 0
    with Evaluation(out) as evaluation:
        assert evaluation.ids == IDS
        for scan_id in IDS:
            assert evaluation.scan(scan_id).status is status
            assert said in evaluation.scan(scan_id).message
    assert not (tmp_path / "out.h5.checkpoint").exists()


def test_a_model_that_dies_and_does_not_come_back(toys, toy_set, tmp_path):
    """The reload fails in the middle of the work: still a status, no traceback."""
    arguments = {"marker": str(tmp_path / "marker"), "formula": "CN"}
    entry = fake_entry("dies_and_does_not_come_back", arguments=arguments, batch_size=13)
    done = _run(entry, toy_set, tmp_path / "out.h5")
    assert tuple(done) == IDS
    _assert_right(done["C-C/a"], toys["C-C/a"])
    for scan_id in IDS[1:]:
        assert done[scan_id].status in (Status.ERROR, Status.CRASHED)
        assert done[scan_id].message


def test_unknown_scan_and_unknown_scan_set(toy_set, tmp_path):
    with pytest.raises(UserError, match=r"no scan 'C-C/nowhere'"):
        _run(fake_entry(), toy_set, tmp_path / "out.h5", ["C-C/nowhere"])
    with pytest.raises(UserError, match="no such scan set"):
        _run(fake_entry(), tmp_path / "none.h5", tmp_path / "out.h5")
    assert not list(tmp_path.glob("out*"))


def test_frames_without_a_reference_cost_nothing(toys, tmp_path):
    """The model may fail where nothing is scored."""
    scan = toys[BAD]
    energy, forces = scan.energy.copy(), scan.forces.copy()
    energy[FRAME], forces[FRAME] = np.nan, np.nan
    write_toys(tmp_path / "toys.h5", [replace(scan, energy=energy, forces=forces)])
    done = _run(faulty("raise", scan, FRAME), tmp_path / "toys.h5", tmp_path / "out.h5", [BAD])
    assert done[BAD].status is Status.OK
    assert done[BAD].frame_status[FRAME] == Status.ERROR.code
    with ScanSet(tmp_path / "toys.h5") as scan_set:
        (row,) = score_rows(scan_set, [tmp_path / "out.h5"])
    assert row["fsd_full"] == 0.0
    assert row["force_mae"] == 0.0


def test_dropped_scans_are_passed_over(toys, tmp_path):
    dropped = replace(toys["C-C/a"], quality="dropped", reason="jumps")
    marked = replace(toys["C-N/b"], quality="marked", reason="two minima")
    write_toys(tmp_path / "toys.h5", [dropped, marked, toys["C-O/c"]])
    done = _run(fake_entry(), tmp_path / "toys.h5", tmp_path / "out.h5", IDS[:3])
    assert tuple(done) == ("C-N/b", "C-O/c")


def test_a_scan_that_a_model_was_trained_on_is_no_test_of_it(toys, toy_set, tmp_path):
    bad = toys[BAD]
    _run(faulty("raise", bad, FRAME), toy_set, tmp_path / "out.h5")
    seen = ["C-C/a", BAD, "C-C/of another set"]
    words = ["score", "bonds", "--scan-set", toy_set, "--files", tmp_path / "out.h5"]
    words += ["--out", tmp_path / "s.parquet", "--seen-scans", *seen]
    assert cli.main([str(word) for word in words]) == 0
    rows = pd.read_parquet(tmp_path / "s.parquet").set_index("scan")
    assert rows.loc["C-C/a", ["status", "message"]].tolist() == ["masked", TRAINED_ON]
    assert rows.loc["C-C/a", [*FORCE_METRICS, *ENERGY_METRICS]].isna().all()
    assert rows.loc[BAD, "status"] == "error"  # a failure stays one
    others = rows.drop(["C-C/a", BAD])
    assert len(others) == len(IDS) - 2
    assert (others["status"] == "ok").all()
    assert others["fsd_full"].notna().all()


def test_the_seconds_of_a_command_are_shared_out_over_its_scans(toys, toy_set, tmp_path):
    _run(faulty("raise", toys[BAD], FRAME), toy_set, tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        seconds = float(file.attrs["wall_s"])
    with ScanSet(toy_set) as scan_set:
        rows = {row["scan"]: row for row in score_rows(scan_set, [tmp_path / "out.h5"])}
    shares = {scan: row["command_s"] for scan, row in rows.items()}
    assert sum(shares.values()) == pytest.approx(seconds)  # a failure costs time, too
    work = {scan: toy.n_frames * toy.n_atoms for scan, toy in toys.items()}
    for scan, share in shares.items():
        assert share == pytest.approx(seconds * work[scan] / sum(work[s] for s in shares))


def test_the_reference_as_model_has_no_error(small_scan_set, tmp_path):
    out = tmp_path / "out.h5"
    with ScanSet(small_scan_set) as scan_set:
        done = _run(tblite_entry(), small_scan_set, out, scan_set.ids)
        rows = score_rows(scan_set, [out])
        for scan_id in scan_set.ids:
            assert np.array_equal(done[scan_id].energy, scan_set.scan(scan_id).energy)
    assert len(rows) == 3
    for row in rows:
        assert row["status"] == "ok"
        for metric in ("fsd_full", "fsd_compress", "fsd_stretch", "fsd_windowed", "force_mae",
                       "energy_mae", "energy_mae_aligned", "spurious_extrema",
                       "spurious_extrema_force", "energy_force_inconsistency"):  # fmt: skip
            assert row[metric] == 0.0, metric
        assert row["compression_monotone"] == row["compression_monotone_force"] == 1.0


def test_forces_without_energies_are_scored_on_forces(toys, toy_set, tmp_path):
    done = _run(fake_entry("ForcesOnly"), toy_set, tmp_path / "out.h5", [BAD])
    assert done[BAD].status is Status.OK
    assert np.isnan(done[BAD].energy).all()
    scores = score_scan(toys[BAD], done[BAD])
    assert scores["fsd_full"] == 0.0
    assert np.isnan(scores["energy_mae"])


# --- batches -------------------------------------------------------------------------------------


def test_batch_size_does_not_change_tight_binding_by_a_bit(small_scan_set, tmp_path):
    with ScanSet(small_scan_set) as scan_set:
        ids = scan_set.ids
    one = _run(tblite_entry(batch_size=1), small_scan_set, tmp_path / "1.h5", ids)
    seven = _run(tblite_entry(batch_size=7), small_scan_set, tmp_path / "7.h5", ids)
    many = _run(tblite_entry(batch_size="auto"), small_scan_set, tmp_path / "many.h5", ids)
    for other in (seven, many):
        for scan_id in ids:
            assert np.array_equal(one[scan_id].energy, other[scan_id].energy)
            assert np.array_equal(one[scan_id].forces, other[scan_id].forces)


class FakeWorker:
    """A batched model without a process.

    Energies are the bond lengths; calls are kept as numbers of systems. `memory` is what fits, in
    atoms; `poisoned` frames fail alone with a status; `seconds(n)` is the time of n systems.
    """

    def __init__(self, memory=10**9, poisoned=None, seconds=None, details=None, bytes_each=0):
        self.memory, self.poisoned = memory, poisoned or {}
        self.seconds = seconds or (lambda n: 0.001 * n)
        self.bytes_each = bytes_each
        self.info = ModelInfo(None, True, True, "fake", "float64", details or {})
        self.calls: list[int] = []
        self.loaded_bytes = 0
        self.losses = Counter()

    def start(self):
        return self.info

    def evaluate(self, batch):
        self.calls.append(batch.n_systems)
        if batch.n_atoms > self.memory:
            raise ModelFailureError(Status.OUT_OF_MEMORY, "CUDA out of memory")
        for label in batch.labels:
            if label in self.poisoned:
                raise ModelFailureError(self.poisoned[label], f"failed at {label}")
        first = np.flatnonzero(np.diff(batch.system, prepend=-1))
        lengths = np.linalg.norm(batch.positions[first + 1] - batch.positions[first], axis=1)
        ok = (Status.OK,) * batch.n_systems
        result = Result(lengths, batch.positions.copy(), ok, ("",) * batch.n_systems)
        return Timed(result, self.seconds(batch.n_systems), self.bytes_each * batch.n_systems)


def _lengths_right(done, scans, *, except_for=()):
    for scan, one in zip(scans, done, strict=True):
        good = np.array([(scan.id, k) not in except_for for k in range(scan.n_frames)])
        assert np.allclose(one.energy[good], scan.coordinate[good])
        assert np.array_equal(one.forces[good], scan.positions[good])
        assert (one.frame_status == 0).tolist() == good.tolist()


def test_out_of_memory_halves_the_batch_and_goes_on(toys, caplog):
    scans = list(toys.values())
    worker = FakeWorker(memory=20)
    evaluator = Evaluator(worker, BatchLimit(atoms=156))
    with caplog.at_level(logging.WARNING, "pesbench"):
        done = evaluate_scans(evaluator, scans)
    assert {scan.status for scan in done} == {Status.OK}
    _lengths_right(done, scans)
    assert 10 <= evaluator.limit.atoms <= 20  # what fits, and no less than half of it
    assert "halved" in caplog.text
    before = len(worker.calls)
    evaluate_scans(evaluator, scans)  # once found, the smaller batch stays
    assert len(worker.calls) - before == len(list(split([2] * 78, evaluator.limit)))


def test_one_system_that_does_not_fit_is_out_of_memory_alone(toys):
    scans = list(toys.values())
    label = ("N-N/d", 7)
    worker = FakeWorker(poisoned={label: Status.OUT_OF_MEMORY})
    evaluator = Evaluator(worker, BatchLimit(systems=64))
    done = {scan.scan_id: scan for scan in evaluate_scans(evaluator, scans)}
    assert {i for i in done if done[i].status is not Status.OK} == {"N-N/d"}
    assert done["N-N/d"].status is Status.OUT_OF_MEMORY
    assert np.flatnonzero(done["N-N/d"].frame_status).tolist() == [7]
    assert done["N-N/d"].frame_status[7] == Status.OUT_OF_MEMORY.code
    _lengths_right(done.values(), scans, except_for={label})


def test_nothing_fits_at_all(toys):
    worker = FakeWorker(memory=1)
    evaluator = Evaluator(worker, BatchLimit(systems=8))
    done = evaluate_scans(evaluator, [toys[BAD]])
    assert done[0].status is Status.OUT_OF_MEMORY
    assert (done[0].frame_status == Status.OUT_OF_MEMORY.code).all()
    # a molecule that is too large is no reason to send others one by one
    assert evaluator.limit == BatchLimit(systems=8)
    worker.memory = 1000
    before = len(worker.calls)
    evaluate_scans(evaluator, [toys["C-O/c"]])
    assert worker.calls[before:] == [8, 5]


def test_an_error_in_a_batched_model_is_taken_apart_to_the_frame(toys):
    scans = list(toys.values())
    bad = {("C-O/c", 0): Status.ERROR, ("O-S/f", 12): Status.ERROR}
    worker = FakeWorker(poisoned=bad)
    done = evaluate_scans(Evaluator(worker, BatchLimit(systems=1000)), scans)
    _lengths_right(done, scans, except_for=bad)
    assert [s.status for s in done].count(Status.ERROR) == 2
    assert len(worker.calls) < 40  # by halving, not one by one


@given(
    bad=st.sets(st.tuples(st.sampled_from(IDS[:3]), st.integers(0, 12)), max_size=8),
    limit=st.integers(1, 50),
    memory=st.integers(2, 90),
)
def test_failures_never_move_a_frame(toys, bad, limit, memory):
    scans = [toys[scan_id] for scan_id in IDS[:3]]
    worker = FakeWorker(memory=memory, poisoned=dict.fromkeys(bad, Status.ERROR))
    done = evaluate_scans(Evaluator(worker, BatchLimit(systems=limit)), scans)
    _lengths_right(done, scans, except_for=bad)


@given(
    sizes=st.lists(st.integers(1, 60), max_size=40),
    systems=st.none() | st.integers(1, 12),
    atoms=st.none() | st.integers(1, 120),
)
def test_split_covers_everything_once_and_fits(sizes, systems, atoms):
    limit = BatchLimit(systems, atoms)
    parts = list(split(sizes, limit))
    assert [k for part in parts for k in part] == list(range(len(sizes)))

    def fits(part):
        few = systems is None or len(part) <= systems
        return few and (atoms is None or sum(sizes[k] for k in part) <= atoms)

    for part in parts:
        assert len(part) == 1 or fits(part)
    for part in parts[:-1]:  # and none could have taken the next system, too
        assert not fits(range(part.start, part.stop + 1))


@given(by=st.sampled_from(["systems", "atoms"]), sizes=st.lists(st.integers(1, 60), min_size=2))
def test_a_batch_that_did_not_fit_is_divided(by, sizes):
    batch = molecules_batch(
        [np.zeros((n, 3)) for n in sizes], [np.ones(n) for n in sizes], [0] * len(sizes),
        [1] * len(sizes),
    )  # fmt: skip
    limit = BatchLimit(**{by: 10**6}).below(batch)
    parts = list(split(sizes, limit))
    assert len(parts) >= 2
    assert all(len(part) < len(sizes) for part in parts)


def _choose(worker, toys, scan_id="C-C/a"):
    everything = frames_batch([toys[scan_id]])

    def frames(count):
        return everything.select([k % 13 for k in range(count)])

    return choose_limit(worker, frames, toys[scan_id].n_atoms)


@pytest.mark.parametrize("peak", [1, 4, 32])
def test_on_a_cpu_the_batch_is_where_throughput_peaks(toys, peak):
    worker = FakeWorker(seconds=lambda n: 0.01 + 0.001 * n + 0.01 * (n / peak) ** 2 * (n > peak))
    if peak == 1:
        worker.seconds = lambda n: 0.001 * n**1.3
    assert _choose(worker, toys) == BatchLimit(atoms=2 * peak)
    assert max(worker.calls) <= 8 * peak  # it stops soon after the peak


def test_a_plateau_gives_the_smallest_batch_on_it(toys):
    worker = FakeWorker(seconds=lambda n: 0.001 * max(n, 1) * (1.0 if n >= 8 else 8 / n))
    assert _choose(worker, toys) == BatchLimit(atoms=16)


def test_a_noisy_measurement_does_not_end_the_search(toys):
    rates = {1: 100, 2: 75, 4: 99, 8: 300, 16: 200, 32: 200, 64: 200}
    worker = FakeWorker(seconds=lambda n: n / rates[n])
    assert _choose(worker, toys) == BatchLimit(atoms=16)


def test_on_an_accelerator_the_batch_is_as_large_as_memory_allows(toys):
    worker = FakeWorker(details={"gpu_memory_bytes": 1000}, bytes_each=10)
    limit = _choose(worker, toys)
    assert limit == BatchLimit(atoms=2 * 64)  # 640 of 1000; 128 would take 1280
    crowded = FakeWorker(details={"gpu_memory_bytes": 10**9}, bytes_each=10, memory=50)
    assert _choose(crowded, toys) == BatchLimit(atoms=2 * 16)  # 32 systems are 64 atoms


def test_a_frame_by_frame_method_is_asked_for_about_a_second(toys):
    worker = FakeWorker(seconds=lambda n: 0.1 * n)
    worker.info = replace(worker.info, batched=False)
    assert _choose(worker, toys) == BatchLimit(systems=10)
    worker.seconds = lambda n: 50.0 * n
    assert _choose(worker, toys) == BatchLimit(systems=1)
    worker.seconds = lambda n: 1e-6 * n
    assert _choose(worker, toys) == BatchLimit(systems=100)


def test_a_model_that_fails_while_it_is_measured(toys):
    broken = FakeWorker(poisoned={("C-C/a", 0): Status.ERROR})
    assert _choose(broken, toys) == BatchLimit(atoms=2)


# --- checkpoints ---------------------------------------------------------------------------------


def _content(path):
    """Every dataset and every attribute of the scans, but the time they took."""
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = (item.dtype, item[()].tobytes())
        for key, value in item.attrs.items():
            if key != "wall_s":
                found[f"{name}@{key}"] = value

    with h5py.File(path) as file:
        file.visititems(visit)
        for key in ("model", "entry", "batch_limit", "device", "dtype", "scan_set_sha256"):
            found[f"@{key}"] = file.attrs[key]
    return found


@pytest.mark.parametrize("kept", [0, 1, 4, 5])
def test_an_interrupted_command_continues(toys, toy_set, tmp_path, monkeypatch, kept):
    tally = tmp_path / "tally"
    entry = faulty("raise", toys[BAD], FRAME, batch_size=13, arguments={"tally": str(tally)})
    _run(entry, toy_set, tmp_path / "whole.h5")
    assert Counter(_computed(tally, toys.values())).most_common(1)[0][1] == 1
    tally.unlink()

    out = tmp_path / "out.h5"
    _interrupt_after(monkeypatch, entry, toy_set, out, kept)
    assert not out.exists()
    assert len(list((tmp_path / "out.h5.checkpoint").glob("0*.npz"))) == kept
    _run(entry, toy_set, out)
    assert _content(out) == _content(tmp_path / "whole.h5")
    # no frame was computed twice
    assert set(Counter(_computed(tally, toys.values())).values()) == {1}
    assert len(_computed(tally, toys.values())) == 6 * 13
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("out")) == ["out.h5"]
    with h5py.File(out) as file:
        assert file.attrs["times_interrupted"] == (1 if kept else 0)


def test_a_killed_command_continues_to_the_bit(small_scan_set, tmp_path):
    """SIGKILL of the whole command in the middle; its worker goes with it."""
    tally = tmp_path / "tally"
    entry = fake_entry("Morse", arguments={"pause_s": 0.005, "tally": str(tally)}, batch_size=20)
    named = written_entry(entry, tmp_path / "entry.json")
    ids = _ids(small_scan_set)
    _run(entry, small_scan_set, tmp_path / "whole.h5", ids)
    tally.unlink()
    out = tmp_path / "out.h5"
    command = [
        sys.executable, "-m", "pesbench", "run", "bonds", *named,
        "--scan-set", str(small_scan_set), "--device", "cpu", "--out", str(out),
    ]  # fmt: skip
    first_piece = tmp_path / "out.h5.checkpoint" / "000000.npz"
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    # the note of the time spent follows the piece, and is what an interruption is told by
    noted = first_piece.with_name("spent.json")
    while not (first_piece.exists() and noted.exists()):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.005)
    children = _children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)
    _await_end(children)
    assert not out.exists()
    pieces = len(list(first_piece.parent.glob("0*.npz")))
    assert 1 <= pieces < len(ids)

    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert _content(out) == _content(tmp_path / "whole.h5")
    assert not first_piece.parent.exists()
    with h5py.File(out) as file:
        assert file.attrs["times_interrupted"] == 1
        assert json.loads(file.attrs["provenance"])["packages"]["ase"]
    with ScanSet(small_scan_set) as scan_set:
        frames = Counter(_computed(tally, map(scan_set.scan, ids)))
        for scan_id in ids[:pieces]:
            formula = Atoms(scan_set.scan(scan_id).numbers).get_chemical_formula()
            counts = [n for line, n in frames.items() if line.split()[0] == formula]
            assert sum(counts) == 100, "a stored scan was computed again"


def _ids(path):
    with ScanSet(path) as scan_set:
        return scan_set.ids


def test_a_hung_worker_does_not_outlive_a_killed_command(toys, toy_set, tmp_path):
    """It reads no pipe any more: only the kernel can end it."""
    tally = tmp_path / "tally"
    entry = faulty("hang", toys["C-C/a"], 0, batch_size=1, arguments={"tally": str(tally)})
    named = written_entry(entry, tmp_path / "entry.json")
    process = subprocess.Popen(
        [sys.executable, "-m", "pesbench", "run", "bonds", *named,
         "--scan-set", str(toy_set), "--device", "cpu", "--out", str(tmp_path / "out.h5")],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not tally.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.01)
    children = _children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stderr.close()
    _await_end(children)


def _await_end(children):
    assert children
    until = time.monotonic() + 15
    while any(_runs(pid) for pid in children):
        assert time.monotonic() < until, "the worker outlived the command"
        time.sleep(0.05)


def _children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123
        return [int(child) for child in file.read().split()]


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _interrupt_after(monkeypatch, entry, toy_set, out, count=2, **kwargs):
    original, calls = evaluate_scans, 0

    def interrupted(*arguments):
        nonlocal calls
        if calls == count:
            raise KeyboardInterrupt
        calls += 1
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "evaluate_scans", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _run(entry, toy_set, out, **kwargs)


@pytest.mark.parametrize("change", ["entry", "threads", "scans", "code", "scan_set"])
def test_other_settings_start_anew(toys, toy_set, tmp_path, monkeypatch, caplog, change):
    out, tally = tmp_path / "out.h5", tmp_path / "tally"
    arguments = {"tally": str(tally)}
    entry = fake_entry(batch_size=13, arguments=arguments)
    _interrupt_after(monkeypatch, entry, toy_set, out)
    assert len(tally.read_text().splitlines()) == 2 * 13
    scans, threads, named = IDS, 1, change
    match change:
        case "entry":
            entry, named = fake_entry(batch_size=12, arguments=arguments), "model"
        case "threads":
            threads = 2
        case "scans":
            scans = IDS[:5]
        case "code":
            monkeypatch.setattr(evaluate, "stage_fingerprint", lambda *_: "other")
        case "scan_set":
            toy_set, named = tmp_path / "other.h5", "scan_set_sha256"
            write_toys(toy_set, [replace(s, energy=s.energy + 1) for s in toys.values()])
    with caplog.at_level(logging.WARNING, "pesbench"):
        _run(entry, toy_set, out, scans, threads=threads)
    assert f"made with another {named}; starting anew" in caplog.text
    assert len(_computed(tally, toys.values())) == (2 + len(scans)) * 13
    with h5py.File(out) as file:
        assert file.attrs["times_interrupted"] == 0


def test_an_entry_with_another_citation_keeps_its_checkpoint(toys, toy_set, tmp_path, monkeypatch):
    out, tally = tmp_path / "out.h5", tmp_path / "tally"
    arguments = {"tally": str(tally)}
    entry = fake_entry(batch_size=13, arguments=arguments, citation="me 2025")
    _interrupt_after(monkeypatch, entry, toy_set, out)
    _run(fake_entry(batch_size=13, arguments=arguments, citation="me 2026"), toy_set, out)
    assert len(_computed(tally, toys.values())) == 6 * 13


@pytest.mark.parametrize("pieces", [0, 2])
def test_the_batch_size_is_measured_once(toy_set, tmp_path, monkeypatch, pieces):
    """It decides rounding: the resumed command takes the one of the first call."""
    out = tmp_path / "out.h5"
    entry = fake_entry(batch_size="auto")
    monkeypatch.setattr(engine_scans, "choose_limit", lambda *_: BatchLimit(systems=6))
    _interrupt_after(monkeypatch, entry, toy_set, out, pieces)
    monkeypatch.setattr(engine_scans, "choose_limit", lambda *_: pytest.fail("measured again"))
    _run(entry, toy_set, out)
    with h5py.File(out) as file:
        assert json.loads(file.attrs["batch_limit"]) == {"systems": 6, "atoms": None}


def test_a_halved_batch_stays_halved_after_a_kill(toys, toy_set, tmp_path):
    """The limit of the last piece, not the first one, goes on."""
    checkpoint = Checkpoint(tmp_path / "out.h5", {"a": 1})
    checkpoint.write_note("limit", {"systems": 16, "atoms": None})
    evaluator = Evaluator(FakeWorker(memory=10), BatchLimit(systems=16))
    results = evaluate_scans(evaluator, [toys["C-C/a"]])
    checkpoint.append(**evaluate._to_arrays(results, evaluator.limit))
    again = Checkpoint(tmp_path / "out.h5", {"a": 1})
    scans, limit, _ = evaluate._from_arrays(again.read(0))
    assert limit == evaluator.limit
    assert limit.systems < 16
    assert np.array_equal(scans[0].energy, results[0].energy)
    assert scans[0].status is Status.OK


def test_a_checkpoint_piece_that_was_not_finished_does_not_count(tmp_path):
    checkpoint = Checkpoint(tmp_path / "out.h5", {"a": 1})
    checkpoint.append(x=np.arange(3))
    (checkpoint.folder / "000001.npz.part").write_bytes(b"half")
    again = Checkpoint(tmp_path / "out.h5", {"a": 1})
    assert again.count == 1
    again.append(x=np.arange(4))
    assert again.read(1)["x"].tolist() == [0, 1, 2, 3]
    assert not list(again.folder.glob("*.part"))


def test_a_control_that_is_not_defined_everywhere(toys, toy_set, tmp_path):
    entry = ModelEntry("control-shift_+0.05", "control", {"control": "shift", "dose": 0.05})
    done = _run(entry, toy_set, tmp_path / "out.h5", [BAD])
    assert done[BAD].status is Status.OK
    assert done[BAD].frame_status[0] == Status.MASKED.code
    assert np.isnan(done[BAD].forces[0]).all()
    assert np.isfinite(score_scan(toys[BAD], done[BAD])["fsd_full"])


def test_a_resumed_model_that_no_longer_loads_keeps_what_was_done(
    monkeypatch, toys, toy_set, tmp_path
):
    """Earlier pieces stay, the rest get the reason, and no scan stands twice."""
    entry, out = fake_entry(batch_size=13), tmp_path / "out.h5"
    with monkeypatch.context() as patch:
        _interrupt_after(patch, entry, toy_set, out)

    def start(worker):
        raise ModelLoadError(Status.ERROR, "the model did not load: gone")

    monkeypatch.setattr(Worker, "start", start)
    done = _run(entry, toy_set, out)
    assert sorted(done) == sorted(IDS)
    for scan_id in IDS[:2]:
        _assert_right(done[scan_id], toys[scan_id])
    assert {done[scan_id].status for scan_id in IDS[2:]} == {Status.ERROR}
