"""The section of paired differences, from made-up scores where the truth is known."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from test_tables import fact, rows

from pesbench.compare.inputs import CompareInputs
from pesbench.compare.pairs.figure import matrix
from pesbench.compare.pairs.found import find_pairs
from pesbench.compare.pairs.section import section
from pesbench.compare.pairs.table import alike_text, pair_rows
from pesbench.files.figures import png
from pesbench.metrics.board import board_frame
from pesbench.metrics.paired import LEAST_SYSTEMS
from pesbench.models.facts import ModelFacts
from pesbench.report import columns, tables
from pesbench.tasks.bonds.board import leaderboard

N = 40  # scans of 20 systems
BASE = np.random.default_rng(0).lognormal(3, 0.5, N)


def scores_of(**fsd):
    """Scores by model; a scan whose FSD is NaN has failed."""
    return {
        name: rows(name, np.nan_to_num(values), failed=np.flatnonzero(np.isnan(values)))
        for name, values in fsd.items()
    }


def without(values, *scans):
    return np.where(np.isin(np.arange(N), scans), np.nan, values)


def inputs_of(scores, others=(), **more):
    facts = [fact(name) for name in scores] + list(others)
    return CompareInputs(facts=facts, tables={"bonds": scores}, **more)


# a and b differ by a constant, c equals b but for scans that it lacks, d lacks too many
TRUTH = {
    "b": BASE + 5,
    "a": BASE,
    "c": without(BASE + 5, 0, 1, 2),
    "d": without(BASE * 3, *range(8)),
}


def csv_of(found, name):
    return pd.read_csv(io.StringIO(found.files[name]))


@pytest.fixture(scope="module")
def made():
    return section(inputs_of(scores_of(**TRUTH)))


def test_pairs_that_differ_are_told_from_those_that_do_not(made):
    pairs = csv_of(made, "pairs.csv").set_index(["model", "other"])
    assert list(pairs.index) == [
        ("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d"),
    ]  # fmt: skip
    assert pairs["differs"].tolist() == [True, True, True, False, True, True]
    assert pairs.loc[("a", "b"), "mean_difference"] == pytest.approx(-5)
    assert pairs["n_scans"].tolist() == [N, N - 3, N - 8, N - 3, N - 8, N - 8]
    assert pairs.loc[("b", "c"), ["won", "tied", "lost"]].tolist() == [0, 1, 0]
    assert np.allclose(pairs[["won", "tied", "lost"]].sum(axis=1), 1)
    assert made.sentence.startswith("5 of 6 pairs of models differ in FSD")
    assert made.answer == "On the scans that both have, a differs from every other model."


def test_a_model_below_the_threshold_is_paired_and_changes_no_rank(made):
    models = made.tables[0].rows.set_index("model")
    assert models["rank"].to_dict() == {"a": "1", "b": "2", "c": "2", "d": "–"}
    assert models.loc["c", "alone costs"] == "3: C-N/001, C-N/002, O-P/000"
    assert models.loc["d", "alone costs"].startswith("5: C-N/003, ")  # c lacks the others, too
    assert models.loc["a", "alone costs"] == "no scan"
    assert models["better than"].tolist() == ["3", "1", "1", "0"]
    assert models["worse than"].tolist() == ["0", "1", "1", "3"]
    assert models["does not differ from"].tolist() == ["none", "2", "2", "none"]
    assert "d takes no part in what is shared: 32 of 40 scans scored, below" in " ".join(made.notes)
    lacking = csv_of(made, "lacking.csv")
    assert len(lacking) == 3 + 8
    assert lacking[lacking["alone"]].groupby("model").size().to_dict() == {"c": 3, "d": 5}
    assert set(lacking["status"]) == {"error"}


def test_a_rank_that_another_model_changes_is_named_on_the_leaderboard():
    """b is bad on scan 0 alone, which c lacks: with c, b is before a, without c behind it."""
    bad = BASE - 1
    bad[0] += 3 * N
    scores = scores_of(a=BASE, b=bad, c=without(BASE * 2, 0))
    made = section(inputs_of(scores))
    board = leaderboard(scores, [fact(name) for name in scores])
    told = board_frame(made.board, board["model"].tolist())
    board = board.merge(told, on="model").set_index("model", drop=False)
    assert board["rank"].to_dict() == {"b": 1, "a": 2, "c": 3}
    changes = board["rank_changes_with"].to_dict()
    assert changes == {"b": "c (1 → 2)", "a": "c (2 → 1)", "c": ""}
    cells = columns.section(board, "model").set_index("model")
    assert cells.loc["b", "rank"].startswith("1*")
    assert "*" not in cells.loc["c", "rank"]
    assert "not different from (ranks)" in cells
    note = next(one for one in tables.notes(board) if one.startswith("* "))
    assert "b with c (1 → 2); a with c (2 → 1)" in note
    rows = csv_of(made, "ranks_without.csv")
    assert rows[rows["changes"]][["model", "other"]].to_numpy().tolist() == [["b", "c"], ["a", "c"]]
    assert any(
        "changes with another model for 2 of 3 ranked models (b, a)" in n for n in made.notes
    )


def test_no_rank_changes_where_all_have_all_scans():
    scores = scores_of(a=BASE, b=BASE * 2, c=BASE * 3)
    made = section(inputs_of(scores))
    assert any("None of the 3 ranks changes" in note for note in made.notes)
    told = board_frame(made.board, ["a", "b", "c"])
    assert told["rank_changes_with"].tolist() == ["", "", ""]
    assert told["not_different"].tolist() == ["none", "none", "none"]


def test_models_without_a_common_scan_are_a_whole_section():
    scores = scores_of(
        a=without(BASE, *range(20)), b=without(BASE, *range(20, 40)), c=np.full(N, np.nan)
    )
    made = section(inputs_of(scores, entry_coverage=0.5))
    assert made.tables[0].rows["rank"].tolist() == ["–", "–", "–"]
    assert made.tables[0].rows["does not differ from"].tolist() == ["n/a"] * 3
    assert made.answer == ""
    assert f"{LEAST_SYSTEMS} are needed" in made.sentence
    assert csv_of(made, "pairs.csv")["differs"].isna().all()


def test_a_pair_that_is_not_decided_is_not_said_to_differ():
    scores = scores_of(a=BASE, b=BASE + 5, c=without(BASE + 5, *range(N - 4)))
    made = section(inputs_of(scores))
    said = "a differs from every other model of which it can be told."
    assert made.answer == f"On the scans that both have, {said}"


def test_a_model_without_a_score_changes_no_rank():
    made = section(inputs_of(scores_of(a=BASE, b=BASE * 2, c=np.full(N, np.nan))))
    assert any("None of the 2 ranks changes" in note for note in made.notes)


def test_another_metric_ranks_and_other_roles_are_no_models():
    scores = scores_of(a=BASE, b=BASE * 2)
    scores["a"]["force_mae"] = 3.0
    scores["b"]["force_mae"] = 1.0
    scores["truth"] = rows("truth", BASE * 0)
    inputs = CompareInputs(
        facts=[fact("a"), fact("b"), ModelFacts("truth", "test", "reference")],
        tables={"bonds": scores},
        rank_by="force_mae",
    )
    pairs = pair_rows(find_pairs(inputs))
    assert pairs[["model", "other", "mean_difference"]].to_numpy().tolist() == [["b", "a", -2.0]]
    assert "force MAE" in section(inputs).figures[0].caption


@pytest.mark.parametrize("count", [2, 5, 30])
def test_the_matrix_is_drawn_of_few_and_of_many_models(count):
    rng = np.random.default_rng(count)
    scores = scores_of(
        **{f"a-model-{k}$": BASE * (1 + k / 9) * rng.lognormal(0, 0.5, N) for k in range(count)}
    )
    found = find_pairs(inputs_of(scores), resamples=200)
    drawn = matrix(found)
    (axes,) = drawn.axes
    assert len(axes.texts) == count * (count - 1)
    assert png(drawn)
    renderer = drawn.canvas.get_renderer()
    cell = axes.get_window_extent(renderer).width / count
    assert max(text.get_window_extent(renderer).width for text in axes.texts) < cell
    names = [text.get_text() for text in axes.get_xticklabels()]
    assert names[0] == r"a-model-0\$"
    edge = drawn.bbox
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels(), *drawn.texts):
        box = text.get_window_extent(renderer)
        assert box.x0 >= edge.x0
        assert box.y0 >= edge.y0
        assert box.x1 <= edge.x1


def test_ranks_in_a_row_are_written_short():
    rng = np.random.default_rng(0)
    scores = scores_of(**{name: BASE * rng.lognormal(0, 0.3, N) for name in "abcdef"})
    found = find_pairs(inputs_of(scores), resamples=200)
    assert alike_text(found, 0) == "2–6"
    assert alike_text(found, 2) == "1–2, 4–6"
