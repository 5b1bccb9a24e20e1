"""A check of a model of the registry, in a supervised worker: a crash is a row, no traceback."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pesbench.commands.check.conformance import changed_fields
from pesbench.commands.check.limits import Limits
from pesbench.commands.check.local import CalculatorModel
from pesbench.commands.check.report import CheckReport
from pesbench.commands.check.run import DTYPES, PARTS, chosen_scans, run_check
from pesbench.core.errors import UserError
from pesbench.core.interface import Batch, Model, ModelInfo, Status, one_line
from pesbench.core.names import LONGEST_MODEL, why_unfit
from pesbench.core.progress import track
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import Evaluator
from pesbench.engine.worker import ModelFailureError, ModelLoadError, Timed, Worker
from pesbench.files import provenance
from pesbench.files.environment import HERE, Environment
from pesbench.models.addresses import is_address, why_no_address, without_secret
from pesbench.models.calls import IMPORT_PATH
from pesbench.models.families import ase
from pesbench.models.registry import ModelEntry

MOST_STARTS = 4  # losses of the worker; after more the model is not run again
FRAMES_A_CALL = 100  # of an entry that leaves the batch size to be measured: that takes too long
FRAMES_A_CALL_SINGLY = 20  # of a frame-by-frame model, so that a call keeps within its time


class PatientWorker(Worker):
    """A worker that is not started for ever: a model that keeps dying is given up."""

    _told: ModelInfo | None = None

    def start(self) -> ModelInfo:
        """Start like `Worker.start`; if the model died too often, return its last information."""
        if self._told is not None and self._is_given_up:
            return self._told
        self._told = super().start()
        return self._told

    @property
    def _is_given_up(self) -> bool:
        return self.info is None and self.starts >= MOST_STARTS

    def evaluate(self, batch: Batch) -> Timed:
        """Evaluate like `Worker.evaluate`; fail at once if the model died too often."""
        if self._is_given_up:
            message = f"not tried: the worker died or hung {self.starts} times"
            raise ModelFailureError(Status.CRASHED, message)
        return super().evaluate(batch)


def entry_of_weights(
    weights: str, family: str, dtype: str | None = None, *, trust: bool = False
) -> ModelEntry:
    """A resolved entry for a weight file, with the defaults of its family.

    Args:
        weights: Path of the file, or an http(s) address, of which nothing is downloaded yet.
        family: Such as `mace`.
        dtype: Precision, where it shall not be the family's default.
        trust: The user's word that the weights may run code.

    Raises:
        UserError: there is no such file or family, the family takes no weights, or these run code
            when they are loaded and nothing says that they may.
    """
    from pesbench.models.models_file import make_entry, resolve_entry  # needs the extra `check`

    if is_address(weights) and (reason := why_no_address(weights)):
        raise UserError(f"check: `--weights {without_secret(weights)}` {reason}")
    path = unquote(urlsplit(weights).path) if is_address(weights) else weights
    name = re.sub(r"[^A-Za-z0-9._+-]", "-", Path(path).stem).strip(".-")[:LONGEST_MODEL] or "model"
    if why_unfit(name):  # such as `reference`, which a run could not have
        name = f"model-{name}"[:LONGEST_MODEL].rstrip(".")
    keys = {"family": family, "weights": weights}
    entry = make_entry(name, keys | ({} if dtype is None else {"dtype": dtype}), "check: ")
    return resolve_entry(entry.trusted() if trust else entry, Path("check"), Path.cwd())


def entry_of_calculator(path: str) -> ModelEntry:
    """A resolved entry for an ASE calculator that is made without arguments.

    Args:
        path: `module:Class`, or a function that returns a calculator. Naming it on the command
            line is consent to import it.

    Raises:
        UserError: it is no such path, or does not import.
    """
    from pesbench.models.models_file import make_entry, resolve_entry  # needs the extra `check`

    if not re.fullmatch(IMPORT_PATH, path):
        raise UserError(
            f"check: `--calculator {path}` is no import path; write module:Class, such as "
            "ase.calculators.emt:EMT"
        )
    name = path.partition(":")[2]
    entry = make_entry(name, {"family": ase.FAMILY.name, "calculator": path}, "check: ")
    return resolve_entry(entry, Path("check"), Path.cwd())


def check_entry(
    entry: ModelEntry,
    *,
    scans: Sequence[str] | None = None,
    parts: Sequence[str] = PARTS,
    limits: Limits | None = None,
    device: str = "auto",
    threads: int = 1,
    timeout_s: float = 120.0,
    environment: Environment = HERE,
) -> CheckReport:
    """Check a model of the registry.

    Args:
        entry: Resolved.
        scans: Ids or globs of the scans to score; None for all of the 30.
        parts: Parts from `pesbench.commands.check.run.PARTS`.
        limits: What passes.
        device: `auto`, `cpu`, `cuda` or `cuda:<n>`.
        threads: Number of threads of the model's arithmetic.
        timeout_s: Longest time a call may take; an entry's shorter one holds, too.
        environment: Where the model runs.

    Raises:
        UserError: the entry is a control, the model does not load, or a part or scan is unknown.
        HostError: the machine failed.
    """
    if entry.is_control:
        raise UserError(
            f"check: {entry.name!r} is a control, which is defined on the frames of a scan set "
            "only; give a model"
        )
    chosen_scans(scans, parts)  # before the model is loaded
    allowed_s = min(timeout_s, entry.timeout_s)
    with PatientWorker(
        entry, device=device, threads=threads, timeout_s=allowed_s, environment=environment
    ) as worker:
        try:
            info = worker.start()
        except ModelLoadError as failure:
            raise UserError(f"model {entry.name!r}: {failure.message}") from failure
        size = entry.batch_size
        if size == "auto":
            size = FRAMES_A_CALL if info.batched else FRAMES_A_CALL_SINGLY

        def inputs_changed(batch: Batch) -> list[str]:
            worker.close()  # one copy of the model in memory at a time
            return changed_inputs(
                entry, batch, device=device, timeout_s=2 * allowed_s, environment=environment
            )

        report = run_check(
            Evaluator(worker, BatchLimit(systems=int(size))),
            name=entry.name,
            limits=limits or Limits(),
            claimed_dtype=info.dtype if info.dtype in DTYPES else None,
            inputs_changed=inputs_changed,
            scans=scans,
            parts=parts,
            track=track,
        )
    about = {
        "entry": entry.deciding(),
        **report.about,
        "provenance": provenance.collect(environment.software),
    }
    return replace(report, about=about)


def changed_inputs(
    entry: ModelEntry,
    batch: Batch,
    *,
    device: str,
    timeout_s: float,
    environment: Environment = HERE,
) -> list[str]:
    """Names of the arrays that a model changes in place.

    A worker gets a copy of every batch, on which changes are lost; here a worker of its own
    evaluates once and compares. Of an ASE calculator the atoms are watched.

    Raises:
        ModelFailureError: the process died, hung or failed.
        HostError: it was killed.
    """
    with Worker(
        entry, device=device, timeout_s=timeout_s, load_timeout_s=timeout_s, environment=environment
    ) as worker:
        return [one_line(name) for name in worker.call(watch, batch)]


def watch(model: Model, batch: Batch) -> list[str]:
    """Names of the arrays that the model changes; runs in the worker."""
    if isinstance(model, ase.ASEModel):
        watched = CalculatorModel(model.calculator(), atoms=model.atoms)
        return sorted({*changed_fields(watched.evaluate, batch), *watched.changed})
    return changed_fields(model.evaluate, batch)


def default_json(name: str) -> Path:
    """Default path of the JSON of a check."""
    return Path(f"check-{name}.json")
