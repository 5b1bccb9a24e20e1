"""Names of models, scan sets, scans and systems: what is fit for one, and globs that choose some.

The name of a model or a scan set becomes a folder, a file and a word of a command.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from pesbench.core.errors import UserError

LONGEST_NAME = 120  # bytes, of a scan or system; file systems take 255, and suffixes are added
SHOWN_NAMES = 12  # of those known, in a message
LONGEST_MODEL = 100  # characters, of a model or scan set
# what a run writes beside the folders of its models, and beside those of its scan sets
IN_RESULTS = frozenset(
    {"benchmarks", "explorer", "inputs", "logs", "reference", "relax", "sections"}
)
BESIDE_RESULTS = frozenset({"environments", "weights"})
_FIT = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9._+-]*")
_FILE = re.compile(r"\.(csv|extxyz|h5|html|json|md|parquet|part|png|tsv|txt|ya?ml)$", re.IGNORECASE)


def why_unfit(name: object, taken: Iterable[str] = IN_RESULTS) -> str:
    """Why something cannot be the name of a model or a scan set, with the cure, or "".

    Args:
        name: The name as it was read.
        taken: Names of what the workflow itself writes at that place.
    """
    if not isinstance(name, str) or not _FIT.fullmatch(name):
        return "is unfit for a path; use letters a to z, digits and . _ + - only, no . or - first"
    if len(name) > LONGEST_MODEL:
        return f"has {len(name)} characters; use at most {LONGEST_MODEL}"
    if name.lower() in taken or _FILE.search(name):
        return "is the name of something that the workflow writes; take another"
    if name.endswith("."):
        return "ends with a dot, which some file systems drop; take another"
    return ""


def alike(names: Iterable[str]) -> tuple[str, str] | None:
    """Two names that differ in upper and lower case only, which is one file on some systems."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            return other, name
    return None


def closest(name: str, known: Iterable[str]) -> str:
    """A hint at the most similar known name."""
    known = sorted(known)
    match = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    if match:
        return f"did you mean {match[0]!r}?"
    shown = ", ".join(known[:SHOWN_NAMES])
    return f"known: {shown}" + (
        f" and {len(known) - SHOWN_NAMES} more" if known[SHOWN_NAMES:] else ""
    )


def select(patterns: Sequence[str], names: Iterable[str], what: str) -> list[str]:
    """Names that match any of some globs, sorted.

    Raises:
        UserError: a pattern matches nothing.
    """
    names = sorted(names)
    chosen: set[str] = set()
    for pattern in patterns:
        matched = {name for name in names if fnmatchcase(name, pattern)}
        if not matched:
            raise UserError(f"{what}: {pattern!r} matches nothing; {closest(pattern, names)}")
        chosen |= matched
    return sorted(chosen)


def is_path_name(name: str) -> bool:
    """Whether a name can be a folder or an HDF5 group: letters, digits and . _ + - only.

    None of . - + begins it: such a name is hidden, an option or the formula of a spreadsheet.
    """
    fit = bool(name) and name[0] not in ".-+" and all(c.isalnum() or c in "._+-" for c in name)
    return fit and len(name.encode()) <= LONGEST_NAME
