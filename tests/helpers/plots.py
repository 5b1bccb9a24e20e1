"""A section with plots of every kind, beside the other sections of a folder of results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from pesbench import cli
from pesbench.core.section import CELLS, POINTS, Drawing, Plot, Section
from pesbench.core.text import csv_table
from pesbench.files.scan_set import ScanSet
from pesbench.report.sections import write_section

NAME = "plots"


def add_plots(results: Path, scan_set: Path, names: Sequence[str]) -> None:
    """Write the section `plots`, with rows of these names, and make the explorer again."""
    n = len(names)
    rows = pd.DataFrame(
        {
            "model": [*names, *names, "base"],
            "kind": ["step"] * n + ["dip"] * n + ["none"],
            "series": ["all"] * (2 * n + 1),
            "dose": [10.0**k for k in range(2 * n)] + [0.0],
            "unit": ["eV"] * n + ["<b>Å</b>"] * n + [""],
            "mae": [0.5 + k for k in range(2 * n)] + [0.25],
            "low": [0.4 + k for k in range(2 * n)] + [0.2],
            "high": [0.6 + k for k in range(2 * n)] + [0.3],
        }
    )
    cells = pd.DataFrame({"model": names, "C-C": [0.0, *[0.5] * (n - 1)], "C-H": [None] * n})
    doses = Plot(
        "doses.csv", POINTS, "model", {"dose": "dose"}, {"mae": "MAE (meV)"}, group="series",
        joined=True, panel="kind", unit="unit", scales={"mae": 1e3},
        intervals={"mae": ("low", "high")}, base=("kind", "none"),
    )  # fmt: skip
    lines = Plot(
        "doses.csv", POINTS, "model", {"mae": "MAE (eV)", "dose": "dose"}, left_out=("kind", "dip"),
        base=("kind", "none"),
    )  # fmt: skip
    holes = Plot("holes.csv", CELLS, "model", {"C-C": "C–C", "C-H": "C–H"}, title="radius (Å)")
    section = Section(
        title="Plots",
        figures=[
            Drawing(f"figure{k}", Figure(figsize=(1, 1)), f"Figure {k}.", plot)
            for k, plot in enumerate((doses, lines, holes))
        ],
        files={"doses.csv": csv_table(rows), "holes.csv": csv_table(cells)},
    )
    with ScanSet(scan_set) as opened:
        sha256 = opened.sha256
    write_section(results / "sections" / NAME, section, [], sha256)
    command = ["explore", str(results), "--scan-set", str(scan_set), "--no-server"]
    assert cli.main(command) == 0
