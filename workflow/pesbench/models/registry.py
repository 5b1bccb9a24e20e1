"""The registry: from an entry of `config/models.yaml` to a loaded model.

An entry is checked twice: its keys and types against the settings of its family when it is read,
and what it names (weight files, import paths) before any work starts.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pesbench.core.errors import UserError, reading
from pesbench.core.family import (
    CONTROL,
    PERTURBED,
    EntrySettings,
    LoadJob,
    family_of,
    find,
    names,
)
from pesbench.core.interface import Model
from pesbench.core.paths import real_path
from pesbench.models.addresses import (
    cache_path,
    file_sha256,
    is_address,
    pin_path,
    why_no_address,
    without_secret,
)
from pesbench.models.trust import check_entry_file, entry_sha256
from pesbench.models.weights import Weights, check_size, check_weights, read_weights


@dataclass(frozen=True)
class ModelEntry:
    """One model, resolved: defaults filled in, paths absolute, hashes known.

    Attributes:
        name: Name of the entry.
        family: Name of its family.
        settings: Every other key of the entry, with its default where it was left out. Family
            `perturbed` has the entry it is made from as `base_entry`; an entry that brings its
            packages has their requirements as `environment`, the same on every machine.
    """

    name: str
    family: str
    settings: dict[str, Any]

    def deciding(self) -> dict[str, Any]:
        """What of the entry decides a model's numbers: not where weights lie, but what they are.

        Where weights are an address without `sha256`, the address decides: nothing else is known
        of them, whether they have been downloaded or not.
        """
        describing = family_of(self.family).describing
        settings = {k: v for k, v in self.settings.items() if k not in describing}
        weights = self.settings.get("weights")
        if is_address(weights) and "sha256" not in settings:
            settings["weights"] = weights
        if (base := self.base) is not None:
            settings["base_entry"] = base.deciding()
        return {"name": self.name, "family": self.family, "settings": settings}

    @property
    def is_control(self) -> bool:
        """Whether it is a control, which is defined on the frames of a scan set only."""
        return family_of(self.family).role == CONTROL

    @property
    def batch_size(self) -> int | str:
        """Number of frames of a call, or `auto`."""
        size: int | str = self.settings.get("batch_size", EntrySettings.batch_size)
        return size

    @property
    def timeout_s(self) -> float:
        """Longest time that a call of the model may take, in seconds."""
        return float(self.settings.get("timeout_s", EntrySettings.timeout_s))

    def uses_gpu(self, device: str) -> bool:
        """Whether it runs on a GPU where there is one; of a perturbed model, whether its base does.

        Args:
            device: `auto`, `cpu` or `cuda`, as a run asks for it.
        """
        owner = self.base or self
        return device != "cpu" and family_of(owner.family).uses_gpu(owner.settings)

    @property
    def sha256(self) -> str:
        """Digest of the deciding part, by which a job recognises the entry in a file."""
        return entry_sha256(self.deciding())

    def trusted(self) -> ModelEntry:
        """The entry with the user's word that its weights may run code."""
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
        """The entry as one that is made from another."""
        value = {"name": base.name, "family": base.family, "settings": base.settings}
        return ModelEntry(self.name, self.family, self.settings | {"base_entry": value})

    @property
    def families(self) -> tuple[str, ...]:
        """Its family and that of its base: whose adapters decide its numbers."""
        return (self.family,) if self.base is None else (self.family, *self.base.families)

    @property
    def weights_path(self) -> Path | None:
        """Path of the weights, also before they are downloaded; None without weights."""
        if (base := self.base) is not None:
            return base.weights_path
        weights = self.settings.get("weights")
        if weights is None:
            return None
        return cache_path(weights) if is_address(weights) else Path(weights)

    @property
    def card_path(self) -> Path | None:
        """Path of a model card, if there is one, beside the weights; None without weights."""
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
            weights: Path of the weights, for an entry that has them; an entry with an address
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
            if "sha256" in owner.settings and family_of(owner.family).needs_weights(owner.settings):
                raise UserError(f"{path}: model {entry.name!r} has weights; give --weights PATH")
            return entry
        again = f"python -m pesbench entry {entry.name} --out {shlex.quote(str(path))}"
        if not weights.is_file():
            raise UserError(
                f"model {entry.name!r}: no weight file at {weights}; put it there, or download "
                f"the weights of an address with `{again}`"
            )
        if pin_path(weights).is_file() and file_sha256(weights) != owner.settings.get("sha256"):
            raise UserError(
                f"model {entry.name!r}: {weights} is not what {path} was made with (another "
                f"sha256); delete it and download it again with `{again}`"
            )
        settings = owner.settings | {"weights": str(weights)}
        found = cls(owner.name, owner.family, resolve_weights(owner.name, settings, Path.cwd()))
        return found if owner is entry else entry.with_base(found)


def resolve_weights(name: str, settings: dict[str, Any], base: Path) -> dict[str, Any]:
    """Settings with `weights` as an absolute path and its `sha256`; an address stays as it is.

    Args:
        name: Name of the entry, for messages.
        settings: Keys of an entry that has a `weights` key.
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


def check_entry(entry: ModelEntry) -> None:
    """Refuse an entry whose family finds that it cannot work, such as an import path to nothing.

    A weight file that holds something else is refused, too; the file behind an address is looked
    at when it is downloaded.

    Raises:
        UserError: one line with the entry and the cure.
    """
    family = family_of(entry.family)
    weights = entry.settings.get("weights")
    if weights is not None and not is_address(weights):
        try:
            check_weights(family, Path(weights))
        except UserError as error:
            raise UserError(f"model {entry.name!r}: {error}") from error
    family.check(entry.name, entry.settings)


def _weights_of(entry: ModelEntry) -> Weights | None:
    """The weights of an entry as an adapter gets them: it never opens a path of its own."""
    family = family_of(entry.family)
    if not family.needs_weights(entry.settings):
        return None
    try:
        path = Path(entry.settings["weights"])
        return read_weights(path, entry.settings.get("sha256"), family)
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
    family, base = find(entry.family), entry.base
    if family is None:
        known = ", ".join(names())
        raise UserError(f"model {entry.name!r}: unknown family {entry.family!r}; known: {known}")
    if family.role == CONTROL and scan_set is None:
        raise UserError(f"model {entry.name!r}: a control needs a scan set")
    made_from = None
    if family.role == PERTURBED:
        if base is None:
            raise UserError(f"model {entry.name!r}: its base is not resolved; use read_models")
        made_from = load(base, scan_set=scan_set, device=device)
    settings = {key: value for key, value in entry.settings.items() if key != "weights"}
    if settings.get("device") == "cpu":  # whatever the run asks for
        device = "cpu"
    job = LoadJob(entry.name, settings, _weights_of(entry), scan_set, device, made_from)
    return family.load(job)
