"""Versions of an interpreter and of the packages that it finds.

Run as `python -I software.py PACKAGE...` by the interpreter of another environment, which prints
them as JSON. It needs the standard library only.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those of some packages that are installed."""
    found = {package: _version(package) for package in dict.fromkeys(packages)}
    return {package: number for package, number in found.items() if number is not None}


@cache  # each file and figure asks for all of them, and to look takes milliseconds
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def software(packages: dict[str, str]) -> dict[str, Any]:
    """Python and the platform, beside the versions of packages."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
    }


if __name__ == "__main__":
    print(json.dumps(software(versions(sys.argv[1:]))))
