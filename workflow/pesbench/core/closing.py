"""Base of objects that are closed at the end of a `with` block."""

from __future__ import annotations

from typing import Self


class Closing:
    """What a `with` block opens and closes."""

    def close(self) -> None:
        """Give back what is held: files, processes."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
