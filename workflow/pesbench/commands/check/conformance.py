"""Does a model behave as an energy surface should? Measured by calling it, not by asking it.

Every function takes `evaluate`, which maps a batch to a result checked by `check_result`, a batch
and, where something is compared, the model's own answer `base` on that batch. Systems on which
`base` is not ok are left out; a changed copy of a good system that fails is told in `failed`.

S systems, A atoms. Units: Å, eV, eV/Å.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from pesbench.core.bond_graph import canonical_bonds
from pesbench.core.interface import Batch, Result, Status, Topology, batch_of
from pesbench.core.scans import Scan

Array = NDArray[np.float64]
Evaluate = Callable[[Batch], Result]

FRAMES = (0.85, 1.0, 1.4)  # times the bond length of the reference minimum
STEPS_ANGSTROM = 0.001 * 2.0 ** np.arange(7)  # 0.001 to 0.064 Å; each with its double, six stencils


@dataclass(frozen=True)
class Difference:
    """Largest difference of a second evaluation from the first.

    Attributes:
        energy: eV; None from a model without energies, NaN if nothing could be compared.
        forces: Largest difference of any component, eV/Å; NaN if nothing could be compared.
        failed: What the second evaluation said of a system that the first one answered, or "".
        energy_at: System with that difference of the energy, or that failed; −1 for none.
        forces_at: System with that difference of the forces, or that failed; −1 for none.
    """

    energy: float | None
    forces: float
    failed: str = ""
    energy_at: int = -1
    forces_at: int = -1


def concatenate(batches: Sequence[Batch]) -> Batch:
    """Several batches as one, in order."""
    start = np.cumsum([0, *(batch.n_systems for batch in batches[:-1])])
    joined = {
        field.name: np.concatenate([getattr(batch, field.name) for batch in batches])
        for field in fields(Batch)
        if field.name not in ("labels", "system", "topologies")
    }
    system = [batch.system + first for batch, first in zip(batches, start, strict=True)]
    labels = tuple(label for batch in batches for label in batch.labels)
    topologies = tuple(one for batch in batches for one in batch.topologies)
    return Batch(**joined, system=np.concatenate(system), labels=labels, topologies=topologies)


def failure_of(result: Result) -> str:
    """What the model said of the first system that is not ok, or ""."""
    lost = next((s for s, status in enumerate(result.status) if status is not Status.OK), None)
    return "" if lost is None else f"{result.status[lost]}: {result.messages[lost]}"


def healthy(base: Result) -> list[int]:
    """The systems on which a result is ok."""
    return [s for s, status in enumerate(base.status) if status is Status.OK]


def restrict(batch: Batch, result: Result, systems: Sequence[int]) -> tuple[Batch, Result]:
    """A batch and its result, with some of the systems only."""
    atoms = np.concatenate([np.flatnonzero(batch.system == s) for s in systems])
    return batch.select(systems), Result(
        energies=None if result.energies is None else result.energies[list(systems)],
        forces=result.forces[atoms],
        status=tuple(result.status[s] for s in systems),
        messages=tuple(result.messages[s] for s in systems),
    )


def difference(batch: Batch, base: Result, other: Result) -> Difference:
    """Difference of two results on the same systems and atoms."""
    both = [s for s in healthy(base) if other.status[s] is Status.OK]
    lost = next((s for s in healthy(base) if other.status[s] is not Status.OK), None)
    failed = "" if lost is None else f"{other.status[lost]}: {other.messages[lost]}"
    has_energy = base.energies is not None and other.energies is not None
    place = -1 if lost is None else lost
    if not both:
        return Difference(np.nan if has_energy else None, np.nan, failed, place, place)
    change = np.abs(other.forces - base.forces).max(axis=1)
    change[~np.isin(batch.system, both)] = -1.0
    worst = int(np.argmax(change))
    found = Difference(None, float(change[worst]), failed, place, int(batch.system[worst]))
    if base.energies is not None and other.energies is not None:
        by_system = np.abs(other.energies[both] - base.energies[both])
        most = int(np.argmax(by_system))
        found = replace(found, energy=float(by_system[most]), energy_at=both[most])
    return found if lost is None else replace(found, energy_at=lost, forces_at=lost)


def largest(differences: Sequence[Difference]) -> Difference:
    """The largest of each kind, and the first failure."""
    known = [d for d in differences if d.energy is not None]
    by_energy = max(known, key=lambda d: np.nan_to_num(d.energy, nan=np.inf), default=None)
    by_forces = max(differences, key=lambda d: np.nan_to_num(d.forces, nan=np.inf))
    lost = next((d for d in differences if d.failed), None)
    return Difference(
        energy=None if by_energy is None else by_energy.energy,
        forces=by_forces.forces,
        failed="" if lost is None else lost.failed,
        energy_at=(lost or by_energy or by_forces).energy_at,
        forces_at=(lost or by_forces).forces_at,
    )


def single_and_batched(evaluate: Evaluate, batch: Batch, base: Result) -> Difference:
    """Each system alone, last one first, against the systems in one batch.

    The order is another one so that what a calculator carries over between frames shows, too.
    """
    parts = {s: evaluate(batch.select([s])) for s in reversed(range(batch.n_systems))}
    other = put_together(base, [parts[s] for s in range(batch.n_systems)])
    return difference(batch, base, other)


def put_together(base: Result, parts: Sequence[Result]) -> Result:
    """Results of one system each as one; with energies where `base` has some."""
    missing = np.array([np.nan])
    energies = [missing if one.energies is None else one.energies for one in parts]
    return Result(
        energies=None if base.energies is None else np.concatenate(energies),
        forces=np.concatenate([one.forces for one in parts]),
        status=tuple(one.status[0] for one in parts),
        messages=tuple(one.messages[0] for one in parts),
    )


def repeated(evaluate: Evaluate, batch: Batch, base: Result, repeats: int = 2) -> Difference:
    """Difference between `repeats` repetitions of the same call."""
    return largest([difference(batch, base, evaluate(batch)) for _ in range(repeats)])


def reordered(topology: Topology, order: NDArray[np.int64]) -> Topology:
    """The bond graph of a molecule whose atoms come in another order.

    Args:
        topology: Of the molecule with N atoms.
        order: The former index of each atom, shape (N,).
    """
    place = np.argsort(order)

    def mapped(found: re.Match[str]) -> str:
        return f":{place[int(found[1]) - 1] + 1}]"

    return Topology(
        canonical_bonds(place[topology.bonds]), re.sub(r":([0-9]+)\]", mapped, topology.smiles)
    )


def permuted(
    evaluate: Evaluate, batch: Batch, base: Result, generator: np.random.Generator
) -> Difference:
    """Atoms of each system in another order; forces are put back into the first one."""
    own = [np.flatnonzero(batch.system == s) for s in range(batch.n_systems)]
    orders = [generator.permutation(atoms) for atoms in own]
    order = np.concatenate(orders)
    topologies = tuple(
        reordered(topology, new - atoms[0])
        for topology, new, atoms in zip(batch.topologies, orders, own, strict=False)
    )
    other = evaluate(
        replace(
            batch,
            numbers=batch.numbers[order],
            positions=batch.positions[order],
            topologies=topologies,
        )
    )
    forces = np.empty_like(other.forces)
    forces[order] = other.forces
    return difference(batch, base, replace(other, forces=forces))


def translated(evaluate: Evaluate, batch: Batch, base: Result, vector: Array) -> Difference:
    """All atoms moved by a vector in Å, shape (3,)."""
    return difference(batch, base, evaluate(replace(batch, positions=batch.positions + vector)))


def rotated(evaluate: Evaluate, batch: Batch, base: Result, rotation: Array) -> Difference:
    """All systems turned about the origin; forces are turned back.

    Args:
        evaluate: The model.
        batch: What to turn.
        base: The model's answer on it.
        rotation: Proper rotation matrix, shape (3, 3), that acts on column vectors.
    """
    other = evaluate(replace(batch, positions=batch.positions @ rotation.T))
    return difference(batch, base, replace(other, forces=other.forces @ rotation))


@dataclass(frozen=True)
class GradientError:
    """Error of the forces against the slope of the energy.

    Attributes:
        error: Largest |F·u + dE/du| over systems, atoms and directions at the best step, eV/Å; NaN
            if nothing could be measured.
        step: Step with the smallest largest error, Å. Too long a step errs by the
            curvature, too short a one by the rounding of the energy.
        force: Largest component of a force on the atoms that were moved, for comparison, eV/Å.
        count: Directions.
        failed: What the model said where it did not answer, or "".
        system: System with the largest error, or that was not answered; −1 for none.
    """

    error: float
    step: float
    force: float
    count: int
    failed: str = ""
    system: int = -1


def gradient_error(
    evaluate: Evaluate,
    batch: Batch,
    base: Result,
    atoms: Sequence[Sequence[int]],
    generator: np.random.Generator,
) -> GradientError:
    """Forces against central finite differences of the energy, at several steps.

    One atom at a time is moved along one random direction u. dE/du = [8 (E₊₁ − E₋₁) − (E₊₂ − E₋₂)]
    / 12h, the central difference of fourth order, of which a step of 0.016 Å suits even energies
    that are rounded to float32.

    Args:
        evaluate: The model.
        batch: S systems, all of them ok in `base`.
        base: The model's answer, with energies.
        atoms: Indices of the atoms of each system that are moved.
        generator: Random generator of the directions.
    """
    shift = np.concatenate([-STEPS_ANGSTROM[::-1], STEPS_ANGSTROM])
    copies, slopes, forces, owners = [], [], [], []
    for s in range(batch.n_systems):
        one, own = restrict(batch, base, [s])
        for atom in atoms[s]:
            direction = generator.standard_normal(3)
            direction /= np.linalg.norm(direction)
            owners.append(s)
            slopes.append(float(own.forces[atom] @ direction))
            forces.append(float(np.max(np.abs(own.forces[atom]))))
            for size in shift:
                positions = one.positions.copy()
                positions[atom] += size * direction
                copies.append(replace(one, positions=positions))
    answer = evaluate(concatenate(copies))
    lost = next((s for s, status in enumerate(answer.status) if status is not Status.OK), None)
    failed = failure_of(answer)
    energies = np.full(len(copies), np.nan) if answer.energies is None else answer.energies
    energy = energies.reshape(len(slopes), len(shift))
    n = len(STEPS_ANGSTROM)
    antisymmetric = energy[:, n:] - energy[:, n - 1 :: -1]  # E(h) − E(−h), by step
    derivative = (8 * antisymmetric[:, :-1] - antisymmetric[:, 1:]) / (12 * STEPS_ANGSTROM[:-1])
    error = np.abs(derivative + np.array(slopes)[:, None])
    known = np.isfinite(error).all(axis=1)
    place = -1 if lost is None else owners[lost // len(shift)]
    if not known.any():
        return GradientError(np.nan, np.nan, np.nan, 0, failed or "no energies", place)
    worst = error[known].max(axis=0)
    best = int(np.argmin(worst))
    if lost is None:
        place = np.array(owners)[known][int(np.argmax(error[known][:, best]))]
    return GradientError(
        error=float(worst[best]),
        step=float(STEPS_ANGSTROM[best]),
        force=float(np.max(np.array(forces)[known])),
        count=int(np.count_nonzero(known)),
        failed=failed,
        system=int(place),
    )


def unbalanced(batch: Batch, base: Result) -> tuple[Array, Array]:
    """Net force and net torque of every system: both are 0 on an isolated molecule.

    Returns:
        Size of the sum of the forces in eV/Å, shape (S,), and of their torque about the centroid
        in eV, shape (S,).
    """
    forces, torques = np.zeros(batch.n_systems), np.zeros(batch.n_systems)
    for s in range(batch.n_systems):
        own, positions = base.forces[batch.system == s], batch.positions[batch.system == s]
        forces[s] = np.linalg.norm(own.sum(axis=0))
        lever = positions - positions.mean(axis=0)
        torques[s] = np.linalg.norm(np.cross(lever, own).sum(axis=0))
    return forces, torques


@dataclass(frozen=True)
class Response:
    """Reaction of a model to a charge or a spin multiplicity.

    Attributes:
        kind: `accepted` (the answer changes), `ignored` (the same within rounding), or `refused`
            (no system is answered).
        change: Largest change of a force component, eV/Å; NaN if refused.
        answered: Systems answered.
        failed: What the model said where it did not answer, or "".
    """

    kind: str
    change: float
    answered: int
    failed: str = ""


_ROUNDING = 1e-5  # eV or eV/Å, as two calls may differ that ask for the same (docs/check.md)


def response(evaluate: Evaluate, batch: Batch, base: Result, charge: int, spin: int) -> Response:
    """Response to another total charge and multiplicity of the same systems."""
    count = batch.n_systems
    other = evaluate(replace(batch, charge=np.full(count, charge), spin=np.full(count, spin)))
    found = difference(batch, base, other)
    answered = sum(other.status[s] is Status.OK for s in healthy(base))
    if not answered:
        return Response("refused", np.nan, 0, found.failed)
    change = max(found.forces, found.energy or 0.0)
    kind = "accepted" if change > _ROUNDING else "ignored"
    return Response(kind, found.forces, answered, found.failed)


def changed_fields(evaluate: Evaluate, batch: Batch) -> list[str]:
    """Names of the arrays of a batch that a call changes in place; `evaluate` runs in-process."""
    arrays = {
        field.name: getattr(batch, field.name)
        for field in fields(Batch)
        if isinstance(getattr(batch, field.name), np.ndarray)
    }
    before = {name: (array.shape, array.tobytes()) for name, array in arrays.items()}
    evaluate(batch)
    return [n for n, array in arrays.items() if (array.shape, array.tobytes()) != before[n]]


def representative(scans: Sequence[Scan]) -> list[Scan]:
    """A few scans that hold every element between them: small ones, and the largest.

    From the smallest molecule on, each that brings an element not yet seen; then the largest.
    """
    ordered = sorted(scans, key=lambda scan: (scan.n_atoms, scan.id))
    seen: set[int] = set()
    chosen: list[Scan] = []
    for scan in ordered:
        if set(scan.numbers.tolist()) - seen:
            chosen.append(scan)
            seen |= set(scan.numbers.tolist())
    if ordered and ordered[-1] not in chosen:
        chosen.append(ordered[-1])
    return chosen


def frames(scans: Sequence[Scan], at: Sequence[float] = FRAMES) -> Batch:
    """Some frames of each scan, by bond length in units of that of the reference minimum."""
    chosen = []
    for scan in scans:
        rest = scan.coordinate[np.nanargmin(scan.energy)]
        chosen += [(scan, int(np.argmin(np.abs(scan.coordinate - x * rest)))) for x in at]
    return batch_of(
        [scan for scan, _ in chosen],
        [scan.positions[frame] for scan, frame in chosen],
        [(scan.id, frame) for scan, frame in chosen],
    )


def symbols(numbers: Sequence[int] | set[int] | frozenset[int]) -> str:
    """Element symbols, by atomic number."""
    return " ".join(chemical_symbols[z] for z in sorted(numbers))


@dataclass(frozen=True)
class Elements:
    """Elements of the scans that a model knows.

    Attributes:
        known: Atomic numbers.
        refused: Atomic numbers.
        message: What the model said of a molecule with a refused element, or "".
    """

    known: frozenset[int]
    refused: frozenset[int]
    message: str = ""

    def refusal(self, numbers: NDArray[np.int64]) -> str:
        """Reason why a molecule cannot be evaluated, or "".

        Args:
            numbers: Atomic numbers of the molecule, shape (N,).
        """
        unknown = set(numbers.tolist()) & self.refused
        return (self.message or f"unknown elements: {symbols(unknown)}") if unknown else ""


def probe_elements(evaluate: Evaluate, scans: Sequence[Scan]) -> Elements:
    """Test the elements of a model that does not state them: one equilibrium geometry a molecule.

    An element is refused if no molecule that holds it was answered. The message is that of a
    molecule of common elements: one that fails for another reason than a rare element tells it.
    """
    distinct = {scan.system: scan for scan in sorted(scans, key=lambda s: s.id, reverse=True)}
    batch = frames(list(distinct.values()), at=(1.0,))
    answer = evaluate(batch)
    held = [frozenset(scan.numbers.tolist()) for scan in distinct.values()]
    ok = healthy(answer)
    known = frozenset().union(*(held[s] for s in ok))
    refused = frozenset().union(*held) - known
    count = Counter(z for elements in held for z in elements)

    def telling(s: int) -> tuple[bool, int]:
        return answer.status[s] is not Status.UNSUPPORTED, min(count[z] for z in held[s])

    blamed = [s for s, elements in enumerate(held) if elements & refused]
    message = answer.messages[max(blamed, key=telling)] if blamed else ""
    return Elements(known, refused, message)
