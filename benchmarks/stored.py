"""Items 4 and 5: from the archive to a scan set, and from a stored evaluation to scores."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import MB, Command, Inputs, Row, control, isolated, median

IMPORT_S, IMPORT_MB = 30.0, 1000.0
OPEN_MS = 10.0  # "milliseconds"
SCORES_S = 3.0


def measure_import(inputs: Inputs) -> Iterator[Row]:
    """Seconds and peak memory of `import-archive`; milliseconds to open the set and read a scan."""
    done = inputs.import_archive()
    what = "archive to bsct_spice.h5, whole command"
    note = f"{done.cpu_seconds:.1f} s of CPU"
    yield Row("4 archive", what, done.seconds, "s", IMPORT_S, at_least=False, note=note)
    yield Row("4 archive", f"{what}, peak memory", done.peak_bytes / MB, "MB", IMPORT_MB, False)
    times = isolated(_open_and_read, inputs.bsct, inputs.scan_ids("bsct_spice", 50))
    opening, reading = (sorted(1e3 * t for t in column) for column in zip(*times, strict=True))
    total = sorted(1e3 * (a + b) for a, b in times)
    note = f"opening {median(opening):.1f} ms, reading {median(reading):.1f} ms"
    yield Row(
        "4 archive", "open bsct_spice.h5 and read one scan", median(total), "ms", OPEN_MS, False,
        low=total[0], high=total[-1], note=note,
    )  # fmt: skip


def _open_and_read(path: Path, ids: list[str]) -> list[tuple[float, float]]:
    """Seconds to open a scan set and to read one scan, once a scan."""
    from pesbench.files.scan_set import ScanSet

    times = []
    for scan_id in ids:
        start = time.perf_counter()
        with ScanSet(path) as scan_set:
            opened = time.perf_counter()
            scan_set.scan(scan_id)
            times.append((opened - start, time.perf_counter() - opened))
    return times


def measure_scores(inputs: Inputs) -> Iterator[Row]:
    """Seconds to score every scan of a model whose evaluation is stored."""
    entry = control("noise", "noise", 0.1)
    evaluation = inputs.folder / "noise.h5"
    scans = ("--scans", *inputs.scan_ids("bsct_spice", 20)) if inputs.quick else ()
    made = Command(
        "run", "bonds", *inputs.entry_arguments(entry), "--scan-set", inputs.bsct, *scans,
        "--out", evaluation, log=inputs.folder / "noise.log",
    ).wait()  # fmt: skip
    count, times = isolated(_score, inputs.bsct, evaluation, inputs.repeats)
    what = f"all metrics of {count} scans from a stored evaluation"
    yield Row(
        "5 scores", what, median(times), "s", SCORES_S, False, low=min(times), high=max(times)
    )
    command = Command(
        "score", "bonds", "--scan-set", inputs.bsct, "--files", evaluation,
        "--out", inputs.folder / "noise.parquet", log=inputs.folder / "score.log",
    ).wait()  # fmt: skip
    yield Row("5 scores", "the command `score bonds`, start-up included", command.seconds, "s")
    yield Row("5 scores", "the command `run bonds` of a control before it", made.seconds, "s")


def _score(scan_set_path: Path, evaluation: Path, repeats: int) -> tuple[int, list[float]]:
    """Number of rows, and seconds of each repeat."""
    from pesbench.files.scan_set import ScanSet
    from pesbench.tasks.bonds.score import score_rows

    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        with ScanSet(scan_set_path) as scan_set:
            rows = score_rows(scan_set, [evaluation])
        times.append(time.perf_counter() - start)
    return len(rows), times
