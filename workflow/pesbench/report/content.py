"""What leaderboard, page and explorer of a folder of results share: sections, title, answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pesbench.compare.comparison import comparisons
from pesbench.files.scan_set import ScanSet
from pesbench.report import merged
from pesbench.report.answer import sentences
from pesbench.report.board import read_sections
from pesbench.report.sections import StoredSection

MERGED = "merged.json"
PAIRS = "pairs"  # the comparison that tells from whom the first model differs


def sections_of(
    results: Path, scan_set: ScanSet, names: Sequence[str] | None = None
) -> list[StoredSection]:
    """The sections of a folder of results, and where those of a merged one are from.

    Args:
        results: Folder of the scan set's results.
        scan_set: Scan set that they must be of.
        names: Names of sections, in order; None for all that exist.

    Raises:
        UserError: one is missing, damaged or of another scan set.
    """
    found = read_sections(results, scan_set, names)
    manifest = results / MERGED
    return [*found, *([merged.section(manifest)] if manifest.is_file() else [])]


def title_of(scan_set: ScanSet) -> str:
    """The heading of a report."""
    return f"{scan_set.name}: smoothness against {scan_set.level_of_theory}"


def answers_of(board: pd.DataFrame, sections: Sequence[StoredSection]) -> list[str]:
    """The sentences below the heading, also of questions that were not asked."""
    there = {one.name for one in sections}
    told = {one.name: one.answer for one in sections if one.answer}
    told_apart = told.pop(PAIRS, "")
    unasked = [c.unasked for c in comparisons().values() if c.unasked and c.name not in there]
    return sentences(board, [*told.values(), *unasked], told_apart)
