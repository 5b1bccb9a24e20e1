"""What the numbers say: how many expensive labels the cheap ones are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pesbench.compare.data.table import DataStudy
from pesbench.compare.ladder.noise import Difference, SeedNoise, quantile, seed_noise
from pesbench.compare.transfer.table import BY_REGION, DISTANCE, HELD_OUT, level_of
from pesbench.core.text import number
from pesbench.metrics.rank_statistics import stratified_p, stratified_spearman
from pesbench.training.transfer_plan import ATOMIC, CHEAP, SCRATCH, STARTED

NOT_RESOLVED = "not resolved"
FIRST = {CHEAP: "cheap energies and forces first", ATOMIC: "charges and bond orders first"}
LEAST_POTENTIALS = 5  # of a rank correlation


def equivalent(sizes: ArrayLike, errors: ArrayLike, wanted: float) -> float:
    """The number of labels with which an error is reached, on a falling curve.

    The curve is log error against log number, linear between the points, each point at most as high
    as those before it.

    Args:
        sizes: Numbers of labels, ascending, shape (K,).
        errors: Errors with so many, positive, shape (K,).
        wanted: The error.

    Returns:
        A number between the first and the last; 0 if fewer than the first are enough, and infinite
        if the last is not.
    """
    n = np.log(np.asarray(sizes, dtype=np.float64))
    e = np.minimum.accumulate(np.log(np.asarray(errors, dtype=np.float64)))
    aim = np.log(wanted)
    if aim > e[0]:
        return 0.0
    if aim < e[-1]:
        return float("inf")
    k = int(np.argmax(e <= aim))  # the first point that is low enough
    if k == 0:
        return float(np.exp(n[0]))
    share = (e[k - 1] - aim) / (e[k - 1] - e[k])
    return float(np.exp(n[k - 1] + share * (n[k] - n[k - 1])))


@dataclass(frozen=True)
class Worth:
    """What a pretraining is worth.

    Attributes:
        route: One of `STARTED`.
        frames: Expensive labels that it was trained on.
        alone: Error of so many labels alone.
        first: Its error.
        labels: Expensive labels alone that reach it; see `equivalent`.
        low, high: The same at the ends of the 95 % interval of seeds; NaN if unknown.
        resolved: Whether its error differs from that of as many labels alone; None if unknown.
    """

    route: str
    frames: int
    alone: float
    first: float
    labels: float
    low: float
    high: float
    resolved: bool | None


def noise_at(groups: Mapping[tuple[str, int], ArrayLike], frames: int) -> SeedNoise:
    """Noise of seeds at a number of labels, pooled over the routes.

    Seeds draw from one pool of frames, so that many labels leave less noise than few. Where no
    seeds of this number differ, the noise is that of all numbers.

    Args:
        groups: Scores of the seeds of each potential of a family, by route and number of labels.
        frames: Number of labels.
    """
    here = seed_noise(seeds for (_, n), seeds in groups.items() if n == frames)
    return here if here.sd > 0 else seed_noise(groups.values())


def _against_none(
    study: DataStudy, family: str, column: str, route: str, frames: int
) -> Difference:
    """The difference to as many labels alone, as `DataStudy.compare` but for the noise of seeds.

    This is that of `noise_at`.
    """
    here = replace(study, models=study.models[study.models["frames"] == frames])
    known = here if here.noise(family, column).sd > 0 else study
    return known.compare(family, column, (route, frames), (SCRATCH, frames))


def worth(study: DataStudy, family: str, route: str, frames: int, column: str) -> Worth | None:
    """What a pretraining is worth by an error; None without numbers of both.

    The noise of seeds is that of the logarithm of the error, see `noise_at`. The interval is
    Student's, of the mean of its seeds and of the point of the curve with the fewest seeds.

    Args:
        study: The study.
        family: A family of it.
        route: One of `STARTED`.
        frames: Number of labels.
        column: A quantity that is positive and better if lower.
    """
    found = {
        (kind, n): study.seeds(family, kind, n, column)
        for kind in study.kinds
        for n in study.frames(family, kind)
    }
    logs = {of: np.log(seeds[seeds > 0]) for of, seeds in found.items() if (seeds > 0).any()}
    curve = {n: seeds for (kind, n), seeds in logs.items() if kind == SCRATCH}
    own = logs.get((route, frames))
    if own is None or frames not in curve or len(curve) < 2:
        return None
    noise = noise_at(logs, frames)
    sizes = list(curve)
    means = [float(np.exp(seeds.mean())) for seeds in curve.values()]
    first, alone = float(own.mean()), float(curve[frames].mean())

    def limit(others: int) -> float:
        chance = noise.sd * np.sqrt(1 / own.size + 1 / others)
        return float(quantile(noise.degrees_of_freedom) * chance)

    wide = limit(min(seeds.size for seeds in curve.values()))
    known = bool(np.isfinite(wide))
    low, high = (
        (equivalent(sizes, means, float(np.exp(first + s * wide))) for s in (1, -1))
        if known
        else (float("nan"), float("nan"))
    )
    return Worth(
        route, frames, float(np.exp(alone)), float(np.exp(first)),
        equivalent(sizes, means, float(np.exp(first))), low, high,
        abs(first - alone) > limit(curve[frames].size) if known else None,
    )  # fmt: skip


def worth_rows(study: DataStudy) -> pd.DataFrame:
    """What each pretraining is worth at each number of labels, by every error.

    Returns:
        `family`, `quantity` (a column of `transfer.csv`), and the attributes of `Worth`.
    """
    columns = [name for name, one in study.quantities.items() if one.logarithmic]
    found = [
        {"family": family, "quantity": column, **asdict(one)}
        for family in study.families
        for column in columns
        for route in STARTED
        for n in study.frames(family, route)
        if (one := worth(study, family, route, n, column)) is not None
    ]
    every = ["family", "quantity", *(one.name for one in fields(Worth))]
    return pd.DataFrame(found, columns=every)


def sentence(study: DataStudy) -> str:
    """The answer by the force error on held-out frames at the fewest labels, in one sentence."""
    said = []
    for family in study.families:
        sizes = study.frames(family, SCRATCH)
        if sizes:
            said.append(f"{family}, {sizes[0]} expensive labels: {_of(study, family, sizes[0])}")
    if not said:
        return "No potential was trained on expensive labels alone, to which others compare."
    return f"By the force MAE on held-out frames of {level_of(study)}: {'; '.join(said)}."


def _of(study: DataStudy, family: str, frames: int) -> str:
    found = [worth(study, family, route, frames, HELD_OUT) for route in STARTED]
    there = [one for one in found if one is not None]
    if not there:
        return "nothing to compare"
    alone = number(there[0].alone)
    return f"{alone} meV/Å alone, " + ", ".join(_told(study, family, one) for one in there)


def _told(study: DataStudy, family: str, one: Worth) -> str:
    said = f"{number(one.first)} with {FIRST[one.route]}"
    if one.resolved is None:
        return f"{said} ({NOT_RESOLVED}: the noise of seeds is unknown)"
    if not one.resolved:
        return f"{said} (worth {NOT_RESOLVED} from none)"
    if one.first > one.alone:
        return f"{said}, which is worse and worth less than none"
    last = study.frames(family, SCRATCH)[-1]
    count = _labels(one.labels, last)
    interval = f"{_labels(one.low, last)} to {_labels(one.high, last)}"
    return f"{said}, as {count} alone (95 % interval over seeds {interval})"


def _labels(n: float, last: int) -> str:
    if np.isinf(n):
        return f"more than {last}"
    return "fewer than the fewest" if n == 0 else f"{n:.0f}"


def changes(study: DataStudy) -> list[str]:
    """What each pretraining changes of each quantity, where it is resolved."""
    found = []
    for column, quantity in study.quantities.items():
        if not study.models[column].notna().any():
            continue
        parts = []
        for family in study.families:
            for route in STARTED:
                parts += _changes(study, family, route, column)
        unit = f" ({quantity.unit})" if quantity.unit else ""
        rest = "; ".join(parts) if parts else f"no change is resolved ({NOT_RESOLVED})"
        found.append(f"{quantity.title}{unit}, against as many labels alone: {rest}.")
    return found


def _changes(study: DataStudy, family: str, route: str, column: str) -> list[str]:
    parts = []
    for n in study.frames(family, route):
        one = _against_none(study, family, column, route, n)
        if one.within_noise is False:
            word = "better" if one.value > 0 else "worse"
            parts.append(f"{study.quantities[column].change(one)} at {n} ({word})")
    return [f"{family}, {FIRST[route]}: {', '.join(parts)}"] if parts else []


def claim(study: DataStudy) -> list[str]:
    """What the numbers say of "atom-level pretraining makes descriptors more Gaussian and so more
    robust", with pretraining on energies and forces beside it.
    """
    found = []
    for family in study.families:
        said = [one for route in (ATOMIC, CHEAP) if (one := _distances(study, family, route))]
        if said:
            found.append(
                f"{family}: the distance of descriptors from normal distributions changes "
                f"{'; '.join(said)}. {_robust(study, family)}"
            )
    return found


def _distances(study: DataStudy, family: str, route: str) -> str:
    """How a pretraining changes the distance, and what is left after the training."""
    said = []
    if (states := _before_and_after(study, family, route, DISTANCE)) is not None:
        before, after, n = states
        first = FIRST[route].removesuffix(" first")
        said.append(f"by {first} from {number(before)} to {number(after)} ({n} pretrainings)")
    for n in study.frames(family, route):
        one = _against_none(study, family, DISTANCE, route, n)
        if one.within_noise is not None:
            word = NOT_RESOLVED if one.within_noise else ("less" if one.value > 0 else "more")
            said.append(f"after {n} expensive labels {word} than without ({-one.value:+.2g})")
    return ", ".join(said)


def _before_and_after(
    study: DataStudy, family: str, route: str, column: str
) -> tuple[float, float, int] | None:
    """Means over the pretrainings of a route before and after them, and their number."""
    own = study.models[(study.models["family"] == family) & (study.models["kind"] == route)]
    # potentials of one pretraining tell the same twice
    states = own[[f"{column}_untrained", f"{column}_pretrained"]].dropna().drop_duplicates()
    if states.empty:
        return None
    before, after = states.mean()
    return float(before), float(after), len(states)


def moments(study: DataStudy) -> str:
    """Skewness, kurtosis and test of descriptors by family and route, in one note."""
    columns = ["descriptor_skewness", "descriptor_excess_kurtosis", "descriptor_rejected"]
    means = study.models.groupby(["family", "kind"], sort=False)[columns].mean()
    said = []
    for (family, kind), row in zip(means.index, means.to_numpy(), strict=True):
        states = [_before_and_after(study, family, kind, column) for column in columns]
        told = [
            number(value) if one is None else " → ".join(map(number, (*one[:2], value)))
            for one, value in zip(states, row, strict=True)
        ]
        said.append(f"{family} {kind} {', '.join(told)}")
    return (
        "Median |skewness| and excess kurtosis of the columns of descriptors, and the share of "
        "these that D'Agostino and Pearson's K² calls not normal at the level of 5 %, which takes "
        "atoms for independent; with random weights → pretrained → trained, or trained alone; "
        f"means: {'; '.join(said)}. Those of each potential are in transfer_models.csv."
    )


def _robust(study: DataStudy, family: str) -> str:
    """Whether potentials whose descriptors are nearer to normal survive longer, of as many labels.

    More labels change both, so that potentials of different numbers are never compared.
    """
    if not study.temperatures_k:
        return "No dynamics were run."
    column = f"survival_{max(study.temperatures_k):g}_k_ps"
    own = study.models[study.models["family"] == family]
    means = own.groupby(["frames", "potential"], as_index=False)[[DISTANCE, column]].mean().dropna()
    several = means.groupby("frames")["potential"].transform("size") > 1
    x, y = (means.loc[several, name].to_numpy() for name in (DISTANCE, column))
    of = [str(frames) for frames in means.loc[several, "frames"]]
    rho = p = float("nan")
    if len(x) >= LEAST_POTENTIALS:
        rho = float(stratified_spearman(x, y, of))
        p = float(stratified_p(x, y, of, f"transfer {family}"))
    n = f"n = {len(x)} potentials of {len(set(of))} numbers of labels"
    if np.isnan(rho) or np.isnan(p):
        return f"Whether that is more robust is {NOT_RESOLVED} ({n})."
    word = NOT_RESOLVED if p > 0.05 else ("more robust" if rho < 0 else "less robust")
    return (
        f"Being nearer to normal is {word}: the correlation of ranks of distance and survival, "
        f"less their mean at each number of labels, is {rho:.2f} (p = {p:.2g} by exchanges within "
        f"these, {n}, which share frames and pretrainings)."
    )


def beside_potentials(study: DataStudy, beside: pd.DataFrame) -> list[str]:
    """Where a method of the run, such as the cheap one, is worse than what was trained.

    Args:
        study: The study.
        beside: Rows of `table.others`.
    """
    means = study.models.groupby("potential")[list(BY_REGION)].mean()
    found = []
    for row in beside.to_dict("records"):
        said, worse = [], []
        for column in BY_REGION:
            value, others = row.get(column, np.nan), means[column].dropna()
            if np.isnan(value) or not len(others):
                continue
            one, lower = study.quantities[column], int((others < value).sum())
            unit = f" {one.unit}" if one.unit else ""
            said.append(
                f"{one.title} {number(value)}{unit} (lower for {lower} of {len(others)} potentials)"
            )
            worse += [one.title] if 2 * lower > len(others) else []
        if said:
            found.append(
                f"{row['model']} against {level_of(study)}: {'; '.join(said)}. Most potentials are "
                f"better than it by: {', '.join(worse) or 'none of these'}."
            )
    return found
