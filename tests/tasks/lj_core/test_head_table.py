"""The table of trained heads: a part that is trained, joined, summed up, refused."""

from __future__ import annotations

import json
import math

import pytest

from pesbench import cli
from pesbench.core.errors import UserError
from pesbench.tasks.lj_core import designs
from pesbench.tasks.lj_core.designs import Design, grid
from pesbench.tasks.lj_core.head_summary import cells, spread, summary, wins, wins_by_factor
from pesbench.tasks.lj_core.head_table import (
    COLUMNS,
    GHOSTS,
    OF_DESIGN,
    card_of,
    join,
    read_table,
    write_table,
)
from pesbench.tasks.lj_core.judged import NUMBERS

SCHEDULE = {"steps": 4, "batch": 8, "learning_rate": 1e-3, "chunk": 2}


def row(design: Design, seed: int, score: float, part: str = "grid") -> dict:
    numbers = dict.fromkeys((*NUMBERS, *GHOSTS, "last_loss"), 0.5)
    return {
        "part": part, "design": design.name,
        **{name: getattr(design, name) for name in OF_DESIGN},
        "seed": seed, "status": "ok" if math.isfinite(score) else "nonfinite", **numbers,
        "log10_energy_mae_core": score, "steps": 4,
    }  # fmt: skip


def written(path, rows, part, curves=None, **card):
    write_table(path, rows)
    told = {"part": part, "schedule": SCHEDULE, "seeds": 1, "threads": 1, "code": "c",
            "provenance": {}, "curves": curves or {}}  # fmt: skip
    card_of(path).write_text(json.dumps(told | card))
    return path


MLP, RATIONAL = Design("mlp", "silu"), Design("rational", "relu", transform="abs")
CURVE = {"mlp": {"r": [1.0], "median": [0.0], "least": [None], "largest": [1.0]}}


def test_a_part_is_trained_by_its_command_and_joined(tmp_path):
    pytest.importorskip("torch", reason="heads are trained with torch")
    out = tmp_path / "main-mlp.csv"
    words = ["lj-heads", "main-mlp", "--smoke", "--seeds", "2", "--work", str(tmp_path / "work")]
    assert cli.main([*words, "--out", str(out)]) == 0
    rows = read_table(out)
    assert [one["seed"] for one in rows] == [1, 2]
    assert {one["status"] for one in rows} == {"ok"}
    # four steps leave it near zero, whose core error is 7.90
    assert all(6 < one["log10_energy_mae_core"] < 8.5 for one in rows)
    assert rows[0]["log10_energy_mae_core"] != rows[1]["log10_energy_mae_core"]
    card = json.loads(card_of(out).read_text())
    assert card["schedule"]["steps"] == 4
    assert card["curves"]["mlp"]["r"][0] == pytest.approx(0.2)
    joined = tmp_path / "heads.csv"
    assert cli.main(["lj-heads-table", "--parts", str(out), "--out", str(joined)]) == 0
    assert read_table(joined) == rows
    told = summary(joined)
    assert told["main"]["mlp"]["n_ok"] == 2
    assert told["cells"] == []
    parts = json.loads(card_of(joined).read_text())["parts"]
    assert parts["main-mlp"]["seeds"] == 2
    assert parts["main-mlp"]["provenance"]["git_commit"] == card["provenance"]["git_commit"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lj-heads", "main-mpl", "--work", "w", "--out", "o.csv"], "no part 'main-mpl'"),
        (["lj-heads", "main-mlp", "--seeds", "0", "--work", "w", "--out", "o.csv"], "--seeds 0"),
        (["lj-heads-table", "--parts", "no.csv", "--out", "o.csv"], "no.csv"),
    ],
)
def test_a_wrong_command_is_one_line(tmp_path, monkeypatch, capsys, caplog, words, said):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    assert said in caplog.text
    assert not (tmp_path / "w").exists()


def test_rows_are_read_as_they_are_written(tmp_path):
    rows = [row(MLP, 1, 4.25), row(RATIONAL, 1, math.nan)]
    write_table(tmp_path / "a.csv", rows)
    found = read_table(tmp_path / "a.csv")
    assert found[0] == rows[0]
    assert math.isnan(found[1]["log10_energy_mae_core"])
    assert set(found[0]) == set(COLUMNS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("mlp-silu-2-one-min_bias", "mlp-relu-2-one-min_bias"), "`design` is"),
        ((",4.25,", ",much,"), "no row of a trained head"),
        (("part,", "port,"), "no column 'part'"),
    ],
)
def test_a_damaged_table_is_one_line(tmp_path, change, said):
    path = tmp_path / "a.csv"
    write_table(path, [row(MLP, 1, 4.25)])
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(UserError) as error:
        read_table(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_parts_must_be_trained_alike_and_given_once(tmp_path):
    one = written(tmp_path / "a.csv", [row(MLP, 1, 4.0)], "grid-mlp-silu-2")
    other = written(tmp_path / "b.csv", [row(MLP, 1, 4.0)], "b", schedule={"steps": 5})
    with pytest.raises(UserError, match="given twice"):
        join([one, one], tmp_path / "out.csv")
    with pytest.raises(UserError, match="another schedule"):
        join([one, other], tmp_path / "out.csv")
    card_of(other).unlink()
    with pytest.raises(UserError, match=r"b\.json"):
        join([one, other], tmp_path / "out.csv")


def test_means_and_deviations_leave_out_what_is_no_number():
    assert spread([1.0, 3.0, math.nan]) == (2.0, pytest.approx(math.sqrt(2)), 2)
    mean, deviation, n = spread([math.inf])
    assert math.isnan(mean)
    assert math.isnan(deviation)
    assert n == 0


def test_a_cell_compares_a_rational_head_with_its_own_mlp():
    """The MLP of the same activation, depth, scale and sampling stands beside all transforms."""
    rows = []
    for design in (*grid("mlp"), *grid("rational")):
        for seed in (1, 2, 3):
            better = design.transform in ("abs", "none") and design.sampling == "min_bias"
            score = 4.5 if design.head == "mlp" else 1.0 if better else 5.0
            rows.append(row(design, seed, score + 0.01 * seed))
    found = cells(rows)
    assert len(found) == 96
    assert wins(found) == (24, 96)
    by_factor = {(factor, level): (won, of) for factor, level, won, of in wins_by_factor(found)}
    assert by_factor["sampling", "uniform"] == (0, 48)
    assert by_factor["transform", "abs"] == (12, 24)
    assert by_factor["depth", 3] == (12, 48)
    assert found[0]["mlp"] == pytest.approx(4.52)


def test_a_cell_without_a_number_is_in_no_share():
    design = Design("rational", "silu", transform="none")
    rows = [row(MLP, 1, 4.0), row(design, 1, math.nan)]
    (cell,) = cells(rows)
    assert cell["wins"] is None
    assert wins([cell]) == (0, 0)
    assert cells([row(design, 1, 1.0)]) == []  # no MLP beside it


def test_a_summary_tells_main_rows_and_grid(tmp_path):
    rows = [row(MLP, seed, 4.0 + seed, "main-mlp") for seed in (1, 2, 3)]
    rows += [row(MLP, 1, 4.0), row(designs.main_designs()["rational"], 1, 1.0)]
    path = written(tmp_path / "heads.csv", rows, "main-mlp", CURVE)
    found = summary(path)
    assert found["main"]["mlp"]["numbers"]["log10_energy_mae_core"] == [6.0, 1.0]
    assert found["main"]["mlp"]["n_seeds"] == 3
    assert found["cells"] == []  # the rational one has ReLU, the MLP SiLU
    assert found["curves"] == CURVE
    assert json.dumps(found, allow_nan=False)
