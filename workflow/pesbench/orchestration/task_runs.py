"""Models and jobs of each task, from the blocks of the config that are named as tasks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pesbench.core.errors import UserError
from pesbench.core.names import closest, select
from pesbench.core.settings import keys
from pesbench.core.task import SCAN, Shard, Task
from pesbench.files.strict_yaml import read_text
from pesbench.models.registry import ModelEntry
from pesbench.references import bsct_spice

logger = logging.getLogger("pesbench")


@dataclass(frozen=True)
class TaskRun:
    """Models, items and settings of one task in a run.

    `shards` holds the jobs of every model, the scan set's method among them where the task asks
    it; `shards_of(model)` those of one model, which differ for a control: it has one job a
    setting, with all items. Which job an item belongs to never depends on what is selected:
    `shards_of(model, selected=False)[name].items` are all items that the file of that job may
    hold, also from a run with a wider selection.

    `dataclasses.replace` gives a smaller task, from which the jobs follow.

    Attributes:
        task: The task.
        models: Names of those that are asked, in the order of the run: models before controls,
            each sorted.
        items: Ids of all scans or systems that the config names, selected or not, sorted.
        selected: Items that are run, sorted.
        settings: Settings of the task.
        shard_size: Items a job.
        block: Keys of the type `task.block`; None if that is None.
        controls: Names of `models` that are controls.
    """

    task: Task
    models: list[str]
    items: list[str]
    selected: list[str]
    settings: Any
    shard_size: int
    block: Any = None
    controls: frozenset[str] = frozenset()

    @property
    def asks_reference(self) -> bool:
        """Whether the scan set's method is asked, too."""
        return self.task.needs_reference(self.settings)

    @cached_property
    def shards(self) -> dict[str, Shard]:
        """The jobs of a model by name, of the selected items."""
        return self._cut(self.selected, self.shard_size)

    def shards_of(self, model: str, *, selected: bool = True) -> dict[str, Shard]:
        """The jobs of one model by name.

        Args:
            model: Name of the model.
            selected: Whether to leave out items that are not selected.
        """
        if model in self.controls:
            return self._of_control if selected else self._all_of_control
        return self.shards if selected else self._all

    @cached_property
    def _all(self) -> dict[str, Shard]:
        return self._cut(self.items, self.shard_size)

    @cached_property
    def _of_control(self) -> dict[str, Shard]:
        return self._cut(self.selected, len(self.items))

    @cached_property
    def _all_of_control(self) -> dict[str, Shard]:
        return self._cut(self.items, len(self.items))

    def _cut(self, selected: Sequence[str], size: int) -> dict[str, Shard]:
        return self.task.shards(self.items, selected, self.settings, size, self.block)


# --- which models, and what of -------------------------------------------------------------------


def asked_models(
    task: Task,
    patterns: Sequence[str],
    registry: Mapping[str, ModelEntry],
    chosen: Sequence[str],
    reference: str | None,
    place: str,
    *,
    narrowed: bool,
) -> list[str]:
    """Models of the run that a task's block names, sorted.

    A name must be of the run; the scan set's reference is added to the run where it is named here.

    Args:
        task: The task.
        patterns: `models` of its block.
        registry: Entries by name.
        chosen: Models of the run.
        reference: The scan set's, if it has one.
        place: Place of the block, for messages.
        narrowed: Whether `models` of the run was said after the block, as on a command line over a
            config, so that it narrows the task as well.

    Raises:
        UserError: a name is not in the registry, is a control, or is not in the run.
    """
    name = task.name
    where = f"{place}: `{name}.models`"
    able = [n for n, one in registry.items() if task.asks_controls or not one.is_control]
    found: set[str] = set()
    for pattern in patterns:
        if pattern in registry and pattern not in able:
            raise UserError(f"{where}: {pattern!r} is a control, which has no {name}; take it out")
        matched = select([pattern], able, where)
        here = {one for one in matched if one in chosen}
        if pattern == reference and not narrowed:
            here.add(pattern)
        if not here and not narrowed:
            raise UserError(
                f"{where}: {pattern!r} is not in the run; add it to `models`, or take it out here"
            )
        found |= here
    return sorted(found)


@dataclass(frozen=True)
class Scans:
    """The scans of a run.

    Attributes:
        source: Source of the scan set.
        planned: Ids of all scans of the set, sorted.
        selected: Scans that are run, sorted.
        shard_size: Scans a job.
    """

    source: str
    planned: Sequence[str]
    selected: Sequence[str]
    shard_size: int

    def items(self, task: Task, *, selected: bool) -> list[str]:
        """Ids of what a task is run on: scans, or the molecules that they are of."""
        scans = self.selected if selected else self.planned
        if task.item == SCAN:
            return list(scans)
        return sorted({self._system(scan) for scan in scans})

    def _system(self, scan_id: str) -> str:
        # every scan of the archive is a molecule of its own
        if self.source == bsct_spice.NAME:
            return scan_id
        return scan_id.partition("/")[2].rpartition("_")[0]


def task_run(
    task: Task,
    block: Any,
    models: Mapping[str, ModelEntry],
    scans: Scans,
    base: Path,
    place: str,
) -> TaskRun | None:
    """Jobs of a task in a run; None if no model runs it.

    Molecules without a selected scan are left out, and named where the block names them.

    Args:
        task: The task.
        block: Block of the config, see `block_keys`; None if there is none.
        models: Entries by name that it is put to, in the order of the run.
        scans: Scans of the run.
        base: Folder that relative paths start from.
        place: Place of the block, for messages.

    Raises:
        UserError: one line with the key and the cure.
    """
    where = f"{place}: `{task.name}"
    if not task.always and (block is None or not block.models):
        return None
    if task.needs_molecules and scans.source == bsct_spice.NAME:
        raise UserError(
            f"{where}`: the scan set is read from an archive, whose reference cannot be asked; "
            f"take one with `source: molecules`, or write `{task.name}: {{models: []}}`"
        )
    items, selected = (scans.items(task, selected=one) for one in (False, True))
    shard_size = scans.shard_size
    if not task.always:
        items = _named(block, items, base, where)
        shard_size = block.shard_size
        known = set(selected)
        selected = [item for item in items if item in known]
        left_out = [item for item in items if item not in known]
        if models and left_out and block.systems != ("*",):  # named explicitly
            logger.warning(
                "%s.systems`: without a selected scan, so without %s: %s",
                where, task.name, ", ".join(left_out),
            )  # fmt: skip
    if not models or not selected:
        return None
    found = TaskRun(
        task=task,
        models=list(models),
        items=items,
        selected=selected,
        settings=_part(task.settings, block),
        shard_size=shard_size,
        block=None if task.block is None else _part(task.block, block),
        controls=frozenset(name for name, one in models.items() if one.is_control),
    )
    try:
        _ = found.shards
    except UserError as error:
        raise UserError(f"{place}: {error}") from error
    return found


def _part(cls: type, block: Any) -> Any:
    """The fields of a block that are those of another dataclass."""
    return cls(**{key.name: getattr(block, key.name) for key in keys(cls)})


def _named(block: Any, every: Sequence[str], base: Path, where: str) -> list[str]:
    """The items that a block names, selected or not."""
    items = select(block.systems, every, f"{where}.systems`")
    file = block.systems_file
    if file is None:
        return items
    named = _read_names(base / file)
    if unknown := sorted(set(named) - set(every)):
        raise UserError(
            f"{where}.systems_file`: {file} names {unknown[0]!r}, which the scan set does not "
            f"hold; {closest(unknown[0], every)}"
        )
    return [item for item in items if item in named]


def _read_names(path: Path) -> list[str]:
    lines = read_text(path).splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
