"""The stored answers that the alarms of one model are scored from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pesbench.core.errors import UserError
from pesbench.core.jobs import ScoreJob
from pesbench.files.evaluation import EVALUATION_FORMAT, Evaluation
from pesbench.files.integrity import check_owner, check_scan_set
from pesbench.files.scan_set import ScanSet
from pesbench.files.stored import open_stored
from pesbench.models.record import read_record
from pesbench.models.registry import ModelEntry
from pesbench.tasks.alarms.frames import coarsest_steps
from pesbench.tasks.alarms.kin import kin
from pesbench.tasks.alarms.stored import ALARMS_FORMAT, Answers
from pesbench.tasks.dynamics.stored import TRAJECTORIES_FORMAT, Trajectories

_KINDS = {
    EVALUATION_FORMAT: Evaluation,
    TRAJECTORIES_FORMAT: Trajectories,
    ALARMS_FORMAT: Answers,
}


@dataclass
class Gathered:
    """Open files, by what they hold and by model.

    Attributes:
        model: The model that is scored.
        scan_set: The scan set.
        evaluations: Of the scans.
        answers: Of the alarms.
        trajectories: Of the model that is scored, of the largest time step.
        committee: Models that are seeds of one potential with this one, itself among them; at
            least two, else empty.
        others: Models of other potentials, that the reference is not among.
    """

    model: str
    scan_set: ScanSet
    evaluations: dict[str, list[Evaluation]] = field(default_factory=dict)
    answers: dict[str, list[Answers]] = field(default_factory=dict)
    trajectories: list[Trajectories] = field(default_factory=list)
    committee: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def gather(job: ScoreJob, stack: ExitStack) -> Gathered:
    """Open all files of a score, which the stack closes.

    Raises:
        UserError: a file is missing, damaged, of another scan set or entry, or no answers of a task
            that is read here; there is no record, or no evaluation of this model.
    """
    if job.record is None:
        raise UserError("alarms: nothing says which models are seeds of one; give --record")
    scan_set = stack.enter_context(ScanSet(job.scan_set))
    own = [stack.enter_context(Answers(path)) for path in sorted(job.files)]
    found = Gathered(own[0].model, scan_set)
    every: list[Any] = list(own)
    held = {path.resolve() for path in job.files}
    every += [
        stack.enter_context(_opened(path))
        for path in sorted(job.answers)
        if path.resolve() not in held
    ]
    entries: dict[str, ModelEntry] = {}
    described = read_record(job.record)
    for one in every:
        about = one.attributes
        check_scan_set(one.path, str(about["scan_set_sha256"]), job.scan_set, scan_set.sha256)
        if job.entry is not None and (one in own or one.model == job.entry.name):
            check_owner(one.path, about, job.entry.name, job.entry.deciding())
        entries.setdefault(one.model, _entry(about, described))
        if isinstance(one, Evaluation):
            found.evaluations.setdefault(one.model, []).append(one)
        elif isinstance(one, Answers):
            found.answers.setdefault(one.model, []).append(one)
        elif one.model == found.model:
            found.trajectories.append(one)
    coarsest = coarsest_steps(found.trajectories)
    found.trajectories = [
        one for one in found.trajectories if one.timestep_fs == coarsest[one.model]
    ]
    if found.model not in found.evaluations:
        raise UserError(
            f"alarms: no evaluation of {found.model!r} among --answers, on which its errors are "
            "known; give the files of `bonds`"
        )
    found.committee, found.others = kin(found.model, entries, scan_set.level_of_theory)
    return found


def _opened(path: Path) -> Evaluation | Trajectories | Answers:
    cure = "make it with the rule `run`"
    file = open_stored(path, None, "file of answers", cure)
    kind = str(file.attributes["format"])
    file.close()
    if kind not in _KINDS:
        raise UserError(
            f"{path}: holds {kind}, which alarms do not read; give files of bonds, dynamics and "
            "alarms"
        )
    return _KINDS[kind](path)


def _entry(attributes: Mapping[str, Any], described: Mapping[str, Any]) -> ModelEntry:
    """The entry of a file, with what the record says of it."""
    entry = ModelEntry.of(json.loads(attributes["entry"]))
    told = described.get(entry.name)
    return ModelEntry(entry.name, entry.family, (told.description if told else {}) | entry.settings)


def one_per_item(files: Sequence[Any], item: str, names: str) -> Any | None:
    """The file that holds an item; None if there is none.

    Args:
        files: Open files.
        item: Name of the item.
        names: Attribute that lists the names.
    """
    return next((one for one in files if item in getattr(one, names)), None)
