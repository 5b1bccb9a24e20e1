"""`models.json` of a folder of results: what the registry said of the models of a run.

`<model>/model.json` holds what decides a model's numbers. What only describes it (its level of
theory, what it was trained on) stands here, so that a folder of results can be read where neither
the registry nor the weights are.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pesbench.errors import UserError, reading
from pesbench.models.registry import ModelEntry
from pesbench.storage import write_json
from pesbench.training.split import SEEN, UNSEEN, read_split

NAME = "models.json"
FORMAT = "pesbench-models"
VERSION = 1
# places of files, which lie elsewhere on every machine, and one user's word of consent
_LEFT_OUT = ("seen_systems", "trust", "weights")


@dataclass(frozen=True)
class Described:
    """What describes a model.

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
    """What describes some models.

    Args:
        entries: Of a registry; weights are not looked at.
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
    """What `write_record` wrote.

    Raises:
        UserError: the file is missing or something else.
    """
    cure = (
        "write it with `python -m pesbench describe --models MODEL ... --models-file REGISTRY "
        f"--out {shlex.quote(str(path))}`, REGISTRY being the one that the models were run with"
    )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}), and nothing else says what the models of "
            f"this folder are; run `snakemake` there again (it runs no model for it), or {cure}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: no JSON ({error}); {cure}") from error
    with reading(path, f"not what the workflow writes of version {VERSION}", cure):
        if (content["format"], content["version"]) != (FORMAT, VERSION):
            raise ValueError(f"format {content['format']!r}")
        found = {
            str(name): Described(dict(one["description"]), dict(one.get("seen", {})))
            for name, one in content["models"].items()
        }
        if any({*one.seen.values()} - {SEEN, UNSEEN} for one in found.values()):
            raise ValueError("`seen` is neither seen nor unseen")
    return found


def recorded_entry(model_json: Path, described: Described) -> ModelEntry:
    """An entry from what decides and what describes it.

    Its weights need not be on this machine: in place of their path stands their sha256, so that
    two entries are variants of one checkpoint wherever their weights lay.

    Args:
        model_json: Written by `python -m pesbench entry`.
        described: Of the same model.

    Raises:
        UserError: the file is missing or something else.
    """
    entry = deciding_entry(model_json)
    return ModelEntry(entry.name, entry.family, described.description | entry.settings)


def deciding_entry(model_json: Path) -> ModelEntry:
    """What decides an entry, whether or not its weights are on this machine.

    Args:
        model_json: Written by `python -m pesbench entry`.

    Raises:
        UserError: the file is missing or something else.
    """
    with reading(
        model_json, "not a resolved model entry", "make it with `python -m pesbench entry`"
    ):
        value = json.loads(model_json.read_text(encoding="utf-8"))
        settings = dict(value["settings"])
        entry = ModelEntry(str(value["name"]), str(value["family"]), settings)
        entry.deciding()
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
