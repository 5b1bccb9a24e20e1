"""The registry of models: entries read, checked against the keys of their family, and resolved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pesbench.core.errors import UserError
from pesbench.core.family import CONTROL, MODEL, PERTURBED, Family, family_of, find, names
from pesbench.core.names import alike, closest, why_unfit
from pesbench.core.settings import keys
from pesbench.files.interpreters import version_of
from pesbench.files.requirements import read_requirements
from pesbench.files.split import read_split
from pesbench.files.strict_yaml import read_yaml
from pesbench.files.validation import filled, shown, validate
from pesbench.models.registry import ModelEntry, check_entry, resolve_weights
from pesbench.models.trust import check_consent

INHERITED = (  # keys that a perturbed model inherits from its base
    "citation",
    "elements",
    "level_of_theory",
    "license",
    "seen",
    "seen_scans",
    "seen_systems",
    "training_data",
    "training_dispersion",
)


def read_models(path: Path) -> dict[str, ModelEntry]:
    """The registry, every entry checked against the keys of its family; weights not yet looked at.

    Args:
        path: YAML with one entry a model.

    Raises:
        UserError: one line with the file, the entry and the cure.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: holds no model; add an entry such as `my-model: {{family: ...}}`")
    if pair := alike(content):
        raise UserError(
            f"{path}: models {pair[0]!r} and {pair[1]!r} differ in upper and lower case only, "
            "which is one folder on some systems; rename one"
        )
    entries = {name: make_entry(name, entry, f"{path}: ") for name, entry in content.items()}
    for entry in entries.values():
        _check_kin(entry, entries, f"{path}: ")
    return {
        name: _on_its_base(entry, entries, f"{path}: ") if _role(entry) == PERTURBED else entry
        for name, entry in entries.items()
    }


def _role(entry: ModelEntry) -> str:
    return family_of(entry.family).role


def _check_kin(entry: ModelEntry, entries: Mapping[str, ModelEntry], source: str) -> None:
    """Refuse an entry that says to be a seed or a variant of what it cannot be one of.

    Raises:
        UserError: there is no such entry, it is a seed or a variant itself, or, of a seed, of
            another family.
    """
    for key, what in (("seed_of", "seed"), ("variant_of", "variant")):
        name = entry.settings.get(key)
        if name is None:
            continue
        place = f"{source}model {entry.name!r}: `{key}`"
        fit = {n for n, e in entries.items() if n != entry.name and _role(e) == MODEL}
        if key == "seed_of":
            fit = {n for n in fit if entries[n].family == entry.family}
        if name not in entries:
            raise UserError(f"{place}: no model {name!r}; {closest(name, fit)}")
        if name == entry.name:
            raise UserError(
                f"{place}: names the entry itself; leave it out, or name another {what}"
            )
        if (other := entries[name].settings.get(key)) is not None:
            raise UserError(f"{place}: {name!r} is itself a {what}; name {other!r}")
        if key == "seed_of":
            _check_family(entry, entries[name], place)


def _check_family(entry: ModelEntry, other: ModelEntry, place: str) -> None:
    if other.family != entry.family:
        raise UserError(
            f"{place}: {other.name!r} is of family {other.family!r}, not {entry.family!r}; "
            "name an entry of the same family"
        )


def _on_its_base(entry: ModelEntry, entries: Mapping[str, ModelEntry], source: str) -> ModelEntry:
    """A perturbed entry with the entry that it is made from, and what it inherits of it.

    Raises:
        UserError: there is no such entry, or it is a control or perturbed itself.
    """
    name, place = entry.settings["base"], f"{source}model {entry.name!r}: `base`"
    fit = {n: e for n, e in entries.items() if _role(e) == MODEL}
    if name not in entries:
        raise UserError(f"{place}: no model {name!r}; {closest(name, fit)}")
    if name not in fit:
        why = (
            "a control, defined on the frames of a scan set only"
            if _role(entries[name]) == CONTROL
            else "a perturbed model"
        )
        raise UserError(f"{place}: {name!r} is {why}; name another entry")
    base = fit[name]
    running = ("batch_size", "timeout_s")  # the perturbed entry's decide
    inherited = {k: v for k, v in base.settings.items() if k in (*running, *INHERITED)}
    settings = {k: v for k, v in base.settings.items() if k not in running}
    return ModelEntry(entry.name, entry.family, inherited | entry.settings).with_base(
        ModelEntry(base.name, base.family, settings)
    )


def make_entry(name: Any, entry: Any, source: str = "") -> ModelEntry:
    """An entry checked against the keys of its family, defaults filled in.

    Args:
        name: Name of the entry.
        entry: Keys of the entry, including `family`.
        source: What messages start with, such as the file.

    Raises:
        UserError: one line with the entry and the cure.
    """
    place = f"{source}model {name!r}"
    if reason := why_unfit(name):
        raise UserError(f"{source}model {shown(name)}: the name {reason}")
    if not isinstance(entry, dict):
        raise UserError(f"{place} must be a block of keys, not {shown(entry)}")
    said = entry.get("family")
    family = find(said) if isinstance(said, str) else None
    if family is None:
        hint = closest(str(said)[:100], names())
        raise UserError(f"{place}: unknown family {shown(said)}; {hint}")
    own = {key: value for key, value in entry.items() if key != "family"}
    _check_kind(family, own, place)
    return ModelEntry(name, family.name, filled(family.settings_of(own), own, place))


def _check_kind(family: Family, entry: Mapping[str, Any], place: str) -> None:
    """Refuse an entry of an unknown kind, or with a key that its kind does not have.

    Raises:
        UserError: one line.
    """
    if not family.kinds:
        return
    key, kind = family.kind_key, entry.get(family.kind_key)
    if not isinstance(kind, str) or kind not in family.kinds:
        validate(family.settings, entry, place, partial=True)
    own = {one.name for one in keys(family.settings_of(entry))}
    every = {one.name for settings in family.kinds.values() for one in keys(settings)}
    for foreign in sorted((every - own) & set(entry)):
        raise UserError(f"{place}: {key} {kind!r} has no `{foreign}`; remove it")


def _with_environment(entry: ModelEntry, base: Path) -> ModelEntry:
    """An entry with what its `requirements` and `python` say, which decides, as `environment`.

    A file is replaced by its lines, and an interpreter by its version: neither path means
    anything on another machine.

    Raises:
        UserError: a file cannot be read, or an interpreter does not start.
    """
    said, python = entry.settings.get("requirements"), entry.settings.get("python")
    if said is None and python is None:
        return entry
    try:
        content = read_requirements(said or (), base).content
    except UserError as error:
        raise UserError(f"model {entry.name!r}: `requirements`: {error}") from error
    if python is not None:
        try:
            content = [*content, f"python {version_of(python, base)}"]
        except UserError as error:
            raise UserError(f"model {entry.name!r}: `python: {python}`: {error}") from error
    return ModelEntry(entry.name, entry.family, entry.settings | {"environment": content})


def resolve_entry(entry: ModelEntry, models_file: Path, base: Path) -> ModelEntry:
    """An entry with what it names found: weights with their hash, requirements, import paths tried.

    Args:
        entry: Entry from `read_models`.
        models_file: The registry, for the message.
        base: Folder that relative paths start from.

    Raises:
        UserError: the weights are missing or have another hash, nothing says that they may run
            code, or an import fails.
    """
    if entry.base is not None:
        entry = entry.with_base(resolve_entry(entry.base, models_file, base))
    said = entry.settings
    try:
        if "weights" in said:
            entry = ModelEntry(entry.name, entry.family, resolve_weights(entry.name, said, base))
        entry = _with_environment(entry, base)
        check_entry(entry)
        check_consent(entry.name, entry.family, said, entry.settings.get("sha256"))
        if "seen_systems" in entry.settings:
            read_split(base / entry.settings["seen_systems"])
    except UserError as error:
        raise UserError(f"{models_file}: {error}") from error
    return entry
