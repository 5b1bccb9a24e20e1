"""Numbers of the section from the scores of all models: curves, cliffs, planned backbones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pesbench.tasks.spectral.metrics import Cliff, Gains, cliff, readable_up_to
from pesbench.tasks.spectral.probes import Probe


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
    def readable_text(self) -> str:
        """The same for readers: where all injected degrees are readable, more may be."""
        capped = self.readable == len(self.values)
        return f"at least {self.readable}" if capped else str(self.readable)

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


def planned_backbones(scores: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Name of the potential of each backbone that was planned, from the attributes of scores."""
    found: dict[str, str] = {}
    for frame in scores.values():
        found |= frame.attrs.get("planned") or {}
    return found


def planned_seeds(scores: Mapping[str, pd.DataFrame], potential: str) -> int:
    """How many backbones of a potential were planned; 0 for one that was not planned.

    Args:
        scores: Scores by model.
        potential: Name of its first seed that is there.
    """
    planned = planned_backbones(scores)
    return list(planned.values()).count(planned[potential]) if potential in planned else 0


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
