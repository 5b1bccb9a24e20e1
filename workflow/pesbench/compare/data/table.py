"""The potentials of the data study as a table, seeds together, and the noise of seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from pesbench.compare.association.trajectories import start_failures
from pesbench.compare.comparison import APPROACH, BONDS
from pesbench.compare.data.cards import TrainedOn, trained_of
from pesbench.compare.inputs import CompareInputs, dynamics_columns, main_runs
from pesbench.compare.ladder.noise import Difference, SeedNoise, difference, of_a_share, seed_noise
from pesbench.core.interface import Status
from pesbench.metrics.board import scored_values
from pesbench.metrics.survival import Outcome
from pesbench.training.data_plan import KINDS

RUNS, SCANS, PAIRS = "runs", "scans", "pairs"  # what a quantity is the mean over
BOND = "bond"  # kind of pairs, in the scores of the approach
PLANNED = "_planned"  # at the end of a column: runs or scans that were planned
AT_START = "runs_failed_at_start"
_NOT_ASKED = (Status.UNSUPPORTED.value, Status.MASKED.value)


@dataclass(frozen=True)
class Quantity:
    """A number of a potential.

    Attributes:
        column: Column of the table.
        title: Title for readers.
        unit: Unit for readers.
        better: +1 if higher is better, -1 if lower is.
        of: What it is the mean over, or "" for the card's number.
        share: Whether it is a share of these.
        logarithmic: Whether it is positive and has no largest value, so that its axis is
            logarithmic, and two potentials are compared by its logarithm.
        panel: Title of its panel, where that of the table is too long; "" for the same.
    """

    column: str
    title: str
    unit: str
    better: int
    of: str
    share: bool = False
    logarithmic: bool = False
    panel: str = ""

    def compared(self, seeds: np.ndarray) -> np.ndarray:
        """What two potentials are compared by: the values of seeds, or their logarithms."""
        return np.log(seeds[seeds > 0]) if self.logarithmic else seeds

    def change(self, found: Difference) -> str:
        """A difference of `DataStudy.compare` for readers: a factor of a logarithmic quantity."""
        value = self.better * found.value
        return f"×{np.exp(value):.2g}" if self.logarithmic else f"{value:+.2g}"


WITH, WITHOUT = "monotone_with", "monotone_without"
HOLE, HOLE_WITH, HOLE_WITHOUT = (f"hole_radius{of}_angstrom" for of in ("", "_with", "_without"))
ALL_HOLES = Quantity(HOLE, "hole radius", "Å", -1, PAIRS)  # of molecules of either kind
_FIXED = (
    Quantity(
        HOLE_WITH,
        "hole radius, molecules with approach frames",
        "Å",
        -1,
        PAIRS,
        panel="hole radius (Å),\nmolecules with approach frames",
    ),
    Quantity(
        HOLE_WITHOUT,
        "hole radius, molecules without",
        "Å",
        -1,
        PAIRS,
        panel="hole radius (Å),\nmolecules without",
    ),
    Quantity(
        WITH,
        "monotone pairs, molecules with approach frames",
        "",
        1,
        PAIRS,
        share=True,
        panel="monotone pairs,\nmolecules with approach frames",
    ),
    Quantity(
        WITHOUT,
        "monotone pairs, molecules without",
        "",
        1,
        PAIRS,
        share=True,
        panel="monotone pairs,\nmolecules without",
    ),
    Quantity("fsd_full_per_angstrom", "FSD", "Å⁻¹", -1, SCANS, logarithmic=True),
    Quantity(
        "force_mae_mev_per_angstrom",
        "force MAE, held-out frames",
        "meV/Å",
        -1,
        "",
        logarithmic=True,
        panel="force MAE (meV/Å),\nheld-out frames",
    ),
)


def survival_column(temperature_k: float) -> str:
    """Column of the survival at a temperature."""
    return f"survival_{temperature_k:g}_k_ps"


@dataclass(frozen=True, eq=False)
class DataStudy:
    """All numbers of the data study.

    Attributes:
        models: One row a model: `family`, `kind`, `frames`, `potential`, and for each quantity its
            value and `<column>_n`, what it is the mean over; of a mean over runs or scans also
            `<column>_planned`.
        quantities: By column, survival at each temperature among them.
        temperatures_k: Temperatures of the dynamics, ascending.
        horizon_ps: Horizon of the survival; NaN without dynamics.
        approached: Molecules with approach frames, in any training.
        kinds: Kinds of trainings with their titles, in order.
    """

    models: pd.DataFrame
    quantities: Mapping[str, Quantity]
    temperatures_k: Sequence[float]
    horizon_ps: float
    approached: frozenset[str]
    kinds: Mapping[str, str] = field(default_factory=lambda: KINDS)

    @property
    def families(self) -> list[str]:
        """The families, sorted."""
        return sorted(set(self.models["family"]))

    def frames(self, family: str, kind: str) -> list[int]:
        """The numbers of frames that a family was trained with, ascending."""
        chosen = (self.models["family"] == family) & (self.models["kind"] == kind)
        return sorted({int(n) for n in self.models.loc[chosen, "frames"]})

    def seeds(self, family: str, kind: str, frames: int, column: str) -> np.ndarray:
        """A quantity of all seeds of a potential that have it, shape (seeds,)."""
        chosen = (
            (self.models["family"] == family)
            & (self.models["kind"] == kind)
            & (self.models["frames"] == frames)
        )
        values = self.models.loc[chosen, column].to_numpy(dtype=float)
        return values[np.isfinite(values)]

    def noise(self, family: str, column: str) -> SeedNoise:
        """Noise of seeds, pooled over the potentials of a family with several.

        Of a logarithmic quantity it is that of the logarithm.
        """
        return seed_noise(
            self.quantities[column].compared(self.seeds(family, kind, n, column))
            for kind in self.kinds
            for n in self.frames(family, kind)
        )

    def compare(
        self, family: str, column: str, one: tuple[str, int], other: tuple[str, int]
    ) -> Difference:
        """The difference of two potentials of a family, by kind and frames, counted so that a
        positive one is better.
        """
        quantity = self.quantities[column]
        a, b = (quantity.compared(self.seeds(family, *of, column)) for of in (one, other))
        noise = self.noise(family, column)
        whole = 1.0 if quantity.share else self.horizon_ps if quantity.of == RUNS else None
        if whole is not None and a.size and b.size:
            n = int(self.models[f"{column}_n"].max())
            mean = float(a.mean() + b.mean()) / 2
            noise = of_a_share(noise, mean, max(1, n), whole=whole)
        return difference(quantity.better * a, quantity.better * b, noise)


def make_study(inputs: CompareInputs) -> DataStudy:
    """The data study of a run.

    Raises:
        UserError: a card is that of other weights, or not understood.
    """
    trained = trained_of(inputs.entries)
    approached = frozenset().union(*(one.approach_molecules for one in trained.values()))
    dynamics = inputs.dynamics
    temperatures = sorted(
        {float(t) for name in trained if name in dynamics for t in dynamics[name]["temperature_k"]}
    )
    alive_at = {t: lives(dynamics, t, inputs.reference) for t in temperatures}
    rows = []
    for name, one in trained.items():
        row: dict[str, Any] = {
            "model": name,
            "family": one.family,
            "kind": one.kind,
            "frames": one.frames,
            "approach_frames": one.approach_frames,
            "approach_molecules": len(one.approach_molecules),
            "harvested_frames": one.harvested_frames,
            "potential": one.potential,
            **of_scans(inputs, name, {"fsd_full_per_angstrom": "fsd_full"}),
            **of_pairs(inputs.tables.get(APPROACH, {}).get(name), approached),
            **of_card(one),
        }
        row |= survivals(name, alive_at)
        rows.append(row)
    alive = survival_quantities(temperatures)
    return DataStudy(
        models=pd.DataFrame(rows),
        quantities={one.column: one for one in (*_FIXED[:-1], *alive, _FIXED[-1])},
        temperatures_k=temperatures,
        horizon_ps=horizon(alive_at),
        approached=approached,
    )


def survival_quantities(temperatures_k: Sequence[float]) -> list[Quantity]:
    """The survival at each temperature."""
    return [
        Quantity(survival_column(t), f"survival at {t:g} K", "ps", 1, RUNS) for t in temperatures_k
    ]


def survivals(name: str, alive_at: Mapping[float, pd.DataFrame]) -> dict[str, float]:
    """Survival of a model at each temperature, of `lives`, with the runs counted and planned, and
    at all temperatures together those that failed before their first step.
    """
    row: dict[str, float] = {AT_START: 0}
    for t, table in alive_at.items():
        there = name in table.index
        column = survival_column(t)
        row[column] = float(table.loc[name, "survival"]) if there else float("nan")
        row[f"{column}_n"] = int(table.loc[name, "md_n_counted"]) if there else 0
        row[column + PLANNED] = int(table.loc[name, "md_n_planned"]) if there else 0
        row[AT_START] += int(table.loc[name, AT_START]) if there else 0
    return row


def horizon(alive_at: Mapping[float, pd.DataFrame]) -> float:
    """Horizon of the survivals of `lives`, ps; NaN without any."""
    found = [float(table["survival_horizon_ps"].iloc[0]) for table in alive_at.values()]
    return min(found, default=float("nan"))


def lives(
    dynamics: Mapping[str, pd.DataFrame], temperature_k: float, reference: str | None
) -> pd.DataFrame:
    """Survival of every model at one temperature, by model.

    A run that failed before its first step, as of a molecule that the model breaks in relaxation,
    counts as a failure at time 0. The leaderboard has it apart, as not at risk; here the worst
    potentials would look like the best of those that have a few runs left.

    Returns:
        As `dynamics_columns`, with the number of these runs as `runs_failed_at_start`.
    """
    some, at_start = {}, {}
    for name, rows in dynamics.items():
        kept = rows[np.isclose(rows["temperature_k"], temperature_k)]
        if not len(kept):
            continue
        lost = start_failures(kept)
        at_start[name] = int((lost & kept.index.isin(main_runs(kept).index)).sum())
        if name != reference:
            kept = kept.assign(
                outcome=kept["outcome"].mask(lost, Outcome.FAILED.value),
                time_ps=kept["time_ps"].mask(lost, 0.0),
            )
        some[name] = kept
    found = dynamics_columns(some, reference if reference in some else None).set_index("model")
    return found.assign(**{AT_START: pd.Series(at_start, dtype=int)})


def of_card(one: TrainedOn) -> dict[str, Any]:
    """The force MAE of a card."""
    return {"force_mae_mev_per_angstrom": one.force_mae, "force_mae_mev_per_angstrom_n": 1}


def of_scans(inputs: CompareInputs, name: str, metrics: Mapping[str, str]) -> dict[str, Any]:
    """Means of a model over scans, and their numbers.

    Args:
        inputs: Of the comparison.
        name: Of the model.
        metrics: Metric of each column.
    """
    rows = inputs.scores.get(name) if BONDS in inputs.tables else None
    found: dict[str, Any] = {}
    for column, metric in metrics.items():
        values = np.array([]) if rows is None else scored_values(rows, metric)
        found[column] = float(values.mean()) if len(values) else float("nan")
        found[f"{column}_n"] = len(values)
        found[column + PLANNED] = 0 if rows is None else len(rows)
    return found


def of_pairs(rows: pd.DataFrame | None, approached: frozenset[str]) -> dict[str, Any]:
    """Numbers of the bonded pairs in the scores of the approach, of molecules `approached` apart.

    Shares are of all pairs whose elements the model knows; one that failed, as after an energy that
    is not finite, is not monotone. The hole radius is a mean over those with a score; it is 0 of a
    pair without a hole.
    """
    counts = ("pairs_planned", "pairs_scored", "pairs_failed")
    found: dict[str, Any] = dict.fromkeys(counts, 0) | {"largest_hole_angstrom": None}
    means = (HOLE, HOLE_WITH, HOLE_WITHOUT, WITH, WITHOUT)
    found |= {name: float("nan") for name in means} | {f"{name}_n": 0 for name in means}
    if rows is None:
        return found
    bonds = rows[rows["kind"] == BOND]
    asked = bonds[~bonds["status"].isin(_NOT_ASKED)]
    scored = scored_values(asked, "monotone")
    monotone = scored.reindex(asked.index, fill_value=0.0)
    holes = scored_values(asked, "hole_radius_angstrom")
    has = asked["system"].isin(approached)
    with_holes = holes[has.reindex(holes.index)]
    without_holes = holes[~has.reindex(holes.index)]
    found |= {
        "pairs_planned": len(bonds),
        "pairs_scored": len(scored),
        "pairs_failed": len(asked) - len(scored),
        "largest_hole_angstrom": float(holes.max()) if len(holes) else float("nan"),
    }
    of_mean = (holes, with_holes, without_holes, monotone[has], monotone[~has])
    for name, values in zip(means, of_mean, strict=True):
        found[name] = float(values.mean()) if len(values) else float("nan")
        found[f"{name}_n"] = len(values)
    return found


def _deviation(values: pd.Series) -> float:
    """Standard deviation of seeds; NaN for one, and 0 where only rounding tells them apart."""
    found = seed_noise([values]).sd
    return 0.0 if found <= 1e-12 * float(values.abs().max()) else found


_COUNTS = ("pairs_planned", "pairs_scored", "pairs_failed", "harvested_frames", AT_START)


def potential_rows(study: DataStudy) -> pd.DataFrame:
    """One row a potential, its seeds together.

    Returns:
        `family`, `kind`, `frames`, `approach_frames`, `approach_molecules` (the fewest of its
        seeds), `n_seeds`, `pairs_planned`, `pairs_scored`, `pairs_failed`, `harvested_frames` and
        `runs_failed_at_start` of all seeds, `largest_hole_angstrom` (the largest of all), and for
        each quantity its mean over the seeds, `_seed_sd`, `_seeds` (that have it), `_n` (what it is
        the mean over, in all seeds) and `_planned` (of runs and scans).
    """
    rows = []
    order = ["family", "kind", "frames"]
    for key, group in study.models.groupby(order, sort=False):
        row: dict[str, Any] = dict(zip(order, key, strict=True))
        row |= {"approach_frames": int(group["approach_frames"].max()), "n_seeds": len(group)}
        row["approach_molecules"] = int(group["approach_molecules"].min())
        for count in _COUNTS:
            row[count] = int(group[count].fillna(0).sum()) if count in group else 0
        row["largest_hole_angstrom"] = group["largest_hole_angstrom"].astype(float).max()
        for column in study.quantities:
            values = group[column].astype(float).dropna()
            row[column] = float(values.mean()) if len(values) else float("nan")
            row[f"{column}_seed_sd"] = _deviation(values)
            row[f"{column}_seeds"] = len(values)
            row[f"{column}_n"] = int(group[f"{column}_n"].sum())
            if (planned := column + PLANNED) in group:
                row[planned] = int(group[planned].sum())
        rows.append(row)
    table = pd.DataFrame(rows)
    rank = {kind: k for k, kind in enumerate(study.kinds)}
    return table.sort_values(
        order, key=lambda c: c.map(rank) if c.name == "kind" else c, ignore_index=True
    )
