"""Trained states of family `wavefunction`: full CI at a few geometries, in one file with a card."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ase.units import Bohr, Hartree
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from pesbench.core.errors import UserError
from pesbench.core.host_memory import available_bytes
from pesbench.core.progress import track
from pesbench.files import provenance
from pesbench.files.atomic import write_json, write_text
from pesbench.models.addresses import file_sha256
from pesbench.models.families.wavefunction.archive import States, write_states
from pesbench.models.families.wavefunction.exchanges import MOST_APART, exchanges, tree_to_match
from pesbench.models.families.wavefunction.family import FAMILY
from pesbench.models.families.wavefunction.frame import in_frame
from pesbench.models.families.wavefunction.full_ci import (
    NotConvergedError,
    densities,
    over_orbitals,
    solved,
    times_hamiltonian,
)
from pesbench.models.families.wavefunction.interpolated import Interpolation
from pesbench.models.families.wavefunction.orbitals import (
    DependentOrbitalsError,
    determinants,
    exchanged,
    orbitals_at,
    orbitals_of,
    turns_with_the_molecule,
)
from pesbench.models.families.wavefunction.supported import formula_of
from pesbench.models.frame_by_frame import UnsupportedError
from pesbench.training.sampling import seed_number
from pesbench.training.wavefunction_plan import (
    EQUIDISTANT,
    LISTED,
    MoleculePlan,
    candidates,
    equidistant,
    read_training,
)

WORK = 80  # vectors that a calculation needs at a time, those of Davidson's method most of them
SAME_STATE = 1 - 1e-6  # overlap of a state that is not degenerate with its image at one place
HELD_OUT = 12  # candidates that the card's errors are of


@contextmanager
def full_ci_of(place: str) -> Iterator[None]:
    """One line for a molecule that full CI does not take, or a geometry without a state.

    Args:
        place: The molecule, for the message.

    Raises:
        UserError: it does not.
    """
    try:
        yield
    except (UnsupportedError, NotConvergedError, DependentOrbitalsError) as error:
        raise UserError(f"{place}: {error}; take it out, or give other lengths") from error


def check_full_ci(plan: MoleculePlan, first: NDArray[np.float64], place: str) -> None:
    """Refuse a molecule that full CI does not take, before any state is calculated.

    Args:
        plan: The molecule.
        first: A geometry in Å, shape (N, 3), of those that are calculated that with the closest
            atoms.
        place: The molecule, for the message.

    Raises:
        UserError: the molecule is too large or has no such basis set, atoms are too close, or there
            is too little memory.
    """
    with full_ci_of(place):
        trainer = Trainer(plan)
        orbitals_at(trainer.numbers, trainer.basis, first / Bohr)


class Trainer:
    """The states of one molecule while they are added.

    Args:
        plan: The molecule.

    Attributes:
        positions: Training geometries in Å with their images, in one orientation, (N, 3) each.
        energies: Full CI, eV.
        forces: Full CI, eV/Å, each of shape (N, 3).
        vectors: Orthonormal vectors over Löwdin's orbitals.
        ranks: Their number after each calculation.
        new: Squared norm of what each calculation, without its images, has beyond earlier ones.
        orbitals: Their number.

    Raises:
        UnsupportedError: full CI does not take the molecule, or there is too little memory.
    """

    def __init__(self, plan: MoleculePlan) -> None:
        self.numbers = tuple(plan.system.numbers.tolist())
        self.basis = plan.keys.basis
        self._least_new = plan.keys.least_new
        self._images = exchanges(self.numbers, plan.system.bonds.tolist())
        self._turns = turns_with_the_molecule(self.numbers, self.basis)
        self._electrons = (sum(self.numbers) // 2,) * 2
        self.positions: list[NDArray[np.float64]] = []
        self.energies: list[float] = []
        self.forces: list[NDArray[np.float64]] = []
        self.vectors: list[NDArray[np.float64]] = []
        self.ranks: list[int] = []
        self.new: list[float] = []
        self._raw: list[NDArray[np.float64]] = []
        self._one: list[NDArray[np.float64]] = []
        self._two: list[NDArray[np.float64]] = []
        self.orbitals = orbitals_of(self.numbers, self.basis)
        self._check_memory(len(plan.listed) or plan.keys.calculations)

    def _check_memory(self, calculations: int) -> None:
        """Refuse what the memory that is free now cannot hold.

        Raises:
            UnsupportedError: it cannot.
        """
        states = calculations * len(self._images)
        vector = determinants(self.orbitals, sum(self.numbers))
        pairs = self.orbitals * (self.orbitals + 1) // 2
        # vectors as calculated and orthonormalised; density matrices in a list and in an array
        numbers = (2 * states + WORK) * vector + states * (states + 1) * pairs * (pairs + 1) // 2
        free = available_bytes()
        if 8 * numbers > free:
            raise UnsupportedError(
                f"{formula_of(self.numbers)} in {self.basis}: {calculations} calculations with "
                f"their images may take {8e-9 * numbers:.1f} GB, of {1e-9 * free:.1f} GB that are "
                "free; give fewer `calculations`"
            )

    def oriented(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """A geometry in Å in the orientation of the first training geometry."""
        if not self._turns:
            return positions
        if not self.positions:
            return positions - positions.mean(axis=0)
        return in_frame(positions, self.positions[0]).positions

    def add(self, positions: NDArray[np.float64]) -> None:
        """Calculate full CI at a geometry in Å, and take its state and those of its images in.

        The state of an image is that of the geometry on exchanged atoms, and needs no calculation.

        Raises:
            UnsupportedError: see `tree_to_match`; or the molecule is too large.
            NotConvergedError: there is no state.
        """
        place = self.oriented(positions)
        own = [self._image(place, order) for order in self._images]
        if not self.positions:
            tree_to_match(self.numbers, self._turns, np.array([one for one, _ in own]), len(own))
        found = solved(self.numbers, self.basis, place / Bohr)
        forces = -found.gradient * (Hartree / Bohr)
        turns = [
            exchanged(self.numbers, self.basis, order, rotation)
            for order, (_, rotation) in zip(self._images, own, strict=True)
        ]
        vectors = [over_orbitals(found.vector, turn, self._electrons) for turn in turns]
        vectors = self._symmetric(vectors, turns, [image for image, _ in own])
        for order, (image, rotation) in zip(self._images, own, strict=True):
            self.positions.append(image)
            self.energies.append(found.energy * Hartree)
            self.forces.append(forces[list(order)] @ rotation.T)
        norms = [self._take(vector) for vector in vectors]
        self.new.append(norms[0])
        self.ranks.append(len(self.vectors))

    def _image(
        self, place: NDArray[np.float64], order: Sequence[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A geometry with exchanged atoms in the common orientation, and what turns it there."""
        other = place[list(order)]
        if not self._turns:
            return other, np.eye(3)
        frame = in_frame(other, self.positions[0] if self.positions else place)
        return frame.positions, frame.rotation

    def _symmetric(
        self,
        vectors: Sequence[NDArray[np.float64]],
        turns: Sequence[NDArray[np.float64]],
        places: Sequence[NDArray[np.float64]],
    ) -> list[NDArray[np.float64]]:
        """Vectors of a geometry and of its images, of which those at one place are one vector.

        Full CI leaves a geometry that is its own image as symmetric as it converges; the mean is
        symmetric to rounding. A state that is degenerate is left as full CI found it.

        Args:
            vectors: Of the geometry and its images, shape (D, D) each.
            turns: What makes the orbitals of each from those of the geometry, shape (n, n) each.
            places: Å, shape (N, 3) each.
        """
        first = pdist(places[0])
        mean = np.zeros_like(vectors[0])
        for place, vector in zip(places, vectors, strict=True):
            overlap = np.vdot(vectors[0], vector)
            if np.abs(pdist(place) - first).max() <= MOST_APART and abs(overlap) >= SAME_STATE:
                mean += np.sign(overlap) * vector
        mean /= np.linalg.norm(mean)
        return [over_orbitals(mean, turn, self._electrons) for turn in turns]

    def _take(self, vector: NDArray[np.float64]) -> float:
        """Take a normalised vector in; returns the squared norm of what is new in it."""
        self._raw.append(vector)
        rest = vector.copy()
        for _ in range(2):  # twice is enough for orthogonality to rounding
            for other in self.vectors:
                rest -= np.vdot(other, rest) * other
        norm = float(np.vdot(rest, rest))
        if norm >= self._least_new:
            self.vectors.append(rest / np.sqrt(norm))
            for other in self.vectors:
                one, two = densities(self.vectors[-1], other, self.orbitals, self._electrons)
                self._one.append(one)
                self._two.append(two)
        return norm

    @property
    def images(self) -> int:
        """Number of geometries that a calculation stands for."""
        return len(self._images)

    def overlap_eigenvalues(self) -> NDArray[np.float64]:
        """Eigenvalues of the overlap of the states as they were calculated, ascending."""
        flat = np.array([vector.ravel() for vector in self._raw])
        return np.asarray(np.linalg.eigvalsh(flat @ flat.T))

    def states(self) -> States:
        """What a weight file holds of the molecule."""
        return States(
            numbers=self.numbers,
            basis=self.basis,
            orbitals=self.orbitals,
            ranks=tuple(self.ranks),
            images=len(self._images),
            positions=np.array(self.positions),
            energies=np.array(self.energies),
            forces=np.array(self.forces),
            one=np.array(self._one),
            two=np.array(self._two),
        )

    def variances(self, geometries: Sequence[NDArray[np.float64]]) -> list[float]:
        """⟨H²⟩ − ⟨H⟩² of the interpolated state at geometries in Å, in Hartree².

        Divided by the gap to the next singlet it bounds how far the energy lies above full CI.
        """
        interpolation, found = Interpolation(self.states()), []
        for positions in geometries:
            orbitals, energy, mixture = interpolation.mixture(positions / Bohr)
            vector = np.tensordot(mixture, self.vectors, 1)
            rest = times_hamiltonian(orbitals, vector) - (energy - orbitals.nuclear) * vector
            found.append(float(np.vdot(rest, rest)))
        return found


def trained(plan: MoleculePlan, seed: int) -> tuple[Trainer, list[float]]:
    """Full CI at the training geometries of one molecule.

    Args:
        plan: The molecule.
        seed: Of the candidates.

    Returns:
        The states, and for `greedy` the largest variance in Hartree² at which each geometry after
        the first was chosen.

    Raises:
        UnsupportedError: the molecule is none for full CI.
        NotConvergedError: a geometry has no state.
    """
    trainer = Trainer(plan)
    if plan.keys.points in (EQUIDISTANT, LISTED):
        chosen = equidistant(plan) if plan.keys.points == EQUIDISTANT else list(plan.listed)
        for positions in track(chosen, len(chosen), plan.system.id):
            trainer.add(positions)
        return trainer, []
    left = candidates(plan, seed)
    trainer.add(left.pop(0))
    largest: list[float] = []
    rounds = min(plan.keys.calculations - 1, len(left))
    for _ in track(range(rounds), rounds, plan.system.id):
        variances = trainer.variances(left)
        best = int(np.argmax(variances))
        if variances[best] < plan.keys.least_variance:
            break
        largest.append(variances[best])
        trainer.add(left.pop(best))
        if trainer.new[-1] < plan.keys.least_new:
            break
    return trainer, largest


def errors(trainer: Trainer, geometries: Sequence[NDArray[np.float64]]) -> dict[str, float]:
    """Errors against full CI at geometries in Å that are not trained on.

    Returns:
        Number of geometries, largest error of the energy in eV and mean absolute error of a
        component of the forces in eV/Å.
    """
    found = Interpolation(trainer.states())
    energy, force = [], []
    for positions in track(geometries, len(geometries), "geometries not trained on"):
        own = solved(trainer.numbers, trainer.basis, positions / Bohr)
        value, gradient = found.evaluate(positions / Bohr)
        energy.append((value - own.energy) * Hartree)
        force.append(np.abs(gradient - own.gradient).mean() * Hartree / Bohr)
    return {
        "geometries": len(energy),
        "largest_energy_error_ev": float(max(energy)),
        "least_energy_error_ev": float(min(energy)),
        "force_mae_ev_per_angstrom": float(np.mean(force)),
    }


def train_wavefunction(name: str, plan: Path, out: Path) -> None:
    """Train states and write them with their card (`<out>.json`, `<out>.md`).

    Args:
        name: Name of the training.
        plan: YAML, see `wavefunction_plan.PlanFile`.
        out: The weights, a zip archive.

    Raises:
        UserError: the plan is unfit, a molecule is none for full CI, or a geometry has no state.
    """
    molecules = read_training(plan, name)
    found, blocks = [], []
    for molecule in molecules:
        started, seed = time.process_time(), seed_number(FAMILY.name, molecule.system.id)
        held_out = candidates(molecule, seed + 1)[1:][
            :: max(1, molecule.keys.candidates // HELD_OUT)
        ]
        with full_ci_of(f"{plan}: {name}: {molecule.system.id}"):
            trainer, variances = trained(molecule, seed)
            spent = time.process_time() - started
            wrong = errors(trainer, held_out)
        found.append(trainer.states())
        blocks.append(_told(molecule, trainer, variances, spent, wrong))
    write_states(found, {"name": name}, out)
    card = {
        "name": name,
        "sha256": file_sha256(out),
        "bytes": out.stat().st_size,
        "level_of_theory": "FCI",
        "molecules": blocks,
        "provenance": provenance.collect(),
    }
    write_json(out.with_suffix(".json"), card)
    write_text(out.with_suffix(".md"), card_text(card))


def _told(
    plan: MoleculePlan,
    trainer: Trainer,
    variances: Sequence[float],
    spent: float,
    held_out: Mapping[str, float],
) -> dict[str, Any]:
    """What the card says of a molecule."""
    i, j = np.triu_indices(len(trainer.numbers), 1)
    return {
        "id": plan.system.id,
        "formula": formula_of(trainer.numbers),
        "numbers": list(trainer.numbers),
        **asdict(plan.keys),
        "orbitals": trainer.orbitals,
        "determinants": trainer.vectors[0].size,
        "geometries": [
            {
                "distances_angstrom": [
                    round(float(d), 6) for d in np.linalg.norm(place[i] - place[j], axis=1)
                ],
                "energy_ev": energy,
                "new": new,
            }
            for place, energy, new in zip(
                trainer.positions[:: trainer.images],
                trainer.energies[:: trainer.images],
                trainer.new,
                strict=True,
            )
        ],
        "images_of_each": trainer.images,
        "states": len(trainer.vectors),
        "least_overlap_eigenvalue": float(trainer.overlap_eigenvalues()[0]),
        "largest_variances": list(variances),
        "held_out": dict(held_out),
        "processor_s": round(spent, 1),
    }


def card_text(card: Mapping[str, Any]) -> str:
    """The model card for readers, from its JSON."""
    rows = [
        f"| {one['formula']} | {one['basis']} | {one['determinants']} | {one['points']} |"
        f" {len(one['geometries'])} | {one['states']} |"
        f" {one['lengths_angstrom'][0]:g}–{one['lengths_angstrom'][1]:g} |"
        f" {1000 * one['held_out']['largest_energy_error_ev']:.3g} |"
        f" {1000 * one['held_out']['force_mae_ev_per_angstrom']:.3g} |"
        for one in card["molecules"]
    ]
    packages = card["provenance"]["packages"]
    return "\n".join(
        [
            f"# {card['name']}",
            "",
            "States of full configuration interaction at a few geometries, whose lowest"
            " combination is the energy at all others (docs/wavefunction.md). For these molecules"
            " only. Licence: that of this project (MIT).",
            "",
            "| molecule | basis set | determinants | points | calculations | states | bonds (Å) |"
            " largest energy error (meV) | force MAE (meV/Å) |",
            "|---|---|---:|---|---:|---:|---:|---:|---:|",
            *rows,
            "",
            "Errors are those against full CI at candidates of another seed, which are not trained"
            " on. A calculation adds no state where the squared norm of what it has beyond the span"
            " of the earlier ones is below `least_new` of the JSON.",
            "",
            f"* weights: {card['bytes']} bytes, sha256 `{card['sha256']}`",
            "* training geometries, energies and variances: in the JSON beside this",
            f"* training: {sum(one['processor_s'] for one in card['molecules']):.0f} s of processor"
            " time",
            f"* all again: `pesbench train-wavefunction {card['name']}`",
            f"* made: {card['provenance']['created']}, "
            + ", ".join(f"{key} {value}" for key, value in packages.items()),
            "",
        ]
    )
