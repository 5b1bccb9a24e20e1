"""pesbench: is a machine-learning potential's energy surface smooth enough for dynamics?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pesbench.commands.check import CheckReport, Limits

__version__ = "0.1.0"


def check(
    calculator: Any,
    *,
    name: str | None = None,
    scans: Sequence[str] | None = None,
    parts: Sequence[str] = ("conformance", "scans", "dynamics"),
    limits: Limits | None = None,
    elements: Sequence[str] | None = None,
    dtype: str | None = None,
) -> CheckReport:
    """Check an ASE calculator: conformance, 30 bond scans, short dynamics (docs/check.md).

    Runs in the caller's process, so that a model in training can be checked between two epochs.
    The calculator's `atoms` and `results` are left as they were. A calculator that raises on a
    molecule costs that molecule and is told in the report; one that kills the process kills it:
    `python -m pesbench check` is the safe way for those.

    Args:
        calculator: Any ASE calculator, eV and Å.
        name: Of the model in the report; the calculator's class if None.
        scans: Ids or globs such as `C-N/*` of the scans to score; None for all of them.
        parts: What to do: `conformance` (some 800 single evaluations), `scans` (100 for each) and
            `dynamics` (some 9000).
        limits: What passes; see `pesbench.commands.check.Limits`.
        elements: Symbols the calculator knows; None to find out by asking it.
        dtype: Precision the calculator claims, `float64` or `float32`; it is measured anyway, and
            fails if it is coarser.

    Returns:
        A report; `report.passed`, `report.scores["fsd_full"]` in Å⁻¹, `print(report)`,
        `report.to_json(path)`.

    Raises:
        UserError: `calculator` is none, or a name is unknown.
    """
    from pesbench.commands.check.local import check_calculator

    return check_calculator(
        calculator,
        name=name,
        scans=scans,
        parts=parts,
        limits=limits,
        elements=elements,
        dtype=dtype,
    )
