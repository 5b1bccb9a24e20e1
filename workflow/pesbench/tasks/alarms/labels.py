"""The error label of a frame, and how well a score tells it. Pure functions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

ERROR_EV_PER_ANGSTROM = 0.5
ERROR_SHARE = 0.2  # of the reference force on the atom
RECALL = 0.95


def wrong_frames(forces: Array, reference: Array) -> Mask:
    """Frames in which the force on an atom is off by more than max(0.5 eV/Å, 20 %).

    Args:
        forces: eV/Å, shape (F, N, 3).
        reference: The same of the reference.

    Returns:
        Shape (F,). A limit that is met exactly is not exceeded.
    """
    error = np.linalg.norm(forces - reference, axis=-1)
    limit = np.maximum(ERROR_EV_PER_ANGSTROM, ERROR_SHARE * np.linalg.norm(reference, axis=-1))
    return (error > limit).any(axis=1)


def largest_error(forces: Array, reference: Array) -> Array:
    """The largest error of the force on an atom in eV/Å, shape (F,)."""
    return np.linalg.norm(forces - reference, axis=-1).max(axis=1)


def auroc(scores: Array, wrong: Mask) -> float:
    """Probability that a wrong frame has a higher score than a right one, ties counting half.

    Returns:
        NaN if all frames are wrong, or none is.

    Raises:
        ValueError: a score is NaN.
    """
    if np.isnan(scores).any():
        raise ValueError("a score is NaN; leave its frame out")
    n_wrong = int(wrong.sum())
    n_right = len(wrong) - n_wrong
    if not n_wrong or not n_right:
        return float("nan")
    ranks = rankdata(scores)[wrong].sum()
    return float((ranks - n_wrong * (n_wrong + 1) / 2) / (n_wrong * n_right))


def average_precision(scores: Array, wrong: Mask) -> float:
    """Area under precision against recall, Σ (R_k − R_{k−1}) P_k over the values of the score.

    Frames of one score are taken together. A score that says nothing has the share of wrong frames.

    Returns:
        NaN if no frame is wrong, or all are.

    Raises:
        ValueError: a score is NaN.
    """
    if np.isnan(scores).any():
        raise ValueError("a score is NaN; leave its frame out")
    if not wrong.any() or wrong.all():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(wrong[order])
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)  # of each value
    precision = hits[last] / (last + 1)
    gained = np.diff(hits[last], prepend=0) / hits[-1]
    return float((precision * gained).sum())


def threshold_at_recall(scores: Array, wrong: Mask, recall: float = RECALL) -> float:
    """The largest threshold that at least a share of the wrong frames reaches.

    An alarm is a score of at least the threshold.

    Returns:
        NaN if no frame is wrong.
    """
    mine = np.sort(scores[wrong])[::-1]
    if not len(mine):
        return float("nan")
    return float(mine[max(0, int(np.ceil(recall * len(mine) - 1e-9)) - 1)])
