"""Keys of a config, and what may stand behind them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pesbench.compare.comparison import comparisons
from pesbench.core.errors import UserError
from pesbench.core.found import ranking, tasks
from pesbench.core.paths import MODELS_FILE
from pesbench.core.section import ENTRY_COVERAGE
from pesbench.core.settings import ADDRESS, PATH, declared, joined, setting
from pesbench.core.task import SCAN, Task
from pesbench.orchestration.cluster import Cluster

FOLDERS = ("inputs", "scores", "sections", "merged")  # of results; no task is called so
DEVICE = "^(auto|cpu|cuda(:[0-9]{1,3})?)$"


@dataclass(frozen=True)
class LadderKeys:
    """Models one design choice apart, side by side; without this block there is no such table."""

    baseline: str = setting(
        help="Name of the entry to which the others are compared; it must be in `models` of the "
        "run."
    )
    models: tuple[str, ...] = setting(
        help="Names or globs of entries of the run in the order of the rows; no controls and no "
        "perturbed models. The seeds of a potential (`seed_of`) that are in the run are one "
        "row, whichever of them is named. May be empty.",
        empty=True,
    )


@dataclass(frozen=True, kw_only=True)
class CommonKeys:
    """Keys of the block of every task that does not always run."""

    models: tuple[str, ...] = setting(
        help="Names or globs of the run's models; a name that is not in the run is refused. The "
        "scan set's reference may always be named: it is added to the run. If `models` of "
        "the run is given later, for example by `--config`, it restricts these, too. May be "
        "empty.",
        empty=True,
    )
    systems: tuple[str, ...] = setting(
        ("*",),
        help="Ids or globs of the molecules. Molecules without a selected scan are left out, and "
        "a message names them.",
    )
    systems_file: str | None = setting(
        None,
        help="Text file with one id on each line, to run these molecules instead of all.",
        path=PATH,
    )


@dataclass(frozen=True, kw_only=True)
class GeneralKeys:
    """Keys of a config beside the blocks of the tasks."""

    scan_set: str = setting(
        help="Name of the scan set (of `scan_sets`) to run; the results go to "
        "`<results>/<scan_set>`."
    )
    scan_sets: Mapping[str, Mapping[str, Any]] = setting(
        help="The scan sets by name; their keys depend on `source`, see below."
    )
    models_file: str = setting(
        MODELS_FILE,
        help="The registry of models. Another file takes the place of all of it: it must hold the "
        "reference, too.",
        path=PATH,
    )
    models: tuple[str, ...] = setting(help="Names or globs of the registry's entries to run.")
    controls: tuple[str, ...] = setting(
        ("control-*",),
        help="Names or globs of the controls to show beside the models. With `[]` there are "
        "none, and no equivalents.",
        empty=True,
    )
    systems: tuple[str, ...] = setting(
        ("*",),
        help="Ids or globs of the scans to run, such as `C-N/*` or `C-N/25729`. A wider "
        "selection evaluates only the missing scans, a narrower one nothing. Scores and "
        "tables contain the selected scans. A job of another task whose molecules stay the "
        "same is not run again.",
    )
    archive: str | None = setting(
        None,
        help="Overrides `archive` of a scan set that is read from an archive, for `--config "
        "archive=PATH`.",
        path=ADDRESS,
    )
    results: str = setting(
        "results",
        help="Folder of the results. Only one run at a time may use it, from whatever folder it "
        "is started.",
        path=PATH,
    )
    shard_size: int = setting(
        100,
        help="Number of scans of a job, counted in the whole scan set; all controls together are "
        "one job.",
        at_least=1,
        at_most=1_000_000,
    )
    threads: int = setting(
        1,
        help="Threads of a job that runs a model. For small molecules, one thread and as many "
        "jobs as cores is fastest.",
        at_least=1,
        at_most=4096,
    )
    device: str = setting(
        "auto",
        help="Device of the models: `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:N`.",
        pattern=DEVICE,
    )
    software: str = setting(
        "current",
        help="Environment of families with requirements of their own: that of Snakemake "
        "(`current`), or one that the workflow (`venv`) or conda (`conda`) makes. An entry with "
        "`requirements` or `python` always has one "
        "([docs/environments.md](../docs/environments.md)).",
        choices=("current", "venv", "conda"),
    )
    entry_coverage: float = setting(
        ENTRY_COVERAGE,
        help="Least share of the planned scans that a model has to have scores of. A model below "
        "it is listed, with the reason, and takes no part in what models share: ranks, shared "
        "scans, the association.",
        at_least=0,
        at_most=1,
    )
    strict: bool = setting(
        False,
        help="With `true` (`--config strict=True` on the command line), a run in which a model "
        "failed (crashed, gave NaN, ran out of device memory, hung, ...) builds everything, "
        "then ends with a nonzero exit code and lists models and reasons. With `false`, a "
        "failure is a result like any other. An element that a model does not support and a "
        "molecule that breaks in dynamics are no failures.",
    )
    ladder: LadderKeys | None = setting(
        None, help="Comparison of models that differ in one design choice, see below."
    )
    cluster: Cluster | None = setting(
        None, help="Properties of the cluster; without this block those of `slurm/site.yaml`."
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
    """The dataclass of a config, with a block of every task that is there.

    Raises:
        UserError: a task has a name that is taken.
    """
    return _config_keys(tuple(tasks().values()))


@functools.cache
def _config_keys(every: tuple[Task, ...]) -> type:
    ranks = tuple(ranking(every))
    rank_by = setting(ranks[0], help="Score that ranks the models; lower is better.", choices=ranks)
    more = [("rank_by", str, rank_by)]
    taken = dict.fromkeys(FOLDERS, "a folder of results")
    taken |= dict.fromkeys(
        ["rank_by", *(one.name for one in declared(GeneralKeys))], "a key of a config"
    )
    taken |= dict.fromkeys(comparisons(), "a comparison")
    for task in every:
        if what := taken.get(task.name):
            raise UserError(
                f"the task {task.name!r} has the name of {what}; give its folder another name"
            )
        block = block_keys(task)
        hint = block if task.always else block | None
        more.append((task.name, hint, setting(block() if task.always else None, help=task.summary)))
    return joined("Config", GeneralKeys, more=more)
