"""A path that somebody has given: in a config, in the registry or on a command line."""

from __future__ import annotations

import argparse
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pesbench.core.errors import UserError, check_writable

MODELS_FILE = "config/models.yaml"  # the registry of models, unless another is named
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # surrogates: bytes that are no UTF-8
_STREAM = "a device, a pipe or a socket"


def given_path(text: str) -> Path:
    """The path that a text means.

    `~` is a home folder. Environment variables are no part of it: a `$` is a character of a name.
    What begins with a dash becomes absolute, so that no command takes it for an option.

    Raises:
        UserError: no such home folder, an address, or a character that no line of a log can show.
    """
    if "://" in text:
        raise UserError(f"{text!r} is an address; give the path of a file or folder here")
    if _CONTROL.search(text):
        raise UserError(f"{text!r} holds characters that cannot be printed; rename it")
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"{text!r}: the home folder is not known; write the path in full"
        ) from error
    return path.absolute() if str(path).startswith("-") else path


def path_or_address(text: str) -> str:
    """A path as it is meant, as text; an address, or anything with a scheme, as it is."""
    return text if "://" in text else str(given_path(text))


def path_argument(text: str) -> Path:
    """`given_path` as the type of an argument of a command."""
    try:
        return given_path(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def real_path(path: Path) -> Path:
    """The path without symbolic links, as far as they lead: one that leads to itself stays."""
    return Path(os.path.realpath(path))  # Path.resolve() raises RuntimeError there


def check_no_stream(path: Path) -> None:
    """Refuse a device, a pipe or a socket, whose content may never come or never end.

    Raises:
        UserError: it is one. What is missing is for its reader to tell.
    """
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except (OSError, ValueError):
        return
    if kind not in (stat.S_IFREG, stat.S_IFDIR):
        raise UserError(f"{path}: is {_STREAM}; give the name of a file")


# --- what a command writes -----------------------------------------------------------------------


def file_to_write(path: Path) -> Path:
    """The file that a command writes under a name: the target of a symbolic link.

    Raises:
        UserError: something else than a file stands there, a device or a folder, or nothing can.
    """
    try:
        place = Path(os.path.realpath(path)) if path.is_symlink() else path
        kind = stat.S_IFMT(place.stat().st_mode)
    except FileNotFoundError:
        return place
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); give the name of another file"
        ) from error
    if kind != stat.S_IFREG:
        what = "a folder" if kind == stat.S_IFDIR else _STREAM
        raise UserError(f"{path}: is {what}, which no file replaces; give the name of a file")
    return place


def check_folder(option: str, path: Path) -> None:
    """Refuse a folder that a command cannot write into.

    Args:
        option: Its option.
        path: The folder; need not exist.

    Raises:
        UserError: a file stands there, or in place of a folder above; naming the option.
        HostError: see `check_writable`.
    """
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            told = "is no folder" if place == path else f"lies below {place}, which is no folder"
            raise UserError(f"--{option} {path}: {told}; give the name of a folder")
    check_writable(path)


def check_outputs(outputs: Mapping[str, Path], inputs: Iterable[Any]) -> None:
    """Refuse a command that would write over what it reads, or what is no file, or read a stream.

    Args:
        outputs: Files to write, by option.
        inputs: What else the command is given; what is no path is passed over.

    Raises:
        UserError: naming the option.
    """
    read = [path for path in inputs if isinstance(path, Path)]
    for path in read:
        check_no_stream(path)
    for option, path in outputs.items():
        place = file_to_write(path)
        check_writable(place.parent)
        others = [other for name, other in outputs.items() if name != option]
        for part in (place, place.with_name(place.name + ".part")):
            if any(_same(part, other) for other in (*read, *others)):
                raise UserError(
                    f"--{option.replace('_', '-')} {path}: the command is given this file a second "
                    "time, and would write over it; give the name of another file"
                )


def _same(one: Path, other: Path) -> bool:
    if one.absolute() == other.absolute():
        return True
    try:
        return one.samefile(other)
    except OSError:
        return False
