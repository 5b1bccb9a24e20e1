"""Short molecular dynamics at constant energy of the molecules of a scan set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from pesbench.core.names import select
from pesbench.core.section import Metric
from pesbench.core.settings import setting
from pesbench.core.task import Phase, Shard, Size, Task
from pesbench.tasks.dynamics.settings import OF_DESCRIPTORS, DynamicsSettings

RELAX_STEPS = 20  # a molecule takes from another method's minimum; many more are rare
RELAXATIONS = 2  # of a molecule that starts at a minimum
# what is left by gzip of numbers whose last digits are noise, and what HDF5 adds
POSITIONS_PACKED, SERIES_PACKED = 0.93, 0.80
TRAJECTORY_BYTES = 60_000
STEP_S = 5e-4  # a step of all trajectories of a job, beside the model
# those of `pesbench.metrics.survival`, which needs scipy
OUTCOMES = frozenset({"survived", "failed", "censored", "not_at_risk"})
HALVED = "half-"  # how the names of jobs with half the time step begin


@dataclass(frozen=True)
class DynamicsBlock:
    """Keys that add jobs to those of every molecule."""

    halved: tuple[str, ...] = setting(
        (),
        help="Ids or globs of molecules that also run with half the time step. This shows the "
        "order at which the RMS of the energy falls with the time step.",
    )


class Dynamics(Task):
    """Stability and conservation of energy in short dynamics."""

    name = "dynamics"
    title = "Dynamics at constant energy"
    summary = "Short dynamics at constant energy: which molecules break, and how energy drifts."
    settings = DynamicsSettings
    block = DynamicsBlock
    metrics = (
        Metric("temperature_spike", "temperature spike", "", "lower",
               help="Largest rise above the running median, in natural widths of the temperature."),
        Metric("energy_drift_mev_per_atom_ps", "energy drift", "meV/atom/ps",
               needs_energy=True, help="Slope of the total energy."),
        Metric("energy_drift_error_mev_per_atom_ps", "standard error of the drift", "meV/atom/ps",
               needs_energy=True, help="Standard error of the slope of the total energy."),
        Metric("energy_rms_mev_per_atom", "energy RMS", "meV/atom", "lower", needs_energy=True,
               help="Root mean square of the total energy about its drift."),
        Metric("energy_excursion_mev_per_atom", "largest excursion of the energy", "meV/atom",
               "lower", needs_energy=True, help="Largest distance of the total energy from its "
               "start."),
        Metric("energy_jump_mev", "largest jump of the energy", "meV", "lower", needs_energy=True,
               help="Largest change of the total energy in one step."),
        Metric("mean_temperature_k", "mean temperature", "K",
               help="Temperature after the first 0.2 ps."),
        Metric("fu_stable_ps", "stable time by Fu et al.", "ps", "higher",
               help="Time until a bond length is far from its start."),
        Metric("mlipaudit_stability", "stability score of MLIPAudit", "", "higher"),
        Metric("mlipaudit_energy_conservation", "energy score of MLIPAudit", "", "higher",
               needs_energy=True),
        Metric("lambench_slope_ev_per_atom_ps", "energy slope of LAMBench", "eV/atom/ps",
               needs_energy=True),
        Metric("lambench_instability", "instability of LAMBench", "", "lower", needs_energy=True),
    )  # fmt: skip
    keys = ("trajectory", "timestep_fs")
    identity = (
        "trajectory", "system", "temperature_k", "replicate", "timestep_fs", "n_atoms",
        "planned_ps",
    )  # fmt: skip
    text = (
        "model", "trajectory", "system", "seen", "status", "message", "failure", "outcome",
    )  # fmt: skip
    others = ("time_ps", "relaxed", "relax_steps", "wall_s")
    rows = "trajectories"
    words = MappingProxyType({"outcome": OUTCOMES})
    absent = MappingProxyType({"outcome": "not_at_risk", "time_ps": 0.0})
    shard_size = 15
    priority = 2

    def shards(
        self,
        items: Sequence[str],
        selected: Sequence[str],
        settings: DynamicsSettings,
        shard_size: int,
        block: DynamicsBlock | None = None,
    ) -> dict[str, Shard]:
        patterns = block.halved if block is not None else ()
        halved = select(patterns, items, "`dynamics.halved`")
        found = super().shards(items, selected, settings.check(), shard_size)
        if not halved:
            return found
        finer = replace(settings, timestep_fs=settings.timestep_fs / 2).check()
        more = super().shards(halved, selected, finer, shard_size)
        return found | {f"{HALVED}{name}": shard for name, shard in more.items()}

    def narrowed(self, items: Sequence[str], block: DynamicsBlock) -> DynamicsBlock:
        halved = {one for one in items for glob in block.halved if fnmatchcase(one, glob)}
        return DynamicsBlock(halved=tuple(sorted(halved)))

    def comparable(self, settings: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The settings with the largest time step in place of itself and of its half."""
        coarsest = max((float(one["timestep_fs"]) for one in settings), default=0.0)
        return [
            {**one, "timestep_fs": coarsest}
            if any(math.isclose(one["timestep_fs"], fs) for fs in (coarsest, coarsest / 2))
            else one
            for one in settings
        ]

    def phases(self, size: Size, settings: DynamicsSettings) -> tuple[Phase, ...]:
        trajectories = len(settings.temperatures_k) * settings.replicates
        relaxation = min(settings.relax_steps, RELAX_STEPS)
        quench = relaxation if settings.equilibration_steps else 0
        # a step that is described takes about another evaluation
        looked = settings.n_steps * (2 if settings.alarm in OF_DESCRIPTORS else 1)
        return (
            Phase(copies=1, steps=RELAXATIONS * relaxation),
            Phase(copies=trajectories, steps=looked + 1 + quench, step_s=STEP_S),
        )

    def stored_bytes(self, size: Size, settings: DynamicsSettings) -> float:
        trajectories = len(settings.temperatures_k) * settings.replicates
        frames = settings.n_steps // settings.store_every + 1
        numbers = 3 * settings.n_steps * SERIES_PACKED + 6 * size.atoms * frames * POSITIONS_PACKED
        return trajectories * (TRAJECTORY_BYTES + 8 * numbers)


TASK = Dynamics()
