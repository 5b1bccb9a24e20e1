"""Weights that a package carries: code that was installed like the package itself."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pesbench.core.errors import UserError
from pesbench.core.family import Family
from pesbench.models.weights import Weights, read_weights


def packaged_weights(path: Path, wanted: str | None, family: Family, package: str) -> Weights:
    """The content of a weight file that lies in an installed package.

    Args:
        path: Path of the file.
        wanted: Checksum that it must have, or None.
        family: The family that the weights belong to.
        package: Name and version of the package, for the message.

    Raises:
        UserError: the file is missing or another one.
    """
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(
            f"{path}: {package} carries no such file ({error.strerror}); give a file as `weights`"
        ) from error
    if wanted not in (None, found):
        raise UserError(
            f"{path}: {package} carries another file of this name, with sha256 {found}; install "
            "the version that the entry was written for, or correct `sha256`"
        )
    return read_weights(path, found, family)
