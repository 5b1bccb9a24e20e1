"""The potentials of the transfer study as a table, in the form of the data study."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pesbench.compare.comparison import APPROACH
from pesbench.compare.data.table import (
    ALL_HOLES,
    DataStudy,
    Quantity,
    horizon,
    lives,
    of_pairs,
    of_scans,
    survival_quantities,
    survivals,
)
from pesbench.compare.inputs import CompareInputs
from pesbench.compare.transfer.cards import transferred_of
from pesbench.training.transfer_plan import ROUTES

HELD_OUT, DISTANCE = "force_mae_mev_per_angstrom", "descriptor_distance"
LEVEL = "expensive_level"  # column: the level of theory of the expensive labels and the reference
SCAN_METRICS = {
    "force_mae_near": "force_mae_1ev",
    "force_mae_compress": "force_mae_compress",
    "force_mae_stretch": "force_mae_stretch",
    "fsd": "fsd_full",
    "fsd_compress": "fsd_compress",
    "fsd_stretch": "fsd_stretch",
    "spurious": "spurious_extrema",
}
# what tells near equilibrium, compression and stretch apart, and extrema that are not there
BY_REGION = ("force_mae_near", "force_mae_compress", "force_mae_stretch", "fsd_compress",
             "fsd_stretch", "spurious")  # fmt: skip
_SCANS = (
    Quantity("force_mae_near", "force MAE near equilibrium", "eV/Å", -1, "scans", logarithmic=True),
    Quantity("force_mae_compress", "force MAE, compressed", "eV/Å", -1, "scans", logarithmic=True),
    Quantity("force_mae_stretch", "force MAE, stretched", "eV/Å", -1, "scans", logarithmic=True),
    Quantity("fsd", "FSD", "Å⁻¹", -1, "scans", logarithmic=True),
    Quantity("fsd_compress", "FSD, compressed", "Å⁻¹", -1, "scans", logarithmic=True),
    Quantity("fsd_stretch", "FSD, stretched", "Å⁻¹", -1, "scans", logarithmic=True),
    Quantity("spurious", "spurious extrema", "per scan", -1, "scans"),
    ALL_HOLES,
)
_HELD_OUT = Quantity(HELD_OUT, "force MAE, held-out frames", "meV/Å", -1, "", logarithmic=True)
_DISTANCE = Quantity(
    DISTANCE, "descriptors' distance from normal", "", -1, "", panel="descriptors,\nfrom normal"
)


def make_transfer(inputs: CompareInputs) -> DataStudy:
    """The transfer study of a run; its kinds are routes, and its frames expensive labels.

    Raises:
        UserError: a card is that of other weights, or not understood.
    """
    found = transferred_of(inputs.entries)
    dynamics = inputs.dynamics
    temperatures = sorted(
        {float(t) for name in found if name in dynamics for t in dynamics[name]["temperature_k"]}
    )
    alive_at = {t: lives(dynamics, t, inputs.reference) for t in temperatures}
    rows = [
        {
            "model": name,
            "family": one.family,
            "kind": one.route,
            "frames": one.frames,
            "potential": one.potential,
            "approach_frames": 0,
            "approach_molecules": 0,
            **_of_model(inputs, name),
            **survivals(name, alive_at),
            HELD_OUT: one.force_mae,
            f"{HELD_OUT}_n": 1,
            **{f"descriptor_{name}": value for name, value in one.descriptors.items()},
            f"{DISTANCE}_n": 1,
            LEVEL: one.level,
        }
        for name, one in found.items()
    ]
    alive = survival_quantities(temperatures)
    return DataStudy(
        models=pd.DataFrame(rows),
        quantities={one.column: one for one in (_HELD_OUT, *_SCANS, *alive, _DISTANCE)},
        temperatures_k=temperatures,
        horizon_ps=horizon(alive_at),
        approached=frozenset(),
        kinds=ROUTES,
    )


def _of_model(inputs: CompareInputs, name: str) -> dict[str, Any]:
    pairs = of_pairs(inputs.tables.get(APPROACH, {}).get(name), frozenset())
    return {**of_scans(inputs, name, SCAN_METRICS), **pairs}


def level_of(study: DataStudy) -> str:
    """The level of theory of the expensive labels, for readers."""
    return " and ".join(sorted(set(study.models[LEVEL])))


def others(inputs: CompareInputs, study: DataStudy) -> pd.DataFrame:
    """The same numbers of the models that are no potentials of the study, such as the cheap method.

    Returns:
        `model` and a column for each quantity that one of them has.
    """
    names = [fact.name for fact in inputs.facts if fact.name not in set(study.models["model"])]
    alive_at = {t: lives(inputs.dynamics, t, inputs.reference) for t in study.temperatures_k}
    rows = []
    for name in names:
        row = {"model": name, **_of_model(inputs, name), **survivals(name, alive_at)}
        rows.append({key: row.get(key, np.nan) for key in ("model", *study.quantities)})
    table = pd.DataFrame(rows, columns=["model", *study.quantities])
    known = ["model", *(name for name in study.quantities if table[name].notna().any())]
    return table[known].dropna(thresh=2).reset_index(drop=True)
