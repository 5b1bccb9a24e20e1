"""Models that TorchSim 0.6 or newer wraps."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers
from torch_sim.models.interface import ModelInterface

from pesbench.core.errors import UserError
from pesbench.core.family import LoadJob
from pesbench.core.interface import Batch, Result
from pesbench.models.called import QUANTITIES, info_of
from pesbench.models.torchsim import TorchSimModel
from pesbench.models.vacuum_box import boxed

_OLDEST = (0, 6)
_PACKAGE = "torch-sim-atomistic"


class NamedModel(TorchSimModel):
    """A TorchSim model that an entry names.

    Args:
        model: The wrapped model.
        settings: Keys of the entry; those that are left out have their defaults.
    """

    def __init__(self, model: ModelInterface, settings: Mapping[str, Any]) -> None:
        elements = settings.get("elements")
        super().__init__(
            model,
            elements and frozenset(atomic_numbers[one] for one in elements),
            {_PACKAGE: version(_PACKAGE)},
            charges=bool(settings.get("charges")),
            spins=bool(settings.get("spins")),
        )
        self._quantities = {key: QUANTITIES[what] for key, what in info_of(settings).items()}
        self._box_angstrom: float | None = settings.get("vacuum_box_angstrom")

    def extras(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Charge and spin under the names of the entry, shape (S,) each."""
        states = list(zip(batch.charge.tolist(), batch.spin.tolist(), strict=True))
        return {
            name: torch.tensor(
                [float(of(*state)) for state in states],
                dtype=self._model.dtype,
                device=self._model.device,
            )
            for name, of in self._quantities.items()
        }

    def evaluate(self, batch: Batch) -> Result:
        if self._box_angstrom is not None and not batch.pbc.any():
            batch = _in_boxes(batch, self._box_angstrom)
        return super().evaluate(batch)


def _in_boxes(batch: Batch, padding_angstrom: float) -> Batch:
    """The molecules of a batch, each in a periodic box of its own."""
    boxes = [
        boxed(batch.positions[batch.system == s], padding_angstrom) for s in range(batch.n_systems)
    ]
    cells, periodic = zip(*boxes, strict=True)
    return replace(batch, cell=np.array(cells), pbc=np.array(periodic))


def release(text: str) -> tuple[int, int]:
    """Major and minor number of a version such as `0.6.2` or `0.7rc1`; zeros for what is none."""
    found = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def load_torchsim(make: Callable[[], Any], job: LoadJob) -> NamedModel:
    """The model of an entry.

    Args:
        make: Makes TorchSim's model.
        job: What is loaded.

    Raises:
        UserError: TorchSim is too old, or what is made is no model of TorchSim's.
    """
    if release(version(_PACKAGE)) < _OLDEST:
        raise UserError(
            f"model {job.name!r}: {_PACKAGE} {version(_PACKAGE)} is older than 0.6; pin a newer "
            "one in `requirements`"
        )
    model = make()
    if not isinstance(model, ModelInterface):
        raise UserError(
            f"model {job.name!r}: `model: {job.settings['model']}` returns a "
            f"{type(model).__name__}, which is no model of TorchSim's; correct the path"
        )
    return NamedModel(model, job.settings)
