"""Models that failed, and why: what a run with `strict: true` ends with.

A model that does not take an element or a charge says so and has not failed; nor has one whose
molecule breaks in dynamics, which is what is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from pesbench.core.interface import Status

FAILED = (Status.NONFINITE, Status.ERROR, Status.OUT_OF_MEMORY, Status.TIMEOUT, Status.CRASHED)


@dataclass(frozen=True)
class ModelFailure:
    """Number of failures of a model of one kind.

    Attributes:
        model: Name of the model.
        what: What it was asked for, such as `scans` or `trajectories`.
        status: How.
        count: Number of items on which it failed.
        planned: Number of planned items.
        message: What was said of the first of them.
    """

    model: str
    what: str
    status: Status
    count: int
    planned: int
    message: str

    def __str__(self) -> str:
        return (
            f"{self.model}: {self.status.value} on {self.count} of {self.planned} {self.what} "
            f"({self.message})"
        )


def model_failures(scores: Mapping[str, Mapping[str, pd.DataFrame]]) -> list[ModelFailure]:
    """Every way in which models failed.

    Args:
        scores: Scores by item and by model, with the columns `status` and `message`.

    Returns:
        By model, then what it was asked for, then status; each in the order given.
    """
    found = []
    for model in dict.fromkeys(name for some in scores.values() for name in some):
        for what, some in scores.items():
            if model not in some:
                continue
            rows = some[model]
            for status in FAILED:
                hit = rows[rows["status"] == status.value]
                if len(hit):
                    message = str(hit["message"].iloc[0])
                    found.append(ModelFailure(model, what, status, len(hit), len(rows), message))
    return found
