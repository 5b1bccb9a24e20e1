"""Folders of sections: what is written is read back, and what others wrote is checked."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest
from matplotlib.figure import Figure

from pesbench.core.errors import UserError
from pesbench.core.section import (
    FLAG,
    INTEGER,
    POINTS,
    TEXT,
    BoardColumn,
    Drawing,
    Metric,
    Plot,
    Section,
    Table,
)
from pesbench.metrics.board import board_frame, frame_columns, mean_columns, mean_table
from pesbench.report.sections import read_figure, read_section, write_section

SHA = "a" * 64


ALL = "model,kind,dose,low,high,mae\nb,step,1,0.5,2,3e-5\n"
PLOT = Plot(
    "all.csv", POINTS, "model", {"dose": "dose"}, {"mae": "MAE (eV)"}, group="model", joined=True,
    panel="kind", scales={"mae": 1e3}, intervals={"mae": ("low", "high")}, base=("kind", "none"),
)  # fmt: skip


def a_section(**changes):
    rows = pd.DataFrame({"model": ["b", "a"], "error <eV>": ["=1+1", "n/a"]})
    content = {
        "title": "A <b>title</b>",
        "sentence": "One sentence.",
        "answer": "An answer.",
        "tables": [Table("errors", rows, "A table", ("A note.",), models=("b", "a"))],
        "figures": [Drawing("picture", Figure(figsize=(1, 1)), "A caption.", PLOT)],
        "notes": ["How to read it."],
        "board": [
            BoardColumn(Metric("x_error", "error", "eV", "lower"), {"a": 0.1}, {"a": 3, "b": 0}),
            BoardColumn(Metric("x_beyond", "beyond"), {"a": math.inf, "b": math.nan}),
            BoardColumn(Metric("x_count", "count"), {"a": 2}, kind=INTEGER),
            BoardColumn(Metric("x_flag", "flag"), {"b": True}, kind=FLAG),
            BoardColumn(Metric("x_word", "word"), {"b": "="}, kind=TEXT),
        ],
        "files": {"all.csv": ALL},
    }
    return Section(**content | changes)


@pytest.fixture
def folder(tmp_path):
    write_section(tmp_path / "x", a_section(), [("commit", "abc")], SHA)
    return tmp_path / "x"


def test_what_is_written_is_read_back(folder):
    found = read_section(folder)
    assert (found.name, found.title, found.sentence) == ("x", "A <b>title</b>", "One sentence.")
    assert (found.answer, found.scan_set_sha256) == ("An answer.", SHA)
    (table,) = found.tables
    assert table.rows.to_numpy().tolist() == [["b", "=1+1"], ["a", "n/a"]]
    assert (table.title, table.notes, table.models) == ("A table", ("A note.",), ("b", "a"))
    assert (folder / "errors.csv").read_text().splitlines()[1] == "b,'=1+1"  # no formula
    assert read_figure(found.figures[0]).startswith(b"\x89PNG")
    assert found.made == (("commit", "abc"),)
    assert (folder / "all.csv").read_text() == ALL
    assert found.figures[0].plot == PLOT
    board = board_frame(found.board, ["a", "b"]).set_index("model")
    assert board["x_error"].tolist()[0] == 0.1
    assert board["x_error_n"].tolist() == [3, 0]
    assert board.loc["a", "x_beyond"] == math.inf
    assert "b" not in found.board[1].values  # NaN is no value
    assert board["x_count"].dtype == "Int64"
    assert board["x_flag"].dtype == "boolean"
    assert board.loc["b", "x_word"] == "="
    again = board_frame(frame_columns(board.reset_index()), ["a", "b"]).set_index("model")
    pd.testing.assert_frame_equal(again, board)


def test_a_section_is_replaced_whole_and_nothing_else_is(folder):
    write_section(folder, a_section(figures=[], files={}), [], SHA)
    assert sorted(path.name for path in folder.iterdir()) == ["errors.csv", "section.json"]
    other = folder.parent / "mine"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is no section; remove it"):
        write_section(other, a_section(), [], SHA)
    link = folder.parent / "link"
    link.symlink_to(other)
    with pytest.raises(UserError, match="no folder that a section could replace"):
        write_section(link, a_section(), [], SHA)
    assert (other / "thesis.txt").read_text() == "mine"


def edited(folder, change):
    path = folder / "section.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def plot_of(content):
    return content["figures"][0]["plot"]


HOSTILE = {
    "another format": lambda c: c.update(format="zip"),
    "a later version": lambda c: c.update(version=99),
    "no title": lambda c: c.pop("title"),
    "a number for a text": lambda c: c.update(sentence=1),
    "a text of a megabyte": lambda c: c.update(sentence="x" * 1_000_000),
    "a file beside the folder": lambda c: c["figures"][0].update(file="../y.png"),
    "an absolute path": lambda c: c["files"].append("/etc/passwd"),
    "a hidden file": lambda c: c["files"].append(".bashrc"),
    "a file that is not there": lambda c: c["files"].append("none.csv"),
    "a link out of the folder": lambda c: c["files"].append("link.csv"),
    "rows of other lengths": lambda c: c["tables"][0]["rows"].append(["x"]),
    "a row more than models": lambda c: c["tables"][0]["models"].append("c"),
    "a cell that is no text": lambda c: c["tables"][0]["rows"].__setitem__(0, [1, 2]),
    "a column with a bad name": lambda c: c["board"][0].update(name="model\n"),
    "a column of another kind": lambda c: c["board"][0].update(kind="code"),
    "a word for a number": lambda c: c["board"][0]["values"].update(a="many"),
    "a flag for a whole number": lambda c: c["board"][2]["values"].update(a=True),
    "a huge whole number": lambda c: c["board"][2]["values"].update(a=1 << 70),
    "a plot of a file elsewhere": lambda c: plot_of(c).update(file="../secret.csv"),
    "a plot of a picture": lambda c: plot_of(c).update(file="picture.png"),
    "a plot of another kind": lambda c: plot_of(c).update(kind="script"),
    "a plot of a column that is not there": lambda c: plot_of(c)["y"].update(none="none"),
    "a plot of no column": lambda c: plot_of(c).update(x={}),
    "a plot with more in it": lambda c: plot_of(c).update(onclick="alert(1)"),
    "a plot that scales by a word": lambda c: plot_of(c).update(scales={"mae": "many"}),
    "many notes": lambda c: c.update(notes=["x"] * 10_000),
    "a list for an object": lambda c: c.update(board=[[]]),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_others_wrote_is_refused_in_one_line(folder, what):
    (folder.parent / "y.png").write_bytes((folder / "picture.png").read_bytes())
    (folder.parent / "secret.csv").write_text("secret")
    (folder / "link.csv").symlink_to(folder.parent / "secret.csv")
    edited(folder, HOSTILE[what])
    with pytest.raises(UserError) as refused:
        read_section(folder)
    assert "\n" not in str(refused.value)
    assert str(folder / "section.json") in str(refused.value)


def test_no_json_and_no_picture_are_one_line(folder):
    (folder / "picture.png").write_bytes(b"<script>")
    with pytest.raises(UserError, match="no PNG"):
        read_figure(read_section(folder).figures[0])
    for content in (b"", b"\xff", b'{"format": NaN}', b"[]"):
        (folder / "section.json").write_bytes(content)
        with pytest.raises(UserError) as refused:
            read_section(folder)
        assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match="no such file"):
        read_section(folder.parent / "none")


METRICS = (
    Metric("error", "error", "eV", "lower", on_board=True),
    Metric("other", "not shown"),
)


def test_a_failure_is_counted_and_is_in_no_mean():
    scores = {
        "a": pd.DataFrame({"status": ["ok", "ok", "error"], "error": [1.0, None, 7.0]}),
        "b": pd.DataFrame({"status": ["timeout", "timeout"], "error": [0.0, 0.0]}),
    }
    planned, error = mean_columns("x", METRICS, scores)
    assert (planned.metric.name, planned.values) == ("x_n_planned", {"a": 3, "b": 2})
    assert (error.metric.name, error.values, error.counts) == (
        "x_error",
        {"a": 1.0},
        {"a": 1, "b": 0},
    )
    table = mean_table(METRICS, scores, {"a": "a", "b": "b (reference)"})
    assert table.to_dict("records") == [
        {"model": "a", "scored / planned": "2 / 3", "error (eV)": "1.00 (1 of 2)",
         "not scored": "1 error"},
        {"model": "b (reference)", "scored / planned": "0 / 2", "error (eV)": "n/a",
         "not scored": "2 timeout"},
    ]  # fmt: skip
