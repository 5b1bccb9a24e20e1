"""Golden numbers: what the official code gives, and the published calibration by controls."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from examples import tblite_entry
from pesbench.core.interface import Status
from pesbench.files.evaluation import ScanEvaluation
from pesbench.files.scan_set import ScanSet
from pesbench.metrics import aligned
from pesbench.models.families import control as controls
from pesbench.orchestration.config import read_models
from pesbench.tasks.bonds.score import score_rows, score_scan
from shards import evaluate_shard

OFFICIAL = {
    "full_smoothness": "fsd_full",
    "compress_smoothness": "fsd_compress",
    "stretch_smoothness": "fsd_stretch",
    "full_energy_mae": "energy_mae",
    "compress_energy_mae": "energy_mae_compress",
    "stretch_energy_mae": "energy_mae_stretch",
    "full_forces_mae": "force_mae",
    "compress_forces_mae": "force_mae_compress",
    "stretch_forces_mae": "force_mae_stretch",
}
NINE = ("C-C/2976", "C-N/1734", "C-O/101", "C-P/3299", "C-S/713", "N-N/2793", "N-O/4583",
        "N-P/4110", "O-P/4908")  # fmt: skip


def _evaluated(scan, forces, energy=None, defined=None):
    """An evaluation of all frames; those on which a control is not defined are masked."""
    codes = np.zeros(scan.n_frames, dtype=np.int8)
    if defined is not None:
        codes[~defined] = Status.MASKED.code
    return ScanEvaluation(
        scan.id, np.full(scan.n_frames, np.nan) if energy is None else energy, forces, codes,
        Status.OK, "", 0.0,
    )  # fmt: skip


# --- (a) stored forces ---------------------------------------------------------------------------


@pytest.mark.parametrize("scan_id", NINE)
def test_the_official_metrics_of_stored_forces(golden, bsct_scans, scan_id):
    with h5py.File(golden / "gfn2_xtb_forces.h5") as file:
        group = file[scan_id]
        energy, forces, expected = group["energy"][()], group["forces"][()], dict(group.attrs)
    scores = score_scan(bsct_scans[scan_id], _evaluated(bsct_scans[scan_id], forces, energy))
    assert set(expected) == set(OFFICIAL)
    for name, value in expected.items():
        assert scores[OFFICIAL[name]] == pytest.approx(value, rel=1e-9), name
    assert scores["fsd_full"] == max(scores["fsd_compress"], scores["fsd_stretch"])


def test_the_nine_scans_are_all_there_are(golden):
    with h5py.File(golden / "gfn2_xtb_forces.h5") as file:
        assert sorted(f"{bond}/{name}" for bond in file for name in file[bond]) == list(NINE)


# --- (b) controls --------------------------------------------------------------------------------

COLUMNS = {
    "fsd_full": "fsd_full",
    "fsd_compress": "fsd_compress",
    "fsd_stretch": "fsd_stretch",
    "fsd_windowed": "fsd_windowed",
    "slope_p95": "fsd_slope_p95",
}


def _rows():
    default = Path(__file__).parents[4] / "shared" / "golden"
    path = Path(os.environ.get("PESBENCH_GOLDEN", default)) / "controls.csv"
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {row["control"]: row for row in csv.DictReader(file)}


def _scores(scans, kind, dose):
    scores = []
    for scan in scans.values():
        prediction = controls.predict(kind, dose, scan)
        scores.append(score_scan(scan, _evaluated(scan, prediction.forces, None,
                                                  prediction.defined)))  # fmt: skip
    return scores


NO_NUMBERS = pytest.mark.skip(reason="no golden numbers; set PESBENCH_GOLDEN to where they are")


@pytest.fixture(scope="module")
def registry(repo):
    return read_models(repo / "config/models.yaml")


@pytest.mark.parametrize("name", list(_rows()) or [pytest.param("", marks=NO_NUMBERS)])
def test_a_control_lands_on_its_published_numbers(bsct_scans, registry, name):
    settings = registry[f"control-{name}"].settings
    scores = _scores(bsct_scans, settings["control"], settings.get("dose"))
    assert len(scores) == 485
    tolerance = {"rel": 0.04} if name.startswith("noise") else {"abs": 6e-5}
    for column, metric in COLUMNS.items():
        values = [row[metric] for row in scores]
        expected = float(_rows()[name][column])
        assert np.mean(values) == pytest.approx(expected, **tolerance), column
    for row in scores:
        assert row["fsd_full"] == max(row["fsd_compress"], row["fsd_stretch"])
        assert np.isnan(row["energy_mae"])
        if name == "reference":
            assert row["fsd_full"] == row["force_mae"] == row["fsd_slope_p95"] == 0.0
    _check_aligned(settings["control"], scores)


def _check_aligned(kind, scores):
    """A shift is free in every scan; what breaks the curve costs what the FSD says of it."""
    found = [row["fsd_aligned"] for row in scores]
    expected = np.mean([row["fsd_full"] for row in scores])
    if kind == "zero":
        assert np.isnan(found).all()
        assert {row["fsd_aligned_reason"] for row in scores} == {aligned.NO_MINIMUM}
        return
    assert {row["fsd_aligned_reason"] for row in scores} == {""}
    if kind in ("reference", "shift"):
        assert max(found) < (1.0 if kind == "shift" else 1e-12)
        assert np.mean(found) < 0.03
    elif kind in ("step", "cap", "spike"):
        assert np.mean(found) == pytest.approx(expected, rel=0.01)
    elif kind == "scaled":  # its minimum is that of the reference, its forces at q are not
        assert 0.6 * expected < np.mean(found) < 0.8 * expected
    else:  # noise of the force at its own minimum is not averaged away
        assert kind == "noise"
        assert np.mean(found) > expected


def test_every_published_control_is_an_entry_and_three_dips_are(golden, registry):
    published = {f"control-{name}" for name in _rows()}
    assert published
    own = {name for name, entry in registry.items() if entry.family == "control"}
    assert published <= own
    dips = [name for name in own if registry[name].settings["control"] == "dip"]
    assert len(dips) == 3
    for name in own:  # a name says what it is: control-<kind> or control-<kind>_<dose>
        settings = registry[name].settings
        kind, _, dose = name.removeprefix("control-").partition("_")
        assert kind == settings["control"]
        assert (float(dose) if dose else None) == settings.get("dose")


def test_the_checklist_of_the_specification(bsct_scans):
    """Zero forces 52.947/52.947/34.970 and by bond type; 0.9 F 14.275/12.615/11.262."""
    for (kind, dose), expected in {
        ("zero", None): (52.947, 52.947, 34.970), ("scaled", 0.9): (14.275, 12.615, 11.262),
    }.items():  # fmt: skip
        rows = _scores(bsct_scans, kind, dose)
        for metric, value in zip(
            ("fsd_full", "fsd_compress", "fsd_stretch"), expected, strict=True
        ):
            assert np.mean([row[metric] for row in rows]) == pytest.approx(value, abs=6e-4)
        if kind == "zero":
            assert max(row["fsd_full"] for row in rows) == pytest.approx(73.6, abs=0.05)
            # the maximum lies within 0.15 Å of the minimum
            assert all(abs(row["fsd_peak_offset"]) < 0.15 for row in rows)
            by_bond = {}
            for scan, row in zip(bsct_scans.values(), rows, strict=True):
                by_bond.setdefault(scan.bond, []).append(row["fsd_full"])
            assert {b: round(float(np.mean(v)), 1) for b, v in by_bond.items()} == {
                "C-C": 48.4, "C-N": 60.8, "C-O": 63.2, "C-P": 35.3, "C-S": 36.7, "N-N": 70.7,
                "N-O": 67.7, "N-P": 49.5, "O-P": 53.4,
            }  # fmt: skip


def test_constant_forces_score_close_to_zero_forces(bsct_scans):
    """F̂ = F_q has A = 0 in every frame: ℓ is the reference's own, clipped; spec: both 52.9."""
    rows = []
    for scan in bsct_scans.values():
        at_minimum = scan.forces[np.nanargmin(scan.energy)]
        constant = np.broadcast_to(at_minimum, scan.forces.shape).copy()
        rows.append(score_scan(scan, _evaluated(scan, constant))["fsd_full"])
    assert np.mean(rows) == pytest.approx(52.947, abs=0.05)


def test_missing_frames_are_dropped_and_the_difference_spans_the_gap(bsct_scans):
    scan = bsct_scans["C-N/25729"]
    assert np.count_nonzero(np.isfinite(scan.energy)) == 98
    zero = score_scan(scan, _evaluated(scan, np.zeros_like(scan.forces)))
    keep = np.isfinite(scan.energy)
    short = replace(
        scan, coordinate=scan.coordinate[keep], positions=scan.positions[keep],
        energy=scan.energy[keep], forces=scan.forces[keep],
    )  # fmt: skip
    expected = score_scan(short, _evaluated(short, np.zeros_like(short.forces)))
    for metric in ("fsd_full", "fsd_compress", "fsd_stretch", "fsd_windowed", "force_mae"):
        assert zero[metric] == expected[metric]
    # frames are numbered as in the scan set
    spiked = scan.forces.copy()
    spiked[11] += 100.0
    row = score_scan(scan, _evaluated(scan, spiked))
    assert (row["fsd_peak_index"], row["fsd_peak_index_next"]) in {(8, 11), (11, 12)}


def test_a_dip_is_two_spurious_extrema_in_energies_and_in_forces(bsct_scans):
    """E and F of the dip agree, so that both curves show the same, but for wells near 0.01 eV."""
    both, slopes = [], []
    for scan in list(bsct_scans.values())[::10]:
        prediction = controls.predict("dip", 0.5, scan)
        row = score_scan(scan, _evaluated(scan, prediction.forces, prediction.energy))
        own = score_scan(scan, _evaluated(scan, scan.forces, scan.energy))
        assert own["spurious_extrema"] == own["spurious_extrema_force"] == 0
        assert row["spurious_extrema"] in (0, 2)
        both.append((row["spurious_extrema"], row["spurious_extrema_force"]))
        assert abs(row["energy_force_inconsistency"]) < 0.02
        assert row["compression_monotone"] == row["compression_monotone_force"] == 1.0
        slopes.append((row["fsd_aligned"], row["fsd_full"]))
    own, published = np.mean(slopes, axis=0)
    assert own == pytest.approx(published, rel=0.01)
    assert sum(energy == force for energy, force in both) >= 0.9 * len(both)
    assert {count for counts in both for count in counts} <= {0, 2}


def test_the_deepest_dip_is_an_artificial_minimum(bsct_scans, registry):
    """What the control is for: it shows that the count of extrema responds."""
    deepest = max(e.settings["dose"] for e in registry.values()
                  if e.settings.get("control") == "dip")  # fmt: skip
    counts = []
    for scan in list(bsct_scans.values())[::10]:
        prediction = controls.predict("dip", deepest, scan)
        row = score_scan(scan, _evaluated(scan, prediction.forces, prediction.energy))
        counts.append(row["spurious_extrema"])
    assert np.mean(counts) > 1.5


# --- (c) GFN2-xTB afresh -------------------------------------------------------------------------


def _official(golden):
    with (golden / "official_gfn2_xtb.csv").open(newline="") as file:
        return {f"{row['bond']}/{row['system_id']}": row for row in csv.DictReader(file)}


def _compare(golden, bsct_spice, ids, out):
    evaluate_shard(tblite_entry(), bsct_spice, ids, out, device="cpu")
    with ScanSet(bsct_spice) as scan_set:
        rows = {row["scan"]: row for row in score_rows(scan_set, [out])}
    assert sorted(rows) == sorted(ids)
    official = _official(golden)
    for scan_id, row in rows.items():
        expected = {key: float(official[scan_id][key]) for key in OFFICIAL}
        if np.isnan(expected["full_smoothness"]):
            # where the official mean becomes NaN, ours has a status and a message
            assert row["status"] == "error", scan_id
            assert row["message"].startswith("frame ")
            assert "RuntimeError" in row["message"] or "Error" in row["message"]
            assert np.isnan(row["fsd_full"])
            continue
        assert row["status"] == "ok", row["message"]
        for key, metric in OFFICIAL.items():
            assert row[metric] == pytest.approx(expected[key], rel=1e-4), (scan_id, key)


SAMPLE = ("C-N/1734", "C-P/20575", "C-S/713", "N-O/4583", "N-P/4110", "O-P/4908")


def test_gfn2_xtb_run_afresh_on_a_sample(golden, bsct_spice, tmp_path):
    _compare(golden, bsct_spice, SAMPLE, tmp_path / "out.h5")


@pytest.mark.slow
def test_gfn2_xtb_run_afresh_on_all(golden, bsct_spice, tmp_path):
    ids = list(_official(golden))
    assert len(ids) == 47
    _compare(golden, bsct_spice, ids, tmp_path / "out.h5")
