# Functions of the rules of the report. `report/graph.py` gives the sections and the commands: no task and no
# comparison is named here.

from pesbench.compare.comparison import comparison_module, comparisons, section_module
from pesbench.core.found import has_stage, stage_module
from pesbench.models.record import description
from pesbench.report import graph

REPORT = RUN.report
TASK_SECTIONS = graph.task_sections(REPORT)
COMPARISON_SECTIONS = graph.comparison_sections(REPORT)
SECTIONS = [RESULTS / graph.SECTIONS / name for name in graph.section_names(REPORT)]
MODEL_SECTIONS = [
    graph.model_section_folder(RESULTS, task, model) for task, model in graph.model_sections(REPORT)
]
EXPLORED_TASKS = [name for name in RUN.tasks if has_stage(name, "explorer")]
EXPLORERS = [stage_module(name, "explorer") for name in EXPLORED_TASKS]
EXPLORED = [
    file
    for task in EXPLORED_TASKS
    for model in RUN.tasks[task].models
    if model not in CONTROLS
    for file in answers(task, model)
]
SKIPPED = [RESULTS / "skipped.csv"] if RUN.source == "molecules" else []
RANKING = [RUN.rank_by, RUN.entry_coverage]
PLACES = {"scan_set": SCAN_SET, "models_file": RUN.models_file}
# The keys of the registry that describe models and decide no number.
DESCRIPTIONS = as_text({name: description(entry) for name, entry in RUN.models.items()})
# Modules of leaderboard and page: they call what ranks as the task that always runs does.
BOARD = ["pesbench.report.board", "pesbench.report.choice", "pesbench.report.merged"]
BOARD += [stage_module(name, "task") for name, run in RUN.tasks.items() if run.task.always]
UNASKED = [comparison_module(name) for name in comparisons()]  # what the page says was not asked


def scores_of(ran):
    """Input: the scores of models by task."""
    return [graph.scores_file(RESULTS, task, model) for task in ran for model in ran[task]]


def section_code(*modules):
    """The code that decides a section: its modules, reading, writing, and the roles of families."""
    families = sorted({family for entry in RUN.models.values() for family in entry.families})
    others = ("pesbench.report.inputs", "pesbench.report.sections", *family_modules(families))
    return stage_fingerprint(*modules, *others)


def section_words(wildcards, input):
    """A parameter: the command that makes the section of a task."""
    return graph.section_command(RESULTS, REPORT, wildcards.task, **PLACES)


def model_section_words(wildcards, input):
    """A parameter: the command that makes the model section of a task."""
    return graph.model_section_command(
        RESULTS, wildcards.task, wildcards.model, scan_set=SCAN_SET, files=input.files
    )


def compared_files(comparison):
    """Input: the answers that a comparison reads, by task and model."""
    read = comparisons()[comparison].answers(REPORT)
    return {
        task: {model: answers(task, model) for model in models} for task, models in read.items()
    }


def ladder_of(wildcards):
    """A parameter: the models of the design ladder, for a comparison that reads them."""
    return list(RUN.ladder) if comparisons()[wildcards.comparison].takes_ladder else []


def compare_words(wildcards, input):
    """A parameter: the command that makes the section of a comparison."""
    name = wildcards.comparison
    return graph.compare_command(RESULTS, REPORT, name, files=compared_files(name), **PLACES)
