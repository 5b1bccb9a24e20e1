"""Evaluations of bond scans: when more scans are selected, only the missing ones are evaluated.

An evaluation is kept where everything that decides its numbers is what it was: entry and weights,
scan set, code, packages, device, precision and threads.
"""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from pesbench.core.errors import UserError
from pesbench.core.jobs import RunJob
from pesbench.files import provenance
from pesbench.files.environment import HERE
from pesbench.files.evaluation import Evaluation, write_evaluation
from pesbench.files.fingerprint import family_modules, stage_fingerprint
from pesbench.files.scan_set import ScanSet
from pesbench.tasks.bonds.shard import evaluate_shard

_ALIKE = ("device", "dtype", "model_details", "threads")  # of two parts of one evaluation
logger = logging.getLogger("pesbench")


def run(job: RunJob) -> None:
    """Evaluate the scans that an evaluation does not hold yet, and write it with them.

    Args:
        job: Items are ids of scans; what the file holds beside them is kept, too. A file that is
            of something else is made anew.

    Raises:
        UserError: no such scan or scan set.
        HostError: the machine failed; a second call continues.
    """
    more = job.out.with_name(f"{job.out.stem}_more{job.out.suffix}")
    kept = _kept(job)
    if kept is not None:
        with ScanSet(job.scan_set) as scan_set:
            missing = [
                scan_id
                for scan_id in sorted(job.items)
                if scan_id not in kept and scan_set.quality(scan_id)[0] != "dropped"
            ]
        logger.info("%s: %d scans are kept, %d are missing", job.out, len(kept), len(missing))
        if not missing:
            return
        evaluate_shard(replace(job, items=missing, out=more))
        joined = _join(job.out, more)
        more.unlink()
        if joined:
            return
    evaluate_shard(job)


def _kept(job: RunJob) -> tuple[str, ...] | None:
    """Ids of the scans of an evaluation that is still the one asked for; None if it is not."""
    if not job.out.is_file():
        return None
    try:
        with Evaluation(job.out) as stored, ScanSet(job.scan_set) as scan_set:
            found = stored.attributes
            made = json.loads(found["provenance"])
            same = (
                json.loads(found["entry"]) == json.loads(json.dumps(job.entry.deciding()))
                and stored.scan_set_sha256 == scan_set.sha256
                and provenance.summary(found, __name__)["code"]
                == stage_fingerprint(__name__, *family_modules(job.entry.families))
                and made["packages"] == (job.environment or HERE).software["packages"]
                and int(found["threads"]) == job.threads
                and (
                    job.device == "auto"
                    or str(found["device"]).startswith(job.device.split(":")[0])
                )
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
