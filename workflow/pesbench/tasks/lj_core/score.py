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
from pesbench.tasks.lj_core.cases import ATOM, DIMER, ISOLATED, OVERLAP, Case, atoms_of, cases
from pesbench.tasks.lj_core.head_table import read_heads
from pesbench.tasks.lj_core.settings import CoreSettings
from pesbench.tasks.lj_core.stored import Answer, Answers
from pesbench.tasks.lj_core.task import TASK
from pesbench.tasks.lj_core.walls import Judged, judge_atom, judge_overlap, judge_wall

if TYPE_CHECKING:
    import pandas as pd


def case_row(model: str, case: Case, answer: Answer, judged: Judged, seen: str) -> dict[str, Any]:
    """The row of a case; metrics are NaN where it has none."""
    i, j = case.scan.atoms
    return {
        "model": model,
        "case": case.id,
        "kind": case.kind,
        "system": "" if case.kind in ISOLATED else case.scan.system,
        "elements": case.scan.bond,
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

    Isolated atoms and pairs are of no molecule, and are scored whichever molecules are selected.
    The trained heads of the settings are kept in the attributes of the table.

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
    heads = read_heads(Path(job.settings.heads)).kept() if job.settings.heads else {}
    with ScanSet(job.scan_set) as scan_set:
        sha256 = scan_set.sha256
        systems = {system.id: system for system in scan_set_systems(scan_set)}
    split = read_split(job.split) if job.split else {}
    planned: dict[str, Case] = {}
    made_from, settings = [], []
    with ExitStack() as stack:
        own, references = (
            [stack.enter_context(Answers(path)) for path in sorted(some)]
            for some in (job.files, job.reference)
        )
        for one in (*own, *references):
            check_scan_set(one.path, one.scan_set_sha256, job.scan_set, sha256)
        for one in own:
            if job.entry is not None:
                check_owner(one.path, one.attributes, job.entry.name, job.entry.deciding())
            made_from.append(provenance.summary(one.attributes, "pesbench.tasks.lj_core.run"))
            settings.append(settings_of(one))
            planned |= {case.id: case for case in planned_cases(one, systems, settings[-1])}
        said, told = Said(own), Said(references)
        if lost := sorted(planned.keys() - said.holding):  # a merge leaves each in one of the files
            raise UserError(
                f"{job.files[0]}: lacks case {lost[0]!r}; make it again with the rule `run`"
            )
        chosen = [
            case for _, case in sorted(planned.items())
            if case.kind in ISOLATED or job.selects(case.scan.system)
        ]  # fmt: skip
        if all(case.kind in ISOLATED for case in chosen):
            raise UserError(f"{job.files[0]}: holds no selected molecule; select others")
        rows = []
        for case in chosen:
            seen = "" if case.kind in ISOLATED else split.get(case.scan.system, "")
            answer = said.answer(case)
            judged = _judged(case, answer, said, told, planned)
            rows.append(case_row(said.holding[case.id].model, case, answer, judged, seen))
    frame = pd.DataFrame(rows, columns=list(TASK.columns))
    frame.attrs = {
        "scan_set_sha256": sha256,
        "settings": TASK.comparable([asdict(one) for one in settings])[0],
        "made_from": made_from,
        "heads": heads,
    }
    return frame


def _judged(
    case: Case, answer: Answer, said: Said, told: Said, planned: Mapping[str, Case]
) -> Judged:
    if case.kind == OVERLAP:
        return judge_overlap(case, answer)
    if case.kind == ATOM:
        return judge_atom(answer)
    atoms = [planned[name] for name in atoms_of(case)] if case.kind == DIMER else []
    both = [(said.answer(atom), told.answer(atom)) for atom in atoms]
    return judge_wall(case, answer, told.answer(case), both)


class Said:
    """What the files of one model say.

    Attributes:
        holding: The file that holds each case.
    """

    def __init__(self, files: Sequence[Answers]) -> None:
        """Look at the cases of all files.

        Raises:
            UserError: a case is in two of them.
        """
        self.paths = [str(one.path) for one in files]
        self.holding: dict[str, Answers] = {}
        for one in files:
            if twice := sorted(self.holding.keys() & set(one.cases)):
                raise UserError(f"{one.path}: case {twice[0]!r} is in another file, too")
            self.holding |= dict.fromkeys(one.cases, one)

    def answer(self, case: Case) -> Answer:
        """The answer about a case.

        Raises:
            UserError: no file holds it, or one that is not what it should be.
        """
        if case.id not in self.holding:
            raise UserError(
                f"{', '.join(self.paths)}: says nothing of {case.id!r}; make model and reference "
                "with the same `--systems` and settings"
            )
        atoms = case.scan.n_atoms if case.kind == OVERLAP else 0
        return self.holding[case.id].answer(case.id, (case.scan.n_frames, atoms))


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
