"""The stages of the report on a merged folder, as the rules of the workflow run them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pesbench.commands.merge.assembly import MANIFEST, Merged
from pesbench.commands.merge.contents import DYNAMICS, SCANS, read_scores
from pesbench.core.text import csv_table
from pesbench.files.atomic import write_text
from pesbench.models import record
from pesbench.models.registry import role
from pesbench.models.variants import can_be_resolved, variants
from pesbench.tasks.bonds.worst import worst_scans


def scored_only(merged: Merged) -> list[str]:
    """Names of the models that lack the evaluation of a scan that they have scores of."""
    return [name for name, one in merged.models.items() if one.of(SCANS, raw=False)]


def write_worst_tables(folder: Path, merged: Merged) -> None:
    """Write `worst.csv` of the models that lack evaluations: for frames and curves they do."""
    for name in scored_only(merged):
        scores = read_scores(folder / name / "scores" / "bonds.parquet", SCANS)
        write_text(folder / name / "worst.csv", csv_table(worst_scans(scores)))


def _paths(**options: Path) -> list[str]:
    """Options that take one path each."""
    return [w for k, path in options.items() for w in (f"--{k.replace('_', '-')}", str(path))]


def report_commands(folder: Path, merged: Merged, rank_by: str) -> list[list[str]]:
    """Arguments of `python -m pesbench` that make the report of a merged folder, in order.

    Args:
        folder: Where it lies.
        merged: What it holds.
        rank_by: Score that ranks.
    """
    entries = {name: one.entry for name, one in merged.models.items()}
    roles = {name: role(entry, merged.level_of_theory) for name, entry in entries.items()}
    ran = [name for name, one in merged.models.items() if one.of(DYNAMICS)]
    partly = scored_only(merged)
    figures = folder / "figures"
    scan_set = _paths(scan_set=folder / f"{merged.scan_set}.h5")
    common = [*_paths(results=folder, models_file=folder / record.NAME), *scan_set]
    everything = [*common, "--models", *entries, *(["--dynamics", *ran] if ran else [])]

    def evaluations(models: Iterable[str]) -> list[str]:
        files = [folder / name / "bonds" / file for name in models for file in merged.files[name]]
        return ["--evaluations", *map(str, files)]

    commands = []
    for name in entries:
        if roles[name] == "model" and name not in partly:
            own = folder / name
            made = _paths(
                scores=own / "scores" / "bonds.parquet",
                csv=own / "worst.csv",
                extxyz=own / "worst.extxyz",
                figure=own / "worst.png",
            )
            commands.append(["worst", *scan_set, *evaluations([name]), *made])
    sections: dict[str, Path] = {}
    drawn: dict[str, Path] = {}
    whole = (entry for name, entry in entries.items() if name not in partly)
    if same := [name for group in variants(whole) for name in group]:
        sections["parity"] = folder / "parity.csv"
        made = _paths(csv=sections["parity"])
        commands.append(["parity", *common, "--models", *same, *evaluations(same), *made])
    if any(roles[name] in ("model", "perturbed") for name in ran):
        sections["association"] = folder / "association.csv"
        made = _paths(csv=sections["association"], markdown=folder / "association.md")
        if can_be_resolved({name: entries[name] for name in ran if roles[name] == "model"}):
            drawn["association_figure"] = figures / "association.png"
            made += _paths(figure=drawn["association_figure"])
        if any(roles[name] == "perturbed" for name in ran):
            drawn["dose_figure"] = figures / "dose_response.png"
            drawn["dose_metrics_figure"] = figures / "dose_metrics.png"
            made += _paths(
                dose_csv=folder / "dose_response.csv",
                dose_figure=drawn["dose_figure"],
                dose_metrics_figure=drawn["dose_metrics_figure"],
            )
        commands.append(["associate", *everything, *made])
    sections["merged"] = folder / MANIFEST
    if merged.skipped:
        drawn["skipped"] = folder / "skipped.csv"
    ranked = [*everything, "--rank-by", rank_by]
    smooth = _paths(by_bond=figures / "fsd_by_bond.png", ladders=figures / "control_ladders.png")
    board = _paths(csv=folder / "leaderboard.csv", markdown=folder / "leaderboard.md")
    page = _paths(**sections, **drawn, html=folder / "leaderboard.html")
    return [
        *commands,
        ["leaderboard", *ranked, *_paths(**sections), *board],
        ["figures", *ranked, *smooth],
        ["page", *ranked, *smooth, *page],
    ]
