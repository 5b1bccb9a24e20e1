"""Evaluations that are kept when more scans are asked for: only those that are missing are made.

An evaluation is kept where everything that decides its numbers is what it was: entry and weights,
scan set, code, packages, device, precision and threads.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pesbench.core.errors import HostError, UserError
from pesbench.files import provenance
from pesbench.files.evaluation import Evaluation, write_evaluation
from pesbench.files.fingerprint import family_modules, stage_fingerprint
from pesbench.files.integrity import unverified
from pesbench.files.scan_set import ScanSet
from pesbench.models.registry import ModelEntry
from pesbench.tasks.bonds.run import evaluate_shard

_ALIKE = ("device", "dtype", "model_details", "threads")  # of two parts of one evaluation
logger = logging.getLogger("pesbench")


def held_scans(path: Path) -> tuple[str, ...]:
    """Ids of the scans of an evaluation; none where there is no readable file.

    For the plan of a run, which decides by them whether anything is missing.
    """
    if not path.is_file():
        return ()
    try:
        with unverified(), Evaluation(path) as evaluation:
            return evaluation.ids
    except (UserError, HostError, OSError):
        return ()


def evaluate_missing(
    entry: ModelEntry,
    scan_set_path: Path,
    scan_ids: Sequence[str],
    out: Path,
    *,
    device: str = "auto",
    threads: int = 1,
) -> None:
    """Evaluate the scans that an evaluation does not hold yet, and write it with them.

    Args:
        entry: Resolved model entry.
        scan_set_path: Scan set file.
        scan_ids: Which scans; what the file holds beside them is kept, too.
        out: Evaluation file; one that is of something else is made anew.
        device: `auto`, `cpu` or `cuda`.
        threads: For the model's arithmetic.

    Raises:
        UserError: no such scan or scan set.
        HostError: the machine failed; a second call continues.
    """
    more = out.with_name(f"{out.stem}_more{out.suffix}")
    kept = _kept(out, entry, scan_set_path, device, threads)
    if kept is not None:
        with ScanSet(scan_set_path) as scan_set:
            missing = [
                scan_id
                for scan_id in sorted(scan_ids)
                if scan_id not in kept and scan_set.quality(scan_id)[0] != "dropped"
            ]
        logger.info("%s: %d scans are kept, %d are missing", out, len(kept), len(missing))
        if not missing:
            return
        evaluate_shard(entry, scan_set_path, missing, more, device=device, threads=threads)
        joined = _join(out, more)
        more.unlink()
        if joined:
            return
    evaluate_shard(entry, scan_set_path, scan_ids, out, device=device, threads=threads)


def _kept(
    path: Path, entry: ModelEntry, scan_set_path: Path, device: str, threads: int
) -> tuple[str, ...] | None:
    """Ids of the scans of an evaluation that is still the one asked for; None if it is not."""
    if not path.is_file():
        return None
    try:
        with Evaluation(path) as stored, ScanSet(scan_set_path) as scan_set:
            found = stored.attributes
            made = json.loads(found["provenance"])
            same = (
                json.loads(found["entry"]) == json.loads(json.dumps(entry.deciding()))
                and stored.scan_set_sha256 == scan_set.sha256
                and provenance.summary(found, "pesbench.tasks.bonds.run")["code"]
                == stage_fingerprint("pesbench.tasks.bonds.run", *family_modules(entry.families))
                and made["packages"] == provenance.package_versions()
                and int(found["threads"]) == threads
                and (device == "auto" or str(found["device"]).startswith(device.split(":")[0]))
            )
            return stored.ids if same else None
    except (UserError, OSError, KeyError, ValueError, TypeError):
        return None  # damaged, or of an older version


def _join(path: Path, more: Path) -> bool:
    """Write two evaluations as one; False where the two were not made alike."""
    with ExitStack() as stack:
        first, second = (stack.enter_context(Evaluation(one)) for one in (path, more))
        old, new = first.attributes, second.attributes
        if any(old[key] != new[key] for key in _ALIKE):
            return False
        holder = {scan_id: one for one in (first, second) for scan_id in one.ids}
        added: dict[str, Any] = {
            "wall_s": float(old["wall_s"]) + float(new["wall_s"]),
            "times_interrupted": int(old["times_interrupted"]) + int(new["times_interrupted"]),
            "atom_frames": int(old["atom_frames"]) + int(new["atom_frames"]),
            "peak_memory_bytes": max(int(old["peak_memory_bytes"]), int(new["peak_memory_bytes"])),
            "provenance": json.loads(new["provenance"])
            | {"kept": [*_earlier(old), {"scans": len(first.ids)} | _when(old)]},
        }
        write_evaluation(
            path,
            (holder[scan_id].scan(scan_id) for scan_id in sorted(holder)),
            attributes={key: _plain(value) for key, value in new.items()} | added,
        )
    return True


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _earlier(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return list(json.loads(attributes["provenance"]).get("kept", []))


def _when(attributes: dict[str, Any]) -> dict[str, Any]:
    made = json.loads(attributes["provenance"])
    return {key: made[key] for key in ("created", "git_commit", "platform")}
