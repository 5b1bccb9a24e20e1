"""Is the energy smooth when a whole molecule grows and shrinks?"""

from __future__ import annotations

from pesbench.tasks.breathing.settings import BreathingSettings

from pesbench.core.section import Metric
from pesbench.core.task import Phase, Size, Task


class Breathing(Task):
    """Energies of scaled molecules."""

    name = "breathing"
    title = "Breathing molecules"
    summary = "Roughness of the energy along a uniform change of size."
    settings = BreathingSettings
    metrics = (
        Metric("roughness_ev", "roughness", "eV", "lower", on_board=True, needs_energy=True,
               help="Largest second difference of the energy."),
    )  # fmt: skip
    keys = ("system",)
    identity = ("system", "n_atoms")
    text = ("model", "system", "status", "message")
    shard_size = 1

    def phases(self, size: Size, settings: BreathingSettings) -> tuple[Phase, ...]:
        return (Phase(copies=settings.frames),)

    def stored_bytes(self, size: Size, settings: BreathingSettings) -> float:
        return 2_000 + 8 * settings.frames


TASK = Breathing()
