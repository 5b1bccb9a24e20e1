"""Entries that are no independent models: numerical variants of one checkpoint, and seeds.

Numerical variants differ in how one checkpoint is computed, seeds in the random numbers that one
potential was trained with.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from pesbench.core.family import family_of
from pesbench.models.called import CalledFamily
from pesbench.models.registry import ModelEntry

LEAST_VARIANTS = 8  # independent ones, below which a correlation over models is not resolved
NUMERICAL = (
    "dtype", "device", "compile", "enable_cueq", "batch_size", "timeout_s", "accuracy", "repeat",
)  # fmt: skip


def _key(entry: ModelEntry, passed_over: tuple[str, ...]) -> str:
    """What entries that differ in some settings only have in common; weights by their place."""
    deciding = entry.deciding()["settings"]
    same = {k: v for k, v in deciding.items() if k not in (*passed_over, "sha256")}
    return json.dumps([entry.family, same, entry.settings.get("weights")], sort_keys=True)


def checkpoint_key(entry: ModelEntry, entries: Mapping[str, ModelEntry]) -> str:
    """Key that all variants of one checkpoint share.

    An entry with `variant_of` has the key of the entry that it names: the same checkpoint behind
    another family, or with arguments that decide only how it is computed.

    Args:
        entry: The entry.
        entries: Entries by name; the one that is named need not be among them.
    """
    of = entry.settings.get("variant_of")
    if of is None:
        return _key(entry, NUMERICAL)
    return _key(entries[of], NUMERICAL) if of in entries else json.dumps(["variant of", of])


def say_one_checkpoint(
    one: ModelEntry, other: ModelEntry, entries: Mapping[str, ModelEntry]
) -> bool:
    """Whether two entries say themselves that they load the same parameters.

    They are variants of one checkpoint, or readouts of one weight file, as for the levels of theory
    of a multi-fidelity network.
    """
    if checkpoint_key(one, entries) == checkpoint_key(other, entries):
        return True
    named = ("sha256", "weights", "pretrained")
    return any(
        one.settings.get(key) is not None and one.settings[key] == other.settings.get(key)
        for key in named
    )


def repeat_key(entry: ModelEntry) -> str:
    """Key that repeats of one entry share."""
    return _key(entry, ("repeat",))


def variants(entries: Iterable[ModelEntry]) -> list[list[str]]:
    """Names of the entries of each checkpoint that has more than one; its base comes first.

    The base is the plainest of the most precise: one that is no `variant_of` another, float64
    before float32, as it is before compiled, no `repeat`, then by name.
    """
    by_name = {entry.name: entry for entry in entries}
    groups: dict[str, list[ModelEntry]] = {}
    for entry in by_name.values():
        if not entry.is_control:
            groups.setdefault(checkpoint_key(entry, by_name), []).append(entry)
    return sorted(
        [e.name for e in sorted(group, key=_plainness)]
        for group in groups.values()
        if len(group) > 1
    )


def potentials(entries: Mapping[str, ModelEntry]) -> dict[str, str]:
    """The potential of each entry: one name for its seeds, and for the numerical variants of each.

    Args:
        entries: Entries by name; the entry that others are seeds of need not be among them.
    """
    first = {name: group[0] for group in variants(entries.values()) for name in group}
    seed_of = {
        first.get(name, name): entry.potential
        for name, entry in entries.items()
        if entry.potential != name
    }
    found = {}
    for name in entries:
        checkpoint = first.get(name, name)
        potential = seed_of.get(checkpoint, checkpoint)
        found[name] = first.get(potential, potential)
    return found


def architecture(entry: ModelEntry) -> str:
    """The family that a model counts as in a statement about models.

    That of the entry, but of a family that takes the calculators of any package (`ase`,
    `torchsim`) the package that is called: these have no more in common than the door.
    """
    family = family_of(entry.family)
    if not isinstance(family, CalledFamily):
        return entry.family
    return str(entry.settings[family.path_key]).replace(":", ".").split(".")[0]


def can_be_resolved(entries: Mapping[str, ModelEntry]) -> bool:
    """Whether a correlation over some models can be resolved: enough of them are independent."""
    return len(set(potentials(entries).values())) >= LEAST_VARIANTS


def _plainness(entry: ModelEntry) -> tuple[object, ...]:
    settings = entry.settings
    return (
        "variant_of" in settings,
        settings.get("dtype", "float64") != "float64",
        bool(settings.get("compile")),
        bool(settings.get("enable_cueq")),
        settings.get("device") is not None,
        entry.batch_size != "auto",
        float(settings.get("accuracy", 1.0)),
        settings.get("repeat", 0),
        entry.name,
    )
