"""pesbench: is a machine-learning potential's energy surface smooth enough for dynamics?

    import pesbench

    with pesbench.ScanSet("results/mini/mini.h5") as scan_set:
        scan = scan_set.scan("C-N/methylamine_0-1")
    model = pesbench.load_model("weights.model", family="mace")
    evaluation = pesbench.evaluate_scan(model, scan)
    pesbench.score_scan(scan, evaluation.forces, evaluation.energy)["fsd_full"]  # Å⁻¹

Files of results are opened with `ScanSet`, `Evaluation` and `Trajectories`; `check` judges an ASE
calculator. A name is imported when it is first used, so that `import pesbench` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pesbench.api import evaluate_scan, load_model, score_scan
    from pesbench.commands.check.limits import Limits
    from pesbench.commands.check.local import check
    from pesbench.commands.check.report import CheckReport
    from pesbench.core.errors import UserError
    from pesbench.core.interface import Status
    from pesbench.core.scans import Scan
    from pesbench.files.evaluation import Evaluation, ScanEvaluation
    from pesbench.files.scan_set import ScanSet
    from pesbench.tasks.dynamics.stored import Trajectories

__version__ = "0.1.0"
__all__ = [
    "CheckReport",
    "Evaluation",
    "Limits",
    "Scan",
    "ScanEvaluation",
    "ScanSet",
    "Status",
    "Trajectories",
    "UserError",
    "check",
    "evaluate_scan",
    "load_model",
    "score_scan",
]

_MODULES = {
    "CheckReport": "pesbench.commands.check.report",
    "Evaluation": "pesbench.files.evaluation",
    "Limits": "pesbench.commands.check.limits",
    "Scan": "pesbench.core.scans",
    "ScanEvaluation": "pesbench.files.evaluation",
    "ScanSet": "pesbench.files.scan_set",
    "Status": "pesbench.core.interface",
    "Trajectories": "pesbench.tasks.dynamics.stored",
    "UserError": "pesbench.core.errors",
    "check": "pesbench.commands.check.local",
}  # the other functions are those of `pesbench.api`


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_MODULES.get(name, "pesbench.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
