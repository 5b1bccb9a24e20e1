"""The tables of keys in config/README.md, made from the dataclasses that declare the keys.

    python tests/helpers/config_tables.py

writes them anew, each between its two comments; a test compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import is_dataclass, replace
from pathlib import Path

from pesbench.core.family import EntrySettings, Family, families
from pesbench.core.found import tasks
from pesbench.core.settings import Declared, Key, Setting, declared, keys, table
from pesbench.core.task import Task
from pesbench.orchestration.cluster import Cluster
from pesbench.orchestration.config_keys import LadderKeys, block_keys, config_keys
from pesbench.references.settings import SOURCES, MoleculeSettings
from pesbench.training.backbone_plan import Backbone, BackbonePlan
from pesbench.training.data_plan import DataPlan
from pesbench.training.transfer_plan import TransferPlan

README = Path(__file__).parents[2] / "config" / "README.md"


def blocks() -> dict[str, str]:
    """What stands between the comments, by the name in them."""
    known = ", ".join(f"`{name}`" for name in families())
    about = Setting(f"Which adapter loads the model: {known}.")
    family = Key("family", about, str, many=False, optional=False, default=None)
    found = {"entry": table([family, *keys(EntrySettings)])}
    for name, one in families().items():
        found[f"family {name}"] = f"**Family `{name}`.** {one.about}\n\n{table(_own(one))}"
    every = tasks().values()
    beside = {*tasks(), "ladder", "cluster"}
    general = [one for one in declared(config_keys()) if one.name not in beside]
    return found | {
        "config": table(map(_row, general)),
        "source bsct_spice": table(_rows(SOURCES["bsct_spice"])),
        "source molecules": table(_rows(SOURCES["molecules"])),
        "molecules": table(_rows(MoleculeSettings)),
        "tasks": "\n".join(map(_of_task, every)),
        "ladder": table(_rows(LadderKeys)),
        "data": table(_rows(DataPlan)),
        "transfer": table(_rows(TransferPlan)),
        "backbones": table(_rows(BackbonePlan)),
        "backbone": table(_rows(Backbone)),
        "cluster": table(_rows(Cluster)),
    }


def _row(one: Declared, above: str = "") -> Key:
    default = None if is_dataclass(one.default) else one.default
    return Key(f"{above}{one.name}", one.about, str, many=False, optional=False, default=default)


def _rows(cls: type, above: str = "") -> Iterator[Key]:
    """The keys of a block but for `source`, which is in its heading, and of blocks in it."""
    for one in declared(cls):
        if one.name != "source":
            yield _row(one, above)
        if is_dataclass(one.hint):
            yield from _rows(one.hint, f"{above}{one.name}.")


def _of_task(task: Task) -> str:
    """The part of a task: what its block is, and its keys."""
    page = f"workflow/pesbench/tasks/{task.name}/README.md"
    said = [f"{task.summary.removesuffix('.')} ([{page.partition('pesbench/')[2]}](../{page}))."]
    if task.always:
        said.append("It runs for all models on the selected scans, with or without this block.")
    else:
        said.append("Without this block, or with `models: []`, there is none.")
    if task.asks_reference:
        if_needed = "" if task.needs_reference() else "if the settings need it, "
        said.append(
            f"The scan set's reference runs it, too, {if_needed}whether it is in the run or not."
        )
    if task.needs_molecules:
        said.append("The scan set must have `source: molecules`.")
    return f"### `{task.name}`\n\n{' '.join(said)}\n\n{table(_rows(block_keys(task)))}"


def _own(family: Family) -> Iterator[Key]:
    """The keys of a family that not every family has, those of some kinds with their names."""
    shared = list(keys(family.settings))
    yield from (key for key in shared if key not in keys(EntrySettings))
    further: dict[Key, list[str]] = {}
    for kind, settings in family.kinds.items():
        for key in keys(settings):
            if key not in shared:
                further.setdefault(key, []).append(f"`{kind}`")
    for key, kinds in further.items():
        of_kinds = f"Of {', '.join(kinds)}: {key.about.help[0].lower()}{key.about.help[1:]}"
        yield replace(key, about=replace(key.about, help=of_kinds))


def written(text: str) -> str:
    """The text with the blocks as they should be."""
    for name, block in blocks().items():
        begin, end = f"<!-- keys of {name} -->\n", "<!-- end -->"
        text, count = re.subn(
            f"{re.escape(begin)}.*?{end}",
            lambda _, new=f"{begin}{block}{end}": new,
            text,
            flags=re.DOTALL,
        )
        if count != 1:
            raise ValueError(f"{README}: give `{begin.strip()}` and `{end}` once each for {name!r}")
    return text


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
