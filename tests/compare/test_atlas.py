"""The failure atlas: known defects land in their kinds, at doses that wrote no rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from atlas_confusion import (
    CONTROLS,
    MINI,
    PERTURBED,
    TEST,
    Defect,
    kinds_of,
    landed,
    perfect,
    read_scans,
    with_defect,
)
from examples import tblite_entry
from pesbench.compare.atlas.comparison import COMPARISON
from pesbench.compare.atlas.curves import CEILING_EV, ENERGY_STEP_EV, scan_kinds
from pesbench.compare.atlas.ends import End, end_kinds
from pesbench.compare.atlas.kinds import MEANING, Kind
from pesbench.compare.atlas.section import by_pair, counts, section
from pesbench.compare.atlas.table import SCANS, TRAJECTORIES, atlas, curve_of
from pesbench.compare.comparison import ReportRun
from pesbench.compare.inputs import CompareInputs
from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.core.jobs import ScoreJob
from pesbench.files.evaluation import write_evaluation
from pesbench.files.scan_set import ScanSet
from pesbench.models.facts import ModelFacts
from pesbench.models.registry import ModelEntry
from pesbench.tasks.bonds.score import score as score_bonds
from pesbench.tasks.bonds.settings import BondSettings
from pesbench.tasks.dynamics.score import trajectory_rows
from pesbench.tasks.dynamics.stored import BlackBox, Segment, Trajectory
from pesbench.tasks.dynamics.writing import write_trajectories

SHARE = 0.95  # of the scans that show anything


@pytest.fixture(scope="module")
def scans():
    return read_scans(MINI, 5)


def _of(kind: str, dose: float, **parameters: float) -> Defect:
    return Defect(TEST, kind, dose, parameters)


TESTED = [one for one in PERTURBED if one.use == TEST and one.kind != "curl"]


@pytest.mark.parametrize("defect", TESTED, ids=lambda one: one.words)
def test_a_defect_lands_in_its_kind(scans, defect):
    found = [some for some in landed(scans, perfect, defect) if some]
    assert found, "the dose is too small to be seen"
    assert np.mean([bool(some & defect.expected) for some in found]) >= SHARE


UNSEEN = {"control-scaled 0.95", "control-step 1.2", "control-spike 1", "control-noise 0.1"}
CONTROLS_TESTED = [one for one in CONTROLS if one.use == TEST and one.kind != "cap"]


@pytest.mark.parametrize(
    "defect", [one for one in CONTROLS_TESTED if one.words not in UNSEEN],
    ids=lambda one: one.words,
)  # fmt: skip
def test_a_control_lands_in_its_kind(scans, defect):
    found = [some for some in landed(scans, perfect, defect) if some]
    assert found, "the dose is too small to be seen"
    assert all(some & defect.expected for some in found)


@pytest.mark.parametrize(
    "defect", [one for one in CONTROLS_TESTED if one.words in UNSEEN], ids=lambda one: one.words
)
def test_a_control_of_a_small_dose_shows_nothing(scans, defect):
    assert landed(scans, perfect, defect) == [frozenset()] * len(scans)


@pytest.mark.parametrize("defect", [_of("wall", 100), _of("step", 0.3), _of("noise", 3)])
def test_the_energy_of_the_reference_at_a_fault_is_told(scans, defect):
    heights = []
    for scan in scans:
        for one in scan_kinds(curve_of(scan, with_defect(scan, perfect(scan), defect))[0]):
            height = np.interp(
                one.event.coordinate, scan.coordinate, scan.energy - scan.energy.min()
            )
            assert one.event.reference_ev == pytest.approx(height, abs=1e-9)
            assert 0 <= one.n_below <= one.n
            if one.n == 1:
                assert one.n_below == (height <= CEILING_EV)
            if one.event.kind in (Kind.SPURIOUS, Kind.BARRIER):  # these count below alone
                assert one.n_below == one.n
            heights.append(height)
    assert heights


def test_what_has_no_defect_shows_nothing(scans):
    assert landed(scans, perfect) == [frozenset()] * len(scans)


def test_forces_that_do_not_change_are_frozen(scans):
    (zero,) = (one for one in CONTROLS if one.kind == "zero")
    assert set(landed(scans, perfect, zero)) == {frozenset({Kind.FROZEN})}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (_of("dip", 1), _of("step", 0.3), {Kind.SPURIOUS, Kind.STEP}),
        (_of("noise", 1), _of("wall", 60), {Kind.NOISE, Kind.WALL}),
        (_of("ripple", 0.01), _of("step", 0.3), {Kind.RIPPLE, Kind.STEP}),
    ],
)
def test_a_mixed_failure_has_both_kinds(scans, one, other, expected):
    found = landed(scans, perfect, one, other)
    assert np.mean([expected <= some for some in found]) >= 0.9


@pytest.mark.parametrize(
    ("defect", "kind"),
    [(_of("step", 0.3), Kind.STEP), (_of("noise", 1), Kind.NOISE), (_of("dip", 1), Kind.SPURIOUS)],
)
def test_a_smooth_error_hides_no_defect(scans, defect, kind):
    """A model whose forces are 10 % off, as one of another level of theory may be."""

    def base(scan):
        one = perfect(scan)
        return replace(one, energy=0.9 * one.energy, forces=0.9 * one.forces)

    assert np.mean([kind in some for some in landed(scans, base, defect)]) >= SHARE


@pytest.mark.parametrize(
    ("defect", "middle"),
    [(_of("dip", 1), 1.2), (_of("dip", 1, distance=1.5, width=0.08), 1.5)],
    ids=["1.2", "1.5"],
)
def test_the_pair_and_its_distance_are_those_of_the_defect(scans, defect, middle):
    places = [
        one.place
        for scan in scans
        for one in scan_kinds(curve_of(scan, with_defect(scan, perfect(scan), defect))[0])
        if one.event.kind in (Kind.SPURIOUS, Kind.DENT)
    ]
    assert np.mean([abs(place.reduced - middle) < 0.1 for place in places]) >= 0.8
    assert {place.told_by for place in places} == {"forces"}


def test_a_jump_of_the_energy_has_its_height(scans):
    scan = scans[0]
    seen = scan_kinds(curve_of(scan, with_defect(scan, perfect(scan), _of("step", 0.3)))[0])
    (step,) = seen
    assert step.event.unit == "eV"
    assert step.event.size == pytest.approx(0.3, abs=0.03)
    low = with_defect(scan, perfect(scan), _of("step", 0.5 * ENERGY_STEP_EV))
    assert not kinds_of(scan, low)


def test_kinds_do_not_depend_on_the_orientation(scans):
    scan = scans[1]
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    one = with_defect(scan, perfect(scan), _of("dip", 1), _of("step", 0.3))
    turned = replace(scan, positions=scan.positions @ turn, forces=scan.forces @ turn)
    assert kinds_of(turned, replace(one, forces=one.forces @ turn)) == kinds_of(scan, one)


def test_enormous_forces_are_placed_like_others(scans):
    scan = scans[0]
    one = perfect(scan)
    forces = one.forces.copy()
    forces[::2] *= 1e120
    assert kinds_of(scan, replace(one, forces=forces, energy=np.full(scan.n_frames, np.nan)))


def test_every_kind_has_a_meaning():
    assert set(MEANING) == set(Kind)


# --- trajectories --------------------------------------------------------------------------------

NUMBERS, BONDS = np.array([6, 8, 1]), np.array([[0, 1], [1, 2]])
START = np.array([[0.0, 0.0, 0.0], [1.4, 0.0, 0.0], [1.4, 0.96, 0.0]])
STEPS = 801  # of 0.5 fs


def _end(failure="", **changes) -> End:
    temperature = np.full(STEPS, 300.0)
    flat = np.zeros(STEPS)
    told = {
        "numbers": NUMBERS, "bonds": BONDS, "failure": failure, "answered": True, "start": START,
        "end": START, "time_ps": np.arange(STEPS) * 5e-4, "potential": flat,
        "kinetic": flat + 0.1, "temperature": temperature, "temperature_k": 300.0,
        "degrees_of_freedom": 3,
    }  # fmt: skip
    return End(**(told | changes))


def _moved(atom: int, x: float) -> np.ndarray:
    moved = START.copy()
    moved[atom] = [x, 0.0, 0.0]
    return moved


def _kinds(end: End) -> list[Kind]:
    return [one.kind for one in end_kinds(end)]


def test_a_run_that_survives_shows_nothing():
    assert end_kinds(_end()) == []


def test_long_bonds_are_told_apart_by_hydrogen():
    (lost,) = end_kinds(_end("long_bond", end=_moved(2, 4.0)))
    assert (lost.kind, lost.place.elements, lost.place.first) == (Kind.HYDROGEN, "H-O", 1)
    assert lost.place.distance == pytest.approx(2.6)
    (long,) = end_kinds(_end("long_bond", end=_moved(0, -3.0)))
    assert (long.kind, long.place.elements) == (Kind.LONG_BOND, "C-O")
    assert long.place.reduced == pytest.approx(4.4 / (0.76 + 0.66))


def test_atoms_that_come_close_have_no_wall_between_them():
    (short,) = end_kinds(_end("short_bond", end=_moved(0, 1.0)))
    assert (short.kind, short.place.elements) == (Kind.WALL, "C-O")
    (close,) = end_kinds(_end("close_pair", end=_moved(2, 0.3)))
    assert (close.kind, close.place.elements) == (Kind.WALL, "C-H")


RISE = np.linspace(0.0, 1.0, STEPS)


@pytest.mark.parametrize(
    ("potential", "kinds"),
    [
        (0.0, [Kind.HEATED]),  # the kinetic energy comes from nowhere
        (-1.0, [Kind.FELL]),  # it is what the potential energy lost
        (-0.5, [Kind.HEATED, Kind.FELL]),
        (-0.9, [Kind.FELL]),
    ],
)
def test_a_hot_molecule_is_told_by_where_its_energy_came_from(potential, kinds):
    end = _end("hot", potential=potential * RISE, kinetic=0.1 + RISE, end=_moved(2, 1.0))
    assert _kinds(end) == kinds
    assert end_kinds(end)[0].place.elements in ("C-H", "H-O")


def test_a_failure_that_no_rule_explains_is_unclassified():
    """Too hot, and no number says where the energy came from."""
    hot = _end("hot", potential=np.nan * RISE, kinetic=0.1 + RISE, end=_moved(2, 1.0))
    assert _kinds(hot) == [Kind.UNCLASSIFIED]


def test_a_lost_hydrogen_of_a_run_that_gained_energy_has_two_kinds():
    end = _end("long_bond", end=_moved(2, 4.0), kinetic=0.1 + RISE)
    assert _kinds(end) == [Kind.HYDROGEN, Kind.HEATED]


def test_survivors_may_be_frozen_or_another_molecule():
    assert _kinds(_end(temperature=np.linspace(600.0, 0.0, STEPS) * 0.01)) == [Kind.FROZEN]
    assert _kinds(_end(graph_changed=True, end=_moved(2, 0.9))) == [Kind.OTHER_MOLECULE]


def test_no_answer_and_no_number_are_one_kind_without_a_place():
    assert _kinds(_end(answered=False)) == [Kind.NO_ANSWER]
    (gone,) = end_kinds(_end("nonfinite", end=np.full((3, 3), np.nan)))
    assert (gone.kind, gone.place.elements) == (Kind.NO_ANSWER, "")


def test_a_geometry_of_which_nothing_is_left_has_no_place():
    gone = np.full((3, 3), np.inf)
    (lost,) = end_kinds(_end("long_bond", end=gone))
    assert (lost.kind, lost.place.elements) == (Kind.LONG_BOND, "")


# --- from files ----------------------------------------------------------------------------------


def _facts(name: str, role: str = "model") -> ModelFacts:
    return ModelFacts(name, "tblite", role)


@pytest.fixture(scope="module")
def stored(tmp_path_factory, scans):
    """Evaluations and scores of models with a known defect, and of one without evaluations."""
    folder = tmp_path_factory.mktemp("atlas")
    with ScanSet(MINI) as opened:
        sha256 = opened.sha256
    files, tables = {}, {}
    made = {"dip": [_of("dip", 1)], "good": []}
    for name, defects in made.items():
        answers = [with_defect(scan, perfect(scan), *defects) for scan in scans]
        if name == "dip":
            nothing = replace(
                answers[0], status=Status.ERROR, message="=cmd <script>",
                frame_status=np.full_like(answers[0].frame_status, Status.ERROR.code),
            )  # fmt: skip
            answers[0] = nothing
        path = folder / f"{name}.h5"
        attributes = {"model": name, "scan_set_sha256": sha256, "wall_s": 1.0, "entry": {}}
        write_evaluation(path, answers, attributes=attributes)
        files[name] = [path]
        job = ScoreJob([path], MINI, settings=BondSettings())
        tables[name] = score_bonds(job)
    return CompareInputs(
        facts=[_facts("dip"), _facts("good", "reference"), _facts("scores only")],
        tables={"bonds": tables},
        evaluations=files,
        scan_set="mini",
        scan_set_file=MINI,
    )


def test_the_table_is_of_stored_files_alone(stored, scans):
    found = atlas(stored)
    assert found.asked == {SCANS: {"dip": len(scans), "good": len(scans)}, TRAJECTORIES: {}}
    assert set(found.rows["model"]) == {"dip"}
    assert found.not_kept == ["scores only"]
    (lost,) = found.rows[found.rows["kind"] == Kind.NO_ANSWER.value].to_dict("records")
    assert lost["item"] == scans[0].id
    assert lost["note"].startswith("error: ")
    wells = found.rows[found.rows["kind"] == Kind.SPURIOUS.value]
    assert set(wells["item"]) == {scan.id for scan in scans[1:]}
    first = wells.iloc[0]
    scan = next(scan for scan in scans if scan.id == first["item"])
    assert scan.coordinate[first["frame"]] == first["coordinate_angstrom"]


def test_the_section_counts_and_says_what_is_not_kept(stored, scans):
    made = section(stored)
    every = counts(atlas(stored)).set_index(["model", "kind"])["n"]
    assert every["good", "none"] == len(scans)
    assert every["dip", Kind.SPURIOUS.value] == len(scans) - 1
    assert made.sentence.startswith(f"{len(scans)} of {len(scans)} scans of models show a failure")
    low = f"{len(scans)} of them where the reference is at most 10 eV above its minimum or without"
    assert low in made.sentence
    assert any("evaluations are not here: scores only" in note for note in made.notes)
    assert "error: '=cmd" not in made.files["atlas.csv"]
    assert "error: =cmd" in made.files["atlas.csv"]  # no cell begins with a formula
    table = next(one for one in made.tables if one.name == SCANS)
    shown = table.rows.set_index("model")
    assert shown.loc["dip", Kind.NO_ANSWER.value] == "1"
    assert shown.loc["good", "none"] == f"{len(scans)} ({len(scans)})"
    assert shown.loc["dip", Kind.SPURIOUS.value] == f"{len(scans) - 1} ({len(scans) - 1})"
    assert "at most 10 eV" in table.notes[0]
    assert list(table.models) == ["dip", "good"]


def test_counts_tell_apart_what_happens_where_the_reference_is_low(stored):
    """Of three scans with a step, one has it below 10 eV, and one gives no answer."""
    found = atlas(stored)
    row = found.rows[found.rows["kind"] == Kind.SPURIOUS.value].iloc[0].to_dict()
    rows = [
        row | {"item": "a", "kind": Kind.STEP.value, "n": 3, "n_below": 1, "pair": "C-N"},
        row | {"item": "b", "kind": Kind.STEP.value, "n": 2, "n_below": 0, "pair": "C-N"},
        row | {"item": "c", "kind": Kind.NO_ANSWER.value, "n": 1, "n_below": pd.NA, "pair": ""},
    ]
    table = pd.DataFrame(rows).astype(found.rows.dtypes.to_dict())
    told = replace(found, rows=table, asked={SCANS: {"dip": 5}, TRAJECTORIES: {}})
    every = counts(told).set_index("kind")
    assert every.loc[Kind.STEP.value, ["n", "n_below", "n_asked"]].tolist() == [2, 1, 5]
    assert every.loc["none", ["n", "n_below"]].tolist() == [2, 3]
    assert pd.isna(every.loc[Kind.NO_ANSWER.value, "n_below"])
    (pair,) = by_pair(table).to_dict("records")
    assert (pair["n"], pair["n below 10 eV"]) == (2, 1)


def test_a_scan_without_its_evaluation_is_one_line(stored):
    files = {name: [] for name in stored.evaluations}
    with pytest.raises(UserError, match="is scored but in no shard"):
        atlas(replace(stored, evaluations=files))


def _run(**changes) -> ReportRun:
    entries = {
        "a": tblite_entry("a", "GFN1-xTB"),
        "control-zero": ModelEntry("control-zero", "control", {"control": "zero"}),
    }
    return ReportRun(entries, "GFN2-xTB", {"bonds": list(entries)}, **changes)


def test_it_applies_where_answers_of_a_model_are_kept():
    assert COMPARISON.applies(_run())
    assert COMPARISON.answers(_run())["bonds"] == ["a"]
    assert not COMPARISON.applies(_run(scored_only={"bonds": ["a"]}))
    assert not COMPARISON.unasked  # a note of the page tells it, no answer


def test_an_atlas_of_nothing_is_empty():
    empty = atlas(CompareInputs(facts=[], tables={}))
    assert isinstance(empty.rows, pd.DataFrame)
    assert empty.rows.empty
    assert empty.too == 0


# --- trajectories from files ---------------------------------------------------------------------

PLANNED, EVERY = 40, 10


def _trajectories(path: Path, model: str, failures: Sequence[str]) -> pd.DataFrame:
    """A file of one trajectory a failure ("" survives), and its scores."""
    plan, boxes = [], {}
    positions = np.tile(START, (PLANNED + 1, len(failures), 1))
    potential = np.zeros((PLANNED + 1, len(failures)))
    for k, failure in enumerate(failures):
        last = 20 if failure else PLANNED
        potential[last + 1 :, k] = np.nan
        told = {"failure": failure, "failure_step": last, "message": "told"} if failure else {}
        if failure == "alarm":
            told = {"status": Status.ALARM, "message": "told"}
        plan.append(
            Trajectory(
                f"m{k}", 300.0, 0, NUMBERS, BONDS, 0, 1, 3, last_step=last, relaxed=True, **told
            )
        )
        if failure:
            end = np.stack([START, _moved(2, 4.0)])
            boxes[k] = BlackBox(np.array([last - 1, last]), end, np.zeros_like(end))
    frames = np.arange(0, PLANNED + 1, EVERY)
    segment = Segment(
        0, potential, np.full_like(potential, 0.1), frames, positions[frames],
        np.zeros_like(positions[frames]), boxes,
    )  # fmt: skip
    attributes = {
        "model": model, "n_steps": PLANNED, "equilibration_steps": 0, "wall_s": 1.0, "entry": {},
    }  # fmt: skip
    write_trajectories(
        path, plan, [segment], timestep_fs=0.5, store_every=EVERY, attributes=attributes
    )
    return pd.DataFrame(trajectory_rows([path]))


def test_trajectories_are_placed_from_their_files(tmp_path):
    files = {name: [tmp_path / f"{name}.h5"] for name in ("truth", "net")}
    tables = {
        "truth": _trajectories(files["truth"][0], "truth", ["", "long_bond"]),
        "net": _trajectories(files["net"][0], "net", ["long_bond", "long_bond"]),
    }
    inputs = CompareInputs(
        facts=[_facts("truth", "reference"), _facts("net")],
        tables={"dynamics": tables},
        trajectories=files,
    )
    found = atlas(inputs)
    assert found.asked[TRAJECTORIES] == {"truth": 2, "net": 2}
    own = found.rows[found.rows["model"] == "net"].set_index("item")
    assert list(own["kind"]) == [Kind.HYDROGEN.value] * 2
    first = own.loc["m0_300K_0"]
    assert (first["pair"], first["step"], first["note"]) == ("H-O", 20, "told")
    assert first["time_ps"] == pytest.approx(0.01)
    assert list(own["reference_fails"]) == [0, 1]
    assert found.too == 1
    assert section(inputs).sentence.startswith("2 of 2 trajectories of models show a failure")


def test_a_trajectory_that_an_alarm_ended_is_not_counted(tmp_path):
    files = {"net": [tmp_path / "net.h5"]}
    tables = {"net": _trajectories(files["net"][0], "net", ["alarm", "long_bond", ""])}
    assert list(tables["net"]["status"]) == ["alarm", "ok", "ok"]
    found = atlas(
        CompareInputs(facts=[_facts("net")], tables={"dynamics": tables}, trajectories=files)
    )
    assert found.asked[TRAJECTORIES] == {"net": 2}
    assert list(found.rows["item"]) == ["m1_300K_0"]


def test_a_scan_without_an_answer_or_a_message_says_its_status(stored):
    scores = stored.tables["bonds"]["dip"].assign(message=np.nan)
    tables = {"bonds": {**stored.tables["bonds"], "dip": scores}}
    rows = atlas(replace(stored, tables=tables)).rows
    assert rows[rows["kind"] == Kind.NO_ANSWER.value]["note"].tolist() == ["error"]
