"""`merged.json`: where everything in a merged folder is from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pesbench.commands.merge.contents import Folder
from pesbench.commands.merge.joining import Joined, Taken, common_settings, planned
from pesbench.core.found import tasks
from pesbench.core.task import SCAN
from pesbench.files import provenance
from pesbench.files.scan_set import ScanSet

MANIFEST = "merged.json"
FORMAT = "pesbench-merged"
VERSION = 2


def content(
    folders: Sequence[Folder],
    joined: Mapping[str, Joined],
    reference: Joined | None,
    scan_set: ScanSet,
    absent: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    """The content of the file.

    Args:
        folders: Folders that were merged.
        joined: The models.
        reference: What the scan set's own method said, for tasks that compare with it.
        scan_set: They are of.
        absent: How many rows without a score were added, by task and model.
    """
    dropped = sum(scan_set.quality(scan_id)[0] == "dropped" for scan_id in scan_set.ids)
    ran = {
        name: task for name, task in tasks().items() if any(one.of(task) for one in joined.values())
    }
    every = [*joined.values(), *([reference] if reference is not None else [])]
    return {
        "format": FORMAT,
        "version": VERSION,
        "scan_set": {
            "name": scan_set.name,
            "sha256": scan_set.sha256,
            "from": str(scan_set.path),
            "n_scans": len(scan_set.ids) - dropped,
            "n_planned": len(_scans_planned(joined)),
        },
        "tasks": {
            name: {
                "settings": common_settings(joined, task),
                "n_planned": len(planned(joined, task)),
            }
            for name, task in ran.items()
        },
        "folders": [str(folder.path) for folder in folders],
        "models": {
            name: {
                "family": one.entry.family,
                "entry_sha256": _sha256(one.entry.deciding()),
                "renamed": {str(m.folder): m.named for m in one.sources if m.named != name},
                "tasks": {
                    kind: {
                        "n": sum(len(taken.keys) for taken in one.of(task)),
                        "n_absent": absent[kind][name],
                        "parts": [_part(taken) for taken in one.of(task)],
                    }
                    for kind, task in ran.items()
                    if one.of(task)
                },
            }
            for name, one in joined.items()
        },
        "reference": {
            kind: [_part(taken) for taken in reference.of(task)]
            for kind, task in ran.items()
            if reference is not None and reference.of(task)
        },
        "warnings": [
            *(warning for folder in folders for warning in folder.warnings),
            *(said for one in every for said in one.rounding),
        ],
        "provenance": provenance.collect(),
    }


def _scans_planned(joined: Mapping[str, Joined]) -> set[str]:
    """Scans that at least one model has a result of."""
    return {
        item
        for one in joined.values()
        for taken in one.taken
        for item in taken.piece.items.values()
        if taken.piece.task.always and taken.piece.task.item == SCAN
    }


def _part(taken: Taken) -> dict[str, Any]:
    piece = taken.piece
    return {
        "folder": str(taken.folder),
        "file": str(piece.path.relative_to(taken.folder)),
        "as": "files" if piece.raw else "scores",
        "n": len(taken.keys),
        "n_elsewhere": len(piece.keys) - len(taken.keys),
        "made_from": [dict(how) for how in piece.made_from],
        "scored": dict(piece.scored) if piece.scored is not None else None,
        "same_code": taken.same_code,
    }


def _sha256(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
