"""The contract between the benchmark and every model: a batch in, a result out, NumPy both ways.

Positions and results are float64 whatever precision the model computes in. Only the package
`pesbench.models` knows that families exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pesbench.core import host_memory
from pesbench.core.errors import HostError
from pesbench.core.text import printable

MESSAGE_CHARACTERS = 500  # characters of a text of a model
PARAMETERS_SHA256 = "parameters_sha256"  # key of `ModelInfo.details`: what was loaded


class Status(StrEnum):
    """How a frame, a scan or a trajectory ended."""

    OK = "ok"
    UNSUPPORTED = "unsupported"  # an element or charge the model does not know
    NONFINITE = "nonfinite"
    ERROR = "error"  # the model raised; the message is kept
    OUT_OF_MEMORY = "out_of_memory"  # of the device or the machine, for this system alone
    TIMEOUT = "timeout"
    CRASHED = "crashed"  # the worker process ended
    MASKED = "masked"  # a control is not defined here; left out, not counted as a failure
    ALARM = "alarm"  # a trajectory was ended as asked, because its model may have become wrong

    @property
    def code(self) -> int:
        """The number that stands for it in HDF5."""
        return _ORDER.index(self)

    @classmethod
    def from_code(cls, code: int) -> Status:
        return _ORDER[code]


_ORDER = tuple(Status)


@dataclass(frozen=True)
class Topology:
    """The bond graph of a molecule, which stays that of its scan or trajectory in every frame.

    Attributes:
        bonds: Pairs of atom indices i < j, shape (B, 2).
        smiles: SMILES whose atom-map numbers are the atom indices plus one, or "".
    """

    bonds: NDArray[np.int64]
    smiles: str = ""


class Molecule(Protocol):
    """Common interface of a scan and a system."""

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Atomic numbers, shape (N,)."""
        ...

    @property
    def bonds(self) -> NDArray[np.int64]:
        """Bond graph, shape (B, 2)."""
        ...

    @property
    def charge(self) -> int:
        """Total charge in e."""
        ...

    @property
    def spin(self) -> int:
        """Multiplicity."""
        ...

    @property
    def smiles(self) -> str:
        """Mapped SMILES or ""."""
        ...


@dataclass(frozen=True)
class Batch:
    """Several systems, their atoms one after another.

    Attributes:
        numbers: Atomic numbers, shape (A,), int64.
        positions: Å, shape (A, 3), float64.
        system: Index of the system of each atom, shape (A,), int64, ascending from 0.
        cell: Row vectors in Å, shape (S, 3, 3); zeros for a molecule.
        pbc: Periodic directions, shape (S, 3), bool.
        charge: Total charges in e, shape (S,), int64.
        spin: Multiplicities, shape (S,), int64.
        labels: What each system is, `(scan id, frame)`; only controls read it.
        topologies: Bond graph of each system, where it is known; only families whose parameters
            follow from it, such as classical force fields, read it.
    """

    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    system: NDArray[np.int64]
    cell: NDArray[np.float64]
    pbc: NDArray[np.bool_]
    charge: NDArray[np.int64]
    spin: NDArray[np.int64]
    labels: tuple[tuple[str, int], ...] = ()
    topologies: tuple[Topology, ...] = ()

    @property
    def n_systems(self) -> int:
        return len(self.charge)

    @property
    def n_atoms(self) -> int:
        return len(self.numbers)

    def select(self, systems: Sequence[int]) -> Batch:
        """The batch of some of its systems, in the order given."""
        count = np.bincount(self.system, minlength=self.n_systems)
        end = np.cumsum(count)
        index = list(systems)
        sizes = count[index]
        atoms = np.concatenate([np.arange(end[s] - count[s], end[s]) for s in index])
        return Batch(
            numbers=self.numbers[atoms],
            positions=self.positions[atoms],
            system=np.repeat(np.arange(len(index)), sizes),
            cell=self.cell[index],
            pbc=self.pbc[index],
            charge=self.charge[index],
            spin=self.spin[index],
            labels=tuple(self.labels[s] for s in index) if self.labels else (),
            topologies=tuple(self.topologies[s] for s in index) if self.topologies else (),
        )


def molecules_batch(
    positions: Sequence[NDArray[np.float64]],
    numbers: Sequence[NDArray[np.int64]],
    charge: Sequence[int],
    spin: Sequence[int],
    labels: Sequence[tuple[str, int]] = (),
    topologies: Sequence[Topology] = (),
) -> Batch:
    """A batch of isolated molecules.

    Args:
        positions: One array (N_s, 3) in Å a system.
        numbers: One array (N_s,) a system.
        charge: Total charges in e.
        spin: Multiplicities.
        labels: `(scan id, frame)` of each.
        topologies: Bond graph of each.
    """
    count = len(positions)
    sizes = [len(z) for z in numbers]
    return Batch(
        numbers=np.concatenate(numbers).astype(np.int64),
        positions=np.concatenate(positions).astype(np.float64),
        system=np.repeat(np.arange(count), sizes),
        cell=np.zeros((count, 3, 3)),
        pbc=np.zeros((count, 3), dtype=bool),
        charge=np.asarray(charge, dtype=np.int64),
        spin=np.asarray(spin, dtype=np.int64),
        labels=tuple(labels),
        topologies=tuple(topologies),
    )


def batch_of(
    molecules: Sequence[Molecule],
    positions: Sequence[NDArray[np.float64]],
    labels: Sequence[tuple[str, int]] = (),
) -> Batch:
    """A batch of geometries of molecules, each with its charge, multiplicity and bond graph.

    Args:
        molecules: One a geometry; equal ones may follow each other.
        positions: One array (N_s, 3) in Å a geometry.
        labels: `(scan id, frame)` of each.
    """
    known: dict[int, Topology] = {}
    return molecules_batch(
        positions=positions,
        numbers=[one.numbers for one in molecules],
        charge=[one.charge for one in molecules],
        spin=[one.spin for one in molecules],
        labels=labels,
        # one object a molecule, so that a question to a worker holds it once
        topologies=[
            known.setdefault(id(one), Topology(one.bonds, one.smiles)) for one in molecules
        ],
    )


@dataclass(frozen=True)
class Result:
    """Answer of a model for a batch.

    Attributes:
        energies: eV, shape (S,), float64; None from a model that defines forces only.
        forces: eV/Å, shape (A, 3), float64.
        status: One a system. A system that is not ok may carry NaN.
        messages: One a system, "" where all is well.
    """

    energies: NDArray[np.float64] | None
    forces: NDArray[np.float64]
    status: tuple[Status, ...]
    messages: tuple[str, ...]

    @classmethod
    def ok(cls, energies: NDArray[np.float64], forces: NDArray[np.float64]) -> Result:
        """The result of a batch of which every system is ok.

        Args:
            energies: eV, one a system, in an array of any shape.
            forces: eV/Å, shape (A, 3).
        """
        count = energies.size
        return cls(energies.reshape(count), forces, (Status.OK,) * count, ("",) * count)


# --- errors of a model ---------------------------------------------------------------------------


def one_line(text: object, most: int = MESSAGE_CHARACTERS) -> str:
    """Text of a model's as one printable line of bounded length.

    Line breaks and other white space become single spaces; control characters, lone surrogates and
    what turns the direction of writing become escapes such as `\\x1b`, so that it can be stored in
    any file and shown on a terminal.
    """
    text = " ".join(printable(str(text)[: 4 * most]).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def told(error: BaseException) -> str:
    """Type and text of an error as one line, even if the error itself fails to provide them."""
    try:
        text = str(error)[: 4 * MESSAGE_CHARACTERS]
    except BaseException as again:
        text = f"(no text: its __str__ raised {type(again).__name__})"
    return one_line(f"{type(error).__name__}: {text}")


class DeviceOutOfMemoryError(Exception):
    """The accelerator's memory did not hold the batch; a smaller one may fit."""


def is_out_of_device_memory(error: BaseException) -> bool:
    """Whether an error is one of device memory, of this package or of torch.

    By name and text: this runs in environments without torch, and compiled code and CUDA's
    libraries raise a plain RuntimeError.
    """
    torchs = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
    said = isinstance(error, RuntimeError) and "out of memory" in told(error).lower()
    return torchs or said or isinstance(error, DeviceOutOfMemoryError)


def is_lost_device(error: BaseException) -> bool:
    """Whether an error means that this process has lost the accelerator.

    After an illegal access, a failed assertion or a defect of its memory, CUDA refuses every
    further call of the process; after being out of memory it does not.
    """
    said = "cuda error" in told(error).lower() or type(error).__name__ == "AcceleratorError"
    return said and not is_out_of_device_memory(error)


def is_host_failure(error: BaseException) -> bool:
    """Whether an error is the machine's fault and not the model's, so that trying again may help.

    An error for want of memory counts only where memory is short: a model that asks for more than
    there can be (terabytes, because of a defect) gets the same error on a machine that is idle.
    """
    if isinstance(error, HostError):
        return True
    wants = isinstance(error, MemoryError) or "allocate memory" in told(error).lower()
    return wants and host_memory.is_short()


class NotDescribedError(Exception):
    """A network has no features of atoms that can be looked at; the message says why."""


@dataclass(frozen=True)
class ModelInfo:
    """Information that a loaded model gives about itself.

    Attributes:
        elements: Atomic numbers it knows; None where it does not tell.
        charges: Whether it takes account of a total charge other than 0.
        spins: Whether it takes account of a multiplicity other than 1.
        batched: Whether one call on S systems is cheaper than S calls.
        device: Such as `cpu` or `cuda:0`.
        dtype: Precision of its arithmetic, such as `float64`.
        details: Anything for the provenance: sha256 of weights, device name, ...
    """

    elements: frozenset[int] | None
    charges: bool
    batched: bool
    device: str
    dtype: str
    details: dict[str, Any] = field(default_factory=dict)
    spins: bool = False


@dataclass(frozen=True)
class NodeFeatures:
    """The features that a network holds of every atom after one of its layers.

    Attributes:
        irreps: Channels and degree l of each block, in the order of the columns; None of a network
            that is not equivariant, whose features turn with the molecule in no known way.
        values: Shape (A, Σ channels·(2l + 1)): the columns of a block by channel, then by component
            m. The components of a channel turn with the molecule like the harmonics of degree l, in
            any basis that is the same for all channels.
    """

    irreps: tuple[tuple[int, int], ...] | None
    values: NDArray[np.float64]

    @property
    def scalars(self) -> NDArray[np.float64]:
        """The columns with l = 0, or all where there are no irreps, shape (A, scalars)."""
        if self.irreps is None:
            return self.values
        degrees = [np.full(channels * (2 * degree + 1), degree) for channels, degree in self.irreps]
        return self.values[:, np.concatenate(degrees) == 0]


class Model(Protocol):
    """A loaded model.

    A network may have one more method, `describe(batch) -> dict[str, NodeFeatures]`: its features
    after each layer, from the first layer on, by the layer's name. It raises `NotDescribedError`
    where this network cannot tell them.
    """

    @property
    def info(self) -> ModelInfo: ...

    def evaluate(self, batch: Batch) -> Result:
        """Energies and forces of every system of a batch.

        An exception means that the whole batch failed; a model that goes through its systems one
        by one returns `Status.ERROR` and the message for those that fail.

        Raises:
            DeviceOutOfMemoryError: a smaller batch may fit.
        """
        ...


# --- what a model answers ------------------------------------------------------------------------


def real_array(value: ArrayLike, what: str) -> NDArray[np.float64]:
    """Real numbers in any container (array, tensor, list) as a float64 array of their own.

    Raises:
        ValueError: they are complex, masked, truth values, text or no numbers at all, or a list
            is ragged.
    """
    value = _without_gradient(value)
    if np.ma.is_masked(value):
        raise ValueError(f"{what}: masked values where there must be numbers")
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        kind = type(value).__name__ if array.dtype == object else array.dtype.name
        raise ValueError(f"{what}: {kind} where there must be real numbers")
    return np.array(array, dtype=np.float64, subok=False)


def _without_gradient(value: Any) -> Any:
    """A tensor of torch, on any device, as something that NumPy takes; anything else as it is."""
    if hasattr(value, "detach"):
        tensor = value.detach().cpu()
        # NumPy has no bfloat16
        return np.asarray(tensor.float() if "bfloat16" in str(tensor.dtype) else tensor)
    if isinstance(value, list | tuple):
        return [_without_gradient(one) for one in value]
    return value


def one_energy(value: ArrayLike) -> float:
    """An energy, given as a number or as one element in a container of any shape.

    Raises:
        ValueError: there are more elements, or none, or it is no real number.
    """
    array = real_array(value, "energy")
    if array.size != 1:
        raise ValueError(
            f"the energy of one system has {array.size} elements (shape {array.shape}), not one"
        )
    return float(array.item())


def atom_forces(value: ArrayLike, n_atoms: int) -> NDArray[np.float64]:
    """The forces on the atoms of one system, shape (N, 3).

    Raises:
        ValueError: they have another shape, or are no real numbers.
    """
    array = real_array(value, "forces")
    if array.shape != (n_atoms, 3):
        raise ValueError(f"forces have shape {array.shape}, expected {(n_atoms, 3)}")
    return array


def _with_nonfinite(vectors: NDArray[np.float64], batch: Batch) -> NDArray[np.bool_]:
    """The systems of which an atom has a vector that is not finite, shape (S,)."""
    broken = np.zeros(batch.n_systems, dtype=bool)
    broken[batch.system[~np.isfinite(vectors).all(axis=1)]] = True
    return broken


def check_result(batch: Batch, result: Result) -> Result:
    """The result, with NaN turned into a status and messages made printable, or a refusal.

    Returns:
        Float64 arrays; a system that claims to be ok becomes `nonfinite` if its positions, energy
        or forces hold a value that is not finite. A model may leave out atoms without a position
        and answer finite numbers.

    Raises:
        ValueError: an array or list has the wrong shape or holds no real numbers.
    """
    forces = atom_forces(result.forces, batch.n_atoms)
    energies = None if result.energies is None else real_array(result.energies, "energies")
    if energies is not None:
        if energies.size != batch.n_systems:
            raise ValueError(f"energies have shape {energies.shape}, expected ({batch.n_systems},)")
        energies = energies.reshape(batch.n_systems)
    if not len(result.status) == len(result.messages) == batch.n_systems:
        raise ValueError(f"{len(result.status)} statuses for {batch.n_systems} systems")
    status, messages = list(result.status), list(result.messages)
    bad = _with_nonfinite(forces, batch)
    if energies is not None:
        bad |= ~np.isfinite(energies)
    for found, message in (
        (_with_nonfinite(batch.positions, batch), "a position is not finite"),
        (bad, "energy or force is not finite"),
    ):
        for k in np.flatnonzero(found).tolist():
            if status[k] is Status.OK:
                status[k], messages[k] = Status.NONFINITE, message
    if any(messages):
        messages = [message and one_line(message) for message in messages]
    return Result(energies, forces, tuple(status), tuple(messages))
