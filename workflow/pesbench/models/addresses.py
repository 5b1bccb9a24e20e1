"""Addresses of weights, and where in the cache their files and pins lie."""

from __future__ import annotations

import hashlib
import json
import os
import re
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from pesbench.core.errors import UserError, reading
from pesbench.core.paths import given_path
from pesbench.core.text import quoted

CACHE_VARIABLE = "PESBENCH_CACHE"
_LONGEST_NAME = 100
MOST_BYTES = 20 * 10**9
_LONGEST_ADDRESS = 2000  # it stands in messages


@dataclass(frozen=True)
class Pin:
    """Content of an address at its first use.

    Attributes:
        address: Address of the file.
        sha256: sha256 of its content.
        size: Size in bytes.
        date: Date of the first use, UTC, ISO 8601.
    """

    address: str
    sha256: str
    size: int
    date: str


def is_address(text: object) -> bool:
    """Whether something that may be a path is an http(s) address."""
    return isinstance(text, str) and text.lower().startswith(("http://", "https://"))


def file_sha256(path: Path) -> str:
    """The sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_path(address: str) -> Path:
    """Absolute path of the download of an address: the same for the same address.

    Raises:
        UserError: there is no such folder to be had, as without a home.
    """
    last = urllib.parse.unquote(urllib.parse.urlsplit(address).path).rpartition("/")[2]
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", last)[-_LONGEST_NAME:] or "weights"
    digest = hashlib.sha256(address.encode()).hexdigest()[:12]
    return cache_folder() / f"{digest}-{name}"


def cache_folder() -> Path:
    """The user's folder for what is kept between runs, outside of any.

    Raises:
        UserError: there is no such folder to be had, as without a home.
    """
    try:
        folder = given_path(os.environ.get(CACHE_VARIABLE) or "~/.cache/pesbench/weights")
    except UserError as error:
        raise UserError(f"{CACHE_VARIABLE}: {error}") from error
    return folder.absolute()


def pin_path(path: Path) -> Path:
    """Path of the pin of a file in the cache."""
    return path.with_name(path.name + ".json")


def read_pin(path: Path) -> Pin | None:
    """The pin of a file in the cache, or None if it has none.

    Raises:
        UserError: the pin is no pin.
    """
    place = pin_path(path)
    with reading(place, "is no pin", f"delete it to pin {path.name} anew"):
        if not place.exists():
            return None
        pin = Pin(**json.loads(place.read_text(encoding="utf-8")))
        if re.fullmatch("[0-9a-f]{64}", pin.sha256) is None:
            raise ValueError("`sha256` is no sha256")
    return pin


def why_no_address(address: str) -> str:
    """Why an address cannot be downloaded or shall not be written into records, or ""."""
    try:
        parts = urllib.parse.urlsplit(address)
        parts.port  # noqa: B018 - is parsed here
    except ValueError as error:
        return f"is not valid ({quoted(error)}); correct it"
    if parts.username is not None or parts.password is not None:
        return (
            "holds a user name or password, which would stand in messages and records; download "
            "the file by other means and give its path"
        )
    if parts.scheme.lower() == "file":
        return ""
    if not parts.hostname:
        return "names no host; correct it"
    if len(address) > _LONGEST_ADDRESS:
        return f"is longer than {_LONGEST_ADDRESS} characters; correct it"
    if not address.isascii() or not address.isprintable() or " " in address:
        return "holds a space or a character that addresses write as %XX; correct it"
    return ""


def without_secret(address: str) -> str:
    """An address for a message, without user name and password."""
    return quoted(re.sub(r"//[^/?#]*@", "//***@", address))
