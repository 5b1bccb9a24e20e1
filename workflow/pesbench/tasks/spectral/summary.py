"""Numbers of the section from the scores of all models: curves, cliffs, and one question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import permutation_test, rankdata, zscore

from pesbench.metrics.aggregate import seed_of
from pesbench.metrics.board import scored_values
from pesbench.tasks.spectral.metrics import Cliff, Gains, cliff, readable_up_to
from pesbench.tasks.spectral.probes import ALIKE, Probe

FEWEST_POTENTIALS = 8  # independent potentials below which an association is not resolved
LEVEL, PERMUTATIONS = 0.05, 9999
SMOOTHNESS = "fsd_full"  # of the task `bonds`


@dataclass(frozen=True)
class Curve:
    """A metric by injected degree, of one model, probe and molecule.

    Attributes:
        model: Name of the model.
        layer: Name of the layer that is read.
        l_max: L of the features.
        boundary: d·L of the readout; NaN for one that is no polynomial.
        channels, columns, frames: Of the readout, and the frames that it was fitted to.
        held_out: Frames that it was tested with.
        values: By degree, from 1 on.
        reason: Why there are none, or "".
    """

    model: str
    layer: str
    l_max: int
    boundary: float
    channels: int
    columns: int
    frames: int
    held_out: int
    values: tuple[float, ...]
    reason: str = ""

    @property
    def readable(self) -> int:
        """Highest degree up to which all are readable, `metrics.readable_up_to`."""
        return readable_up_to((float("nan"), *self.values))

    @property
    def above(self) -> float:
        """The largest value above the boundary; NaN where none was injected."""
        return max(self.values[int(self.boundary) :], default=float("nan"))


def curve(frame: pd.DataFrame, probe: Probe, system: str, metric: str = "r2") -> Curve | None:
    """The curve of a probe in the scores of a model; None where it has no such row."""
    rows = frame[(frame["probe"] == probe.name) & (frame["system"] == system)]
    if rows.empty:
        return None
    rows = rows.sort_values("degree")
    first = rows.iloc[0]
    ok = bool((rows["status"] == "ok").all())
    return Curve(
        model=str(first["model"]),
        layer=str(first["layer_name"]),
        l_max=int(first["l_max"]),
        boundary=float(first["boundary"]),
        channels=int(first["channels"]),
        columns=int(first["columns"]),
        frames=int(first["frames_trained"]),
        held_out=int(first["frames_held_out"]),
        values=tuple(rows[metric].astype(float)) if ok else (),
        reason="" if ok else str(first["message"]) or str(first["status"]),
    )


def systems_of(scores: Mapping[str, pd.DataFrame]) -> list[str]:
    """The molecules of all models, sorted."""
    return sorted({str(one) for frame in scores.values() for one in frame["system"]})


def gains_of(frame: pd.DataFrame, probe: Probe, system: str, degree: int) -> Gains | None:
    """The gains of a degree, from the attributes of the scores."""
    held = (frame.attrs.get("gains") or {}).get(f"{system}|{probe.name}|{degree}")
    if held is None:
        return None
    return Gains(np.asarray(held["gain"], dtype=float), np.asarray(held["oracle"], dtype=float))


def backbones(scores: Mapping[str, pd.DataFrame]) -> dict[str, list[str]]:
    """The models by the name that seeds of one potential share."""
    found: dict[str, list[str]] = {}
    for name, frame in scores.items():
        found.setdefault(str(frame.attrs.get("backbone") or name), []).append(name)
    return found


def cliffs(
    scores: Mapping[str, pd.DataFrame], probe: Probe, system: str
) -> tuple[dict[str, Cliff], dict[str, str]]:
    """The cliff of each potential, over its seeds, and why models have no part in one.

    Args:
        scores: Scores by model.
        probe: A polynomial readout.
        system: The molecule.
    """
    found, reasons = {}, {}
    for potential, names in backbones(scores).items():
        pairs: dict[str, list[Gains]] = {}
        boundaries = set()
        for name in names:
            one = curve(scores[name], probe, system)
            if one is None or one.reason:
                reasons[name] = one.reason if one else "no such readout"
                continue
            edge = int(one.boundary)
            pair = [gains_of(scores[name], probe, system, edge + k) for k in (0, 1)]
            if pair[0] is None or pair[1] is None:
                reasons[name] = f"ℓ = {edge + 1} was not injected"
                continue
            pairs[name] = [one for one in pair if one is not None]
            boundaries.add(edge)
        if len(boundaries) > 1:
            reasons |= dict.fromkeys(pairs, "its seeds have different L")
        elif pairs:
            found[potential] = cliff(*zip(*pairs.values(), strict=True))
    return found, reasons


@dataclass(frozen=True)
class Association:
    """Ceiling against smoothness over potentials.

    Attributes:
        potentials: How many have both.
        scans: Scans of the molecule that all of them have.
        rho: Spearman's rank correlation; NaN where one of both does not vary, or below 3.
        p: Two-sided, by permutations of the potentials; NaN where there is no correlation.
    """

    potentials: int
    scans: int
    rho: float
    p: float

    @property
    def resolved(self) -> bool:
        """Whether there are enough potentials, and the correlation is hardly one of chance."""
        return self.potentials >= FEWEST_POTENTIALS and self.p < LEVEL


def ceiling_and_smoothness(
    scores: Mapping[str, pd.DataFrame], bonds: Mapping[str, pd.DataFrame], system: str
) -> Association:
    """Whether a higher ceiling goes with smoother bond scans, the mean over seeds of a potential.

    The ceiling is that of `ALIKE`, which reads as many channels whatever L is; the scans are those
    of the molecule that all potentials have.

    Args:
        scores: Scores of this task by model.
        bonds: Scores of the scans by model.
        system: The molecule.
    """
    ceilings: dict[str, int] = {}
    rough: dict[str, pd.Series] = {}
    for name, frame in scores.items():
        one = curve(frame, ALIKE, system)
        if one is None or one.reason or name not in bonds or SMOOTHNESS not in bonds[name]:
            continue
        rows = bonds[name][bonds[name]["system"] == system].set_index("scan")
        values = scored_values(rows, SMOOTHNESS)
        if len(values):
            ceilings[name], rough[name] = one.readable, values
    shared = pd.DataFrame(rough).dropna()  # a column a model, a row a scan
    n_scans, mean = len(shared), shared.mean()
    pairs = []
    for names in backbones(scores).values():
        read = [name for name in names if name in ceilings]
        if read:
            pairs.append((np.mean([ceilings[name] for name in read]), mean[read].mean()))
    ceiling, roughness = np.array(pairs, dtype=float).reshape(-1, 2).T
    if len(pairs) < 3 or not n_scans or min(np.ptp(ceiling), np.ptp(roughness)) == 0:
        return Association(len(pairs), n_scans, float("nan"), float("nan"))
    ranks, others = zscore(rankdata(ceiling)), zscore(rankdata(roughness))
    tested = permutation_test(
        (ranks,),
        lambda permuted, axis: np.mean(permuted * others, axis=axis),
        permutation_type="pairings",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        rng=np.random.default_rng(seed_of(f"spectral {system}")),
    )
    return Association(len(pairs), n_scans, float(tested.statistic), float(tested.pvalue))
