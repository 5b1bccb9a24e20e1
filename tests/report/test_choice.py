"""What a reader asks who chooses a model: columns of the board, and their table."""

from __future__ import annotations

import numpy as np
import pytest
from test_tables import SCANS, board_of, fact, rows

from examples import toy_scan, write_toys
from pesbench.files.scan_set import ScanSet
from pesbench.metrics.board import board_frame
from pesbench.models.registry import ModelEntry
from pesbench.report import choice, tables
from pesbench.report.answer import sentences
from pesbench.tasks.bonds.board import leaderboard

SETTINGS = {
    "a": {
        "conservative": True,
        "license": "MIT",
        "seen": {"toys": "Half of it.", "others": "All."},
    },
    "b": {"conservative": False, "elements": ["C", "N"]},
    "c": {"seen": {"others": "All."}},
    "control-zero": {"control": "zero"},
}


@pytest.fixture
def toys(tmp_path):
    write_toys(
        tmp_path / "toys.h5", [toy_scan("a", "CC"), toy_scan("b", "CN"), toy_scan("c", "OS")]
    )
    with ScanSet(tmp_path / "toys.h5") as scan_set:
        yield scan_set


def scores_of(**told):
    """Scores of all models; those in `told` know elements."""
    found = {name: rows(name, SCANS) for name in SETTINGS}
    for name, elements in told.items():
        found[name].attrs["made_from"] = [{"device": "cpu"}, {"elements": elements}]
    return found


def columns(toys, **told):
    entries = {
        name: ModelEntry(name, "control" if name.startswith("control") else "ase", settings)
        for name, settings in SETTINGS.items()
    }
    found = choice.columns(entries, scores_of(**told), toys)
    return board_frame(found, list(SETTINGS)).set_index("model")


def test_elements_are_those_of_the_loaded_model_or_of_its_entry(toys):
    board = columns(toys, a="H C N O S <script>", b="")
    assert board["n_elements"].fillna(0).tolist() == [5, 2, 0, 0]
    assert board["n_elements"].isna().tolist() == [False, False, True, True]
    assert board["lacking"].to_dict() == {"a": "", "b": "O, S", "c": "", "control-zero": ""}
    assert board["conservative"].iloc[:2].tolist() == [True, False]
    assert board["conservative"].iloc[2:].isna().all()
    assert board["license"].tolist() == ["MIT", "", "", ""]
    # of this scan set, not of another
    assert board["overlap"].tolist() == ["Half of it.", "", "", ""]


def with_choice(toys, **told):
    board = board_of({name: rows(name, SCANS * (k + 1)) for k, name in enumerate("abc")})
    own = columns(toys, **told)
    return board.assign(**{name: own[name].reindex(board.index) for name in own})


def test_a_model_that_may_have_seen_the_set_is_marked_with_the_reason(toys):
    board = with_choice(toys)
    text = tables.to_markdown(board.reset_index(drop=True), about=choice.section(board))
    assert "| a § " in text
    assert "| b " in text
    assert text.count("§") == 2  # the row and the note
    assert "§ the training data may overlap" in text
    assert "(a: Half of it.)" in text
    assert "may overlap with the scan set" in sentences(board, [])[0]
    # sections of an older version
    board = board_of({"a": rows("a", SCANS)})
    assert "§" not in tables.to_markdown(board)
    assert choice.section(board.assign(level_of_theory="")) is None


def test_the_table_shows_what_is_told_of_any_model(toys):
    found = choice.section(with_choice(toys, a="H C N O S"))
    assert list(found.tables[0].rows["model"]) == ["a", "b", "c"]
    shown = found.tables[0].rows.set_index("model")
    assert list(shown.columns) == ["elements", "conservative", "licence"]
    assert shown["elements"].tolist() == ["5", "2, lacks O, S", "n/a"]
    assert shown["conservative"].tolist() == ["yes", "no", "n/a"]
    assert len(found.notes) == 1
    cost = {"cost_steps_per_day": [1_234_567.0, np.nan, 89.0], "cost_n_atoms": [28, 28, 28]}
    board = with_choice(toys).assign(**cost, cost_peak_memory_mb=100.0, cost_device="Abacus 9")
    found = choice.section(board)
    shown = found.tables[0].rows.set_index("model")
    assert shown["steps a day (28 atoms)"].tolist() == ["1\u202f230\u202f000", "n/a", "89.0"]
    assert shown["peak memory (MB)"].tolist() == ["100"] * 3
    assert len(found.notes) == 2
    # it stands below the models, above the other roles
    facts = [fact("a"), fact("truth", "reference")]
    whole = leaderboard({one.name: rows(one.name, SCANS) for one in facts}, facts)
    text = tables.to_markdown(whole, about=found)
    assert text.index("## Models") < text.index(f"## {choice.TITLE}") < text.index("## Reference")
