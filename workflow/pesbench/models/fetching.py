"""Weights of an address, on this machine before anything is evaluated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pesbench.core.errors import UserError
from pesbench.core.family import family_of
from pesbench.models import download
from pesbench.models.addresses import cache_path, is_address
from pesbench.models.registry import ModelEntry
from pesbench.models.weight_file import defect


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

    form = family_of(entry.family).weights
    assert form is not None  # a family without weights has no such key

    def wrong(path: Path) -> str | None:
        with path.open("rb") as file:
            return defect(file, form)

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
