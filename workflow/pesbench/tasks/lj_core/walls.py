"""A model's answers about overlapped atoms against those of the reference: pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from pesbench.core.interface import Status
from pesbench.tasks.lj_core.cases import (
    CORE_RATIO,
    DIMER,
    NEAR_MINIMUM_ANGSTROM,
    OVERLAPPED_RATIO,
    Case,
)
from pesbench.tasks.lj_core.metrics import Array, log10_error, right_sign_share
from pesbench.tasks.lj_core.stored import Answer


@dataclass(frozen=True)
class Judged:
    """The numbers of a case; NaN for what it does not have.

    Attributes:
        status: `ok`, or why there are none.
        message: The reason, or "".
        n_frames: Frames of the core that count.
        n_masked: Frames of the core without a reference.
        log10_energy_mae: See `metrics.log10_error`, with energies in eV.
        right_sign_share: See `metrics.right_sign_share`.
        overlapped: 1 where a relaxation ends with overlapped atoms, else 0.
        closest_ratio: See `closest_ratio`.
    """

    status: Status
    message: str = ""
    n_frames: int = 0
    n_masked: int = 0
    log10_energy_mae: float = float("nan")
    right_sign_share: float = float("nan")
    overlapped: float = float("nan")
    closest_ratio: float = float("nan")


def judge_wall(
    case: Case, answer: Answer, reference: Answer, atoms: Sequence[tuple[Answer, Answer]] = ()
) -> Judged:
    """The error of a model in the core of a pair: where it is closer than 0.6 covalent sums.

    Energies of an isolated pair are counted from those of its two atoms alone, those of a bond from
    the lowest within 0.2 Å of the bond length, each side's own: the minimum of the whole scan could
    lie in a hole. A frame on which the reference has no energy is left out. The first that the
    model has none of decides the status of the wall, which has no number then.

    Args:
        case: A wall.
        answer: Of the model.
        reference: Of the scan set's method.
        atoms: Of an isolated pair the answers of both about each of the two atoms.
    """
    if answer.status in (Status.UNSUPPORTED, Status.CRASHED, Status.TIMEOUT):
        return Judged(answer.status, answer.message)
    for _, told in atoms:
        if told.status is not Status.OK:
            return Judged(Status.MASKED, f"the reference has no {told.case}: {told.message}")
    for own, _ in atoms:
        if own.status is not Status.OK:
            return Judged(own.status, f"{own.case}: {own.message}")
    own, told = (
        np.where(one.frame_status == Status.OK.code, one.energy, np.nan)
        for one in (answer, reference)
    )
    if case.kind == DIMER:
        from_own, from_reference = (
            sum(float(both[side].energy[0]) for both in atoms) for side in (0, 1)
        )
    else:
        near = np.abs(case.scan.coordinate - case.distance) <= NEAR_MINIMUM_ANGSTROM
        from_own, from_reference = _lowest(own[near]), _lowest(told[near])
    core = case.scan.coordinate < CORE_RATIO * case.covalent_sum
    known = core & np.isfinite(told)
    masked = int((core & ~known).sum())
    if not np.isfinite(from_reference) or masked > known.sum():
        return Judged(Status.MASKED, "the reference has too few energies", n_masked=masked)
    if not np.isfinite(from_own) or not np.isfinite(own[known]).all():
        failed = answer.status if answer.status is not Status.OK else Status.UNSUPPORTED
        said = answer.message or "the model has no energies"
        return Judged(failed, said, int(known.sum()), masked)
    one, other = own[known] - from_own, told[known] - from_reference
    return Judged(
        Status.OK,
        n_frames=int(known.sum()),
        n_masked=masked,
        log10_energy_mae=log10_error(one, other),
        right_sign_share=right_sign_share(one, other),
    )


def _lowest(energy: Array) -> float:
    return float(np.nanmin(energy)) if np.isfinite(energy).any() else float("nan")


def judge_atom(answer: Answer) -> Judged:
    """Whether the model has an energy of an atom alone, from which those of pairs are counted."""
    if answer.status is Status.OK and not np.isfinite(answer.energy).all():
        return Judged(Status.UNSUPPORTED, "the model has no energies")
    return Judged(answer.status, answer.message, n_frames=1)


def closest_ratio(numbers: NDArray[np.int64], positions: Array) -> float:
    """Smallest distance of two atoms over the sum of their covalent radii (those of ASE).

    Args:
        numbers: Atomic numbers, shape (N,).
        positions: Å, shape (N, 3).
    """
    i, j = np.triu_indices(len(numbers), 1)
    sums = covalent_radii[numbers[i]] + covalent_radii[numbers[j]]
    return float((pdist(positions) / sums).min())


def judge_overlap(case: Case, answer: Answer) -> Judged:
    """Where the relaxation of overlapped atoms ended; one that the model fails on has no end."""
    if answer.status is not Status.OK:
        return Judged(answer.status, answer.message)
    ratio = closest_ratio(case.scan.numbers, answer.positions)
    return Judged(
        Status.OK,
        answer.message,
        n_frames=1,
        overlapped=float(ratio < OVERLAPPED_RATIO),
        closest_ratio=ratio,
    )
