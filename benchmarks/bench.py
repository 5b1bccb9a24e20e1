"""What the benchmarks share: rows of the table, processes of their own, inputs made once.

What is timed runs in fresh processes with a fixed number of threads, so that nothing an earlier
item loaded or compiled counts; the process that prints the table never loads torch.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import statistics
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.models import Size, write_mace

from pesbench.core.family import family_of
from pesbench.files.atomic import write_json
from pesbench.files.scan_set import ScanSet
from pesbench.models.addresses import file_sha256
from pesbench.models.registry import ModelEntry

ROOT = Path(__file__).resolve().parent.parent
_ARCHIVE = ROOT.parent / "shared" / "data" / "bsct-79d915b0.tar.gz"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
MB = 1e6  # bytes
PEAK_POLL_S = 0.02


class SkippedError(Exception):
    """What an item needs is not there; the message says what."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        item: Number in issue 2 and a name.
        what: What was measured, on what.
        measured: In `unit`; None if skipped.
        unit: "x" for a ratio, else s, ms or MB.
        target: In `unit`; None for a line that informs only.
        at_least: Whether larger is better.
        low: Least of the repeats.
        high: Largest of the repeats.
        note: Why it was skipped, or what else matters.
        details: Anything for the JSON.
    """

    item: str
    what: str
    measured: float | None
    unit: str = "x"
    target: float | None = None
    at_least: bool = True
    low: float | None = None
    high: float | None = None
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def reached(self) -> bool | None:
        """Whether the target was reached; None where there is none or nothing was measured."""
        if self.measured is None or self.target is None:
            return None
        return self.measured >= self.target if self.at_least else self.measured <= self.target

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"reached": self.reached}


def ratio_row(
    item: str,
    what: str,
    ratios: Sequence[float],
    target: float | None = None,
    *,
    at_least: bool = True,
    **details: Any,
) -> Row:
    """A row with the median of some ratios and their range.

    Args:
        item: Number in issue 2 and a name.
        what: What was measured, on what.
        ratios: One a repeat.
        target: For the median.
        at_least: Whether larger is better.
        **details: For the JSON.
    """
    return Row(
        item,
        what,
        statistics.median(ratios),
        target=target,
        at_least=at_least,
        low=min(ratios),
        high=max(ratios),
        details=details | {"repeats": list(ratios)},
    )


def set_threads(threads: int) -> None:
    """Fix the threads of processes started from here on; BLAS and OpenMP read them at import."""
    for variable in _THREAD_VARIABLES:
        os.environ[variable] = str(threads)


def _answer(connection: Connection, function: Callable[..., Any], arguments: tuple) -> None:
    try:
        answer = (True, function(*arguments))
    except BaseException:
        answer = (False, traceback.format_exc())
    connection.send(answer)


class Isolated:
    """A function that runs in a fresh process.

    Args:
        function: Of a module, so that the process can import it.
        *arguments: Of the function.
        threads: For arithmetic in that process.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any, threads: int = 1) -> None:
        set_threads(threads)
        context = multiprocessing.get_context("spawn")
        self._connection, child = context.Pipe(duplex=False)
        self._process = context.Process(target=_answer, args=(child, function, arguments))
        self._process.start()
        child.close()
        set_threads(1)

    def result(self) -> Any:
        """What the function returned.

        Raises:
            RuntimeError: it raised, or its process died; with its trace.
        """
        try:
            ok, value = self._connection.recv()
        except EOFError:
            ok, value = False, "the process died"
        self._process.join()
        if not ok:
            raise RuntimeError(value)
        return value


def isolated(function: Callable[..., Any], *arguments: Any, threads: int = 1) -> Any:
    """What a function returns that runs in a fresh process."""
    return Isolated(function, *arguments, threads=threads).result()


@dataclass(frozen=True)
class Finished:
    """A command that has ended.

    Attributes:
        seconds: From its start to its end.
        cpu_seconds: Of it and its children.
        peak_bytes: Peak resident memory of the command without its children.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int


class Command:
    """A subcommand of `python -m pesbench`, or another module, started.

    Args:
        *arguments: Of the module.
        log: Where its messages go.
        module: That is run.
    """

    def __init__(self, *arguments: str | Path, log: Path, module: str = "pesbench") -> None:
        self._log = log
        self._start = time.perf_counter()
        with log.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *map(str, arguments)],
                cwd=ROOT,
                stdout=stderr,
                stderr=stderr,
            )
        self._peak_bytes = 0
        self._watch = threading.Thread(target=self._follow_peak)
        self._watch.start()

    def _follow_peak(self) -> None:
        # what `wait4` tells counts the worker, too, and starts at the peak of this process
        while (peak := _peak_bytes(self.process.pid)) is not None:
            self._peak_bytes = max(self._peak_bytes, peak)
            time.sleep(PEAK_POLL_S)

    def wait(self) -> Finished:
        """Wait for its end.

        Raises:
            RuntimeError: it failed; with its messages.
        """
        _, status, usage = os.wait4(self.process.pid, 0)
        seconds = time.perf_counter() - self._start
        self._watch.join()
        self.process.returncode = os.waitstatus_to_exitcode(status)  # Popen need not wait again
        if self.process.returncode:
            raise RuntimeError(f"{self.process.args}: {self._log.read_text()[-2000:]}")
        return Finished(seconds, usage.ru_utime + usage.ru_stime, self._peak_bytes)


def _peak_bytes(pid: int) -> int | None:
    """Peak resident memory of a process so far; None once it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def median(values: Sequence[float]) -> float:
    """The median; NaN of nothing."""
    return statistics.median(values) if values else float("nan")


def evenly(items: Sequence[Any], count: int) -> list[Any]:
    """So many of some items, evenly spaced, the first and (if there are two) the last included."""
    if count >= len(items):
        return list(items)
    if count == 1:
        return [items[len(items) // 2]]
    return [items[round(k * (len(items) - 1) / (count - 1))] for k in range(count)]


@dataclass
class Inputs:
    """Scan sets and models, made when first asked for, kept in one folder.

    Attributes:
        folder: Where they are kept.
        quick: Whether everything is to be small: to try the benchmarks, not to report them.
        device: Of the models, where an item leaves the choice.
    """

    folder: Path
    quick: bool = False
    device: str = "cpu"

    @property
    def repeats(self) -> int:
        """How often A and B are measured in turn."""
        return 1 if self.quick else 3

    @functools.cached_property
    def archive(self) -> Path:
        """The archive of BSCT-SPICE.

        Raises:
            SkippedError: there is none.
        """
        path = Path(os.environ.get("PESBENCH_ARCHIVE", _ARCHIVE))
        if not path.exists():
            raise SkippedError(f"no archive of BSCT-SPICE at {path}; set PESBENCH_ARCHIVE")
        return path

    def import_archive(self) -> Finished:
        """Make the scan set `bsct_spice` from its archive."""
        return Command(
            "import-archive", "--archive", self.archive, "--out", self._bsct,
            log=self.folder / "import-archive.log",
        ).wait()  # fmt: skip

    @property
    def _bsct(self) -> Path:
        return self.folder / "bsct_spice.h5"

    @property
    def bsct(self) -> Path:
        """The scan set `bsct_spice`."""
        if not self._bsct.is_file():
            self.import_archive()
        return self._bsct

    @property
    def mini(self) -> Path:
        """The scan set `mini`, as the workflow builds it."""
        path = self.folder / "mini.h5"
        if not path.is_file():
            entry = self.folder / "gfn2-xtb.json"
            log = self.folder / "mini.log"
            Command("entry", "gfn2-xtb", "--out", entry, log=log).wait()
            scans, skipped = self.folder / "mini.scans.h5", self.folder / "skipped_bonds.csv"
            reference = self.folder / "mini.reference.h5"
            Command(
                "scan-molecules", "--name", "mini", "--out", scans, "--skipped", skipped,
                "--molecules", ROOT / "resources/mini/molecules.extxyz", log=log,
            ).wait()  # fmt: skip
            Command(
                "run", "bonds", "--entry", entry, "--scan-set", scans, "--out", reference, log=log,
            ).wait()  # fmt: skip
            Command(
                "collect-references", "--scans", scans, "--references", reference, "--out", path,
                "--level-of-theory", "GFN2-xTB", "--skipped-bonds", skipped,
                "--skipped", self.folder / "skipped.csv", log=log,
            ).wait()  # fmt: skip
        return path

    def scan_set(self, name: str) -> Path:
        """`mini` or `bsct_spice`."""
        return {"mini": lambda: self.mini, "bsct_spice": lambda: self.bsct}[name]()

    def scan_ids(self, name: str, count: int) -> list[str]:
        """Names of so many scans of a set, evenly spaced through the sorted names."""
        with ScanSet(self.scan_set(name)) as scan_set:
            return evenly(scan_set.ids, count)

    def mace(
        self, size: Size, dtype: str, batch_size: int | str = "auto", *, jit: bool = False
    ) -> ModelEntry:
        """A resolved entry of a MACE model with random weights.

        Args:
            size: Of the network.
            dtype: `float32` or `float64`.
            batch_size: Frames a call, or `auto`.
            jit: Compile with TorchScript.
        """
        path = self.folder / f"{size.name}.model"
        if not path.is_file():
            isolated(write_mace, path, size)
        settings = {
            "weights": str(path),
            "sha256": file_sha256(path),
            "dtype": dtype,
            "compile": jit,
            "batch_size": batch_size,
            "timeout_s": 600.0,
        }
        return ModelEntry(f"{size.name}-{dtype}", "mace", settings)

    def entry_arguments(self, entry: ModelEntry) -> tuple[str | Path, ...]:
        """An entry as arguments of the command line."""
        path = self.folder / f"{entry.name}-{entry.settings['batch_size']}.json"
        write_json(path, entry.deciding())
        weights = entry.settings.get("weights")
        named = ("--entry", path, "--entry-sha256", entry.sha256)
        return (*named, *(("--weights", weights) if weights else ()))


def rows_of_entries(
    item: str, names: Sequence[str], measured: Callable[[ModelEntry], Iterator[Row]]
) -> Iterator[Row]:
    """What is measured of entries of the registry; a row that says so where a package is missing.

    Args:
        item: Number and name of the item.
        names: Of the entries.
        measured: Rows of an entry.
    """
    from pesbench.orchestration.config import read_models

    known = read_models(ROOT / "config/models.yaml")
    for name in names:
        entry = known[name]
        missing = [m for m in family_of(entry.family).modules if find_spec(m) is None]
        if missing:
            yield Row(item, name, None, note=f"skipped: {missing[0]} is not installed")
        else:
            yield from measured(entry)


def control(name: str, kind: str, dose: float) -> ModelEntry:
    """A resolved entry of a control, such as noise of 0.1 eV/Å."""
    return ModelEntry(
        name, "control", {"control": kind, "dose": dose, "batch_size": "auto", "timeout_s": 600.0}
    )
