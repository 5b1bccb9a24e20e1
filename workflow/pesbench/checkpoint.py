"""Checkpoints: pieces of a result, each written whole, from which a killed command continues."""

from __future__ import annotations

import errno
import json
import logging
import shutil
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pesbench.errors import UserError, host_failure
from pesbench.storage import atomic_path, write_json

logger = logging.getLogger("pesbench")
_OF_CONTENT = (errno.EINVAL, errno.ENOENT)  # a damaged offset leads nowhere; a state is missing
_DAMAGE = (  # what NumPy, zipfile and json raise for bytes that are not what was written
    OSError,
    ValueError,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


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

    def read(self, index: int) -> dict[str, NDArray[Any]]:
        """A piece by its number.

        Raises:
            UserError: it is damaged.
            HostError: the system failed, and not the piece.
        """
        return _read_arrays(self._piece(index), self.folder)

    def verify(self) -> None:
        """Read every piece, so that a damaged one is known before hours of work and not after them.

        Raises:
            UserError: one is damaged.
            HostError: the system failed, and not the piece.
        """
        for index in range(self.count):
            self.read(index)

    def read_state(self) -> dict[str, NDArray[Any]]:
        """The state after the last piece, of `append_with_state`.

        Raises:
            UserError: it is damaged, or not there.
            HostError: the system failed, and not the state.
        """
        return _read_arrays(self._state(self.count - 1), self.folder)

    def read_note(self, name: str) -> Any | None:
        """A JSON note stored beside the pieces, or None.

        Raises:
            UserError: it is damaged.
            HostError: the system failed, and not the note.
        """
        path = self.folder / f"{name}.json"
        return _read_json(path, self.folder) if path.is_file() else None

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
    """Where the checkpoint of a file lies."""
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
    found = _read_json(path, folder)
    if not isinstance(found, dict):
        raise _damaged(path, folder, f"holds a {type(found).__name__}")
    return found


# --- one file ------------------------------------------------------------------------------------


def _write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)


def _read_arrays(path: Path, folder: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path) as stored:
            return {key: stored[key] for key in stored.files}
    except _DAMAGE as error:
        raise _failure(error, path, folder) from error


def _read_json(path: Path, folder: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except _DAMAGE as error:
        raise _failure(error, path, folder) from error


def _failure(error: Exception, path: Path, folder: Path) -> Exception:
    """Who is to blame for a file that could not be read: the system, or what it holds."""
    of_content = isinstance(error, OSError) and error.errno in _OF_CONTENT
    lost = None if of_content else host_failure(error, path)
    return lost or _damaged(path, folder, " ".join(str(error).split()) or type(error).__name__)


def _damaged(path: Path, folder: Path, reason: str) -> UserError:
    return UserError(f"{path}: damaged ({reason}); remove {folder} to start this file anew")
