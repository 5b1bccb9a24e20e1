"""What was found when entries were compared with the source of their packages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pesbench.commands.verify.binding import UnfitError, check, parameters
from pesbench.commands.verify.packages import (
    Distribution,
    Packages,
    Pin,
    pins,
    python_version,
)
from pesbench.commands.verify.source import (
    ElsewhereError,
    NotFoundError,
    Sources,
    is_standard,
)
from pesbench.core.errors import UserError
from pesbench.core.family import family_of
from pesbench.files.atomic import write_json
from pesbench.models.called import CalledFamily
from pesbench.models.calls import DEVICE, DTYPE, Named, check_calls
from pesbench.models.registry import ModelEntry

FORMAT, VERSION = "pesbench-verified-entries", 1
RECORD = Path("resources/registry/verified.json")
_CHECKED = ("requirements", "python", "positional", "arguments", DTYPE)
_SHORTEST_TEXT = 4  # shorter words occur everywhere


def is_verifiable(entry: ModelEntry) -> bool:
    """Whether an entry names what is called, and pins the packages that it belongs to."""
    called = isinstance(family_of(entry.family), CalledFamily)
    return called and bool(entry.settings.get("requirements"))


def _path_key(entry: ModelEntry) -> str:
    """The key that holds the import path."""
    family = family_of(entry.family)
    assert isinstance(family, CalledFamily)
    return family.path_key


def checked(entry: ModelEntry) -> dict[str, Any]:
    """The part of an entry that the comparison depends on."""
    said = {key: entry.settings.get(key) for key in (_path_key(entry), *_CHECKED)}
    given: dict[str, Any] = json.loads(json.dumps(said))  # lists, no tuples
    return {key: value for key, value in given.items() if value not in (None, [], {})}


def verify(entry: ModelEntry, packages: Packages, base: Path) -> dict[str, Any]:
    """Compare the import paths and arguments of an entry with the source of what it pins.

    Args:
        entry: An entry of the registry.
        packages: Where distributions are.
        base: Folder that paths of requirements files start from.

    Returns:
        The entry's part of the record.

    Raises:
        UserError: one line with the entry, the path and what does not fit.
    """
    place = f"model {entry.name!r}"
    settings, key = entry.settings, _path_key(entry)
    call = {
        "call": settings[key],
        "arguments": settings.get("arguments") or {},
        "positional": settings.get("positional") or [],
    }
    filling = {DEVICE: "cpu", DTYPE: settings.get(DTYPE) or "float32"}
    named = check_calls(call, place, filling, key)
    python = python_version(settings.get("python"))
    pinned = Pinned(pins(settings["requirements"], base, place), packages, python, place)
    paths = [_verdict(one, pinned, place) for one in named]
    read = pinned.read
    if not read or all("not_checked" in one for one in paths):
        raise UserError(
            f"{place}: no package among its requirements holds `{settings[key]}`, or "
            f"there is no wheel of it for Python {python}; correct the pins, or put the file of "
            "the package into the folder of `--packages`"
        )
    texts = {text: _occurs(text, read) for text in sorted(set(_texts(call)))}
    files = [{"pin": str(one.pin), "file": one.file, "sha256": one.sha256} for one in read]
    return {
        "checked": checked(entry),
        "python": python,
        "packages": files,
        "paths": paths,
        "texts": texts,
    }


class Pinned:
    """What an entry pins, read as far as it is needed: a package of gigabytes may stand last.

    Args:
        wanted: Its pins, in their order.
        packages: Where distributions are.
        python: Version of Python that the entry runs with.
        place: What messages start with.

    Attributes:
        read: The distributions that were read.
    """

    def __init__(self, wanted: list[Pin], packages: Packages, python: str, place: str) -> None:
        self.read: list[Distribution] = []
        self._wanted, self._packages = wanted, packages
        self._python, self._place = python, place

    def has(self, module: str) -> bool:
        """Whether one holds the first part of a module's name; reads on until one does.

        Raises:
            UserError: one is damaged, or not for the Python of the entry.
        """
        top = module.partition(".")[0]
        while not any(
            member.partition("/")[0] in (top, f"{top}.py")
            for one in self.read
            for member in one.members
        ):
            if not self._wanted:
                return False
            found = self._packages.get(self._wanted.pop(0), self._python)
            if found is None:
                continue
            if (why := found.why_unfit()) is not None:
                raise UserError(f"{self._place}: {why}; name another `python`, or another version")
            self.read.append(found)
        return True


def _verdict(named: Named, pinned: Pinned, place: str) -> dict[str, Any]:
    """What an import path leads to, and whether it takes its arguments.

    Raises:
        UserError: it leads nowhere, or does not take them.
    """
    said: dict[str, Any] = {"at": named.place, "path": named.path}
    module = named.path.partition(":")[0]
    if is_standard(module):
        return said | {"not_checked": "a module of Python's own"}
    if not pinned.has(module):
        top = module.partition(".")[0]
        return said | {"not_checked": f"no pinned package holds the module {top}"}
    known = 0
    while True:
        try:
            return said | _checked_call(named, Sources(pinned.read))
        except ElsewhereError as error:
            elsewhere, known = str(error), len(pinned.read)
        except (NotFoundError, UnfitError, RecursionError) as error:
            raise UserError(
                f"{place}: `{named.place}: {named.path}`: {error}; correct the entry, or its pin"
            ) from error
        if not pinned.has(elsewhere) or len(pinned.read) == known:
            return said | {
                "not_checked": f"it goes on in {elsewhere}, which is in no pinned package"
            }


def _checked_call(named: Named, sources: Sources) -> dict[str, Any]:
    """Where an import path leads to, and what takes the arguments.

    Raises:
        NotFoundError, UnfitError: it leads nowhere, or does not take them.
        ElsewhereError: it leads out of the sources.
    """
    found = sources.find(named.path)
    said: dict[str, Any] = {"package": str(found.distribution.pin), "source": found.place}
    if named.keywords is None:
        return said
    takes = parameters(sources, found)
    loose = check(named, takes)
    said["takes"] = takes.place
    return said | ({"taken_by_kwargs": list(loose)} if loose else {})


def _texts(value: Any) -> Iterator[str]:
    """The texts among the arguments of a call, but for import paths and placeholders."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            if key not in ("call", "object"):
                yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, str) and "${" not in value and len(value) >= _SHORTEST_TEXT:
        yield value


def _occurs(text: str, read: list[Distribution]) -> str | None:
    """Where a package has a text in quotation marks or as a word of a table, upper case or not."""
    wanted = text.lower()
    for distribution in read:
        for file, content in distribution.members.items():
            if wanted.encode() not in content.lower():
                continue
            lines = content.decode(errors="replace").lower().splitlines()
            for number, line in enumerate(lines, 1):
                if any(f"{q}{wanted}{q}" in line for q in "'\"") or f"{wanted}:" in line.split():
                    return f"{file}:{number}"
    return None


# --- the file ------------------------------------------------------------------------------------


def read_record(path: Path) -> dict[str, Any]:
    """The entries of a record, by name; none where there is no file.

    Raises:
        UserError: the file is no record.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if (content["format"], content["version"]) != (FORMAT, VERSION):
            raise KeyError("format")
        entries: dict[str, Any] = content["entries"]
        return dict(entries)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: no record of `pesbench verify-entries`; delete it and run that again"
        ) from error


def write_record(path: Path, entries: Mapping[str, Any]) -> None:
    """Write a record, entries sorted by name."""
    ordered = {name: entries[name] for name in sorted(entries)}
    write_json(path, {"format": FORMAT, "version": VERSION, "entries": ordered})


def stale(entries: Mapping[str, ModelEntry], record: Mapping[str, Any]) -> list[str]:
    """What the record does not say of the entries as they are, one line each."""
    wanted = {name: checked(one) for name, one in entries.items() if is_verifiable(one)}
    return [
        *(f"{name}: not in the record" for name in sorted(set(wanted) - set(record))),
        *(f"{name}: in the record alone" for name in sorted(set(record) - set(wanted))),
        *(
            f"{name}: changed since it was verified"
            for name in sorted(set(wanted) & set(record))
            if record[name].get("checked") != wanted[name]
        ),
    ]
