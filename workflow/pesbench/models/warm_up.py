"""Calls of a freshly loaded model that count for nothing, so that its process does not show.

A just-in-time compiler (TorchScript, in all of MACE) watches the first call of a process and rounds
it differently from those that it has compiled. A resumed run, which starts a process anew, would
differ in the last bit from an undisturbed one.
"""

from __future__ import annotations

import contextlib

import numpy as np

from pesbench.core.interface import PARAMETERS_SHA256, Model, ModelInfo, molecules_batch
from pesbench.models.parameters import NOT_VISIBLE

CALLS = 3
_HYDROGEN = 1
_CORNER_ANGSTROM = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.1, 0.0], [0.0, 0.0, 1.2]])


def warm_up(model: Model, info: ModelInfo) -> None:
    """Call a model that holds a torch network some times, and ignore how the calls end.

    The molecule has four atoms of the lightest element that the model knows, hence an even number
    of electrons.

    Args:
        model: The model.
        info: What `loaded_info` tells of it.
    """
    if info.details[PARAMETERS_SHA256] == NOT_VISIBLE:
        return
    element = min(info.elements or {_HYDROGEN})
    numbers = np.full(len(_CORNER_ANGSTROM), element)
    with contextlib.suppress(Exception):  # it will fail again where it counts
        for _ in range(CALLS):
            model.evaluate(molecules_batch([_CORNER_ANGSTROM], [numbers], [0], [1]))
