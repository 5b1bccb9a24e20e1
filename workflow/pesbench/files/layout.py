"""Folders of results of earlier versions, whose files had other names."""

from __future__ import annotations

import shlex
from pathlib import Path

from pesbench.core.errors import UserError

_OLD = ("scans/*.h5", "scores/scans.parquet", "vibrations.h5")  # of a model
_RENAME = (
    'for m in */; do [ ! -d "$m/scans" ] || mv "$m/scans" "$m/bonds"; '
    '[ ! -f "$m/scores/scans.parquet" ] || mv "$m/scores/scans.parquet" "$m/scores/bonds.parquet"; '
    '[ ! -f "$m/vibrations.h5" ] || { mkdir -p "$m/vibrations" && '
    'mv "$m/vibrations.h5" "$m/vibrations/0000.h5"; }; done'
)


def check_layout(results: Path) -> None:
    """Refuse a folder of results of an earlier version.

    Args:
        results: Folder of a scan set's results; need not exist.

    Raises:
        UserError: with the command that renames its files.
    """
    for pattern in _OLD:
        for path in results.glob(f"*/{pattern}"):
            raise UserError(
                f"{results}: {path.relative_to(results)} has the name that an earlier version "
                f"gave it; rename such files: (cd {shlex.quote(str(results))} && {_RENAME})"
            )
