"""Weights that run code when they are loaded, and the consent that loading them requires.

A pickled network is a program. It is loaded only if the user's registry says so: with the `sha256`
of the file, with `trust: true` (`--trust` on a command line), or, of an address, with the pin that
the first download with consent has left in the cache. An import path in the user's own registry is
consent; one in a file of somebody else's results is not, so that a job which reads a resolved entry
is told its digest (`--entry-sha256`) by the registry.

Every family gets its weights from `weights.read_weights`, as the bytes whose checksum was compared:
what is loaded is what was agreed to, whatever happens to the file meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pesbench.core.errors import UserError
from pesbench.core.family import PERTURBED, family_of
from pesbench.models.addresses import cache_path, is_address, pin_path, read_pin

_ROOT = 0


def _said_before(path: Path) -> bool:
    """Whether a download has a pin that belongs to this user or to the administrator."""
    return read_pin(path) is not None and pin_path(path).stat().st_uid in (os.getuid(), _ROOT)


def check_consent(name: str, family: str, settings: Mapping[str, Any], found: str | None) -> None:
    """Refuse weights that can run code without the consent of the user.

    Args:
        name: Name of the entry.
        family: Family of the entry.
        settings: Keys of the entry as the user wrote them.
        found: sha256 of the file; None for an address.

    Raises:
        UserError: one line with the place, the reason and the cures.
    """
    weights = settings.get("weights")
    if weights is None or not family_of(family).runs_code:
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
        family: Family of the entry; one that is not known to be harmless can run code.
        base: The entry it is made from, or None.
    """
    found = family_of(family)
    if found.role == PERTURBED and base is not None:
        return runs_code(str(base["family"]), base["settings"].get("base_entry"))
    return found.runs_code


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
        path: Path of the file, for the message.
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
