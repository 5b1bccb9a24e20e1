"""Controls of one kind and growing dose: what a known defect of the reference scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pesbench.metrics import aggregate

if TYPE_CHECKING:
    import pandas as pd

    from pesbench.models.facts import ModelFacts


@dataclass(frozen=True)
class ControlLadder:
    """A kind of control whose dose a score is translated to.

    Attributes:
        kind: Kind of the control.
        column: Column of the leaderboard that gets the number.
        no_defect: The dose that leaves the reference as it is.
        sentence: How a dose is said.
    """

    kind: str
    column: str
    no_defect: float
    sentence: Callable[[float], str]

    def size(self, dose: float) -> float | None:
        """Place of a control on the ladder; None if it has none.

        A shift to shorter and one to longer bonds have the same size.
        """
        if self.kind == "shift":
            return abs(dose)
        return dose if dose > self.no_defect else None


CONTROL_LADDERS = (
    ControlLadder("step", "equivalent_step", 1.0, lambda d: f"{d:.3g}-fold force step"),
    ControlLadder(
        "shift", "equivalent_shift_angstrom", 0.0, lambda d: f"{d:.2g} Å bond-length shift"
    ),
    ControlLadder(
        "noise", "equivalent_noise_ev_per_angstrom", 0.0, lambda d: f"{d:.2g} eV/Å noise"
    ),
)


def ladder_scores(
    ladder: ControlLadder, facts: Iterable[ModelFacts], scored: Mapping[str, pd.Series]
) -> pd.DataFrame:
    """FSD of a ladder's controls: one row a scan, one column a size of the defect.

    Two controls of one size (shifts of both signs) are averaged. Only scans that every control
    of the ladder has a score for are in it.
    """
    import pandas as pd  # not at first: `pesbench check` has the ladders without it

    by_size: dict[float, list[pd.Series]] = {}
    for fact in facts:
        if fact.control is None or fact.control[0] != ladder.kind or fact.control[1] is None:
            continue
        size = ladder.size(fact.control[1])
        if size is not None:
            by_size.setdefault(size, []).append(scored[fact.name])
    columns = {
        size: pd.concat(controls, axis=1, join="inner").mean(axis=1, skipna=False)
        for size, controls in sorted(by_size.items())
    }
    return pd.concat(columns, axis=1, join="inner") if columns else pd.DataFrame()


def equivalents(full: pd.Series, ladders: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """The doses at which the ladders score as a model does, on the scans both have."""
    found: dict[str, Any] = {}
    words = []
    for ladder in CONTROL_LADDERS:
        table = ladders[ladder.kind]
        both = full.index.intersection(table.index)
        if table.empty or not len(both):
            continue
        equivalent = aggregate.equivalent_dose(
            aggregate.mean(full[both]),
            table.columns.to_numpy(dtype=float),
            table.loc[both].mean(axis=0, skipna=False).to_numpy(),
            ladder.no_defect,
        )
        said = ladder.sentence(equivalent.dose)
        words.append(f"beyond {said}" if equivalent.beyond else said)
        found[ladder.column] = np.inf if equivalent.beyond else equivalent.dose
    return {"equivalent": "; ".join(words) or "n/a", **found}
