"""Scores of a model's harmonic frequencies, from stored files: no model, no GPU, a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.core.jobs import ScoreJob
from pesbench.files import provenance
from pesbench.files.integrity import check_owner, check_scan_set
from pesbench.files.scan_set import ScanSet
from pesbench.files.split import read_split
from pesbench.tasks.vibrations.metrics import IMAGINARY_CM1, compare_frequencies, geometry_rmsd
from pesbench.tasks.vibrations.stored import MoleculeVibrations, Vibrations

if TYPE_CHECKING:
    import pandas as pd

    from pesbench.models.registry import ModelEntry

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
    files: Sequence[Path],
    reference_files: Sequence[Path],
    split: Mapping[str, str] | None = None,
    entry: ModelEntry | None = None,
    scan_set: Path | None = None,
) -> list[dict[str, Any]]:
    """One row a molecule of a model, sorted by molecule.

    Args:
        files: Files of vibrations of the model.
        reference_files: Files of the scan set's reference, as `files`.
        split: `seen` or `unseen` by system, of a model that tells what it was trained on.
        entry: Entry that the model's files must be of; without one they must be of one model.
        scan_set: Scan set that all files must have been made on.

    Raises:
        UserError: a file is damaged or of another entry or model, they belong to different scan
            sets or were made with different settings, a molecule occurs twice, or the reference
            lacks one.
    """
    rows = {}
    with ExitStack() as stack:
        own, references = (
            [stack.enter_context(Vibrations(path)) for path in sorted(some)]
            for some in (files, reference_files)
        )
        _check_files(own, references, entry, scan_set)
        answers = {system: one for one in references for system in one.systems}
        for one in own:
            for system in one.systems:
                if system in rows:
                    raise UserError(f"{one.path}: molecule {system!r} is in another file, too")
                if system not in answers:
                    raise UserError(
                        f"{references[0].path}: no molecule {system!r}, which {one.path} holds; "
                        "make both with the same `--systems`"
                    )
                other = answers[system]
                seen = (split or {}).get(system, "")
                names = (one.model, other.model)
                rows[system] = _row(names, seen, one.molecule(system), other.molecule(system))
    return [rows[system] for system in sorted(rows)]


def _check_files(
    own: Sequence[Vibrations],
    references: Sequence[Vibrations],
    entry: ModelEntry | None,
    scan_set: Path | None,
) -> None:
    """Refuse files that cannot be compared; see `vibration_rows`."""
    first = references[0]
    if scan_set is not None:
        with ScanSet(scan_set) as opened:
            for one in (*own, *references):
                check_scan_set(one.path, one.scan_set_sha256, scan_set, opened.sha256)
    for one in own:
        if entry is not None:
            check_owner(one.path, one.attributes, entry.name, entry.deciding())
        if one.model != own[0].model:
            raise UserError(f"{one.path}: belongs to model {one.model!r}, not {own[0].model!r}")
    for one in (*own, *references):
        if one.scan_set_sha256 != first.scan_set_sha256:
            raise UserError(
                f"{one.path}: was made on another scan set than {first.path}; "
                "remove the older one and make it again"
            )
        if one.settings != first.settings:
            raise UserError(
                f"{one.path}: was made with the settings {one.settings}, {first.path} with "
                f"{first.settings}; make both with the same"
            )


def score(job: ScoreJob) -> pd.DataFrame:
    """Score a model's vibrations against those of the reference, one row a molecule.

    Args:
        job: `files` are of the model, `reference` of the scan set's method.

    Raises:
        UserError: see `vibration_rows`; or there is no selected molecule.
    """
    import pandas as pd  # the workflow's environment has it; a family's need not

    if not job.reference:
        raise UserError(
            "vibrations: the frequencies of the reference are missing; give --reference"
        )
    seen = read_split(job.split) if job.split else None
    rows = vibration_rows(job.files, job.reference, seen, job.entry, job.scan_set)
    if not rows:
        raise UserError(
            f"{job.files[0]}: holds no molecule; the gate on references dropped all scans of those "
            "selected, see skipped.csv for the reasons"
        )
    rows = [row for row in rows if job.selects(row["system"])]
    if not rows:
        raise UserError(f"{job.files[0]}: holds no selected molecule; select others")
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    made_from = []
    for path in sorted(job.files):
        with Vibrations(path) as model:
            sha256, settings = model.scan_set_sha256, model.settings
            made_from.append(provenance.summary(model.attributes, "pesbench.tasks.vibrations.run"))
    frame.attrs = {
        "scan_set_sha256": sha256,
        "settings": settings,
        "imaginary_cm1": IMAGINARY_CM1,
        "made_from": made_from,
    }
    return frame
