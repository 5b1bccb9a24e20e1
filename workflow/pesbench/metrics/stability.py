"""When a short trajectory at constant energy (NVE) has failed, and of what.

A trajectory of an isolated molecule starts on a relaxed geometry with velocities of 2T and fails at
the first step at which, in this order of precedence,

1. a position, a force, the energy or the temperature is not finite;
2. the temperature exceeds max(3T, T + 10σ), T the *nominal* temperature and σ the natural width at
   constant energy, `temperature_width`;
3. a bond of the scan set's graph is longer than 2 times the sum of its covalent radii;
4. a bond is shorter than 0.5 times that sum;
5. any other pair of atoms is closer than 0.5 times the sum of its covalent radii.

A limit that is met exactly is not exceeded. The thresholds are frozen: they decide where a
trajectory ends. Units: Å, eV, K. Radii are ASE's, as in the scans. What is done with the times of
failure is in `pesbench.metrics.survival`, apart from this module so that another statistic does not
make a trajectory out of date.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.units import kB
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]

TEMPERATURE_RATIO = 3.0
TEMPERATURE_WIDTHS = 10.0
LONG_BOND = 2.0
SHORT_BOND = 0.5
CLOSE_PAIR = 0.5
STRAIGHT_ANGSTROM = 0.05


# --- temperature ---------------------------------------------------------------------------------


def is_linear(positions: Array, tolerance: float = STRAIGHT_ANGSTROM) -> bool:
    """Whether all atoms lie within `tolerance` of the straight line that fits them best.

    Relaxed CO2 or C2H2 is off by less than 0.01 Å, water by 0.4 Å.

    Args:
        positions: Å, shape (N, 3), of the relaxed geometry.
        tolerance: Å.
    """
    centred = positions - positions.mean(axis=0)
    axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    off = centred - np.outer(centred @ axis, axis)
    return bool(np.linalg.norm(off, axis=1).max() <= tolerance)


def degrees_of_freedom(n_atoms: int, linear: bool) -> int:
    """Vibrational degrees of freedom: 3N − 6, or 3N − 5 for a linear molecule.

    Also those of the velocities, once the motion of the centre of mass and the rotation are
    removed. Two atoms are linear whatever `linear` says.

    Raises:
        ValueError: fewer than two atoms, which do not vibrate.
    """
    if n_atoms < 2:
        raise ValueError("a molecule of fewer than two atoms has no vibration")
    return 3 * n_atoms - (5 if linear or n_atoms == 2 else 6)


def internal_degrees_of_freedom(positions: Array) -> int:
    """3N − 6, of a linear molecule 3N − 5, of an atom 0.

    Asked of the scan set's geometry, so that all models get the same answer.

    Args:
        positions: Å, shape (N, 3).
    """
    if len(positions) < 2:
        return 0
    return degrees_of_freedom(len(positions), is_linear(positions))


def kinetic_temperature(kinetic_energy: ArrayLike, dof: ArrayLike) -> Array:
    """T = 2 K / (f k_B) in K.

    Args:
        kinetic_energy: K in eV, any shape.
        dof: f of `degrees_of_freedom`, a shape that broadcasts.
    """
    return 2 * np.asarray(kinetic_energy, np.float64) / (np.asarray(dof, np.float64) * kB)


def temperature_width(temperature_k: float, dof: int) -> float:
    """Natural width σ = T/√f of the instantaneous temperature at constant energy, in K.

    A harmonic molecule with the energy f k_B T shares it between its kinetic and its potential
    part, K/E being distributed as Beta(f/2, f/2), so that σ = T/√(f + 1) exactly. The canonical
    width √(2/f) T is larger and holds for a thermostat.

    Args:
        temperature_k: Nominal T in K.
        dof: f of `degrees_of_freedom`.

    Raises:
        ValueError: T or f is not positive.
    """
    if not temperature_k > 0 or not dof > 0:
        raise ValueError("temperature and degrees of freedom must be positive")
    return float(temperature_k / np.sqrt(dof))


def temperature_limit(temperature_k: float, dof: int) -> float:
    """max(3T, T + 10σ) in K; arguments and errors as `temperature_width`."""
    width = temperature_width(temperature_k, dof)
    return max(TEMPERATURE_RATIO * temperature_k, temperature_k + TEMPERATURE_WIDTHS * width)


# --- failures ------------------------------------------------------------------------------------


class FailureCause(StrEnum):
    """Why a trajectory failed, by precedence."""

    NONE = "none"
    NONFINITE = "nonfinite"
    HOT = "hot"
    LONG_BOND = "long_bond"
    SHORT_BOND = "short_bond"
    CLOSE_PAIR = "close_pair"

    @property
    def code(self) -> int:
        """The number that stands for it in arrays and in HDF5; 0 for `NONE`."""
        return _CAUSES.index(self)

    @classmethod
    def from_code(cls, code: int) -> FailureCause:
        return _CAUSES[code]


_CAUSES = tuple(FailureCause)


@dataclass(frozen=True)
class Failure:
    """The end of a trajectory.

    Attributes:
        cause: Never `NONE`.
        step: The first failed step.
        detail: What was found and its limit, in one line.
    """

    cause: FailureCause
    step: int
    detail: str


@dataclass(frozen=True, eq=False)
class FailureCheck:
    """The criteria for S molecules whose A atoms stand one after another; made by `of`.

    All pairs inside each molecule are compared at each step: 64 molecules of 28 atoms take about
    a millisecond.

    Attributes:
        system: Molecule of each atom, shape (A,).
        numbers: Atomic numbers, shape (A,).
        limit_temperature: `temperature_limit` of each molecule in K, shape (S,).
        bonds: Pairs of atom indices into the A, shape (B, 2).
        bond_sum: Sums of covalent radii in Å, shape (B,).
        pairs: All other pairs within a molecule, shape (P, 2).
        pair_sum: Å, shape (P,).
    """

    system: Index
    numbers: Index
    limit_temperature: Array
    bonds: Index
    bond_sum: Array
    pairs: Index
    pair_sum: Array

    @classmethod
    def of(
        cls,
        numbers: Sequence[Index],
        bonds: Sequence[Index],
        temperature_k: Sequence[float],
        linear: Sequence[bool],
    ) -> FailureCheck:
        """The check of S molecules.

        Args:
            numbers: Atomic numbers of each molecule, (N_s,).
            bonds: Bond graph of each in its own atom indices, (B_s, 2).
            temperature_k: Nominal T of each in K.
            linear: Whether each is linear.

        Raises:
            ValueError: no molecule, one that cannot vibrate, or a temperature that is not positive.
        """
        if not len(numbers):
            raise ValueError("no molecule to check")
        sizes = [len(z) for z in numbers]
        first = np.cumsum([0, *sizes[:-1]])
        bonded, others = [], []
        for z, bond, start in zip(numbers, bonds, first, strict=True):
            pair = np.sort(np.asarray(bond, dtype=np.int64).reshape(-1, 2), axis=1)
            free = np.triu(np.ones((len(z), len(z)), dtype=bool), k=1)
            free[pair[:, 0], pair[:, 1]] = False
            bonded.append(pair + start)
            others.append(np.argwhere(free) + start)
        limits = [
            temperature_limit(t, degrees_of_freedom(n, straight))
            for t, n, straight in zip(temperature_k, sizes, linear, strict=True)
        ]
        every = np.concatenate(numbers).astype(np.int64)
        radius = covalent_radii[every]
        bond, pair = np.concatenate(bonded), np.concatenate(others)
        return cls(
            system=np.repeat(np.arange(len(sizes)), sizes),
            numbers=every,
            limit_temperature=np.array(limits),
            bonds=bond,
            bond_sum=radius[bond].sum(axis=1),
            pairs=pair,
            pair_sum=radius[pair].sum(axis=1),
        )

    def check(
        self,
        positions: Array,
        temperature: Array,
        energy: Array | None = None,
        forces: Array | None = None,
    ) -> Index:
        """Code of the cause for each molecule at one step, 0 for none.

        Args:
            positions: Å, shape (A, 3).
            temperature: Instantaneous, `kinetic_temperature`, in K, shape (S,).
            energy: eV, shape (S,); None for a model that defines forces only.
            forces: eV/Å, shape (A, 3), or None.

        Returns:
            `FailureCause.code`, shape (S,).
        """
        code = np.zeros(len(self.limit_temperature), dtype=np.int64)
        atom_of = self.system
        ratio = _distance(positions, self.bonds) / self.bond_sum
        close = _distance(positions, self.pairs) < CLOSE_PAIR * self.pair_sum
        # the last to be written wins, so the lowest precedence comes first
        code[atom_of[self.pairs[close, 0]]] = FailureCause.CLOSE_PAIR.code
        code[atom_of[self.bonds[ratio < SHORT_BOND, 0]]] = FailureCause.SHORT_BOND.code
        code[atom_of[self.bonds[ratio > LONG_BOND, 0]]] = FailureCause.LONG_BOND.code
        code[temperature > self.limit_temperature] = FailureCause.HOT.code
        code[~self._finite(positions, temperature, energy, forces)] = FailureCause.NONFINITE.code
        return code

    def failure(
        self,
        molecule: int,
        step: int,
        positions: Array,
        temperature: Array,
        energy: Array | None = None,
        forces: Array | None = None,
    ) -> Failure | None:
        """Failure that `check` found in one molecule, in words; None if there is none.

        Args:
            molecule: Index of the molecule.
            step: Number of the step, for the record.
            positions: Positions of all molecules, like the other arrays as for `check`.
            temperature: Temperatures, as for `check`.
            energy: Energies, as for `check`.
            forces: Forces, as for `check`.
        """
        code = self.check(positions, temperature, energy, forces)[molecule]
        cause = FailureCause.from_code(int(code))
        if cause is FailureCause.NONE:
            return None
        if cause is FailureCause.NONFINITE:
            named = {"temperature": temperature[molecule]}
            if energy is not None:
                named["energy"] = energy[molecule]
            own = self.system == molecule
            named["position"] = positions[own]
            if forces is not None:
                named["force"] = forces[own]
            what = [name for name, value in named.items() if not np.isfinite(value).all()]
            return Failure(cause, step, f"{', '.join(what)} not finite")
        if cause is FailureCause.HOT:
            limit = self.limit_temperature[molecule]
            return Failure(cause, step, f"{temperature[molecule]:.0f} K, limit {limit:.0f} K")
        bonded = cause is not FailureCause.CLOSE_PAIR
        pairs, sums = (self.bonds, self.bond_sum) if bonded else (self.pairs, self.pair_sum)
        own = np.flatnonzero(self.system[pairs[:, 0]] == molecule)
        length = _distance(positions, pairs[own])
        ratio = length / sums[own]
        long = cause is FailureCause.LONG_BOND
        worst = int(np.argmax(ratio) if long else np.argmin(ratio))
        limit = (LONG_BOND if long else SHORT_BOND if bonded else CLOSE_PAIR) * sums[own[worst]]
        start = int(np.argmax(self.system == molecule))
        names = "-".join(
            f"{chemical_symbols[self.numbers[atom]]}{atom - start}" for atom in pairs[own[worst]]
        )
        return Failure(cause, step, f"{names} at {length[worst]:.3g} Å, limit {limit:.3g} Å")

    def _finite(
        self, positions: Array, temperature: Array, energy: Array | None, forces: Array | None
    ) -> NDArray[np.bool_]:
        atom = np.isfinite(positions).all(axis=1)
        if forces is not None:
            atom &= np.isfinite(forces).all(axis=1)
        finite = np.isfinite(temperature)
        finite[self.system[~atom]] = False
        return finite if energy is None else finite & np.isfinite(energy)


def _distance(positions: Array, pairs: Index) -> Array:
    """Å, shape (P,); NaN or infinite where positions are not finite or overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        between = positions[pairs[:, 0]] - positions[pairs[:, 1]]
        return np.sqrt(np.einsum("ij,ij->i", between, between))
