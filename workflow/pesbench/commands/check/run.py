"""A whole check: conformance, scans, closest approach, short dynamics.

Works on an `Evaluator`, so that a supervised worker and a calculator in the caller's process go
the same way; neither raises for what a model does wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from pesbench.commands.check import conformance
from pesbench.commands.check.approach import check_approach
from pesbench.commands.check.conformance import Elements, Evaluate
from pesbench.commands.check.conformance_rows import conformance_rows, inputs_row
from pesbench.commands.check.dynamics import check_dynamics, settings_of_part
from pesbench.commands.check.limits import Limits
from pesbench.commands.check.report import CONFORMANCE, CheckReport, CheckRow
from pesbench.commands.check.scan_rows import Scored, Track, score_rows, scored_scans
from pesbench.commands.check.subset import read_subset
from pesbench.core.errors import UserError
from pesbench.core.interface import Batch, ModelInfo
from pesbench.core.scans import Scan
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import Evaluator
from pesbench.engine.worker import ModelLoadError
from pesbench.files import provenance

PARTS = ("conformance", "scans", "approach", "dynamics")
DTYPES = ("float32", "float64")  # that a model may claim


def silently(items: Sequence[Any], total: int, what: str) -> Sequence[Any]:
    """Pass items through and tell nothing."""
    return items


def chosen_scans(scans: Sequence[str] | None, parts: Sequence[str]) -> list[Scan]:
    """The scans of a check, sorted by id; says what is wrong with either argument.

    Args:
        scans: Ids or globs; None for all of the 30.
        parts: Parts from `PARTS`.

    Raises:
        UserError: unknown part or scan, or none; or scans where none is scored.
    """
    if not parts:
        raise UserError(f"parts: none is given; there are {', '.join(PARTS)}")
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        raise UserError(f"parts: no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    if scans is not None and "scans" not in parts:
        raise UserError("scans: they are given, but 'scans' is not among the parts; add it there")
    return read_subset(scans)


def run_check(
    evaluator: Evaluator,
    *,
    name: str,
    limits: Limits,
    claimed_dtype: str | None,
    inputs_changed: Callable[[Batch], list[str]],
    scans: Sequence[str] | None = None,
    parts: Sequence[str] = PARTS,
    track: Track = silently,
) -> CheckReport:
    """Check a model.

    Args:
        evaluator: Evaluator with its model.
        name: Name of the model, for the report.
        limits: What passes.
        claimed_dtype: Precision the model claims, None if it claims none.
        inputs_changed: Names of the arrays that the model changes in place, given a batch.
        scans: Ids or globs of the scans to score; None for all of the 30.
        parts: Parts from `PARTS`.
        track: Progress, as `pesbench.core.progress.track`.

    Raises:
        UserError: unknown part or scan, or none.
        ModelLoadError: the model does not load.
        HostError: the machine failed.
    """
    chosen = chosen_scans(scans, parts)
    start = time.monotonic()
    info = evaluator.worker.start()
    checks: list[CheckRow] = []
    scan_rows: list[CheckRow] = []
    scored: list[Scored] = []
    scores: dict[str, float] = {}
    pair_rows: list[CheckRow] = []
    per_pair: list[dict[str, Any]] = []
    run_rows: list[CheckRow] = []
    per_run: list[dict[str, Any]] = []
    batch: Batch | None = None
    about = _about(info, limits, claimed_dtype)
    try:
        elements, row = _elements(evaluator.evaluate, info)
        checks.append(row)
        usable = [s for s in read_subset() if set(s.numbers.tolist()) <= elements.known]
        if usable:
            if "scans" in parts:
                scored = scored_scans(evaluator, chosen, elements, track)
                scan_rows, scores = score_rows(scored, limits)
            if "conformance" in parts:
                found, batch = conformance_rows(
                    evaluator.evaluate, usable, info, limits, claimed_dtype, about
                )
                checks += found
            if "approach" in parts:
                pair_rows, per_pair = check_approach(evaluator, elements, limits, track)
            if "dynamics" in parts:
                about["dynamics"] = settings_of_part()
                asked = evaluator
                if not info.batched:  # a crash costs one trajectory and no search
                    asked = replace(evaluator, limit=BatchLimit(systems=1))
                dtype = about.get("dtype_measured") or claimed_dtype or "float32"
                run_rows, per_run = check_dynamics(
                    asked.evaluate, elements, limits, limits.tolerance(dtype), track
                )
            if batch is not None:  # last: it may take the model out of memory
                checks.append(inputs_row(inputs_changed, batch))
    except ModelLoadError as failure:  # the worker ended, the model cannot be loaded again
        checks.append(CheckRow.error(CONFORMANCE, "model", failure.message))
    return CheckReport(
        model=name,
        rows=(*checks, *scan_rows, *pair_rows, *run_rows),
        scores=scores,
        scans=tuple(one.row for one in scored),
        trajectories=tuple(per_run),
        pairs=tuple(per_pair),
        about=about,
        wall_s=time.monotonic() - start,
    )


def _about(info: ModelInfo, limits: Limits, claimed_dtype: str | None) -> dict[str, Any]:
    return {
        "device": info.device,
        "dtype_claimed": claimed_dtype,
        "model_details": dict(info.details),
        "limits": asdict(limits),
        "packages": provenance.package_versions(),
    }


def _elements(evaluate: Evaluate, info: ModelInfo) -> tuple[Elements, CheckRow]:
    scans = read_subset()
    every = frozenset(int(z) for scan in scans for z in scan.numbers)
    if info.elements is None:
        found, how = conformance.probe_elements(evaluate, scans), "asked"
    else:
        found, how = Elements(info.elements & every, every - info.elements), "as it tells"
    if not any(set(scan.numbers.tolist()) <= found.known for scan in scans):
        note = f"no molecule of the check can be asked about; {found.message or how}"
        return found, CheckRow.error(CONFORMANCE, "elements", note)
    note = f"knows {conformance.symbols(found.known)} ({how})"
    if found.refused:
        note += f", not {conformance.symbols(found.refused)}"
        note += f": {found.message}" if found.message else ""
    return found, CheckRow.info(CONFORMANCE, "elements", note, float(len(found.known)))
