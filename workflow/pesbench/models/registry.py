"""The registry: from an entry of `config/models.yaml` to a loaded model.

An entry is checked twice: its keys and types against `workflow/schemas/models.schema.yaml` when it
is read, and what it names (weight files, import paths) before any work starts.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pesbench.core.errors import UserError, reading, signal_name
from pesbench.core.interface import Model, one_line
from pesbench.core.paths import real_path
from pesbench.models import download
from pesbench.models.download import cache_path, file_sha256, is_address
from pesbench.models.transfer import why_no_address, without_secret
from pesbench.models.trust import (
    WEIGHT_FILES,
    Weights,
    check_entry_file,
    check_size,
    check_weights,
    entry_sha256,
    read_weights,
)
from pesbench.models.weight_file import defect

FAMILIES = ("ase", "control", "mace", "perturbed", "pyscf", "sevennet", "tblite", "testbed")
IMPORT_CHECK_TIMEOUT_S = 300
_FAILS_AT_IMPORT = 4  # exit code
_DESCRIPTIVE = frozenset(
    {
        "citation",
        "description",
        "elements",
        "level_of_theory",
        "license",
        "seed_of",
        "seen_scans",
        "seen_systems",
        "trained",
        "training_dispersion",
        "trust",
        "weights",
    }
)
_DECIDING = {"ase": frozenset({"elements"})}  # it asks the calculator for no others
logger = logging.getLogger("pesbench")


@dataclass(frozen=True)
class ModelEntry:
    """One model, resolved: defaults filled in, paths absolute, hashes known.

    Attributes:
        name: Of the entry.
        family: One of `FAMILIES`.
        settings: Every other key of the entry, with its default where it was left out. Family
            `perturbed` has the entry it is made from as `base_entry`.
    """

    name: str
    family: str
    settings: dict[str, Any]

    def deciding(self) -> dict[str, Any]:
        """What of the entry decides a model's numbers: not where weights lie, but what they are.

        Of an address without `sha256` nothing else is known, whether it has been downloaded or
        not: there the address decides.
        """
        descriptive = _DESCRIPTIVE - _DECIDING.get(self.family, frozenset())
        settings = {k: v for k, v in self.settings.items() if k not in descriptive}
        weights = self.settings.get("weights")
        if is_address(weights) and "sha256" not in settings:
            settings["weights"] = weights
        if (base := self.base) is not None:
            settings["base_entry"] = base.deciding()
        return {"name": self.name, "family": self.family, "settings": settings}

    @property
    def sha256(self) -> str:
        """The digest of its deciding part, by which a job knows it again in a file."""
        return entry_sha256(self.deciding())

    def trusted(self) -> ModelEntry:
        """The same with the user's word that its weights may run code."""
        if (base := self.base) is not None:
            return self.with_base(base.trusted())
        return ModelEntry(self.name, self.family, self.settings | {"trust": True})

    @property
    def base(self) -> ModelEntry | None:
        """The entry that a perturbed model is made from; None for any other."""
        value = self.settings.get("base_entry")
        return value and ModelEntry(value["name"], value["family"], value["settings"])

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> ModelEntry:
        """An entry from its JSON.

        Raises:
            KeyError, TypeError, AttributeError: it is none.
        """
        name, family, settings = value["name"], value["family"], value["settings"]
        if not (isinstance(name, str) and isinstance(family, str) and isinstance(settings, dict)):
            raise TypeError("`name`, `family` or `settings` is of another type")
        if (base := settings.get("base_entry")) is not None:
            cls.of(base)
        return cls(name, family, settings)

    def with_base(self, base: ModelEntry) -> ModelEntry:
        """The same made from this entry."""
        value = {"name": base.name, "family": base.family, "settings": base.settings}
        return ModelEntry(self.name, self.family, self.settings | {"base_entry": value})

    @property
    def families(self) -> tuple[str, ...]:
        """Its family and that of its base: whose adapters decide its numbers."""
        return (self.family,) if self.base is None else (self.family, *self.base.families)

    @property
    def weights_path(self) -> Path | None:
        """Where the weights lie, or will once they are downloaded; None without weights."""
        if (base := self.base) is not None:
            return base.weights_path
        weights = self.settings.get("weights")
        if weights is None:
            return None
        return cache_path(weights) if is_address(weights) else Path(weights)

    @property
    def card_path(self) -> Path | None:
        """Where a model card lies if there is one, beside the weights; None without weights."""
        weights = self.weights_path
        return weights and weights.with_suffix(".json")

    @property
    def potential(self) -> str:
        """Name that all seeds of a potential share: of the entry they are seeds of, or its own."""
        return str(self.settings.get("seed_of", self.name))

    @classmethod
    def from_file(
        cls, path: Path, weights: Path | None = None, sha256: str | None = None
    ) -> ModelEntry:
        """An entry that `python -m pesbench entry` has written, which is its deciding part.

        Args:
            path: JSON of `settle`.
            weights: Where the weights lie, for an entry that has them; an entry with an address
                need not be told.
            sha256: Digest of the entry in the user's registry. Without it no entry is taken whose
                loading can run code: the file may have come with somebody else's results.

        Raises:
            UserError: the file holds something else or another entry, or the weights are missing or
                others.
        """
        with reading(path, "not a resolved model entry", "make it with `pesbench entry`"):
            value = json.loads(path.read_text(encoding="utf-8"))
            entry = cls.of(value)
        check_entry_file(path, value, sha256)
        owner = entry.base or entry  # of the weights
        weights = weights or entry.weights_path
        if weights is None:
            # `pretrained`: in the package of the family, where the adapter looks
            if "sha256" in owner.settings and "pretrained" not in owner.settings:
                raise UserError(f"{path}: model {entry.name!r} has weights; give --weights PATH")
            return entry
        again = f"python -m pesbench entry {entry.name} --out {shlex.quote(str(path))}"
        if not weights.is_file():
            raise UserError(
                f"model {entry.name!r}: no weight file at {weights}; put it there, or download "
                f"the weights of an address with `{again}`"
            )
        if download.pin_path(weights).is_file() and file_sha256(weights) != owner.settings.get(
            "sha256"
        ):
            raise UserError(
                f"model {entry.name!r}: {weights} is not what {path} was made with (another "
                f"sha256); delete it and download it again with `{again}`"
            )
        settings = owner.settings | {"weights": str(weights)}
        found = cls(owner.name, owner.family, resolve_weights(owner.name, settings, Path.cwd()))
        return found if owner is entry else entry.with_base(found)


def fetch_weights(entry: ModelEntry) -> ModelEntry:
    """The entry with its weights on this machine, downloaded if they are given by an address.

    Args:
        entry: Resolved entry.

    Returns:
        The entry with `weights` as a path, and their `sha256`; one without an address unchanged.

    Raises:
        UserError: the weights cannot be had, or are not what they should be.
        HostError: the download failed; another attempt may not.
    """
    if (base := entry.base) is not None:
        return entry.with_base(fetch_weights(base))
    weights = entry.settings.get("weights")
    if not is_address(weights):
        return entry

    def wrong(path: Path) -> str | None:
        with path.open("rb") as file:
            return defect(file, WEIGHT_FILES[entry.family].package)

    try:
        pin = download.fetch(weights, sha256=entry.settings.get("sha256"), defect=wrong)
    except UserError as error:
        raise UserError(f"model {entry.name!r}: {error}") from error
    found = {"weights": str(cache_path(weights)), "sha256": pin.sha256}
    return ModelEntry(entry.name, entry.family, entry.settings | found)


def settle(entry: ModelEntry) -> dict[str, Any]:
    """What jobs need of an entry: its deciding part, and the sha256 of its weights.

    Weights are downloaded here and not by the jobs: a node that evaluates may have no network.

    Args:
        entry: Resolved entry.

    Raises:
        UserError: as `fetch_weights`.
        HostError: as `fetch_weights`.
    """
    value = entry.deciding()
    if (base := entry.base) is not None:
        value["settings"]["base_entry"] = settle(base)
    else:
        value["settings"] |= fetch_weights(entry).deciding()["settings"]
    return value


def resolve_weights(name: str, settings: dict[str, Any], base: Path) -> dict[str, Any]:
    """Settings with `weights` as an absolute path and its `sha256`; an address stays as it is.

    Args:
        name: Of the entry, for messages.
        settings: Of an entry that has a `weights` key.
        base: Folder that a relative path starts from.

    Raises:
        UserError: the file is missing or its hash is another one, or the address is none.
    """
    weights = settings["weights"]
    if is_address(weights):
        if reason := why_no_address(weights):
            raise UserError(f"model {name!r}: `weights: {without_secret(weights)}` {reason}")
        return settings
    if "://" in weights:
        raise UserError(
            f"model {name!r}: `weights: {weights}` is no address that can be downloaded; "
            "give a path, or an address with http or https"
        )
    path = real_path(base / weights)
    if not path.is_file():
        raise UserError(
            f"model {name!r}: no weight file at {path}; correct `weights` or put the file there"
        )
    try:
        check_size(path)
        found = file_sha256(path)
    except OSError as error:
        raise UserError(
            f"model {name!r}: {path} cannot be read ({error.strerror}); check its permissions"
        ) from error
    wanted = settings.get("sha256")
    if wanted and wanted != found:
        raise UserError(
            f"model {name!r}: {path} has sha256 {found}, the entry says {wanted}; "
            "fetch the right file or correct `sha256`"
        )
    return settings | {"weights": str(path), "sha256": found}


def import_object(path: str) -> Any:
    """The object at `module:name`, for instance `ase.calculators.emt:EMT`."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def check_import(name: str, path: str) -> None:
    """Refuse an import path that leads nowhere.

    The import runs in a process of its own: it may be slow, or change global state. Code that is
    there and crashes or hangs when it is imported is a model that does not load, which is a result.

    Raises:
        UserError: with the original error.
    """
    if not all(path.partition(":")) or not path.isprintable():
        raise UserError(
            f"model {name!r}: `calculator: {path}` is no import path; write module:Class"
        )
    code = (
        "import os, sys; sys.path.append(os.getcwd())\n"  # last: see surroundings.py
        "import importlib; module, _, name = sys.argv[1].partition(':')\n"
        "try: found = importlib.import_module(module)\n"
        "except ImportError as error: sys.exit(f'{type(error).__name__}: {error}')\n"
        "except BaseException as error:\n"
        "    try: print(f'{type(error).__name__}: {error}', file=sys.stderr, flush=True)\n"
        f"    finally: os._exit({_FAILS_AT_IMPORT})\n"
        "if not hasattr(found, name): sys.exit(f'{module!r} has no {name!r}')"
    )
    with tempfile.TemporaryFile() as printed:  # no pipe, which a child of the import might hold
        process = subprocess.Popen(
            [sys.executable, "-c", code, path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=printed,
            env=os.environ | {"PYTHONSAFEPATH": "1"},
            start_new_session=True,
        )
        try:
            code_of_exit = process.wait(IMPORT_CHECK_TIMEOUT_S)
            printed.seek(max(0, printed.seek(0, os.SEEK_END) - 10_000))
            said = printed.read().decode(errors="replace").strip()
            reason = one_line(said.splitlines()[-1]) if said else "no message"
        except subprocess.TimeoutExpired:
            reason, code_of_exit = f"no answer in {IMPORT_CHECK_TIMEOUT_S} s", _FAILS_AT_IMPORT
        finally:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code_of_exit == 1:
        raise UserError(
            f"model {name!r}: `calculator: {path}` does not import ({reason}); "
            "correct the path (module:Class) or install its package"
        )
    if code_of_exit:
        died = f"exit code {code_of_exit}"
        if code_of_exit < 0:
            died = f"signal {signal_name(-code_of_exit)}"
        reason = reason if code_of_exit == _FAILS_AT_IMPORT else died
        logger.warning("model %r: fails when it is imported (%s)", name, reason)


def check_entry(entry: ModelEntry) -> None:
    """Refuse an entry whose import path leads nowhere, or whose method PySCF does not know.

    So is a weight file that holds something else; an address is looked at when it is downloaded.

    Raises:
        UserError: one line with the entry and the cure.
    """
    weights = entry.settings.get("weights")
    if weights is not None and not is_address(weights):
        try:
            check_weights(entry.family, Path(weights))
        except UserError as error:
            raise UserError(f"model {entry.name!r}: {error}") from error
    if entry.family == "ase":
        check_import(entry.name, entry.settings["calculator"])
    if entry.family == "pyscf":
        from pesbench.models.families.pyscf import check_settings

        check_settings(entry.name, entry.settings)


def role(entry: ModelEntry, level_of_theory: str) -> str:
    """`control`, `perturbed`, `reference` (its method is the scan set's own level) or `model`.

    A model that was *trained* on that level is no reference, but the best judged of the models. A
    perturbed one is neither, whatever its base: its defect is known, as that of a control.
    """
    if entry.family in ("control", "perturbed"):
        return entry.family
    return "reference" if own_level(entry) == level_of_theory else "model"


def own_level(entry: ModelEntry) -> str:
    """The level of theory of a scan set that an entry is the reference of.

    Of a method it is that method's; of anything trained or perturbed it is the entry itself, not
    the level of its training data.
    """
    level = str(entry.settings.get("level_of_theory") or "")
    if entry.family in ("pyscf", "tblite") or entry.settings.get("trained") is False:
        return level or entry.name
    return f"{entry.name} (trained on {level})" if level else entry.name


def _weights_of(entry: ModelEntry) -> Weights:
    """The weights of an entry as an adapter gets them: it never opens a path of its own."""
    try:
        path = Path(entry.settings["weights"])
        return read_weights(path, entry.settings.get("sha256"), entry.family)
    except UserError as error:
        raise UserError(f"model {entry.name!r}: {error}") from error


def load(entry: ModelEntry, *, scan_set: Path | None, device: str) -> Model:
    """The model of an entry, ready to evaluate. Imports its family's packages.

    Args:
        entry: Resolved entry.
        scan_set: The scan set that controls are made of; other families do not need it.
        device: `cpu`, `cuda` or `auto`; families without a choice run on the CPU.

    Raises:
        UserError: the family needs something it was not given, or the weights are not those that
            were agreed to.
    """
    settings = {key: value for key, value in entry.settings.items() if key != "weights"}
    match entry.family:
        case "control":
            from pesbench.models.families.control import ControlModel

            if scan_set is None:
                raise UserError(f"model {entry.name!r}: a control needs a scan set")
            return ControlModel(settings["control"], settings.get("dose"), scan_set)
        case "tblite":
            from pesbench.models.families.tblite import TBLiteModel

            return TBLiteModel(settings["method"], settings["accuracy"])
        case "pyscf":
            from pesbench.models.families.pyscf import load_pyscf

            return load_pyscf(settings)
        case "ase":
            from pesbench.models.families.ase import ASEModel

            return ASEModel(
                import_object(settings["calculator"]),
                settings["arguments"],
                fresh=settings["fresh"],
                elements=settings.get("elements"),
                charges=settings["charges"],
            )
        case "mace":
            from pesbench.models.families.mace import load_mace

            return load_mace(settings, _weights_of(entry), device)
        case "sevennet":
            from pesbench.models.families.sevennet import load_sevennet

            weights = None if "pretrained" in settings else _weights_of(entry)
            return load_sevennet(settings, weights, device)
        case "testbed":
            from pesbench.models.families.testbed import load_testbed

            return load_testbed(settings, _weights_of(entry), device)
        case "perturbed":
            from pesbench.models.families.perturbed import load_perturbed

            base = entry.base
            if base is None:
                raise UserError(f"model {entry.name!r}: its base is not resolved; use read_models")
            return load_perturbed(load(base, scan_set=scan_set, device=device), settings)
    raise UserError(f"model {entry.name!r}: unknown family {entry.family!r}; known: {FAMILIES}")
