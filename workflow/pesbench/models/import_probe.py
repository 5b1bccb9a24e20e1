"""Look whether import paths lead somewhere and whether what they lead to takes its arguments.

Run as `python -P import_probe.py NUMBER PATHS` by `import_check.check_imports`. PATHS is a JSON
list of `models.calls.Named`; the verdict is written as JSON to the inherited file NUMBER. Nothing
but the standard library is imported, so that what an import finds or breaks is its own.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

MISSING, REFUSED, FAILED = "missing", "refused", "failed"


def _verdict(named: dict[str, Any]) -> tuple[str, str] | None:
    """What is wrong with an import path; None if nothing is."""
    module, _, names = named["path"].partition(":")
    try:
        found = importlib.import_module(module)
    except BaseException as error:
        kind = MISSING if isinstance(error, ImportError) else FAILED
        return kind, f"{type(error).__name__}: {error}"
    where = repr(module)
    for name in names.split("."):
        if not hasattr(found, name):
            return MISSING, f"{where} has no {name!r}"
        found, where = getattr(found, name), repr(name)
    return None if named["keywords"] is None else _unfit(found, named)


def _unfit(function: Any, named: dict[str, Any]) -> tuple[str, str] | None:
    if not callable(function):
        return MISSING, f"it is a {type(function).__name__}, which cannot be called"
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # compiled code need not tell
        return None
    keywords = dict.fromkeys(named["keywords"])
    try:
        if named["positional"] is None:
            signature.bind_partial(**keywords)
        else:
            signature.bind(*[None] * named["positional"], **keywords)
    except TypeError as error:
        takes = ", ".join(map(str, signature.parameters)) or "none"
        return REFUSED, f"{error}; it takes: {takes}"
    return None


def main() -> None:
    """Write the first thing that is wrong, if any, and end without waiting for threads."""
    sys.path.append(str(Path.cwd()))  # last: see orchestration/surroundings.py
    number, paths = int(sys.argv[1]), json.loads(sys.argv[2])
    sys.argv = [""]
    answer: dict[str, str] = {}
    for named in paths:
        try:
            found = _verdict(named)
        except BaseException as error:  # its text cannot be had, or an attribute fails
            found = FAILED, type(error).__name__
        if found is not None:
            answer = {"place": named["place"], "path": named["path"]}
            answer |= {"kind": found[0], "text": found[1]}
            break
    os.write(number, json.dumps(answer).encode())
    os._exit(0)


if __name__ == "__main__":
    main()
