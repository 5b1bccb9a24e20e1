"""What runs code when it is loaded, and the word of consent without which it is not loaded.

A pickled network is a program. It is loaded only if the user's registry says so: with the `sha256`
of the file, with `trust: true` (`--trust` on a command line), or, of an address, with the pin that
the first download with consent has left in the cache. An import path in the user's own registry is
consent; one in a file of somebody else's results is not, so that a job which reads a resolved entry
is told its digest (`--entry-sha256`) by the registry.

Every family gets its weights from `read_weights`, as the bytes whose checksum was compared: what is
loaded is what was agreed to, whatever happens to the file meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pesbench.core.errors import UserError
from pesbench.models.download import cache_path, is_address, pin_path, read_pin
from pesbench.models.transfer import MOST_BYTES
from pesbench.models.weight_file import defect


@dataclass(frozen=True)
class WeightFormat:
    """The weight files of a family.

    Attributes:
        package: That the class of the pickled network belongs to; None where the file holds a
            dictionary.
        cure: What to do about any other file.
        runs_code: Whether loading executes what the file says, and not only reads tensors.
    """

    package: str | None
    cure: str
    runs_code: bool


WEIGHT_FILES: dict[str, WeightFormat] = {
    "mace": WeightFormat("mace", "give the .model file that mace_run_train writes", runs_code=True),
    # a checkpoint names classes beside its tensors
    "sevennet": WeightFormat(None, "give the .pth checkpoint that sevenn writes", runs_code=True),
    "testbed": WeightFormat(
        None, "give the .pt file that `pesbench train` writes", runs_code=False
    ),
}
_ROOT = 0
_NAME_NO_CODE = frozenset({"control", "pyscf", "tblite"})  # of those without weights


@dataclass(frozen=True)
class Weights:
    """The content of a weight file, whose checksum was compared.

    Attributes:
        path: Where it was read, for messages.
        sha256: Of the content.
        content: All of it.
    """

    path: Path
    sha256: str
    content: bytes

    def open(self) -> BinaryIO:
        """The content as an open file."""
        return io.BytesIO(self.content)

    @contextlib.contextmanager
    def file(self) -> Iterator[Path]:
        """The content as a private file, for packages that take nothing but a path."""
        with tempfile.TemporaryDirectory(prefix="pesbench-") as folder:  # of mode 0700
            path = Path(folder) / self.path.name
            path.write_bytes(self.content)
            yield path


def read_weights(path: Path, sha256: str | None, family: str) -> Weights:
    """A weight file, read once: what is loaded is what was compared.

    Args:
        path: Of the file.
        sha256: That it must have.
        family: Whose weights they are.

    Raises:
        UserError: the file is missing, another one or no weights of the family, or nothing says
            which file was agreed to.
    """
    form = WEIGHT_FILES[family]
    if sha256 is None and form.runs_code:
        raise UserError(
            f"{path}: loading these weights can run code, and the entry has no `sha256` to compare "
            "them with; take the entry from the registry (`pesbench entry`)"
        )
    try:
        check_size(path)
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    found = hashlib.sha256(content).hexdigest()
    if sha256 not in (None, found):
        raise UserError(
            f"{path}: has sha256 {found} now, {sha256} was agreed to; put the right file there"
        )
    if wrong := defect(io.BytesIO(content), form.package):
        raise UserError(f"{path} {wrong}; {form.cure}")
    return Weights(path, found, content)


def check_size(path: Path) -> None:
    """Refuse a file that is too large to be read whole, before it is.

    Args:
        path: A file that exists.

    Raises:
        UserError: one line.
    """
    if path.stat().st_size > MOST_BYTES:
        raise UserError(f"{path}: larger than {MOST_BYTES / 1e9:g} GB, no weights; give another")


def check_weights(family: str, path: Path) -> None:
    """Refuse a file that cannot be a family's weights, without importing its package.

    Args:
        family: One with weights.
        path: A file that exists.

    Raises:
        UserError: one line with the file, what it is and the cure.
    """
    form = WEIGHT_FILES[family]
    with path.open("rb") as file:
        wrong = defect(file, form.package)
    if wrong is not None:
        raise UserError(f"{path} {wrong}; {form.cure}")


def _said_before(path: Path) -> bool:
    """Whether the pin of a download is there, and is this user's word or the administrator's."""
    return read_pin(path) is not None and pin_path(path).stat().st_uid in (os.getuid(), _ROOT)


def check_consent(name: str, family: str, settings: Mapping[str, Any], found: str | None) -> None:
    """Refuse weights that can run code, where nothing says that the user trusts them.

    Args:
        name: Of the entry.
        family: Of the entry.
        settings: As the user wrote them.
        found: sha256 of the file; None for an address.

    Raises:
        UserError: one line with the place, the reason and the cures.
    """
    weights = settings.get("weights")
    if weights is None or not WEIGHT_FILES[family].runs_code:
        return
    if "sha256" in settings or settings.get("trust"):
        return
    if is_address(weights) and _said_before(cache_path(weights)):
        return
    why = (
        f"model {name!r}: weights of family {family!r} are a program that runs when they are "
        f"loaded, and nothing says that you trust {weights}"
    )
    if found is not None:
        raise UserError(
            f"{why}; if you do, write `sha256: {found}` into the entry, or `trust: true` (whatever "
            "the file holds). `pesbench check --weights` takes `--trust` instead"
        )
    raise UserError(
        f"{why}; if you do, write the `sha256` that its authors publish into the entry, or "
        f"`trust: true`, or run `python -m pesbench entry {name} --trust --out entry.json` once "
        "(`pesbench check` takes --trust, too): what comes is pinned"
    )


def runs_code(family: str, base: Mapping[str, Any] | None) -> bool:
    """Whether loading an entry can run code that the entry names.

    Args:
        family: Of the entry. One that is not known to be harmless can.
        base: The entry it is made from, or None.
    """
    if family == "perturbed" and base is not None:
        return runs_code(str(base["family"]), base["settings"].get("base_entry"))
    if family in WEIGHT_FILES:
        return WEIGHT_FILES[family].runs_code
    return family not in _NAME_NO_CODE


def entry_sha256(value: Mapping[str, Any]) -> str:
    """The digest of the deciding part of an entry: the same in the registry and as a job reads it.

    Args:
        value: `name`, `family` and `settings`, as `ModelEntry.deciding` has them or as `settle`
            makes them, which knows the sha256 behind an address, too.
    """
    return hashlib.sha256(json.dumps(_said(value), sort_keys=True).encode()).hexdigest()


def _said(value: Mapping[str, Any]) -> dict[str, Any]:
    # keys that are no text become text in the file
    content = json.loads(json.dumps(dict(value), default=str))
    settings = content["settings"]
    if is_address(settings.get("weights")):
        settings.pop("sha256", None)  # of the download; a stated one takes the address's place
    if settings.get("base_entry"):
        settings["base_entry"] = _said(settings["base_entry"])
    return content


def check_entry_file(path: Path, value: Mapping[str, Any], wanted: str | None) -> None:
    """Refuse a stored entry that is not the registry's, where loading it can run code.

    Args:
        path: Of the file, for the message.
        value: What it holds.
        wanted: Digest that the registry gives; None where the command was not told it.

    Raises:
        UserError: the file holds another entry, or one that runs code and nothing says whose it is.
    """
    found, name = entry_sha256(value), value["name"]
    if wanted is not None and wanted != found:
        raise UserError(
            f"{path}: is not the entry {name!r} of the registry but another one, perhaps of "
            "somebody else's results; delete it, and the workflow writes it anew (by hand: "
            f"`python -m pesbench entry {name} --out {shlex.quote(str(path))}`)"
        )
    if wanted is None and runs_code(value["family"], value["settings"].get("base_entry")):
        raise UserError(
            f"{path}: loading the model {name!r} can run code that this file names; if it is what "
            f"your registry says, add `--entry-sha256 {found}`"
        )
