"""The registry: from an entry of `config/models.yaml` to a loaded model.

An entry is checked twice: its keys and types against `workflow/schemas/models.schema.yaml` when it
is read, and what it names (weight files, import paths) before any work starts.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pesbench.errors import UserError
from pesbench.models.interface import Model

FAMILIES = ("ase", "control", "mace", "tblite")
IMPORT_CHECK_TIMEOUT_S = 300
_DESCRIPTIVE = ("citation", "description", "level_of_theory", "license", "trained", "weights")


@dataclass(frozen=True)
class ModelEntry:
    """One model, resolved: defaults filled in, paths absolute, hashes known.

    Attributes:
        name: Of the entry.
        family: One of `FAMILIES`.
        settings: Every other key of the entry, with its default where it was left out.
    """

    name: str
    family: str
    settings: dict[str, Any]

    def deciding(self) -> dict[str, Any]:
        """What of the entry decides a model's numbers: not where weights lie, but what they are."""
        settings = {k: v for k, v in self.settings.items() if k not in _DESCRIPTIVE}
        return {"name": self.name, "family": self.family, "settings": settings}

    @classmethod
    def from_file(cls, path: Path, weights: Path | None = None) -> ModelEntry:
        """An entry that `python -m pesbench entry` has written, which is its deciding part.

        Args:
            path: JSON of `deciding`.
            weights: Where the weights lie, for an entry that has them.

        Raises:
            UserError: the file holds something else, or the weights are missing or others.
        """
        try:
            value = json.loads(path.read_text())
            entry = cls(value["name"], value["family"], value["settings"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: not a resolved model entry ({error}); make it with `pesbench entry`"
            ) from error
        if weights is None:
            return entry
        settings = entry.settings | {"weights": str(weights)}
        return cls(entry.name, entry.family, resolve_weights(entry.name, settings, Path.cwd()))


def file_sha256(path: Path) -> str:
    """The sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def resolve_weights(name: str, settings: dict[str, Any], base: Path) -> dict[str, Any]:
    """Settings with `weights` as an absolute path and its `sha256`.

    Args:
        name: Of the entry, for messages.
        settings: Of an entry that has a `weights` key.
        base: Folder that a relative path starts from.

    Raises:
        UserError: the file is missing or its hash is another one.
    """
    path = (base / settings["weights"]).resolve()
    if not path.is_file():
        raise UserError(
            f"model {name!r}: no weight file at {path}; correct `weights` or put the file there"
        )
    found = file_sha256(path)
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
    """Refuse an import path that does not import.

    The import runs in a process of its own: it may be slow, or change global state.

    Raises:
        UserError: with the original error.
    """
    code = (
        "import sys; from pesbench.models.registry import import_object\n"
        "try: import_object(sys.argv[1])\n"
        "except BaseException as error: sys.exit(f'{type(error).__name__}: {error}')"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, path],
            capture_output=True,
            text=True,
            timeout=IMPORT_CHECK_TIMEOUT_S,
            check=False,
        )
        reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no message"
        failed = done.returncode != 0
    except subprocess.TimeoutExpired:
        failed, reason = True, f"no answer in {IMPORT_CHECK_TIMEOUT_S} s"
    if failed:
        raise UserError(
            f"model {name!r}: `calculator: {path}` does not import ({reason}); "
            "correct the path (module:Class) or install its package"
        )


def check_entry(entry: ModelEntry) -> None:
    """Refuse an entry whose import path leads nowhere.

    Raises:
        UserError: one line with the entry and the cure.
    """
    if entry.family == "ase":
        check_import(entry.name, entry.settings["calculator"])


def role(entry: ModelEntry, level_of_theory: str) -> str:
    """`control`, `reference` (its method is the scan set's own level of theory) or `model`.

    A model that was *trained* on that level is no reference, but the best judged of the models.
    """
    if entry.family == "control":
        return "control"
    is_method = entry.family == "tblite" or entry.settings.get("trained") is False
    same = entry.settings.get("level_of_theory") == level_of_theory
    return "reference" if is_method and same else "model"


def load(entry: ModelEntry, *, scan_set: Path | None, device: str) -> Model:
    """The model of an entry, ready to evaluate. Imports its family's packages.

    Args:
        entry: Resolved entry.
        scan_set: The scan set that controls are made of; other families do not need it.
        device: `cpu`, `cuda` or `auto`; families without a choice run on the CPU.

    Raises:
        UserError: the family needs something it was not given.
    """
    settings = entry.settings
    match entry.family:
        case "control":
            from pesbench.models.controls import ControlModel

            if scan_set is None:
                raise UserError(f"model {entry.name!r}: a control needs a scan set")
            return ControlModel(settings["control"], settings.get("dose"), scan_set)
        case "tblite":
            from pesbench.models.tblite import TBLiteModel

            return TBLiteModel(settings["method"], settings["accuracy"])
        case "ase":
            from pesbench.models.ase import ASEModel

            return ASEModel(
                import_object(settings["calculator"]),
                settings["arguments"],
                fresh=settings["fresh"],
                elements=settings.get("elements"),
                charges=settings["charges"],
            )
        case "mace":
            from pesbench.models.mace import load_mace

            return load_mace(settings, device)
    raise UserError(f"model {entry.name!r}: unknown family {entry.family!r}; known: {FAMILIES}")
