"""Versions of an interpreter and of the packages that it finds.

Run as `python -I software.py PACKAGE...` by the interpreter of another environment, which prints
them as JSON. It needs the standard library only.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those of some packages that are installed."""
    found = {}
    for package in dict.fromkeys(packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def software(packages: dict[str, str]) -> dict[str, Any]:
    """Python and the platform, beside the versions of packages."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
    }


if __name__ == "__main__":
    print(json.dumps(software(versions(sys.argv[1:]))))
