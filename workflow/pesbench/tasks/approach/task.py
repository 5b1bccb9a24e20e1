"""Whether the energy goes up when two atoms come close, in whatever surroundings."""

from __future__ import annotations

from pesbench.core.section import Metric
from pesbench.core.task import Phase, Size, Task
from pesbench.tasks.approach.settings import ApproachSettings

FRAMES_OF_BOND, FRAMES_OF_CONTACT, FRAMES_OF_INNER = 84, 64, 30
PACKED = 0.9  # size of forces of our compression, over their own


class ClosestApproach(Task):
    """Energies along the approach of two atoms to 0.1 Å."""

    name = "approach"
    title = "Closest approach"
    summary = "Whether the energy goes up when two atoms come close: holes, barriers and walls."
    settings = ApproachSettings
    metrics = (
        Metric("monotone", "energy rises on approach", "", "higher", needs_energy=True,
               help="1 where the energy falls nowhere below the minimum, or nowhere where the "
               "reference's rises, else 0."),
        Metric("force_monotone", "force repels on approach", "", "higher",
               help="The same of the integrated force along the pair."),
        Metric("hole_radius_angstrom", "hole radius", "Å", "lower", needs_energy=True,
               help="Largest distance from which the energy falls on approach; 0 if it does not."),
        Metric("force_hole_radius_angstrom", "hole radius by force", "Å", "lower",
               help="The same of the integrated force."),
        Metric("barrier_ev", "barrier before the hole", "eV", "higher", needs_energy=True,
               help="Energy above the minimum at the hole radius."),
        Metric("n_spurious_minima", "spurious minima", "", "lower", needs_energy=True,
               help="Minima on approach that the reference lacks, or of a bonded pair all."),
        Metric("spurious_depth_ev", "depth of the deepest spurious minimum", "eV", "lower",
               needs_energy=True),
        Metric("below_minimum_ev", "lowest energy below the minimum", "eV", "lower",
               needs_energy=True, help="0 where no energy lies below that of the minimum."),
        Metric("above_minimum", "stays above the minimum", "", "higher", needs_energy=True),
        Metric("energy_end_ev", "energy at 0.1 Å", "eV", needs_energy=True,
               help="Above that of the minimum, or of the first frame."),
        Metric("end_repulsive", "above the minimum at 0.1 Å", "", "higher", needs_energy=True),
        Metric("consistency_gap", "energy against integrated force", "", "lower",
               needs_energy=True, help="Relative difference of a step, in the median."),
        Metric("consistent", "energy and force agree", "", "higher", needs_energy=True,
               help="1 where that difference is at most 0.05."),
        Metric("wall_ratio_05", "wall at 0.5 Å over the reference's", needs_energy=True),
        Metric("wall_ratio_03", "wall at 0.3 Å over the reference's", needs_energy=True),
        Metric("zbl_ratio_05", "wall at 0.5 Å over ZBL", needs_energy=True),
        Metric("zbl_ratio_03", "wall at 0.3 Å over ZBL", needs_energy=True),
        Metric("inner_monotone", "Attracting Trouble: energy monotone", "", "higher",
               needs_energy=True),
        Metric("inner_force_monotone", "Attracting Trouble: pair force monotone", "", "higher"),
        Metric("inner_repulsive", "Attracting Trouble: repulsive at 0.03 Å", "", "higher"),
        Metric("arena_tortuosity", "tortuosity (MLIP Arena)", "", "lower", needs_energy=True),
        Metric("arena_energy_jump_ev", "energy jump (MLIP Arena)", "eV", "lower",
               needs_energy=True),
        Metric("arena_force_flips", "force flips (MLIP Arena)", "", "lower"),
    )  # fmt: skip
    keys = ("pair",)
    identity = ("pair", "kind", "system", "elements", "atom_i", "atom_j", "distance_angstrom")
    text = (
        "model", "pair", "kind", "system", "elements", "seen", "status", "message", "judged_by",
    )  # fmt: skip
    others = ("n_masked",)
    rows = "pairs"
    unstable = ("energy_end_ev", "consistency_gap")  # large numbers, and what rounding leaves
    shard_size = 1_000_000  # one job a model
    asks_reference = True
    needs_molecules = True
    once = "diatomics"

    def needs_reference(self, settings: ApproachSettings | None = None) -> bool:
        """Bonded pairs are judged by the model's own minimum."""
        return settings is not None and (settings.contacts > 0 or settings.diatomics)

    def phases(self, size: Size, settings: ApproachSettings) -> tuple[Phase, ...]:
        """One evaluation of every frame, of a molecule with as many bonds as atoms.

        The isolated pairs, 7000 frames of two atoms once a model, are not counted.
        """
        inner = FRAMES_OF_INNER * settings.in_molecule
        frames = size.atoms * (FRAMES_OF_BOND + inner) + settings.contacts * FRAMES_OF_CONTACT
        return (Phase(copies=frames, along_scan=True),)

    def stored_bytes(self, size: Size, settings: ApproachSettings) -> float:
        return 10_000 + 24 * PACKED * self.atom_frames(size, settings)


TASK = ClosestApproach()
