"""The leaderboard from synthetic scores: denominators, ranks, equivalents, gaps."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pesbench.core.errors import UserError
from pesbench.core.section import Metric
from pesbench.core.text import number
from pesbench.models.facts import ModelFacts, model_facts
from pesbench.report import columns, tables
from pesbench.tasks.bonds.board import leaderboard
from pesbench.tasks.bonds.by_bond_figure import scan_table
from pesbench.tasks.bonds.section import control_doses
from pesbench.tasks.bonds.task import TASK as BONDS

ENERGY = (
    "energy_mae",
    "energy_mae_compress",
    "energy_mae_stretch",
    "energy_mae_aligned",
    "energy_mae_1ev",
    "energy_mae_2ev",
    "spurious_extrema",
    "energy_force_inconsistency",
    "compression_monotone",
)
FORCE = (
    "fsd_compress",
    "fsd_stretch",
    "fsd_windowed",
    "fsd_aligned",
    "fsd_slope_p95",
    "force_mae",
    "force_mae_1ev",
    "force_mae_2ev",
    "force_mae_compress",
    "force_mae_stretch",
    "spurious_extrema_force",
    "compression_monotone_force",
)
FIRST = [
    "rank",
    "model",
    "family",
    "role",
    "n_planned",
    "n_scored",
    "fsd_full",
    "fsd_full_low",
    "fsd_full_high",
    "fsd_compress",
    "fsd_stretch",
    "fsd_windowed",
    "force_mae",
    "energy_mae",
    "energy_mae_aligned",
    "spurious_extrema",
    "equivalent",
]


def rows(model, fsd, *, forces_only=False, failed=(), status="error", message="it broke"):
    """Scores of one model: `fsd` on every scan, none where the scan's index is in `failed`."""
    fsd = np.asarray(fsd, dtype=float)
    count = len(fsd)
    table = pd.DataFrame(
        {
            "model": model,
            "scan": [f"{'C-N' if k % 4 else 'O-P'}/{k:03d}" for k in range(count)],
            "system": [f"{k // 2}" for k in range(count)],
            "seen": "",
            "bond": ["C-N" if k % 4 else "O-P" for k in range(count)],
            "n_atoms": 5,
            "n_frames": 100,
            "status": "ok",
            "message": "",
            "fsd_full": fsd,
            **dict.fromkeys(FORCE, fsd / 2),
            **dict.fromkeys(ENERGY, np.nan if forces_only else fsd / 4),
            "fsd_peak_index": 10,
            "fsd_peak_index_next": 11,
            "fsd_peak_coordinate": 1.4,
            "fsd_peak_offset": [0.1 if k < count // 4 else -0.2 for k in range(count)],
            "wall_s": 0.5,
        }
    )
    gone = table.index.isin(list(failed))
    table.loc[gone, ["status", "message"]] = [status, message]
    scores = [c for c in table.columns if c.startswith(("fsd", "force", "energy", "spur", "comp"))]
    table[scores] = table[scores].astype(float)
    table.loc[gone, scores] = np.nan
    return table


def fact(name, role="model", **more):
    return ModelFacts(name, "test", role, **more)


def perturbed(name, kind, dose, **more):
    return fact(name, "perturbed", perturbation=(kind, dose), base="truth", **more)


def control(kind, dose=None):
    name = f"control-{kind}" + ("" if dose is None else f"_{dose:g}")
    return fact(name, "control", control=(kind, dose))


def board_of(models, controls=(), **options):
    """A leaderboard of models (name -> rows) and controls (facts, FSD)."""
    scores = dict(models)
    facts = [fact(name) for name in models]
    for who, fsd in controls:
        scores[who.name] = rows(who.name, fsd, forces_only=True)
        facts.append(who)
    return leaderboard(scores, facts, **options).set_index("model", drop=False)


SCANS = np.linspace(8.0, 12.0, 20)  # mean 10


def test_columns_begin_as_promised_and_every_row_has_them():
    board = board_of({"a": rows("a", SCANS)})
    assert list(board.columns[: len(FIRST)]) == FIRST
    assert len(set(board.columns)) == len(board.columns)


def test_means_of_a_model_without_gaps():
    row = board_of({"a": rows("a", SCANS)}).loc["a"]
    assert (row["rank"], row["n_planned"], row["n_scored"], row["n_shared"]) == (1, 20, 20, 20)
    assert row["fsd_full"] == pytest.approx(10)
    assert row["fsd_full_low"] < 10 < row["fsd_full_high"]
    assert row["fsd_windowed"] == pytest.approx(5)
    assert row["energy_mae"] == pytest.approx(2.5)
    assert row["fsd_full_median"] == pytest.approx(10)
    by_bond = [SCANS[::4].mean(), np.delete(SCANS, np.s_[::4]).mean()]
    assert row["fsd_full_macro"] == pytest.approx(np.mean(by_bond))
    assert row["fsd_peak_near_equilibrium"] == pytest.approx(0.25)
    assert row["seconds_per_frame"] == pytest.approx(0.005)
    assert row["missing"] == ""


def test_a_failure_is_counted_and_never_scored_as_zero():
    table = rows("a", SCANS, failed=[0, 1, 2])
    table.loc[[5, 6], ["status", "message"]] = ["out_of_memory", "too big"]
    row = board_of({"a": table}).loc["a"]
    kept = np.delete(SCANS, [0, 1, 2, 5, 6])
    assert row["fsd_full"] == pytest.approx(kept.mean())
    assert (row["n_planned"], row["n_scored"]) == (20, 15)
    assert row["missing"] == "3 error, 2 out of memory"
    assert row["missing_example"] == "O-P/000: it broke"


def test_a_score_of_some_scans_only_says_so():
    table = rows("a", SCANS)
    table.loc[:4, "fsd_windowed"] = np.nan
    row = board_of({"a": table}).loc["a"]
    assert row["fsd_windowed"] == pytest.approx(SCANS[5:].mean() / 2)
    assert row["missing"] == "fsd_windowed of 15 scans only"


def test_forces_only_is_not_available_and_not_a_failure():
    board = board_of({"a": rows("a", SCANS, forces_only=True)})
    row = board.loc["a"]
    assert row["rank"] == 1
    assert row[[*ENERGY[:1], *ENERGY[3:]]].isna().all()
    assert row["missing"] == ""
    assert columns.section(board, "model").loc[0, "energy MAE, raw (eV)"] == "n/a"


def test_a_model_with_nothing_scored_has_no_rank_and_a_reason():
    nothing = rows("b", SCANS, failed=range(20), status="unsupported", message="no Br")
    board = board_of({"b": nothing, "a": rows("a", SCANS)}, [(control("zero"), SCANS)])
    assert list(board["model"]) == ["a", "b", "control-zero"]
    row = board.loc["b"]
    assert pd.isna(row["rank"])
    assert pd.isna(row["fsd_full"])
    assert (row["n_scored"], row["missing"]) == (0, "20 unsupported")
    assert row["equivalent"] == "n/a"
    assert board.loc["a", "n_shared"] == 20  # it does not shrink what the others share
    assert any("b: 0 of 20 scans scored (20 unsupported); for example" in n and "no Br" in n
               for n in tables.notes(board))  # fmt: skip


def test_no_scored_model_at_all():
    board = board_of({"b": rows("b", SCANS, failed=range(20))})
    assert pd.isna(board.loc["b", "rank"])
    assert "no ranks" in tables.notes(board)[0]
    assert "20 error" in tables.to_markdown(board)


def test_ranks_are_on_the_scans_all_share():
    """b scores only its easy half: by its own mean it would be first."""
    easy = np.where(np.arange(20) < 10, 2.0, 50.0)
    models = {"b": rows("b", easy + 1, failed=range(10, 20)), "a": rows("a", easy)}
    board = board_of(models, entry_coverage=0.5)
    assert board["fsd_full"].to_dict() == pytest.approx({"a": 26.0, "b": 3.0})
    assert board["rank"].to_dict() == {"a": 1, "b": 2}
    assert board["n_shared"].tolist() == [10, 10]
    assert board["fsd_full_shared"].to_dict() == pytest.approx({"a": 2.0, "b": 3.0})
    assert board["rank_high"].tolist() == [1, 2]
    assert board["n_costs"].to_dict() == {"a": 0, "b": 10}
    said = "10 scans that all ranked models share (of 20 planned; scans that one model alone lacks"
    assert f"{said}: b 10)" in tables.notes(board)[0]
    assert "FSD, shared scans (Å⁻¹)" in columns.section(board, "model")


def test_models_without_a_common_scan_have_no_rank():
    board = board_of(
        {"a": rows("a", SCANS, failed=range(10)), "b": rows("b", SCANS, failed=range(10, 20))},
        entry_coverage=0.5,
    )
    assert board["rank"].isna().all()
    assert board["n_shared"].tolist() == [0, 0]
    assert board["fsd_full"].notna().all()
    assert "share no scan" in tables.notes(board)[0]
    assert "share no scan" in tables.to_markdown(board)


def test_a_model_below_the_entry_threshold_is_listed_and_costs_no_scan():
    """A tenth may be missing: b is ranked, c is not, and a keeps its scans."""
    models = {
        "a": rows("a", SCANS),
        "b": rows("b", SCANS + 1, failed=[0, 1]),
        "c": rows("c", SCANS / 2, failed=[1, 2, 3]),
    }
    board = board_of(models)
    assert board["model"].tolist() == ["a", "b", "c"]
    assert board["rank"].fillna(0).tolist() == [1, 2, 0]
    assert board.loc[["a", "b"], "n_shared"].tolist() == [18, 18]
    assert board["n_costs"].tolist() == [0, 2, 2]  # c would take 2 and 3 from the others
    assert board["left_out"].tolist() == [
        "", "", "17 of 20 scans scored, below the entry threshold of 90 %",
    ]  # fmt: skip
    assert pd.isna(board.loc["c", ["n_shared", "rank_windowed", "rank_score"]]).all()
    assert board.loc["c", "fsd_full"] < board.loc["a", "fsd_full"]  # its own mean stands there
    note = (
        f"c is not ranked: {board.loc['c', 'left_out']} (with it, the ranked models would share 2"
    )
    assert f"{note} fewer)." in tables.notes(board)
    assert board_of(models, entry_coverage=0.85)["n_shared"].tolist() == [16, 16, 16]
    assert board_of(models, entry_coverage=1)["rank"].notna().tolist() == [True, False, False]


def test_only_models_are_ranked():
    models = {"a": rows("a", SCANS), "truth": rows("truth", SCANS * 0)}
    scores = {**models, "control-zero": rows("control-zero", SCANS / 2)}
    facts = [fact("a"), fact("truth", "reference"), control("zero")]
    board = leaderboard(scores, facts).set_index("model", drop=False)
    assert list(board["model"]) == ["a", "truth", "control-zero"]
    assert board["rank"].isna().tolist() == [False, True, True]
    assert (board.loc["a", "rank"], board.loc["a", "rank_windowed"]) == (1, 1)
    assert board.loc[["truth", "control-zero"], "equivalent"].tolist() == ["n/a", "n/a"]
    assert pd.isna(board.loc["truth", "fsd_peak_near_equilibrium"])  # no slope, no peak


# --- perturbed models ----------------------------------------------------------------------------

MODELS = {
    "a": rows("a", SCANS),
    "b": rows("b", SCANS * 1.02, failed=[3]),
    "c": rows("c", SCANS[::-1] * 1.01),
}
DEFECTS = {  # one better than all, one worse than zero forces, one scored on two scans, one on none
    perturbed("z", "dip", 0.1): rows("z", SCANS / 10),
    perturbed("x", "dip", 0.03): rows("x", SCANS * 3),
    perturbed("y", "curl", 1.0): rows("y", SCANS, failed=range(2, 20)),
    perturbed("w", "curl", 10.0): rows("w", SCANS, failed=range(20), message="no Br"),
}


def defects_beside(models, role="perturbed", **options):
    """The leaderboard of some models, the reference and controls, with the defects as a role."""
    ladder = [(fact(name), table) for name, table in models.items()]
    ladder.append((fact("truth", "reference"), rows("truth", SCANS * 0)))
    ladder += [(who, rows(who.name, fsd, forces_only=True)) for who, fsd in LADDER]
    if role is not None:  # first in the config, which must not matter
        ladder = [(replace(who, role=role), table) for who, table in DEFECTS.items()] + ladder
    scores = {who.name: table for who, table in ladder}
    board = leaderboard(scores, [who for who, _ in ladder], **options)
    return board.set_index("model", drop=False)


@pytest.mark.parametrize("rank_by", ["fsd_full", "energy_mae_aligned"])
def test_perturbed_models_change_nothing_of_the_others(rank_by):
    alone = defects_beside(MODELS, role=None, rank_by=rank_by)
    beside = defects_beside(MODELS, rank_by=rank_by)
    pd.testing.assert_frame_equal(beside.loc[alone.index], alone)
    assert alone.loc["a", "n_shared"] == 19
    assert alone["rank"].dropna().tolist() == [1, 2, 3]
    for role in ("model", "reference", "control"):
        pd.testing.assert_frame_equal(columns.section(beside, role), columns.section(alone, role))
    assert tables.notes(beside)[0] == tables.notes(alone)[0]
    # as models they would: the ranks, what is shared, the intervals of the ranks
    mixed = defects_beside(MODELS, role="model", rank_by=rank_by, entry_coverage=0)
    mixed = mixed.loc[alone.index]
    changed = {column for column in alone if not alone[column].equals(mixed[column])}
    assert {"rank", "rank_low", "rank_high", "rank_windowed", "n_shared"} <= changed


def test_perturbed_models_stand_between_reference_and_controls_by_kind_and_dose():
    board = defects_beside(MODELS)
    order = ["c", "a", "b", "truth", "y", "w", "x", "z"]
    assert board["model"].tolist()[: len(order)] == order
    known = board.loc[["y", "w", "x", "z"]]
    assert known["defect"].tolist() == ["curl", "curl", "dip", "dip"]
    assert known["dose"].tolist() == [1.0, 10.0, 0.03, 0.1]
    assert set(known["base"]) == {"truth"}
    unranked = ["rank", "rank_low", "rank_high", "rank_windowed", "n_shared", "rank_score"]
    assert known[[*unranked, "no_better_than_zero", "equivalent_step"]].isna().all(axis=None)
    assert set(known["equivalent"]) == {"n/a"}
    assert known["n_scored"].tolist() == [2, 0, 20, 20]
    assert known.loc["z", "fsd_full"] == pytest.approx(1.0)
    assert known.loc["z", "fsd_full_low"] < 1.0 < known.loc["z", "fsd_full_high"]
    assert known.loc["w", "missing_example"] == "O-P/000: no Br"
    assert board.loc["control-step_1.2", ["base", "defect", "dose"]].tolist() == ["", "step", 1.2]
    assert board.loc["a", ["base", "defect"]].tolist() == ["", ""]
    assert pd.isna(board.loc["a", "dose"])


def test_perturbed_models_have_a_section_that_says_their_defect():
    text = tables.to_markdown(defects_beside(MODELS))
    headings = ("Models", "Reference", "Perturbed models", "Controls", "How to read it")
    places = [text.index(f"## {heading}\n") for heading in headings]
    assert places == sorted(places)
    section = text[places[2] : places[3]]
    assert [line.split("|")[1].strip() for line in section.splitlines()[4:8]] == list("ywxz")
    assert "curl on truth" in section
    assert "10 eV/Å²" in section
    assert "0.03 eV " in section
    assert "rank" not in section
    assert "‡" not in section
    assert "Perturbed models are another entry with one defect" in text[places[4] :]
    assert "erturbed" not in tables.to_markdown(defects_beside(MODELS, role=None))


def test_a_perturbed_model_has_the_gap_of_its_base():
    who = perturbed("p", "dip", 1.0, theory_gap=True, level_of_theory="PBE")
    scores = {"a": rows("a", SCANS), "p": rows("p", SCANS)}
    text = tables.to_markdown(leaderboard(scores, [fact("a"), who]))
    assert "| p †" in text
    assert "(p: PBE)" in text


def test_perturbed_models_alone_are_a_whole_leaderboard(tmp_path):
    board = defects_beside({})
    assert board["model"].tolist()[:5] == ["truth", "y", "w", "x", "z"]
    assert board["rank"].isna().all()
    tables.write(board, tmp_path / "x.csv", tmp_path / "x.md")
    text = (tmp_path / "x.md").read_text(encoding="utf-8")
    assert "## Models" not in text
    assert "- Only perturbed models were run: there is nothing to rank." in text
    read = pd.read_csv(tmp_path / "x.csv").set_index("model")
    assert read.loc["x", "fsd_full"] == pytest.approx(30)
    assert read.loc["x", "role"] == "perturbed"


def test_rank_by_another_score_and_the_windowed_rank_beside_it():
    a, b = rows("a", SCANS), rows("b", SCANS + 1)
    b["force_mae"], b["fsd_windowed"] = 0.1, 0.2
    board = board_of({"a": a, "b": b}, rank_by="force_mae")
    assert board["rank"].to_dict() == {"b": 1, "a": 2}
    assert board["rank_score"].to_dict() == pytest.approx({"b": 0.1, "a": 5.0})
    by_fsd = board_of({"a": a, "b": b})
    assert by_fsd["rank"].to_dict() == {"a": 1, "b": 2}
    assert by_fsd["rank_windowed"].to_dict() == {"a": 2, "b": 1}


def test_the_ranks_by_the_fsd_and_by_the_self_aligned_one_stand_side_by_side():
    a, b = rows("a", SCANS), rows("b", SCANS + 1)
    b["fsd_aligned"] = 0.2
    by_fsd, by_aligned = (
        board_of({"a": a, "b": b}, rank_by=score) for score in ("fsd_full", "fsd_aligned")
    )
    assert by_fsd["rank"].to_dict() == by_aligned["rank_full"].to_dict() == {"a": 1, "b": 2}
    assert by_aligned["rank"].to_dict() == by_fsd["rank_aligned"].to_dict() == {"a": 2, "b": 1}
    shown = columns.section(by_fsd, "model")
    assert shown["rank, self-aligned"].tolist() == ["2", "1"]
    assert "rank, FSD" not in shown
    shown = columns.section(by_aligned, "model")
    assert shown["rank, FSD"].tolist() == ["2", "1"]
    assert "rank, self-aligned" not in shown


def test_scans_without_a_minimum_leave_the_aligned_rank_alone_and_are_counted_with_the_reason():
    a = rows("a", SCANS)
    a["fsd_aligned_reason"] = ""
    a.loc[:1, "fsd_aligned"] = np.nan
    a.loc[:1, "fsd_aligned_reason"] = "no minimum"
    board = board_of({"a": a, "b": rows("b", SCANS + 1)})
    assert board["n_shared"].tolist() == board["n_rank_full"].tolist() == [20, 20]
    assert board["n_rank_aligned"].tolist() == [18, 18]
    assert board.loc["a", "missing"] == "fsd_aligned of 18 scans only (others: no minimum)"
    assert "the ranks, self-aligned, over 18" in tables.notes(board)[0]
    a.loc[:4, "fsd_aligned"] = np.nan  # below the entry threshold in this score alone
    board = board_of({"a": a, "b": rows("b", SCANS + 1)})
    assert board["rank_full"].tolist() == [1, 2]
    assert board["rank_aligned"].fillna(0).tolist() == [0, 1]
    said = "a: no rank, self-aligned, because fewer scans have that score than the entry threshold"
    assert any(note.startswith(said) for note in tables.notes(board))


def test_a_model_without_any_minimum_says_why_it_has_no_self_aligned_fsd():
    flat = rows("flat", SCANS).assign(fsd_aligned=np.nan, fsd_aligned_reason="no minimum")
    board = board_of({"flat": flat, "b": rows("b", SCANS + 1)})
    assert board.loc["flat", "missing"] == "fsd_aligned of no scan (no minimum)"
    assert pd.isna(board.loc["flat", "rank_aligned"])
    assert board["n_rank_aligned"].dropna().tolist() == [20]


def test_scores_of_an_older_version_are_not_available_and_say_so():
    old = rows("old", SCANS).assign(fsd_aligned=np.nan, force_mae_1ev=np.nan)
    old.attrs["lacks"] = ["fsd_aligned", "force_mae_1ev"]
    board = board_of({"old": old, "new": rows("new", SCANS)})
    assert pd.isna(board.loc["old", "fsd_aligned"])
    assert board.loc["old", "missing"] == ""
    assert pd.isna(board.loc["old", "rank_aligned"])
    note = "the scores of old are of an older version, without fsd_aligned, force_mae_1ev"
    assert any(note in one for one in tables.notes(board))
    assert columns.section(board, "model")["self-aligned (Å⁻¹)"].tolist().count("n/a") == 1


def bound(model, fsd, **more):
    """Scores of bonds to hydrogen, beside those of `rows`."""
    table = rows(model, fsd, **more)
    table["bond"] = ["C-H" if k % 2 else "H-O" for k in range(len(table))]
    table["scan"] = table["bond"] + "/" + table["system"] + "_" + table.index.astype(str)
    return table


def test_bonds_to_hydrogen_change_no_rank_and_no_mean_and_have_columns_of_their_own():
    models = {"a": rows("a", SCANS), "b": rows("b", SCANS + 1, failed=[2])}
    of_hydrogen = {"a": bound("a", SCANS * 9), "b": bound("b", SCANS, failed=[0, 1])}
    both = {name: pd.concat([models[name], of_hydrogen[name]], ignore_index=True)
            for name in models}  # fmt: skip
    alone, beside = board_of(models, LADDER), board_of(both, LADDER)
    own = [column for column in beside if column.endswith("_hydrogen")]
    pd.testing.assert_frame_equal(beside.drop(columns=own), alone.drop(columns=own))
    assert beside.loc["a", ["n_planned_hydrogen", "n_scored_hydrogen"]].tolist() == [20, 20]
    assert beside.loc["b", ["n_planned_hydrogen", "n_scored_hydrogen"]].tolist() == [20, 18]
    assert beside.loc["a", "fsd_full_hydrogen"] == pytest.approx(90)
    assert beside.loc["b", "fsd_full_hydrogen"] == pytest.approx(SCANS[2:].mean())
    assert columns.section(beside, "model")["to hydrogen: scored / planned"].tolist() == [
        "20 / 20",
        "18 / 20",
    ]
    assert "to hydrogen: FSD (Å⁻¹)" not in columns.section(alone, "model")


def test_a_set_of_bonds_to_hydrogen_alone_is_ranked_by_them():
    board = board_of({"a": bound("a", SCANS), "b": bound("b", SCANS + 1)})
    assert board["rank"].tolist() == [1, 2]
    assert board["n_planned"].tolist() == [20, 20]
    assert board["n_planned_hydrogen"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.0208, 0.0277, ""), (0.0147, 0.0162, "0.015 to 0.016 Å"), (0.05, 0.05, "of 0.050 Å")],
)
def test_a_set_whose_step_is_not_that_of_bsct_spice_is_marked(low, high, said):
    table = rows("a", SCANS).assign(step_angstrom=[low, high] * 10)
    found = [note for note in tables.notes(board_of({"a": table})) if "BSCT-SPICE" in note]
    assert len(found) == bool(said)
    assert all(said in note for note in found)


@pytest.mark.parametrize(
    ("rank_by", "title"),
    [
        ("fsd_windowed", "windowed, shared scans (Å⁻¹)"),
        ("fsd_slope_p95", "fsd_slope_p95, shared scans (Å⁻¹)"),
        ("energy_force_inconsistency", "energy_force_inconsistency, shared scans (eV)"),
        ("spurious_extrema", "spurious extrema, shared scans (per scan)"),
        ("roughness", "roughness, shared scans"),  # has no unit
    ],
)
def test_what_ranks_is_called_as_its_task_says(rank_by, title, monkeypatch):
    metrics = (*BONDS.metrics, Metric("roughness", "roughness", "", "lower", ranks=True))
    monkeypatch.setattr(type(BONDS), "metrics", metrics)
    board = board_of({"a": rows("a", SCANS).assign(roughness=1.0)}, rank_by=rank_by)
    assert columns.columns_of(board, "model")[3].title == title


def test_rank_by_energies_leaves_forces_only_models_unranked_and_says_so():
    models = {"a": rows("a", SCANS), "direct": rows("direct", SCANS, forces_only=True)}
    board = board_of(models, rank_by="energy_mae_aligned")
    assert board.loc["a", "n_shared"] == 20
    assert pd.isna(board.loc["direct", "rank"])
    assert "direct is not ranked: it has no energy_mae_aligned." in tables.notes(board)


@pytest.mark.parametrize("rank_by", ["fsd", "compression_monotone", "model"])
def test_a_score_that_cannot_rank_is_refused_with_those_that_can(rank_by):
    with pytest.raises(UserError, match=r"rank_by.*fsd_full, fsd_compress"):
        columns.check_rank_by(rank_by)


LADDER = [
    *((control("step", dose), SCANS * share) for dose, share in ((1.2, 0.5), (1.6, 1.5))),
    *((control("shift", dose), SCANS * share) for dose, share in
      ((0.01, 0.4), (-0.01, 0.2), (0.05, 1.2), (-0.05, 1.4))),
    (control("noise", 0.1), SCANS * 0.5),
    (control("zero"), SCANS * 2),
]  # fmt: skip


def test_equivalents_are_read_from_the_ladders():
    row = board_of({"a": rows("a", SCANS)}, LADDER).loc["a"]
    assert row["equivalent_step"] == pytest.approx(1.4)
    # both signs are averaged: 3 at 0.01 Å and 13 at 0.05 Å
    assert row["equivalent_shift_angstrom"] == pytest.approx(0.01 + 0.04 * 7 / 10)
    assert row["equivalent_noise_ev_per_angstrom"] == np.inf
    assert row["equivalent"] == (
        "1.4-fold force step; 0.038 Å bond-length shift; beyond 0.1 eV/Å noise"
    )


def test_equivalents_use_the_scans_the_model_was_scored_on():
    """The controls are ten times worse on the half that the model lacks."""
    hard = np.where(np.arange(20) < 10, 1.0, 10.0)
    half = rows("a", np.ones(20), failed=range(10, 20))
    row = board_of({"a": half}, [(control("step", 2.0), 2 * hard)]).loc["a"]
    assert row["equivalent_step"] == pytest.approx(1.5)
    assert row["equivalent"] == "1.5-fold force step"


def test_equivalents_compare_on_scans_that_every_control_of_the_ladder_has():
    fsd = np.where(np.arange(20) < 10, 1.0, 10.0)
    step = control("step", 2.0)
    scores = {
        "a": rows("a", fsd),
        step.name: rows(step.name, 2 * fsd, forces_only=True, failed=range(10, 20)),
    }
    board = leaderboard(scores, [fact("a"), step])
    assert board["equivalent_step"].iloc[0] == pytest.approx(1.5)


def test_without_controls_there_is_no_equivalent_and_it_says_so():
    board = board_of({"a": rows("a", SCANS)})
    assert board.loc["a", "equivalent"] == "n/a"
    assert pd.isna(board.loc["a", "no_better_than_zero"])
    assert any("No control" in note for note in tables.notes(board))


def test_marks():
    scores = {name: rows(name, fsd) for name, fsd in
              (("good", SCANS), ("bad", SCANS * 2 * (1 - 1e-9)), ("gap", SCANS))}  # fmt: skip
    scores["control-zero"] = rows("control-zero", SCANS * 2)
    facts = [fact("good"), fact("bad"), control("zero"),
             fact("gap", theory_gap=True, level_of_theory="PBE")]  # fmt: skip
    board = leaderboard(scores, facts).set_index("model", drop=False)
    assert board.loc[["good", "bad", "gap"], "no_better_than_zero"].tolist() == [False, True, False]
    assert board.loc["bad", "no_better_than_zero_in"] == "FSD and force MAE"
    assert pd.isna(board.loc["control-zero", "no_better_than_zero"])
    text = tables.to_markdown(board)
    assert "| bad ‡" in text
    assert "| gap †" in text
    assert "(gap: PBE)" in text


def test_forces_no_better_than_zero_are_marked_whatever_the_fsd():
    """`testbed-fsd` has a force MAE of 3.76 where zero forces have 3.73, and half their FSD."""
    smooth = rows("smooth", SCANS).assign(force_mae=SCANS * 1.01)
    board = board_of({"smooth": smooth}, [(control("zero"), SCANS * 2)])
    assert board.loc["smooth", "no_better_than_zero"]
    assert "(smooth: force MAE)" in " ".join(tables.notes(board))


def test_marks_that_stand_for_nothing_are_not_explained():
    text = tables.to_markdown(board_of({"a": rows("a", SCANS)}, LADDER))
    assert "†" not in text
    assert "‡" not in text


def test_flags_with_gaps_come_as_objects():
    table = rows("a", SCANS, failed=[0])
    flags = pd.Series([None, *([True] * 9), *([False] * 10)], dtype=object)
    table["compression_monotone"] = flags
    assert board_of({"a": table}).loc["a", "compression_monotone"] == pytest.approx(9 / 19)


def test_csv_and_markdown_are_written_whole(tmp_path):
    board = board_of({"a": rows("a", SCANS)}, LADDER)
    tables.write(board, tmp_path / "x.csv", tmp_path / "x.md", "Leaderboard of x")
    read = pd.read_csv(tmp_path / "x.csv")
    assert list(read.columns[: len(FIRST)]) == FIRST
    assert read["fsd_full"].to_numpy() == pytest.approx(board["fsd_full"].to_numpy())
    assert np.isinf(read.loc[0, "equivalent_noise_ev_per_angstrom"])
    text = (tmp_path / "x.md").read_text(encoding="utf-8")
    assert text.startswith("# Leaderboard of x\n")
    assert text.index("## Models") < text.index("## Controls") < text.index("## How to read it")
    assert "## Reference" not in text
    assert "20 / 20" in text
    assert not list(tmp_path.glob("*.part"))


def test_the_same_scores_give_the_same_file():
    def text():
        buffer = io.StringIO()
        board_of({"a": rows("a", SCANS), "b": rows("b", SCANS * 1.01)}, LADDER).to_csv(buffer)
        return buffer.getvalue()

    assert text() == text()


def test_scan_table_has_means_by_bond_with_denominators():
    table = scan_table({"a": rows("a", SCANS, failed=[0, 1, 4, 8, 12, 16])})
    found = table.set_index("bond")
    assert found["n_planned"].to_dict() == {"C-N": 15, "O-P": 5}
    assert found["n_scored"].to_dict() == {"C-N": 14, "O-P": 0}
    kept = np.delete(SCANS, [0, 1, 4, 8, 12, 16])
    assert found.loc["C-N", "mean"] == pytest.approx(kept.mean())
    assert np.isnan(found.loc["O-P", "mean"])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.046801, "0.0468"), (1.638, "1.64"), (12345.6, "12\u202f346"), (np.nan, "n/a"),
     (np.inf, "∞"), (99.96, "100.0"), (1.234e-9, "1.2e-09"), (-1.234e300, "-1.23e+300")],
)  # fmt: skip
def test_numbers(value, text):
    assert number(value) == text


def test_a_model_trained_on_the_reference_level_is_ranked():
    """Only a method that *is* the level of theory is the reference."""
    from pesbench.models.registry import ModelEntry
    from pesbench.models.roles import role

    level = "wB97M-D3(BJ)/def2-TZVPPD"
    trained = ModelEntry("net", "mace", {"weights": "x", "level_of_theory": level})
    assert role(trained, level) == "model"
    assert not model_facts(trained, level).theory_gap
    assert model_facts(trained, "GFN2-xTB").theory_gap
    method = {"calculator": "a:B", "level_of_theory": level, "trained": False}
    assert role(ModelEntry("dft", "ase", method), level) == "reference"
    assert role(ModelEntry("net", "ase", method | {"trained": True}), level) == "model"
    xtb = ModelEntry("x", "tblite", {"method": "GFN2-xTB", "level_of_theory": "GFN2-xTB"})
    assert role(xtb, "GFN2-xTB") == "reference"


def test_doses_of_controls_are_told_with_their_unit():
    controls = [(control("dip", dose), 10 * dose) for dose in (1.0, 0.1)]
    controls += [(control("step", 2.0), 60.0), (control("zero"), 50.0)]
    made = [(one, SCANS * fsd / SCANS.mean()) for one, fsd in controls]
    board = board_of({"a": rows("a", SCANS)}, made)
    found = control_doses(board.reset_index(drop=True), [one for one, _ in controls])
    assert found[["model", "dose", "unit"]].to_numpy().tolist() == [
        ["control-dip_0.1", 0.1, "eV"], ["control-dip_1", 1.0, "eV"], ["control-step_2", 2.0, ""],
    ]  # fmt: skip
    assert found["fsd_full"].tolist() == pytest.approx([1.0, 10.0, 60.0])
