"""What tests of `pesbench check` share."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import check_calculators as fakes
import pesbench
from pesbench.commands.check.limits import Limits
from pesbench.commands.check.local import CalculatorModel
from pesbench.commands.check.report import CheckReport, Verdict
from pesbench.core.interface import Batch, Result, check_result

CONFORMANCE = ("conformance",)
# for the pair potential of the tests, which has other wells and softer walls than a molecule
LOOSE = Limits(
    fsd_aligned=1e3, force_mae=1e3, spurious_extrema=10, missing_extrema=10, open_walls=30
)
# the start of a program that finds none of some packages
BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
"""


def options(limits: Limits) -> list[str]:
    """Options of the command for limits that are not the default."""
    return [
        word
        for name, value in asdict(limits).items()
        if value is not None and value != getattr(Limits(), name)
        for word in (f"--max-{name.replace('_', '-')}", f"{value:g}")
    ]


def failures(report: CheckReport) -> set[str]:
    """Names of the rows that do not pass."""
    return {row.name for row in report.rows if row.verdict in (Verdict.FAIL, Verdict.ERROR)}


def conform(calculator: Any, **options: Any) -> CheckReport:
    """A check of a calculator without scans and dynamics."""
    return pesbench.check(calculator, parts=CONFORMANCE, **options)


def smoothly(batch: Batch) -> Result:
    """What the good calculator answers."""
    return check_result(batch, CalculatorModel(fakes.Smooth()).evaluate(batch))
