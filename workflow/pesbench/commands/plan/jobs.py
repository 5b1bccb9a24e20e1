"""How many jobs Snakemake makes of a run, from nothing."""

from __future__ import annotations

from pesbench.core.found import has_stage
from pesbench.models.registry import role
from pesbench.models.variants import variants
from pesbench.orchestration.config import Run
from pesbench.orchestration.environments import PROJECT
from pesbench.orchestration.requests import REFERENCE
from pesbench.orchestration.software import Software
from pesbench.references import bsct_spice


def model_jobs(run: Run, model: str) -> int:
    """Jobs that belong to one model: its entry, and of each task the shards and the scores."""
    if run.models[model].family == "control":
        return 0  # one job a task is that of all controls
    asked = [one for one in run.tasks.values() if model in one.models]
    worst = role(run.models[model], run.level_of_theory) == "model"
    return 1 + sum(len(one.shards_of(model)) + 1 for one in asked) + worst


def method_jobs(run: Run, method: str) -> int:
    """Jobs of a method that the scan set is made with, without its entry."""
    if method != REFERENCE:
        return 1
    asked = (one for one in run.tasks.values() if one.task.asks_reference)
    return len(run.reference_shards) + sum(len(one.shards) for one in asked)


def other_jobs(run: Run) -> int:
    """All other jobs: what else makes the scan set, tables, figures, `all`."""
    roles = {name: role(entry, run.level_of_theory) for name, entry in run.models.items()}
    # the reference's entry, geometries, the set; and molecules, or the entry that relaxes them
    scan_set = 1 if run.source == bsct_spice.NAME else 4
    dynamics = run.tasks["dynamics"].models if "dynamics" in run.tasks else []
    associate = any(roles[name] in ("model", "perturbed") for name in dynamics)
    parity = bool(variants(run.models.values()))
    tables = 4 + associate + parity + bool(run.ladder)  # models.json, leaderboard, figures, page
    environments = len(software_of(run).to_build(run.running))
    controls = sum(bool(one.controls) for one in run.tasks.values())
    prepared = sum(has_stage(name, "prepare") for name in run.tasks)
    return environments + scan_set + controls + prepared + tables + run.strict + 1


def software_of(run: Run) -> Software:
    """Where the models of a run find their packages, as the Snakefile has it."""
    return Software(run.software, PROJECT / "envs", run.results.parent / "environments")
