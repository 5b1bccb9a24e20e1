"""The benchmarks of speed and memory: ratios measured in one run, each with its target.

python benchmarks/run.py                 everything, about half an hour on 2 cores
python benchmarks/run.py --quick 1 4     items 1 and 4, small, to try them
python benchmarks/run.py --device cuda   the items that a GPU speeds up, on a GPU
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.bench import Inputs, Row, SkippedError, isolated, set_threads
from benchmarks.gpu import device_name

ITEMS = {
    "1": "batches against a frame-by-frame loop",
    "2": "the whole command against bare model calls",
    "3": "two shards in parallel; throughput of the machine",
    "4": "from the archive to a scan set",
    "5": "scoring a stored evaluation",
    "6": "peak memory",
    "7": "dynamics in lock-step against ASE, one molecule after another",
    "8": "dry run of the full size for a cluster",
    "9": "the mini benchmark through Snakemake against its commands by hand",
    "10": "public networks: batches against a loop over the calculator of their package",
    "11": "family `ase` against the bare calculator",
    "12": "a model's process that keeps freed memory against one that gives it back",
    "13": "a GPU against one core: speed, and whether both compute the same",
    "14": "attention of the testbed over neighbours against all pairs",
    "15": "training of the testbed with denormal numbers against none",
}
OF_A_DEVICE = ("1", "2", "7", "10", "13")  # the others measure the processor, disks or planning


def _measure(item: str, inputs: Inputs) -> Iterator[Row]:
    from benchmarks import (
        batched,
        calculators,
        command,
        denormals,
        dynamics,
        families,
        freed_memory,
        gpu,
        memory,
        overhead,
        parallel,
        planning,
        slots,
        stored,
    )

    measures = {
        "1": batched.measure,
        "2": command.measure,
        "3": parallel.measure,
        "4": stored.measure_import,
        "5": stored.measure_scores,
        "6": memory.measure,
        "7": dynamics.measure,
        "8": planning.measure,
        "9": overhead.measure,
        "10": families.measure,
        "11": calculators.measure,
        "12": freed_memory.measure,
        "13": gpu.measure,
        "14": slots.measure,
        "15": denormals.measure,
    }
    return measures[item](inputs)


def rows_of(item: str, inputs: Inputs) -> Iterator[Row]:
    """The rows of an item; one that says why where it had to be skipped."""
    try:
        yield from _measure(item, inputs)
    except SkippedError as reason:
        yield Row(item, ITEMS[item], None, note=f"skipped: {reason}")


def machine(device: str = "cpu") -> dict[str, str | int]:
    """What the numbers were measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = lines[0].partition(":")[2].strip() if lines else cpu
    return {
        "date": date.today().isoformat(),
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "load": f"{os.getloadavg()[0]:.1f}",
        "device": device if device == "cpu" else isolated(device_name, device),
        "python": platform.python_version(),
        "torch": version("torch"),
        "mace-torch": version("mace-torch"),
        "torch-sim-atomistic": version("torch-sim-atomistic"),
    }


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    digits = 2 if unit == "x" or abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:.{digits}f}"


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table as text: item, what, measured, target, reached."""
    measured = f"{_figure(row.measured, row.unit)} {row.unit}" if row.measured is not None else "-"
    if row.low is not None and row.low != row.high:
        measured += f" ({_figure(row.low, row.unit)} to {_figure(row.high, row.unit)})"
    sign = "≥" if row.at_least else "≤"
    target = "" if row.target is None else f"{sign} {row.target:g} {row.unit}"
    reached = {True: "yes", False: "NO", None: ""}[row.reached]
    what = f"{row.what} [{row.note}]" if row.note else row.what
    return row.item, what, measured, target, reached


def table(rows: Iterable[Row]) -> str:
    """The table, as Markdown."""
    lines = [("item", "what", "measured", "target", "reached"), *map(cells, rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; a missed target is no failure.

    Returns:
        Exit code: 0, 1 where an item could not be measured for an error.
    """
    parser = argparse.ArgumentParser(
        description="Speed and memory, as ratios measured in one run.",
        epilog="items: " + "; ".join(f"{key}: {what}" for key, what in ITEMS.items()),
    )
    parser.add_argument("items", nargs="*", metavar="ITEM", help="which (default: all)")
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help=f"of the models of items {', '.join(OF_A_DEVICE)} (default: cpu)",
    )
    parser.add_argument("--json", type=Path, help="write rows, repeats and machine to this file")
    parser.add_argument("--quick", action="store_true", help="small, to try; not to report")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep inputs here, and use those that are there"
    )
    arguments = parser.parse_args(argv)
    unknown = sorted(set(arguments.items) - ITEMS.keys())
    if unknown:
        parser.error(f"no item {unknown[0]!r}; known: {', '.join(ITEMS)}")
    items = arguments.items or (ITEMS if arguments.device == "cpu" else OF_A_DEVICE)
    elsewhere = [item for item in items if item not in OF_A_DEVICE]
    if arguments.device != "cpu" and elsewhere:
        parser.error(f"item {elsewhere[0]} does not depend on --device; leave out one of the two")
    set_threads(1)
    try:
        found = machine(arguments.device)
    except RuntimeError as error:  # no GPU
        parser.error(str(error).strip().splitlines()[-1])
    rows, failed = [], False
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pesbench-benchmark-") as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        inputs = Inputs(folder.resolve(), arguments.quick, arguments.device)
        for item in items:
            try:
                for row in rows_of(item, inputs):
                    rows.append(row)
                    elapsed = time.monotonic() - start
                    print(f"[{elapsed:4.0f} s]", *cells(row), sep="  ", file=sys.stderr, flush=True)
            except RuntimeError as error:
                failed = True
                print(error, file=sys.stderr)
                reason = str(error).strip().splitlines()[-1]
                rows.append(Row(item, ITEMS[item], None, note=f"failed: {reason}"))
    found["seconds"] = round(time.monotonic() - start)
    print(table(rows))
    print("\n" + ", ".join(f"{key} {value}" for key, value in found.items()))
    if arguments.quick:
        print("--quick: sizes too small to be reported")
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        report = {"machine": found, "quick": arguments.quick, "rows": [r.to_dict() for r in rows]}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
