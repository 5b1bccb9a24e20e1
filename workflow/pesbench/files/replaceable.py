"""Whether a command may write or remove a file of geometries without a loss for its user."""

from __future__ import annotations

from pathlib import Path


def may_be_replaced(path: Path, key: str) -> bool:
    """Whether nothing but frames of ours is lost where a file is written or removed.

    Args:
        path: An extxyz file, which need not exist.
        key: Key of the comment line that every frame of the command has.
    """
    if not path.is_file() or not path.stat().st_size:
        return True
    with path.open("rb") as file:
        file.readline(100)  # the number of atoms
        return f" {key}=".encode() in file.readline(1000)
