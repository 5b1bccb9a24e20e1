"""The rows of conformance: what `conformance` and its neighbours measure, against limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from scipy.spatial.transform import Rotation

from pesbench.commands.check import apart, conformance, repeats
from pesbench.commands.check.conformance import Difference, Evaluate
from pesbench.commands.check.frames import of_batch
from pesbench.commands.check.limits import Limits, Tolerance
from pesbench.commands.check.report import CONFORMANCE, CheckRow, Verdict
from pesbench.core.interface import Batch, ModelInfo, Result, Status
from pesbench.core.scans import Scan
from pesbench.engine.precision import FLOAT32_NOISE, FLOAT64_NOISE, precision, relative_noise
from pesbench.engine.worker import ModelFailureError
from pesbench.metrics.aggregate import seed_of

N_ROTATIONS = 4
TRANSLATION_ANGSTROM = (1.3, -2.1, 0.7)
FAR_ANGSTROM = 1000.0


def conformance_rows(
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
    rows = [_answers_row(batch, base)]
    good = conformance.healthy(base)
    if not good:
        return rows, None
    if len(good) < batch.n_systems:  # rounding may depend on what else is in a batch
        batch = batch.select(good)
        base = evaluate(batch)
        if len(conformance.healthy(base)) < batch.n_systems:
            note = "systems that were answered once were not answered again"
            return [*rows, CheckRow.error(CONFORMANCE, "deterministic", note)], None
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
    shown = (batch, base)
    for name, difference, note in pairs:
        rows += _difference_rows(
            name, difference, tolerance.energy, tolerance.forces, note, shown, shown
        )
    far = conformance.translated(evaluate, batch, base, np.full(3, FAR_ANGSTROM / np.sqrt(3)))
    rows += _difference_rows(
        "translation_far", far, None, None, f"by {FAR_ANGSTROM:g} Å", shown, shown
    )
    turns = Rotation.from_quat(generator.standard_normal((N_ROTATIONS, 4))).as_matrix()
    turned = conformance.largest([conformance.rotated(evaluate, batch, base, r) for r in turns])
    rows += _difference_rows(
        "rotation", turned, limits.rotation_energy, limits.rotation, f"{N_ROTATIONS} rotations",
        shown, shown,
    )  # fmt: skip
    rows += _balance_rows(batch, base, limits, tolerance)
    rows.append(_gradient_row(evaluate, batch, base, chosen, generator, tolerance))
    rows += _charge_rows(evaluate, batch, base, info)
    run = repeats.repeated_run(evaluate, chosen)
    note = f"{repeats.STEPS} steps of {len(chosen)} molecules in a batch, again, and singly"
    rows += _difference_rows(
        "trajectory", run.difference, tolerance.energy, tolerance.forces, note,
        run.energy_call, run.forces_call,
    )  # fmt: skip
    return rows + _apart_rows(evaluate, usable, limits, tolerance), batch


def _answers_row(batch: Batch, base: Result) -> CheckRow:
    failed = [s for s, status in enumerate(base.status) if status is not Status.OK]
    note = f"{len(base.status)} systems, each squeezed, at rest and stretched"
    if failed:
        note = f"{base.status[failed[0]]}: {base.messages[failed[0]]}"
    frames = of_batch(batch, base, failed, "not answered")
    if len(failed) == len(base.status):
        return CheckRow.error(CONFORMANCE, "unanswered", note, frames)
    count = float(len(failed))
    return CheckRow.measured(CONFORMANCE, "unanswered", count, "systems", 0.0, note, frames)


def _dtype_row(noise: float, used: str, claimed: str | None) -> CheckRow:
    found = {"": "forces do not move", "coarser": "coarser than float32"}.get(used, used)
    limit = {"float64": FLOAT64_NOISE, "float32": FLOAT32_NOISE}.get(claimed or "")
    if not used:
        return CheckRow.info(CONFORMANCE, "dtype", found)
    note = f"relative noise of forces is that of {found}"
    note += f"; claimed is {claimed}" if claimed else "; none is claimed"
    return CheckRow.measured(CONFORMANCE, "dtype", noise, "", limit, note)


def _difference_rows(
    name: str,
    found: Difference,
    energy: float | None,
    forces: float | None,
    note: str,
    energy_shown: tuple[Batch, Result],
    forces_shown: tuple[Batch, Result],
) -> list[CheckRow]:
    """The rows of a difference; the systems it speaks of are those of the two last arguments."""

    def frames(shown: tuple[Batch, Result], system: int) -> list[Atoms]:
        return of_batch(*shown, [system], note) if system >= 0 else []

    by_energy = frames(energy_shown, found.energy_at)
    by_forces = frames(forces_shown, found.forces_at)
    if found.failed:
        return [
            CheckRow.error(CONFORMANCE, f"{name}_energy", found.failed, by_energy),
            CheckRow.error(CONFORMANCE, f"{name}_forces", found.failed, by_forces),
        ]
    if found.energy is None:
        first = CheckRow.info(CONFORMANCE, f"{name}_energy", "n/a: no energy")
    else:
        first = CheckRow.measured(
            CONFORMANCE, f"{name}_energy", found.energy, "eV", energy, note, by_energy
        )
    return [
        first,
        CheckRow.measured(
            CONFORMANCE, f"{name}_forces", found.forces, "eV/Å", forces, note, by_forces
        ),
    ]


def _balance_rows(
    batch: Batch, base: Result, limits: Limits, tolerance: Tolerance
) -> list[CheckRow]:
    """Net force and net torque."""
    forces, torques = conformance.unbalanced(batch, base)
    allowed = tolerance.gradient if limits.net_force is None else limits.net_force
    rows = []
    for name, values, unit, limit, what in (
        ("net_force", forces, "eV/Å", allowed, "sum of the forces"),
        ("net_torque", torques, "eV", limits.net_torque, "sum of the torques"),
    ):
        worst = int(np.argmax(values))
        note = f"{what}, largest of {batch.n_systems} systems"
        frames = of_batch(batch, base, [worst], note)
        value = float(values[worst])
        rows.append(CheckRow.measured(CONFORMANCE, name, value, unit, limit, note, frames))
    return rows


def _apart_rows(
    evaluate: Evaluate, usable: Sequence[Scan], limits: Limits, tolerance: Tolerance
) -> list[CheckRow]:
    """Two molecules far apart, and one that comes nearer."""
    pair = apart.pair_of(usable)
    far = apart.far_apart(evaluate, *pair)
    names = " and ".join(scan.system for scan in pair)
    note = f"{names}, {apart.FAR_ANGSTROM:g} Å apart"
    frames = of_batch(far.batch, far.result, [0], note)
    if far.failed:
        rows = [CheckRow.error(CONFORMANCE, n, far.failed, frames) for n in apart.FAR_ROWS]
    else:
        allowed = tolerance.energy + apart.PHYSICAL_EV
        energy_limit = allowed if limits.extensivity is None else limits.extensivity
        forces_limit = tolerance.gradient if limits.locality is None else limits.locality
        rows = [
            CheckRow.info(CONFORMANCE, "extensivity", "n/a: no energy")
            if far.energy is None
            else CheckRow.measured(
                CONFORMANCE, "extensivity", far.energy, "eV", energy_limit, note, frames
            ),
            CheckRow.measured(
                CONFORMANCE, "locality", far.forces, "eV/Å", forces_limit, note, frames
            ),
        ]
    return rows + _crossing_rows(evaluate, pair, limits, tolerance)


def _crossing_rows(
    evaluate: Evaluate, pair: tuple[Scan, Scan], limits: Limits, tolerance: Tolerance
) -> list[CheckRow]:
    found = apart.crossing(evaluate, *pair)
    names = ("crossing_energy", "crossing_forces")
    if found.failed:
        lost = [s for s, status in enumerate(found.result.status) if status is not Status.OK]
        frames = of_batch(found.batch, found.result, lost[:1], found.failed)
        return [CheckRow.error(CONFORMANCE, name, found.failed, frames) for name in names]
    rows = []
    for name, jump, unit in (
        (names[0], found.energy(max(tolerance.energy, apart.CONVERGED_EV)), "eV"),
        (names[1], found.forces(max(tolerance.forces, apart.CONVERGED_EV_PER_ANGSTROM)), "eV/Å"),
    ):
        if jump is None:
            rows.append(CheckRow.info(CONFORMANCE, name, "n/a: no energy"))
            continue
        note = (
            f"times the usual change of a step; {jump.change:.2g} {unit} at "
            f"{found.distance[jump.step]:.2f} Å between {pair[0].system} and {pair[1].system}"
        )
        frames = of_batch(found.batch, found.result, [jump.step, jump.step + 1], note)
        rows.append(
            CheckRow.measured(CONFORMANCE, name, jump.ratio, "", limits.crossing, note, frames)
        )
    return rows


def _gradient_row(
    evaluate: Evaluate,
    batch: Batch,
    base: Result,
    chosen: Sequence[Scan],
    generator: np.random.Generator,
    tolerance: Tolerance,
) -> CheckRow:
    section, name = CONFORMANCE, "gradient"
    if base.energies is None:
        return CheckRow.info(section, name, "n/a: no energy")
    by_id = {scan.id: scan for scan in chosen}
    atoms = []
    for scan_id, _ in batch.labels:
        scan = by_id[scan_id]
        others = [k for k in range(scan.n_atoms) if k not in scan.atoms]
        atoms.append([*scan.atoms, int(generator.choice(others))] if others else [*scan.atoms])
    found = conformance.gradient_error(evaluate, batch, base, atoms, generator)
    frames = of_batch(batch, base, [found.system] if found.system >= 0 else [], name)
    if found.failed:
        return CheckRow.error(section, name, found.failed, frames)
    note = (
        f"-dE/dx by differences of {found.step:g} Å, {found.count} directions; "
        f"forces to {found.force:.3g} eV/Å"
    )
    return CheckRow.measured(section, name, found.error, "eV/Å", tolerance.gradient, note, frames)


def _charge_rows(evaluate: Evaluate, batch: Batch, base: Result, info: ModelInfo) -> list[CheckRow]:
    # the middle one of each scan's frames: close to rest, where an ion is most likely to converge
    frames: dict[str, list[tuple[int, int]]] = {}
    for s, (scan_id, frame) in enumerate(batch.labels):
        frames.setdefault(scan_id, []).append((frame, s))
    middle = [sorted(own)[len(own) // 2][1] for own in frames.values()]
    some, own = conformance.restrict(batch, base, middle)
    section = CONFORMANCE
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


def inputs_row(inputs_changed: Callable[[Batch], list[str]], batch: Batch) -> CheckRow:
    """The row of the arrays that a call changes in place.

    Args:
        inputs_changed: Names of the arrays that the model changes, given a batch.
        batch: What it is asked about.
    """
    section, name = CONFORMANCE, "inputs_changed"
    try:
        changed = inputs_changed(batch)
    except ModelFailureError as failure:
        return CheckRow.error(section, name, f"{failure.status}: {failure.message}")
    note = ", ".join(changed) or "none is changed in place"
    return CheckRow.measured(section, name, float(len(changed)), "arrays", 0.0, note)
