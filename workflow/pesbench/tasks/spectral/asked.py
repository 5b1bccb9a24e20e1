"""What is asked of a network in its own process: the features of one atom of each frame."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pesbench.core.interface import Batch, Model, NodeFeatures, NotDescribedError
from pesbench.models.untrained import is_scrambled, scramble

WHY = "not_described"  # key of an answer that says why there are no features


def layers(model: Model, batch: Batch) -> dict[str, Any]:
    """The irreps of the layers of a model by name, or why there are none.

    Args:
        model: A loaded model.
        batch: Any batch that it knows the elements of.
    """
    try:
        found = _described(model, batch)
    except NotDescribedError as error:
        return {WHY: str(error)}
    return {"layers": {name: list(map(list, one.irreps or ())) for name, one in found.items()}}


def features(
    model: Model, batch: Batch, names: Sequence[str], atom: int, scrambled_by: str = ""
) -> dict[str, Any]:
    """The features of an atom after some layers.

    Args:
        model: A loaded model.
        batch: Frames of one molecule.
        names: Layers.
        atom: Index of the atom in its frame.
        scrambled_by: Name by which the parameters are scrambled first, if any (`scramble`); the
            model stays so.

    Returns:
        For each layer `of` the features of the atom, shape (S, columns), and `sums` those with l =
        0 summed over all atoms of a frame, shape (S, scalars), both packed (`unpacked`).
    """
    if scrambled_by:
        scramble(model, scrambled_by)
    elif is_scrambled(model):
        raise RuntimeError("the model has been scrambled and is asked as the trained one")
    found = _described(model, batch)
    first = np.flatnonzero(np.diff(batch.system, prepend=-1))
    return {
        name: {
            "of": _packed(found[name].values[first + atom]),
            "sums": _packed(np.add.reduceat(found[name].scalars, first, axis=0)),
        }
        for name in names
    }


def unpacked(packed: Mapping[str, Any]) -> NDArray[np.float32]:
    """An array of an answer.

    Raises:
        ValueError: it is none.
    """
    shape = tuple(int(n) for n in packed["shape"])
    content = base64.b64decode(packed["content"], validate=True)
    return np.frombuffer(content, dtype="<f4").reshape(shape)


def _packed(values: NDArray[np.float64]) -> dict[str, Any]:
    content = np.ascontiguousarray(values, dtype="<f4").tobytes()
    return {"shape": list(values.shape), "content": base64.b64encode(content).decode()}


def _described(model: Model, batch: Batch) -> dict[str, NodeFeatures]:
    describe = getattr(model, "describe", None)
    if describe is None:
        raise NotDescribedError("its family gives no features of atoms with their irreps")
    found: dict[str, NodeFeatures] = describe(batch)
    if any(one.irreps is None for one in found.values()):
        raise NotDescribedError("it is not equivariant, and its features have no irreps")
    return found
