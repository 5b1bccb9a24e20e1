"""Item 1: batches through our adapter against a frame-by-frame loop over an ASE calculator."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bench import Inputs, Row, isolated, median
from benchmarks.models import LARGE, SMALL, SMALL_DEFAULT, Size

ITEM = "1 batched"
TARGETS = {
    ("mini", "float32"): 3.5,
    ("mini", "float64"): 2.3,
    ("bsct_spice", "float32"): 1.3,
    ("bsct_spice", "float64"): 1.3,
}
NOT_SLOWER = 1.0  # for any other model
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}  # of the largest force


@dataclass(frozen=True)
class Case:
    """A model on the scans of one set.

    Attributes:
        scan_set: `mini` or `bsct_spice`.
        n_scans: So many, evenly spaced through the sorted names.
        loop_every: The loop goes through every so-manieth frame of a scan.
        batch_every: The batches take every so-manieth frame.
        repeats: How often loop and batches take turns on each scan.
    """

    scan_set: str
    n_scans: int
    loop_every: int
    batch_every: int
    repeats: int = 1


@dataclass(frozen=True)
class Plan:
    """What one process measures.

    Attributes:
        size: Of the model.
        dtype: Of its arithmetic.
        cases: One after the other.
        compiled: Whether the TorchScript form is measured, too.
    """

    size: Size
    dtype: str
    cases: tuple[Case, ...]
    compiled: bool = False


def _plans(quick: bool) -> Iterator[Plan]:
    """The models: both small ones in both precisions, and a large one."""
    if quick:
        yield Plan(SMALL, "float32", (Case("mini", 2, 20, 4), Case("bsct_spice", 2, 25, 5)))
        return
    small = (Case("mini", 9, 10, 2, repeats=3), Case("bsct_spice", 20, 20, 3))
    large = (Case("mini", 3, 20, 5, repeats=2), Case("bsct_spice", 4, 20, 10, repeats=2))
    for dtype in ("float32", "float64"):
        yield Plan(SMALL, dtype, small, compiled=True)
        yield Plan(SMALL_DEFAULT, dtype, small)
        yield Plan(LARGE, dtype, large)


def measure(inputs: Inputs) -> Iterator[Row]:
    """Seconds a frame of the loop divided by seconds a frame in batches, one thread each."""
    for plan in _plans(inputs.quick):
        entries = {
            "eager": inputs.mace(plan.size, plan.dtype),
            **({"TorchScript": inputs.mace(plan.size, plan.dtype, jit=True)}
               if plan.compiled else {}),
        }  # fmt: skip
        cases = [
            (inputs.scan_set(c.scan_set), inputs.scan_ids(c.scan_set, c.n_scans), c)
            for c in plan.cases
        ]
        settings = {name: entry.settings for name, entry in entries.items()}
        for found in isolated(_compare, settings, cases, inputs.device):
            case, ratios, form = found["case"], found["ratios"], found["form"]
            target = None
            if form == "eager":
                table = TARGETS if plan.size in (SMALL, SMALL_DEFAULT) else {}
                target = table.get((case.scan_set, plan.dtype), NOT_SLOWER)
            yield Row(
                ITEM,
                f"{case.scan_set}, {plan.size.channels} channels, correlation "
                f"{plan.size.correlation}, {plan.dtype}, {form}, {found['frames_a_batch']} frames "
                "a batch",
                found["ratio"],
                target=target,
                low=min(ratios),
                high=max(ratios),
                note=f"{found['loop_ms_a_frame']:.1f} against {found['batch_ms_a_frame']:.1f} ms",
                details={key: found[key] for key in found if key not in ("case", "form")},
            )


class InProcess:
    """Stands in for a worker, so that `choose_limit` measures the model in this process."""

    loaded_bytes = 0

    def __init__(self, model: Any) -> None:
        self._model = model

    def start(self) -> Any:
        return self._model.info

    def evaluate(self, batch: Any) -> Any:
        import torch

        from pesbench.engine.worker import Timed

        start = time.perf_counter()
        result = self._model.evaluate(batch)
        elapsed = time.perf_counter() - start
        used = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0
        return Timed(result, elapsed, device_bytes=used)


def _compare(
    settings: dict[str, dict[str, Any]],
    cases: Sequence[tuple[Path, list[str], Case]],
    device: str,
) -> list[dict[str, Any]]:
    """Measure one model; runs in a process of its own.

    Args:
        settings: Of the entries of the eager and the compiled form.
        cases: Scan set, names of scans, and the case they belong to.
        device: Of both sides.

    Returns:
        One mapping a case and form: ratios of the repeats, milliseconds a frame, batch.
    """
    import torch
    from mace.calculators import MACECalculator

    from pesbench.models.registry import ModelEntry, load

    torch.set_num_threads(1)
    eager = settings["eager"]
    models = {
        form: load(ModelEntry(form, "mace", s), scan_set=None, device=device)
        for form, s in settings.items()
    }
    calculator = MACECalculator(
        model_paths=eager["weights"], device=device, default_dtype=eager["dtype"]
    )
    rows = []
    for path, ids, case in cases:
        found = compare(path, ids, case, calculator, models, TOLERANCE[eager["dtype"]])
        rows += [{"case": case} | row for row in found]
    return rows


def compare(
    path: Path,
    ids: Sequence[str],
    case: Case,
    calculator: Any,
    models: dict[str, Any],
    tolerance: float,
    box_angstrom: float = 0.0,
) -> list[dict[str, Any]]:
    """Time batches of some models and the loop of an ASE calculator, in turn.

    Args:
        path: Scan set.
        ids: Names of scans.
        case: How many frames are taken, and how often.
        calculator: ASE calculator of the loop.
        models: Loaded models by the name of their form.
        tolerance: Largest difference of the forces, in units of the largest force.
        box_angstrom: Padding of the box that the calculator gets a molecule in; 0 for none.

    Returns:
        One mapping a form: ratios of the repeats, milliseconds a frame, batch.
    """
    from pesbench.engine.scans import frames_batch
    from pesbench.files.scan_set import ScanSet

    with ScanSet(path) as scan_set:
        scans = [scan_set.scan(scan_id) for scan_id in ids]
    batches = [
        frames_batch([scan]).select(_every(case.batch_every, scan.n_frames)) for scan in scans
    ]
    order = sorted(range(len(scans)), key=lambda k: (scans[k].n_atoms, scans[k].id))
    typical = order[len(order) // 2]
    limits, choosing_s = {}, {}
    for form, model in models.items():
        start = time.perf_counter()
        limits[form] = limit_of(InProcess(model), batches[typical])
        choosing_s[form] = time.perf_counter() - start
    for form, model in models.items():  # warm, and the same numbers
        _check(model, scans[typical], calculator, tolerance, form, box_angstrom)
        _in_batches(model, batches[typical], limits[form])
    _loop(calculator, scans[typical], 10, box_angstrom)

    # seconds a frame: [form][scan][repeat]
    loop_s: list[list[float]] = [[] for _ in scans]
    batch_s: dict[str, list[list[float]]] = {form: [[] for _ in scans] for form in models}
    for _ in range(case.repeats):
        for k, (scan, batch) in enumerate(zip(scans, batches, strict=True)):
            loop_s[k].append(_loop(calculator, scan, case.loop_every, box_angstrom))
            for form, model in models.items():
                batch_s[form][k].append(_in_batches(model, batch, limits[form]) / batch.n_systems)
    return [
        {
            "form": form,
            "ratio": _total(loop_s) / _total(batch_s[form]),
            "ratios": [
                sum(loop[r] for loop in loop_s) / sum(ours[r] for ours in batch_s[form])
                for r in range(case.repeats)
            ],
            "loop_ms_a_frame": 1e3 * _total(loop_s) / len(scans),
            "batch_ms_a_frame": 1e3 * _total(batch_s[form]) / len(scans),
            "frames_a_batch": max(1, limits[form].atoms // scans[typical].n_atoms),
            "atoms_a_batch": limits[form].atoms,
            "choosing_s": choosing_s[form],
        }
        for form in models
    ]


def _total(seconds: Sequence[Sequence[float]]) -> float:
    """The sum over scans of the median over repeats: every scan has as many frames."""
    return sum(median(repeats) for repeats in seconds)


def limit_of(worker: Any, everything: Any) -> Any:
    """The batch limit that the package chooses on a molecule, as `evaluate_shard` does."""
    from pesbench.engine.batching import choose_limit

    def frames(count: int) -> Any:
        return everything.select([k % everything.n_systems for k in range(count)])

    return choose_limit(worker, frames, everything.n_atoms // everything.n_systems)


def _every(step: int, n_frames: int) -> range:
    """Every so-manieth frame, from the middle of the first step: their mean is the scan's."""
    return range(step // 2, n_frames, step)


def _atoms(scan: Any, frame: int, box_angstrom: float) -> Any:
    from ase import Atoms

    from pesbench.models.vacuum_box import boxed

    atoms = Atoms(scan.numbers, scan.positions[frame])
    if box_angstrom:
        atoms.cell, atoms.pbc = boxed(atoms.positions, box_angstrom)
    return atoms


def _loop(calculator: Any, scan: Any, every: int, box_angstrom: float) -> float:
    """Seconds a frame of the loop that a user of ASE would write."""
    chosen = _every(every, scan.n_frames)
    frames = [_atoms(scan, frame, box_angstrom) for frame in chosen]
    start = time.perf_counter()
    for atoms in frames:
        atoms.calc = calculator
        atoms.get_potential_energy()
        atoms.get_forces()
    return (time.perf_counter() - start) / len(frames)


def _in_batches(model: Any, batch: Any, limit: Any) -> float:
    """Seconds of the adapter on a scan cut into batches."""
    from pesbench.engine.batching import split

    n_atoms = batch.n_atoms // batch.n_systems
    parts = [batch.select(part) for part in split([n_atoms] * batch.n_systems, limit)]
    start = time.perf_counter()
    for part in parts:
        model.evaluate(part)
    return time.perf_counter() - start


def _check(
    model: Any, scan: Any, calculator: Any, tolerance: float, form: str, box_angstrom: float
) -> None:
    """Refuse to time two things that do not compute the same."""
    import numpy as np

    from pesbench.engine.scans import frames_batch

    chosen = [0, scan.n_frames // 2, scan.n_frames - 1]
    forces = model.evaluate(frames_batch([scan]).select(chosen)).forces
    expected = []
    for frame in chosen:
        atoms = _atoms(scan, frame, box_angstrom)
        atoms.calc = calculator
        expected.append(atoms.get_forces())
    wanted = np.concatenate(expected)
    error = np.abs(forces - wanted).max() / np.abs(wanted).max()
    if not error <= tolerance:
        raise RuntimeError(f"{scan.id}: {form} batches and the loop differ by {error:.1e}")
