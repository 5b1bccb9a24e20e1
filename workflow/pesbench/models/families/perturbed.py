"""Family `perturbed`: another model of the registry plus a defect of known kind and size.

Where controls are defects of stored reference forces, these are models: they answer on any
geometry, so that dynamics can be run on them, and smoothness varies while accuracy hardly does.
The defect is a function of the distance r of two atoms, summed over all pairs of a molecule. With
R the sum of the pair's covalent radii (ASE's) and x = r/R,

- `ripple`: u = D S(x) sin(2π(r − R)/λ);
- `step`: u = −D where x < x₀, 0 beyond, and no force: what an abrupt neighbour cutoff does;
- `dip`: u = −D S(x) exp(−(r − x₀R)²/2w²), an artificial minimum near x₀R;
- `wall`: u = −D ((x₀ − x)/(x₀ − 0.6))³ where x < x₀, 0 beyond: a repulsion softer by D at x = 0.6;
- `noise`: a force along the pair that is D S(x) z in each cell of width h, z a standard normal
  number of the cell and the two elements, and as u the integral of it: white down to h, frozen;
- `curl`: F_i = −F_j = D S(x) ẑ × (r_i − r_j) and no energy, hence no conservation of one.

u is in eV, forces are −∇u but for `step` at its jump and `curl`. S is 1 below x = 1.5, 0 beyond 2,
and 1 − t³(10 − 15t + 6t²), t = (x − 1.5)/0.5, between: twice continuously differentiable, so that
the end of the term is no defect of its own. No bond graph is needed, and pairs that are not bonded
collide with the defect, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from numpy.typing import NDArray

from pesbench.core.family import PERTURBED, EntrySettings, Family, LoadJob
from pesbench.core.interface import Batch, Model, ModelInfo, Result
from pesbench.core.settings import setting

Array = NDArray[np.float64]
Index = NDArray[np.int64]

SWITCH_FROM, SWITCH_TO = 1.5, 2.0  # in sums of covalent radii
WALL_CORE = 0.6  # where the dose of `wall` is what the repulsion lacks
PARAMETERS = {  # of each kind, beside its dose
    "ripple": ("wavelength",),
    "step": ("distance",),
    "dip": ("distance", "width"),
    "wall": ("distance",),
    "curl": (),
    "noise": ("spacing", "draw"),
}
DOSE_UNITS = {  # of each kind
    "ripple": "eV",
    "step": "eV",
    "dip": "eV",
    "wall": "eV",
    "curl": "eV/Å²",
    "noise": "eV/Å",
}


@dataclass(frozen=True)
class Pairs:
    """All pairs of atoms within the systems of a batch.

    Attributes:
        first: Index of an atom, shape (P,).
        second: Index of the other, shape (P,), larger.
        system: System that they belong to, shape (P,).
        rest: Sum of their covalent radii R, Å, shape (P,).
        elements: Atomic numbers, the smaller first, shape (P, 2).
    """

    first: Index
    second: Index
    system: Index
    rest: Array
    elements: Index

    def select(self, chosen: NDArray[np.bool_]) -> Pairs:
        """Some of them, in order."""
        return Pairs(
            self.first[chosen],
            self.second[chosen],
            self.system[chosen],
            self.rest[chosen],
            self.elements[chosen],
        )


def all_pairs(numbers: Index, system: Index) -> Pairs:
    """Every pair of atoms of the same system, once.

    Args:
        numbers: Atomic numbers, shape (A,).
        system: Index of the system of each atom, shape (A,), ascending from 0.
    """
    counts = np.bincount(system)
    upper = {n: np.triu_indices(n, 1) for n in set(counts.tolist())}
    starts = np.cumsum(counts) - counts
    placed = list(zip(counts.tolist(), starts, strict=True))
    first = np.concatenate([start + upper[n][0] for n, start in placed])
    second = np.concatenate([start + upper[n][1] for n, start in placed])
    return Pairs(
        first=first,
        second=second,
        system=system[first],
        rest=covalent_radii[numbers[first]] + covalent_radii[numbers[second]],
        elements=np.sort(np.stack([numbers[first], numbers[second]], axis=1), axis=1),
    )


def switch(x: Array) -> tuple[Array, Array]:
    """S(x) and dS/dx: 1 below `SWITCH_FROM`, 0 beyond `SWITCH_TO`, C2 between.

    Args:
        x: Distances in sums of covalent radii, any shape.
    """
    width = SWITCH_TO - SWITCH_FROM
    t = np.clip((x - SWITCH_FROM) / width, 0.0, 1.0)
    return 1.0 - t**3 * (10.0 - 15.0 * t + 6.0 * t**2), -30.0 * t**2 * (1.0 - t) ** 2 / width


def ripple(r: Array, rest: Array, dose: float, wavelength: float) -> tuple[Array, Array]:
    """u and −du/dr of a ripple.

    Args:
        r: Distances, Å.
        rest: Sums of covalent radii R, Å, the same shape.
        dose: Amplitude of the energy, eV.
        wavelength: Å.
    """
    s, slope = switch(r / rest)
    phase = 2 * np.pi * (r - rest) / wavelength
    wave, tilt = np.sin(phase), 2 * np.pi / wavelength * np.cos(phase)
    return dose * s * wave, -dose * (slope / rest * wave + s * tilt)


def step(r: Array, rest: Array, dose: float, distance: float) -> tuple[Array, Array]:
    """u and the force of a step, which is 0 on either side of the jump.

    Args:
        r: Distances, Å.
        rest: Sums of covalent radii R, Å, the same shape.
        dose: Height of the jump, eV; up as the pair is stretched.
        distance: Distance of the jump, in R.
    """
    return np.where(r < distance * rest, -dose, 0.0), np.zeros_like(r)


def dip(r: Array, rest: Array, dose: float, distance: float, width: float) -> tuple[Array, Array]:
    """u and −du/dr of a Gaussian well.

    Args:
        r: Distances, Å.
        rest: Sums of covalent radii R, Å, the same shape.
        dose: Depth, eV.
        distance: Distance of its centre, in R.
        width: Standard deviation, Å.
    """
    s, slope = switch(r / rest)
    offset = (r - distance * rest) / width
    well = -dose * np.exp(-0.5 * offset**2)
    return s * well, -(slope / rest * well - s * well * offset / width)


def wall(r: Array, rest: Array, dose: float, distance: float) -> tuple[Array, Array]:
    """u and −du/dr of what softens the repulsion.

    Args:
        r: Distances, Å.
        rest: Sums of covalent radii R, Å, the same shape.
        dose: What is taken off at 0.6 R, eV.
        distance: Distance at which it begins, in R; above 0.6.
    """
    depth = distance - WALL_CORE
    inside = np.maximum(distance - r / rest, 0.0) / depth
    return -dose * inside**3, -3.0 * dose * inside**2 / (depth * rest)


class Noise:
    """White noise along the distance of a pair, the same in every call, molecule and process.

    The ladder of doses differs in size, not in the draw. Cells are counted inwards from where the
    term ends, 2R, and there the energy is 0.

    Args:
        dose: Standard deviation of the force along the pair, eV/Å.
        spacing: Width h of a cell, Å.
        draw: Number of the realisation.
    """

    def __init__(self, dose: float, spacing: float, draw: int) -> None:
        self._dose, self._spacing, self._draw = dose, spacing, draw
        self._tables: dict[tuple[int, int], tuple[Array, Array]] = {}

    def __call__(self, r: Array, rest: Array, elements: Index) -> tuple[Array, Array]:
        """u and −du/dr.

        Args:
            r: Distances, Å, shape (P,).
            rest: Sums of covalent radii R, Å, shape (P,).
            elements: Atomic numbers, the smaller first, shape (P, 2).
        """
        energy, force = np.zeros_like(r), np.zeros_like(r)
        for low, high in np.unique(elements, axis=0).tolist():
            these = np.flatnonzero((elements[:, 0] == low) & (elements[:, 1] == high))
            cell_force, outside = self._table(low, high, float(rest[these[0]]))
            depth = SWITCH_TO * rest[these] - r[these]
            cell = np.clip((depth / self._spacing).astype(np.int64), 0, len(cell_force) - 1)
            force[these] = self._dose * cell_force[cell]
            within = depth - cell * self._spacing
            energy[these] = self._dose * (outside[cell] + cell_force[cell] * within)
        return energy, force

    def _table(self, low: int, high: int, rest: float) -> tuple[Array, Array]:
        """Forces of the cells for a dose of 1, and their integral over the cells further out."""
        if (low, high) not in self._tables:
            pair = f"{chemical_symbols[low]}-{chemical_symbols[high]}"
            text = f"pesbench perturbed noise {self._draw} {pair}"
            seed = np.frombuffer(hashlib.sha256(text.encode()).digest(), dtype=np.uint32)
            count = int(np.ceil(SWITCH_TO * rest / self._spacing))
            middle = SWITCH_TO * rest - (np.arange(count) + 0.5) * self._spacing
            s, _ = switch(middle / rest)
            force = s * np.random.default_rng(seed).standard_normal(count)
            outside = self._spacing * (np.cumsum(force) - force)
            self._tables[low, high] = force, outside
        return self._tables[low, high]


Radial = Callable[[Array, Array, Index], tuple[Array, Array]]


def _radial(kind: str, dose: float, parameters: Mapping[str, Any]) -> Radial:
    """u and −du/dr of a kind of defect that has an energy, as a function of r, R and elements."""
    if kind == "noise":
        return Noise(dose, **parameters)
    term = {"ripple": ripple, "step": step, "dip": dip, "wall": wall}[kind]
    return lambda r, rest, elements: term(r, rest, dose, **parameters)


class PairDefect:
    """A defect of a kind and size, ready to be evaluated.

    Args:
        kind: One of `PARAMETERS`.
        dose: Size of the defect, in the unit of the kind.
        parameters: The other keys of the kind.

    Raises:
        KeyError: unknown kind (the entry is refused before).
    """

    def __init__(self, kind: str, dose: float, parameters: Mapping[str, Any]) -> None:
        self._dose = dose
        self._radial = None if kind == "curl" else _radial(kind, dose, parameters)
        self._composition: tuple[bytes, bytes] | None = None
        self._pairs: Pairs | None = None

    def _pairs_of(self, batch: Batch) -> Pairs:
        # dynamics needs the same molecules at every step
        composition = batch.numbers.tobytes(), batch.system.tobytes()
        if self._pairs is None or composition != self._composition:
            self._pairs = all_pairs(batch.numbers, batch.system)
            self._composition = composition
        return self._pairs

    def __call__(self, batch: Batch) -> tuple[Array, Array]:
        """Energies and forces that the defect adds to a batch.

        Returns:
            Energies in eV, shape (S,), and forces in eV/Å, shape (A, 3). Two atoms in the same
            place have an energy but no direction, and no force on each other.

        Raises:
            ValueError: a system is periodic.
        """
        if batch.pbc.any():
            raise ValueError("a perturbed model is made for molecules, not for periodic systems")
        pairs = self._pairs_of(batch)
        apart = batch.positions[pairs.first] - batch.positions[pairs.second]
        r = np.linalg.norm(apart, axis=1)
        close = r < SWITCH_TO * pairs.rest  # false for NaN, too
        pairs, apart, r = pairs.select(close), apart[close], r[close]
        if self._radial is None:
            energy = np.zeros_like(r)
            s, _ = switch(r / pairs.rest)
            turned = np.stack([-apart[:, 1], apart[:, 0], np.zeros_like(r)], axis=1)  # ẑ × apart
            force = self._dose * s[:, None] * turned
        else:
            energy, along = self._radial(r, pairs.rest, pairs.elements)
            force = (along / np.where(r > 0, r, 1.0))[:, None] * apart
        forces = np.zeros((batch.n_atoms, 3))
        np.add.at(forces, pairs.first, force)
        np.add.at(forces, pairs.second, -force)
        return np.bincount(pairs.system, weights=energy, minlength=batch.n_systems), forces


class PerturbedModel:
    """A model plus a defect.

    The defect is added on the CPU in float64, whatever the base computes in.

    Args:
        base: The model, loaded.
        kind: One of `PARAMETERS`.
        dose: Size of the defect, in the unit of its kind.
        parameters: The other keys of the kind.
    """

    def __init__(self, base: Model, kind: str, dose: float, parameters: Mapping[str, Any]) -> None:
        self._base = base
        self._defect = PairDefect(kind, dose, parameters)
        self._details = {"perturbation": kind, "dose": dose, **parameters}

    @property
    def info(self) -> ModelInfo:
        base = self._base.info
        return ModelInfo(
            elements=base.elements,
            charges=base.charges,
            spins=base.spins,
            batched=base.batched,
            device=base.device,
            dtype=base.dtype,
            details=base.details | {"perturbed": self._details},
        )

    def evaluate(self, batch: Batch) -> Result:
        """The base's result plus the defect; systems that failed stay as the base left them."""
        result = self._base.evaluate(batch)
        energies, forces = self._defect(batch)
        return Result(
            energies=None if result.energies is None else result.energies + energies,
            forces=result.forces + forces,
            status=result.status,
            messages=result.messages,
        )


@dataclass(frozen=True, kw_only=True)
class PerturbedSettings(EntrySettings):
    """Keys of an entry of any kind. What it leaves out of what describes a model is the base's."""

    base: str = setting(
        help="Name of the entry that the defect is added to; no control and no perturbed entry."
    )
    perturbation: str = setting(
        help="Kind of defect ([how](../workflow/pesbench/tasks/bonds/README.md)).",
        choices=tuple(PARAMETERS),
    )
    dose: float = setting(
        help="Size of the defect: eV (`ripple`, `step`, `dip`, `wall`), eV/Å² (`curl`) or eV/Å "
        "(`noise`).",
        at_least=0,
        at_most=1_000_000,
    )
    batch_size: int | str | None = setting(
        None, help="Frames of a call.", at_least=1, at_most=1_000_000, word="auto"
    )
    timeout_s: float | None = setting(
        None,
        help="Longest time that a call of the model may take, in seconds.",
        above=0,
        at_most=10_000_000,
    )


@dataclass(frozen=True, kw_only=True)
class RippleSettings(PerturbedSettings):
    """Keys of `ripple`."""

    wavelength: float = setting(0.1, help="Wavelength, in Å.", above=0, at_most=100)


@dataclass(frozen=True, kw_only=True)
class StepSettings(PerturbedSettings):
    """Keys of `step`."""

    distance: float = setting(
        1.1,
        help="Distance of the jump of the energy, in sums of the covalent radii of the pair.",
        above=0,
        at_most=2,
    )


@dataclass(frozen=True, kw_only=True)
class DipSettings(PerturbedSettings):
    """Keys of `dip`."""

    distance: float = setting(
        1.2,
        help="Distance of the centre, in sums of the covalent radii of the pair.",
        above=0,
        at_most=2,
    )
    width: float = setting(0.05, help="Standard deviation, in Å.", above=0, at_most=100)


@dataclass(frozen=True, kw_only=True)
class WallSettings(PerturbedSettings):
    """Keys of `wall`."""

    distance: float = setting(
        0.9,
        help="Distance below which the wall is softer, in sums of the covalent radii of the "
        "pair; at 0.6 it is lower by the dose.",
        above=WALL_CORE,
        at_most=2,
    )


@dataclass(frozen=True, kw_only=True)
class NoiseSettings(PerturbedSettings):
    """Keys of `noise`."""

    spacing: float = setting(
        0.01, help="Width of the cells of constant force, in Å.", at_least=0.0001, at_most=100
    )
    draw: int = setting(1, help="Number of the realisation.", at_least=1, at_most=1_000_000)


class Perturbed(Family):
    """Another entry with a known defect, on any geometry."""

    name = "perturbed"
    about = (
        "Another entry with a known defect, on any geometry. It has the role `perturbed`, with a "
        "section of the leaderboard of its own: it is not ranked, and never the reference. Where "
        "`level_of_theory`, `training_dispersion`, `training_data`, `elements`, `seen`, "
        "`seen_systems`, `seen_scans`, `license`, `citation`, `batch_size` or `timeout_s` are left "
        "out, they are the base's."
    )
    settings = PerturbedSettings
    kind_key = "perturbation"
    kinds: ClassVar[Mapping[str, type]] = {
        "ripple": RippleSettings,
        "step": StepSettings,
        "dip": DipSettings,
        "wall": WallSettings,
        "curl": PerturbedSettings,
        "noise": NoiseSettings,
    }
    role = PERTURBED

    def load(self, job: LoadJob) -> Model:
        assert job.base is not None
        kind = job.settings["perturbation"]
        parameters = {key: job.settings[key] for key in PARAMETERS[kind]}
        return PerturbedModel(job.base, kind, job.settings["dose"], parameters)


FAMILY = Perturbed()
