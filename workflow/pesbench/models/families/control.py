"""Controls: the reference with a defect of known kind and size, to show what a metric responds to.

Each control is a pure function of the reference arrays of one scan. The defects and their doses
are those of the calibration of BSCT-SPICE; the dip is an energy well along the coordinate.
Symbols: a coordinate, a_q = argmin of the reference energy (frames with a reference only).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pesbench.core.family import CONTROL, EntrySettings, Family, LoadJob
from pesbench.core.interface import Batch, Model, ModelInfo, Result, Status
from pesbench.core.scans import Scan
from pesbench.core.settings import setting
from pesbench.files.scan_set import ScanSet

Array = NDArray[np.float64]

DEFECT_POSITION = 1.5  # steps, spikes and dips sit at 1.5 a_q
DIP_WIDTH_ANGSTROM = 0.05  # two steps of the grid: as narrow as a scan can see
_MASKED = "the control is not defined on this frame"


@dataclass(frozen=True)
class Prediction:
    """A control's answer on one scan.

    Attributes:
        forces: eV/Å, shape (F, N, 3).
        energy: eV, shape (F,), or None from a defect that defines forces only.
        defined: Frames on which the control is defined, shape (F,), bool.
    """

    forces: Array
    energy: Array | None
    defined: NDArray[np.bool_]


def _everywhere(forces: Array, energy: Array | None = None) -> Prediction:
    return Prediction(forces, energy, np.ones(len(forces), dtype=bool))


def _equilibrium(scan: Scan) -> float:
    return float(scan.coordinate[np.nanargmin(scan.energy)])


def reference(scan: Scan) -> Prediction:
    """The reference's own forces: every error and the FSD are 0."""
    return _everywhere(scan.forces.copy())


def zero(scan: Scan) -> Prediction:
    """Zero forces: what knowing nothing scores."""
    return _everywhere(np.zeros_like(scan.forces))


def scaled(scan: Scan, factor: float) -> Prediction:
    """Forces times a factor."""
    return _everywhere(factor * scan.forces)


def shift(scan: Scan, shift_angstrom: float) -> Prediction:
    """F(a − shift), linear interpolation on the grid: an error of the bond length.

    Frames whose source lies off the grid are not defined. The grid is that of the frames with a
    reference.
    """
    known = np.isfinite(scan.energy)
    grid, grid_forces = scan.coordinate[known], scan.forces[known]
    source = scan.coordinate - shift_angstrom
    inside = (source >= grid[0]) & (source <= grid[-1])
    right = np.clip(np.searchsorted(grid, source), 1, len(grid) - 1)
    low, high = grid[right - 1], grid[right]
    weight = ((source - low) / (high - low))[:, None, None]
    forces = (1 - weight) * grid_forces[right - 1] + weight * grid_forces[right]
    forces[~inside] = np.nan
    return Prediction(forces, None, inside)


def step(scan: Scan, factor: float) -> Prediction:
    """Forces jump by a factor beyond 1.5 a_q."""
    beyond = scan.coordinate > DEFECT_POSITION * _equilibrium(scan)
    return _everywhere(np.where(beyond[:, None, None], factor, 1.0) * scan.forces)


def cap(scan: Scan, limit_ev_per_angstrom: float) -> Prediction:
    """Each atom's force vector scaled down to at most a limit: a soft wall."""
    norm = np.linalg.norm(scan.forces, axis=2, keepdims=True)
    factor = np.minimum(1.0, limit_ev_per_angstrom / np.maximum(norm, limit_ev_per_angstrom))
    return _everywhere(scan.forces * factor)


def spike(scan: Scan, height_ev_per_angstrom: float) -> Prediction:
    """One component of one atom in the one frame nearest 1.5 a_q is off."""
    forces = scan.forces.copy()
    frame = np.argmin(np.abs(scan.coordinate - DEFECT_POSITION * _equilibrium(scan)))
    forces[frame, 0, 0] += height_ev_per_angstrom
    return _everywhere(forces)


def noise(scan: Scan, sigma_ev_per_angstrom: float) -> Prediction:
    """Normal noise on every component, independent in each frame.

    Seeded by the scan's name and not by the dose: the ladder differs in size, not in the draw.
    """
    seed = np.frombuffer(hashlib.sha256(f"noise {scan.id}".encode()).digest(), dtype=np.uint32)
    draw = np.random.default_rng(seed).standard_normal(scan.forces.shape)
    return _everywhere(scan.forces + sigma_ev_per_angstrom * draw)


def dip(scan: Scan, depth_ev: float) -> Prediction:
    """A Gaussian well of the bond's two atoms, centred at 1.5 a_q: an artificial minimum.

    E = E_ref − D exp(−(a − 1.5 a_q)² / 2w²), w = 0.05 Å, and its force −dE/da along the bond,
    so that energy and forces agree.
    """
    offset = scan.coordinate - DEFECT_POSITION * _equilibrium(scan)
    well = -depth_ev * np.exp(-(offset**2) / (2 * DIP_WIDTH_ANGSTROM**2))
    pull = well * offset / DIP_WIDTH_ANGSTROM**2  # −dE/da
    i, j = scan.atoms
    bond = scan.positions[:, j] - scan.positions[:, i]
    along = pull[:, None] * bond / np.linalg.norm(bond, axis=1, keepdims=True)
    forces = scan.forces.copy()
    forces[:, j] += along
    forces[:, i] -= along
    return _everywhere(forces, scan.energy + well)


WITHOUT_DOSE = {"reference": reference, "zero": zero}
WITH_DOSE = {
    "scaled": scaled,
    "shift": shift,
    "step": step,
    "cap": cap,
    "spike": spike,
    "noise": noise,
    "dip": dip,
}


def predict(kind: str, dose: float | None, scan: Scan) -> Prediction:
    """The control of a kind and dose on one scan.

    Raises:
        KeyError: unknown kind, or a dose missing or not wanted (the entry is refused before).
    """
    return WITHOUT_DOSE[kind](scan) if dose is None else WITH_DOSE[kind](scan, dose)


class ControlModel:
    """A control behind the model contract: looks its frames up by their labels."""

    def __init__(self, kind: str, dose: float | None, scan_set: Path) -> None:
        self._kind, self._dose = kind, dose
        self._set = ScanSet(scan_set)
        self._cached: tuple[str, Prediction] | None = None

    @property
    def info(self) -> ModelInfo:
        details: dict[str, Any] = {"scan_set_sha256": self._set.sha256}
        return ModelInfo(
            elements=None, charges=True, spins=True, batched=False, device="cpu", dtype="float64",
            details=details,
        )  # fmt: skip

    def _prediction(self, scan_id: str) -> Prediction:
        if self._cached is None or self._cached[0] != scan_id:
            self._cached = (scan_id, predict(self._kind, self._dose, self._set.scan(scan_id)))
        return self._cached[1]

    def evaluate(self, batch: Batch) -> Result:
        if not batch.labels:
            raise ValueError("a control is defined on the frames of a scan set only")
        forces, energies, defined = [], [], []
        for scan_id, frame in batch.labels:
            prediction = self._prediction(scan_id)
            forces.append(prediction.forces[frame])
            energies.append(np.nan if prediction.energy is None else prediction.energy[frame])
            defined.append(bool(prediction.defined[frame]))
        return Result(
            energies=None if prediction.energy is None else np.array(energies),
            forces=np.concatenate(forces),
            status=tuple(Status.OK if d else Status.MASKED for d in defined),
            messages=tuple("" if d else _MASKED for d in defined),
        )


@dataclass(frozen=True, kw_only=True)
class ControlSettings(EntrySettings):
    """Keys of an entry of any kind."""

    control: str = setting(
        help="Kind of defect ([how](../workflow/pesbench/tasks/bonds/README.md)).",
        choices=("reference", "zero", "scaled", "shift", "step", "cap", "spike", "noise", "dip"),
    )


@dataclass(frozen=True, kw_only=True)
class DosedSettings(ControlSettings):
    """Keys of an entry of a kind that has a size."""

    dose: float = setting(
        help="Size of the defect: a factor (`scaled`, `step`), Å "
        "(`shift`), eV/Å (`cap`, `spike`, `noise`) or eV (`dip`).",
        at_least=-1_000_000,
        at_most=1_000_000,
    )


class Control(Family):
    """The reference with a known defect, on the frames of a scan set."""

    name = "control"
    about = (
        "The reference with a known defect, on the frames of a scan set only; all controls of a "
        "run are one job."
    )
    settings = ControlSettings
    kind_key = "control"
    kinds: ClassVar[Mapping[str, type]] = {
        **dict.fromkeys(WITHOUT_DOSE, ControlSettings),
        **dict.fromkeys(WITH_DOSE, DosedSettings),
    }
    gpu = False
    seconds_on_cpu = 1e-6
    peak_memory_mb = 2000
    runs_code = False
    role = CONTROL

    def load(self, job: LoadJob) -> Model:
        assert job.scan_set is not None
        return ControlModel(job.settings["control"], job.settings.get("dose"), job.scan_set)


FAMILY = Control()
