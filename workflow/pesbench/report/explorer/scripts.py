"""Data as scripts that a page loads from disk, where browsers allow no other way to read a file.

What is written comes from anybody. It is data alone: JSON in one string, in which no character
could end the string or open a tag, and text is `printable`. It may be published, so that of the
folders of the machine that made it no text tells.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pesbench.core.exploring import Packed
from pesbench.core.text import lines, without_folders

FUNCTION = "pesbenchData"  # that the page defines, which takes a name and a value


def plain(value: Any) -> Any:
    """A value as JSON has it: text that can be shown; `"inf"` for what JSON has no number for.

    Raises:
        TypeError: it holds something else than text, numbers, truth values, lists and mappings.
    """
    if value is None or isinstance(value, bool | np.bool_):
        return value if value is None else bool(value)
    if isinstance(value, Packed):
        return str(value)
    if isinstance(value, str):
        return without_folders(lines(value))
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        if math.isnan(number):
            return None
        return number if math.isfinite(number) else str(number)
    if isinstance(value, Mapping):
        return {lines(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    raise TypeError(f"{type(value).__name__} is no data of a script")


def script(name: str, value: Any) -> str:
    """The script that gives a page a value.

    The value is parsed as JSON and not read as a literal of the language, in which a key
    `__proto__` is no key.
    """
    text = json.dumps(plain(value), allow_nan=False, separators=(",", ":"))  # ASCII alone
    for one in "<>'&":
        text = text.replace(one, f"\\u{ord(one):04x}")  # none of them stands outside a string
    return f"{FUNCTION}({json.dumps(name)},'" + text.replace("\\", "\\\\") + "');\n"


def write_script(folder: Path, name: str, value: Any) -> None:
    """Write `<name>.js` into a folder."""
    (folder / f"{name}.js").write_text(script(name, value), encoding="ascii")
