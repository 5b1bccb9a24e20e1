"""Item 10: public networks in batches against the ASE calculator of their own package."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.batched import Case, compare
from benchmarks.bench import Inputs, Row, isolated, rows_of_entries

from pesbench.models.registry import ModelEntry

ITEM = "10 families"
ENTRIES = ("so3lr", "chgnet-0.3.0", "7net-0", "7net-l3i5")
TARGETS = {"mini": 2.0, "bsct_spice": 1.0}
# Of the largest force. All compute in float32; the forces of CHGNet's own calculator change by up
# to 2e-4 of the largest when a molecule with a nearly straight angle moves by 0.01 Å.
TOLERANCE = {"chgnet": 1e-3}
TOLERANCE_OF_OTHERS = 1e-4


def measure(inputs: Inputs) -> Iterator[Row]:
    """Seconds a frame of the loop divided by seconds a frame in batches, one thread each."""
    return rows_of_entries(ITEM, ENTRIES, functools.partial(_rows, inputs))


def _rows(inputs: Inputs, entry: ModelEntry) -> Iterator[Row]:
    cases = (
        (Case("mini", 2, 25, 10), Case("bsct_spice", 2, 50, 25))
        if inputs.quick
        else (Case("mini", 9, 10, 2, repeats=3), Case("bsct_spice", 8, 20, 10, repeats=3))
    )
    chosen = [
        (inputs.scan_set(case.scan_set), inputs.scan_ids(case.scan_set, case.n_scans), case)
        for case in cases
    ]
    for found in isolated(_compare, entry, chosen, inputs.device):
        case, ratios = found["case"], found["ratios"]
        yield Row(
            ITEM,
            f"{entry.name}, {case.scan_set}, {found['frames_a_batch']} frames a batch",
            found["ratio"],
            target=TARGETS[case.scan_set],
            low=min(ratios),
            high=max(ratios),
            note=f"{found['loop_ms_a_frame']:.1f} against {found['batch_ms_a_frame']:.1f} ms",
            details={key: found[key] for key in found if key not in ("case", "form")},
        )


def _compare(
    entry: ModelEntry, cases: Sequence[tuple[Path, list[str], Case]], device: str
) -> list[dict[str, Any]]:
    """Measure one model; runs in a process of its own."""
    import torch

    from pesbench.models.registry import load

    torch.set_num_threads(1)
    model = load(entry, scan_set=None, device=device)
    calculator = _CALCULATORS[entry.family](entry.settings, device)
    tolerance = TOLERANCE.get(entry.family, TOLERANCE_OF_OTHERS)
    box = entry.settings.get("vacuum_box_angstrom", 0.0)
    return [
        {"case": case} | found
        for path, ids, case in cases
        for found in compare(path, ids, case, calculator, {"batches": model}, tolerance, box)
    ]


def _so3lr(settings: dict[str, Any], device: str) -> Any:
    from so3krates_torch.calculator.so3 import SO3LRCalculator

    return SO3LRCalculator(device=device, default_dtype=settings["dtype"])


def _chgnet(settings: dict[str, Any], device: str) -> Any:
    from chgnet.model import CHGNet, CHGNetCalculator

    network = CHGNet.load(model_name=settings["pretrained"], use_device=device, verbose=False)
    return CHGNetCalculator(network, use_device=device)


def _sevennet(settings: dict[str, Any], device: str) -> Any:
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator(settings["pretrained"], device=device, modal=settings.get("modal"))


_CALCULATORS: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "so3lr": _so3lr,
    "chgnet": _chgnet,
    "sevennet": _sevennet,
}
