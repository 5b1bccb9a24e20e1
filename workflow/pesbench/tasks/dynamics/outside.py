"""How far atoms of trajectories under way are from what the model knows, by its descriptors."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pesbench.core.errors import UserError
from pesbench.core.interface import Batch, ModelInfo
from pesbench.engine.describing import Describer
from pesbench.engine.reference_frames import (
    WINDOW_ANGSTROM,
    described,
    frames_near_minima,
    frames_of_file,
)
from pesbench.engine.worker import ModelFailureError, Worker
from pesbench.metrics.descriptor_distances import ReferenceSpace, reference_space
from pesbench.tasks.dynamics.settings import DynamicsSettings

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Outside:
    """Distance from a reference set in the space of descriptors, as in `tasks/alarms`.

    Attributes:
        detector: `mahalanobis` or `knn`.
        describer: Asks the model.
        space: The reference set.
    """

    detector: str
    describer: Describer
    space: ReferenceSpace

    def scores(self, batch: Batch, positions: Array, systems: Collection[int]) -> dict[int, float]:
        """The distance of the farthest atom; infinite of a frame that cannot be described.

        Args:
            batch: The trajectories.
            positions: Å, shape (A, 3).
            systems: Trajectories that are looked at.
        """
        if not systems:
            return {}
        some = sorted(systems)
        part = replace(batch, positions=positions).select(some)
        try:
            values, _ = self.describer.atoms(part)
        except ModelFailureError:  # it is gone, which its next step tells
            values = np.empty((part.n_atoms, 0), np.float32)
        if not values.shape[1]:
            return dict.fromkeys(some, np.inf)
        found = self.space.measured(values.astype(np.float64), part.numbers)[self.detector]
        found = np.where(np.isnan(found), np.inf, found)
        starts = np.flatnonzero(np.diff(part.system, prepend=-1))
        return dict(zip(some, np.maximum.reduceat(found, starts).tolist(), strict=True))


def outside(
    settings: DynamicsSettings, worker: Worker, model: str, info: ModelInfo, scan_set: Path
) -> Outside:
    """The reference set of a model: frames of `reference_frames`, else those near minima of scans.

    Args:
        settings: With an alarm of descriptors.
        worker: Worker that holds the model.
        model: Its name.
        info: What it tells of itself.
        scan_set: The scan set.

    Raises:
        UserError: the model has no descriptors, or the frames do not make a set.
        ModelLoadError: the model cannot be loaded again.
    """
    assert settings.alarm is not None
    given = settings.reference_frames
    batches = (
        list(frames_near_minima(scan_set, info, WINDOW_ANGSTROM))
        if given is None
        else list(frames_of_file(Path(given)))
    )
    describer = Describer(worker)
    why = describer.why_none(batches[0].select([0])) if batches else "no frame to compare with"
    if not why:
        try:
            atoms, numbers = described(describer, batches)
            space = reference_space(atoms.astype(np.float64), numbers)
        except ValueError as error:
            why = f"no reference set: {error}"
    if why:
        raise UserError(
            f"model {model!r} has no alarm `{settings.alarm}` in dynamics: {why}; choose another "
            "`alarm`, or leave the model out of `dynamics`"
        )
    return Outside(settings.alarm, describer, space)
