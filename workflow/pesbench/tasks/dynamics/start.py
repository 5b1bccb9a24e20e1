"""Initial state of a trajectory: velocities that do not depend on the model."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from ase import units
from ase.data import atomic_masses
from numpy.typing import NDArray

from pesbench.core.systems import System
from pesbench.metrics.stability import (
    internal_degrees_of_freedom,
)

Array = NDArray[np.float64]
SMALL_MOMENT = 1e-10  # of inertia in units of the largest: there is nothing that could turn


def generator(text: str) -> np.random.Generator:
    """Random numbers that follow from a text: names of what they are for."""
    seed = np.frombuffer(hashlib.sha256(text.encode()).digest(), dtype="<u4")
    return np.random.default_rng(seed)


def without_drift(velocities: Array, positions: Array, masses: Array, linear: bool) -> Array:
    """Velocities less the motion of the centre of mass and the rotation about it.

    Args:
        velocities: Any units, shape (N, 3).
        positions: Å, shape (N, 3).
        masses: Shape (N,).
        linear: Whether there is no rotation about the axis of the smallest moment of inertia.
    """
    internal = velocities - masses @ velocities / masses.sum()
    centred = positions - masses @ positions / masses.sum()
    angular = masses @ np.cross(centred, internal)
    second = np.einsum("i,ij,ik->jk", masses, centred, centred)
    moments, axes = np.linalg.eigh(np.trace(second) * np.eye(3) - second)
    turns = moments > SMALL_MOMENT * moments[2]
    turns[0] &= not linear
    rates = np.divide(axes.T @ angular, moments, out=np.zeros(3), where=turns)
    return internal - np.cross(axes @ rates, centred)


def kinetic_energy(velocities: Array, masses: Array) -> float:
    """½ Σ m v² in eV, of velocities in ASE's units and masses in amu."""
    return float(0.5 * np.sum(masses[:, None] * velocities**2))


def starting_velocities(
    system: System, positions: Array, temperature_k: float, replicate: int
) -> Array:
    """Velocities for twice a temperature, exactly, without drift and rotation.

    The random numbers depend on the names of molecule, temperature and replicate: all models start
    from the same ones, on minima of their own.

    Args:
        system: The molecule; its geometry decides how many degrees of freedom it has.
        positions: Initial positions, Å, shape (N, 3).
        temperature_k: T; the start has 2T.
        replicate: Number of the replicate, from 0.

    Returns:
        ASE units, shape (N, 3).
    """
    text = f"velocities {system.id} {temperature_k:g} {replicate}"
    draw = generator(text).standard_normal(positions.shape)
    masses = atomic_masses[system.numbers]
    freedom = internal_degrees_of_freedom(system.positions)
    linear = freedom == 3 * len(masses) - 5
    velocities = without_drift(draw / np.sqrt(masses)[:, None], positions, masses, linear)
    wanted = freedom * units.kB * temperature_k  # f/2 k_B 2T
    return velocities * math.sqrt(wanted / kinetic_energy(velocities, masses))
