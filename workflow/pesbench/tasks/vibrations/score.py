"""Scores of a model's harmonic frequencies, from stored files: no model, no GPU, a second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.files.integrity import check_owner, check_scan_set
from pesbench.files.scan_set import ScanSet
from pesbench.files.split import read_split
from pesbench.models.registry import ModelEntry
from pesbench.tasks.vibrations.metrics import IMAGINARY_CM1, compare_frequencies, geometry_rmsd
from pesbench.tasks.vibrations.stored import MoleculeVibrations, Vibrations

IDENTITY = (
    "model",
    "system",
    "seen",
    "n_atoms",
    "n_modes",
    "status",
    "message",
    "relaxed",
    "relax_steps",
    "relax_fmax",
    "reference",
    "reference_status",
    "reference_relaxed",
)
METRICS = (
    "mae_cm1",
    "bias_cm1",
    "largest_cm1",
    "n_imaginary",
    "n_imaginary_reference",
    "n_imaginary_excess",
    "lowest_cm1",
    "lowest_reference_cm1",
    "external_cm1",
    "asymmetry",
    "rmsd_angstrom",
)
COLUMNS = (*IDENTITY, *METRICS)
TEXT = ("model", "system", "seen", "status", "message", "reference", "reference_status")


def score_molecule(model: MoleculeVibrations, reference: MoleculeVibrations) -> dict[str, float]:
    """All numbers of one molecule that both the model and the reference have frequencies of.

    Returns:
        One number a metric (`METRICS`).
    """
    external = model.external_cm1
    return asdict(compare_frequencies(model.frequencies_cm1, reference.frequencies_cm1)) | {
        "lowest_cm1": float(model.frequencies_cm1.min()),
        "lowest_reference_cm1": float(reference.frequencies_cm1.min()),
        "external_cm1": float(external[np.argmax(np.abs(external))]),
        "asymmetry": model.asymmetry,
        "rmsd_angstrom": geometry_rmsd(model.positions, reference.positions),
    }


def _row(
    names: tuple[str, str], seen: str, model: MoleculeVibrations, reference: MoleculeVibrations
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "model": names[0],
        "system": model.system,
        "seen": seen,
        "n_atoms": len(model.numbers),
        "n_modes": len(model.frequencies_cm1),
        "status": model.status.value,
        "message": model.message,
        "relaxed": model.relaxed,
        "relax_steps": model.relax_steps,
        "relax_fmax": model.relax_fmax,
        "reference": names[1],
        "reference_status": reference.status.value,
        "reference_relaxed": reference.relaxed,
    }
    if model.status is Status.OK and reference.status is Status.OK:
        return row | score_molecule(model, reference)
    return row | dict.fromkeys(METRICS, float("nan"))


def vibration_rows(
    model_path: Path,
    reference_path: Path,
    split: Mapping[str, str] | None = None,
    entry: ModelEntry | None = None,
    scan_set: Path | None = None,
) -> list[dict[str, Any]]:
    """One row a molecule of a model, sorted by molecule.

    Args:
        model_path: File of vibrations of the model.
        reference_path: The same of the scan set's reference.
        split: `seen` or `unseen` by system, of a model that tells what it was trained on.
        entry: That the model's file must be of.
        scan_set: That both must have been made on.

    Raises:
        UserError: a file is damaged or of another entry, they belong to different scan sets or
            were made with different settings, or the reference lacks a molecule.
    """
    rows = []
    with Vibrations(model_path) as model, Vibrations(reference_path) as reference:
        if entry is not None:
            check_owner(model_path, model.attributes, entry.name, entry.deciding())
        if scan_set is not None:
            with ScanSet(scan_set) as opened:
                for one in (model, reference):
                    check_scan_set(one.path, one.scan_set_sha256, scan_set, opened.sha256)
        if model.scan_set_sha256 != reference.scan_set_sha256:
            raise UserError(
                f"{model_path}: was made on another scan set than {reference_path}; "
                "remove the older one and make it again"
            )
        if model.settings != reference.settings:
            raise UserError(
                f"{model_path}: was made with the settings {model.settings}, {reference_path} with "
                f"{reference.settings}; make both with the same"
            )
        if missing := sorted(set(model.systems) - set(reference.systems)):
            raise UserError(
                f"{reference_path}: no molecule {missing[0]!r}, which {model_path} holds; "
                "make both with the same `--systems`"
            )
        for system in model.systems:
            one, other = model.molecule(system), reference.molecule(system)
            seen = (split or {}).get(system, "")
            rows.append(_row((model.model, reference.model), seen, one, other))
    return rows


def write_vibration_scores(
    model_path: Path,
    reference_path: Path,
    out: Path,
    *,
    split: Path | None = None,
    entry: ModelEntry | None = None,
    scan_set: Path | None = None,
) -> None:
    """Score a model's vibrations and write `scores/vibrations.parquet`.

    Args:
        model_path: File of vibrations of the model.
        reference_path: The same of the scan set's reference.
        out: Where to.
        split: CSV with the columns `system` and `split` (seen or unseen), of the model.
        entry: That the model's file must be of.
        scan_set: That both must have been made on.

    Raises:
        UserError: see `vibration_rows`; or there is no molecule.
    """
    import pandas as pd  # the workflow's environment has it; a family's need not

    from pesbench.files import provenance, stored_tables
    from pesbench.files.fingerprint import stage_fingerprint

    seen = read_split(split) if split else None
    rows = vibration_rows(model_path, reference_path, seen, entry, scan_set)
    if not rows:
        raise UserError(
            f"{model_path}: holds no molecule; the gate on references dropped all scans of those "
            "selected, see skipped.csv for the reasons"
        )
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    with Vibrations(model_path) as model:
        frame.attrs = {
            "scan_set_sha256": model.scan_set_sha256,
            "settings": model.settings,
            "imaginary_cm1": IMAGINARY_CM1,
            "code": stage_fingerprint(__name__),
            "provenance": provenance.collect(),
        }
    stored_tables.write_scores(out, frame)
