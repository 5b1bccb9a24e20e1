"""Checkpoints: pieces of a result, each written whole, from which a killed command continues."""

from __future__ import annotations

import json
import logging
import math
import shutil
import zipfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0
from numpy.typing import NDArray

from pesbench.core.errors import FileError, reading
from pesbench.files.atomic import atomic_path, write_json

logger = logging.getLogger("pesbench")
Arrays = dict[str, NDArray[Any]]
T = TypeVar("T")


class Checkpoint:
    """A folder of numbered pieces beside the file they will become.

    Each piece is an `.npz` that exists whole or not at all. The settings that decide the numbers
    are stored first; pieces made under other settings are not used. With a piece may lie the state
    after it, which the next one replaces.

    Args:
        target: The file that is being made; the folder is `<target>.checkpoint`.
        settings: JSON-serialisable; everything that decides what the pieces hold.

    Raises:
        UserError: the settings that are there are damaged.
    """

    def __init__(self, target: Path, settings: dict[str, Any]) -> None:
        self.folder = checkpoint_folder(target)
        self._settings_file = self.folder / "settings.json"
        self._settings = json.loads(json.dumps(settings))
        found = stored_settings(target)
        if self.folder.exists() and found is None:
            shutil.rmtree(self.folder)  # left by a kill in the middle of a removal
        if found is not None:
            different = sorted(
                key
                for key in self._settings.keys() | found.keys()
                if self._settings.get(key) != found.get(key)
            )
            if different:
                logger.warning(
                    "%s: made with another %s; starting anew", self.folder, ", ".join(different)
                )
                shutil.rmtree(self.folder)
        if not self._settings_file.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self._settings_file, self._settings)
        self.count = 0
        while self._piece(self.count).is_file():
            self.count += 1

    def _piece(self, index: int) -> Path:
        return self.folder / f"{index:06d}.npz"

    def _state(self, index: int) -> Path:
        return self.folder / f"state_{index:06d}.npz"

    def append(self, **arrays: NDArray[Any]) -> None:
        """Store the next piece."""
        _write_arrays(self._piece(self.count), arrays)
        self.count += 1

    def append_with_state(self, state: Mapping[str, NDArray[Any]], **arrays: NDArray[Any]) -> None:
        """Store the next piece, and the state after it in the place of the one before.

        Args:
            state: What the command goes on from, see `read_state`.
            arrays: The piece.
        """
        # the state first: with the piece it counts, without it is written again
        _write_arrays(self._state(self.count), state)
        self.append(**arrays)
        self._state(self.count - 2).unlink(missing_ok=True)

    @overload
    def read(self, index: int) -> Arrays: ...
    @overload
    def read(self, index: int, understand: Callable[[Arrays], T]) -> T: ...
    def read(self, index: int, understand: Callable[[Arrays], Any] = dict) -> Any:
        """A piece by its number.

        Args:
            index: Number of the piece, from 0.
            understand: What is made of its arrays, and no more: an error in it is a fault of the
                piece. `stored_array` looks at one of them.

        Raises:
            UserError: it is damaged, or something else.
            HostError: the system failed, and not the piece.
        """
        return self._understood(self._piece(index), understand)

    def _understood(self, path: Path, understand: Callable[[Any], Any]) -> Any:
        with self.blaming(path):
            return understand(_load(path))

    def blaming(self, path: Path) -> AbstractContextManager[None]:
        """Context for reading a file of the checkpoint: any error becomes one line."""
        return reading(path, "damaged", _cure(self.folder))

    def verify(self) -> None:
        """Read every piece, so that a damaged one is known before hours of work and not after them.

        Raises:
            UserError: one is damaged.
            HostError: the system failed, and not the piece.
        """
        for index in range(self.count):
            self.read(index)

    def read_state(self, understand: Callable[[Arrays], Any] = dict) -> Any:
        """The state after the last piece, of `append_with_state`; see `read`.

        Raises:
            UserError: it is damaged, something else, or not there.
            HostError: the system failed, and not the state.
        """
        return self._understood(self._state(self.count - 1), understand)

    def read_note(self, name: str, understand: Callable[[Any], Any] = lambda note: note) -> Any:
        """A JSON note stored beside the pieces, or None; see `read`.

        Raises:
            UserError: it is damaged, or something else.
            HostError: the system failed, and not the note.
        """
        path = self.folder / f"{name}.json"
        if not path.is_file():
            return None
        with self.blaming(path):
            return understand(json.loads(path.read_text(encoding="utf-8")))

    def write_note(self, name: str, value: Any) -> None:
        """Store a JSON note beside the pieces."""
        write_json(self.folder / f"{name}.json", value)

    def clear(self) -> None:
        """Forget all pieces and notes, and keep the settings."""
        self.remove()
        self.folder.mkdir(parents=True)
        write_json(self._settings_file, self._settings)
        self.count = 0

    def remove(self) -> None:
        """Remove everything, once the file it was for exists."""
        # without settings the pieces count for nothing, wherever a kill ends the rest
        self._settings_file.unlink()
        shutil.rmtree(self.folder)


def checkpoint_folder(target: Path) -> Path:
    """Path of the checkpoint of a file."""
    return target.with_name(target.name + ".checkpoint")


def stored_settings(target: Path) -> dict[str, Any] | None:
    """The settings of the checkpoint of a file, or None where there is none.

    Args:
        target: The file that was being made.

    Raises:
        UserError: they are damaged.
        HostError: the system failed, and not the settings.
    """
    folder = checkpoint_folder(target)
    path = folder / "settings.json"
    if not path.is_file():
        return None
    with reading(path, "damaged", _cure(folder)):
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            reason = f"damaged (holds a {type(found).__name__})"
            raise FileError(path, reason, _cure(folder))
    return found


def stored_array(
    arrays: Arrays, name: str, kind: str, shape: tuple[int | None, ...] = ()
) -> NDArray[Any]:
    """One array of a piece.

    Args:
        arrays: Arrays of the piece.
        name: Name of the array.
        kind: `f`, `i`, `b` or `U`, as NumPy's `dtype.kind`.
        shape: Required shape; None stands for any size.

    Raises:
        KeyError, ValueError: it is missing or something else.
    """
    found = arrays[name]
    # an empty list of whatever is stored as numbers
    right = found.dtype.kind == kind or (not found.size and found.dtype.kind == "f")
    fits = len(shape) == found.ndim and all(
        n in (None, m) for n, m in zip(shape, found.shape, strict=True)
    )
    if not right or not fits:
        raise ValueError(f"`{name}` holds {found.dtype} of the shape {found.shape}")
    return found


# --- one file ------------------------------------------------------------------------------------


def _write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)


def _load(path: Path) -> Arrays:
    """The arrays of a file, none of which declares more than the file holds."""
    with zipfile.ZipFile(path) as stored:
        for member in stored.infolist():
            if member.compress_type != zipfile.ZIP_STORED or not member.filename.endswith(".npy"):
                raise ValueError(f"{member.filename!r} is no array as they are stored here")
            with stored.open(member) as file:
                version = np.lib.format.read_magic(file)
                header = {(1, 0): read_array_header_1_0, (2, 0): read_array_header_2_0}[version]
                shape, _, dtype = header(file)
                held = member.file_size - file.tell()
            if dtype.hasobject or math.prod(shape) * dtype.itemsize != held:
                raise ValueError(f"{member.filename!r} declares what it does not hold")
    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def _cure(folder: Path) -> str:
    return f"remove {folder} to start this file anew"
