"""Input of `explorer`, the optional stage of a task that gives the explorer its data.

A module `tasks/<name>/explorer.py` holds `explorer(job: ExplorerJob) -> dict`. It reads stored
files, hands one piece after the other to `job.put`, and returns what is always loaded.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Explored:
    """A model in the explorer.

    Attributes:
        name: Name of the model.
        role: `model`, `reference`, `perturbed` or `control`.
        scores: Its scores in the task.
        files: What `run` wrote for it; none where there are only scores.
    """

    name: str
    role: str
    scores: pd.DataFrame
    files: Sequence[Path] = ()


@dataclass(frozen=True)
class ExplorerJob:
    """Input of `explorer`.

    Attributes:
        scan_set: Scan set file.
        models: Models that have scores in the task, by their number in the explorer.
        put: Writes a piece of data, of plain values, that the page loads by this name when it
            needs it.
    """

    scan_set: Path
    models: Mapping[int, Explored]
    put: Callable[[str, Any], None]


class Packed(str):
    """Numbers as base64, which is no text for readers and stays as it is."""

    __slots__ = ()


def packed(values: ArrayLike, kind: str = "<f4") -> Packed:
    """Numbers as base64 of their little-endian bytes, in the order of C.

    Args:
        values: Any shape.
        kind: Type of NumPy, `<f2` or `<f4` or `<f8`; what is too large for it becomes infinite.
    """
    with np.errstate(over="ignore"):
        return Packed(base64.b64encode(np.asarray(values).astype(kind).tobytes()).decode())
