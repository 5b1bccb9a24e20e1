"""Number of Snakemake's jobs of a run that starts from nothing.

The jobs of models follow from the tasks of the run, those of the report from `report/graph.py`.
"""

from __future__ import annotations

from pesbench.core.found import has_stage
from pesbench.orchestration.config import Run
from pesbench.orchestration.requests import REFERENCE
from pesbench.orchestration.software import software_of
from pesbench.references import bsct_spice
from pesbench.report import graph


def model_jobs(run: Run, model: str) -> int:
    """Jobs that belong to one model: its entry, the shards and scores of tasks, its sections."""
    if run.models[model].is_control:
        return 0  # one job a task is that of all controls
    asked = [one for one in run.tasks.values() if model in one.models]
    sections = sum(name == model for _, name in graph.model_sections(run.report))
    return 1 + sum(len(one.shards_of(model)) + 1 for one in asked) + sections


def method_jobs(run: Run, method: str) -> int:
    """Jobs of a method that the scan set is made with, without its entry."""
    if method != REFERENCE:
        return 1
    asked = (one for one in run.tasks.values() if one.asks_reference)
    return len(run.reference_shards) + sum(len(one.shards) for one in asked)


def other_jobs(run: Run) -> int:
    """All other jobs: environments, what else makes the scan set, controls, the report, `all`."""
    environments = len(software_of(run).to_build([*run.running, *filter(None, [run.relax])]))
    # the entry of the reference, geometries, the set; and molecules, or the entry that relaxes them
    scan_set = 1 if run.source == bsct_spice.NAME else 4
    controls = sum(bool(one.controls) for one in run.tasks.values())
    prepared = sum(has_stage(name, "prepare") for name in run.tasks)
    report = 1 + len(graph.BOARDS) + len(graph.section_names(run.report))  # models.json, ...
    return environments + scan_set + controls + prepared + report + run.strict + 1
