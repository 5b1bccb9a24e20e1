"""A path that somebody has given: in a config, in the registry or on a command line."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from pesbench.errors import UserError

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # surrogates: bytes that are no UTF-8


def given_path(text: str) -> Path:
    """The path that a text means.

    `~` is a home folder. Environment variables are no part of it: a `$` is a character of a name.
    What begins with a dash becomes absolute, so that no command takes it for an option.

    Raises:
        UserError: no such home folder, or a character that no line of a log can show.
    """
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
    """The same as the type of an argument of a command."""
    try:
        return given_path(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
