# What the rules of tasks use: files, words of commands and requests of each task.

from pesbench.core.found import has_stage, stage_module
from pesbench.core.settings import words
from pesbench.core.task import SCAN

CONTROL_TASKS = [name for name, run in RUN.tasks.items() if run.controls]
SCORES = [
    RESULTS / model / "scores" / f"{task}.parquet"
    for task, run in RUN.tasks.items()
    for model in run.models
]


def answers(task, model):
    """The files of a model's answers in a task."""
    return [RESULTS / model / task / f"{shard}.h5" for shard in RUN.tasks[task].shards_of(model)]


def reference_answers(wildcards):
    """Input: the answers of the method that the scan set was made with, where the task asks it."""
    run = RUN.tasks[wildcards.task]
    if not run.task.asks_reference:
        return []
    return [RESULTS / "reference" / run.task.name / f"{shard}.h5" for shard in run.shards]


def prepared(wildcards):
    """Input: what all models share, of a task that has such."""
    if not has_stage(wildcards.task, "prepare"):
        return []
    return RESULTS / "inputs" / f"{wildcards.task}.h5"


def prepared_option(wildcards, input):
    """A parameter: the same as an option."""
    return option("--prepared", [input.prepared] if input.prepared else [])


@functools.cache
def items_of(task, model, shard):
    """The items of a job: those selected, and what its file already holds beside them.

    So a wider selection asks for what is missing, and a narrower one is no reason to run again.
    """
    run = RUN.tasks[task]
    held = run.task.held(RESULTS / model / task / f"{shard}.h5")
    wanted = {*run.shards_of(model)[shard].items, *held}
    every = run.shards_of(model, selected=False)[shard].items
    return option(f"--{run.task.item}s", [item for item in every if item in wanted])


def items(wildcards):
    """A parameter: the items of the job of the wildcards `task`, `model` and `shard`."""
    return items_of(wildcards.task, wildcards.model, wildcards.shard)


def run_settings(wildcards):
    """A parameter: what decides the answers, as options."""
    return words(RUN.tasks[wildcards.task].shards[wildcards.shard].settings, "run")


def score_settings(wildcards):
    """A parameter: what decides the scores, as options."""
    return words(RUN.tasks[wildcards.task].settings, "score")


def selected_option(wildcards):
    """A parameter: the items to score; files may hold others, too."""
    scans = RUN.tasks[wildcards.task].task.item == SCAN
    return option("--selected", RUN.selected if scans else [])


def shard_request(wildcards):
    """What a job asks a scheduler for."""
    return REQUESTS.shard(wildcards.model, wildcards.task, wildcards.shard)


def reference_request(wildcards):
    """The same of a job of the method that the scan set was made with."""
    return REQUESTS.shard("reference", wildcards.task, wildcards.shard)
