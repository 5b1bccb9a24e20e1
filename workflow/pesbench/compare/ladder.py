"""The ladder: a baseline and models that are one design choice apart from it, side by side.

A row is a potential, its seeds together: the mean of the seeds, each the mean over what it has
scores of. A difference of two rows is taken on the scans, trajectories or molecules that all seeds
of both have, and judged against the noise of seeds on the same ones (`compare.ladder_noise`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pesbench.compare import ladder_noise as noise_of_seeds
from pesbench.compare.cards import Card, changes, read_card, said, switched
from pesbench.compare.ladder_noise import Difference, SeedNoise
from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.files.split import SEEN, UNSEEN
from pesbench.models.registry import ModelEntry
from pesbench.tasks.dynamics.section import dynamics_columns, main_runs

if TYPE_CHECKING:
    from pesbench.report.inputs import ReportInputs

Array = NDArray[np.float64]

BASELINE, VARIANT, NOISE = "baseline", "variant", "seed noise"


@dataclass(frozen=True)
class Quantity:
    """A column of the ladder.

    Attributes:
        column: Of the CSV, with its unit.
        title: For readers, without its unit.
        unit: For readers.
        better: −1 if lower is better, +1 if higher is.
        of: What it is the mean or sum over: `scans`, `runs`, `molecules`, or "" for a number of
            the whole model.
        scale: From the CSV's unit to the readers'.
        total: Whether it is a sum and no mean.
        share: Whether it is the share of what it is of that has a property.
        log: Whether seeds differ by a factor rather than by an amount, as of what spans decades:
            noise and differences are of its natural logarithm.
    """

    column: str
    title: str
    unit: str
    better: int
    of: str = ""
    scale: float = 1.0
    total: bool = False
    share: bool = False
    log: bool = False

    def statistic(self, values: Array) -> Array:
        """The number of each seed, shape (seeds,), from what it is of, shape (n, seeds)."""
        return values.sum(axis=0) if self.total else values.mean(axis=0)

    def compared(self, seeds: Array) -> Array:
        """What of the numbers of some seeds is compared; none where one has no logarithm."""
        if not self.log:
            return seeds
        return np.log(seeds) if (seeds > 0).all() else np.empty(0)


_LISTED = (
    Quantity("frames_force_mae_seen_mev_per_angstrom", "force MAE on seen frames", "meV/Å", -1),
    Quantity("frames_force_mae_unseen_mev_per_angstrom", "force MAE on unseen frames", "meV/Å", -1),
    Quantity("rotation_force_rms_mev_per_angstrom", "rotation variance", "meV/Å", -1),
    Quantity("force_mae_seen_ev_per_angstrom", "force MAE on seen scans", "eV/Å", -1, "scans"),
    Quantity("force_mae_unseen_ev_per_angstrom", "force MAE on unseen scans", "eV/Å", -1, "scans"),
    Quantity("fsd_full_per_angstrom", "FSD", "Å⁻¹", -1, "scans"),
    Quantity("fsd_compress_per_angstrom", "compressed FSD", "Å⁻¹", -1, "scans"),
    Quantity("fsd_stretch_per_angstrom", "stretched FSD", "Å⁻¹", -1, "scans"),
    Quantity("fsd_windowed_per_angstrom", "windowed FSD", "Å⁻¹", -1, "scans"),
    Quantity(
        "compression_monotone_fraction",
        "walls without a hole",
        "%",
        1,
        "scans",
        scale=100,
        share=True,
    ),
    Quantity("spurious_extrema_per_scan", "spurious extrema", "per scan", -1, "scans"),
    Quantity("survival_ps", "survival", "ps", 1),
    Quantity("energy_drift_mev_per_atom_ps", "drift", "meV/atom/ps", -1, "runs", log=True),
    Quantity("energy_rms_mev_per_atom", "RMS", "meV/atom", -1, "runs", log=True),
    Quantity("frequency_mae_cm1", "frequency MAE", "cm⁻¹", -1, "molecules"),
    Quantity(
        "imaginary_modes_excess", "imaginary modes in excess", "total", -1, "molecules", total=True
    ),
    Quantity("seconds_per_step", "time a step", "ms", -1, scale=1e3),
)
QUANTITIES = {quantity.column: quantity for quantity in _LISTED}

_SCAN_MEANS = {
    "fsd_full_per_angstrom": "fsd_full",
    "fsd_compress_per_angstrom": "fsd_compress",
    "fsd_stretch_per_angstrom": "fsd_stretch",
    "fsd_windowed_per_angstrom": "fsd_windowed",
    "compression_monotone_fraction": "compression_monotone",
    "spurious_extrema_per_scan": "spurious_extrema",
}
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
class Measured:
    """A quantity of one model.

    Attributes:
        values: By scan, trajectory or molecule; a number of the whole model has one item.
        planned: How many there would be if nothing failed.
    """

    values: pd.Series
    planned: int


@dataclass(frozen=True, eq=False)
class Row:
    """A potential.

    Attributes:
        name: That its seeds share.
        members: Models of the run that are seeds of it.
        card: Of its seeds, whose choices are the same; None without a card.
    """

    name: str
    members: tuple[str, ...]
    card: Card | None

    @property
    def choices(self) -> dict[str, Any]:
        """What it was made of; empty if no card tells."""
        return {} if self.card is None else self.card.choices


@dataclass(frozen=True, eq=False)
class Compared:
    """Two rows by one quantity, on what all seeds of both have.

    Attributes:
        one: Mean of the seeds of the one; NaN if it has no number.
        other: Of the other.
        difference: One minus other, of the logarithms where the quantity has `log`.
        n: Number of scans, trajectories or molecules; 1 for a number of the whole model.
    """

    one: float
    other: float
    difference: Difference
    n: int


@dataclass(frozen=True, eq=False)
class Ladder:
    """The rows of a ladder and their numbers.

    Attributes:
        rows: The baseline first.
        measured: By column and model; a model without a number of a kind has no entry.
        repeated: By column, of each potential with several seeds that have it, their numbers: one
            column a seed, one row a scan, trajectory or molecule that all of them have.
        noise: Of seeds, by column, on all of `repeated`.
        counts: One row a model, the columns `COUNTS`. Masked scans are no test of the model, so
            not scored; trained with are those that are scored although its loss held their FSD.
        horizon_ps: Of the survival time; NaN without dynamics.
        reference: The model that failures are counted in excess of; None if none ran dynamics.
    """

    rows: tuple[Row, ...]
    measured: Mapping[str, Mapping[str, Measured]]
    repeated: Mapping[str, Sequence[pd.DataFrame]]
    noise: Mapping[str, SeedNoise]
    counts: pd.DataFrame
    horizon_ps: float
    reference: str | None

    @property
    def baseline(self) -> Row:
        """The first row."""
        return self.rows[0]

    def seeds(self, column: str, row: Row) -> Array:
        """A quantity of each seed of a row that has it, each over all that it has."""
        values = _values(self.measured[column], row)
        quantity = QUANTITIES[column]
        seeds = [quantity.statistic(one.to_numpy(dtype=float)[:, None]) for one in values]
        return np.concatenate([np.empty(0), *seeds])

    def compare(self, column: str, one: Row, other: Row) -> Compared:
        """One row against another by a quantity, on what all seeds of both have.

        So is the noise: a mean over fewer scans has more of it.
        """
        mine, others = (_values(self.measured[column], row) for row in (one, other))
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


def _values(measured: Mapping[str, Measured], row: Row) -> list[pd.Series]:
    """A quantity of each seed of a row that has any of it."""
    kept = (measured[name].values for name in row.members if name in measured)
    return [values for values in kept if len(values)]


def _shared(series: Sequence[pd.Series]) -> pd.Index:
    """What all of some have; nothing of none."""
    indices = [values.index for values in series]
    return reduce(lambda a, b: a.intersection(b), indices) if indices else pd.Index([])


def _side_by_side(series: Sequence[pd.Series], items: pd.Index) -> pd.DataFrame:
    """One column a series, one row an item that all of them have."""
    return pd.concat([values.reindex(items) for values in series], axis=1)


# --- what is measured ----------------------------------------------------------------------------


def _numbers(values: pd.Series) -> pd.Series:
    """Those that exist; flags are 0 and 1."""
    # a column with flags and gaps comes as objects
    return values.astype("Float64").dropna().astype(float)


def _scalar(value: float | None) -> pd.Series:
    known = value is not None and np.isfinite(value)
    return pd.Series([value] if known else [], index=["model"] if known else [], dtype=float)


def _of_scans(rows: pd.DataFrame) -> dict[str, Measured]:
    table = rows.set_index("scan")
    scored = table[table["status"] == Status.OK.value]
    found = {
        column: Measured(_numbers(scored[score]), len(table))
        for column, score in _SCAN_MEANS.items()
    }
    for group in (SEEN, UNSEEN):
        planned = int((table["seen"] == group).sum())
        if planned:
            values = _numbers(scored.loc[scored["seen"] == group, "force_mae"])
            found[f"force_mae_{group}_ev_per_angstrom"] = Measured(values, planned)
    return found


def _of_card(card: Card) -> dict[str, Measured]:
    numbers = {
        f"frames_force_mae_{part}_mev_per_angstrom": card.force_mae_mev_per_angstrom.get(part)
        for part in (SEEN, UNSEEN)
    }
    numbers["rotation_force_rms_mev_per_angstrom"] = card.rotation_mev_per_angstrom
    return {
        column: Measured(_scalar(value), 1)
        for column, value in numbers.items()
        if value is not None
    }


def _of_dynamics(rows: pd.DataFrame, survival_ps: float) -> dict[str, Measured]:
    runs = main_runs(rows).set_index("trajectory")
    steps = float((1e3 * rows["time_ps"] / rows["timestep_fs"]).sum())
    seconds = float(rows["wall_s"].sum()) / steps if steps else None
    return {
        "survival_ps": Measured(_scalar(survival_ps), 1),
        "energy_drift_mev_per_atom_ps": Measured(
            _numbers(runs["energy_drift_mev_per_atom_ps"]).abs(), len(runs)
        ),
        "energy_rms_mev_per_atom": Measured(_numbers(runs["energy_rms_mev_per_atom"]), len(runs)),
        "seconds_per_step": Measured(_scalar(seconds), 1),
    }


def _of_vibrations(rows: pd.DataFrame) -> dict[str, Measured]:
    table = rows.set_index("system")
    return {
        "frequency_mae_cm1": Measured(_numbers(table["mae_cm1"]), len(table)),
        "imaginary_modes_excess": Measured(_numbers(table["n_imaginary_excess"]), len(table)),
    }


# --- the ladder ----------------------------------------------------------------------------------


def make_ladder(
    inputs: ReportInputs, entries: Mapping[str, ModelEntry], names: Sequence[str]
) -> Ladder:
    """The ladder of a run.

    Args:
        inputs: Facts and scores of its models, of the reference and of all that ran dynamics.
        entries: Of the ladder's models, resolved, by name.
        names: Of the ladder's models, a seed of the baseline first; rows are in the order in which
            they occur.

    Raises:
        UserError: a card is that of other weights, or seeds of one potential differ in more than
            the seed.
    """
    cards = {name: read_card(entries[name]) for name in names}
    measured: dict[str, dict[str, Measured]] = {column: {} for column in QUANTITIES}
    lives = dynamics_columns(inputs.dynamics, inputs.reference).set_index("model")
    for name in names:
        found = _of_scans(inputs.scores[name])
        if (card := cards[name]) is not None:
            found |= _of_card(card)
        if name in inputs.dynamics:
            found |= _of_dynamics(inputs.dynamics[name], lives["survival"][name])
        if name in inputs.vibrations:
            found |= _of_vibrations(inputs.vibrations[name])
        for column, one in found.items():
            measured[column][name] = one
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(entries[name].potential, []).append(name)
    rows = tuple(_row(potential, found, cards) for potential, found in members.items())
    repeated = {column: _repeated(rows, measured[column]) for column in QUANTITIES}
    return Ladder(
        rows=rows,
        measured=measured,
        repeated=repeated,
        noise={column: _noise(QUANTITIES[column], repeated[column]) for column in QUANTITIES},
        counts=pd.DataFrame(
            [_counts(name, inputs, lives, cards[name]) for name in names], index=list(names)
        ),
        horizon_ps=float(lives["survival_horizon_ps"].iloc[0]) if len(lives) else float("nan"),
        reference=inputs.reference,
    )


def _row(potential: str, names: Sequence[str], cards: Mapping[str, Card | None]) -> Row:
    told = [card for name in names if (card := cards[name]) is not None]
    for card in told[1:]:
        if other := switched(card.choices, told[0].choices):
            key = sorted(other)[0]
            raise UserError(
                f"{card.path}: differs in {key!r} from {told[0].path}, which the registry says is "
                f"the same potential ({potential!r}) with another seed; correct `seed_of`"
            )
    return Row(potential, tuple(names), told[0] if told else None)


def _repeated(rows: Iterable[Row], measured: Mapping[str, Measured]) -> list[pd.DataFrame]:
    """Of one quantity, the numbers of every potential's seeds on what all of them have."""
    found = []
    for row in rows:
        seeds = _values(measured, row)
        shared = _shared(seeds)
        if len(seeds) > 1 and len(shared):
            found.append(_side_by_side(seeds, shared))
    return found


def _noise(
    quantity: Quantity, repeated: Iterable[pd.DataFrame], among: pd.Index | None = None
) -> SeedNoise:
    """Of one quantity, on what all seeds of a potential have, or on these among it."""
    kept = (seeds if among is None else seeds[seeds.index.isin(among)] for seeds in repeated)
    groups = [
        quantity.compared(quantity.statistic(seeds.to_numpy(dtype=float)))
        for seeds in kept
        if len(seeds)
    ]
    return noise_of_seeds.seed_noise(groups)


def _counts(
    name: str, inputs: ReportInputs, lives: pd.DataFrame, card: Card | None
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


# --- as a table ----------------------------------------------------------------------------------


def table(ladder: Ladder) -> pd.DataFrame:
    """The ladder, one row a potential and one for the seed noise.

    Returns:
        `kind` (baseline, variant or seed noise), `model`, `members`, `change` (what its card says
        is other than the baseline's; `n/a` without a card), `n_seeds`, `missing`,
        `survival_horizon_ps`, the sums of `COUNTS` over the seeds, and for every quantity its mean,
        `_n` (scans, trajectories or molecules of all seeds; not of a number of the whole model),
        `_seeds` (that have it), `_seed_sd` and `_within_noise` (whether the difference from the
        baseline is; missing where that is not known). In the row of the seed noise the quantities
        are pooled standard deviations (of the natural logarithm of drift and RMS), `_seeds` the
        number of seeds that they are of.
    """
    rows = [_cells(ladder, row) for row in ladder.rows]
    rows.append(_noise_cells(ladder))
    return pd.DataFrame(rows, columns=columns()).astype(
        {f"{column}_within_noise": "boolean" for column in QUANTITIES}
        | dict.fromkeys((*COUNTS, "n_seeds"), "Int64")
        | {f"{column}_seeds": "Int64" for column in QUANTITIES}
        | {f"{q.column}_n": "Int64" for q in QUANTITIES.values() if q.of}
    )


def columns() -> list[str]:
    """Of `table`, in order."""
    found = ["kind", "model", "members", "change", "n_seeds", "missing", "survival_horizon_ps"]
    found += COUNTS
    for quantity in QUANTITIES.values():
        found.append(quantity.column)
        if quantity.of:
            found.append(f"{quantity.column}_n")
        found += [f"{quantity.column}_{end}" for end in ("seeds", "seed_sd", "within_noise")]
    return found


def _cells(ladder: Ladder, row: Row) -> dict[str, Any]:
    first = row is ladder.baseline
    counts = ladder.counts.loc[list(row.members)].sum()
    cells: dict[str, Any] = {
        "kind": BASELINE if first else VARIANT,
        "model": row.name,
        "members": " ".join(row.members),
        "change": change(ladder, row),
        "n_seeds": len(row.members),
        "missing": _missing(ladder, row),
        "survival_horizon_ps": ladder.horizon_ps,
        **{name: int(count) for name, count in counts.items()},
    }
    for column, quantity in QUANTITIES.items():
        seeds = ladder.seeds(column, row)
        cells[column] = float(seeds.mean()) if len(seeds) else float("nan")
        if quantity.of:
            values = _values(ladder.measured[column], row)
            cells[f"{column}_n"] = sum(len(seed) for seed in values)
        cells[f"{column}_seeds"] = len(seeds)
        cells[f"{column}_seed_sd"] = float(seeds.std(ddof=1)) if len(seeds) > 1 else float("nan")
        cells[f"{column}_within_noise"] = pd.NA
        if not first:
            within = ladder.compare(column, row, ladder.baseline).difference.within_noise
            cells[f"{column}_within_noise"] = pd.NA if within is None else within
    return cells


def _noise_cells(ladder: Ladder) -> dict[str, Any]:
    repeated = [row for row in ladder.rows if len(row.members) > 1]
    pooled = ", ".join(f"{row.name} ({len(row.members)} seeds)" for row in repeated)
    cells: dict[str, Any] = {
        "kind": NOISE,
        "model": NOISE,
        "members": "",
        "change": f"pooled over {pooled}" if repeated else "unknown: no potential has two seeds",
        "n_seeds": sum(len(row.members) for row in repeated),
        "missing": "",
        "survival_horizon_ps": ladder.horizon_ps,
    }
    for column in QUANTITIES:
        cells[column] = ladder.noise[column].sd
        cells[f"{column}_seeds"] = sum(
            n for row in repeated if (n := len(ladder.seeds(column, row))) > 1
        )
    return cells


def change(ladder: Ladder, row: Row) -> str:
    """What a row's card says is other than the baseline's; "" for the baseline itself."""
    if row is ladder.baseline:
        return ""
    if not row.choices or not ladder.baseline.choices:
        return "n/a"
    return said(changes(row.choices, ladder.baseline.choices)) or "none"


def _missing(ladder: Ladder, row: Row) -> str:
    """What a row has no number of, or only of some seeds, scans, trajectories or molecules."""
    groups: dict[str, list[str]] = {}
    for column, quantity in QUANTITIES.items():
        found = ladder.measured[column]
        asked = [found[name] for name in row.members if name in found]
        have = sum(len(one.values) for one in asked)
        planned = sum(one.planned for one in asked)
        if not asked:
            continue  # nothing was tried, and the cell says n/a
        if len(asked) < len(row.members):
            groups.setdefault(f"of {len(asked)} of {len(row.members)} seeds", []).append(
                quantity.title
            )
        if have < planned:
            what = quantity.of or "seeds"
            groups.setdefault(f"of {have} of {planned} {what}", []).append(quantity.title)
    return "; ".join(f"{', '.join(titles)} {text}" for text, titles in groups.items())
