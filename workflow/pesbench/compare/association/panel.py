"""What is compared with what: scan scores and trajectories of many models, on what they share.

Rows of the role `model` only: `scans`, the columns of `scores/bonds.parquet`, and `runs`, those of
`scores/dynamics.parquet` that `runs_in_excess` counted, of one time step. A model below the entry
threshold of the scans, or with a number for less than half of the trajectories, is left out and
named, never taken as 0; what a model that stays has no number for is left out for all, and the
counts say how much is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pesbench.compare.association.trajectories import time_lost
from pesbench.compare.inputs import survivors
from pesbench.metrics.coverage import ENTRY_COVERAGE, why_left_out
from pesbench.metrics.rank_statistics import rounded
from pesbench.metrics.survival import Outcome

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]

TIME_LOST = "time_lost_ps"
FAILED = "failed"

# The sign a metric is expected to have with instability: +1 if lower is better.
CHEAP_METRICS: Mapping[str, int] = {
    "fsd_full": 1,
    "fsd_windowed": 1,
    "fsd_compress": 1,
    "fsd_stretch": 1,
    "fsd_slope_p95": 1,
    "fsd_aligned": 1,
    "force_mae": 1,
    "force_mae_compress": 1,
    "force_mae_stretch": 1,
    "force_mae_1ev": 1,
    "force_mae_2ev": 1,
    "energy_mae": 1,
    "energy_mae_aligned": 1,
    "energy_mae_compress": 1,
    "energy_mae_stretch": 1,
    "energy_mae_1ev": 1,
    "energy_mae_2ev": 1,
    "spurious_extrema": 1,
    "spurious_extrema_force": 1,
    "energy_force_inconsistency": 1,
    "compression_monotone": -1,
    "compression_monotone_force": -1,
}

# What a metric may predict, all of them worse when larger; the drift by its absolute value.
RESPONSES = (
    TIME_LOST,
    FAILED,
    "temperature_spike",
    "energy_drift_mev_per_atom_ps",
    "energy_rms_mev_per_atom",
    "energy_excursion_mev_per_atom",
    "energy_jump_mev",
)
_SIGNED = ("energy_drift_mev_per_atom_ps",)

LEAST_RUNS = 0.5  # share of the trajectories: what fails has few values of drift or spikes
_NAN = float("nan")


class Wide:
    """A table as arrays: one row a model, one column a scan or trajectory, both sorted by name.

    Attributes:
        models: Names of the M models.
        units: Ids of the U scans or trajectories.
        systems: The molecule of each of them.
    """

    def __init__(self, frame: pd.DataFrame, unit: str) -> None:
        """Takes a table.

        Args:
            frame: One row a (model, unit): `model`, `system`, the id in the column `unit`.
            unit: `scan` or `trajectory`.

        Raises:
            ValueError: a model has a unit twice.
        """
        row, models = pd.factorize(frame["model"], sort=True)
        place, units = pd.factorize(frame[unit], sort=True)
        self._frame, self._cell = frame, row * len(units) + place
        if len(np.unique(self._cell)) < len(frame):
            raise ValueError(f"a model has a {unit} twice; pass one time step and one scan set")
        self.models = [str(model) for model in models]
        self.units = [str(one) for one in units]
        first = np.unique(place, return_index=True)[1]
        self.systems = frame["system"].iloc[first].astype(str).tolist()

    def column(self, name: str) -> Array:
        """A column, shape (M, U), NaN for what is missing or not finite.

        Raises:
            ValueError: the table has no such column.
        """
        if name not in self._frame.columns:
            raise ValueError(f"the scores have no column {name!r}")
        values = self._frame[name].to_numpy(np.float64, na_value=_NAN)
        return self._placed(np.where(np.isfinite(values), values, _NAN), _NAN)

    def where(self, name: str, value: str) -> Mask:
        """Whether a column has a value, shape (M, U)."""
        return self._placed((self._frame[name] == value).to_numpy(bool), False)

    def _placed(self, values: NDArray[Any], missing: object) -> NDArray[Any]:
        wide = np.full(len(self.models) * len(self.units), missing, values.dtype)
        wide[self._cell] = values
        return wide.reshape(len(self.models), len(self.units))


def _covered(
    models: Sequence[str], values: Array, least: float, what: str, left_out: dict[str, str]
) -> set[str]:
    """The models that have at least a share of the values (M, U); notes the others."""
    found = np.isfinite(values).sum(axis=1)
    for model, count in zip(models, found, strict=True):
        why = why_left_out(int(count), values.shape[1], least, what)
        if why:
            left_out.setdefault(model, f"has {why}")
    return set(models) - set(left_out)


class Point(NamedTuple):
    """What a model is a point of.

    Attributes:
        variant: Name that the seeds and the numerical variants of one potential share.
        family: Architecture of the variant.
    """

    variant: str
    family: str


@dataclass(frozen=True, eq=False)
class Panel:
    """One cheap metric and one response of V variants, summed by K molecules.

    Sums and counts, not means, because a bootstrap sample of molecules weighs both.

    Attributes:
        metric: Column of the scan scores.
        response: One of `RESPONSES`.
        expected: Sign the correlation has if the metric predicts the response.
        variants: Names, sorted, length V.
        families: Family of each variant, length V.
        members: Models behind each variant, length V.
        scans: Ids of the scans that all of these models have.
        systems: Names of molecules, sorted, length K.
        x_sum: Metric summed over the shared scans of a molecule, mean over models, (V, K).
        x_count: Shared scans of each molecule, (K,).
        y_sum: Response summed over the shared trajectories of a molecule, (V, K).
        y_count: Shared trajectories of each molecule, (K,).
        failed_sum: Failures before the horizon, as `y_sum`.
        y_all_fail: Mean response if what was cut had failed, (V,); None if nothing was cut.
        y_all_survive: Response if every trajectory that was cut had survived.
        left_out: Why, by model.
        n_start_failed: Number of shared trajectories of all models that failed at time 0: none
            but where `failed_at_start` was added to them.
    """

    metric: str
    response: str
    expected: int
    variants: tuple[str, ...]
    families: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]
    scans: tuple[str, ...]
    systems: tuple[str, ...]
    x_sum: Array
    x_count: Index
    y_sum: Array
    y_count: Index
    failed_sum: Array
    y_all_fail: Array | None
    y_all_survive: Array | None
    left_out: Mapping[str, str]
    n_start_failed: int = 0

    @property
    def x(self) -> Array:
        """Mean metric of each variant, (V,); NaN if the models share no scan."""
        return _ratio(self.x_sum.sum(axis=1), self.x_count.sum())

    @property
    def y(self) -> Array:
        """Mean response of each variant, (V,); NaN if the models share no trajectory."""
        return _ratio(self.y_sum.sum(axis=1), self.y_count.sum())

    @property
    def failed(self) -> Array:
        """Share of the shared trajectories that failed, (V,)."""
        return _ratio(self.failed_sum.sum(axis=1), self.y_count.sum())

    @property
    def both(self) -> Mask:
        """Molecules that have a shared scan and a shared trajectory, (K,)."""
        return (self.x_count > 0) & (self.y_count > 0)

    def of(self, chosen: Mask) -> Panel:
        """Some of the variants, on the scans and trajectories that all of them share, (V,) bool."""

        def some(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(value for value, take in zip(values, chosen, strict=True) if take)

        def bound(values: Array | None) -> Array | None:
            return None if values is None else values[chosen]

        return replace(
            self,
            variants=some(self.variants),
            families=some(self.families),
            members=some(self.members),
            x_sum=self.x_sum[chosen],
            y_sum=self.y_sum[chosen],
            failed_sum=self.failed_sum[chosen],
            y_all_fail=bound(self.y_all_fail),
            y_all_survive=bound(self.y_all_survive),
        )


def _ratio(total: Array, count: int) -> Array:
    return rounded(total / count) if count else np.full(total.shape, _NAN)


class Panels:
    """All panels of scans and trajectories, whose tables become arrays once."""

    def __init__(
        self,
        scans: pd.DataFrame,
        runs: pd.DataFrame,
        points: Mapping[str, Point] | None = None,
        least_scans: float = ENTRY_COVERAGE,
    ) -> None:
        """Takes the tables.

        Args:
            scans: One row a (model, scan): `model`, `scan`, `system` and the metrics.
            runs: One row a (model, trajectory): `model`, `trajectory`, `system`, `outcome`,
                `time_ps`, `planned_ps` and the responses. The horizon is the shortest planned run
                of them.
            points: Variant and family of each model; a model that is not among them is a variant,
                and a family, of its own.
            least_scans: Share of the scans that a model needs, see `pesbench.metrics.coverage`.

        Raises:
            ValueError: a row that occurs twice, a trajectory that was not at risk, or one said to
                have survived though it ends before the horizon.
        """
        if (runs["outcome"] == Outcome.NOT_AT_RISK.value).any():
            raise ValueError("a trajectory was not at risk; select with runs_in_excess first")
        self._points, self._least_scans = points or {}, least_scans
        self._scans, self._runs = Wide(scans, "scan"), Wide(runs, "trajectory")
        # what a run does while it breaks is no drift
        self._survivors = Wide(survivors(runs), "trajectory")
        self._horizon = float(runs["planned_ps"].min()) if len(runs) else _NAN
        self._time = self._runs.column("time_ps")
        early = self._time < self._horizon * (1 - 1e-9)
        if (self._runs.where("outcome", Outcome.SURVIVED.value) & early).any():
            raise ValueError("a run ends before the horizon though it is said to have survived")
        self._failed = self._runs.where("outcome", Outcome.FAILED.value) & (
            self._time < self._horizon
        )
        self._cut = early & ~self._failed

    def panel(self, metric: str, response: str = TIME_LOST) -> Panel:
        """Joins a metric and a response over the models, on what they share.

        Args:
            metric: One of `CHEAP_METRICS`.
            response: One of `RESPONSES`.

        Raises:
            ValueError: no such metric or response, or the scores lack its column.
        """
        if metric not in CHEAP_METRICS or response not in RESPONSES:
            raise ValueError(f"no cheap metric {metric!r} or no response {response!r}")
        left_out: dict[str, str] = {}
        derived = response in (TIME_LOST, FAILED)
        said = "trajectories" if derived else f"trajectories with {response}"
        asked = self._runs if derived else self._survivors
        x = self._scans.column(metric)
        y = self._time if derived else asked.column(response)
        named = sorted(
            _covered(self._scans.models, x, self._least_scans, "scans with a score", left_out)
            & _covered(asked.models, y, LEAST_RUNS, said, left_out)
            - _absent(self._scans.models, asked.models, left_out)
        )
        x, scans, x_systems = _shared(self._scans, x, named)
        y, trajectories, y_systems = _shared(asked, y, named)
        systems = sorted({*x_systems, *y_systems})
        x_member, y_member = _member(x_systems, systems), _member(y_systems, systems)
        outcome = self._outcome(named, trajectories, y, response)
        bounds = outcome.bounds

        of_model = [self._points.get(model, Point(model, model)) for model in named]
        groups = [point.variant for point in of_model]
        family = {point.variant: point.family for point in of_model}
        labels = sorted(set(groups))
        mean = _mean_of_members(groups, labels)
        return Panel(
            metric=metric,
            response=response,
            expected=CHEAP_METRICS[metric],
            variants=tuple(labels),
            families=tuple(family[label] for label in labels),
            members=tuple(
                tuple(model for model, group in zip(named, groups, strict=True) if group == label)
                for label in labels
            ),
            scans=tuple(scans),
            systems=tuple(systems),
            x_sum=mean @ x @ x_member,
            x_count=x_member.sum(axis=0).astype(np.int64),
            y_sum=mean @ outcome.value @ y_member,
            y_count=y_member.sum(axis=0).astype(np.int64),
            failed_sum=mean @ outcome.failed @ y_member,
            y_all_fail=None if bounds is None else _mean(mean @ bounds[0]),
            y_all_survive=None if bounds is None else _mean(mean @ bounds[1]),
            left_out=dict(sorted(left_out.items())),
            n_start_failed=outcome.n_start_failed,
        )

    def _outcome(
        self, models: list[str], trajectories: list[str], y: Array, response: str
    ) -> _Outcome:
        """Results of models on the trajectories that all of them share, (M, T)."""
        cells = np.ix_(_places(self._runs.models, models), _places(self._runs.units, trajectories))
        time, failed, cut = self._time[cells], self._failed[cells], self._cut[cells]
        value, bounds = y, None
        if response == FAILED:
            value = failed.astype(np.float64)
            bounds = (failed | cut).astype(np.float64), value
        elif response == TIME_LOST and time.size:
            lost = [time_lost(t, f, self._horizon) for t, f in zip(time, failed, strict=True)]
            value = np.array([one.value for one in lost])
            bounds = (
                np.array([one.all_fail for one in lost]),
                np.array([one.all_survive for one in lost]),
            )
        elif response in _SIGNED:
            value = np.abs(value)
        return _Outcome(
            value=value,
            failed=failed.astype(np.float64),
            bounds=bounds if cut.any() else None,
            n_start_failed=int((failed & (time == 0)).sum()),
        )


@dataclass(frozen=True, eq=False)
class _Outcome:
    """Results of M models on T trajectories that all of them share."""

    value: Array  # (M, T)
    failed: Array  # 1 where it failed before the horizon, (M, T)
    bounds: tuple[Array, Array] | None  # if what was cut had failed, had lived; None: nothing cut
    n_start_failed: int  # failures at time 0


def panel(
    scans: pd.DataFrame,
    runs: pd.DataFrame,
    metric: str,
    response: str = TIME_LOST,
    points: Mapping[str, Point] | None = None,
    least_scans: float = ENTRY_COVERAGE,
) -> Panel:
    """One of the `Panels`, whose arguments and errors are those of this."""
    return Panels(scans, runs, points, least_scans).panel(metric, response)


def _shared(wide: Wide, values: Array, models: list[str]) -> tuple[Array, list[str], list[str]]:
    """Values of some models, units and molecules of the columns that all of these models have."""
    chosen = values[_places(wide.models, models)]
    kept = np.flatnonzero(np.isfinite(chosen).all(axis=0)) if models else np.empty(0, np.int64)
    return chosen[:, kept], [wide.units[k] for k in kept], [wide.systems[k] for k in kept]


def _places(names: Sequence[str], wanted: Sequence[str]) -> Index:
    place = {name: k for k, name in enumerate(names)}
    return np.array([place[name] for name in wanted], dtype=np.int64)


def _mean(values: Array) -> Array:
    """Mean of each row of (V, T)."""
    return _ratio(values.sum(axis=1), values.shape[1])


def _mean_of_members(groups: Sequence[str], variants: Sequence[str]) -> Array:
    """The matrix that takes the mean over the models of each variant, (V, M)."""
    seeds = _member(groups, variants).T
    return seeds / seeds.sum(axis=1, keepdims=True)


def per_molecule(data: Panel, scans: pd.DataFrame, column: str) -> tuple[Array, Index, list[str]]:
    """Another column of the scans, summed as the metric of a panel.

    Args:
        data: The panel.
        scans: Scores of scans, as for `panel`, with the column.
        column: The column, of any unit.

    Returns:
        Its sums by variant and molecule, (V, K), and the scans of each molecule, (K,): those of the
        shared scans on which all models of the panel have it, whose ids come last.
    """
    named = [model for models in data.members for model in models]
    wide = Wide(scans, "scan")
    values = np.where(np.isin(wide.units, data.scans), wide.column(column), _NAN)
    values, kept, systems = _shared(wide, values, named)
    member = _member(systems, data.systems)
    groups = [
        variant for variant, models in zip(data.variants, data.members, strict=True) for _ in models
    ]
    mean = _mean_of_members(groups, data.variants)
    return mean @ values @ member, member.sum(axis=0).astype(np.int64), kept


def _absent(scanned: Sequence[str], ran: Sequence[str], left_out: dict[str, str]) -> set[str]:
    """Models that stand in one of the two tables only; notes them."""
    scan_models, run_models = set(scanned), set(ran)
    for model in scan_models - run_models:
        left_out.setdefault(model, "has no trajectory that counts")
    for model in run_models - scan_models:
        left_out.setdefault(model, "has no scan")
    return scan_models ^ run_models


def _member(of_unit: Sequence[str], systems: Sequence[str]) -> Array:
    """1 where a unit is of a molecule, or a model of a variant, shape (units, molecules)."""
    place = {system: k for k, system in enumerate(systems)}
    member = np.zeros((len(of_unit), len(systems)))
    member[np.arange(len(of_unit)), [place[system] for system in of_unit]] = 1.0
    return member
