"""Bond scans against full CI, by the number of calculations that are interpolated between."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pesbench.core.errors import UserError
from pesbench.core.family import family_of
from pesbench.core.interface import Result, Status, batch_of
from pesbench.core.progress import track
from pesbench.core.scans import Scan
from pesbench.files.evaluation import ScanEvaluation
from pesbench.files.scan_set import ScanSet
from pesbench.models.families.wavefunction.archive import States, read_states
from pesbench.models.families.wavefunction.family import FAMILY
from pesbench.models.families.wavefunction.model import WavefunctionModel
from pesbench.models.families.wavefunction.supported import ENERGIES, STATES
from pesbench.models.weights import read_weights
from pesbench.tasks.bonds.score import score_scan

METRICS = ("fsd_full", "force_mae", "energy_mae", "spurious_extrema", "missing_extrema")
KINDS = (STATES, ENERGIES)


def read_weight_file(path: Path) -> list[States]:
    """The molecules of a weight file of family `wavefunction`.

    Raises:
        UserError: there is none, or it holds something else.
    """
    return read_states(read_weights(path, None, family_of(FAMILY.name)))


def model_of(
    states: States, kind: str, calculations: int | None, in_order: bool = False
) -> WavefunctionModel:
    """The model of one molecule.

    Args:
        states: What its training left.
        kind: One of `KINDS`: what is interpolated.
        calculations: The first so many of its calculations; None for all.
        in_order: Like atoms come in the order of the training: it is not looked for.
    """
    settings = {"interpolates": kind, "calculations": calculations}
    return WavefunctionModel([states], settings, {}, in_order)


def chosen_numbers(most: int) -> list[int]:
    """Numbers of calculations that are compared, up to the number that there is."""
    return sorted({n for n in (1, 2, 3, 4, 6, 8, 12, 16, 22) if n < most} | {most})


def scan_rows(scan_set: Path, weights: Path) -> pd.DataFrame:
    """Scores of the scans of the molecules that a weight file knows, without dropped ones.

    Args:
        scan_set: Scan set with full CI as its reference.
        weights: Weight file.

    Returns:
        A row a scan, kind and number of calculations.

    Raises:
        UserError: no scan is of a molecule of the weight file.
    """
    known = {tuple(sorted(one.numbers)): one for one in read_weight_file(weights)}
    with ScanSet(scan_set) as scans:
        every = [scans.scan(scan_id) for scan_id in scans.ids]
    every = [scan for scan in every if scan.quality != "dropped"]
    pairs = [
        (scan, known[key])
        for scan in every
        if (key := tuple(sorted(scan.numbers.tolist()))) in known
    ]
    if not pairs:
        raise UserError(f"{scan_set}: no scan of a molecule that {weights} knows; take another")
    rows = []
    fitted = functools.cache(lambda key, *wanted: model_of(known[key], *wanted))
    for scan, states in track(pairs, len(pairs), "scans"):
        for calculations in chosen_numbers(len(states.ranks)):
            for kind in KINDS:
                model = fitted(tuple(sorted(states.numbers)), kind, calculations)
                rows.append(
                    {
                        "scan": scan.id,
                        "system": scan.system,
                        "interpolates": kind,
                        "calculations": calculations,
                        "states": states.ranks[calculations - 1],
                        **_scored(scan, evaluate(model, scan, scan.positions)),
                    }
                )
    return pd.DataFrame(rows)


def evaluate(model: WavefunctionModel, molecule: Scan, places: Sequence[np.ndarray]) -> Result:
    """Energies and forces at geometries in Å of a molecule."""
    return model.evaluate(batch_of([molecule] * len(places), list(places)))


def _scored(scan: Scan, result: Result) -> dict[str, float]:
    """The metrics of a scan; NaN for all of them if a frame failed."""
    assert result.energies is not None
    if set(result.status) != {Status.OK}:
        return dict.fromkeys(METRICS, np.nan)
    evaluation = ScanEvaluation(
        scan.id,
        result.energies,
        result.forces.reshape(scan.positions.shape),
        np.full(scan.n_frames, Status.OK.code, dtype=np.int8),
        Status.OK,
        "",
        0.0,
    )
    found = score_scan(scan, evaluation)
    return {metric: float(found[metric]) for metric in METRICS}
