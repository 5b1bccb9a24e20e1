"""The scores of a merged folder: made of files of results, completed and checked."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pesbench.commands.merge.contents import DAMAGED, OTHER
from pesbench.commands.merge.joining import Joined, planned
from pesbench.commands.merge.scores import (
    absent_rows,
    in_order,
    read_scores,
    row_keys,
    score_fingerprint,
)
from pesbench.commands.scoring import write_scores
from pesbench.core.errors import UserError
from pesbench.core.found import tasks
from pesbench.core.jobs import ScoreJob
from pesbench.core.task import SCAN, Key, Task
from pesbench.files.integrity import readable
from pesbench.files.scan_set import ScanSet
from pesbench.files.split import write_split

_FACTS = ("bond", "system", "n_frames", "n_atoms")  # of an item, in its scores and in the set
_MESSAGE = "in none of the merged results"
logger = logging.getLogger("pesbench")


@dataclass(frozen=True)
class Maker:
    """Scoring of the results of a model.

    Attributes:
        scan_set: What the results were made on.
        settings: Settings of each task, by name.
        reference: Files of what the scan set's own method said, by name of the task.
        inputs: Files of inputs that all models share, by name of the task.
    """

    scan_set: ScanSet
    settings: Mapping[str, Any]
    reference: Mapping[str, Sequence[Path]]
    inputs: Mapping[str, Path]

    def rows(self, one: Joined, task: Task, files: Sequence[Path], folder: Path) -> pd.DataFrame:
        """Scores of a model: made of what can be scored, the others as they are.

        Args:
            one: The model.
            task: Task of the scores.
            files: Files of results.
            folder: Folder of the model, where the scores are written.

        Raises:
            UserError: a file is damaged, or scores say of an item what the scan set does not.
        """
        parts = [self._made(one, task, files, folder)] if files else []
        for taken in one.of(task, raw=False):
            rows = read_scores(taken.piece.path, task)
            _check_facts(rows, task, self.scan_set, taken.piece.path)
            attributes = rows.attrs
            rows = rows[row_keys(rows, task).isin({*taken.keys})].assign(model=one.entry.name)
            rows.attrs = attributes
            parts.append(rows)
        # the least precise statement of provenance counts for all
        attributes = min(
            (part.attrs for part in reversed(parts)),
            key=lambda told: told.get("code") == score_fingerprint(task),
        )
        table = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
        table = in_order(table, task)
        made_from = [how for part in parts for how in part.attrs.get("made_from") or ()]
        table.attrs = dict(attributes) | ({"made_from": made_from} if made_from else {})
        told = all(taken.piece.entry_told for taken in one.of(task))
        table.attrs["entry"] = one.entry.deciding() if told else None  # under its new name
        return table

    def _made(self, one: Joined, task: Task, files: Sequence[Path], folder: Path) -> pd.DataFrame:
        split = None
        if one.seen:
            split = folder / "seen_systems.csv"
            write_split(dict(one.seen), split)
        job = ScoreJob(  # without the entry: files of one model may be made by different code
            files=files,
            scan_set=self.scan_set.path,
            settings=self.settings[task.name],
            reference=self.reference.get(task.name, ()),
            split=split,
            seen_scans=one.entry.settings.get("seen_scans", ()),
            prepared=self.inputs.get(task.name),
        )
        made = folder / "scores" / f"{task.name}.parquet"
        places = dict.fromkeys(str(taken.piece.path.parent) for taken in one.of(task, raw=True))
        with readable(" or ".join(places), DAMAGED):
            write_scores(task.name, job, made)
        return read_scores(made, task)


def _check_facts(rows: pd.DataFrame, task: Task, scan_set: ScanSet, path: Path) -> None:
    """Refuse scores that say of a scan or system what the scan set does not.

    Raises:
        UserError: naming the first.
    """
    columns = [column for column in _FACTS if column in (*task.keys, *task.identity)]
    facts = _facts(scan_set, task.item)
    for row in rows.to_dict("records"):
        item = row[task.item]
        for column in columns:
            if column in facts[item] and row[column] != facts[item][column]:
                raise UserError(
                    f"{path}: says of {item!r} `{column}` {row[column]!r}, the scan set "
                    f"{facts[item][column]!r}; {OTHER}"
                )


@functools.lru_cache(maxsize=2)  # used for every model
def _facts(scan_set: ScanSet, item: str) -> dict[str, dict[str, Any]]:
    scans = (scan_set.scan(scan_id) for scan_id in scan_set.ids)
    if item == SCAN:
        return {scan.id: {key: getattr(scan, key) for key in _FACTS} for scan in scans}
    return {scan.system: {"system": scan.system, "n_atoms": scan.n_atoms} for scan in scans}


def check_reference(name: str, rows: Mapping[str, pd.DataFrame], scan_set: ScanSet) -> None:
    """Refuse a reference whose own scores are not those of itself, but for rounding.

    The scan set is then not what its reference says, and no score on it means anything.

    Args:
        name: Name of a model of the scan set's own level of theory.
        rows: Its scores by task.
        scan_set: They are of.

    Raises:
        UserError: naming the first row.
    """
    made_here = "references" in json.loads(scan_set.attributes["provenance"])
    for task, table in rows.items():
        for column, limits in tasks()[task].reference_limits.items():
            limit = limits[0 if made_here else 1]
            far = table[(table["status"] == "ok") & ~(table[column].fillna(0.0) <= limit)]
            if len(far):
                first = far.iloc[0]
                raise UserError(
                    f"{scan_set.path}: not what its reference says: {name!r}, which is of its "
                    f"level of theory, has {column} {first[column]:.2g} on "
                    f"{first[tasks()[task].item]} (at most {limit:g} is rounding); ask for the "
                    "scan set again, or leave that model out with --without"
                )


def complete(
    joined: Mapping[str, Joined], tables: Mapping[str, pd.DataFrame], task: Task
) -> dict[str, tuple[pd.DataFrame, int]]:
    """Add a row without a score wherever a model lacks what another one has.

    Args:
        joined: The models.
        tables: Scores of those that have the task.
        task: Task of the scores.

    Returns:
        Scores and how many rows were added, by model.
    """
    wanted = planned(joined, task)
    columns = list(dict.fromkeys((*task.keys, *task.identity, task.item)))
    donors: dict[Key, dict[str, Any]] = {}
    for table in tables.values():
        donors |= dict(zip(row_keys(table, task), table[columns].to_dict("records"), strict=True))
    found = {}
    for name, table in tables.items():
        missing = sorted(wanted - {*row_keys(table, task)})
        if missing:
            logger.warning(
                "%s: %d of %d results of %s are in none of the merged results",
                name, len(missing), len(wanted), task.name,
            )  # fmt: skip
            told = [donors[key] for key in missing]
            if {"seen", "system"} <= {*table.columns}:
                seen = dict(zip(table["system"], table["seen"], strict=True))
                seen |= dict(joined[name].seen)
                told = [one | {"seen": seen.get(one.get("system"), "")} for one in told]
            attributes = table.attrs
            more = absent_rows(table, task, name, told, _MESSAGE)
            table = pd.concat([table, more], ignore_index=True)
            table.attrs = attributes
        found[name] = (table, len(missing))
    return found
