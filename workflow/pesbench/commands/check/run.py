"""A whole check: conformance, scans, short dynamics.

Works on an `Evaluator`, so that a supervised worker and a calculator in the caller's process go
the same way; neither raises for what a model does wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from pesbench.commands.check import conformance, ladders
from pesbench.commands.check.conformance import Difference, Elements, Evaluate
from pesbench.commands.check.dynamics import Track, check_dynamics, settings_of_part
from pesbench.commands.check.limits import Limits, Tolerance
from pesbench.commands.check.report import CheckReport, CheckRow, Verdict
from pesbench.commands.check.subset import read_subset, reference_level
from pesbench.core.errors import UserError
from pesbench.core.interface import Batch, ModelInfo, Result, Status
from pesbench.core.scans import Scan
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import Evaluator
from pesbench.engine.precision import FLOAT32_NOISE, FLOAT64_NOISE, precision, relative_noise
from pesbench.engine.scans import evaluate_scans
from pesbench.engine.worker import ModelFailureError, ModelLoadError
from pesbench.files import provenance
from pesbench.metrics.aggregate import seed_of
from pesbench.tasks.bonds.faults import fault_lists, headlines
from pesbench.tasks.bonds.score import score_scan

PARTS = ("conformance", "scans", "dynamics")
DTYPES = ("float32", "float64")  # that a model may claim
SCORES = (
    ("fsd_full", "Å⁻¹"),
    ("fsd_windowed", "Å⁻¹"),
    ("fsd_compress", "Å⁻¹"),
    ("fsd_stretch", "Å⁻¹"),
    ("force_mae", "eV/Å"),
    ("energy_mae_aligned", "eV"),
    ("spurious_extrema", "a scan"),
)
N_ROTATIONS = 4
N_WORST = 3
TRANSLATION_ANGSTROM = (1.3, -2.1, 0.7)
FAR_ANGSTROM = 1000.0


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
    per_scan: list[dict[str, Any]] = []
    scores: dict[str, float] = {}
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
                per_scan = _scan_scores(evaluator, chosen, elements, track)
                scan_rows, scores = _score_rows(chosen, per_scan, limits)
            if "conformance" in parts:
                found, batch = _conformance(
                    evaluator.evaluate, usable, info, limits, claimed_dtype, about
                )
                checks += found
            if "dynamics" in parts:
                about["dynamics"] = settings_of_part()
                asked = evaluator
                if not info.batched:  # a crash costs one trajectory and no search
                    asked = replace(evaluator, limit=BatchLimit(systems=1))
                run_rows, per_run = check_dynamics(asked.evaluate, elements, limits, track)
            if batch is not None:  # last: it may take the model out of memory
                checks.append(_inputs_row(inputs_changed, batch))
    except ModelLoadError as failure:  # the worker ended, the model cannot be loaded again
        checks.append(CheckRow.error(conformance.SECTION, "model", failure.message))
    return CheckReport(
        model=name,
        rows=(*checks, *scan_rows, *run_rows),
        scores=scores,
        scans=tuple(per_scan),
        trajectories=tuple(per_run),
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
        return found, CheckRow.error(conformance.SECTION, "elements", note)
    note = f"knows {conformance.symbols(found.known)} ({how})"
    if found.refused:
        note += f", not {conformance.symbols(found.refused)}"
        note += f": {found.message}" if found.message else ""
    return found, CheckRow.info(conformance.SECTION, "elements", note, float(len(found.known)))


# --- conformance ---------------------------------------------------------------------------------


def _conformance(
    evaluate: Evaluate,
    usable: Sequence[Scan],
    info: ModelInfo,
    limits: Limits,
    claimed: str | None,
    about: dict[str, Any],
) -> tuple[list[CheckRow], Batch | None]:
    """The rows, and the systems they were measured on; None where the model answered none."""
    chosen = conformance.representative(usable)
    batch = conformance.frames(chosen)
    base = evaluate(batch)
    rows = [_answers_row(base)]
    good = conformance.healthy(base)
    if not good:
        return rows, None
    if len(good) < batch.n_systems:  # rounding may depend on what else is in a batch
        batch = batch.select(good)
        base = evaluate(batch)
        if len(conformance.healthy(base)) < batch.n_systems:
            note = "systems that were answered once were not answered again"
            return [*rows, CheckRow.error(conformance.SECTION, "deterministic", note)], None
    generator = np.random.default_rng(seed_of("pesbench check"))
    noise = relative_noise(evaluate, batch, base, generator)
    used = precision(noise)
    about["dtype_measured"] = used or None
    tolerance = limits.tolerance(used or claimed or "float32")
    rows.append(_dtype_row(noise, used, claimed))
    n = batch.n_systems
    how = "" if info.batched else "; the model goes frame by frame"
    pairs = (
        ("deterministic", conformance.repeated(evaluate, batch, base), "the same call 3 times"),
        ("batched", conformance.single_and_batched(evaluate, batch, base),
         f"{n} systems alone and in one batch{how}"),
        ("permutation", conformance.permuted(evaluate, batch, base, generator),
         "atoms in another order"),
        ("translation", conformance.translated(
            evaluate, batch, base, np.array(TRANSLATION_ANGSTROM)), "by 2.6 Å"),
    )  # fmt: skip
    for name, difference, note in pairs:
        rows += _difference_rows(name, difference, tolerance.energy, tolerance.forces, note)
    far = conformance.translated(evaluate, batch, base, np.full(3, FAR_ANGSTROM / np.sqrt(3)))
    rows += _difference_rows("translation_far", far, None, None, f"by {FAR_ANGSTROM:g} Å")
    turns = Rotation.from_quat(generator.standard_normal((N_ROTATIONS, 4))).as_matrix()
    turned = conformance.largest([conformance.rotated(evaluate, batch, base, r) for r in turns])
    rows += _difference_rows("rotation", turned, None, limits.rotation, f"{N_ROTATIONS} rotations")
    rows.append(_gradient_row(evaluate, batch, base, chosen, generator, tolerance))
    rows += _charge_rows(evaluate, batch, base, info)
    return rows, batch


def _answers_row(base: Result) -> CheckRow:
    failed = [s for s, status in enumerate(base.status) if status is not Status.OK]
    note = f"{len(base.status)} systems, each squeezed, at rest and stretched"
    if failed:
        note = f"{base.status[failed[0]]}: {base.messages[failed[0]]}"
    if len(failed) == len(base.status):
        return CheckRow.error(conformance.SECTION, "unanswered", note)
    return CheckRow.measured(
        conformance.SECTION, "unanswered", float(len(failed)), "systems", 0.0, note
    )


def _dtype_row(noise: float, used: str, claimed: str | None) -> CheckRow:
    found = {"": "forces do not move", "coarser": "coarser than float32"}.get(used, used)
    limit = {"float64": FLOAT64_NOISE, "float32": FLOAT32_NOISE}.get(claimed or "")
    if not used:
        return CheckRow.info(conformance.SECTION, "dtype", found)
    note = f"relative noise of forces is that of {found}"
    note += f"; claimed is {claimed}" if claimed else "; none is claimed"
    return CheckRow.measured(conformance.SECTION, "dtype", noise, "", limit, note)


def _difference_rows(
    name: str, found: Difference, energy: float | None, forces: float | None, note: str
) -> list[CheckRow]:
    section = conformance.SECTION
    if found.failed:
        return [CheckRow.error(section, f"{name}_{what}", found.failed)
                for what in ("energy", "forces")]  # fmt: skip
    if found.energy is None:
        first = CheckRow.info(section, f"{name}_energy", "n/a: no energy")
    else:
        first = CheckRow.measured(section, f"{name}_energy", found.energy, "eV", energy, note)
    return [
        first,
        CheckRow.measured(section, f"{name}_forces", found.forces, "eV/Å", forces, note),
    ]


def _gradient_row(
    evaluate: Evaluate,
    batch: Batch,
    base: Result,
    chosen: Sequence[Scan],
    generator: np.random.Generator,
    tolerance: Tolerance,
) -> CheckRow:
    section, name = conformance.SECTION, "gradient"
    if base.energies is None:
        return CheckRow.info(section, name, "n/a: no energy")
    by_id = {scan.id: scan for scan in chosen}
    atoms = []
    for scan_id, _ in batch.labels:
        scan = by_id[scan_id]
        others = [k for k in range(scan.n_atoms) if k not in scan.atoms]
        atoms.append([*scan.atoms, int(generator.choice(others))] if others else [*scan.atoms])
    found = conformance.gradient_error(evaluate, batch, base, atoms, generator)
    if found.failed:
        return CheckRow.error(section, name, found.failed)
    note = (
        f"-dE/dx by differences of {found.step:g} Å, {found.count} directions; "
        f"forces to {found.force:.3g} eV/Å"
    )
    return CheckRow.measured(section, name, found.error, "eV/Å", tolerance.gradient, note)


def _charge_rows(evaluate: Evaluate, batch: Batch, base: Result, info: ModelInfo) -> list[CheckRow]:
    # the middle one of each scan's frames: close to rest, where an ion is most likely to converge
    frames: dict[str, list[tuple[int, int]]] = {}
    for s, (scan_id, frame) in enumerate(batch.labels):
        frames.setdefault(scan_id, []).append((frame, s))
    middle = [sorted(own)[len(own) // 2][1] for own in frames.values()]
    some, own = conformance.restrict(batch, base, middle)
    section = conformance.SECTION
    answers = {c: conformance.response(evaluate, some, own, c, 2) for c in (1, -1)}
    said = [f"{c:+d} {_response(answer)}" for c, answer in answers.items()]
    claims = info.charges and any(a.kind == "ignored" for a in answers.values())
    note = ", ".join(said) + ("; it tells that it takes charges" if claims else "")
    change = max(answers.values(), key=lambda a: np.nan_to_num(a.change, nan=-1.0)).change
    value = None if np.isnan(change) else float(change)
    verdict = Verdict.FAIL if claims else Verdict.INFO
    charge = CheckRow(section, "charge", value, "" if value is None else "eV/Å", None, verdict,
                      note)  # fmt: skip
    triplet = conformance.response(evaluate, some, own, 0, 3)
    value = None if np.isnan(triplet.change) else triplet.change
    spin = CheckRow(section, "spin", value, "" if value is None else "eV/Å", None, Verdict.INFO,
                    f"multiplicity 3 {_response(triplet)}")  # fmt: skip
    return [charge, spin]


def _response(answer: conformance.Response) -> str:
    return answer.kind + (f" ({answer.failed})" if answer.kind == "refused" else "")


def _inputs_row(inputs_changed: Callable[[Batch], list[str]], batch: Batch) -> CheckRow:
    section, name = conformance.SECTION, "inputs_changed"
    try:
        changed = inputs_changed(batch)
    except ModelFailureError as failure:
        return CheckRow.error(section, name, f"{failure.status}: {failure.message}")
    note = ", ".join(changed) or "none is changed in place"
    return CheckRow.measured(section, name, float(len(changed)), "arrays", 0.0, note)


# --- scans ---------------------------------------------------------------------------------------


def _scan_scores(
    evaluator: Evaluator, scans: Sequence[Scan], elements: Elements, track: Track
) -> list[dict[str, Any]]:
    """One mapping a scan: id, status, message and, where it is ok, every score."""
    found = []
    for scan in track(scans, len(scans), "scans"):
        row: dict[str, Any] = {
            "scan": scan.id,
            "system": scan.system,
            "n_atoms": scan.n_atoms,
            "wall_s": 0.0,
        }
        refusal = elements.refusal(scan.numbers)
        if refusal:
            found.append(row | {"status": Status.UNSUPPORTED.value, "message": refusal})
            continue
        (evaluation,) = evaluate_scans(evaluator, [scan])
        row |= {
            "status": evaluation.status.value,
            "message": evaluation.message,
            "wall_s": evaluation.wall_s,
        }
        if evaluation.status is Status.OK:
            row |= score_scan(scan, evaluation)
        found.append(row)
    return found


def _score_rows(
    scans: Sequence[Scan], per_scan: Sequence[dict[str, Any]], limits: Limits
) -> tuple[list[CheckRow], dict[str, float]]:
    section = "scans"
    ok = [row for row in per_scan if row["status"] == Status.OK.value]
    unsupported = [row for row in per_scan if row["status"] == Status.UNSUPPORTED.value]
    failed = [row for row in per_scan if row not in ok and row not in unsupported]
    reference = CheckRow.info(
        section,
        "reference",
        f"{reference_level()}; a model of another level of theory pays for the gap",
    )
    note = f"{len(ok)} of {len(per_scan)} scored"
    note += f", {len(unsupported)} unsupported" if unsupported else ""
    if failed:
        note += f"; {failed[0]['scan']}: {failed[0]['status']}: {failed[0]['message']}"
    count = CheckRow.measured(
        section, "scans_failed", float(len(failed)), "", limits.failed_scans or 0.0, note
    )
    if not ok:  # for any limit: nothing was tested
        count = replace(count, verdict=Verdict.ERROR)
    rows = [reference, count]
    scores = {"n_scored": float(len(ok)), "n_planned": float(len(per_scan))}
    scored = {row["scan"] for row in ok}
    common = [scan for scan in scans if scan.id in scored]
    wanted = {
        "fsd_full": limits.fsd,
        "fsd_windowed": limits.fsd_windowed,
        "force_mae": limits.force_mae,
    }
    for name, unit in SCORES:
        values = [row[name] for row in ok if np.isfinite(row[name])]
        scores[name] = float(np.mean(values)) if values else float("nan")
        limit = wanted.get(name)
        if not values:
            why = "n/a: no energy" if ok else "n/a: no scan was scored"
            missing = CheckRow.info(section, name, why)
            rows.append(missing if limit is None else CheckRow.error(section, name, why))
            continue
        note = f"{len(values)} of {len(ok)} scored scans" if len(values) < len(ok) else ""
        if name == "fsd_full":
            zero = ladders.zero_forces(common)
            note = "same FSD as " + ladders.equivalent(scores[name], common)
            note += f"; zero forces {zero:.3g}"
            note += ", no better than those" if scores[name] >= zero else ""
        rows.append(CheckRow.measured(section, name, scores[name], unit, limit, note))
    return rows + _worst_rows(per_scan), scores


def _worst_rows(per_scan: Sequence[dict[str, Any]]) -> list[CheckRow]:
    """The bonds that break worst: where, and how; those of `worst.csv` of a run."""
    return [
        CheckRow(
            "scans",
            f"worst_{k}",
            found[0].distance,
            "Å",
            None,
            Verdict.INFO,
            f"{found[0].scan}: {'; '.join(fault.sentence for fault in found)}",
        )
        for k, found in enumerate(headlines(fault_lists(per_scan), N_WORST), 1)
    ]
