"""Descriptors of frames through the worker; what fails is taken apart down to the frame."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pesbench.core.interface import Batch, Status, one_line
from pesbench.engine import descriptors as asked
from pesbench.engine.batching import BatchLimit, split
from pesbench.engine.evaluator import GIVE_UP_AFTER
from pesbench.engine.worker import ModelFailureError, ModelLoadError, Worker

UNIT_ATOMS = 2048  # of one question: an answer has to fit into what is read of a model
logger = logging.getLogger("pesbench")


class Describer:
    """Asks a model for the descriptors of atoms.

    Attributes:
        worker: Worker that holds the model.
        ended: How often its process was lost over descriptors.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker, self.ended = worker, 0

    def why_none(self, batch: Batch) -> str:
        """Why the model has no descriptors at all, asked of a frame; "" if it may have some.

        Raises:
            ModelLoadError: the model cannot be loaded.
        """
        try:
            told = self.worker.call(asked.descriptors, batch)
        except ModelLoadError:
            raise
        except ModelFailureError:  # on this frame; others may do
            return ""
        return one_line(told.get(asked.WHY, ""))

    def atoms(self, batch: Batch) -> tuple[NDArray[np.float32], str]:
        """Descriptors of frames, and why some have none.

        A batch on which the model fails is halved until the frames that fail stand alone, unless
        its process ends again and again.

        Returns:
            Shape (A, D), NaN of a frame that has none, D of 0 where none has; the reason, or "".

        Raises:
            ModelLoadError: the model cannot be loaded again.
        """
        sizes = np.bincount(batch.system, minlength=batch.n_systems).tolist()
        parts = split(sizes, BatchLimit(atoms=UNIT_ATOMS))
        return _joined([self._some(batch.select(part)) for part in parts])

    def _some(self, batch: Batch) -> tuple[NDArray[np.float32], str]:
        none = np.empty((batch.n_atoms, 0), np.float32)
        source, frame = batch.labels[0] if batch.labels else ("", 0)
        if self.ended >= GIVE_UP_AFTER:
            return none, f"frame {frame}: not tried: {self.ended} frames ended the process before"
        try:
            found = _unpacked(self.worker.call(asked.descriptors, batch), batch.n_atoms)
        except ModelLoadError:
            raise
        except ModelFailureError as failure:
            self.ended += failure.ended
            count = batch.n_systems
            if count == 1 or failure.status is Status.TIMEOUT:
                logger.warning("%s: %s", source, failure.message)
                return none, f"frame {frame}: {failure.message}"
            parts = range(count // 2), range(count // 2, count)
            return _joined([self._some(batch.select(part)) for part in parts])
        self.worker.atom_frames += batch.n_atoms
        return found, ""


def _unpacked(told: dict[str, object], n_atoms: int) -> NDArray[np.float32]:
    """The descriptors of an answer.

    Raises:
        ModelFailureError: it holds none.
    """
    try:
        return asked.unpacked(told, n_atoms)
    except (KeyError, TypeError, ValueError) as error:
        reason = one_line(told.get(asked.WHY) or f"its features cannot be read: {error}")
        raise ModelFailureError(Status.ERROR, reason) from error


def _joined(parts: Sequence[tuple[NDArray[np.float32], str]]) -> tuple[NDArray[np.float32], str]:
    return filled([values for values, _ in parts]), next((why for _, why in parts if why), "")


def filled(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Parts one after another; those whose last axis is empty hold NaN.

    Args:
        parts: Shape (n, ..., D) each, D alike or 0.
    """
    width = max(part.shape[-1] for part in parts)
    return np.concatenate(
        [
            part if part.shape[-1] else np.full((*part.shape[:-1], width), np.nan, np.float32)
            for part in parts
        ]
    )
