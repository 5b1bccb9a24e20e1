"""The table of trained heads: a part that is trained, joined, summed up, refused."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest

from pesbench import cli
from pesbench.core.errors import UserError
from pesbench.tasks.lj_core.designs import (
    Design,
    Schedule,
    grid,
    main_designs,
    mlp_beside,
    parts,
    trained_tables,
)
from pesbench.tasks.lj_core.head_summary import (
    HIGHER,
    LOST,
    NO_WALL,
    UNTRAINED,
    WINS,
    cells,
    decisive,
    error_of_readout,
    missing,
    outcomes,
    reproduced,
    seeds_of,
)
from pesbench.tasks.lj_core.head_table import (
    COLUMNS,
    SCORED,
    Row,
    card_of,
    heads_of,
    join,
    parse,
    read_heads,
    write_table,
)

SCHEDULE = {"steps": 4, "batch": 8, "learning_rate": 1e-3, "chunk": 2}
CURVE = {"mlp": {"r": [1.0], "median": [0.0], "least": [None], "largest": [1.0]}}
MLP, RATIONAL = Design("mlp", "silu"), Design("rational", "relu", transform="abs")
PART_OF = {one: name for name, part in parts().items() if part.seeds == 3 for one in part.designs}


def row(design: Design, seed: int, score: float, sign: float = 1.0, **more: str) -> Row:
    numbers = dict.fromkeys(SCORED, 0.5) | {
        "log10_energy_mae_core": score, "right_sign_share": sign, "monotone": 1.0,
    }  # fmt: skip
    return Row(more.get("part", PART_OF[design]), design, seed, numbers, 0.25)


def written(path, rows, part, curves=None, **card):
    write_table(path, rows)
    told = {"part": part, "schedule": SCHEDULE, "seeds": 1, "threads": 1, "code": "c",
            "provenance": {}, "curves": curves or {}}  # fmt: skip
    card_of(path).write_text(json.dumps(told | card))
    return path


def test_parts_are_trained_by_their_command_and_joined(tmp_path, monkeypatch):
    """Those of a main row and of the grid, which hold the same design, in one folder."""
    pytest.importorskip("torch", reason="heads are trained with torch")
    monkeypatch.chdir(tmp_path)
    for part in ("main-mlp", "grid-mlp-silu-2"):
        words = ["lj-heads", part, "--smoke", "--seeds", "2", "--work", "work"]
        assert cli.main([*words, "--out", f"{part}.csv"]) == 0
    assert not list((tmp_path / "work").iterdir())  # no checkpoint is left
    found = read_heads(tmp_path / "main-mlp.csv")
    assert [one.seed for one in found.rows] == [1, 2]
    # four steps leave it near zero, whose core error is 7.90
    scores = [one.numbers["log10_energy_mae_core"] for one in found.rows]
    assert all(6 < one < 8.5 for one in scores)
    assert scores[0] != scores[1]
    assert found.schedule.steps == 4
    assert found.curves["mlp"]["r"][0] == pytest.approx(0.2)
    words = ["lj-heads-table", "--parts", "main-mlp.csv", "grid-mlp-silu-2.csv"]
    assert cli.main([*words, "--out", "heads.csv"]) == 0
    joined = read_heads(tmp_path / "heads.csv")
    assert [*joined.rows][:2] == [*found.rows]
    assert len(joined.rows) == 2 + 2 * 4
    card = json.loads((tmp_path / "heads.json").read_text())
    assert card["parts"]["main-mlp"]["seeds"] == 2
    assert {"main-mlp", "grid-mlp-silu-2"}.isdisjoint(missing(joined))
    assert len(missing(joined)) == 15
    # a table is not written over the card of a part
    assert cli.main([*words[:3], "--out", "main-mlp.txt"]) == 2


def test_the_tables_that_are_joined_are_those_that_are_there(tmp_path):
    """One part that fails stops nothing but itself; before any, all are to be made."""
    assert len(trained_tables(tmp_path)) == 17
    for name in ("main-mlp", "grid-mlp-relu-2", "other"):
        (tmp_path / f"{name}.csv").touch()
    assert [one.stem for one in trained_tables(tmp_path)] == ["main-mlp", "grid-mlp-relu-2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lj-heads", "main-mpl", "--work", "w", "--out", "o.csv"], "no part 'main-mpl'"),
        (["lj-heads", "main-mlp", "--seeds", "0", "--work", "w", "--out", "o.csv"], "--seeds 0"),
        (["lj-heads-table", "--parts", "no.csv", "--out", "o.csv"], "no.csv"),
    ],
)
def test_a_wrong_command_is_one_line(tmp_path, monkeypatch, caplog, words, said):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    assert said in caplog.text
    assert not (tmp_path / "w").exists()


def test_rows_are_read_as_they_are_written(tmp_path):
    rows = [row(MLP, 1, 4.25), row(RATIONAL, 1, math.nan)]
    found = read_heads(written(tmp_path / "a.csv", rows, "a")).rows
    assert found[0] == rows[0]
    assert math.isnan(found[1].numbers["log10_energy_mae_core"])
    assert (found[0].ok, found[1].ok) == (True, False)
    header, first, second = (tmp_path / "a.csv").read_text().splitlines()
    assert header.split(",") == list(COLUMNS)
    assert ",ok," in first
    assert ",nonfinite," in second


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("mlp-silu-2-one-min_bias", "mlp-relu-2-one-min_bias"), "no row of a trained head"),
        (("mlp-silu-2-one-min_bias,mlp", "mlp-silu-2-one-min_bias,foo"), "contradict its design"),
        (("grid-mlp-silu-2", "<script>"), "no row of a trained head"),
        ((",4.25,", ",much,"), "no row of a trained head"),
        (("part,", "port,"), "no row of a trained head"),
        (("part,", "pa\0rt,"), "trained head"),
    ],
)
def test_a_damaged_table_is_one_line(tmp_path, change, said):
    path = written(tmp_path / "a.csv", [row(MLP, 1, 4.25)], "a")
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(UserError) as error:
        read_heads(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "card",
    [
        [], "x", {}, {"schedule": SCHEDULE}, {"schedule": {"a": 1}, "curves": {}},
        {"schedule": "x", "curves": {}}, {"schedule": SCHEDULE, "curves": [1]},
        {"schedule": SCHEDULE, "curves": {"mlp": {}}},
        {"schedule": SCHEDULE, "curves": {"mlp": CURVE["mlp"] | {"r": [1.0, 2.0]}}},
        {"schedule": SCHEDULE, "curves": {"mlp": CURVE["mlp"] | {"median": ["<b>"]}}},
        {"schedule": SCHEDULE | {"steps": "inf"}, "curves": {}},
    ],
)  # fmt: skip
def test_a_card_that_means_harm_is_one_line(tmp_path, card):
    path = written(tmp_path / "a.csv", [row(MLP, 1, 4.25)], "a")
    card_of(path).write_text(json.dumps(card))
    with pytest.raises(UserError) as error:
        read_heads(path)
    assert "card of trained heads" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "heads", ["x", 5, [1], {"table": 5}, {"table": "a,b\n1,2", "card": {}}, {"card": None}]
)
def test_scores_from_elsewhere_hold_heads_or_are_one_line(heads):
    scores = {"m": SimpleNamespace(attrs={"heads": heads}), "n": SimpleNamespace(attrs={})}
    with pytest.raises(UserError, match=r"scores of m, `heads`") as error:
        heads_of(scores)
    assert "\n" not in str(error.value)


def test_scores_hold_the_heads_that_they_were_made_with(tmp_path):
    kept = read_heads(written(tmp_path / "a.csv", [row(MLP, 1, 4.25)], "a", CURVE)).kept()
    scores = {"m": SimpleNamespace(attrs={"heads": json.loads(json.dumps(kept))}),
              "n": SimpleNamespace(attrs={"heads": {}})}  # fmt: skip
    found = heads_of(scores)
    assert found.rows == [row(MLP, 1, 4.25)]
    assert found.schedule == Schedule(**SCHEDULE)
    assert found.curves == CURVE
    assert heads_of({"n": scores["n"]}) is None
    other = read_heads(written(tmp_path / "b.csv", [row(MLP, 1, 4.5)], "b")).kept()
    scores["n"].attrs["heads"] = other
    with pytest.raises(UserError, match="scores of m and n: made with different"):
        heads_of(scores)


def test_parts_must_have_one_schedule_and_be_given_once(tmp_path):
    one = written(tmp_path / "a.csv", [row(MLP, 1, 4.0)], "grid-mlp-silu-2")
    other = written(tmp_path / "b.csv", [row(MLP, 1, 4.0)], "b", schedule=SCHEDULE | {"steps": 5})
    with pytest.raises(UserError, match=r"b\.csv: was trained with another schedule than"):
        join([one, other], tmp_path / "out.csv")
    with pytest.raises(UserError, match="given twice"):
        join([one, one], tmp_path / "out.csv")
    table = one.read_text()
    with pytest.raises(UserError, match="a seed of a part twice"):
        parse("here", f"{table}{table.splitlines()[1]}\n", {})
    card_of(other).unlink()
    with pytest.raises(UserError, match=r"b\.json"):
        join([one, other], tmp_path / "out.csv")


def test_parts_of_other_code_are_joined_and_told(tmp_path, caplog):
    """What was trained before a change of the code is not lost; the card has the code of each."""
    one = written(tmp_path / "a.csv", [row(MLP, 1, 4.0)], "grid-mlp-silu-2")
    other = written(tmp_path / "b.csv", [row(MLP, 1, 4.0)], "b", code="other")
    join([one, other], tmp_path / "out.csv")
    assert f"{other}: was trained by other code than {one}" in caplog.text
    told = json.loads((tmp_path / "out.json").read_text())["parts"]
    assert {name: part["code"] for name, part in told.items()} == {
        "grid-mlp-silu-2": "c", "b": "other"
    }  # fmt: skip


def test_means_are_over_seeds_with_numbers_and_these_are_counted():
    rows = [row(MLP, seed, score) for seed, score in ((1, 1.0), (2, 3.0), (3, math.nan))]
    (found,) = seeds_of(rows, main=False).values()
    assert (found.n, found.n_ok, found.n_walls) == (3, 2, 2)
    assert found.numbers["log10_energy_mae_core"] == (2.0, pytest.approx(math.sqrt(2)))
    (lost,) = seeds_of([rows[2]], main=False).values()
    assert lost.n_ok == 0
    assert math.isnan(lost.core)


def the_grid(design: Design) -> float:
    better = design.transform != "softplus" and design.sampling == "min_bias"
    return 4.5 if design.head == "mlp" else 1.0 if better else 5.0


def test_a_cell_compares_a_rational_head_with_its_own_mlp():
    """The MLP of the same activation, depth, scale and sampling stands beside all transforms."""
    designs = (*grid("mlp"), *grid("rational"))
    rows = [row(one, seed, the_grid(one) + 0.01 * seed) for one in designs for seed in (1, 2, 3)]
    found = cells(rows)
    assert outcomes(found) == {WINS: 36, HIGHER: 60}
    assert found[0].mlp.core == pytest.approx(4.52)
    assert found[0].mlp.design == mlp_beside(found[0].design)
    assert not any(cell.fits_better for cell in found)  # the same in range
    most = decisive(found)
    assert most.factor == "sampling"
    assert most.levels == {"uniform": (0, 48), "min_bias": (36, 48)}
    # Σ n (share − 3/8)² over the levels, of 96 · 3/8 · 5/8
    assert most.explained == pytest.approx(48 * 2 * 0.375**2 / (96 * 0.375 * 0.625))


def test_a_factor_with_four_levels_is_not_favoured():
    """The range of its shares is larger, and they explain less."""
    wins = {"none": (0, 5), "softplus": (3, 9), "abs": (3, 9), "u_plus_softplus": (7, 12)}
    rows = [row(one, 1, 4.5) for one in grid("mlp")]
    for transform, both in wins.items():
        for sampling, count in zip(("uniform", "min_bias"), both, strict=True):
            twelve = [one for one in grid("rational")
                      if (one.transform, one.sampling) == (transform, sampling)]  # fmt: skip
            # spread over the other factors
            won = {5 * k % 12 for k in range(count)}
            rows += [row(one, 1, 1.0 if k in won else 5.0) for k, one in enumerate(twelve)]
    most = decisive(cells(rows))
    assert most.factor == "sampling"
    assert most.levels == {"uniform": (13, 48), "min_bias": (35, 48)}
    assert (35 - 13) / 48 < (19 - 5) / 24  # the range of the transforms


def test_where_all_cells_end_alike_no_factor_decides():
    found = cells([row(one, 1, 4.0) for one in (*grid("mlp"), *grid("rational"))])
    assert outcomes(found) == {HIGHER: 96}
    assert decisive(found) is None
    assert decisive([]) is None


def test_a_cell_with_a_wrong_sign_or_a_lost_seed_is_no_win():
    design = Design("rational", "silu", transform="none")
    mlp = [row(MLP, seed, 4.0) for seed in (1, 2)]

    def outcome(*rows):
        return next(cell for cell in cells([*mlp, *rows]) if cell.design == design).outcome

    good = row(design, 1, 1.0)
    assert outcome(good, row(design, 2, 1.0)) == WINS
    assert outcome(good, row(design, 2, 1.0, sign=0.0)) == NO_WALL
    assert outcome(good, row(design, 2, math.nan)) == LOST
    assert outcome(good, row(design, 2, 9.0)) == HIGHER
    assert outcome() == UNTRAINED
    assert len(cells([good])) == 96  # those that are not trained are counted
    assert outcomes(cells([good])) == {UNTRAINED: 96}
    assert cells([row(MLP, 1, 4.0, part="main-mlp")]) == []


def test_what_is_reproduced_is_said_by_design():
    rows = [row(RATIONAL, 1, 1.0), row(Design("rational", "relu", transform="none"), 1, 3.0),
            row(Design("rational", "silu", transform="none"), 1, math.nan),
            row(MLP, 1, 4.8), row(Design("mlp", "relu"), 1, 4.9)]  # fmt: skip
    # a design without a number is one that was trained
    assert reproduced(rows) == {"rational": ([RATIONAL.name], 3), "mlp": ([MLP.name], 2)}


def test_the_head_of_a_readout_is_its_main_row_or_cell(tmp_path):
    rational = main_designs()["rational"]
    plain = Design("rational", "relu", transform="none")
    rows = [row(MLP, 1, 4.5, part="main-mlp"), row(rational, 1, 0.7, part="main-rational"),
            row(plain, 1, 2.5)]  # fmt: skip
    heads = read_heads(written(tmp_path / "a.csv", rows, "a"))
    found = {one: error_of_readout(heads, one)
             for one in ("linear", "rational", "rational_plain", "bounded", "other")}  # fmt: skip
    assert found == {"linear": 4.5, "rational": 0.7, "rational_plain": 2.5, "bounded": None,
                     "other": None}  # fmt: skip
