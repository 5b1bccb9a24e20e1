"""Numerical variants: how far entries of one checkpoint are from each other, and from float64.

Entries that differ only in numerical settings (precision, compilation, batch size) are variants of
one checkpoint; entries that differ in nothing but `repeat` are repeats, whose spread is the noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd

from pesbench.compare.inputs import ENERGY_METRICS, FORCE_METRICS
from pesbench.compare.parity.differences import (
    Found,
    differences_of,
    summary,
    table_of,
    text_rows,
)
from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.files.evaluation import Evaluation, ScanEvaluation
from pesbench.models.registry import ModelEntry
from pesbench.models.variants import variants

ENERGY, FORCE = "energy_mev", "force_mev_per_angstrom"


def difference(one: ScanEvaluation, other: ScanEvaluation) -> tuple[np.ndarray, np.ndarray]:
    """Differences of two evaluations of a scan on the frames that both have.

    Returns:
        Of the energies in meV, shape (K,), empty where a model has none; of the force components
        in meV/Å, shape (K N 3,).
    """
    both = (one.frame_status == Status.OK.code) & (other.frame_status == Status.OK.code)
    energy = 1e3 * (one.energy - other.energy)[both]
    force = 1e3 * (one.forces - other.forces)[both].ravel()
    return energy[np.isfinite(energy)], force


class _Stored:
    """Evaluations and scores of one model."""

    def __init__(self, stack: ExitStack, files: Iterable[Path], scores: pd.DataFrame) -> None:
        self._of_scan: dict[str, Evaluation] = {}
        for path in files:
            evaluation = stack.enter_context(Evaluation(path))
            self._of_scan |= dict.fromkeys(evaluation.ids, evaluation)
        self.scores = scores[scores["status"] == "ok"].set_index("scan")

    def scan(self, scan_id: str, like: ScanEvaluation | None = None) -> ScanEvaluation:
        if scan_id not in self._of_scan:
            raise UserError(f"scan {scan_id!r} is scored but in no shard; evaluate it again")
        shape = None if like is None else like.forces.shape[:2]
        return self._of_scan[scan_id].scan(scan_id, shape)


def _compare(one: _Stored, other: _Stored) -> dict[str, Found]:
    """Every quantity on the scans that both have."""
    shared = sorted(set(one.scores.index) & set(other.scores.index))
    ones = ((i, one.scan(i)) for i in shared)
    pairs = [difference(first, other.scan(i, first)) for i, first in ones]
    found = {
        ENERGY: np.concatenate([e for e, _ in pairs] or [np.empty(0)]),
        FORCE: np.concatenate([f for _, f in pairs] or [np.empty(0)]),
    }
    for column in (*FORCE_METRICS, *ENERGY_METRICS):
        values = (one.scores.loc[shared, column] - other.scores.loc[shared, column]).astype(float)
        found[column] = values.dropna().to_numpy()
    return summary(found, shared)


def parity(
    entries: Mapping[str, ModelEntry],
    files: Mapping[str, Sequence[Path]],
    scores: Mapping[str, pd.DataFrame],
) -> pd.DataFrame:
    """Every variant beside its base, quantity by quantity.

    Args:
        entries: Entries by name.
        files: Evaluation files by name.
        scores: One row a scan, by name.

    Returns:
        The columns `COLUMNS` of `differences` and `n_scans`: energies in meV, forces in meV/Å,
        scores in their own units, over the scans that both have.
    """
    rows = []
    for group in variants(entries.values()):
        with ExitStack() as stack:
            stored = {name: _Stored(stack, files[name], scores[name]) for name in group}
            rows += differences_of(
                group, entries, lambda a, b, held=stored: _compare(held[a], held[b])
            )
    return table_of(rows, "n_scans")


SHOWN = {
    ENERGY: "energy (meV)",
    FORCE: "force (meV/Å)",
    "fsd_full": "FSD (Å⁻¹)",
    "fsd_windowed": "windowed FSD (Å⁻¹)",
    "force_mae": "force MAE (eV/Å)",
    "energy_mae_aligned": "energy MAE, aligned (eV)",
    "spurious_extrema": "spurious extrema",
}


def notes(table: pd.DataFrame) -> tuple[str, ...]:
    """Notes on how to read the parity table."""
    noise = table["noise_of_repeats"].notna().any()
    repeats = "≈ marks what is not above the noise of repeats, " if noise else ""
    return (
        f"Largest difference from the base over all frames, components or scans; {repeats}0 is "
        "equal to the bit. Every score stands in parity.csv.",
    )


def text_table(table: pd.DataFrame) -> pd.DataFrame:
    """The parity table for readers: one row a variant."""
    return text_rows(table, SHOWN)
