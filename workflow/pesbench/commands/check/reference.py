"""What the reference itself does in the trajectories of a check, on the same molecules.

`pesbench check-reference` runs them with the method of the scans and writes the file that ships
with the package; a check allows a model some times as much.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pesbench.commands.check.report import CheckReport
from pesbench.commands.check.subset import reference_level
from pesbench.core.errors import UserError
from pesbench.files.atomic import write_json
from pesbench.models.registry import ModelEntry
from pesbench.models.roles import role

REFERENCE = Path(__file__).with_name("reference.json")
FORMAT, VERSION = "pesbench-check-reference", 1
ReferenceRuns = Mapping[str, Mapping[str, float]]  # scores of each molecule
DRIFT = "energy_drift_mev_per_atom_ps"
DRIFT_ERROR = "energy_drift_error_mev_per_atom_ps"
RMS = "energy_rms_mev_per_atom"
JUMP = "energy_jump_mev"
COLUMNS = (DRIFT, DRIFT_ERROR, RMS, JUMP)


def read_reference(path: Path = REFERENCE) -> ReferenceRuns:
    """Scores of the reference's trajectories, by molecule."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return {row["system"]: row for row in content["trajectories"]}


def check_reference_model(entry: ModelEntry) -> None:
    """Refuse a model that is not the method of the scans.

    Raises:
        UserError: naming the level of theory that is wanted.
    """
    if role(entry, reference_level()) != "reference":
        raise UserError(
            f"check-reference: {entry.name!r} is not the method {reference_level()} of the scans; "
            "give an entry that is"
        )


def write_reference(out: Path, report: CheckReport) -> None:
    """Write the scores of the reference's trajectories that limits are made of.

    Args:
        out: JSON file.
        report: A check of the reference, with its dynamics.

    Raises:
        UserError: a trajectory did not survive.
    """
    lost = [row["system"] for row in report.trajectories if row["outcome"] != "survived"]
    if lost:
        raise UserError(f"check-reference: {report.model!r} does not survive on {lost[0]}")
    write_json(
        out,
        {
            "format": FORMAT,
            "version": VERSION,
            "model": report.model,
            "level_of_theory": reference_level(),
            "settings": report.about["dynamics"],
            "packages": report.about["packages"],
            "trajectories": [
                {"system": row["system"]} | {name: row[name] for name in COLUMNS}
                for row in report.trajectories
            ],
        },
    )
