"""The leaderboard as JSON for other sites, with its schema and full precision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pesbench import __version__
from pesbench.files.scan_set import ScanSet
from pesbench.report.explorer.scripts import plain
from pesbench.report.sections import StoredSection

FORMAT, VERSION = "pesbench-leaderboard", 1
NAME, SCHEMA_NAME = "leaderboard.json", "leaderboard.schema.json"

_COLUMN = {
    "type": "object",
    "required": ["title", "unit", "better", "help", "kind", "section"],
    "additionalProperties": False,
    "properties": {
        **{key: {"type": "string"} for key in ("title", "unit", "help", "section")},
        "better": {"enum": ["lower", "higher", ""]},
        "kind": {"enum": ["number", "integer", "flag", "text"]},
    },
}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Leaderboard of pesbench",
    "type": "object",
    "required": ["format", "version", "scan_set", "made", "columns", "models"],
    "additionalProperties": False,
    "properties": {
        "format": {"const": FORMAT},
        "version": {"const": VERSION},
        "program": {"type": "string"},
        "scan_set": {
            "type": "object",
            "required": ["name", "level_of_theory", "sha256"],
            "properties": {
                key: {"type": "string"} for key in ("name", "level_of_theory", "sha256")
            },
        },
        "made": {"type": "object", "additionalProperties": {"type": "string"}},
        "columns": {"type": "object", "additionalProperties": _COLUMN},
        "models": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "role", "values", "counts"],
                "additionalProperties": False,
                "properties": {
                    "name": {"type": "string"},
                    "role": {"enum": ["model", "reference", "perturbed", "control"]},
                    "values": {
                        "type": "object",
                        "description": "By column; a column without a value is left out. An "
                        'infinite number is the text "inf" or "-inf".',
                        "additionalProperties": {"type": ["number", "string", "boolean"]},
                    },
                    "counts": {
                        "type": "object",
                        "description": "Rows behind a mean, by column.",
                        "additionalProperties": {"type": "integer"},
                    },
                },
            },
        },
    },
}


def leaderboard_json(
    board: pd.DataFrame,
    sections: Sequence[StoredSection],
    scan_set: ScanSet,
    made: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """The leaderboard as `SCHEMA` has it.

    Args:
        board: Board of `pesbench.report.board`, which gives the order of the models.
        sections: Sections that gave it.
        scan_set: What was scored.
        made: Names and values: how it was made.
    """
    columns, values, counts = {}, {}, {}
    for section in sections:
        for one in section.board:
            metric = one.metric
            columns[metric.name] = {
                "title": metric.title,
                "unit": metric.unit,
                "better": metric.better,
                "help": metric.help,
                "kind": one.kind,
                "section": section.name,
            }
            values[metric.name] = one.values
            counts[metric.name] = one.counts
    models = [
        {
            "name": name,
            "role": role,
            "values": {c: of[name] for c, of in values.items() if of.get(name, "") != ""},
            "counts": {c: of[name] for c, of in counts.items() if name in of},
        }
        for name, role in zip(board["model"], board["role"], strict=True)
    ]
    return plain(
        {
            "format": FORMAT,
            "version": VERSION,
            "program": __version__,
            "scan_set": {
                "name": scan_set.name,
                "level_of_theory": scan_set.level_of_theory,
                "sha256": scan_set.sha256,
            },
            "made": {str(name): str(value) for name, value in made},
            "columns": columns,
            "models": models,
        }
    )


def write(
    folder: Path,
    board: pd.DataFrame,
    sections: Sequence[StoredSection],
    scan_set: ScanSet,
    made: Sequence[tuple[str, str]],
) -> None:
    """Write `leaderboard.json` and its schema into a folder."""
    told = leaderboard_json(board, sections, scan_set, made)
    for name, value in ((NAME, told), (SCHEMA_NAME, SCHEMA)):
        text = json.dumps(value, indent=1, allow_nan=False)
        (folder / name).write_text(text + "\n", encoding="ascii")
