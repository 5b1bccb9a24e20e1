"""Weight files: read once and whole, so that what is loaded is what was compared."""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pesbench.core.errors import UserError
from pesbench.core.family import Family
from pesbench.models.addresses import MOST_BYTES
from pesbench.models.weight_file import defect


@dataclass(frozen=True)
class Weights:
    """The content of a weight file, whose checksum was compared.

    Attributes:
        path: Path that it was read from, for messages.
        sha256: Checksum of the content.
        content: All of it.
        cure: What to do about a file that holds something else, for messages.
    """

    path: Path
    sha256: str
    content: bytes
    cure: str

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


def read_weights(path: Path, sha256: str | None, family: Family) -> Weights:
    """A weight file, read once: what is loaded is what was compared.

    Args:
        path: Path of the file.
        sha256: Checksum that it must have, or None.
        family: The family that the weights belong to.

    Raises:
        UserError: the file is missing, another one or no weights of the family, or nothing says
            which file was agreed to.
    """
    assert family.weights is not None
    if sha256 is None and family.runs_code:
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
    if wrong := defect(io.BytesIO(content), family.weights):
        raise UserError(f"{path} {wrong}; {family.weights.cure}")
    return Weights(path, found, content, family.weights.cure)


def check_size(path: Path) -> None:
    """Refuse a file that is too large to be read whole, before it is.

    Args:
        path: A file that exists.

    Raises:
        UserError: one line.
    """
    if path.stat().st_size > MOST_BYTES:
        raise UserError(f"{path}: larger than {MOST_BYTES / 1e9:g} GB, no weights; give another")


def check_weights(family: Family, path: Path) -> None:
    """Refuse a file that cannot be a family's weights, without importing its package.

    Args:
        family: One with weights.
        path: A file that exists.

    Raises:
        UserError: one line with the file, what it is and the cure.
    """
    assert family.weights is not None
    with path.open("rb") as file:
        wrong = defect(file, family.weights)
    if wrong is not None:
        raise UserError(f"{path} {wrong}; {family.weights.cure}")
