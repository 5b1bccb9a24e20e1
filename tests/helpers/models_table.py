"""The table of models in docs/models.md, made from the registry and from the results kept here.

    python tests/helpers/models_table.py

writes it anew, between its two comments; a test compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pesbench.core.family import MODEL, family_of
from pesbench.models.models_file import read_models
from pesbench.models.registry import ModelEntry

REPO = Path(__file__).parents[2]
PAGE = REPO / "docs" / "models.md"
_BEGIN, _END = "<!-- models -->\n", "<!-- end -->"
_TITLES = (
    "model", "family", "level of theory", "training data", "elements", "conservative",
    "charge, spin", "licence", "needs", "ran here",
)  # fmt: skip
_OWN_FOLDER = "resources/"  # weights that are trained in this project


def public() -> dict[str, ModelEntry]:
    """The entries of public models and methods, in the order of the registry."""
    entries = read_models(REPO / "config" / "models.yaml")
    return {
        name: entry
        for name, entry in entries.items()
        # a variant has the weights of the entry that it names
        if _is_public(entry) and _is_public(entries[entry.settings.get("variant_of", name)])
    }


def _is_public(entry: ModelEntry) -> bool:
    family = family_of(entry.family)
    ours = str(entry.settings.get("weights") or "").startswith(_OWN_FOLDER)
    return family.role == MODEL and not ours


def is_trained(entry: ModelEntry) -> bool:
    """Whether it is a model of machine learning, and no method or force field."""
    return entry.settings.get("training_data") is not None


def ran_here(name: str) -> list[str]:
    """The studies kept in `resources/study` that hold scores of a model."""
    files = (REPO / "resources" / "study").glob(f"**/{name}/scores/*.parquet")
    return sorted({file.parents[2].name for file in files})


def table() -> str:
    """The summary and the table."""
    entries = public()
    trained = [name for name, entry in entries.items() if is_trained(entry)]
    ran = [name for name in entries if ran_here(name)]
    lines = [
        f"{len(entries)} entries, of which {len(trained)} are trained models and the others "
        f"methods and force fields. {len(ran)} of them have scores in "
        "[resources/study](../resources/study/README.md).",
        "",
        f"| {' | '.join(_TITLES)} |",
        f"|{'---|' * len(_TITLES)}",
        *(f"| {' | '.join(_cells(name, entry))} |" for name, entry in entries.items()),
        "",
        *_seen(entries),
    ]
    return "\n".join(lines) + "\n"


def _cells(name: str, entry: ModelEntry) -> Iterator[str]:
    said = entry.settings.get
    yield f"`{name}`{' §' if said('seen') else ''}"
    yield entry.family
    yield said("level_of_theory") or "not told"
    yield said("training_data") or "–"
    yield str(len(said("elements"))) if said("elements") else "not told"
    yield {True: "yes", False: "**no**", None: "–"}[said("conservative")]
    yield _charge_and_spin(entry)
    yield said("license") or "–"
    needs = [f"`{one}`" for one in said("requirements") or family_of(entry.family).requirements]
    yield ", ".join([said("python") or "", *needs]).strip(", ") or _extra(entry)
    yield ", ".join(ran_here(name)) or "no"


def _charge_and_spin(entry: ModelEntry) -> str:
    if "charges" not in entry.settings:
        return "as loaded"
    taken = [word for word, key in (("charge", "charges"), ("spin", "spins"))
             if entry.settings.get(key)]  # fmt: skip
    return ", ".join(taken) or "neither"


def _extra(entry: ModelEntry) -> str:
    extra: Any = family_of(entry.family).extra
    return f"`pesbench[{extra}]`" if extra else "–"


def _seen(entries: dict[str, ModelEntry]) -> Iterator[str]:
    """What is known of overlaps, each sentence with its models."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, entry in entries.items():
        for scan_set, sentence in (entry.settings.get("seen") or {}).items():
            found.setdefault((scan_set, sentence), []).append(f"`{name}`")
    for (scan_set, sentence), names in found.items():
        yield f"- § `{scan_set}`, {', '.join(names)}: {sentence}"


def written(text: str) -> str:
    """The page with the table as it should be."""
    new, count = re.subn(
        f"{re.escape(_BEGIN)}.*?{_END}", lambda _: f"{_BEGIN}{table()}{_END}", text, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"{PAGE}: give `{_BEGIN.strip()}` and `{_END}` once each")
    return new


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
