"""Scans of the published kind, which ranks are by, and those of bonds to hydrogen.

BSCT-SPICE has no bond to hydrogen. Molecules lose hydrogens in dynamics more often than anything
else, so that such bonds can be scanned, too; their scores stand in columns of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pesbench.core.bond_graph import to_hydrogen

if TYPE_CHECKING:
    import pandas as pd


def of_published_kind(rows: pd.DataFrame) -> pd.DataFrame:
    """Scores of the scans of bonds without a hydrogen; of all where a set has no other.

    Args:
        rows: One row a scan, with its `bond`; `attrs` are kept.
    """
    return rows[_is_published(rows)]


def of_bonds_to_hydrogen(rows: pd.DataFrame) -> pd.DataFrame:
    """Scores of the scans that `of_published_kind` leaves out."""
    return rows[~_is_published(rows)]


def _is_published(rows: pd.DataFrame) -> pd.Series:
    heavy = ~rows["bond"].map(to_hydrogen).astype(bool)
    return heavy if heavy.any() else ~heavy
