"""Roughness of stored energies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np

from pesbench.core.jobs import ScoreJob
from pesbench.files import provenance

if TYPE_CHECKING:
    import pandas as pd


def roughness(energies: np.ndarray) -> float:
    """Largest second difference of energies (F,), in their unit."""
    return float(np.abs(np.diff(energies, 2)).max())


def score(job: ScoreJob) -> pd.DataFrame:
    """One row a molecule; a molecule of which a frame failed has no roughness."""
    import pandas as pd

    rows, made_from = [], []
    for path in job.files:
        with h5py.File(path) as file:
            made_from.append(provenance.summary(dict(file.attrs), "pesbench.tasks.breathing.run"))
            about = {"scan_set_sha256": file.attrs["scan_set_sha256"]}
            for name, group in file.items():
                status = group.attrs["status"]
                value = roughness(group["energy"][()]) if status == "ok" else np.nan
                rows.append({
                    "model": file.attrs["model"], "system": name,
                    "n_atoms": group.attrs["n_atoms"], "status": status,
                    "message": group.attrs["message"],
                    "roughness_ev": job.settings.factor * value,
                })  # fmt: skip
    frame = pd.DataFrame(sorted(rows, key=lambda row: row["system"]))
    frame.attrs = about | {"made_from": made_from}
    return frame
