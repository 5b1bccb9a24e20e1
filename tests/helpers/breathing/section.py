"""Section of breathing molecules."""

from __future__ import annotations

from matplotlib.figure import Figure

from pesbench.core.found import tasks
from pesbench.core.section import Drawing, Section, SectionInputs, Table
from pesbench.metrics.board import mean_table, scored_values


def section(inputs: SectionInputs) -> Section:
    """A table of means and a figure."""
    task, figure = tasks()[inputs.task], Figure()
    axes = figure.subplots()
    for name, scores in inputs.scores.items():
        axes.plot(scored_values(scores, "roughness_ev").to_numpy(), "o", label=name)
    axes.legend()
    labels = {name: name for name in inputs.scores}
    return Section(
        title=task.title,
        sentence="Whole molecules were made larger and smaller.",
        tables=[Table("breathing", mean_table(task.metrics, inputs.scores, labels))],
        figures=[Drawing("roughness", figure, "Roughness of every molecule.")],
        notes=["A molecule of which a frame failed has no roughness."],
    )
