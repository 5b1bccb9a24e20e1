"""The stages of the report on a merged folder, as the rules of the workflow run them."""

from __future__ import annotations

from pathlib import Path

from pesbench.commands.merge.assembly import Merged
from pesbench.commands.merge.contents import DYNAMICS, SCANS
from pesbench.compare.comparison import ReportRun
from pesbench.models import record
from pesbench.report import graph


def report_commands(folder: Path, merged: Merged, rank_by: str) -> list[list[str]]:
    """Arguments of `python -m pesbench` that make the report of a merged folder, in order.

    Args:
        folder: Where it lies.
        merged: What it holds.
        rank_by: Score that ranks.
    """
    partly = [name for name, one in merged.models.items() if one.of(SCANS, raw=False)]
    run = ReportRun(
        {name: one.entry for name, one in merged.models.items()},
        merged.level_of_theory,
        {
            SCANS: list(merged.models),
            DYNAMICS: [name for name, one in merged.models.items() if one.of(DYNAMICS)],
        },
        scored_only=partly,
    )
    files = {
        name: [folder / name / SCANS / file for file in merged.files[name]]
        for name in merged.models
        if name not in partly
    }
    return graph.report_commands(
        folder,
        run,
        scan_set=folder / f"{merged.scan_set}.h5",
        models_file=folder / record.NAME,
        rank_by=rank_by,
        files={SCANS: files},
    )
