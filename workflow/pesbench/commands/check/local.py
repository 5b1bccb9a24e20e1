"""A check of an ASE calculator in the caller's process: no worker, no config, no file."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from pesbench.commands.check.limits import Limits
from pesbench.commands.check.report import CheckReport
from pesbench.commands.check.run import DTYPES, PARTS, run_check
from pesbench.core.errors import HostError, UserError
from pesbench.core.interface import (
    PARAMETERS_SHA256,
    Batch,
    Model,
    ModelInfo,
    Status,
    check_result,
    is_host_failure,
    told,
)
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import Evaluator
from pesbench.engine.worker import ModelFailureError, Timed
from pesbench.models.families.ase import ask, atoms_of
from pesbench.models.frame_by_frame import FrameByFrame
from pesbench.models.parameters import parameters_sha256

_STATE = ("atoms", "results")


class CalculatorModel(FrameByFrame):
    """A calculator that exists already, behind the model contract.

    Unlike the family `ase` it takes an instance, always computes anew, and watches whether the
    calculator changes the atoms it is given.

    Args:
        calculator: Calculator with `calculate` and `implemented_properties`, as in ASE.
        elements: Symbols it knows; None to ask it.
        dtype: Precision it claims, None if it claims none.
        atoms: Makes the atoms that it is given of a batch of one system.

    Attributes:
        changed: Names of the atoms' arrays that a call has changed in place.

    Raises:
        UserError: it is no calculator or a class of them, or has no forces.
    """

    def __init__(
        self,
        calculator: Any,
        elements: Sequence[str] | None = None,
        dtype: str | None = None,
        atoms: Callable[[Batch], Atoms] = atoms_of,
    ) -> None:
        if isinstance(calculator, type):
            raise UserError(
                f"check: {calculator.__name__} is a class; give an instance, "
                f"{calculator.__name__}()"
            )
        offered = getattr(calculator, "implemented_properties", None)
        asked = (getattr(calculator, name, None) for name in ("calculate", "get_forces"))
        if offered is None or not any(callable(method) for method in asked):
            raise UserError(
                f"check: {type(calculator).__name__} is no ASE calculator; give one with "
                "`calculate` and `implemented_properties`"
            )
        if "forces" not in offered:
            raise UserError(
                f"check: {type(calculator).__name__} has no forces; give a calculator that has"
            )
        self._calculator, self._atoms = calculator, atoms
        known = None if elements is None else frozenset(_number(symbol) for symbol in elements)
        self.changed: set[str] = set()
        self._info = ModelInfo(
            elements=known,
            charges=False,
            batched=False,
            device="calculator",
            dtype=dtype or "calculator",
            details={
                "calculator": type(calculator).__qualname__,
                PARAMETERS_SHA256: parameters_sha256(calculator),
            },
        )

    @property
    def info(self) -> ModelInfo:
        return self._info

    def single(self, system: Batch) -> tuple[float | None, Any]:
        atoms = self._atoms(system)
        before = atoms.copy()
        answered = ask(self._calculator, atoms)
        for name in ("numbers", "positions", "cell", "pbc"):
            if not np.array_equal(getattr(atoms, name), getattr(before, name)):
                self.changed.add(name)
        return answered


def _number(symbol: str) -> int:
    if symbol not in atomic_numbers:
        raise UserError(f"check: elements: {symbol!r} is no element; give symbols such as 'C'")
    return atomic_numbers[symbol]


class InProcess:
    """Replacement of a worker without a process, for a model that is loaded already."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.losses: Counter[str] = Counter()  # there is no process to lose

    def start(self) -> ModelInfo:
        """Information that the model gives about itself."""
        return self._model.info

    def evaluate(self, batch: Batch) -> Timed:
        """Evaluate a batch; as `Worker.evaluate`.

        Raises:
            ModelFailureError: it failed as a whole.
            HostError: the machine is out of memory.
        """
        start = time.perf_counter()
        try:
            result = check_result(batch, self._model.evaluate(batch))
        except Exception as error:
            if is_host_failure(error):
                raise HostError(f"out of memory on the host ({told(error)})") from error
            raise ModelFailureError(Status.ERROR, told(error)) from error
        return Timed(result, time.perf_counter() - start, 0)


@contextlib.contextmanager
def restored(calculator: Any) -> Iterator[None]:
    """Leave a calculator's `atoms` and `results` as they were."""
    attributes = getattr(calculator, "__dict__", {})
    before = {name: attributes[name] for name in _STATE if name in attributes}
    if isinstance(before.get("results"), dict):  # some fill the same one again
        before["results"] = dict(before["results"])
    try:
        yield
    finally:
        attributes.update(before)


def check(
    calculator: Any,
    *,
    name: str | None = None,
    scans: Sequence[str] | None = None,
    parts: Sequence[str] = PARTS,
    limits: Limits | None = None,
    elements: Sequence[str] | None = None,
    dtype: str | None = None,
) -> CheckReport:
    """Check an ASE calculator: conformance, 30 bond scans, approach, dynamics (docs/check.md).

    Runs in the caller's process, so that a model in training can be checked between two epochs.
    The calculator's `atoms` and `results` are left as they were. A calculator that raises on a
    molecule costs that molecule and is told in the report; one that kills the process kills it:
    `python -m pesbench check` is the safe way for those.

    Args:
        calculator: Any ASE calculator, eV and Å.
        name: Name of the model in the report; the calculator's class if None.
        scans: Ids or globs such as `C-N/*` of the scans to score; None for all of them.
        parts: What to do: `conformance` (some 800 single evaluations), `scans` (100 for each),
            `approach` (some 2100) and `dynamics` (some 9000).
        limits: What passes; see `pesbench.Limits`.
        elements: Symbols the calculator knows; None to find out by asking it.
        dtype: Precision the calculator claims, `float64` or `float32`; it is measured anyway, and
            fails if it is coarser.

    Returns:
        A report; `report.passed`, `report.scores["fsd_full"]` in Å⁻¹, `print(report)`,
        `report.to_json(path)`.

    Raises:
        UserError: `calculator` is none, or a name is unknown.
    """
    if dtype is not None and dtype not in DTYPES:
        raise UserError(f"check: no dtype {dtype!r}; give {' or '.join(DTYPES)}, or None")
    model = CalculatorModel(calculator, elements, dtype)
    evaluator = Evaluator(InProcess(model), BatchLimit())  # type: ignore[arg-type]
    with restored(calculator):
        return run_check(
            evaluator,
            name=name or type(calculator).__name__,
            limits=limits or Limits(),
            claimed_dtype=dtype,
            inputs_changed=lambda batch: _changed(model, batch),
            scans=scans,
            parts=parts,
        )


def _changed(model: CalculatorModel, batch: Batch) -> list[str]:
    model.evaluate(batch)
    return sorted(model.changed)
