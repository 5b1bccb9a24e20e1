"""Whether a repulsive wall goes on inwards of all data: a dimer with closed forms, real models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pesbench.core.section import Metric
from pesbench.core.task import Phase, Size, Task
from pesbench.tasks.lj_core.settings import CoreSettings

FRAMES_OF_BOND = 64
RELAX_STEPS = 80  # of a molecule with two overlapped atoms, in the mean
PACKED = 0.9  # size of numbers of our compression, over their own


class RepulsiveCore(Task):
    """Energies of two atoms that overlap, and where an optimiser takes them."""

    name = "lj_core"
    title = "Repulsive core"
    summary = "Whether the repulsive wall goes on beyond the data, and overlapped atoms come apart."
    settings = CoreSettings
    metrics = (
        Metric("log10_energy_mae", "core error", "decades", "lower", needs_energy=True,
               help="Mean error of log₁₀(|E|/eV + 1) below 0.6 of the covalent sum."),
        Metric("right_sign_share", "right sign in the core", "", "higher", needs_energy=True,
               help="Share of the frames there whose energy has the sign of the reference's."),
        Metric("overlapped", "ends overlapped", "", "lower", on_board=True,
               help="1 where a relaxation from overlapped atoms ends with a pair below 0.7 of its "
               "covalent sum, else 0."),
        Metric("closest_ratio", "closest pair at the end",
               help="Smallest distance of a pair at the end, over the sum of its covalent radii."),
    )  # fmt: skip
    keys = ("case",)
    identity = ("case", "kind", "system", "elements", "atom_i", "atom_j", "ratio")
    text = ("model", "case", "kind", "system", "elements", "seen", "status", "message")
    others = ("n_frames", "n_masked", "relaxed", "relax_steps")
    rows = "cases"
    unstable = ("closest_ratio", "relax_steps")  # rounding decides on long ways
    shard_size = 1_000_000  # one job a model
    asks_reference = True
    needs_molecules = True
    once = "dimers"

    def comparable(self, settings: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The settings without `heads`, which are no setting of a run."""
        found = super().comparable(settings)
        return [{name: one[name] for name in one if name != "heads"} for one in found]

    def phases(self, size: Size, settings: CoreSettings) -> tuple[Phase, ...]:
        """Every frame of every bond, of a molecule with as many as atoms, and the relaxations.

        The isolated atoms and pairs, 2889 frames once a model, are not counted.
        """
        starts = settings.bonds * len(settings.overlaps)
        walls = Phase(copies=size.atoms * FRAMES_OF_BOND, along_scan=True)
        steps = min(settings.relax_steps, RELAX_STEPS)
        return (walls, Phase(copies=starts, steps=steps)) if starts and steps else (walls,)

    def stored_bytes(self, size: Size, settings: CoreSettings) -> float:
        starts = settings.bonds * len(settings.overlaps)
        walls = size.atoms * FRAMES_OF_BOND * 9 * PACKED
        return 10_000 + walls + starts * (2_000 + 24 * size.atoms)


TASK = RepulsiveCore()
