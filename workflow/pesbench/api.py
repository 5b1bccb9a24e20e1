"""The functions of `import pesbench`, for notebooks and scripts.

No module of the package imports this one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from pesbench.commands.check.local import InProcess
from pesbench.core.errors import UserError
from pesbench.core.interface import Model, Status
from pesbench.core.paths import MODELS_FILE
from pesbench.core.scans import Scan
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import Evaluator
from pesbench.engine.scans import evaluate_scans
from pesbench.files.evaluation import ScanEvaluation
from pesbench.tasks.bonds import score


def load_model(
    model: str | Path,
    *,
    family: str | None = None,
    models_file: str | Path = MODELS_FILE,
    scan_set: str | Path | None = None,
    device: str = "auto",
    trust: bool = False,
) -> Model:
    """Load a model into this process.

    A model that crashes ends this process; the commands run models in a process of their own. The
    packages of its family must be installed here, and the extra `check`.

    Args:
        model: Name of an entry of the registry; with `family`, a weight file or its http address.
        family: Such as `mace`.
        models_file: The registry.
        scan_set: The scan set that a control is made of; other models do not need it.
        device: `auto`, `cpu` or `cuda`.
        trust: Your word that the weights may run code when they are loaded.

    Returns:
        A model with `info` and `evaluate(batch)`, see `pesbench.core.interface.Model`.

    Raises:
        UserError: there is no such entry, weight file or family, or the weights are not those that
            the entry names, or may run code.
        HostError: a download failed; another attempt may not.
    """
    from pesbench.commands.check.supervised import entry_of_weights
    from pesbench.commands.parsing import registered
    from pesbench.models.fetching import fetch_weights
    from pesbench.models.registry import load

    if family is None:
        entry = registered(str(model), Path(models_file), trust=trust)
    else:
        entry = entry_of_weights(str(model), family, trust=trust)
    held = None if scan_set is None else Path(scan_set)
    return load(fetch_weights(entry), scan_set=held, device=device)


def evaluate_scan(model: Model, scan: Scan) -> ScanEvaluation:
    """Ask a model for the energies and forces of all frames of a scan.

    What the model does wrong is no exception: it is the status of the frames it happened on.

    Args:
        model: Model from `load_model`, or anything with its `info` and `evaluate`.
        scan: The scan; its reference is not needed.

    Returns:
        Energies in eV, shape (F,), forces in eV/Å, shape (F, N, 3), and the status.

    Raises:
        HostError: the machine is out of memory.
    """
    evaluator = Evaluator(InProcess(model), BatchLimit())  # type: ignore[arg-type]
    (evaluation,) = evaluate_scans(evaluator, [scan])
    return evaluation


def score_scan(
    scan: Scan, forces: ArrayLike, energy: ArrayLike | None = None
) -> dict[str, float | str]:
    """Score forces, and energies where there are any, against the reference of a scan.

    Args:
        scan: Scan with its reference; frames without one are left out.
        forces: eV/Å, shape (F, N, 3).
        energy: eV, shape (F,); without it, or with NaN on all frames, the metrics that need
            energies are NaN.

    Returns:
        One value for each metric, such as `fsd_full` in Å⁻¹ (tasks/bonds/README.md lists all).

    Raises:
        UserError: an array has another shape, or holds what is no number on a frame that has a
            reference: a model that fails on a frame has no score; or the scan has no reference.
    """
    given = np.asarray(forces, dtype=np.float64)
    nothing = np.full(scan.n_frames, np.nan)
    energies = nothing if energy is None else np.asarray(energy, dtype=np.float64)
    counted = np.isfinite(scan.energy)
    if not counted.any():
        raise UserError(f"{scan.id}: the scan has no reference; take another")
    for name, values, shape in (
        ("forces", given, scan.positions.shape),
        ("energy", energies, scan.coordinate.shape),
    ):
        if values.shape != shape:
            raise UserError(f"{scan.id}: `{name}` has the shape {values.shape}; give {shape}")
        without = name == "energy" and np.isnan(values).all()
        if not without and not np.isfinite(values[counted]).all():
            raise UserError(f"{scan.id}: `{name}` holds what is no number; give numbers alone")
    status = np.full(scan.n_frames, Status.OK.code, dtype=np.int8)
    evaluation = ScanEvaluation(scan.id, energies, given, status, Status.OK, "", 0.0)
    return score.score_scan(scan, evaluation)
