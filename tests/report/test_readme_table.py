"""The table of BSCT-SPICE in README.md is that of the kept leaderboard."""

from __future__ import annotations

import numpy as np
import pytest
from test_tables import SCANS, board_of, control, rows

import readme_table
from pesbench.core.text import csv_table


def test_the_readme_shows_the_kept_leaderboard():
    """If it fails: `python tests/helpers/readme_table.py`, and read what changes."""
    text = readme_table.README.read_text()
    assert readme_table.written(text, readme_table.read_board()) == text
    with pytest.raises(ValueError, match="once"):
        readme_table.written("no table", readme_table.read_board())


def read_again(board, tmp_path):
    (tmp_path / "board.csv").write_text(csv_table(board))
    return readme_table.read_board(tmp_path / "board.csv")


def test_a_board_of_an_older_version_has_no_columns_of_cost(tmp_path):
    scored = {"a": rows("a", SCANS), "b": rows("b", SCANS * 2, failed=(0, 1))}
    board = board_of(scored, [(control("zero"), SCANS * 3), (control("step", 2), SCANS)])
    text = readme_table.table(read_again(board, tmp_path))
    head, _, *lines = text.splitlines()
    assert [cell.strip() for cell in head.strip("|").split("|")] == [
        "model", "scans", "FSD (Å⁻¹)", "windowed (Å⁻¹)", "force MAE (eV/Å)",
    ]  # fmt: skip
    assert [line.split("|")[1].strip() for line in lines[:3]] == ["a", "b", "zero forces"]
    assert lines[1].split("|")[2].strip() == "18"
    assert lines[2].split("|")[3].strip() == "30.0"
    assert lines[-1] == "*In the order of rank. Scans: scored, of 20. FSD with its 95 % interval.*"


def test_marks_and_what_a_reader_chooses_by(tmp_path):
    scored = {"a": rows("a", SCANS), "b": rows("b", SCANS * 2)}
    board = board_of(scored, [(control("zero"), SCANS)])
    board = board.assign(
        theory_gap=[False, True, False],
        overlap=["All of it.", "", ""],
        conservative=[True, False, np.nan],
        n_elements=[8, 89, np.nan],
        lacking=["Br, I", "", ""],
        md_n_planned=[9, 9, np.nan],
        md_n_counted=[9, 7, np.nan],  # two that the model does not support
        md_n_finished=[9, 4, np.nan],
        cost_steps_per_day=[1_234_567.0, np.nan, np.nan],
        cost_peak_memory_mb=[812.0, np.nan, np.nan],
        cost_n_atoms=[28, np.nan, np.nan],
        cost_device=["Abacus 9, 1 thread", "", ""],
    )
    text = readme_table.table(read_again(board, tmp_path))
    _, _, first, second, *_ = text.splitlines()
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    assert cells[0] == "a ‡§"
    assert cells[5:] == ["9 of 9", "8, not Br, I", "yes", "1\u202f200\u202f000", "812"]
    cells = [cell.strip() for cell in second.strip("|").split("|")]
    assert cells[0] == "b †‡"
    assert cells[5:] == ["4 of 7", "89", "no", "–", "–"]
    for said in ("† another level", "‡ no better", "§ its training data", "28 atoms on Abacus 9",
                 "of 9 trajectories"):  # fmt: skip
        assert said in text
