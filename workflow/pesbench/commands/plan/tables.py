"""The plan of a run as a table: CSV with every number, Markdown and text with those that matter."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pesbench.commands.plan.budget import (
    Budget,
    Proposal,
    least_scans,
    optional_tasks,
    overlay,
    timed_models,
)
from pesbench.commands.plan.jobs import other_jobs
from pesbench.commands.plan.prediction import RELAX, Prediction
from pesbench.commands.plan.probe import ALONG_SCAN, KINDS
from pesbench.core.found import tasks
from pesbench.core.text import markdown
from pesbench.files.atomic import write_text
from pesbench.files.strict_yaml import dump_yaml
from pesbench.orchestration.config import Run
from pesbench.orchestration.config_files import merged
from pesbench.orchestration.requests import REFERENCE, SCAN_SET

GOOD_SHARD_MIN = (10, 60)  # of a job on a cluster, as docs/plan.md says
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
    for name in (SCAN_SET, *tasks()):
        part = one.part(name)
        row[f"{name}_shards"] = part.shards
        row[f"{name}_hours"] = part.hours
        row[f"{name}_storage_gb"] = part.storage_gb
        row[f"{name}_atom_frames"] = part.atom_frames
    probe = one.probe
    for kind in KINDS:
        for place, size in enumerate(("one", "small", "large")):
            timed = probe.timings[kind][place] if probe and probe.timings else None
            row[f"{kind}_{size}_atoms"] = timed.atoms if timed else math.nan
            row[f"{kind}_{size}_frames"] = timed.frames if timed else math.nan
            row[f"{kind}_{size}_ms_per_frame"] = (
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


_BEFORE = ("model", "status", "device", "ms a frame (atoms)")
_AFTER = ("hours", "longest job, min", "memory, GB", "storage, GB", "shards", "jobs")


def _parts(run: Run, predictions: Sequence[Prediction]) -> list[str]:
    """The tasks of a run, and the scan set where that is priced."""
    return [*([SCAN_SET] if any(SCAN_SET in one.parts for one in predictions) else []), *run.tasks]


def _shown(run: Run, predictions: Sequence[Prediction]) -> list[list[str]]:
    names, lines = _parts(run, predictions), []
    for one in predictions:
        if one.role == "control":
            continue
        name = f"{one.model} ({one.entry.name})" if one.role == "method" else one.model
        timed = one.probe.timings[ALONG_SCAN] if one.probe and one.probe.timings else None
        sizes = "n/a"
        if timed:
            sizes = ", ".join(
                f"{figure(_MS * t.seconds / t.frames)} ({t.atoms})" for t in timed[1:]
            )
        parts = [one.part(name) for name in names]
        lines.append([
            name, one.status, one.device, sizes, *(figure(part.hours) for part in parts),
            figure(one.hours), figure(one.longest_min), figure(one.memory_gb),
            figure(one.storage_gb), "+".join(str(part.shards) for part in parts if part.shards),
            str(one.jobs),
        ])  # fmt: skip
    controls = [one for one in predictions if one.role == "control"]
    if controls:
        hours = [sum(one.part(name).hours for one in controls) for name in names]
        lines.append([
            f"{len(controls)} control{'s' * (len(controls) > 1)}", "assumed", "cpu", "-",
            *map(figure, hours), figure(sum(hours)),
            figure(max(one.longest_min for one in controls)), "-",
            figure(sum(one.storage_gb for one in controls)), "1", "1",
        ])  # fmt: skip
    return lines


def table(run: Run, predictions: Sequence[Prediction]) -> str:
    """The table for readers, as Markdown that reads well as text."""
    parts = (f"{name.replace('_', ' ')}, h" for name in _parts(run, predictions))
    header = [*_BEFORE, *parts, *_AFTER]
    lines = [header, *([markdown(c) for c in line] for line in _shown(run, predictions))]
    widths = [max(len(line[k]) for line in lines) for k in range(len(header))]
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
        known: The run without models that could not be timed.
        cores: Cores of the machine.
    """
    lanes = max(1, cores // run.threads)
    total = 0.0
    for stage in ([RELAX], [REFERENCE], list(run.models)):
        some = [one for one in known if one.model in stage]
        gpu = sum(one.hours for one in some if one.gpu)
        cpu = sum(one.hours for one in some if not one.gpu)
        longest = max((one.longest_min / 60 for one in some), default=0.0)
        total += max(gpu, cpu / lanes, longest)
    return total


def totals(run: Run, predictions: Sequence[Prediction], built: bool, cores: int) -> list[str]:
    """The total, and what it does not include."""
    known = [one for one in predictions if not math.isnan(one.hours)]
    unknown = [one for one in predictions if math.isnan(one.hours)]
    gpu = sum(one.hours for one in known if one.gpu)
    cpu = sum(one.hours for one in known if not one.gpu)
    jobs = sum(one.jobs for one in predictions) + other_jobs(run)
    least = "at least " if unknown else ""
    threads = "1 core" if run.threads == 1 else f"{run.threads} cores"
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
            "The scan set is there already: the hours of the reference for the scan set are not "
            "needed again."
        )
    noted = [one for one in known if one.reason and one.role != "control"]
    lines += [f"{one.model}: {markdown(one.reason)}." for one in noted]
    return lines + _advice(run, known)


def timed_when(predictions: Sequence[Prediction]) -> list[str]:
    """Load of the machine when the models were timed, and how to time them again."""
    timed = {one.model: one.probe for one in predictions if one.probe and one.probe.timings}
    if not timed:
        return []
    loads = [probe.load_average for probe in timed.values()]
    cores = sorted({probe.cores for probe in timed.values()})
    span = f"{min(loads):.1f}" + (f" to {max(loads):.1f}" if len(loads) > 1 else "")
    again = "`python -m pesbench plan --again` times all models again"
    lines = [
        f"When the models were timed, the load of the machine was {span} running processes on "
        f"{' or '.join(map(str, cores))} cores; {again}."
    ]
    if busy := [name for name, probe in timed.items() if probe.disturbed]:
        lines.append(
            "The machine had fewer cores than running processes when these were timed, so their "
            f"hours may be too high: {', '.join(busy)}."
        )
    return lines


def _advice(run: Run, known: Sequence[Prediction]) -> list[str]:
    """Better sizes of jobs; for models on a GPU only, whose jobs a scheduler gets one by one."""
    low, high = GOOD_SHARD_MIN
    lines = []
    for name, one in run.tasks.items():
        parts = [found.part(name) for found in known if found.gpu and found.role != "method"]
        longest = max((part.longest_min for part in parts), default=0.0)
        several = any(part.shards > 1 for part in parts)
        if longest > high or (0 < longest < low and several):
            held = max(len(shard.items) for shard in one.shards.values())
            better = max(1, math.floor(held * math.sqrt(low * high) / longest))
            better = min(better, len(one.items))
            key = "shard_size" if one.task.always else f"{name}.shard_size"
            if better != held:
                lines.append(
                    f"The longest job of {name} takes {figure(longest)} min with up to {held} "
                    f"{one.task.item}s. Jobs of {low} to {high} min suit a scheduler: set "
                    f"`{key}: {better}`."
                )
    return lines


def proposal_text(
    run: Run, predictions: Sequence[Prediction], proposal: Proposal | None, hours: float,
    instead: Sequence[str], built: bool,
) -> list[str]:  # fmt: skip
    """The run that fits a budget, in words."""
    budget = Budget.of(run, predictions, hours, built)
    if proposal is None:
        return [_why_nothing(predictions, budget)]
    limit, takes = _hours(hours, budget.of_gpu), _hours(proposal.hours, budget.of_gpu)
    if budget.of_gpu:
        takes += f" (and {figure(proposal.uncounted_hours)} h of a CPU, which are not counted)"
    if proposal.whole:
        return [f"All of it fits {limit}: it takes {takes}."]
    smaller = proposal.run
    models = [n for n, entry in smaller.models.items() if not entry.is_control]
    tasks_left = "".join(
        f", {name} of {len(smaller.tasks[name].selected) if name in smaller.tasks else 0} of "
        f"{len(run.tasks[name].selected)} {run.tasks[name].task.item}s"
        for name in optional_tasks(run)
    )
    lines = [
        f"A run that fits {limit} has {len(models)} models on at most {proposal.per_bond} scans of "
        f"each bond type ({len(smaller.scans)} of {len(run.scans)} scans){tasks_left}. "
        f"It takes {takes}.",
        "Models: " + ", ".join(models) + ".",
    ]
    if optional_tasks(run) and not optional_tasks(smaller):
        lines.append(_why_scans_alone(run, predictions, budget))
    if proposal.dropped:
        most = max(Counter(scan_id.partition("/")[0] for scan_id in run.scans).values())
        lines.append(
            f"These models are dropped, because with them fewer than {least_scans(most)} scans of "
            "each bond type would fit: " + ", ".join(proposal.dropped) + "."
        )  # fmt: skip
    if proposal.unknown:
        lines.append(
            "These models are left out, because they could not be timed: "
            + ", ".join(proposal.unknown) + "."
        )  # fmt: skip
    kept = ", ".join(instead) if instead else "none"
    lines.append(f"If all systems are kept instead, these models fit, the cheapest first: {kept}.")
    return lines


def _hours(hours: float, of_gpu: bool) -> str:
    return f"{figure(hours)} h of a GPU" if of_gpu else f"{figure(hours)} h"


def _why_scans_alone(run: Run, predictions: Sequence[Prediction], budget: Budget) -> str:
    left_out = " and ".join(optional_tasks(run))
    reference = next((one for one in predictions if one.model == REFERENCE), None)
    if reference is not None and math.isnan(budget.counted(reference)):
        return (
            f"Only the scans are proposed, without {left_out}: the reference, "
            f"{reference.entry.name}, could not be timed ({reference.reason})."
        )
    return (
        f"Only the scans are proposed: with {left_out}, not even the cheapest model fits the "
        "budget."
    )


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
    """Command that runs a proposal; hours of a GPU were timed where the Slurm profile sends jobs.

    Args:
        proposal: Proposal of `propose`.
        files: The option that names the configs.
    """
    return f"snakemake {'--profile slurm' if proposal.of_gpu else '--cores all'}{files}"


def write_overlay(
    run: Run, proposal: Proposal, path: Path, hours: float, more: Mapping[str, Any]
) -> None:
    """Write the keys of the proposed run as a config to be given after the run's own.

    Args:
        run: Run that was too large.
        proposal: Proposal of `propose`.
        path: File to write.
        hours: The budget.
        more: What the command line said beside the files.
    """
    limit, takes = _hours(hours, proposal.of_gpu), _hours(proposal.hours, proposal.of_gpu)
    head = f"# What fits {limit}: {takes}, by `pesbench plan`.\n"
    write_text(path, head + dump_yaml(merged(more, overlay(run, proposal))))
