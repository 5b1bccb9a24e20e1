"""Scores of approaching pairs from stored evaluations: no model, no GPU, seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pesbench.core.errors import FileError, UserError
from pesbench.core.interface import Status
from pesbench.core.jobs import ScoreJob
from pesbench.core.systems import System
from pesbench.files import provenance
from pesbench.files.evaluation import Evaluation, ScanEvaluation
from pesbench.files.integrity import check_owner, check_scan_set
from pesbench.files.scan_set import ScanSet
from pesbench.files.scan_set_systems import scan_set_systems
from pesbench.files.split import read_split
from pesbench.tasks.approach.judged import METRICS, judge
from pesbench.tasks.approach.pairs import BOND, DIATOMIC, FIGURE, Approach, approaches
from pesbench.tasks.approach.results import systems_of
from pesbench.tasks.approach.settings import ApproachSettings
from pesbench.tasks.approach.task import TASK

if TYPE_CHECKING:
    import pandas as pd

SHOWN = "ethanol"  # molecule of the published figure; where it is not there, the first
IDENTITY = (
    "model", "pair", "kind", "system", "elements", "atom_i", "atom_j", "distance_angstrom", "seen",
    "status", "message", "judged_by", "n_masked",
)  # fmt: skip
COLUMNS = (*IDENTITY, *METRICS)


def pair_row(
    model: str,
    pair: Approach,
    answer: ScanEvaluation,
    reference: ScanEvaluation | None,
    seen: str,
    *,
    without_errors: bool = False,
) -> dict[str, Any]:
    """The row of a pair; metrics are NaN where it has none. `without_errors` is that of `judge`."""
    judged = judge(pair, answer, reference, without_errors=without_errors)
    i, j = pair.scan.atoms
    return {
        "model": model,
        "pair": pair.id,
        "kind": pair.kind,
        "system": pair.scan.system,
        "elements": pair.scan.bond,
        "atom_i": i,
        "atom_j": j,
        "distance_angstrom": pair.distance,
        "seen": seen,
        "status": judged.status.value,
        "message": judged.message,
        "judged_by": judged.judged_by,
        "n_masked": judged.n_masked,
        **judged.values,
    }


def score(job: ScoreJob) -> pd.DataFrame:
    """Score a model's approaching pairs, one row a pair.

    Isolated pairs are of no molecule, and are scored whichever molecules are selected.

    Args:
        job: `files` are of the model, `reference` of the scan set's method; that is not read where
            bonded pairs alone come close.

    Raises:
        UserError: a file is damaged, or of another entry or scan set; a pair occurs twice, or in
            no file; the reference lacks one; or no molecule is selected.
    """
    import pandas as pd  # the workflow's environment has it; a family's need not

    with ScanSet(job.scan_set) as scan_set:
        sha256 = scan_set.sha256
        systems = {system.id: system for system in scan_set_systems(scan_set)}
    split = read_split(job.split) if job.split else {}
    rows: dict[str, dict[str, Any]] = {}
    shown: dict[str, dict[str, Any]] = {}
    planned: set[str] = set()
    held: set[str] = set()
    made_from, settings = [], []
    with ExitStack() as stack:
        own, references = (
            [stack.enter_context(Evaluation(path)) for path in sorted(some)]
            for some in (job.files, job.reference)
        )
        for one in (*own, *references):
            check_scan_set(one.path, one.scan_set_sha256, job.scan_set, sha256)
        told = {pair: one for one in references for pair in one.ids}
        needed = _needs_reference(own, references)
        for one in own:
            if job.entry is not None:
                check_owner(one.path, one.attributes, job.entry.name, job.entry.deciding())
            made_from.append(provenance.summary(one.attributes, "pesbench.tasks.approach.run"))
            settings.append(settings_of(one))
            pairs = planned_pairs(one, systems, settings[-1])
            planned |= {pair.id for pair in pairs}
            here = set(one.ids)
            if twice := sorted(held & here):
                raise UserError(f"{one.path}: pair {twice[0]!r} is in another file, too")
            held |= here
            for pair in pairs:
                of_molecule = pair.kind != DIATOMIC
                if pair.id not in here or (of_molecule and not job.selects(pair.scan.system)):
                    continue
                shape = pair.scan.n_frames, pair.scan.n_atoms
                answer = one.scan(pair.id, shape)
                known = _reference(told, pair, one.path) if needed else None
                seen = split.get(pair.scan.system, "") if of_molecule else ""
                rows[pair.id] = pair_row(one.model, pair, answer, known, seen)
                if pair.kind == BOND:
                    shown.setdefault(pair.scan.system, {})[pair.id] = drawn(pair, answer)
    if lost := sorted(planned - held):  # a merge leaves each pair in one of the files
        raise UserError(
            f"{job.files[0]}: lacks pair {lost[0]!r}; make it again with the rule `run`"
        )
    if all(row["kind"] == DIATOMIC for row in rows.values()):
        raise UserError(
            f"{job.files[0]}: holds no selected molecule; select others (the gate on references "
            "may have dropped all scans of those, see skipped.csv)"
        )
    frame = pd.DataFrame([rows[name] for name in sorted(rows)], columns=list(COLUMNS))
    molecule = SHOWN if SHOWN in shown else min(shown, default="")
    frame.attrs = {
        "scan_set_sha256": sha256,
        "settings": {
            **vars(settings[0]),
            "diatomics": any(one.diatomics for one in settings),  # those of one job suffice
        },
        "made_from": made_from,
        "curves": {"molecule": molecule, "pairs": shown.get(molecule, {})},
    }
    return frame


def _needs_reference(own: Sequence[Evaluation], references: Sequence[Evaluation]) -> bool:
    """Whether one of a model's files does, so that all bonded pairs of it are judged alike.

    Raises:
        UserError: it does, and there is none.
    """
    needed = any(TASK.needs_reference(settings_of(one)) for one in own)
    if needed and not references:
        raise UserError(
            f"{own[0].path}: holds contacts or isolated pairs, which are judged by the "
            "reference of the scan set; give its answers with `--reference`"
        )
    return needed


def settings_of(opened: Evaluation) -> ApproachSettings:
    """The settings that a file was made with.

    Raises:
        FileError: they are none.
    """
    try:
        told = json.loads(opened.attributes["settings"])
        known = {name: told[name] for name in ApproachSettings.__dataclass_fields__}
        return ApproachSettings(**known).check()
    except (KeyError, TypeError, UserError) as error:
        why = "`@settings` holds no settings of the closest approach"
        raise FileError(opened.path, why, "make it again with the rule `run`") from error


def planned_pairs(
    opened: Evaluation, systems: Mapping[str, System], settings: ApproachSettings
) -> list[Approach]:
    """The pairs that a file was made for, whose frames follow from scan set and settings.

    A file that is merged with others may hold some of them only.

    Args:
        opened: The file.
        systems: Molecules of the scan set by id.
        settings: Settings that it was made with.

    Raises:
        UserError: the file is of other molecules.
    """
    names = systems_of(opened)
    if missing := [name for name in names if name not in systems]:
        raise UserError(
            f"{opened.path}: no molecule {missing[0]!r} in the scan set; make it again with the "
            "rule `run`"
        )
    return approaches([systems[name] for name in names], settings)


def _reference(told: Mapping[str, Evaluation], pair: Approach, path: Path) -> ScanEvaluation:
    if pair.id not in told:
        raise UserError(
            f"{path}: the reference says nothing of pair {pair.id!r}; make both with the same "
            "`--systems` and settings"
        )
    return told[pair.id].scan(pair.id, (pair.scan.n_frames, pair.scan.n_atoms))


def drawn(pair: Approach, answer: ScanEvaluation) -> dict[str, Any]:
    """The published curve of a pair: distances (Å) and energies (eV), None where there is none."""
    grid = pair.grids[FIGURE]
    ok = answer.frame_status[grid] == Status.OK.code
    energy = np.where(ok, answer.energy[grid], np.nan)
    return {
        "elements": pair.scan.bond,
        "bond_length": pair.distance,
        "distance": _numbers(pair.scan.coordinate[grid]),
        "energy": _numbers(energy),
    }


def _numbers(values: Sequence[float] | np.ndarray) -> list[float | None]:
    return [float(one) if np.isfinite(one) else None for one in values]
