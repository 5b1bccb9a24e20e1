"""A worker for long runs over molecules: dynamics, frequencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pesbench.core.interface import Batch, ModelInfo, Status, batch_of
from pesbench.core.systems import System
from pesbench.engine.evaluator import GIVE_UP_AFTER, why_unsupported
from pesbench.engine.worker import ModelFailureError, ModelLoadError, Timed, Worker
from pesbench.models.registry import ModelEntry

WARM_UP_CALLS = 3


class PatientWorker(Worker):
    """A worker whose numbers do not tell how often it was started.

    Each start of a batched model ends with some calls that count for nothing: a just-in-time
    compiler (TorchScript, in all of MACE) watches the first call and rounds it differently from
    those it has compiled, so that a resumed run would differ from an undisturbed one. And it is
    not started again and again for a model that dies on every molecule.

    Args:
        entry: Resolved model entry.
        systems: The molecules; the first that the model knows is the one to warm up with.
        system_of: Molecule of each label of a batch that is not the molecule's own id.
        settings: Arguments of `Worker`.

    Attributes:
        deaths: Molecules on which it died or hung, since the last success.
    """

    def __init__(
        self,
        entry: ModelEntry,
        systems: Sequence[System],
        system_of: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(entry, **settings)
        self._systems, self._system_of = systems, system_of or {}
        self._warm_up = True
        self.deaths: set[str] = set()

    def start(self) -> ModelInfo:
        """Start, and warm up, unless it runs.

        Raises:
            ModelLoadError: the model does not load.
        """
        fresh = self.info is None
        info = super().start()
        if not (fresh and info.batched and self._warm_up):
            return info
        known = [system for system in self._systems if not why_unsupported(system, info)]
        if not known:
            return info
        try:
            for _ in range(WARM_UP_CALLS):
                super().evaluate(systems_batch([known[0]] * 2))
        except ModelLoadError:
            raise
        except ModelFailureError:  # it will fail again where it counts
            self._warm_up = False
        return super().start()

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
