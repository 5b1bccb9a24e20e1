"""A worker for long runs over molecules: dynamics, frequencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pesbench.core.interface import Batch, Status, batch_of
from pesbench.core.systems import System
from pesbench.engine.evaluator import GIVE_UP_AFTER
from pesbench.engine.worker import ModelFailureError, Timed, Worker
from pesbench.models.registry import ModelEntry


class PatientWorker(Worker):
    """A worker that is not started again and again for a model that dies on every molecule.

    Args:
        entry: Resolved model entry.
        system_of: Molecule of each label of a batch that is not the molecule's own id.
        settings: Arguments of `Worker`.

    Attributes:
        deaths: Molecules on which it died or hung, since the last success.
    """

    def __init__(
        self, entry: ModelEntry, system_of: Mapping[str, str] | None = None, **settings: Any
    ) -> None:
        super().__init__(entry, **settings)
        self._system_of = system_of or {}
        self.deaths: set[str] = set()

    def evaluate(self, batch: Batch) -> Timed:
        """Evaluate, unless too many molecules ended it.

        Raises:
            ModelFailureError: it died, hung or ran out of memory, or is not tried any more.
            ModelLoadError: the model does not load.
        """
        if len(self.deaths) >= GIVE_UP_AFTER:
            raise ModelFailureError(
                Status.CRASHED,
                f"not tried: the worker died or hung on {GIVE_UP_AFTER} molecules before",
            )
        try:
            timed = super().evaluate(batch)
        except ModelFailureError as failure:
            fatal = failure.ended or failure.status in (Status.CRASHED, Status.TIMEOUT)
            if batch.n_systems == 1 and fatal:
                name = batch.labels[0][0]
                self.deaths.add(self._system_of.get(name, name))
            raise
        self.deaths.clear()
        return timed


def systems_batch(systems: Sequence[System]) -> Batch:
    """Molecules as they are in the scan set, labelled with their ids."""
    return batch_of(
        systems, [system.positions for system in systems], [(system.id, 0) for system in systems]
    )
