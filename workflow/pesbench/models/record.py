"""`models.json` of a folder of results: the registry's description of the models of a run.

`<model>/model.json` holds what decides a model's numbers. What only describes it (its level of
theory, what it was trained on) stands here, so that a folder of results can be read where neither
the registry nor the weights are.

Such a folder may come from anybody. Names are checked as those of users are, values as those of a
registry; no file, weight or import path that it names is opened or imported.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pesbench.core.errors import UserError, reading
from pesbench.core.family import PERTURBED, EntrySettings, family_of
from pesbench.core.names import BESIDE_RESULTS, IN_RESULTS, is_path_name, why_unfit
from pesbench.files.atomic import write_json
from pesbench.files.split import SEEN, UNSEEN, read_split
from pesbench.files.validation import validate
from pesbench.models.addresses import is_address
from pesbench.models.registry import ModelEntry

NAME = "models.json"
FORMAT = "pesbench-models"
VERSION = 1
LARGEST_JSON_BYTES = 64 << 20
# places of files, which lie elsewhere on every machine, and one user's word of consent
_LEFT_OUT = ("python", "requirements", "seen_systems", "trust", "weights")
KIN = ("seed_of", "variant_of")  # keys that name another entry


@dataclass(frozen=True)
class Described:
    """Keys that describe a model.

    Attributes:
        description: Keys of its entry that decide no number, places of files left out.
        seen: `seen` or `unseen` by system, of a model that tells what it was trained on.
    """

    description: dict[str, Any] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)


def description(entry: ModelEntry) -> dict[str, Any]:
    """The keys of an entry that decide no number, without the places of files."""
    deciding = entry.deciding()["settings"]
    return {k: v for k, v in entry.settings.items() if k not in deciding and k not in _LEFT_OUT}


def describe(entries: Iterable[ModelEntry], base: Path) -> dict[str, Described]:
    """Keys that describe some models.

    Args:
        entries: Entries of a registry; weights are not looked at.
        base: Folder that relative paths start from.

    Raises:
        UserError: a file of `seen_systems` is missing or wrong.
    """
    found = {}
    for entry in entries:
        seen = entry.settings.get("seen_systems")
        split = read_split(base / seen) if seen else {}
        found[entry.name] = Described(description(entry), split)
    return found


def write_record(path: Path, models: Mapping[str, Described]) -> None:
    """Write `models.json`, whole or not at all."""
    content = {
        name: {"description": one.description} | ({"seen": one.seen} if one.seen else {})
        for name, one in models.items()
    }
    write_json(path, {"format": FORMAT, "version": VERSION, "models": content})


def read_record(path: Path) -> dict[str, Described]:
    """Read a file of `write_record`.

    Raises:
        UserError: the file is missing or something else.
    """
    cure = (
        "write it with `python -m pesbench describe --models MODEL ... --models-file REGISTRY "
        f"--out {shlex.quote(str(path))}`, REGISTRY being the one that the models were run with"
    )
    if not path.is_file():
        raise UserError(
            f"{path}: no such file, and nothing else says what the models of this folder are; run "
            f"`snakemake` there again (it runs no model for it), or {cure}"
        )
    content = read_json(path, cure)
    with reading(path, f"not what the workflow writes of version {VERSION}", cure):
        if (content["format"], content["version"]) != (FORMAT, VERSION):
            raise ValueError(f"format {content['format']!r}")
        found = {
            str(name): Described(
                {k: v for k, v in one["description"].items() if k not in _LEFT_OUT},
                dict(one.get("seen", {})),
            )
            for name, one in content["models"].items()
        }
        if any({*one.seen.values()} - {SEEN, UNSEEN} for one in found.values()):
            raise ValueError("`seen` is neither seen nor unseen")
    for name, one in found.items():
        check_name(name, str(path), "model")
        for system in one.seen:
            check_name(system, f"{path}: {name}", "system")
        validate(EntrySettings, one.description, f"{path}: {name}", partial=True)
        for key in KIN:
            if key in one.description:
                check_name(one.description[key], f"{path}: {name}", "model")
    return found


def read_json(path: Path, cure: str) -> Any:
    """The content of a JSON file of any origin.

    Args:
        path: A file that may be missing.
        cure: What messages end with.

    Raises:
        UserError: it is missing, no regular file, larger than any of ours, or no JSON.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; {cure}")
    with reading(path, "no JSON", cure):
        if path.stat().st_size > LARGEST_JSON_BYTES:
            raise UserError(f"{path}: has {path.stat().st_size} bytes, more than any we write")
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def check_name(name: str, place: str, what: str) -> None:
    """Refuse a name from a file that a user could not give either: it becomes a path.

    Args:
        name: The name as it stands there.
        place: Place of the name, for the message.
        what: What it names: "model", "scan set", "family", "system" or "part of a scan's id".

    Raises:
        UserError: it is unfit.
    """
    if what in ("model", "scan set"):
        reason = why_unfit(name, IN_RESULTS if what == "model" else BESIDE_RESULTS)
    else:
        parts = name.split("/") if what == "system" else [name]  # BSCT-SPICE's are such as C-C/713
        reason = "" if all(map(is_path_name, parts)) else "is unfit for a path"
    if reason:
        raise UserError(f"{place}: {what} {name!r} {reason}")


def _without_paths(value: Mapping[str, Any]) -> dict[str, Any]:
    """An entry, and what it is made from, without paths and consent, which no `model.json` has."""
    settings = {
        key: given
        for key, given in value["settings"].items()
        if key not in _LEFT_OUT or (key == "weights" and is_address(given))
    }
    if settings.get("base_entry") is not None:
        settings["base_entry"] = _without_paths(settings["base_entry"])
    return {**value, "settings": settings}


def _check_entry(entry: ModelEntry, place: str) -> None:
    """Refuse names and values that no registry could hold; keys of later versions are let be.

    Raises:
        UserError: naming the first.
    """
    check_name(entry.name, place, "model")
    check_name(entry.family, place, "family")
    family = family_of(entry.family)
    # the weights themselves stay where they are, and a later version may have further keys
    elsewhere = {"weights": "elsewhere"} if family.needs_weights(entry.settings) else {}
    said = elsewhere | entry.settings
    validate(family.settings_of(said), said, place, partial=True)
    for key in (*KIN, "base"):
        if key in entry.settings:
            check_name(entry.settings[key], place, "model")
    if family.role == PERTURBED and entry.base is None:
        raise UserError(f"{place}: does not say what {entry.settings['base']!r} is, its base")
    if entry.base is not None:
        _check_entry(entry.base, f"{place}: base")


def recorded_entry(model_json: Path, described: Described) -> ModelEntry:
    """An entry from what decides and what describes it.

    Its weights need not be on this machine: in place of their path stands their sha256, so that
    two entries are variants of one checkpoint wherever their weights lay.

    Args:
        model_json: Written by `python -m pesbench entry`.
        described: What describes the same model.

    Raises:
        UserError: the file is missing or something else.
    """
    entry = deciding_entry(model_json)
    return ModelEntry(entry.name, entry.family, described.description | entry.settings)


def deciding_entry(model_json: Path) -> ModelEntry:
    """The deciding part of an entry, whether or not its weights are on this machine.

    Args:
        model_json: Written by `python -m pesbench entry`.

    Raises:
        UserError: the file is missing or something else.
    """
    cure = "make it with `python -m pesbench entry`"
    value = read_json(model_json, cure)
    with reading(model_json, "not a resolved model entry", cure):
        value = _without_paths(value)
        settings = value["settings"]
        entry = ModelEntry(str(value["name"]), str(value["family"]), settings)
        entry.deciding()
    _check_entry(entry, str(model_json))
    if "sha256" in settings:
        settings["weights"] = f"sha256:{settings['sha256']}"
    return entry


def is_record(models_file: Path) -> bool:
    """Whether a file is the `models.json` of a folder of results, and no registry."""
    return models_file.suffix == ".json"


def recorded_entries(path: Path) -> dict[str, ModelEntry]:
    """The models of a folder of results, from its `models.json` and each `<model>/model.json`.

    Raises:
        UserError: see `read_record` and `recorded_entry`.
    """
    return {
        name: recorded_entry(path.parent / name / "model.json", one)
        for name, one in read_record(path).items()
    }
