"""Trainings in the environment of a family, by a module that runs there, and the trained model."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ase import Atoms

from pesbench.core.errors import HostError, UserError
from pesbench.core.family import Family
from pesbench.core.interface import Batch, Result, one_line
from pesbench.core.progress import track
from pesbench.engine.supervisor import die_with_parent
from pesbench.engine.worker import Worker
from pesbench.files.environment import Environment, variables
from pesbench.models.registry import ModelEntry
from pesbench.training.frames import errors
from pesbench.training.sampling import TEST_SEEN, TEST_UNSEEN, TRAIN

_FOLDER = Path(__file__).parents[2]
_NAMES = {TRAIN: "trained on", TEST_SEEN: "held out", TEST_UNSEEN: "held out, unseen molecules"}


def check_environment(environment: Environment, family: Family) -> None:
    """Whether an environment has the package of a family.

    Raises:
        UserError: it is that of this process and lacks the package.
        HostError: it could not be made.
    """
    package = family.modules[0]
    if environment.failure:
        raise HostError(f"{environment.failure}; correct the requirements, or try again")
    if environment.is_here and importlib.util.find_spec(package) is None:
        raise UserError(
            f"{package} is not installed in this environment; give `--environment`, or say "
            "`software: venv` in the config"
        )


def run_there(module: str, job: Path, log: Path, environment: Environment, threads: int) -> None:
    """Run a module in an environment; it ends with this process.

    Args:
        module: Module of this package, which takes the path of its job.
        job: JSON of the job.
        log: What it prints is appended.
        environment: Environment with its packages.
        threads: Number of threads.

    Raises:
        RuntimeError: it failed; one line with the last line of the log.
    """
    with log.open("ab") as file:
        process = subprocess.run(
            [environment.python, "-m", module, str(job.absolute())],
            env=variables() | {"PYTHONPATH": str(_FOLDER), "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
            preexec_fn=die_with_parent,  # two trainings in one folder would ruin each other
        )
    if process.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        said = one_line(lines[-1]) if lines else f"exit code {process.returncode}"
        raise RuntimeError(f"{log}: the training with {log.stem} failed: {said}")


class _There:
    """A model in another environment behind the contract."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.info = worker.start()

    def evaluate(self, batch: Batch) -> Result:
        return self._worker.evaluate(batch).result


def errors_there(
    entry: ModelEntry,
    parts: Mapping[str, Sequence[Atoms]],
    environment: Environment,
    threads: int,
) -> dict[str, dict[str, float]]:
    """Errors of a trained model by part, asked in its environment.

    Args:
        entry: The model.
        parts: Frames of `pesbench sample` by their part.
        environment: Environment of its family.
        threads: Number of threads.
    """
    judged = [part for part in _NAMES if part in parts]
    with Worker(entry, device="cpu", threads=threads, environment=environment) as worker:
        model = _There(worker)
        return {part: errors(model, parts[part]) for part in track(judged, len(judged), "parts")}


def table_of_errors(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Lines of a card: the errors by part."""
    return [
        "| frames | number | force MAE (meV/Å) | energy MAE (meV/atom) |",
        "|---|---:|---:|---:|",
        *(
            f"| {_NAMES[part]} | {e['frames']} | {e['force_mae_mev_per_angstrom']:.1f} |"
            f" {e['energy_mae_mev_per_atom']:.2f} |"
            for part, e in found.items()
        ),
    ]
