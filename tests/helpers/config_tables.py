"""The tables of keys in config/README.md, made from the dataclasses that declare the keys.

    python tests/helpers/config_tables.py

writes them anew, each between its two comments; a test compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pesbench.core.family import EntrySettings, Family, families
from pesbench.core.settings import Key, Setting, keys, table

README = Path(__file__).parents[2] / "config" / "README.md"


def blocks() -> dict[str, str]:
    """What stands between the comments, by the name in them."""
    known = ", ".join(f"`{name}`" for name in families())
    about = Setting(f"Which adapter loads the model: {known}.")
    family = Key("family", about, str, many=False, optional=False, default=None)
    found = {"entry": table([family, *keys(EntrySettings)])}
    for name, one in families().items():
        found[f"family {name}"] = f"**Family `{name}`.** {one.about}\n\n{table(_own(one))}"
    return found


def _own(family: Family) -> Iterator[Key]:
    """The keys of a family that not every family has, those of some kinds with their names."""
    shared = list(keys(family.settings))
    yield from (key for key in shared if key not in keys(EntrySettings))
    further: dict[Key, list[str]] = {}
    for kind, settings in family.kinds.items():
        for key in keys(settings):
            if key not in shared:
                further.setdefault(key, []).append(f"`{kind}`")
    for key, kinds in further.items():
        of_kinds = f"Of {', '.join(kinds)}: {key.about.help[0].lower()}{key.about.help[1:]}"
        yield replace(key, about=replace(key.about, help=of_kinds))


def written(text: str) -> str:
    """The text with the blocks as they should be."""
    for name, block in blocks().items():
        begin, end = f"<!-- keys of {name} -->\n", "<!-- end -->"
        text, count = re.subn(
            f"{re.escape(begin)}.*?{end}",
            lambda _, new=f"{begin}{block}{end}": new,
            text,
            flags=re.DOTALL,
        )
        if count != 1:
            raise ValueError(f"{README}: give `{begin.strip()}` and `{end}` once each for {name!r}")
    return text


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
