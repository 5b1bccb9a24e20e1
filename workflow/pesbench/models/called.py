"""What families have in common whose model an entry names by import path and arguments."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ase.data import atomic_numbers

from pesbench.core.errors import HostError, UserError
from pesbench.core.family import DESCRIBING, EntrySettings, Family, LoadJob
from pesbench.core.settings import setting
from pesbench.models.calls import DEVICE, DTYPE, check_calls, placeholders, prepared
from pesbench.models.import_check import check_imports

CPU, GPU, CUDA = "cpu", "gpu", "cuda"
_CHARGE = "charge"
QUANTITIES: Mapping[str, Callable[[int, int], float]] = {  # of a total charge and a multiplicity
    _CHARGE: lambda charge, multiplicity: charge,
    "multiplicity": lambda charge, multiplicity: multiplicity,
    "unpaired": lambda charge, multiplicity: multiplicity - 1,
    "S": lambda charge, multiplicity: (multiplicity - 1) / 2,
}
_INFO = {"charge": _CHARGE, "spin": "multiplicity"}


@dataclass(frozen=True, kw_only=True)
class CalledSettings(EntrySettings):
    """Keys of an entry, beside the one with the import path."""

    arguments: Mapping[str, Any] = setting(
        dict,
        help="Keyword arguments of what is called. A value may be a call or an object "
        "([calculators of any package](#calculators-of-any-package)), and a text may hold "
        "`${device}` and `${dtype}`.",
    )
    positional: Any = setting(
        None, help="Positional arguments: a list, or a call that returns one."
    )
    device: str | None = setting(
        None,
        help="Whether the model gets a GPU. Without the key it does where `arguments` holds "
        "`${device}`, which becomes `cuda` or `cpu`.",
        choices=(GPU, CPU),
    )
    dtype: str | None = setting(
        None,
        help="Precision of the arithmetic: what `${dtype}` becomes, and what the results are said "
        "to be computed in.",
        choices=("float32", "float64"),
    )
    vacuum_box_angstrom: float | None = setting(
        None,
        help="For a model that knows periodic systems only: a molecule is put into a periodic "
        "cubic box that is at least so much larger than its extent, in Å. Take more than the "
        "cutoff of the model.",
        at_least=10.0,
        at_most=10_000,
    )
    info: Mapping[str, str] | None = setting(
        None,
        help="How charge and spin reach the model: keys of `atoms.info` of a calculator, or extras "
        "of the state of a TorchSim model, with the quantity that each holds; `unpaired` is a "
        "number of electrons, `S` the total spin. Without the key, `{charge: charge, spin: "
        "multiplicity}`.",
        choices=tuple(QUANTITIES),
        empty=True,
    )
    elements: tuple[str, ...] | None = setting(
        None,
        help="Symbols of the elements that the model knows; scans with other elements are "
        "`unsupported` and not tried.",
        pattern="^[A-Z][a-z]?$",
        unique=True,
    )
    charges: bool = setting(
        False,
        help="Whether the model takes account of the total charge; if not, charged molecules are "
        "`unsupported`.",
    )
    spins: bool = setting(
        False,
        help="Whether the model takes account of the spin; if not, molecules with a multiplicity "
        "other than 1 are `unsupported`.",
    )


def info_of(settings: Mapping[str, Any]) -> Mapping[str, str]:
    """The quantity that each name holds, by which charge and spin reach the model."""
    said: Mapping[str, str] | None = settings.get("info")
    return _INFO if said is None else said


class CalledFamily(Family):
    """Models that are what a call of an entry returns.

    Attributes:
        path_key: Key of an entry that holds the import path.
    """

    path_key: ClassVar[str]
    describing = DESCRIBING - {"elements"}  # no other properties are requested

    def uses_gpu(self, settings: Mapping[str, Any]) -> bool:
        said = settings.get(DEVICE)
        return DEVICE in placeholders(self._call(settings)) if said is None else said == GPU

    def check(self, name: str, settings: Mapping[str, Any]) -> None:
        place = f"model {name!r}"
        dtype = settings.get(DTYPE)
        filling = {DEVICE: CPU} | ({} if dtype is None else {DTYPE: dtype})
        paths = check_calls(self._call(settings), place, filling, self.path_key)
        given = set(info_of(settings).values())
        for key, quantities in ("charges", {_CHARGE}), ("spins", set(QUANTITIES) - {_CHARGE}):
            if settings.get(key) and not (given & quantities or settings.get("initial")):
                raise UserError(
                    f"{place}: `{key}: true`, and `info` gives the model none of "
                    f"{', '.join(sorted(quantities))}; name in `info` what holds it"
                )
        known = set(atomic_numbers) - {"X"}  # ASE's dummy atom
        for symbol in sorted(set(settings.get("elements") or ()) - known):
            raise UserError(f"{place}: `elements`: {symbol!r} is no element; correct it")
        if not self.has_environment(settings):
            check_imports(name, paths)

    def device_of(self, job: LoadJob) -> str:
        """What `${device}` becomes.

        Raises:
            HostError: a GPU is asked for, and there is none.
        """
        return _device(job.device) if self.uses_gpu(job.settings) else CPU

    def maker(self, job: LoadJob) -> Callable[[], Any]:
        """The call of an entry, its arguments made, ready to be made any number of times.

        Raises:
            HostError: a GPU is asked for, and there is none.
            Exception: whatever an import or a call raises.
        """
        filling = {DEVICE: self.device_of(job), DTYPE: job.settings.get(DTYPE) or ""}
        return prepared(self._call(job.settings), filling)

    def _call(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        parts = {key: settings[key] for key in ("arguments", "positional") if key in settings}
        return {"call": settings[self.path_key], **parts}


def _device(asked: str) -> str:
    """`cpu` or `cuda`, of what a job is asked for.

    Raises:
        HostError: a GPU is asked for, and there is none.
    """
    if asked == CPU:
        return CPU
    if importlib.util.find_spec("torch") is not None:
        from pesbench.models.torch_devices import choose_device

        return str(choose_device(asked))
    there = any(Path("/dev").glob("nvidia[0-9]*"))
    if asked != "auto" and not there:
        raise HostError(f"device {asked!r} is asked for, but this machine has no GPU")
    return CUDA if there else CPU
