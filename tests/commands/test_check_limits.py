"""The default limits of `pesbench check`: what the reference does passes, known defects do not."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import ase.io
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import check_calculators as fakes
import check_table
import pesbench
from checked import LOOSE, conform, failures, options
from pesbench.cli import main
from pesbench.commands.check import apart, ladders, subset
from pesbench.commands.check import dynamics as short_dynamics
from pesbench.commands.check.dynamics import check_systems
from pesbench.commands.check.limits import TOLERANCES, Limits
from pesbench.commands.check.reference import COLUMNS, REFERENCE, read_reference
from pesbench.commands.check.report import Verdict
from pesbench.commands.check.run_rows import dynamics_rows
from pesbench.commands.check.subset import reference_level
from pesbench.core.interface import Result

FLOAT64 = TOLERANCES["float64"]
KNOWN = ("name", "value", "limit", "verdict", "note")


# --- the ladder ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ladder():
    """Checks of the reference and of some doses; what the reference says is asked for once."""
    pytest.importorskip("tblite")
    names = ("gfn2-step_0", "gfn2-step_0.1", "gfn2-dip_1")
    return {name: _ladder_check(name) for name in names}


def _ladder_check(name):
    if name == "gfn2-step_0":  # the reference through the same path as the others
        return check_table.check_of_perturbed(name, "gfn2-xtb", "step", 0.0, {"distance": 1.1})
    return check_table.check_of(name)


def test_the_reference_passes(ladder):
    report = ladder["gfn2-step_0"]
    assert report.verdict == "passed"
    assert failures(report) == set()
    assert report.scores["fsd_full"] == pytest.approx(0, abs=0.01)
    for row in ("energy_rms", "energy_jump"):  # it is what the shipped file says
        assert report.row(row).value == pytest.approx(report.row(row).limit / 10, rel=0.1)


def test_a_jump_of_the_energy_fails_by_the_rms_and_by_the_jump_itself(ladder):
    """It has no force: every score of the scans is that of the reference, every run survives."""
    report = ladder["gfn2-step_0.1"]
    assert failures(report) == {"energy_rms", "energy_jump"}
    assert report.verdict.startswith("failed: energy rms ")
    assert report.row("energy_rms").value > 5 * ladder["gfn2-step_0"].row("energy_rms").value
    before, after = report.row("energy_jump").frames
    gap = abs(after.get_potential_energy() - before.get_potential_energy())
    assert gap > 0.05  # one jump of 0.1 eV, less what the motion changes
    assert "the total energy changes by" in before.info["note"]


def test_a_false_well_fails(ladder):
    assert {"fsd_aligned", "spurious_extrema", "runs_failed"} <= failures(ladder["gfn2-dip_1"])
    shown = ladder["gfn2-dip_1"].row("spurious_extrema").frames
    assert len(shown) == 30
    assert all("false" in frame.info["note"] for frame in shown)


# --- what the reference does ---------------------------------------------------------------------


def test_the_shipped_runs_are_of_the_same_molecules_and_settings():
    content = json.loads(REFERENCE.read_text())
    settings = json.loads(json.dumps(short_dynamics.settings_of_part()))
    assert content["settings"] == settings, (
        "make it again: python -m pesbench check-reference gfn2-xtb "
        "--out workflow/pesbench/commands/check/reference.json"
    )
    assert content["level_of_theory"] == reference_level()
    assert list(read_reference()) == [system.id for system in check_systems()]
    for row in read_reference().values():
        assert all(np.isfinite(row[column]) for column in COLUMNS)


def test_a_model_of_another_level_is_no_reference(tmp_path, caplog):
    out = tmp_path / "reference.json"
    arguments = ["--models-file", "config/models.yaml", "--out", str(out)]
    for name in ("gfn1-xtb", "mace-mini"):  # the latter is trained on the level, and not the method
        assert main(["check-reference", name, *arguments]) == 2
        assert f"{name!r} is not the method GFN2-xTB of the scans" in caplog.text
    assert not out.exists()


def _record(system="hydrazine", **scores):
    defaults = {
        "status": "ok", "outcome": "survived", "message": "", "planned_ps": 0.75,
        "temperature_k": 1000.0, "n_atoms": 6, "relaxed": True, "relaxation": "",
        "temperature_spike": 1.0,
    }  # fmt: skip
    still = dict.fromkeys(COLUMNS, 0.0)
    return {"system": system} | defaults | still | scores


SAYS = {"hydrazine": dict(zip(COLUMNS, (-0.2, 0.1, 0.5, 9.0), strict=True))}


def _rows(*records, limits=None, tolerance=FLOAT64):
    found = dynamics_rows(records, limits or Limits(), tolerance, SAYS, {})
    return {row.name: row for row in found}


def test_limits_are_times_what_the_reference_does():
    rows = _rows(_record())
    assert rows["energy_rms"].limit == pytest.approx(10 * 0.5, rel=1e-3)
    assert rows["energy_jump"].limit == pytest.approx(10 * 9.0, rel=1e-3)
    assert rows["energy_drift"].limit == pytest.approx(10 * (0.2 + 0.1))
    # the rounding of a float32 energy is no fault: 5 meV a molecule
    coarse = _rows(_record(), tolerance=TOLERANCES["float32"])
    assert coarse["energy_rms"].limit == pytest.approx(10 * 0.5 + 5 / 6)
    assert coarse["energy_jump"].limit == pytest.approx(10 * 9.0 + 10)
    # a drift counts as far as it is significant
    wide = _rows(_record(**dict(zip(COLUMNS, (6.0, 3.0, 0.5, 9.0), strict=True))))
    assert wide["energy_drift"].limit == pytest.approx(3 + 6)
    assert wide["energy_drift"].verdict is Verdict.PASS
    own = _rows(_record(), limits=Limits(rms_ratio=2, jump=7, drift_ratio=1, drift=3))
    assert own["energy_rms"].limit == pytest.approx(1, rel=1e-3)
    assert (own["energy_jump"].limit, own["energy_drift"].limit) == (7, 3)
    assert "the reference has -0.2" in rows["energy_drift"].note


def test_the_molecule_furthest_beyond_its_limit_decides():
    """Not the largest value: the reference itself does more on some molecules than on others."""
    says = SAYS | {"methanethiol": dict(zip(COLUMNS, (0.0, 0.1, 0.1, 2.0), strict=True))}
    records = [
        _record(**{COLUMNS[2]: 2.0}),
        _record("methanethiol", **{COLUMNS[2]: 1.1}),
        _record("acetaldehyde", outcome="failed", message="hot", **{COLUMNS[2]: 99.0}),
    ]
    rows = {row.name: row for row in dynamics_rows(records, Limits(), FLOAT64, says, {})}
    assert rows["energy_rms"].note.startswith("worst of 2 of 3 runs: methanethiol")
    assert rows["energy_rms"].verdict is Verdict.FAIL
    assert rows["runs_failed"].value == 1  # what a run does while it breaks is no fluctuation


# --- scans ---------------------------------------------------------------------------------------


def test_knowing_nothing_fails():
    class Nothing(fakes.Smooth):
        def answer(self, atoms):
            return 0.0, np.zeros_like(atoms.positions)

    report = pesbench.check(Nothing(), parts=["scans"])
    assert failures(report) == {"force_mae", "missing_extrema", "open_walls"}
    scans = subset.read_subset()
    assert report.scores["fsd_full"] == pytest.approx(ladders.zero_forces(scans))
    mean_force = np.mean([np.abs(scan.forces).mean() for scan in scans])
    assert report.scores["force_mae"] == pytest.approx(mean_force)
    assert "no better than those" in report.row("force_mae").note
    assert report.row("fsd_aligned").note.startswith("n/a: no minimum of its own")
    assert report.row("open_walls").value == report.row("missing_extrema").value * 30 == 30


def test_a_shorter_bond_is_a_gap_of_theory_and_no_failure():
    """A bond shorter by two frames, 0.04 Å: the published FSD is that of zero forces."""
    (scan,) = subset.read_subset(["C-N/methylamine_*"])[:1]

    class Shifted(fakes.Smooth):
        def answer(self, atoms):
            if len(atoms) != scan.n_atoms:
                return super().answer(atoms)
            moved = np.abs(scan.positions - atoms.positions).max(axis=(1, 2))
            k = int(np.argmin(moved))
            k = min(k + 2, scan.n_frames - 1)
            return scan.energy[k], scan.forces[k]

    report = pesbench.check(Shifted(), parts=["scans"], scans=[scan.id])
    assert report.scores["fsd_full"] >= ladders.zero_forces([scan])
    assert report.scores["fsd_aligned"] < 5
    assert report.verdict == "passed"
    assert "no better than those" not in report.row("fsd_aligned").note


def test_limits_of_the_scans_have_options(smooth):
    for name in ("spurious_extrema", "missing_extrema", "open_walls"):
        value = smooth.row(name).value
        if value == 0:
            continue
        for limit, fails in ((value, False), (value * 0.99, True)):
            limits = replace(LOOSE, **{name: limit})
            report = pesbench.check(fakes.Smooth(), parts=["scans"], limits=limits)
            assert failures(report) == ({name} if fails else set())


def test_every_limit_has_its_option_and_its_default_in_the_help(capsys):
    with pytest.raises(SystemExit):
        main(["check", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for name, value in asdict(Limits()).items():
        assert f"--max-{name.replace('_', '-')} X" in said
        assert value is None or f"(default: {value:g})" in said


# --- conformance ---------------------------------------------------------------------------------


def test_where_conformance_alone_is_asked_a_model_conforms():
    report = conform(fakes.Smooth())
    assert report.verdict == "conforms"
    assert report.row("extensivity").limit == pytest.approx(1.01e-4)
    assert conform(fakes.Swirl()).verdict.startswith("failed: rotation forces ")


@given(
    st.lists(st.floats(0.5, 2.0), min_size=12, max_size=40),
    st.floats(1e-6, 1e3),
)
def test_what_changes_gradually_does_not_jump(factors, size):
    """Changes that differ by less than a factor of 4 from step to step and in all."""
    change = size * np.array(factors)
    assert apart.most_abrupt(change, 0.0).ratio <= 4


@pytest.mark.parametrize("jump", [0.1, 3.0])
def test_the_size_and_place_of_a_jump(jump):
    change = np.full(40, 0.01)
    change[17] += jump
    found = apart.most_abrupt(change, 0.01)
    assert found.step == 17
    assert found.change == pytest.approx(jump + 0.01)
    assert found.ratio == pytest.approx((jump + 0.01) / 0.02)
    # a force that begins to change is no jump, and rounding is none
    kink = np.r_[np.zeros(20), np.full(20, 0.01)]
    assert apart.most_abrupt(kink, 1e-6).ratio <= 1
    assert apart.most_abrupt(np.r_[np.zeros(30), 1e-9], 1e-6).ratio < 0.01
    # a smooth step of the energy, 0.2 Å wide in steps of 0.05 Å, is none; two jumps in a row are
    smooth = np.abs(np.diff(np.tanh(np.arange(-20, 21) / 2)))
    assert apart.most_abrupt(smooth, 1e-6).ratio < 2
    change[18] += jump
    assert apart.most_abrupt(change, 0.01).ratio == pytest.approx(found.ratio)


def test_the_approach_covers_cutoffs_from_far_to_contact():
    first, second = apart.pair_of(subset.read_subset())
    assert first.system != second.system
    asked = []

    def nothing(batch):
        asked.append(batch)
        zeros = np.zeros(batch.n_systems)
        return Result.ok(zeros, np.zeros((batch.n_atoms, 3)))

    found = apart.crossing(nothing, first, second)
    (batch,) = asked
    n = second.n_atoms
    for s in (0, 100, batch.n_systems - 1):
        positions = batch.positions[batch.system == s]
        gap = np.linalg.norm(positions[:n, None] - positions[None, n:], axis=-1).min()
        assert gap == pytest.approx(found.distance[s], abs=1e-9)
    assert (found.distance[0], found.distance[-1]) == (15.0, pytest.approx(3.0))
    assert found.energy(1e-6).ratio == 0


def test_two_molecules_are_one_system_with_both_bond_graphs():
    first, second = apart.pair_of(subset.read_subset())
    asked = []

    def counts(batch):
        asked.append(batch)
        return Result.ok(np.array([float(batch.n_atoms)]), np.zeros((batch.n_atoms, 3)))

    found = apart.far_apart(counts, first, second)
    assert (found.energy, found.forces, found.failed) == (0.0, 0.0, "")
    both = asked[-1]
    topology = both.topologies[0]
    assert len(topology.bonds) == len(first.bonds) + len(second.bonds)
    assert topology.bonds.max() == both.n_atoms - 1
    one, other = topology.smiles.split(".")
    assert one == first.smiles
    assert f":{both.n_atoms}]" in other
    gap = np.linalg.norm(both.positions[0] - both.positions[first.n_atoms])
    assert gap == pytest.approx(100, abs=6)


# --- geometries of what fails --------------------------------------------------------------------


def test_frames_of_what_fails_are_written_with_what_the_model_says(tmp_path):
    path = tmp_path / "frames.extxyz"
    assert conform(fakes.Kinked()).write_frames(path) == 2
    before, after = ase.io.read(path, index=":")
    assert {frame.info["row"] for frame in (before, after)} == {"crossing_forces"}
    assert "at 9.00 Å between" in before.info["note"]
    assert conform(fakes.Pushed()).write_frames(path) == 1
    frame = ase.io.read(path)
    energy, forces = fakes.Pushed().answer(frame)
    assert frame.info["row"] == "net_force"
    assert frame.get_potential_energy() == pytest.approx(energy, abs=1e-5)
    assert frame.get_forces() == pytest.approx(forces, abs=1e-5)
    # nothing is left of it where nothing fails
    assert conform(fakes.Smooth()).write_frames(path) == 0
    assert not path.exists()


def test_a_frame_without_an_answer_has_no_forces(tmp_path):
    calculator = fakes.FailsWhenStretched()
    calculator.longest = 1.7
    report = conform(calculator)
    (frame,) = report.row("unanswered").frames
    assert frame.calc is None
    assert frame.get_distance(*np.flatnonzero(frame.numbers > 1)) > 1.7
    assert report.write_frames(tmp_path / "f.extxyz") == 1
    read = ase.io.read(tmp_path / "f.extxyz")
    assert (read.info["row"], read.info["charge"], read.info["spin"]) == ("unanswered", 0, 1)


def test_the_end_of_a_broken_run_is_shown(tmp_path):
    report = pesbench.check(fakes.Loose(), parts=["dynamics"])
    assert failures(report) == {"runs_failed"}
    (frame,) = report.row("runs_failed").frames
    assert frame.get_chemical_formula() == "H4N2"
    assert frame.get_distance(0, 1) > fakes.Loose.beyond
    assert frame.info["note"].startswith("hydrazine_1000K_0 step ")


# --- alike ---------------------------------------------------------------------------------------


def test_two_checks_in_a_process_and_the_command_say_the_same(tmp_path):
    parts = ["conformance", "scans"]
    calculator = fakes.Kinked()
    reports = [
        pesbench.check(calculator, parts=parts, scans=["N-O/*"], limits=LOOSE) for _ in range(2)
    ]
    first, second = ([asdict(row) for row in report.rows] for report in reports)
    assert [{key: row[key] for key in KNOWN} for row in first] == [
        {key: row[key] for key in KNOWN} for row in second
    ]
    out = tmp_path / "report.json"
    limits = options(LOOSE)
    command = ["check", "--calculator", "check_calculators:Kinked", "--parts", *parts]
    assert main([*command, "--scans", "N-O/*", *limits, "--out", str(out)]) == 1
    content = json.loads(out.read_text())
    for row, own in zip(content["rows"], first, strict=True):
        assert (row["name"], row["verdict"]) == (own["name"], str(own["verdict"]))
        assert row["value"] == pytest.approx(own["value"], rel=1e-6, abs=1e-12)
    assert content["verdict"] == reports[0].verdict
    assert content["verdict"].startswith("failed: crossing forces ")
    shown = ase.io.read(out.with_suffix(".extxyz"), index=":")
    assert len(shown) == reports[0].write_frames(tmp_path / "own.extxyz") == 2
    assert not math.isnan(shown[0].get_potential_energy())


# --- the page ------------------------------------------------------------------------------------


def _on_the_page():
    """Verdict of every dose, as docs/check.md tells it."""
    page = check_table.PAGE.read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in page.split("<!-- ladder -->\n")[1]
        .split("<!-- end of ladder -->")[0]
        .splitlines()
    ]
    titles, _, *rows = rows
    return {row[0].strip("`"): row[titles.index("verdict")] for row in rows}


def test_the_ladder_on_the_page_is_that_of_the_study_with_the_verdicts_that_must_hold():
    verdicts = _on_the_page()
    assert list(verdicts) == check_table.ladder()
    assert verdicts[check_table.REFERENCE] == "passed"
    must = {name for name, lost in check_table.time_lost().items() if lost > 0}
    must |= set(check_table.MUST_FAIL)
    assert {"gfn2-dip_1", "gfn2-curl_0.003", "gfn2-wall_30"} <= must
    assert {verdicts[name] for name in must} == {"failed"}
    page = check_table.PAGE.read_text(encoding="utf-8")
    others = page.split("<!-- others -->\n")[1].split("<!-- end of others -->")[0]
    assert all(f"| `{name}` |" in others for name in check_table.OTHERS)


@pytest.mark.slow
@pytest.mark.parametrize("name", check_table.ladder())
def test_every_dose_has_the_verdict_that_the_page_tells(name):
    said = check_table.check_of(name).verdict.partition(":")[0]
    assert said == _on_the_page()[name]
