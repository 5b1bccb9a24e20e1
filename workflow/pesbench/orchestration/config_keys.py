"""Keys of a config, and what may stand behind them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pesbench.core.found import tasks
from pesbench.core.settings import ADDRESS, PATH, joined, setting
from pesbench.core.task import SCAN, Task
from pesbench.orchestration.cluster import Cluster

DEVICE = "^(auto|cpu|cuda(:[0-9]{1,3})?)$"


@dataclass(frozen=True)
class LadderKeys:
    """Models one design choice apart, side by side; without this block there is no such table."""

    baseline: str = setting(
        help="Name of the entry that the others are compared with; it must be in `models` of the "
        "run."
    )
    models: tuple[str, ...] = setting(
        help="Names or globs of entries of the run, controls and perturbed models excepted, in "
        "the order of the rows. The seeds of a potential (`seed_of`) that are in the run are one "
        "row, whichever of them is named. May be empty.",
        empty=True,
    )


@dataclass(frozen=True, kw_only=True)
class CommonKeys:
    """Keys of the block of every task that does not always run."""

    models: tuple[str, ...] = setting(
        help="Names or globs of the run's models; a name that is not in the run is refused. The "
        "scan set's reference may always be named: it is added to the run. Where `models` of the "
        "run is said later, as by `--config` over a config, it narrows these, too. May be empty.",
        empty=True,
    )
    systems: tuple[str, ...] = setting(
        ("*",),
        help="Ids or globs of the molecules; those without a selected scan are left out, and "
        "named in a line.",
    )
    systems_file: str | None = setting(
        None, help="Text file with one id a line, instead of all molecules.", path=PATH
    )


@dataclass(frozen=True, kw_only=True)
class GeneralKeys:
    """Keys of a config beside the blocks of the tasks."""

    scan_set: str = setting(
        help="Which of `scan_sets` is run; the results go to `<results>/<scan_set>`."
    )
    scan_sets: Mapping[str, Mapping[str, Any]] = setting(
        help="The scan sets by name; their keys depend on `source`, see below."
    )
    models_file: str = setting("config/models.yaml", help="The registry of models.", path=PATH)
    models: tuple[str, ...] = setting(help="Names or globs of the registry's entries to run.")
    controls: tuple[str, ...] = setting(
        ("control-*",),
        help="Names or globs of the controls to show beside the models; `[]` for none, and then "
        "no equivalents.",
        empty=True,
    )
    systems: tuple[str, ...] = setting(
        ("*",),
        help="Ids or globs of the scans to run, such as `C-N/*` or `C-N/25729`. A wider selection "
        "evaluates only what is missing, a narrower one nothing; scores and tables are of the "
        "selected scans. Other tasks keep their jobs: one whose molecules are the same is not run "
        "again.",
    )
    archive: str | None = setting(
        None,
        help="Overrides `archive` of a scan set that is read from one, for `--config "
        "archive=PATH`.",
        path=ADDRESS,
    )
    results: str = setting(
        "results",
        help="Folder of the results; one run at a time, whatever folders runs are started from.",
        path=PATH,
    )
    shard_size: int = setting(
        100,
        help="Scans a job, counted in the whole scan set; all controls together are one job.",
        at_least=1,
        at_most=1_000_000,
    )
    threads: int = setting(
        1,
        help="Threads of a job that runs a model; one a core is fastest for small molecules.",
        at_least=1,
        at_most=4096,
    )
    device: str = setting(
        "auto",
        help="Where models run: `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`.",
        pattern=DEVICE,
    )
    software: str = setting(
        "current",
        help="Where models find their packages: in the environment that Snakemake runs in, or in "
        "one of their family's own, which the workflow (`venv`) or Snakemake (`conda`) makes "
        "([docs/environments.md](../docs/environments.md)).",
        choices=("current", "venv", "conda"),
    )
    strict: bool = setting(
        False,
        help="`true` (`--config strict=True` on the command line): a run in which a model failed "
        "(crashed, gave NaN, ran out of device memory, hung, ...) ends with an exit code other "
        "than 0 and the models' names and reasons, once everything is built. Otherwise a failure "
        "is a result like any other. An element that a model does not take, and a molecule that "
        "breaks in dynamics, are no failures.",
    )
    ladder: LadderKeys | None = setting(
        None, help="Models one design choice apart, side by side, see below."
    )
    cluster: Cluster | None = setting(
        None, help="What differs between clusters; without this block `slurm/site.yaml` tells."
    )


def block_keys(task: Task) -> type:
    """The dataclass of a task's config block."""
    parts = [task.settings, *([task.block] if task.block else [])]
    if task.always:
        return joined(task.name, *parts)
    size = setting(
        task.shard_size,
        help=f"{'Scans' if task.item == SCAN else 'Molecules'} a job.",
        at_least=1,
        at_most=1_000_000,
    )
    return joined(task.name, CommonKeys, *parts, more=[("shard_size", int, size)])


def config_keys() -> type:
    """The dataclass of a config, with a block of every task that is there."""
    return _config_keys(tuple(tasks().values()))


@functools.cache
def _config_keys(every: tuple[Task, ...]) -> type:
    ranks = tuple(one.name for task in every for one in task.metrics if one.ranks)
    rank_by = setting(ranks[0], help="Score that ranks the models, lower is better.", choices=ranks)
    more = [("rank_by", str, rank_by)]
    for task in every:
        block = block_keys(task)
        hint = block if task.always else block | None
        more.append((task.name, hint, setting(block() if task.always else None, help=task.summary)))
    return joined("Config", GeneralKeys, more=more)
