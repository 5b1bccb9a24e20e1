"""Whether two arrays that one model gave twice are the same within rounding."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Rounding:
    """Comparison of the same numbers in two files.

    Attributes:
        largest: Largest difference by unit, over all items or rows.
        apart: Items that start alike and do not stay so, because rounding grows in them.
    """

    largest: dict[str, float] = field(default_factory=dict)
    apart: int = 0

    def within(self, one: Any, other: Any, limit: float, unit: str) -> bool:
        """Whether two arrays have gaps at the same places and are no farther apart."""
        a, b = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
        if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return False
        far = float(np.abs(a - b, where=np.isfinite(a), out=np.zeros_like(a)).max(initial=0.0))
        if far:
            self.largest[unit] = max(far, self.largest.get(unit, 0.0))
        return far <= limit

    def __str__(self) -> str:
        said = [f"{size:.2g}{' ' * bool(unit)}{unit}" for unit, size in self.largest.items()]
        return f"at most {' and '.join(said)}" if said else ""


def half_the_digits(dtypes: Iterable[str]) -> float:
    """What two runs of one model may differ by, relative to the largest number of an item.

    Other batches, another order of sums and another processor change the last digits, and a
    self-consistent field or a deep network makes more of it.

    Args:
        dtypes: Precisions of the arithmetic, as the files state them.
    """
    kind = np.float32 if any("32" in dtype for dtype in dtypes) else np.float64
    return float(np.sqrt(np.finfo(kind).eps))


def largest(values: Any) -> float:
    """The largest finite number without its sign, at least 1."""
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max(initial=1.0))
