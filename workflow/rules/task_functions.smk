# Functions of the rules of tasks: files, words of commands and requests of each task.

from pesbench.core.found import has_stage, stage_modules
from pesbench.core.found import stage as function_of
from pesbench.core.settings import named_files, words
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
    """Input: the answers of the scan set's reference method, if the task needs them."""
    run = RUN.tasks[wildcards.task]
    if not run.asks_reference:
        return []
    return [RESULTS / "reference" / run.task.name / f"{shard}.h5" for shard in run.shards]


def prepared(wildcards):
    """Input: the file that all models share, for a task that has one."""
    if not has_stage(wildcards.task, "prepare"):
        return []
    return RESULTS / "inputs" / f"{wildcards.task}.h5"


def prepared_option(wildcards, input):
    """A parameter: the file that all models share, as an option."""
    return option("--prepared", [input.prepared] if input.prepared else [])


def read_by(stage):
    """Input: the answers of other tasks that a stage reads.

    They are of all models of the task; those of a run are of the models that the module `reads` of
    the task names, where it has one.
    """

    def files(wildcards):
        run = RUN.tasks[wildcards.task]
        read = run.task.run_reads if stage == "run" else run.task.score_reads
        models = run.models
        if stage == "run" and has_stage(wildcards.task, "reads"):
            reads = function_of(wildcards.task, "reads")
            entries = {name: RUN.models[name] for name in models}
            models = reads(wildcards.model, entries, RUN.level_of_theory)
        return [
            file
            for task in read
            if task in RUN.tasks
            for model in models
            if model in RUN.tasks[task].models
            for file in answers(task, model)
        ]

    return files


def read_option(wildcards, input):
    """A parameter: the answers of other tasks, as an option."""
    return option("--answers", input.answers)


def record(wildcards):
    """Input: what describes the models, for scores that follow from several of them."""
    return RESULTS / "models.json" if RUN.tasks[wildcards.task].task.score_reads else []


@functools.cache
def items_of(task, model, shard):
    """The items of a job: the selected ones and those that its file already holds.

    A wider selection therefore runs only the missing items, and a narrower one runs nothing.
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
    """A parameter: the settings that decide the answers, as options."""
    return words(RUN.tasks[wildcards.task].shards[wildcards.shard].settings, "run")


def run_files(wildcards):
    """Input: the files that the settings of the answers name; another content asks again."""
    return named_files(RUN.tasks[wildcards.task].settings, "run")


def score_settings(wildcards):
    """A parameter: the settings that decide the scores, as options."""
    return words(RUN.tasks[wildcards.task].settings, "score")


def score_files(wildcards):
    """Input: the files that these settings name; another content scores again."""
    return named_files(RUN.tasks[wildcards.task].settings, "score")


def trained_on_option(wildcards):
    """A parameter: the scans that the model was trained on, for a task of scans."""
    scans = RUN.tasks[wildcards.task].task.item == SCAN
    return option("--seen-scans", RUN.seen_scans(wildcards.model) if scans else [])


def selected_option(wildcards):
    """A parameter: the items to score; the files may hold more."""
    scans = RUN.tasks[wildcards.task].task.item == SCAN
    return option("--selected", RUN.selected if scans else [])


def shard_request(wildcards):
    """Time and memory that a job asks a scheduler for."""
    return REQUESTS.shard(wildcards.model, wildcards.task, wildcards.shard)


def reference_request(wildcards):
    """Time and memory that a job of the scan set's reference method asks a scheduler for."""
    return REQUESTS.shard("reference", wildcards.task, wildcards.shard)
