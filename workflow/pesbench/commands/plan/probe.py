"""A model timed on a small and a large molecule, as a run would ask it.

It is loaded through the registry, in the worker of a run, on the device of a run, with the batch
that a run would choose. What goes wrong is a result.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pesbench.commands.plan.cost import Timing
from pesbench.core.errors import HostError
from pesbench.core.interface import Batch, ModelInfo, Status
from pesbench.core.scans import Scan
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import why_unsupported
from pesbench.engine.scans import frames_batch, initial_limit
from pesbench.engine.worker import ModelFailureError, Worker
from pesbench.files import provenance
from pesbench.files.atomic import write_json
from pesbench.files.environment import HERE, Environment
from pesbench.files.fingerprint import family_modules, stage_fingerprint
from pesbench.files.scan_set import ScanSet
from pesbench.models.registry import ModelEntry

SECONDS = 120.0  # longest time of a call, and of all of them until the next is not begun
LOAD_S = 600.0  # longest time until a model is loaded
TIMING_S = 2.0  # a call is repeated for so long, at most `REPEATS` times
REPEATS = 20
SLOW_CALL_S = 8.0  # fewer frames are taken of a method that would need longer for all
WARM_UP_CALLS = 3  # of a model that a compiler may watch
THERMAL_ANGSTROM = 0.05  # as far as atoms move in dynamics
ALONG_SCAN, NEAR_MINIMUM = KINDS = ("scan", "minimum")  # of frames


@dataclass
class Probe:
    """Timings and memory of a model.

    Attributes:
        status: `ok`, or how the model failed.
        message: Why.
        info: What it tells of itself, once it is loaded.
        load_s: Seconds until the model was loaded.
        tuning_s: Seconds to choose the batch.
        limit: The batch.
        timings: Timings by kind, `ALONG_SCAN` and `NEAR_MINIMUM`: of one frame of the small
            molecule, of a batch of it, and of one of the large molecule.
        host_bytes: Peak of the process of the model.
        device_bytes: Peak of memory on its accelerator; 0 on a CPU.
        load_average: Processes that the machine was running when the probe began, over a minute.
        cores: Cores of the machine.
    """

    status: Status = Status.OK
    message: str = ""
    info: ModelInfo | None = None
    load_s: float = 0.0
    tuning_s: float = 0.0
    limit: BatchLimit = field(default_factory=BatchLimit)
    timings: dict[str, tuple[Timing, Timing, Timing]] = field(default_factory=dict)
    host_bytes: int = 0
    device_bytes: int = 0
    load_average: float = math.nan
    cores: int = 0

    @property
    def disturbed(self) -> bool:
        """Whether more processes wanted to run than the machine has cores."""
        return self.load_average > self.cores

    def to_json(self) -> dict[str, Any]:
        """The probe as it is stored."""
        info = self.info
        return {
            "status": self.status.value,
            "message": self.message,
            "device": info.device if info else "not loaded",
            "dtype": info.dtype if info else "not loaded",
            "batched": info.batched if info else None,
            "charges": info.charges if info else None,
            "spins": info.spins if info else None,
            "elements": sorted(info.elements) if info and info.elements is not None else None,
            "load_s": self.load_s,
            "tuning_s": self.tuning_s,
            "limit": asdict(self.limit),
            "timings": {kind: list(map(asdict, some)) for kind, some in self.timings.items()},
            "host_bytes": self.host_bytes,
            "device_bytes": self.device_bytes,
            "load_average": self.load_average,
            "cores": self.cores,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Probe:
        """Read a probe as it was stored.

        Raises:
            KeyError: something is missing.
        """
        elements = value["elements"]
        info = ModelInfo(
            elements=None if elements is None else frozenset(elements),
            charges=bool(value["charges"]),
            spins=bool(value["spins"]),
            batched=bool(value["batched"]),
            device=value["device"],
            dtype=value["dtype"],
        )
        return cls(
            status=Status(value["status"]),
            message=value["message"],
            info=None if value["batched"] is None else info,
            load_s=value["load_s"],
            tuning_s=value["tuning_s"],
            limit=BatchLimit(**value["limit"]),
            timings={
                kind: tuple(Timing(**one) for one in value["timings"][kind])
                for kind in KINDS
                if value["timings"]
            },
            host_bytes=value["host_bytes"],
            device_bytes=value["device_bytes"],
            load_average=value["load_average"],
            cores=value["cores"],
        )

    def fail(self, status: Status, message: str) -> None:
        """Say why there are no timings."""
        self.status, self.message, self.timings = status, message, {}


class _TooLongError(Exception):
    """The time of a probe is over."""


def probe_model(
    entry: ModelEntry,
    scan_set_path: Path,
    *,
    device: str = "auto",
    threads: int = 1,
    seconds: float = SECONDS,
    environment: Environment = HERE,
) -> Probe:
    """Time a model.

    Args:
        entry: Resolved model entry.
        scan_set_path: Scan set made by `write_probe_scans`.
        device: `auto`, `cpu` or `cuda`.
        threads: Number of threads of the model's arithmetic.
        seconds: Longest time of a call; once so many have passed no other is begun.
        environment: Where the model runs.

    Returns:
        The timings, or the status and the reason why there are none.

    Raises:
        UserError: there is no such scan set.
    """
    with ScanSet(scan_set_path) as scan_set:
        scans = [scan_set.scan(scan_id) for scan_id in scan_set.ids]
        sizes = tuple(json.loads(scan_set.attributes["provenance"])["sizes"])
    probe = Probe(load_average=os.getloadavg()[0], cores=os.cpu_count() or 1)
    worker = Worker(
        entry, scan_set=scan_set_path, device=device, threads=threads, timeout_s=seconds,
        load_timeout_s=LOAD_S, environment=environment,
    )  # fmt: skip
    with worker:
        try:
            begun = time.perf_counter()
            probe.info = worker.start()
            probe.load_s = time.perf_counter() - begun
            _Probing(entry, worker, probe, seconds).run(scans, sizes)
        except ModelFailureError as failure:
            probe.fail(failure.status, failure.message)
        except _TooLongError as late:
            probe.fail(Status.TIMEOUT, f"{late} when its {seconds:g} s were over; give it more")
        except HostError as error:
            probe.fail(Status.ERROR, f"the machine failed: {error}")
    probe.host_bytes = max(probe.host_bytes, worker.peak_bytes)
    return probe


@dataclass
class _Probing:
    entry: ModelEntry
    worker: Worker
    probe: Probe
    seconds: float

    def __post_init__(self) -> None:
        self._until = time.perf_counter() + self.seconds
        self._slow_s = min(SLOW_CALL_S, self.seconds / 4)

    def run(self, scans: list[Scan], sizes: tuple[float, ...]) -> None:
        """Fill in the probe.

        Raises:
            ModelFailureError: the model failed.
            HostError: the machine did.
        """
        info = self.probe.info
        assert info is not None
        known = [scan for scan in scans if not why_unsupported(scan, info)]
        if not known:
            self.probe.fail(Status.UNSUPPORTED, why_unsupported(scans[0], info))
            return
        small, large = (
            min(known, key=lambda scan: (abs(scan.n_atoms - size), scan.id)) for size in sizes
        )
        if info.batched:
            for _ in range(WARM_UP_CALLS):
                self._call(frames_batch([small]).select([0]))
        begun = time.perf_counter()
        self.probe.limit = initial_limit(self.worker, self.entry, large)
        self.probe.tuning_s = time.perf_counter() - begun
        frames: dict[str, Callable[[Scan], Batch]] = {
            ALONG_SCAN: lambda scan: frames_batch([scan]),
            NEAR_MINIMUM: thermal_batch,
        }
        for kind in KINDS:
            self.probe.timings[kind] = self._timings(frames[kind](small), frames[kind](large))

    def _timings(self, small: Batch, large: Batch) -> tuple[Timing, Timing, Timing]:
        one = self._time(small.select([small.n_systems // 2]))
        return one, self._time(self._filled(small, one)), self._time(self._filled(large, one))

    def _filled(self, frames: Batch, one: Timing) -> Batch:
        """Frames again and again until the batch of a run is full; of a slow method a few."""
        info, limit = self.probe.info, self.probe.limit
        assert info is not None
        n_atoms = frames.n_atoms // frames.n_systems
        if not info.batched:
            guess_s = one.seconds * n_atoms / one.atoms
            count = min(frames.n_systems, max(1, int(self._slow_s / max(guess_s, 1e-9))))
            places = np.linspace(0, frames.n_systems - 1, count + 2)[1:-1].round().astype(int)
            return frames.select(range(frames.n_systems) if count == frames.n_systems else places)
        by_atoms = max(1, (limit.atoms or n_atoms) // n_atoms)
        count = by_atoms if limit.systems is None else limit.systems
        return frames.select([k % frames.n_systems for k in range(count)])

    def _time(self, batch: Batch) -> Timing:
        taken: list[float] = []
        while len(taken) < REPEATS and sum(taken) < TIMING_S:
            taken.append(self._call(batch))
        n_atoms = batch.n_atoms // batch.n_systems
        return Timing(n_atoms, batch.n_systems, statistics.median(taken))

    def _call(self, batch: Batch) -> float:
        """Seconds of a call, with what it takes to get there and back."""
        if time.perf_counter() > self._until:
            atoms = batch.n_atoms // batch.n_systems
            raise _TooLongError(f"not asked about frames of {atoms} atoms")
        begun = time.perf_counter()
        timed = self.worker.evaluate(batch)
        taken = time.perf_counter() - begun
        self.probe.host_bytes = max(self.probe.host_bytes, timed.host_bytes)
        self.probe.device_bytes = max(self.probe.device_bytes, timed.device_bytes)
        failed = [
            (status, message)
            for status, message in zip(timed.result.status, timed.result.messages, strict=True)
            if status is not Status.OK
        ]
        if len(failed) == batch.n_systems:
            raise ModelFailureError(*failed[0])
        return taken


def thermal_batch(scan: Scan) -> Batch:
    """Frames of a molecule as dynamics meet it: about its geometry before the scan."""
    seed = np.frombuffer(hashlib.sha256(f"probe {scan.id}".encode()).digest(), dtype=np.uint32)
    draw = np.random.default_rng(seed).standard_normal(scan.positions.shape)
    frames = scan.positions_unperturbed + THERMAL_ANGSTROM * draw
    return frames_batch([replace(scan, positions=frames)])


def asked(entry: ModelEntry, scan_set_sha256: str, device: str, threads: int) -> dict[str, Any]:
    """Settings that decide a probe: a probe with the same settings is not made again.

    Args:
        entry: Deciding part of the entry of the model.
        scan_set_sha256: sha256 of the scans.
        device: Device as in the config.
        threads: Threads as in the config.
    """
    return {
        "entry": entry.deciding(),
        "scan_set_sha256": scan_set_sha256,
        "device": device,
        "threads": threads,
        "code": stage_fingerprint(__name__, *family_modules(entry.families)),
    }


def write_probe(
    entry: ModelEntry,
    scan_set_path: Path,
    out: Path,
    *,
    device: str = "auto",
    threads: int = 1,
    seconds: float = SECONDS,
    environment: Environment = HERE,
) -> None:
    """Time a model and write what it took as JSON.

    Args:
        entry: Resolved model entry.
        scan_set_path: Scan set made by `write_probe_scans`.
        out: JSON.
        device: `auto`, `cpu` or `cuda`.
        threads: Number of threads of the model's arithmetic.
        seconds: Longest time of a call; once so many have passed no other is begun.
        environment: Where the model runs.

    Raises:
        UserError: there is no such scan set.
    """
    with ScanSet(scan_set_path) as scan_set:
        about = asked(entry, scan_set.sha256, device, threads)
    begun = time.perf_counter()
    probe = probe_model(
        entry, scan_set_path, device=device, threads=threads, seconds=seconds,
        environment=environment,
    )  # fmt: skip
    write_json(
        out,
        {
            "model": entry.name,
            "asked": about,
            **probe.to_json(),
            "seconds": time.perf_counter() - begun,
            "host": platform.node(),
            "provenance": provenance.collect(environment.software),
        },
    )
