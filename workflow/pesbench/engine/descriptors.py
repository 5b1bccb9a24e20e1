"""What is asked of a network in its own process: the scalar features of every atom."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pesbench.core.interface import Batch, Model, NodeFeatures, NotDescribedError

WHY = "not_described"  # key of an answer that says why there are no features


def descriptors(model: Model, batch: Batch) -> dict[str, Any]:
    """The scalars of every atom after the last layer that has any.

    Of a network that is not equivariant they are all features, which change as a molecule turns.

    Args:
        model: A loaded model.
        batch: Frames.

    Returns:
        `shape` (A, D) and `content` for `unpacked`, and `layer`; or `WHY`.
    """
    describe = getattr(model, "describe", None)
    if describe is None:
        return {WHY: "its family gives no features of atoms"}
    try:
        layers: Mapping[str, NodeFeatures] = describe(batch)
    except NotDescribedError as error:
        return {WHY: str(error)}
    for name in reversed(layers):
        values = layers[name].scalars
        if values.shape[1]:
            content = np.ascontiguousarray(values, dtype="<f4").tobytes()
            packed = base64.b64encode(content).decode()
            return {"layer": name, "shape": list(values.shape), "content": packed}
    return {WHY: "its features hold no scalars"}


def unpacked(answer: Mapping[str, Any], n_atoms: int) -> NDArray[np.float32]:
    """The array of an answer, shape (A, D).

    Raises:
        ValueError: it is none for so many atoms.
    """
    rows, columns = (int(n) for n in answer["shape"])
    if rows != n_atoms:
        raise ValueError(f"features of {rows} atoms, not of {n_atoms}")
    content = base64.b64decode(answer["content"], validate=True)
    return np.frombuffer(content, dtype="<f4").reshape(rows, columns).astype(np.float32)
