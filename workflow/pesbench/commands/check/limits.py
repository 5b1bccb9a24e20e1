"""Limits of a check: each with its default, or that of the precision, and the caller's own.

docs/check.md gives the reason of every default.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any


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


def _limit(unit: str, help_: str, default: float | None = None, none: str = "none") -> Any:
    """A field of `Limits`; `none` says what holds where the value is None."""
    told = none if default is None else f"{default:g}"
    return field(default=default, metadata={"help": f"{unit}{help_} (default: {told})"})


@dataclass(frozen=True)
class Limits:
    """Limits of a check, all at least 0. None is the default of the precision, or no limit.

    The option of the command `--max-fsd-windowed` is the field `fsd_windowed`, and so on.

    Raises:
        ValueError: a limit is negative or not a number.
    """

    energy_difference: float | None = _limit(
        "eV, ", "between evaluations that must agree", none="by precision"
    )
    force_difference: float | None = _limit("eV/Å, ", "the same for forces", none="by precision")
    gradient_error: float | None = _limit(
        "eV/Å, ", "force against finite difference of the energy", none="by precision"
    )
    failed_scans: float = _limit("", "scans that end without a score", 0.0)
    fsd: float | None = _limit("Å⁻¹, ", "mean FSD")
    fsd_aligned: float | None = _limit(
        "Å⁻¹, ", "mean self-aligned FSD", none="the FSD of zero forces"
    )
    fsd_windowed: float | None = _limit("Å⁻¹, ", "mean windowed FSD")
    force_mae: float | None = _limit("eV/Å, ", "mean force error", none="that of zero forces")
    spurious_extrema: float = _limit("", "extrema that the reference lacks, mean a scan", 0.1)
    missing_extrema: float = _limit("", "extrema of the reference that are missing, a scan", 0.1)
    open_walls: float = _limit("", "scans whose energy falls under compression", 0.0)
    open_pairs: float = _limit("", "share of bonded pairs that attract on approach", 0.1)
    hole_radius: float = _limit("Å, ", "largest distance from which a bonded pair attracts", 0.6)
    hole_reach: float = _limit(
        "", "k_B times 1000 K over the lowest barrier before a bonded pair attracts", 0.05
    )
    failed_runs: float = _limit("", "trajectories that do not survive", 0.0)
    drift: float | None = _limit("meV/atom/ps, ", "drift of the energy", none="by drift-ratio")
    drift_ratio: float = _limit("", "times the reference's drift", 10.0)
    rms: float | None = _limit(
        "meV/atom, ", "fluctuation of the energy about its line", none="by rms-ratio"
    )
    rms_ratio: float = _limit("", "times the reference's fluctuation", 10.0)
    jump: float | None = _limit("meV, ", "change of the energy in a step", none="by jump-ratio")
    jump_ratio: float = _limit("", "times the reference's largest change in a step", 10.0)
    temperature_spike: float | None = _limit("", "natural widths of the temperature")
    rotation: float = _limit("eV/Å, ", "forces of a rotated molecule", 0.02)
    rotation_energy: float = _limit("eV, ", "energy of a rotated molecule", 0.02)
    net_force: float | None = _limit("eV/Å, ", "sum of the forces", none="that of the gradient")
    net_torque: float = _limit("eV, ", "sum of the torques about the centroid", 0.02)
    extensivity: float | None = _limit(
        "eV, ", "energy of two molecules 100 Å apart less that of each", none="0.0001 and rounding"
    )
    locality: float | None = _limit(
        "eV/Å, ", "change of forces by a molecule 100 Å away", none="that of the gradient"
    )
    crossing: float = _limit(
        "", "change of a step of an approach, over that of the steps around it", 5.0
    )

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not None and not value >= 0:
                raise ValueError(f"limit {one.name}: {value!r} must be a number of at least 0")

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
