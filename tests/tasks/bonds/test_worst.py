"""Where a model breaks: one list a kind of fault, frames on either side, twins once."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
import pytest

from pesbench.commands.check.local import InProcess
from pesbench.commands.check.subset import read_subset
from pesbench.core.coordinates.bond import bond_scan
from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.core.jobs import ScoreJob
from pesbench.core.scans import Scan
from pesbench.core.text import csv_table
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import Evaluator
from pesbench.engine.scans import evaluate_scans
from pesbench.files.evaluation import ScanEvaluation, write_evaluation
from pesbench.files.scan_set import ScanSet, write_scan_set
from pesbench.tasks.bonds import faults, worst
from pesbench.tasks.bonds.model_section import model_section
from pesbench.tasks.bonds.score import COLUMNS, PLACES, WORDS, score_rows, score_scan

COORDINATE = np.linspace(0.75, 3.0, 100)
REST, DEPTH, STIFFNESS = 1.5, 4.0, 2.0
MASKED = 60
IDS = ("C-C/bump", "C-C/hole", "C-N/fails", "C-N/long")


def morse(rest=REST):
    return DEPTH * (1 - np.exp(-STIFFNESS * (COORDINATE - rest))) ** 2


def forces_of(energy):
    """Of two atoms, along the line through them."""
    forces = np.zeros((len(COORDINATE), 2, 3))
    forces[:, 1, 0] = -np.gradient(energy, COORDINATE)
    forces[:, 0] = -forces[:, 1]
    return forces


def make_scan(scan_id):
    """Two atoms on a Morse curve with its minimum at 1.5 Å."""
    start = np.array([[0.0, 0, 0], [1.4, 0, 0]])
    positions = bond_scan(start, (0, 1), np.array([0, 1]), COORDINATE)
    bond, system = scan_id.split("/")
    return Scan(
        id=scan_id,
        system=system.split("_")[0],
        bond=bond,
        atoms=(0, 1),
        coordinate=COORDINATE,
        positions=positions,
        numbers=np.array([6, 7]),
        fragment=np.array([0, 1]),
        bonds=np.array([[0, 1]]),
        positions_unperturbed=start,
        energy=morse(),
        forces=forces_of(morse()),
    )


def model_curve(scan_id):
    """A false barrier near 2.2 Å; a hole in the wall at 1 Å; too long by 0.03 Å, too stiff."""
    if "bump" in scan_id:
        return morse() + 2.0 * np.exp(-(((COORDINATE - 2.2) / 0.12) ** 2) / 2)
    if "hole" in scan_id:
        return np.where(
            COORDINATE > 1.0, morse(), 2 * np.interp(1.0, COORDINATE, morse()) - morse()
        )
    return 1.1 * morse(REST + 0.03)


def make_evaluation(scan, *, energies=True, failed=False, masked=()):
    frame_status = np.zeros(len(COORDINATE), dtype=np.int8)
    frame_status[list(masked)] = Status.MASKED.code
    frame_status[:] = Status.ERROR.code if failed else frame_status
    energy = model_curve(scan.id)
    forces = np.full_like(scan.forces, np.nan) if failed else forces_of(energy)
    forces[list(masked)] = np.nan
    return ScanEvaluation(
        scan_id=scan.id,
        energy=energy if energies and not failed else np.full(len(COORDINATE), np.nan),
        forces=forces,
        frame_status=frame_status,
        status=Status.ERROR if failed else Status.OK,
        message="broke" if failed else "",
        wall_s=1.0,
    )


def write_files(folder, scans, evaluations):
    path = folder / "set.h5"
    write_scan_set(path, scans, name="s", level_of_theory="t", source="test", provenance={})
    scan_set = ScanSet(path)
    attributes = {"model": "m", "scan_set_sha256": scan_set.sha256, "wall_s": 1.0}
    shards = [folder / f"{k}.h5" for k in range(len(evaluations))]
    for shard, some in zip(shards, evaluations, strict=True):
        write_evaluation(shard, some, attributes=attributes)
    return scan_set, shards


def scores_of(scan_set, shards):
    return pd.DataFrame(score_rows(scan_set, shards), columns=list(COLUMNS))


@pytest.fixture
def files(tmp_path):
    """C-C/bump and C-C/hole in a shard; C-N/fails and C-N/long (forces only) in another."""
    scans = [make_scan(scan_id) for scan_id in IDS]
    evaluations = [
        [make_evaluation(scan) for scan in scans[:2]],
        [
            make_evaluation(scans[2], failed=True),
            make_evaluation(scans[3], energies=False, masked=[MASKED]),
        ],
    ]
    scan_set, shards = write_files(tmp_path, scans, evaluations)
    with scan_set:
        yield scan_set, shards


@pytest.fixture
def scores(files):
    return scores_of(*files)


def listed(table, name):
    return table[table["list"] == name].reset_index(drop=True)


# --- the lists -----------------------------------------------------------------------------------


def test_every_list_has_its_own_first(scores):
    table = worst.worst_scans(scores)
    assert list(table.columns) == list(worst.COLUMNS)
    first = table[table["rank"] == 1].set_index("list")
    assert first["scan"].to_dict() == {
        "extrema": "C-C/bump",
        "slope": "C-C/bump",
        "wall": "C-C/hole",
        "bond_length": "C-N/long",
        "force_constant": "C-N/long",
        "fsd_full": first.loc["fsd_full", "scan"],
    }
    assert first.loc["extrema", "kind"] == "false barrier"
    assert first.loc["extrema", "distance_angstrom"] == pytest.approx(2.2, abs=0.05)
    assert first.loc["wall", "distance_angstrom"] == pytest.approx(1.0, abs=0.03)
    assert first.loc["bond_length", "kind"] == "bond too long"
    assert first.loc["bond_length", "value"] == pytest.approx(0.03, abs=2e-3)
    assert first.loc["force_constant", "value"] == pytest.approx(0.1 * 2 * 4 * 2**2, rel=0.05)
    assert first["unit"].to_dict() == {
        "extrema": "eV", "slope": "Å⁻¹", "wall": "eV", "bond_length": "Å",
        "force_constant": "eV/Å²", "fsd_full": "Å⁻¹",
    }  # fmt: skip
    for _, ranks in table.dropna(subset="rank").groupby("list")["rank"]:
        assert ranks.tolist() == list(range(1, len(ranks) + 1))
    (failed,) = table[table["list"] == worst.NOT_SCORED].to_dict("records")
    assert (failed["scan"], failed["kind"], failed["note"]) == ("C-N/fails", "error", "broke")


def test_a_shift_of_the_minimum_does_not_decide_where_the_force_breaks(files):
    """The published FSD is highest at the minimum; the list of slopes stays away from there."""
    scores = scores_of(*files).set_index("scan")
    shifted = scores.loc["C-N/long"]
    assert abs(shifted["fsd_peak_offset"]) < 0.15
    assert shifted["fsd_full"] > 3 * shifted["fsd_below_ceiling"]
    assert abs(shifted["fsd_windowed_coordinate"] - REST) > 0.25


@pytest.mark.parametrize("ceiling", [1.0, 5.0, 10.0, 30.0])
def test_above_the_ceiling_only_the_wall_is_listed(files, ceiling):
    scan_set, shards = files
    rows = score_rows(scan_set, shards, ceiling_ev=ceiling)
    for row in (row for row in rows if row["status"] == "ok"):
        energy = np.interp(
            [row["fsd_below_ceiling_coordinate"], row["extremum_coordinate"]], COORDINATE, morse()
        )
        assert not (energy > ceiling).any()
    hole = next(row for row in rows if row["scan"] == "C-C/hole")
    assert hole["wall_reference_energy"] == pytest.approx(np.interp(1.0, COORDINATE, morse()), 0.15)


def test_walls_are_in_the_order_of_how_soon_they_give_way(scores):
    """By the energy of the reference there: what gives way at 5 eV comes before 50 eV."""
    hole = scores[scores["scan"] == "C-C/hole"].iloc[0]
    rows = [
        hole.to_dict() | {"scan": f"C-C/{k}", "system": str(k), "wall_reference_energy": energy}
        for k, energy in enumerate([50.0, 5.0, 20.0])
    ]
    walls = listed(worst.worst_scans(pd.DataFrame(rows)), "wall")
    assert walls["value"].tolist() == [5.0, 20.0, 50.0]
    assert walls["scan"].tolist() == ["C-C/1", "C-C/2", "C-C/0"]


def test_equal_values_are_in_the_order_of_their_names(scores):
    rows = scores[scores["status"] == "ok"].assign(fsd_below_ceiling=5.0).iloc[::-1]
    slopes = listed(worst.worst_scans(rows), "slope")
    assert slopes["scan"].tolist() == ["C-C/bump", "C-C/hole", "C-N/long"]


def test_only_so_many_faults_a_list_but_every_failure(scores):
    table = worst.worst_scans(scores, count=1)
    assert table["rank"].dropna().eq(1).all()
    assert listed(table, worst.NOT_SCORED)["scan"].tolist() == ["C-N/fails"]


def test_a_model_that_is_the_reference_has_no_fault(tmp_path):
    scan = make_scan("C-C/x")
    same = replace(make_evaluation(scan), energy=scan.energy, forces=scan.forces)
    scan_set, shards = write_files(tmp_path, [scan], [[same]])
    with scan_set:
        assert worst.worst_scans(scores_of(scan_set, shards)).empty


def test_forces_show_what_energies_do_not(tmp_path):
    """Energies of the reference, forces with a false barrier: dynamics follows the forces."""
    scan = make_scan("C-C/bump")
    mixed = replace(make_evaluation(scan), energy=scan.energy)
    scan_set, shards = write_files(tmp_path, [scan], [[mixed]])
    with scan_set:
        (fault,) = listed(worst.worst_scans(scores_of(scan_set, shards)), "extrema").to_dict(
            "records"
        )
    assert fault["kind"] == "false barrier"
    assert fault["distance_angstrom"] == pytest.approx(2.2, abs=0.05)


# --- twins ---------------------------------------------------------------------------------------


def twins(scores, **second):
    """Three scans of one molecule, the first two on equivalent bonds."""
    one = scores[scores["scan"] == "C-C/bump"].iloc[0]
    rows = [
        one.copy().replace("C-C/bump", f"C-C/bump_{k}").to_dict() | {"bond_class": bond}
        for k, bond in enumerate(["3-5", "3-5", "4-5"])
    ]
    rows[1] |= second
    return pd.DataFrame(rows)


def test_equivalent_bonds_are_listed_once_with_their_number(scores):
    extrema = listed(worst.worst_scans(twins(scores)), "extrema")
    assert extrema["scan"].tolist() == ["C-C/bump_0", "C-C/bump_2"]
    assert extrema["n_equivalent"].tolist() == [2, 1]
    assert extrema["rank"].tolist() == [1, 2]
    assert "also C-C/bump_1" in extrema["note"][0]


@pytest.mark.parametrize(
    "other", [{"extremum_coordinate": 2.5}, {"extremum_depth": 9.0}, {"system": "another"}]
)
def test_equivalent_bonds_that_say_something_else_are_listed_apart(scores, other):
    """As the two methyl groups of an amide do, which the bond graph does not tell apart."""
    assert len(listed(worst.worst_scans(twins(scores, **other)), "extrema")) == 3


# --- what to name first --------------------------------------------------------------------------


def test_the_worst_bonds_are_named_once_with_all_their_faults(scores):
    named = faults.headlines(faults.fault_lists(scores.to_dict("records")), 3)
    bonds = [found[0].scan for found in named]
    assert sorted(bonds) == sorted(set(bonds))
    assert bonds[:2] == ["C-C/bump", "C-C/hole"]
    first, second = named[0], named[1]
    assert first[0].sentence.startswith("false barrier of 1.")
    assert {fault.list for fault in first} == {"extrema", "slope"}
    assert any("wall gives way at 1.0" in fault.sentence for fault in second)


# --- scores of an older version ------------------------------------------------------------------


def test_older_scores_say_that_they_do_not_know(scores):
    table = worst.worst_scans(scores.drop(columns=list(PLACES)))
    for name in (kind.name for kind in faults.KINDS if kind.name != "fsd_full"):
        (row,) = listed(table, name).to_dict("records")
        assert pd.isna(row["rank"])
        assert "3 of 3 scored scans were scored by an older version" in row["note"]
    assert len(listed(table, "fsd_full")) == 3  # which they do know


def test_scores_of_both_versions_are_listed_and_the_older_ones_counted(scores):
    old = scores["scan"] == "C-C/hole"
    numbers = [column for column in PLACES if column not in WORDS]
    scores.loc[old, numbers] = math.nan
    scores.loc[old, list(WORDS)] = None
    extrema = listed(worst.worst_scans(scores), "extrema")
    assert extrema["rank"].isna().tolist() == [True, False]
    assert "1 of 3 scored scans" in extrema["note"][0]


# --- files ---------------------------------------------------------------------------------------


def test_files_hold_the_frames_on_either_side_of_every_place(files, scores):
    scan_set, shards = files
    section = model_section(ScoreJob(shards, scan_set.path, None), scores)
    table = worst.worst_scans(scores)
    assert section.files["worst.csv"] == csv_table(table)
    frames = ase.io.read(io.StringIO(section.files["worst.extxyz"]), index=":", format="extxyz")
    places = {(f.info["list"], f.info["rank"]): [] for f in frames}
    for frame in frames:
        places[frame.info["list"], frame.info["rank"]].append(frame)
    ranked = table[table["rank"].notna()]
    assert set(places) == set(zip(ranked["list"], ranked["rank"], strict=True))
    for (name, rank), (before, behind) in places.items():
        (row,) = ranked[(ranked["list"] == name) & (ranked["rank"] == rank)].to_dict("records")
        assert before.info["scan"] == behind.info["scan"] == row["scan"]
        assert before.info["fault"] == row["kind"]
        low, high = before.get_distance(0, 1), behind.get_distance(0, 1)
        assert low < row["distance_angstrom"] < high
        assert high - low < 3.1 * (COORDINATE[1] - COORDINATE[0])
    scan = scan_set.scan("C-C/bump")
    first = places["extrema", 1][0]
    assert first.info["model"] == "m"
    assert first.info["atoms"].tolist() == [0, 1]
    k = first.info["frame"]
    assert first.get_potential_energy() == pytest.approx(model_curve("C-C/bump")[k])
    assert first.info["reference_energy"] == pytest.approx(scan.energy[k])
    assert first.arrays["reference_forces"] == pytest.approx(scan.forces[k], abs=1e-7)
    direct = places["bond_length", 1][0]
    assert direct.info["scan"] == "C-N/long"
    assert "energy" not in direct.calc.results
    assert "forces" in direct.calc.results


def test_a_place_beside_a_masked_frame_has_the_next_scored_one(files):
    scan_set, shards = files
    scan = scan_set.scan("C-N/long")
    with worst.open_evaluations(shards) as holder:
        evaluation = worst.read_evaluation(holder, scan)
        middle = (COORDINATE[MASKED - 1] + COORDINATE[MASKED]) / 2
        assert worst.either_side(scan, evaluation, middle) == [MASKED - 1, MASKED + 1]
        assert worst.either_side(scan, evaluation, COORDINATE[MASKED + 1]) == [
            MASKED - 1, MASKED + 2
        ]  # fmt: skip
        assert worst.either_side(scan, evaluation, COORDINATE[0]) == [1]


def test_nothing_scored_gives_an_empty_extxyz(files, scores):
    scan_set, shards = files
    scores["status"], scores["fsd_full"] = "unsupported", np.nan
    section = model_section(ScoreJob(shards, scan_set.path, None), scores)
    assert len(worst.worst_scans(scores)) == 4
    assert section.files["worst.extxyz"] == ""


def test_scores_alone_have_tables_without_figure_and_frames(files, scores):
    scan_set, _ = files
    section = model_section(ScoreJob((), scan_set.path, None), scores)
    assert [*section.files] == ["worst.csv"]
    assert not section.figures
    assert "1 scan without a score" in section.sentence


def test_a_scored_scan_that_no_shard_holds_is_named(files, scores):
    scan_set, shards = files
    with pytest.raises(UserError, match="C-N/long"):
        model_section(ScoreJob(shards[:1], scan_set.path, None), scores)


def test_the_study_that_is_kept_is_older_and_readable():
    kept = Path(__file__).parents[3] / "resources" / "study" / "bsct_spice" / "7net-0"
    scores = pd.read_parquet(kept / "scores" / "bonds.parquet")
    scores = scores.drop(columns=list(PLACES), errors="ignore")
    table = worst.worst_scans(scores)
    assert "scored by an older version" in listed(table, "extrema")["note"][0]
    first = listed(table, "fsd_full").iloc[0]
    assert first["value"] == scores["fsd_full"].max()


# --- what is known of the shipped potentials -----------------------------------------------------

SHIPPED = {
    # scan, list, what, Å, size; read off the curves
    "mace-mini-zbl": [
        ("N-O/hydroxylamine_0-1", "extrema", "false barrier", 1.95, 1.03),
        ("N-N/hydrazine_0-1", "extrema", "false barrier", 2.04, 0.69),
        ("N-N/hydrazine_0-1", "slope", "force changes most", 1.97, 31.5),
    ],
    "mace-mini": [
        ("N-O/hydroxylamine_0-1", "extrema", "false barrier", 1.99, 0.65),
        ("N-N/hydrazine_0-1", "wall", "wall gives way", 0.88, 20.7),
    ],
}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_faults_of_shipped_potentials_are_listed_with_place_and_size(name, repo):
    pytest.importorskip("mace")
    from pesbench.models.registry import load
    from pesbench.orchestration.config import read_models, resolve_entry

    models = repo / "config" / "models.yaml"
    entry = resolve_entry(read_models(models)[name], models, repo)
    evaluator = Evaluator(InProcess(load(entry, scan_set=None, device="cpu")), BatchLimit(100))
    rows = []
    for scan in read_subset(["N-O/hydroxylamine_0-1", "N-N/hydrazine_0-1"]):
        (evaluation,) = evaluate_scans(evaluator, [scan])
        about = {"scan": scan.id, "system": scan.system, "status": evaluation.status.value}
        rows.append(about | score_scan(scan, evaluation))
    lists = faults.fault_lists(rows)
    for scan_id, which, kind, distance, size in SHIPPED[name]:
        (found,) = (fault for fault in lists[which] if fault.scan == scan_id)
        assert found.kind == kind
        assert found.distance == pytest.approx(distance, abs=0.015)
        assert found.value == pytest.approx(size, rel=0.02)
    # nothing of what is listed first lies where the reference is out of reach
    for which in ("extrema", "slope"):
        first = lists[which][0]
        scan = read_subset([first.scan])[0]
        height = np.interp(first.distance, scan.coordinate, scan.energy - scan.energy.min())
        assert height <= 10
