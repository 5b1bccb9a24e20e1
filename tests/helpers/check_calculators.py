"""ASE calculators for the checks: one that is as it should be, and one with each fault."""

from __future__ import annotations

import os

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.data import covalent_radii

DEPTH_EV, STEEPNESS = 4.0, 1.5


def pairs(numbers, positions) -> tuple[float, np.ndarray]:
    """Energy and forces of a Morse potential between all pairs, in the precision it is given."""
    kind = positions.dtype.type
    i, j = np.triu_indices(len(numbers), 1)
    vector = positions[j] - positions[i]
    length = np.sqrt(np.sum(vector**2, axis=1))
    radii = covalent_radii.astype(kind)
    decay = np.exp(-kind(STEEPNESS) * (length - radii[numbers[i]] - radii[numbers[j]]))
    energy = np.sum(kind(DEPTH_EV) * ((1 - decay) ** 2 - 1))
    slope = kind(2 * DEPTH_EV * STEEPNESS) * (1 - decay) * decay
    pull = (slope / length)[:, None] * vector
    forces = np.zeros_like(positions)
    np.add.at(forces, i, pull)
    np.add.at(forces, j, -pull)
    return energy, forces


class Smooth(Calculator):
    """Conserves energy, knows no order of atoms, no place and no direction."""

    implemented_properties = ("energy", "forces")
    calls = 0

    def calculate(self, atoms=None, properties=None, system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        energy, forces = self.answer(atoms)
        self.results = {"energy": float(energy), "forces": forces}

    def answer(self, atoms):
        return pairs(atoms.numbers, atoms.positions)


class ForcesOnly(Smooth):
    implemented_properties = ("forces",)


class EnergyOnly(Smooth):
    implemented_properties = ("energy",)


class Swirl(Smooth):
    """Forces that are no gradient: a rotation about the centre, 0.05 eV/Å a unit of distance."""

    def answer(self, atoms):
        energy, forces = super().answer(atoms)
        around = np.cross([0, 0, 0.05], atoms.positions - atoms.positions.mean(axis=0))
        return energy, forces + around


class Float32(Smooth):
    def answer(self, atoms):
        return pairs(atoms.numbers, atoms.positions.astype(np.float32))


class Mutating(Smooth):
    """Centres the atoms it is given."""

    def answer(self, atoms):
        atoms.positions -= atoms.positions.mean(axis=0)
        return super().answer(atoms)


class Ordered(Smooth):
    """A spring between the first two atoms, whichever they are."""

    def answer(self, atoms):
        energy, forces = super().answer(atoms)
        vector = atoms.positions[1] - atoms.positions[0]
        forces[0] += 0.2 * vector
        forces[1] -= 0.2 * vector
        return energy + 0.1 * vector @ vector, forces


class Placed(Smooth):
    """A field along x."""

    def answer(self, atoms):
        energy, forces = super().answer(atoms)
        return energy + 0.1 * atoms.positions[:, 0].sum(), forces - [0.1, 0, 0]


def with_pairs(energy, forces, atoms, term):
    """Energy and forces plus a term of all pairs.

    Args:
        energy: eV.
        forces: eV/Å, changed in place.
        atoms: ASE's.
        term: Energies in eV, shape (P,), and gradients by r_j − r_i in eV/Å, shape (P, 3), of
            vectors r_j − r_i, shape (P, 3), and atomic numbers of i and j, shape (P,).
    """
    i, j = np.triu_indices(len(atoms), 1)
    own, gradient = term(atoms.positions[j] - atoms.positions[i], *atoms.numbers[[i, j]])
    np.add.at(forces, i, gradient)
    np.add.at(forces, j, -gradient)
    return energy + own.sum(), forces


class NotExtensive(Smooth):
    """A term that grows with the square of the number of atoms."""

    def answer(self, atoms):
        energy, forces = super().answer(atoms)
        return energy + 0.01 * len(atoms) ** 2, forces


class FarSighted(Smooth):
    """Forces that atoms beyond 50 Å change by a hundredth; the energy is that of each molecule."""

    def answer(self, atoms):
        energy, forces = super().answer(atoms)
        size = np.linalg.norm(np.ptp(atoms.positions, axis=0))
        return energy, forces * (1.01 if size > 50 else 1.0)


class Pushed(Smooth):
    """A force of 0.5 meV/Å on every atom along x."""

    def answer(self, atoms):
        energy, forces = super().answer(atoms)
        return energy, forces + np.array([5e-4, 0, 0])


class Grained(Smooth):
    """Knows x: a fine wave along it between atoms closer than 5 Å, with its own forces."""

    def answer(self, atoms):
        def wave(vector, first, second):
            size, rate, reach = 2e-4, 20.0, 5.0
            inside = np.maximum(1 - np.sum(vector**2, axis=1) / reach**2, 0)
            angle = rate * vector[:, 0]
            gradient = (-4 * size * np.cos(angle) * inside / reach**2)[:, None] * vector
            gradient[:, 0] -= size * rate * np.sin(angle) * inside**2
            return size * np.cos(angle) * inside**2, gradient

        return with_pairs(*super().answer(atoms), atoms, wave)


class Sided(Smooth):
    """A spring between unlike atoms whose stiffness depends on which of them is on the left."""

    def answer(self, atoms):
        def spring(vector, first, second):
            stiffness = 0.05 * np.sign(vector @ [0.31, 0.53, 0.79] * (second - first))
            length = np.linalg.norm(vector, axis=1)
            inside = np.maximum(1 - length / 3.0, 0)
            along = -3 * stiffness * inside**2 / 3.0 / length
            return stiffness * inside**3, along[:, None] * vector

        return with_pairs(*super().answer(atoms), atoms, spring)


class Truncated(Smooth):
    """An attraction of 2 meV of all pairs closer than 9 Å: a jump of the energy and no force."""

    def answer(self, atoms):
        def well(vector, first, second):
            return -2e-3 * (np.linalg.norm(vector, axis=1) < 9.0), np.zeros_like(vector)

        return with_pairs(*super().answer(atoms), atoms, well)


class Kinked(Smooth):
    """A pull of 5 meV/Å of all pairs closer than 9 Å: a jump of the force, not of the energy."""

    def answer(self, atoms):
        def pull(vector, first, second):
            length = np.linalg.norm(vector, axis=1)
            inside = length < 9.0
            return (
                5e-3 * np.where(inside, length - 9.0, 0.0),
                5e-3 * (inside / length)[:, None] * vector,
            )

        return with_pairs(*super().answer(atoms), atoms, pull)


class LongTail(Smooth):
    """An attraction of all pairs that falls with the fourth power and never ends."""

    def answer(self, atoms):
        def tail(vector, first, second):
            square = np.sum(vector**2, axis=1) + 4.0
            return -5.0 / square**2, (20.0 / square**3)[:, None] * vector

        return with_pairs(*super().answer(atoms), atoms, tail)


class Lagging(Smooth):
    """From the tenth step of a path on, mixes in a hundredth of its last answer."""

    last = None
    steps = 0

    def answer(self, atoms):
        energy, forces = super().answer(atoms)
        last, self.last = self.last, (atoms.numbers.copy(), atoms.positions.copy(), energy, forces)
        if last is None or not np.array_equal(last[0], atoms.numbers):
            self.steps = 0
            return energy, forces
        moved = np.linalg.norm(atoms.positions - last[1], axis=1)
        self.steps = self.steps + 1 if moved.min() > 1e-3 and moved.max() < 0.2 else 0
        if self.steps < 10:
            return energy, forces
        return 0.99 * energy + 0.01 * last[2], 0.99 * forces + 0.01 * last[3]


class Oriented(Smooth):
    """Knows x from y, but not where it is."""

    def answer(self, atoms):
        energy, forces = super().answer(atoms)
        offset = atoms.positions[:, 0] - atoms.positions[:, 0].mean()
        forces[:, 0] -= 0.02 * offset
        return energy + 0.01 * offset @ offset, forces


class Unsteady(Smooth):
    """Energies differ from call to call by at most a meV."""

    def answer(self, atoms):
        energy, forces = super().answer(atoms)
        return energy + 5e-4 * np.sin(self.calls), forces


class NoPhosphorus(Smooth):
    def answer(self, atoms):
        if 15 in atoms.numbers:
            raise NotImplementedError("no parameters for P")
        return super().answer(atoms)


class NoSulphur(Smooth):
    def answer(self, atoms):
        if 16 in atoms.numbers:
            raise NotImplementedError("no parameters for S")
        return super().answer(atoms)


class NotFinite(NoSulphur):
    def answer(self, atoms):
        energy, forces = super().answer(atoms)
        return energy, np.full_like(forces, np.nan)


class FlatForces(NoSulphur):
    """Forces of shape (3N,)."""

    def answer(self, atoms):
        energy, forces = super().answer(atoms)
        return energy, forces.ravel()


class Charged(Smooth):
    """Takes cations and triplets; refuses anions."""

    def answer(self, atoms):
        if atoms.info["charge"] < 0:
            raise ValueError("no anions")
        energy, forces = super().answer(atoms)
        return energy, forces * (1 + 0.1 * atoms.info["charge"] + 0.01 * (atoms.info["spin"] == 3))


class FailsWhenStretched(Smooth):
    """Raises on hydroxylamine whose N-O bond is too long."""

    longest = 2.3  # Å

    def answer(self, atoms):
        heavy = [k for k, z in enumerate(atoms.numbers) if z > 1]
        if atoms.get_chemical_formula() == "H3NO" and atoms.get_distance(*heavy) > self.longest:
            raise RuntimeError("SCF not converged")
        return super().answer(atoms)


class Loose(Smooth):
    """Drives apart the first two atoms of hydrazine once they are 0.1 Å beyond their rest."""

    beyond = 1.85  # Å
    push = 200.0  # eV/Å²

    def answer(self, atoms):
        energy, forces = super().answer(atoms)
        vector = atoms.positions[1] - atoms.positions[0]
        length = np.linalg.norm(vector)
        if atoms.get_chemical_formula() != "H4N2" or length < self.beyond:
            return energy, forces
        pull = 2 * self.push * (length - self.beyond) * vector / length
        forces[0] -= pull
        forces[1] += pull
        return energy - self.push * (length - self.beyond) ** 2, forces


class FailsWhenHot(Smooth):
    """Raises on methanethiol once carbon and sulphur are further apart than at rest."""

    longest = 2.25  # Å

    def answer(self, atoms):
        if atoms.get_chemical_formula() == "CH4S" and atoms.get_distance(0, 1) > self.longest:
            self.fail()
        return super().answer(atoms)

    def fail(self) -> None:
        raise RuntimeError("SCF not converged")


class DiesWhenHot(FailsWhenHot):
    def fail(self) -> None:
        os._exit(3)


class LooseAndFails(Loose, FailsWhenHot):
    """Both faults, each on its molecule."""
