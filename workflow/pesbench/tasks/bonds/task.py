"""Bond scans: energies and forces along stretched and compressed bonds, against the reference."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from pesbench.core.errors import HostError, UserError
from pesbench.core.section import Metric
from pesbench.core.task import SCAN, Phase, Size, Task
from pesbench.tasks.bonds.settings import BondSettings

FORCES_PACKED = 0.88  # left by gzip of numbers whose last digits are noise
SCAN_BYTES = 6_000  # that HDF5 adds to a scan


class Bonds(Task):
    """Smoothness and accuracy of the potential energy surface along bonds."""

    name = "bonds"
    title = "Bond scans"
    summary = "Energies and forces along stretched and compressed bonds, against the reference."
    settings = BondSettings
    metrics = (
        Metric("fsd_full", "FSD", "Å⁻¹", "lower", ranks=True,
               help="Force Smoothness Deviation, mean over the scored scans, with its 95 % "
               "interval if there is one."),
        Metric("fsd_compress", "compressed", "Å⁻¹", "lower", ranks=True,
               help="FSD of the compressed side."),
        Metric("fsd_stretch", "stretched", "Å⁻¹", "lower", ranks=True,
               help="FSD of the stretched side."),
        Metric("fsd_windowed", "windowed", "Å⁻¹", "lower", ranks=True,
               help="FSD without the slopes within 0.25 Å of the reference minimum."),
        Metric("fsd_aligned", "self-aligned", "Å⁻¹", "lower", ranks=True,
               help="FSD of each side about its own minimum and its own force there."),
        Metric("fsd_slope_p95", "fsd_slope_p95", "Å⁻¹", "lower", ranks=True,
               help="95th percentile of the slopes, whose largest is the FSD."),
        Metric("fsd_peak_index", "index of the FSD's peak",
               help="Number of the frame before the largest slope."),
        Metric("fsd_peak_index_next", "next index of the FSD's peak",
               help="Number of the frame after the largest slope."),
        Metric("fsd_peak_coordinate", "place of the FSD's peak", "Å",
               help="Coordinate of the largest slope."),
        Metric("fsd_peak_offset", "offset of the FSD's peak", "Å",
               help="Coordinate of the largest slope minus that of the reference minimum."),
        Metric("force_mae", "force MAE", "eV/Å", "lower", ranks=True,
               help="Mean absolute error of force components."),
        Metric("force_mae_compress", "force_mae_compress", "eV/Å", "lower", ranks=True,
               help="Force MAE of the compressed side."),
        Metric("force_mae_stretch", "force_mae_stretch", "eV/Å", "lower", ranks=True,
               help="Force MAE of the stretched side."),
        Metric("force_mae_1ev", "force MAE below 1 eV", "eV/Å", "lower", ranks=True,
               help="Force MAE over the frames of which the reference energy is at most 1 eV above "
               "its minimum."),
        Metric("force_mae_2ev", "force MAE below 2 eV", "eV/Å", "lower", ranks=True,
               help="The same up to 2 eV."),
        Metric("spurious_extrema_force", "spurious extrema, integrated force", "per scan", "lower",
               help="Extrema of the integrated force that the reference does not "
               "have.", ranks=True),
        Metric("compression_monotone_force", "monotone under compression, integrated force",
               better="higher", help="Whether the integrated force rises under compression."),
        Metric("energy_mae", "energy MAE, raw", "eV", "lower", needs_energy=True, ranks=True,
               help="Mean absolute error of total energies."),
        Metric("energy_mae_compress", "energy_mae_compress", "eV", "lower", needs_energy=True,
               help="Energy MAE of the compressed side.", ranks=True),
        Metric("energy_mae_stretch", "energy_mae_stretch", "eV", "lower", needs_energy=True,
               help="Energy MAE of the stretched side.", ranks=True),
        Metric("energy_mae_aligned", "energy MAE, aligned", "eV", "lower", needs_energy=True,
               help="Mean absolute error of energies relative to the reference minimum.",
               ranks=True),
        Metric("energy_mae_1ev", "energy MAE below 1 eV, aligned", "eV", "lower",
               needs_energy=True, ranks=True,
               help="Aligned energy MAE over the frames of which the reference energy is at most "
               "1 eV above its minimum."),
        Metric("energy_mae_2ev", "energy MAE below 2 eV, aligned", "eV", "lower",
               needs_energy=True, ranks=True, help="The same up to 2 eV."),
        Metric("spurious_extrema", "spurious extrema", "per scan", "lower", needs_energy=True,
               help="Extrema of the energy that the reference does not have.", ranks=True),
        Metric("energy_force_inconsistency", "energy_force_inconsistency", "eV", "lower",
               needs_energy=True, ranks=True,
               help="Largest difference between the change of the energy and the work of the "
               "forces, minus that of the reference."),
        Metric("compression_monotone", "monotone under compression", better="higher",
               needs_energy=True, help="Whether the energy rises under compression."),
    )  # fmt: skip
    keys = ("scan",)
    identity = ("scan", "system", "bond", "n_atoms", "n_frames")
    text = ("model", "scan", "system", "bond", "seen", "status", "message")
    others = ("wall_s",)
    rows = "scans"
    # where a curve breaks follows from the forces, by comparisons that the last digit may turn
    unstable = (
        "missing_extrema", "missing_extrema_force", "fsd_windowed_coordinate", "fsd_below_ceiling",
        "fsd_below_ceiling_coordinate", "extremum", "extremum_coordinate", "extremum_depth",
        "wall_coordinate", "wall_energy", "wall_reference_energy", "bond_length",
        "bond_length_shift", "force_constant", "force_constant_shift", "bond_class",
        "fsd_aligned_reason", "step_angstrom",
    )  # fmt: skip
    # Å⁻¹ and eV/Å: the same program on another machine differs by 6e-9 and 3e-10, another program
    # at the same level of theory by its integrals
    reference_limits = MappingProxyType({"fsd_full": (1e-3, 1.0), "force_mae": (1e-6, 0.05)})
    item = SCAN
    item_s = 0.03  # a scan is read, and stands in a checkpoint
    shard_size = 100
    always = True
    asks_controls = True

    def held(self, path: Path) -> tuple[str, ...]:
        if not path.is_file():
            return ()
        from pesbench.files.evaluation import Evaluation
        from pesbench.files.integrity import unverified

        try:
            with unverified(), Evaluation(path) as evaluation:
                return evaluation.ids
        except (UserError, HostError, OSError):
            return ()

    def phases(self, size: Size, settings: BondSettings) -> tuple[Phase, ...]:
        return (Phase(copies=size.frames, along_scan=True),)

    def stored_bytes(self, size: Size, settings: BondSettings) -> float:
        numbers = size.frames * (1 + 3 * size.atoms * FORCES_PACKED)  # energy and forces
        return SCAN_BYTES + 8 * numbers


TASK = Bonds()
