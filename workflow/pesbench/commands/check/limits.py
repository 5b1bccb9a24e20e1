"""Limits of a check: defaults by the precision of a model, or the caller's own."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Tolerance:
    """Default limits of a precision.

    Attributes:
        energy: Largest energy difference of two evaluations that must agree, in eV.
        forces: Largest difference of any component of a force, in eV/Å.
        gradient: Largest difference of a force from the finite difference of the energy, in eV/Å.
    """

    energy: float
    forces: float
    gradient: float


# Set by measuring (docs/check.md): float64 far above rounding and below what is left where a
# self-consistent method starts from its last frame, float32 above the rounding of a total energy
# of some thousand eV.
TOLERANCES = {
    "float64": Tolerance(energy=1e-6, forces=1e-5, gradient=1e-3),
    "float32": Tolerance(energy=5e-3, forces=5e-3, gradient=2e-2),
}


@dataclass(frozen=True)
class Limits:
    """Limits of a check; None is the default of the precision, or no limit where there is none.

    Attributes:
        energy_difference: Batched and single, permuted, translated, repeated; eV.
        force_difference: Largest difference of any component of a force; eV/Å.
        gradient_error: Force against the finite difference of the energy; eV/Å.
        failed_scans: Scans of elements the model knows that end without a score; 0 by default.
        rotation: Forces of a rotated molecule, rotated back; eV/Å, no limit by default.
        fsd: Mean FSD of the scans; Å⁻¹, no limit by default.
        fsd_windowed: Mean windowed FSD; Å⁻¹, no limit by default.
        force_mae: Mean of the scans' mean absolute force error; eV/Å, no limit by default.
        failed_runs: Trajectories of elements the model knows that do not survive; 0 by default.
        drift: Largest slope of a trajectory's total energy; meV/atom/ps, no limit by default.
        rms: Largest fluctuation of it about its line; meV/atom, no limit by default.
        temperature_spike: Largest rise of the temperature above its running median, in natural
            widths; no limit by default.
    """

    energy_difference: float | None = None
    force_difference: float | None = None
    gradient_error: float | None = None
    failed_scans: float | None = None
    rotation: float | None = None
    fsd: float | None = None
    fsd_windowed: float | None = None
    force_mae: float | None = None
    failed_runs: float | None = None
    drift: float | None = None
    rms: float | None = None
    temperature_spike: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not value >= 0:
                raise ValueError(f"limit {field.name}: {value!r} must be a number of at least 0")

    def tolerance(self, dtype: str) -> Tolerance:
        """The limits that depend on the precision, those the caller gave in their stead."""
        default = TOLERANCES["float64" if dtype == "float64" else "float32"]

        def chosen(own: float | None, other: float) -> float:
            return other if own is None else own

        return Tolerance(
            energy=chosen(self.energy_difference, default.energy),
            forces=chosen(self.force_difference, default.forces),
            gradient=chosen(self.gradient_error, default.gradient),
        )
