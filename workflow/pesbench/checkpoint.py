"""Checkpoints: pieces of a result, each written whole, from which a killed command continues."""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pesbench.errors import UserError, host_failure
from pesbench.storage import atomic_path, write_json

logger = logging.getLogger("pesbench")


class Checkpoint:
    """A folder of numbered pieces beside the file they will become.

    Each piece is an `.npz` that exists whole or not at all. The settings that decide the numbers
    are stored first; pieces made under other settings are not used.

    Args:
        target: The file that is being made; the folder is `<target>.checkpoint`.
        settings: JSON-serialisable; everything that decides what the pieces hold.
    """

    def __init__(self, target: Path, settings: dict[str, Any]) -> None:
        self.folder = target.with_name(target.name + ".checkpoint")
        self._settings_file = self.folder / "settings.json"
        settings = json.loads(json.dumps(settings))
        if self.folder.exists() and not self._settings_file.is_file():
            shutil.rmtree(self.folder)  # left by a kill in the middle of a removal
        if self._settings_file.is_file():
            found = json.loads(self._settings_file.read_text())
            different = sorted(
                key for key in settings.keys() | found.keys() if settings.get(key) != found.get(key)
            )
            if different:
                logger.warning(
                    "%s: made with another %s; starting anew", self.folder, ", ".join(different)
                )
                shutil.rmtree(self.folder)
        if not self._settings_file.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self._settings_file, settings)
        self.count = 0
        while self._piece(self.count).is_file():
            self.count += 1

    def _piece(self, index: int) -> Path:
        return self.folder / f"{index:06d}.npz"

    def append(self, **arrays: NDArray[Any]) -> None:
        """Store the next piece."""
        with atomic_path(self._piece(self.count)) as part, part.open("wb") as file:
            np.savez(file, **arrays)
        self.count += 1

    def read(self, index: int) -> dict[str, NDArray[Any]]:
        """A piece by its number.

        Raises:
            UserError: it is damaged.
            HostError: the system failed, and not the piece.
        """
        path = self._piece(index)
        try:
            with np.load(path) as piece:
                return {key: piece[key] for key in piece.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            if (lost := host_failure(error, path)) is not None:
                raise lost from error
            raise UserError(
                f"{path}: damaged ({' '.join(str(error).split())}); remove {self.folder} to start "
                "this file anew"
            ) from error

    def read_note(self, name: str) -> Any | None:
        """A JSON note stored beside the pieces, or None."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text()) if path.is_file() else None

    def write_note(self, name: str, value: Any) -> None:
        """Store a JSON note beside the pieces."""
        write_json(self.folder / f"{name}.json", value)

    def clear(self) -> None:
        """Forget all pieces and notes, and keep the settings."""
        kept = json.loads(self._settings_file.read_text())
        self.remove()
        self.folder.mkdir(parents=True)
        write_json(self._settings_file, kept)
        self.count = 0

    def remove(self) -> None:
        """Remove everything, once the file it was for exists."""
        # without settings the pieces count for nothing, wherever a kill ends the rest
        self._settings_file.unlink()
        shutil.rmtree(self.folder)
