"""Harmonic frequencies of the molecules of a scan set, against those of its reference."""

from __future__ import annotations

from pesbench.core.section import Metric
from pesbench.core.task import Phase, Size, Task
from pesbench.tasks.vibrations.settings import VibrationSettings

RELAX_STEPS = 40  # a molecule takes from another method's minimum to the limit of frequencies


class Vibrations(Task):
    """Frequencies at the model's own minima."""

    name = "vibrations"
    title = "Harmonic frequencies"
    summary = "Harmonic frequencies at the model's own minima, against those of the reference."
    settings = VibrationSettings
    metrics = (
        Metric("mae_cm1", "frequency MAE", "cm⁻¹", "lower", on_board=True,
               help="Mean absolute error of the harmonic frequencies."),
        Metric("bias_cm1", "frequency bias", "cm⁻¹", on_board=True,
               help="Mean error of the frequencies."),
        Metric("largest_cm1", "largest frequency error", "cm⁻¹", "lower",
               help="Largest absolute error of a frequency."),
        Metric("n_imaginary", "imaginary frequencies", "", "lower",
               help="Imaginary frequencies of the model."),
        Metric("n_imaginary_reference", "imaginary frequencies of the reference"),
        Metric("n_imaginary_excess", "imaginary frequencies in excess", "per molecule", "lower",
               on_board=True, help="Imaginary frequencies beyond those of the reference."),
        Metric("lowest_cm1", "lowest frequency", "cm⁻¹"),
        Metric("lowest_reference_cm1", "lowest frequency of the reference", "cm⁻¹"),
        Metric("external_cm1", "largest external frequency", "cm⁻¹",
               help="Frequency farthest from 0 among translations and rotations; ideally 0."),
        Metric("asymmetry", "asymmetry of the Hessian", "", "lower"),
        Metric("rmsd_angstrom", "RMSD of the minimum", "Å", "lower",
               help="Root mean square distance of the model's minimum from the reference's."),
    )  # fmt: skip
    keys = ("system",)
    identity = ("system", "n_atoms", "n_modes")
    text = ("model", "system", "seen", "status", "message", "reference", "reference_status")
    others = ("relaxed", "relax_steps", "relax_fmax", "reference_relaxed")
    rows = "molecules"
    unstable = ("relax_steps", "relax_fmax", "external_cm1", "asymmetry")  # noise of the forces
    shard_size = 1_000_000  # one job a model
    asks_reference = True
    needs_molecules = True

    def phases(self, size: Size, settings: VibrationSettings) -> tuple[Phase, ...]:
        steps = min(settings.relax_steps, RELAX_STEPS)
        return (Phase(copies=1, steps=steps), Phase(copies=6 * size.atoms))

    def stored_bytes(self, size: Size, settings: VibrationSettings) -> float:
        return 6_000 + 8 * (3 * size.atoms) ** 2


TASK = Vibrations()
