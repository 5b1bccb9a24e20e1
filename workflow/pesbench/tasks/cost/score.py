"""Cost of a step from stored times: no model, no GPU."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.core.jobs import ScoreJob
from pesbench.files import provenance
from pesbench.files.integrity import check_owner, check_scan_set
from pesbench.files.scan_set import ScanSet
from pesbench.tasks.cost.stored import MoleculeTimes, Times
from pesbench.tasks.cost.task import TASK

if TYPE_CHECKING:
    import pandas as pd

DAY_S = 86_400


def score_molecule(
    times: MoleculeTimes, memory_bytes: float, gpu_bytes: float, *, one_thread: bool
) -> dict[str, float]:
    """All numbers of one molecule.

    Args:
        times: Times of its calls.
        memory_bytes: Peak memory of the model's process; 0 if it is not known.
        gpu_bytes: Peak memory on the GPU; 0 for none.
        one_thread: Whether it computed on one thread of a CPU. On an idle machine a step then takes
            the mean time without that in the queue for a processor, if this is shorter.

    Returns:
        One number a metric of the task; NaN for what is not known.
    """
    median = float(np.median(times.seconds))
    step_s = median
    if one_thread:
        alone_s = float(times.seconds.mean()) - times.queue_s
        step_s = float(np.fmin(median, alone_s))
    return {
        "ms_per_step": 1e3 * median,
        "fastest_ms": 1e3 * float(times.seconds.min()),
        "cpu_ms": 1e3 * times.cpu_s,
        "steps_per_day": DAY_S / step_s if step_s > 0 else float("nan"),
        "peak_memory_mb": memory_bytes / 1e6 or float("nan"),
        "device_memory_mb": gpu_bytes / 1e6 or float("nan"),
        "load_average": times.load_average,
        "n_steps": len(times.seconds),
    }


def score(job: ScoreJob) -> pd.DataFrame:
    """Score a model's times, one row a molecule.

    Args:
        job: `files` are files of times; with an `entry`, they must be of it.

    Raises:
        UserError: a file is damaged, or of another entry or scan set; or no molecule is selected.
    """
    import pandas as pd  # the workflow's environment has it; a family's need not

    with ScanSet(job.scan_set) as scan_set:
        sha256 = scan_set.sha256
    rows, made_from = [], []
    for path in sorted(job.files):
        with Times(path) as opened:
            check_scan_set(path, opened.scan_set_sha256, job.scan_set, sha256)
            about = opened.attributes
            if job.entry is not None:
                check_owner(path, about, job.entry.name, job.entry.deciding())
            made_from.append(provenance.summary(about, "pesbench.tasks.cost.run"))
            settings = opened.settings
            chosen = [name for name in opened.systems if job.selects(name)]
            rows += [_row(opened, opened.molecule(name)) for name in chosen]
    if not rows:
        raise UserError(f"{job.files[0]}: holds no selected molecule; select others")
    frame = pd.DataFrame(rows, columns=list(TASK.columns))
    frame.attrs = {"scan_set_sha256": sha256, "settings": settings, "made_from": made_from}
    return frame.sort_values("system", ignore_index=True)


def _row(opened: Times, times: MoleculeTimes) -> dict[str, Any]:
    about = opened.attributes
    details = json.loads(about.get("model_details", "{}"))
    device = str(about["device"])
    row: dict[str, Any] = {
        "model": opened.model,
        "system": times.system,
        "n_atoms": len(times.numbers),
        "status": times.status.value,
        "message": times.message,
        "device": details.get("gpu") or (device if device.startswith("cuda") else "cpu"),
        "cpu": str(about["cpu"]),
        "cores": int(about["cores"]),
        "threads": int(about["threads"]),
    }
    if times.status is not Status.OK:
        return row | {metric.name: float("nan") for metric in TASK.metrics}
    memory = float(about["peak_memory_bytes"])
    on_gpu = float(details.get("device_peak_bytes", 0))
    one_thread = row["device"] == "cpu" and row["threads"] == 1
    return row | score_molecule(times, memory, on_gpu, one_thread=one_thread)
