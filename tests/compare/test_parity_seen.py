"""Sections below the leaderboard: numerical variants of one checkpoint, seen and unseen systems."""

from __future__ import annotations

import types

import numpy as np
import pandas as pd
import pytest

from pesbench.commands.report import answers_by_model
from pesbench.compare.comparison import ReportRun, comparisons
from pesbench.compare.parity import table as parity
from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.files.evaluation import ScanEvaluation, write_evaluation
from pesbench.models.registry import ModelEntry
from pesbench.models.variants import can_be_resolved, variants
from pesbench.tasks.bonds import seen
from pesbench.tasks.bonds.score import COLUMNS, score_scan


def _entry(name: str, **settings) -> ModelEntry:
    base = {"weights": "a.model", "dtype": "float64", "compile": False, "batch_size": "auto"}
    return ModelEntry(name, "mace", base | settings)


def test_variants_are_entries_of_one_checkpoint_the_plainest_first():
    entries = [
        _entry("z-base", sha256="0" * 64),
        _entry("a-32", dtype="float32"),
        _entry("b-compiled", compile=True),
        _entry("c-one", batch_size=1, citation="x"),
        _entry("d-repeat", repeat=1),
        _entry("other", weights="b.model"),
        ModelEntry("gfn2", "tblite", {"method": "GFN2-xTB", "accuracy": 1.0}),
        ModelEntry("gfn2-tight", "tblite", {"method": "GFN2-xTB", "accuracy": 0.1}),
        ModelEntry("gfn1", "tblite", {"method": "GFN1-xTB", "accuracy": 1.0}),
        ModelEntry("zero", "control", {"control": "zero"}),
        ModelEntry("zero-2", "control", {"control": "zero"}),
    ]
    assert variants(entries) == [
        ["gfn2-tight", "gfn2"],
        ["z-base", "d-repeat", "c-one", "b-compiled", "a-32"],
    ]


def test_an_entry_says_that_it_is_a_variant_of_one_in_another_family():
    base = _entry("base")
    door = ModelEntry("door", "ase", {"calculator": "m:C", "variant_of": "base"})
    single = ModelEntry("single", "ase", {"calculator": "m:D", "variant_of": "base"})
    fast = _entry("fast", enable_cueq=True, device="cpu")
    assert variants([door, fast, base, single]) == [["base", "fast", "door", "single"]]
    assert variants([door, single]) == [["door", "single"]]
    assert variants([door, base]) == [["base", "door"]]
    assert variants([door, _entry("other")]) == []


def test_eight_independent_models_can_be_resolved_and_variants_of_one_are_one():
    entries = {f"m{k}": _entry(f"m{k}", weights=f"{k}.model") for k in range(7)}
    entries |= {"m0-32": _entry("m0-32", weights="0.model", dtype="float32")}
    entries |= {"m1-2": _entry("m1-2", weights="z.model", seed_of="m1")}
    assert not can_be_resolved(entries)
    assert can_be_resolved(entries | {"m7": _entry("m7", weights="7.model")})
    assert not can_be_resolved({})


@pytest.fixture
def stored(toys, tmp_path):
    """Writes the evaluation of a model that is the reference plus given errors."""

    def write(name: str, energy_mev: float, force_mev: float, fail: str = ""):
        evaluations, rows = [], []
        for scan in toys.values():
            forces = scan.forces.copy()
            forces[3, 0, 1] += 1e-3 * force_mev
            ok = scan.id != fail
            evaluation = ScanEvaluation(
                scan_id=scan.id,
                energy=scan.energy + 1e-3 * energy_mev,
                forces=forces,
                frame_status=np.full(scan.n_frames, Status.OK.code, dtype=np.int8),
                status=Status.OK if ok else Status.ERROR,
                message="",
                wall_s=1.0,
            )
            evaluations.append(evaluation)
            scores = score_scan(scan, evaluation) if ok else {}
            rows.append(
                dict.fromkeys(COLUMNS, np.nan)
                | {"model": name, "scan": scan.id, "system": scan.system, "seen": ""}
                | {"status": str(evaluation.status), "bond": scan.bond, **scores}
            )
        path = tmp_path / f"{name}.h5"
        write_evaluation(path, evaluations, attributes={"model": name, "scan_set_sha256": "x"})
        return [path], pd.DataFrame(rows)

    return write


def _parity(stored, models):
    entries = {name: _entry(name, **settings) for name, (settings, *_) in models.items()}
    made = {name: stored(name, *numbers) for name, (_, *numbers) in models.items()}
    table = parity.parity(
        entries, {n: files for n, (files, _) in made.items()}, {n: s for n, (_, s) in made.items()}
    )
    return table.set_index(["model", "quantity"])


def test_differences_come_out_as_put_in(stored, toys):
    table = _parity(stored, {"base": ({}, 0.0, 0.0), "half": ({"dtype": "float32"}, 2.0, 5.0)})
    assert set(table["base"]) == {"base"}
    energy = table.loc[("half", "energy_mev")]
    assert energy["largest_difference"] == pytest.approx(2.0)
    assert energy["rms_difference"] == pytest.approx(2.0)
    force = table.loc[("half", "force_mev_per_angstrom")]
    assert force["largest_difference"] == pytest.approx(5.0)
    components = sum(scan.forces.size for scan in toys.values())
    assert force["rms_difference"] == pytest.approx(5.0 * np.sqrt(len(toys) / components))
    assert table.loc[("half", "energy_mae"), "largest_difference"] == pytest.approx(0.002)
    assert table.loc[("half", "energy_mae_aligned"), "largest_difference"] < 1e-12
    assert table["noise_of_repeats"].isna().all()
    assert (table["n_scans"] == len(toys)).all()


def test_the_mark_compares_with_the_noise_of_repeats(stored):
    table = _parity(
        stored,
        {
            "base": ({}, 0.0, 0.0),
            "again": ({"repeat": 1}, 0.5, 1.0),
            "small": ({"batch_size": 1}, 0.4, 3.0),
        },
    )
    noise = table.loc[("small", "energy_mev")]
    assert noise["noise_of_repeats"] == pytest.approx(0.5)
    assert noise["below_noise"]
    assert not table.loc[("small", "force_mev_per_angstrom"), "below_noise"]
    text = parity.text_table(table.reset_index()).set_index("variant")
    assert text.loc["small", "energy (meV)"] == "0.4 ≈"
    assert text.loc["small", "force (meV/Å)"] == "3"
    assert text.loc["small", "repeats run"] == "yes"


def test_the_noise_of_float32_excuses_no_float64(stored):
    table = _parity(
        stored,
        {
            "base": ({}, 0.0, 0.0),
            "again": ({"repeat": 1}, 0.1, 0.0),
            "half": ({"dtype": "float32"}, 5.0, 0.0),
            "half-again": ({"dtype": "float32", "repeat": 1}, 9.0, 0.0),
            "small": ({"batch_size": 1}, 3.0, 0.0),
        },
    )
    assert table.loc[("small", "energy_mev"), "noise_of_repeats"] == pytest.approx(0.1)
    assert not table.loc[("small", "energy_mev"), "below_noise"]
    assert table.loc[("half", "energy_mev"), "noise_of_repeats"] == pytest.approx(4.0)


def test_equal_to_the_bit_is_zero_and_failed_scans_are_not_compared(stored, toys):
    first = next(iter(toys))
    table = _parity(
        stored,
        {"base": ({}, 0.0, 0.0), "same": ({"compile": True}, 0.0, 0.0, toys[first].id)},
    )
    assert (table["largest_difference"] == 0).all()
    assert (table["n_scans"] == len(toys) - 1).all()
    text = parity.text_table(table.reset_index())
    assert set(text[list(parity.SHOWN.values())].to_numpy().ravel()) <= {"0", "n/a"}


def test_evaluations_of_another_scan_set_are_refused(stored):
    files, _ = stored("base", 0.0, 0.0)
    run = ReportRun({}, "", {})
    comparison = comparisons()["parity"]
    for sha256, found in (("x", {"base": files}), ("y", None)):
        scan_set = types.SimpleNamespace(sha256=sha256)
        if found is not None:
            assert answers_by_model(files, scan_set, comparison, run, "bonds") == found
            continue
        with pytest.raises(UserError, match="made on another scan set"):
            answers_by_model(files, scan_set, comparison, run, "bonds")


def test_seen_and_unseen_means_have_their_denominators():
    rows = pd.DataFrame(
        {
            "scan": ["C-C/a_0-1", "C-C/b_0-1", "C-C/c_0-1", "C-C/d_0-1", "C-C/e_0-1"],
            "system": ["a", "b", "c", "d", "e"],
            "seen": ["seen", "seen", "unseen", "unseen", ""],
            "status": ["ok", "ok", "ok", "error", "ok"],
            "fsd_full": [1.0, 3.0, 10.0, np.nan, 99.0],
            "fsd_windowed": [1.0, 1.0, 2.0, np.nan, 99.0],
            "force_mae": [0.1, 0.3, 0.5, np.nan, 9.0],
            "energy_mae_aligned": [0.1, np.nan, 0.5, np.nan, 9.0],
        }
    )
    other = rows.assign(seen="")
    found = seen.seen_rows({"mine": rows, "untold": other}).set_index(["model", "group"])
    assert found.loc[("mine", "seen"), ["n_scans", "fsd_full", "force_mae"]].tolist() == [2, 2, 0.2]
    assert found.loc[("mine", "unseen"), ["n_scans", "fsd_full"]].tolist() == [1, 10.0]
    assert found.loc[("mine", "seen"), "energy_mae_aligned"] == 0.1
    assert not found.loc[("untold", "seen"), "told"]
    text = seen.text_table(found.reset_index())
    assert text["molecules"].tolist() == ["seen", "unseen", "(seen)", "(unseen)"]
    assert seen.table({"untold": other}) is None


def test_a_variant_without_energies_has_no_energy_row(stored, toys, tmp_path):
    files, scores = stored("base", 0.0, 0.0)
    _, scores_2 = stored("flat", 0.0, 1.0)
    evaluations = []
    for scan in toys.values():
        evaluation = ScanEvaluation(
            scan_id=scan.id, energy=np.full(scan.n_frames, np.nan), forces=scan.forces,
            frame_status=np.zeros(scan.n_frames, dtype=np.int8), status=Status.OK, message="",
            wall_s=0.0,
        )  # fmt: skip
        evaluations.append(evaluation)
    path = tmp_path / "flat2.h5"
    write_evaluation(path, evaluations, attributes={"model": "flat", "scan_set_sha256": "x"})
    entries = {"base": _entry("base"), "flat": _entry("flat", compile=True)}
    table = parity.parity(
        entries, {"base": files, "flat": [path]}, {"base": scores, "flat": scores_2}
    )
    assert "energy_mev" not in set(table["quantity"])
    assert "force_mev_per_angstrom" in set(table["quantity"])
