"""Wheels that pip installs without network and without building anything."""

from __future__ import annotations

import zipfile
from pathlib import Path


def write_wheel(folder: Path, name: str, number: str, files: dict[str, str]) -> Path:
    """Write a wheel.

    Args:
        folder: Where to.
        name: Name of the package.
        number: Its version.
        files: Content of its files by path.
    """
    info = f"{name}-{number}.dist-info"
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    } | files
    record = "".join(f"{inside},,\n" for inside in [*files, f"{info}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{number}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inside, text in (files | {f"{info}/RECORD": record}).items():
            wheel.writestr(inside, text)
    return path


def write_needed(folder: Path, versions: dict[str, str], places: list[str]) -> None:
    """Write wheels of packages that are installed elsewhere, and are found there.

    Args:
        folder: Where to.
        versions: Version of each package.
        places: Folders in which they are installed.
    """
    for name, number in versions.items():
        write_wheel(folder, name, number, {f"{name}_there.pth": "\n".join(places)})
