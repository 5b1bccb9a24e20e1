"""Write the table of BSCT-SPICE of README.md from the kept leaderboard, between its two comments.

    python tests/helpers/readme_table.py

`make study-pages` does this after it has made the leaderboard.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pesbench.core.text import markdown, markdown_table, number
from pesbench.report.columns import marks

REPO = Path(__file__).parents[2]
README = REPO / "README.md"
BOARD = REPO / "resources" / "study" / "bsct_spice" / "leaderboard.csv"
BEGIN, END = "<!-- table of make study-bsct -->\n", "<!-- end -->"
_FLOOR = "control-zero"
_TEXTS = ("lacking", "overlap", "cost_device")  # a column without any text is read as numbers


def read_board(path: Path = BOARD) -> pd.DataFrame:
    """The kept leaderboard; text that is missing is ""."""
    board = pd.read_csv(path)
    texts = [n for n in board if n in _TEXTS or not pd.api.types.is_numeric_dtype(board[n])]
    return board.astype(dict.fromkeys(texts, object)).fillna(dict.fromkeys(texts, ""))


def table(board: pd.DataFrame) -> str:
    """The ranked models and the floor as Markdown, with a line on marks and missing values.

    Args:
        board: Leaderboard; columns of dynamics and cost may be missing, as those of an older one.
    """
    shown = board[(board["role"] == "model") | (board["model"] == _FLOOR)]
    rows = shown.to_dict("records")
    cells = pd.DataFrame([_cells(row) for row in rows])
    told = [name for name in cells if name == "model" or (cells[name] != "–").any()]
    return markdown_table(cells[told], ("model", "elements")) + "\n\n" + _legend(rows) + "\n"


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    floor = row["model"] == _FLOOR
    name = "zero forces" if floor else f"{row['model']} {marks(row)}".strip()
    low, high = row["fsd_full_low"], row["fsd_full_high"]
    spread = "" if floor or pd.isna(low) else f" ({low:.1f}–{high:.1f})"
    scored, counted = row["n_scored"], row.get("md_n_counted")
    # written with the words of the CSV: a flag of a column with gaps is text
    conservative = {"True": "yes", "False": "no"}.get(str(row.get("conservative", "")), "–")
    lacking, per_day = row.get("lacking", ""), row.get("cost_steps_per_day")
    elements = row.get("n_elements")
    return {
        "model": name,
        "scans": f"{scored:.0f}",
        "FSD (Å⁻¹)": _number(row["fsd_full"], 1) + spread,
        "windowed (Å⁻¹)": _number(row["fsd_windowed"], 1),
        "force MAE (eV/Å)": _significant(row["force_mae"]),
        "survived": "–" if pd.isna(counted) else f"{row['md_n_finished']:.0f} of {counted:.0f}",
        "elements": "–"
        if pd.isna(elements)
        else f"{elements:.0f}" + (f", not {lacking}" if lacking else ""),
        "conservative": conservative,
        "steps a day": "–" if pd.isna(per_day) else number(float(f"{per_day:.2g}")),
        "memory (MB)": _significant(row.get("cost_peak_memory_mb")),
    }


def _number(value: Any, decimals: int) -> str:
    return "–" if pd.isna(value) else f"{value:.{decimals}f}"


def _significant(value: Any) -> str:
    return "–" if pd.isna(value) else number(value)


def _legend(rows: list[dict[str, Any]]) -> str:
    planned = max(int(row["n_planned"]) for row in rows)
    used = "".join(marks(row) for row in rows)
    meanings = {
        "†": "another level of theory than the reference",
        "‡": "no better than zero forces",
        "§": "its training data may overlap with the set",
    }
    said = "; ".join(f"{mark} {meaning}" for mark, meaning in meanings.items() if mark in used)
    devices = {text for row in rows if (text := row.get("cost_device"))}
    timed = [n for row in rows if not pd.isna(n := row.get("cost_n_atoms"))]
    last = survived = cost = ""
    if any(row["role"] == "model" and pd.isna(row["rank"]) for row in rows):
        last = " Models with too few scans to be ranked come last."
    if runs := [n for row in rows if not pd.isna(n := row.get("md_n_planned"))]:
        survived = (
            f" Survived: of {max(runs):.0f} trajectories, those that a model does not support "
            "aside."
        )
    if devices and timed:
        on = "; ".join(sorted(devices))
        cost = (
            f" Steps a day, without the time that a thread waited for others, and memory: a "
            f"molecule of {timed[0]:.0f} atoms on {on}."
        )
    return (
        f"*In the order of rank.{last} Scans: scored, of {planned}. FSD with its 95 % interval."
        f"{survived}{cost}{' ' if said else ''}{markdown(said)}{'.' if said else ''}*"
    )


def written(text: str, board: pd.DataFrame) -> str:
    """The text with the table as it should be."""
    text, count = re.subn(
        f"{re.escape(BEGIN)}.*?{END}",
        lambda _: f"{BEGIN}{table(board)}{END}",
        text,
        flags=re.DOTALL,
    )
    if count != 1:
        raise ValueError(f"{README}: give `{BEGIN.strip()}` and `{END}` once")
    return text


if __name__ == "__main__":
    README.write_text(written(README.read_text(), read_board()))
