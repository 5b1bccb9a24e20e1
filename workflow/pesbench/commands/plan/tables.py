"""The plan of a run as a table: CSV with every number, Markdown and text with those that matter."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pesbench.commands.plan.budget import Budget, Proposal, least_scans, overlay, timed_models
from pesbench.commands.plan.prediction import REFERENCE, RELAX, Prediction, other_jobs
from pesbench.core.text import markdown
from pesbench.files.atomic import write_text
from pesbench.files.strict_yaml import dump_yaml
from pesbench.orchestration.config import Run
from pesbench.orchestration.config_files import merged

GOOD_SHARD_MIN = (15, 60)  # of a job on a cluster (slurm/site.yaml)
SHORT_JOB_MIN = 2.0
STAGES = ("scans", "dynamics", "vibrations")
_MS = 1000.0


def frame(predictions: Sequence[Prediction]) -> pd.DataFrame:
    """One row a model, with every number; empty where nothing was timed."""
    return pd.DataFrame([_row(one) for one in predictions])


def _row(one: Prediction) -> dict[str, Any]:
    row: dict[str, Any] = {
        "model": one.model,
        "entry": one.entry.name,
        "family": one.entry.family,
        "role": one.role,
        "status": one.status,
        "device": one.device,
        "hours": one.hours,
        "gpu_hours": one.hours if one.gpu else 0.0 * one.hours,
        "longest_job_min": one.longest_min,
        "memory_gb": one.memory_gb,
        "gpu_memory_gb": one.device_memory_gb,
        "storage_gb": one.storage_gb,
        "jobs": one.jobs,
        "n_scans": one.n_scans,
    }
    for stage in STAGES:
        found = getattr(one, stage)
        row[f"{stage}_shards"] = found.shards
        row[f"{stage}_hours"] = found.hours
        row[f"{stage}_storage_gb"] = found.storage_gb
    probe = one.probe
    for stage in ("scans", "dynamics"):
        for place, size in enumerate(("one", "small", "large")):
            timed = probe.timings[stage][place] if probe and probe.timings else None
            row[f"{stage}_{size}_atoms"] = timed.atoms if timed else math.nan
            row[f"{stage}_{size}_frames"] = timed.frames if timed else math.nan
            row[f"{stage}_{size}_ms_per_frame"] = (
                _MS * timed.seconds / timed.frames if timed else math.nan
            )
    row["load_s"] = probe.load_s if probe else math.nan
    row["tuning_s"] = probe.tuning_s if probe else math.nan
    return row | {"reason": one.reason}


# --- for readers ---------------------------------------------------------------------------------


def figure(value: float) -> str:
    """Two digits that count, or `n/a`."""
    if math.isnan(value):
        return "n/a"
    if value == 0:
        return "0"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.{max(0, 1 - math.floor(math.log10(value)))}f}" if value >= 1e-3 else "<0.001"


def _shown(predictions: Sequence[Prediction]) -> list[list[str]]:
    lines = []
    for one in predictions:
        if one.role == "control":
            continue
        name = f"{one.model} ({one.entry.name})" if one.role == "method" else one.model
        timed = one.probe.timings["scans"] if one.probe and one.probe.timings else None
        sizes = "n/a"
        if timed:
            sizes = ", ".join(
                f"{figure(_MS * t.seconds / t.frames)} ({t.atoms})" for t in timed[1:]
            )
        stages = [figure(getattr(one, s).hours) for s in STAGES]
        lines.append([
            name, one.status, one.device, sizes, *stages, figure(one.hours),
            figure(one.longest_min), figure(one.memory_gb), figure(one.storage_gb),
            "+".join(str(getattr(one, s).shards) for s in STAGES if getattr(one, s).shards),
            str(one.jobs),
        ])  # fmt: skip
    controls = [one for one in predictions if one.role == "control"]
    if controls:
        hours = sum(one.hours for one in controls)
        lines.append([
            f"{len(controls)} controls", "assumed", "cpu", "-", figure(hours), "0", "0",
            figure(hours), figure(max(one.longest_min for one in controls)), "-",
            figure(sum(one.storage_gb for one in controls)),
            "1", "1",
        ])  # fmt: skip
    return lines


_HEADER = (
    "model", "status", "device", "ms a frame (atoms)", "scans, h", "dynamics, h",
    "frequencies, h", "hours", "longest job, min", "memory, GB", "storage, GB", "shards", "jobs",
)  # fmt: skip


def table(predictions: Sequence[Prediction]) -> str:
    """The table for readers, as Markdown that reads well as text."""
    lines = [list(_HEADER), *([markdown(c) for c in line] for line in _shown(predictions))]
    widths = [max(len(line[k]) for line in lines) for k in range(len(_HEADER))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )


def wall_hours(run: Run, known: Sequence[Prediction], cores: int) -> float:
    """Hours from start to end on one machine, with one GPU where models were timed on one.

    The scan set is made first, then all else runs side by side as far as cores go; nothing is
    shorter than its longest job. What Snakemake itself takes is not in it.

    Args:
        run: What the run consists of.
        known: Of it, without what could not be timed.
        cores: Of the machine.
    """
    lanes = max(1, cores // run.threads)
    total = 0.0
    for stage in ([RELAX], [REFERENCE], list(run.models)):
        some = [one for one in known if one.model in stage]
        gpu = sum(one.hours for one in some if one.gpu)
        cpu = sum(one.hours for one in some if not one.gpu)
        parts = (part for one in some for part in (one.scans, one.dynamics, one.vibrations))
        longest = max((part.longest_min / 60 for part in parts), default=0.0)
        total += max(gpu, cpu / lanes, longest)
    return total


def totals(run: Run, predictions: Sequence[Prediction], built: bool, cores: int) -> list[str]:
    """What it comes to, and what is not in it."""
    known = [one for one in predictions if not math.isnan(one.hours)]
    unknown = [one for one in predictions if math.isnan(one.hours)]
    gpu = sum(one.hours for one in known if one.gpu)
    cpu = sum(one.hours for one in known if not one.gpu)
    jobs = sum(one.jobs for one in predictions) + other_jobs(run)
    least = "at least " if unknown else ""
    threads = "core" if run.threads == 1 else f"{run.threads} cores"
    lines = [
        f"Total: {least}{figure(gpu)} h of a GPU and {figure(cpu)} h of a CPU ({threads} a job), "
        f"{figure(sum(one.storage_gb for one in known))} GB, {jobs} jobs from nothing.",
        f"On {cores} cores{' and one GPU' if gpu else ''} that is {least}about "
        f"{figure(wall_hours(run, known, cores))} h from start to end.",
    ]
    if unknown:
        lines.append(
            "Not in the hours: " + "; ".join(f"{o.model} ({markdown(o.reason)})" for o in unknown)
        )
    if built and any(one.model == REFERENCE for one in predictions):
        lines.append(
            "The scan set is there: of these hours its reference's scans need not be run again."
        )
    noted = [one for one in known if one.reason and one.role != "control"]
    lines += [f"{one.model}: {markdown(one.reason)}." for one in noted]
    return lines + _advice(run, known)


def _advice(run: Run, known: Sequence[Prediction]) -> list[str]:
    """What is said of the sizes of jobs; of networks only, that a scheduler would be given."""
    low, high = GOOD_SHARD_MIN
    on_gpu = [one for one in known if one.gpu and one.role != "method"]
    lines = []
    for stage, key in (("scans", "shard_size"), ("dynamics", "dynamics.shard_size")):
        longest = max((getattr(one, stage).longest_min for one in on_gpu), default=0.0)
        if longest > high:
            lines.append(f"Jobs of {stage} take up to {figure(longest)} min: a smaller `{key}`.")
        elif 0 < longest < SHORT_JOB_MIN and max(getattr(o, stage).shards for o in on_gpu) > 1:
            lines.append(
                f"Jobs of {stage} take {figure(longest)} min at most, {low} to {high} are a good "
                f"size: a larger `{key}`."
            )
    return lines


def proposal_text(
    run: Run, predictions: Sequence[Prediction], proposal: Proposal | None, hours: float,
    instead: Sequence[str], built: bool,
) -> list[str]:  # fmt: skip
    """What fits a budget, in words."""
    budget = Budget.of(run, predictions, hours, built)
    if proposal is None:
        return [_why_nothing(predictions, budget)]
    limit, takes = _hours(hours, budget.of_gpu), _hours(proposal.hours, budget.of_gpu)
    if budget.of_gpu:
        takes += f" (and {figure(proposal.uncounted_hours)} h of a CPU, which are not counted)"
    if proposal.whole:
        return [f"All of it fits {limit}: it takes {takes}."]
    smaller = proposal.run
    models = [n for n, entry in smaller.models.items() if entry.family != "control"]
    molecules = {name for shard in smaller.dynamics_shards.values() for name in shard.systems}
    of_whole = {name for shard in run.dynamics_shards.values() for name in shard.systems}
    dynamics = f", dynamics of {len(molecules)} of {len(of_whole)} molecules" if of_whole else ""
    lines = [
        f"Fits {limit}: {len(models)} models on {proposal.per_bond} scans of each bond "
        f"type at most ({len(smaller.scans)} of {len(run.scans)} scans){dynamics}, "
        f"{takes}.",
        "Models: " + ", ".join(models) + ".",
    ]
    if (run.dynamics or run.vibrations) and not (smaller.dynamics or smaller.vibrations):
        lines.append(_why_scans_alone(predictions, budget))
    if proposal.dropped:
        most = max(Counter(scan_id.partition("/")[0] for scan_id in run.scans).values())
        lines.append(
            f"Dropped, for fewer than {least_scans(most)} scans a bond type would be left: "
            + ", ".join(proposal.dropped) + "."
        )  # fmt: skip
    if proposal.unknown:
        lines.append("Left out, for they could not be timed: " + ", ".join(proposal.unknown) + ".")
    kept = ", ".join(instead) if instead else "no model"
    lines.append(f"With all systems instead, the cheapest models first: {kept}.")
    return lines


def _hours(hours: float, of_gpu: bool) -> str:
    return f"{figure(hours)} h of a GPU" if of_gpu else f"{figure(hours)} h"


def _why_scans_alone(predictions: Sequence[Prediction], budget: Budget) -> str:
    reference = next((one for one in predictions if one.model == REFERENCE), None)
    if reference is not None and math.isnan(budget.counted(reference)):
        return (
            f"Scans alone, for the frequencies of the reference, {reference.entry.name}, could not "
            f"be timed ({reference.reason})."
        )
    return "Scans alone, for with dynamics or frequencies not even one model fits."


def _why_nothing(predictions: Sequence[Prediction], budget: Budget) -> str:
    limit = _hours(budget.hours, budget.of_gpu)
    methods = [one for one in predictions if one.model in (REFERENCE, RELAX)]
    fixed = budget.cost(methods)
    if math.isnan(fixed):
        one = next(one for one in methods if math.isnan(budget.counted(one)))
        what = {REFERENCE: "reference", RELAX: "relaxation"}[one.model]
        return (
            f"Nothing can be proposed for {limit}: the {what} of the scan set, {one.entry.name}, "
            f"could not be timed ({one.reason})."
        )
    if not timed_models(predictions):
        return f"Nothing can be proposed for {limit}: no model could be timed."
    if fixed > budget.hours:
        return (
            f"Nothing fits {limit}: the reference of the scan set alone takes "
            f"{_hours(fixed, budget.of_gpu)}."
        )
    return (
        f"Nothing fits {limit}: the cheapest model on one scan of each bond type takes more than "
        "that."
    )


def run_command(proposal: Proposal, files: str) -> str:
    """What runs a proposal: hours of a GPU were timed where the profile for Slurm sends jobs.

    Args:
        proposal: Of `propose`.
        files: The option that names the configs.
    """
    return f"snakemake {'--profile slurm' if proposal.of_gpu else '--cores all'}{files}"


def write_overlay(
    run: Run, proposal: Proposal, path: Path, hours: float, more: Mapping[str, Any]
) -> None:
    """Write the keys of the proposed run as a config to be given after the run's own.

    Args:
        run: That was too large.
        proposal: Of `propose`.
        path: Where to.
        hours: The budget.
        more: What the command line said beside the files.
    """
    limit, takes = _hours(hours, proposal.of_gpu), _hours(proposal.hours, proposal.of_gpu)
    head = f"# What fits {limit}: {takes}, by `pesbench plan`.\n"
    write_text(path, head + dump_yaml(merged(more, overlay(run, proposal))))
