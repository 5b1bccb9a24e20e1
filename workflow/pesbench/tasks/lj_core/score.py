"""Scores of overlapped atoms from stored answers: no model, no GPU, seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pesbench.core.errors import FileError, UserError
from pesbench.core.jobs import ScoreJob
from pesbench.core.systems import System
from pesbench.files import provenance
from pesbench.files.integrity import check_owner, check_scan_set
from pesbench.files.scan_set import ScanSet
from pesbench.files.scan_set_systems import scan_set_systems
from pesbench.files.split import read_split
from pesbench.tasks.lj_core.cases import DIMER, OVERLAP, Case, cases, elements
from pesbench.tasks.lj_core.head_summary import summary
from pesbench.tasks.lj_core.settings import CoreSettings
from pesbench.tasks.lj_core.stored import Answer, Answers
from pesbench.tasks.lj_core.task import TASK
from pesbench.tasks.lj_core.walls import judge_overlap, judge_wall

if TYPE_CHECKING:
    import pandas as pd


def case_row(
    model: str, case: Case, answer: Answer, reference: Answer | None, seen: str
) -> dict[str, Any]:
    """The row of a case; metrics are NaN where it has none."""
    if case.kind == OVERLAP:
        judged = judge_overlap(case, answer)
    else:
        assert reference is not None
        judged = judge_wall(case, answer, reference)
    i, j = case.scan.atoms
    return {
        "model": model,
        "case": case.id,
        "kind": case.kind,
        "system": "" if case.kind == DIMER else case.scan.system,
        "elements": elements(case),
        "atom_i": i,
        "atom_j": j,
        "ratio": case.ratio,
        "seen": seen,
        "relaxed": answer.relaxed,
        "relax_steps": answer.relax_steps,
        **asdict(judged),
        "status": judged.status.value,
    }


def score(job: ScoreJob) -> pd.DataFrame:
    """Score a model's overlapped atoms, one row a case.

    Isolated pairs are of no molecule, and are scored whichever molecules are selected. The trained
    heads of the settings are summed up in the attributes of the table.

    Args:
        job: `files` are of the model, `reference` of the scan set's method.

    Raises:
        UserError: a file is damaged, or of another entry or scan set; a case occurs twice, or in
            no file; the reference lacks one; no molecule is selected; or the table of heads is
            none.
    """
    import pandas as pd  # the workflow's environment has it; a family's need not

    if not job.reference:
        raise UserError("lj_core: the answers of the reference are missing; give --reference")
    heads = summary(Path(job.settings.heads)) if job.settings.heads else {}
    with ScanSet(job.scan_set) as scan_set:
        sha256 = scan_set.sha256
        systems = {system.id: system for system in scan_set_systems(scan_set)}
    split = read_split(job.split) if job.split else {}
    rows: dict[str, dict[str, Any]] = {}
    planned: set[str] = set()
    held: set[str] = set()
    made_from, settings = [], []
    with ExitStack() as stack:
        own, references = (
            [stack.enter_context(Answers(path)) for path in sorted(some)]
            for some in (job.files, job.reference)
        )
        for one in (*own, *references):
            check_scan_set(one.path, one.scan_set_sha256, job.scan_set, sha256)
        told = {case: one for one in references for case in one.cases}
        for one in own:
            if job.entry is not None:
                check_owner(one.path, one.attributes, job.entry.name, job.entry.deciding())
            made_from.append(provenance.summary(one.attributes, "pesbench.tasks.lj_core.run"))
            settings.append(settings_of(one))
            every = planned_cases(one, systems, settings[-1])
            planned |= {case.id for case in every}
            here = set(one.cases)
            if twice := sorted(held & here):
                raise UserError(f"{one.path}: case {twice[0]!r} is in another file, too")
            held |= here
            for case in every:
                of_molecule = case.kind != DIMER
                if case.id in here and (not of_molecule or job.selects(case.scan.system)):
                    seen = split.get(case.scan.system, "") if of_molecule else ""
                    reference = _reference(told, case, one.path)
                    rows[case.id] = case_row(one.model, case, _answer(one, case), reference, seen)
    if lost := sorted(planned - held):  # a merge leaves each case in one of the files
        raise UserError(
            f"{job.files[0]}: lacks case {lost[0]!r}; make it again with the rule `run`"
        )
    if all(row["kind"] == DIMER for row in rows.values()):
        raise UserError(f"{job.files[0]}: holds no selected molecule; select others")
    frame = pd.DataFrame([rows[name] for name in sorted(rows)], columns=list(TASK.columns))
    frame.attrs = {
        "scan_set_sha256": sha256,
        "settings": TASK.comparable([asdict(one) for one in settings])[0],
        "made_from": made_from,
        "heads": heads,
    }
    return frame


def settings_of(opened: Answers) -> CoreSettings:
    """The settings that a file was made with.

    Raises:
        FileError: they are none.
    """
    try:
        told = {name: opened.settings[name] for name in CoreSettings.__dataclass_fields__}
        return CoreSettings(**told | {"overlaps": tuple(told["overlaps"])}).check()
    except (KeyError, TypeError, UserError) as error:
        why = "`@settings` holds no settings of the repulsive core"
        raise FileError(opened.path, why, "make it again with the rule `run`") from error


def planned_cases(
    opened: Answers, systems: Mapping[str, System], settings: CoreSettings
) -> Sequence[Case]:
    """The cases that a file was made for, which follow from scan set and settings.

    Raises:
        UserError: the file is of other molecules.
    """
    if missing := [name for name in opened.systems if name not in systems]:
        raise UserError(
            f"{opened.path}: no molecule {missing[0]!r} in the scan set; make it again with the "
            "rule `run`"
        )
    return cases([systems[name] for name in opened.systems], settings)


def _answer(opened: Answers, case: Case) -> Answer:
    atoms = case.scan.n_atoms if case.kind == OVERLAP else 0
    return opened.answer(case.id, (case.scan.n_frames, atoms))


def _reference(told: Mapping[str, Answers], case: Case, path: Path) -> Answer | None:
    if case.kind == OVERLAP:
        return None
    if case.id not in told:
        raise UserError(
            f"{path}: the reference says nothing of {case.id!r}; make both with the same "
            "`--systems` and settings"
        )
    return _answer(told[case.id], case)
