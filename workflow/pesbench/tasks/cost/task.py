"""What a step of molecular dynamics costs: time and memory for one molecule alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pesbench.core.errors import UserError
from pesbench.core.section import Metric
from pesbench.core.task import Phase, Shard, Size, Task
from pesbench.tasks.cost.settings import CostSettings

MOST_MOLECULES = 10


class Cost(Task):
    """Time and memory of a step of dynamics."""

    name = "cost"
    title = "Cost of a step"
    summary = "Time and memory of a step of molecular dynamics of one molecule."
    settings = CostSettings
    metrics = (
        Metric("ms_per_step", "time of a step", "ms", "lower", on_board=True,
               help="Median over the timed calls."),
        Metric("fastest_ms", "fastest step", "ms", "lower", on_board=True,
               help="Shortest of the timed calls."),
        Metric("cpu_ms", "CPU time of a step", "ms", "lower", on_board=True,
               help="CPU time of the model's process a call. Where it is shorter than the time of "
               "a step on one thread, the process waited: for others, or for a program or a disk."),
        Metric("steps_per_day", "steps a day", "", "higher", on_board=True,
               help="Number of steps in 24 hours, by the time of a step; on one thread without "
               "that in the queue for a processor."),
        Metric("peak_memory_mb", "peak memory", "MB", "lower", on_board=True,
               help="Peak resident memory of the model's process."),
        Metric("device_memory_mb", "peak memory of the GPU", "MB", "lower", on_board=True,
               help="Peak memory on the GPU."),
        Metric("load_average", "load average",
               help="Processes that the machine ran during the last minute, this one included."),
        Metric("n_steps", "timed calls"),
    )  # fmt: skip
    keys = ("system",)
    identity = ("system", "n_atoms")
    text = ("model", "system", "status", "message", "device", "cpu")
    others = ("cores", "threads")
    rows = "molecules"
    unstable = tuple(metric.name for metric in metrics)  # no two runs take the same time
    priority = 0  # at the end, beside nothing but one another
    shard_size = 1_000_000  # one job a model

    def shards(
        self,
        items: Sequence[str],
        selected: Sequence[str],
        settings: CostSettings,
        shard_size: int,
        block: Any = None,
    ) -> dict[str, Shard]:
        """The jobs; see `Task.shards`.

        Raises:
            UserError: a setting is out of its limits, or more molecules than anybody wants to time.
        """
        if len(items) > MOST_MOLECULES:
            raise UserError(
                f"`cost`: {len(items)} molecules, of which each is timed alone; name one, or at "
                f"most {MOST_MOLECULES}, in `cost.systems`"
            )
        return super().shards(items, selected, settings, shard_size)

    def phases(self, size: Size, settings: CostSettings) -> tuple[Phase, ...]:
        return (Phase(copies=1, steps=settings.warm_up + settings.steps),)

    def stored_bytes(self, size: Size, settings: CostSettings) -> float:
        return 5_000 + 8 * settings.steps


TASK = Cost()
