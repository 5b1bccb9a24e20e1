"""The ladder: a baseline and models that are one design choice apart from it, side by side.

A row is a potential, its seeds together: the mean of the seeds, each the mean over what it has
scores of. A difference of two rows is taken on the scans, trajectories or molecules that all seeds
of both have, and judged against the noise of seeds on the same ones (`compare.ladder.noise`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pesbench.compare.inputs import CompareInputs, dynamics_columns
from pesbench.compare.ladder import noise as noise_of_seeds
from pesbench.compare.ladder.cards import Card, read_card, seeds_on_other_frames
from pesbench.compare.ladder.noise import Difference, SeedNoise
from pesbench.compare.ladder.quantities import (
    QUANTITIES,
    Measured,
    Quantity,
    of_card,
    of_dynamics,
    of_scans,
    of_vibrations,
)
from pesbench.core.interface import Status
from pesbench.models.registry import ModelEntry

Array = NDArray[np.float64]

COUNTS = (
    "scans_planned",
    "scans_scored",
    "scans_masked",
    "scans_trained_with",
    "runs_planned",
    "runs_finished",
    "runs_counted",
    "molecules_planned",
    "molecules_scored",
    "molecules_not_relaxed",
)


@dataclass(frozen=True, eq=False)
class Row:
    """A potential.

    Attributes:
        name: Name that its seeds share.
        members: Models of the run that are seeds of it.
        card: Card of its first seed; None without a card. The choices of the others are the same,
            but for the frames of `other_frames`.
        other_frames: Members that were trained on other frames than the first one.
    """

    name: str
    members: tuple[str, ...]
    card: Card | None
    other_frames: tuple[str, ...] = ()

    @property
    def choices(self) -> dict[str, Any]:
        """Design choices of the potential; empty without a card."""
        return {} if self.card is None else self.card.choices


@dataclass(frozen=True, eq=False)
class Compared:
    """Two rows by one quantity, on what all seeds of both have.

    Attributes:
        one: Mean of the seeds of the one; NaN if it has no number.
        other: Value of the other row.
        difference: One minus other, of the logarithms where the quantity has `log`.
        n: Number of scans, trajectories or molecules; 1 for a number of the whole model.
    """

    one: float
    other: float
    difference: Difference
    n: int


@dataclass(frozen=True, eq=False)
class DesignLadder:
    """The rows of a ladder and their numbers.

    Attributes:
        rows: The baseline first.
        measured: Values by column and model; a model without a number of a kind has no entry.
        repeated: Numbers of each potential with several seeds that have them, by column: one
            column a seed, one row a scan, trajectory or molecule that all of them have.
        noise: Noise of seeds, by column, on all of `repeated`.
        counts: One row a model, the columns `COUNTS`. Masked scans are no test of the model, so
            not scored; trained with are those that are scored although its loss held their FSD.
        horizon_ps: Horizon of the survival time; NaN without dynamics.
        reference: The model that failures are counted in excess of; None if none ran dynamics.
        floor: Drift and RMS of the reference itself, by column, below which nothing is measured.
    """

    rows: tuple[Row, ...]
    measured: Mapping[str, Mapping[str, Measured]]
    repeated: Mapping[str, Sequence[pd.DataFrame]]
    noise: Mapping[str, SeedNoise]
    counts: pd.DataFrame
    horizon_ps: float
    reference: str | None
    floor: Mapping[str, float]

    @property
    def baseline(self) -> Row:
        """The first row."""
        return self.rows[0]

    def seeds(self, column: str, row: Row) -> Array:
        """A quantity of each seed of a row that has it, each over all that it has."""
        values = values_of(self.measured[column], row)
        quantity = QUANTITIES[column]
        seeds = [quantity.statistic(one.to_numpy(dtype=float)[:, None]) for one in values]
        return np.concatenate([np.empty(0), *seeds])

    def compare(self, column: str, one: Row, other: Row) -> Compared:
        """One row against another by a quantity, on what all seeds of both have.

        So is the noise: a mean over fewer scans has more of it.
        """
        mine, others = (values_of(self.measured[column], row) for row in (one, other))
        shared = _shared([*mine, *others])
        n = len(shared) if mine and others else 0
        if not n:
            nothing = Difference(float("nan"), float("nan"))
            return Compared(float("nan"), float("nan"), nothing, 0)
        quantity = QUANTITIES[column]
        a = quantity.statistic(_side_by_side(mine, shared).to_numpy(dtype=float))
        b = quantity.statistic(_side_by_side(others, shared).to_numpy(dtype=float))
        noise = _noise(quantity, self.repeated[column], among=shared)
        if quantity.share:
            noise = noise_of_seeds.of_a_share(noise, float(a.mean() + b.mean()) / 2, n)
        found = noise_of_seeds.difference(quantity.compared(a), quantity.compared(b), noise)
        return Compared(float(a.mean()), float(b.mean()), found, n)


def values_of(measured: Mapping[str, Measured], row: Row) -> list[pd.Series]:
    """A quantity of each seed of a row that has any of it."""
    kept = (measured[name].values for name in row.members if name in measured)
    return [values for values in kept if len(values)]


def _shared(series: Sequence[pd.Series]) -> pd.Index:
    """Items that all of some sets have; none for no sets."""
    indices = [values.index for values in series]
    return reduce(lambda a, b: a.intersection(b), indices) if indices else pd.Index([])


def _side_by_side(series: Sequence[pd.Series], items: pd.Index) -> pd.DataFrame:
    """One column a series, one row an item that all of them have."""
    return pd.concat([values.reindex(items) for values in series], axis=1)


# --- the ladder ----------------------------------------------------------------------------------


def make_ladder(
    inputs: CompareInputs, entries: Mapping[str, ModelEntry], names: Sequence[str]
) -> DesignLadder:
    """The ladder of a run.

    Args:
        inputs: Facts and scores of its models, of the reference and of all that ran dynamics.
        entries: Entries of the ladder's models, resolved, by name.
        names: Names of the ladder's models, a seed of the baseline first; rows are in the order in
            which they occur.

    Raises:
        UserError: a card is that of other weights, or seeds of one potential differ in more than
            the seed.
    """
    cards = {name: read_card(entries[name]) for name in names}
    measured: dict[str, dict[str, Measured]] = {column: {} for column in QUANTITIES}
    lives = dynamics_columns(inputs.dynamics, inputs.reference).set_index("model")
    for name in names:
        found = of_scans(inputs.scores[name])
        if (card := cards[name]) is not None:
            found |= of_card(card)
        if name in inputs.dynamics:
            found |= of_dynamics(inputs.dynamics[name], lives["survival"][name])
        if name in inputs.vibrations:
            found |= of_vibrations(inputs.vibrations[name])
        for column, one in found.items():
            measured[column][name] = one
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(entries[name].potential, []).append(name)
    rows = tuple(_row(potential, found, cards) for potential, found in members.items())
    repeated = {column: _repeated(rows, measured[column]) for column in QUANTITIES}
    return DesignLadder(
        rows=rows,
        measured=measured,
        repeated=repeated,
        noise={column: _noise(QUANTITIES[column], repeated[column]) for column in QUANTITIES},
        counts=pd.DataFrame(
            [_counts(name, inputs, lives, cards[name]) for name in names], index=list(names)
        ),
        horizon_ps=float(lives["survival_horizon_ps"].iloc[0]) if len(lives) else float("nan"),
        reference=inputs.reference,
        floor=_floor(inputs.reference, lives),
    )


def _floor(reference: str | None, lives: pd.DataFrame) -> dict[str, float]:
    if reference not in lives.index:
        return {}
    of_board = {
        "energy_drift_mev_per_atom_ps": "energy_drift", "energy_rms_mev_per_atom": "energy_rms"
    }  # fmt: skip
    return {column: float(lives.loc[reference, name]) for column, name in of_board.items()}


def _row(potential: str, names: Sequence[str], cards: Mapping[str, Card | None]) -> Row:
    told = {name: card for name in names if (card := cards[name]) is not None}
    first = next(iter(told.values()), None)
    return Row(potential, tuple(names), first, seeds_on_other_frames(potential, told))


def _repeated(rows: Iterable[Row], measured: Mapping[str, Measured]) -> list[pd.DataFrame]:
    """Numbers of one quantity for every potential's seeds, on what all of them have."""
    found = []
    for row in rows:
        seeds = values_of(measured, row)
        shared = _shared(seeds)
        if len(seeds) > 1 and len(shared):
            found.append(_side_by_side(seeds, shared))
    return found


def _noise(
    quantity: Quantity, repeated: Iterable[pd.DataFrame], among: pd.Index | None = None
) -> SeedNoise:
    """Noise of one quantity, on what all seeds of a potential have, or on these among it."""
    kept = (seeds if among is None else seeds[seeds.index.isin(among)] for seeds in repeated)
    groups = [
        quantity.compared(quantity.statistic(seeds.to_numpy(dtype=float)))
        for seeds in kept
        if len(seeds)
    ]
    return noise_of_seeds.seed_noise(groups)


def _counts(
    name: str, inputs: CompareInputs, lives: pd.DataFrame, card: Card | None
) -> dict[str, int]:
    scans = inputs.scores[name]
    scored = scans["status"] == Status.OK.value
    trained = scans["scan"].isin(card.trained_scans if card is not None else ())
    found = dict.fromkeys(COUNTS, 0)
    found |= {
        "scans_planned": len(scans),
        "scans_scored": int(scored.sum()),
        "scans_masked": int((scans["status"] == Status.MASKED.value).sum()),
        "scans_trained_with": int((scored & trained).sum()),
    }
    if name in lives.index:
        for count in ("planned", "finished", "counted"):
            found[f"runs_{count}"] = int(lives.loc[name, f"md_n_{count}"])
    if name in inputs.vibrations:
        rows = inputs.vibrations[name]
        ok = rows["status"] == Status.OK.value
        found["molecules_planned"] = len(rows)
        found["molecules_scored"] = int(rows["mae_cm1"].notna().sum())
        found["molecules_not_relaxed"] = int((ok & ~rows["relaxed"].astype(bool)).sum())
    return found
