"""What the numbers say: how many expensive labels the cheap ones are worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from pesbench.compare.data.table import DataStudy
from pesbench.compare.ladder.noise import quantile, seed_noise
from pesbench.compare.transfer.table import DISTANCE, HELD_OUT, level_of
from pesbench.core.text import number
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


def worth(study: DataStudy, family: str, route: str, frames: int, column: str) -> Worth | None:
    """What a pretraining is worth by an error; None without numbers of both.

    The noise of seeds is that of the logarithm of the error, pooled over the potentials of the
    family with several seeds. The interval is Student's, of the mean of its seeds and of the point
    of the curve with the fewest seeds.

    Args:
        study: The study.
        family: A family of it.
        route: One of `STARTED`.
        frames: Number of labels.
        column: A quantity that is positive and better if lower.
    """
    curve = {n: study.seeds(family, SCRATCH, n, column) for n in study.frames(family, SCRATCH)}
    curve = {n: seeds for n, seeds in curve.items() if seeds.size}
    own = study.seeds(family, route, frames, column)
    if not own.size or frames not in curve or len(curve) < 2:
        return None
    noise = seed_noise(
        np.log(study.seeds(family, kind, n, column))
        for kind in study.kinds
        for n in study.frames(family, kind)
    )
    sizes = list(curve)
    means = [float(np.exp(np.log(seeds).mean())) for seeds in curve.values()]
    first, alone = float(np.log(own).mean()), float(np.log(curve[frames]).mean())

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
    better = study.quantities[column].better
    parts = []
    for n in study.frames(family, route):
        one = study.compare(family, column, (route, n), (SCRATCH, n))
        if one.within_noise is False:
            word = "better" if one.value > 0 else "worse"
            parts.append(f"{better * one.value:+.2g} at {n} ({word})")
    return [f"{family}, {FIRST[route]}: {', '.join(parts)}"] if parts else []


def claim(study: DataStudy) -> list[str]:
    """What the numbers say of "atom-level pretraining makes descriptors more Gaussian and so more
    robust".
    """
    found = []
    for family in study.families:
        own = study.models[study.models["family"] == family]
        atomic = own[own["kind"] == ATOMIC]
        before, after = (
            atomic[column].dropna().unique()
            for column in (f"{DISTANCE}_untrained", f"{DISTANCE}_pretrained")
        )
        said = []
        if before.size and after.size:
            said.append(
                f"by {FIRST[ATOMIC].removesuffix(' first')} from {number(before.mean())} to "
                f"{number(after.mean())} ({after.size} pretrainings)"
            )
        for n in study.frames(family, ATOMIC):
            one = study.compare(family, DISTANCE, (ATOMIC, n), (SCRATCH, n))
            if one.within_noise is not None:
                word = NOT_RESOLVED if one.within_noise else ("less" if one.value > 0 else "more")
                said.append(f"after {n} expensive labels {word} than without ({-one.value:+.2g})")
        if said:
            told = _robust(study, family)
            found.append(
                f"{family}: the distance of descriptors from normal distributions changes "
                f"{', '.join(said)}. {told}"
            )
    return found


def moments(study: DataStudy) -> str:
    """Skewness, kurtosis and test of descriptors by family and route, in one note."""
    columns = ["descriptor_skewness", "descriptor_excess_kurtosis", "descriptor_rejected"]
    means = study.models.groupby(["family", "kind"], sort=False)[columns].mean()
    said = [
        f"{family} {kind} {', '.join(number(value) for value in row)}"
        for (family, kind), row in zip(means.index, means.to_numpy(), strict=True)
    ]
    return (
        "Median |skewness| and excess kurtosis of the columns of descriptors, and the share of "
        "these that D'Agostino and Pearson's K² calls not normal at the level of 5 %, which takes "
        f"atoms for independent; means over potentials: {'; '.join(said)}. Those of each, also "
        "before and after its pretraining, are in transfer_models.csv."
    )


def _robust(study: DataStudy, family: str) -> str:
    """Whether potentials whose descriptors are nearer to normal survive longer."""
    if not study.temperatures_k:
        return "No dynamics were run."
    column = f"survival_{max(study.temperatures_k):g}_k_ps"
    own = study.models[study.models["family"] == family]
    means = own.groupby("potential")[[DISTANCE, column]].mean().dropna()
    if len(means) < LEAST_POTENTIALS or (means.nunique() < 2).any():
        return f"Whether that is more robust is {NOT_RESOLVED} (n = {len(means)} potentials)."
    rho, p = stats.spearmanr(means[DISTANCE], means[column])
    word = NOT_RESOLVED if p > 0.05 else ("more robust" if rho < 0 else "less robust")
    return (
        f"Being nearer to normal is {word}: Spearman's ρ of distance and survival is {rho:.2f} "
        f"(p = {p:.2g}, n = {len(means)} potentials, which share frames and pretrainings)."
    )
