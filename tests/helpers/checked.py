"""What tests of `pesbench check` share."""

from __future__ import annotations

from typing import Any

import check_calculators as fakes
import pesbench
from pesbench.commands.check.local import CalculatorModel
from pesbench.commands.check.report import CheckReport, Verdict
from pesbench.core.interface import Batch, Result, check_result

CONFORMANCE = ("conformance",)
# the start of a program that finds none of some packages
BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
"""


def failures(report: CheckReport) -> set[str]:
    """Names of the rows that do not pass."""
    return {row.name for row in report.rows if row.verdict in (Verdict.FAIL, Verdict.ERROR)}


def conform(calculator: Any, **options: Any) -> CheckReport:
    """A check of a calculator without scans and dynamics."""
    return pesbench.check(calculator, parts=CONFORMANCE, **options)


def smoothly(batch: Batch) -> Result:
    """What the good calculator answers."""
    return check_result(batch, CalculatorModel(fakes.Smooth()).evaluate(batch))
