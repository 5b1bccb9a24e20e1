"""Why SO3LR loses energy on methylphosphine: the numbers of docs/so3lr.md, in about a minute.

    python tests/helpers/so3lr_drift.py

It runs the trajectory of `pesbench check` (1000 K, 0.75 ps) with the package's own ASE calculator
at three timesteps and in both precisions, scans the C-P bond, and walks along the largest step.
"""

from __future__ import annotations

import contextlib
import io

import numpy as np
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet
from numpy.typing import NDArray
from so3krates_torch.calculator.so3 import SO3LRCalculator

from pesbench.commands.check.dynamics import SETTINGS
from pesbench.commands.check.subset import SCANS
from pesbench.core.interface import Batch
from pesbench.core.systems import System
from pesbench.engine.relaxation import relax
from pesbench.files.scan_set import ScanSet
from pesbench.files.scan_set_systems import scan_set_systems
from pesbench.models.frame_by_frame import evaluate_frame_by_frame
from pesbench.tasks.dynamics.start import starting_velocities

Array = NDArray[np.float64]
C, P = 0, 1  # carbon and phosphorus; the hydrogens of P are 5 and 6
PH2 = (P, 5, 6)
WALK = 240  # points on the line through the largest step


class SO3LR:
    """SO3LR as its package has it, of a neutral singlet."""

    def __init__(self, dtype: str) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self.calculator = SO3LRCalculator(default_dtype=dtype)

    def atoms(self, numbers: NDArray[np.int64], positions: Array) -> Atoms:
        atoms = Atoms(numbers, positions, info={"charge": 0, "total_spin": 0.0})
        atoms.calc = self.calculator
        return atoms

    def single(self, system: Batch) -> tuple[float, Array]:
        atoms = self.atoms(system.numbers, system.positions)
        return atoms.get_potential_energy(), atoms.get_forces()


def relaxed(model: SO3LR, system: System) -> Array:
    """The geometry that the trajectory starts from, Å."""
    (start,) = relax(
        [system],
        lambda batch: evaluate_frame_by_frame(batch, model.single),
        max_steps=SETTINGS.relax_steps,
        fmax=SETTINGS.relax_fmax,
    )
    return start.positions


def trajectory(model: SO3LR, system: System, timestep_fs: float) -> tuple[Array, Array, Array]:
    """Times (ps), total energies (meV/atom) and positions (Å) of every step."""
    start = relaxed(model, system)
    atoms = model.atoms(system.numbers, start)
    (kelvin,) = SETTINGS.temperatures_k
    atoms.set_velocities(starting_velocities(system, start, kelvin, 0))
    steps = round(1000 * SETTINGS.duration_ps / timestep_fs)
    dynamics = VelocityVerlet(atoms, timestep_fs * units.fs)
    energies, positions = [], []
    for _ in range(steps + 1):
        energies.append(1000 * atoms.get_total_energy() / len(atoms))
        positions.append(atoms.positions.copy())
        dynamics.run(1)
    return np.arange(steps + 1) * timestep_fs / 1000, np.array(energies), np.array(positions)


def scan_of_bond(model: SO3LR, system: System) -> tuple[Array, Array]:
    """C-P distances (Å) and energies (eV) of a rigid scan of the relaxed molecule."""
    x = relaxed(model, system)
    bond = x[P] - x[C]
    length = np.linalg.norm(bond)
    distances = np.arange(1.2, 2.2, 0.02)
    energies = []
    for distance in distances:
        moved = x.copy()
        moved[list(PH2)] += bond * (distance / length - 1)
        energies.append(model.atoms(system.numbers, moved).get_potential_energy())
    return distances, np.array(energies)


def walk(model: SO3LR, system: System, first: Array, last: Array) -> tuple[float, float, float]:
    """Largest and median change of the force in eV/Å; P's Hirshfeld ratio at the largest."""
    line = last - first
    forces, ratios = [], []
    for share in np.linspace(0, 1, WALK + 1):
        atoms = model.atoms(system.numbers, first + share * line)
        forces.append((atoms.get_forces() * line).sum() / np.linalg.norm(line))
        ratios.append(model.calculator.results["hirshfeld_ratios"][P])
    jumps = np.abs(np.diff(forces))
    return jumps.max(), float(np.median(jumps)), ratios[int(jumps.argmax())]


def main() -> None:
    with ScanSet(SCANS) as scans:
        (system,) = (s for s in scan_set_systems(scans) if s.id == "methylphosphine")
    double = SO3LR("float64")
    distances, energies = scan_of_bond(double, system)
    inner = (energies[1:-1] < energies[:-2]) & (energies[1:-1] < energies[2:])
    for k in np.flatnonzero(inner) + 1:
        above = energies[k] - energies.min()
        print(f"minimum of the C-P scan at {distances[k]:.2f} Å, {above:.2f} eV above the lower")
    for dtype, timestep_fs in (
        ("float64", 0.5), ("float32", 0.5), ("float32", 0.25), ("float32", 0.125)
    ):  # fmt: skip
        times, energy, positions = trajectory(SO3LR(dtype), system, timestep_fs)
        late = times > 0.2
        drift = np.polyfit(times[late], energy[late], 1)[0]
        bond = np.linalg.norm(positions[:, P] - positions[:, C], axis=1)
        print(
            f"{dtype}, {timestep_fs} fs: drift {drift:.1f} meV/atom/ps, C-P below 1.6 Å in "
            f"{np.mean(bond < 1.6):.0%} of the steps"
        )
    step = int(np.abs(np.diff(energy)).argmax())
    double = SO3LR("float64")  # a calculator sets the precision of the whole process
    jump, median, ratio = walk(double, system, positions[step - 6], positions[step + 6])
    double.atoms(system.numbers, positions[0]).get_potential_energy()
    at_rest = double.calculator.results["hirshfeld_ratios"][P]
    print(
        f"at {times[step]:.4f} ps the force jumps by {jump:.2f} eV/Å (median of the line "
        f"{median:.3f}); Hirshfeld ratio of P {ratio:.3f} there, {at_rest:.2f} at rest"
    )


if __name__ == "__main__":
    main()
