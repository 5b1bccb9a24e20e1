"""Results that stand for each model, and whether they may stand together."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pesbench.commands.merge.contents import Folder, ModelResults, Piece
from pesbench.commands.merge.duplicates import first_difference
from pesbench.commands.merge.scores import score_fingerprint, settings_of
from pesbench.core.errors import UserError
from pesbench.core.found import stage_module, tasks
from pesbench.core.task import Key, Task, row_key
from pesbench.files.fingerprint import family_modules, stage_fingerprint
from pesbench.files.integrity import differences
from pesbench.files.rounding import Rounding
from pesbench.files.scan_set import ScanSet
from pesbench.models.registry import ModelEntry

# of a description, what tables and tests go by
TOLD = ("level_of_theory", "seed_of", "seen_scans", "trained", "variant_of")
_RUNNING = ("batch_size", "timeout_s")  # of a base, a perturbed entry has its own
logger = logging.getLogger("pesbench")


@dataclass(frozen=True)
class Taken:
    """A file, and what of it is taken.

    Attributes:
        piece: The file.
        keys: What of it is in no file before, sorted.
        folder: Folder of the file.
        same_code: Whether what made the files of results is this version's code, and, of scores,
            what scored them.
    """

    piece: Piece
    keys: tuple[Key, ...]
    folder: Path
    same_code: bool

    @property
    def whole(self) -> bool:
        return self.keys == self.piece.keys


@dataclass
class Joined:
    """Everything of one model.

    Attributes:
        entry: What decides and describes it.
        seen: `seen` or `unseen` by system, of a model that tells.
        sources: Sources in the order of the folders.
        taken: What is taken, by file.
        rounding: What is there twice and not equal to the bit, in words.
    """

    entry: ModelEntry
    seen: Mapping[str, str]
    sources: list[ModelResults] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    rounding: list[str] = field(default_factory=list)

    def of(self, task: Task, *, raw: bool | None = None) -> list[Taken]:
        """Files of one task that are used: files of results only, or scores only."""
        return [
            one
            for one in self.taken
            if one.piece.task is task and (raw is None or one.piece.raw == raw)
        ]


def join(folders: Sequence[Folder], scan_set: ScanSet) -> dict[str, Joined]:
    """The models of several folders, by name, controls last.

    Raises:
        UserError: one name for two entries, two results for one row, files made with other
            settings, a model without results of a task that every model has, or no result at all.
    """
    joined: dict[str, Joined] = {}
    for folder in folders:
        for name, model in folder.models.items():
            one = joined.setdefault(name, Joined(model.entry, model.seen))
            if one.sources:
                _check_same_entry(one.sources[0], model)
            _add(one, model, scan_set)
    if not joined:
        raise UserError(
            f"{folders[0].path}: no result is left to merge; evaluate a model there, or correct "
            "--without"
        )
    for name, one in joined.items():
        for task in tasks().values():
            if task.always and not one.of(task):
                others = sorted({taken.piece.task.name for taken in one.taken})
                raise UserError(
                    f"{one.sources[0].folder}: results of {name!r} for {', '.join(others)} and "
                    f"none for {task.name}; add the folder that holds those, or "
                    f"--without {one.sources[0].folder}:{name}"
                )
    _check_bases(joined)
    _check_settings(joined)
    order = sorted(joined, key=lambda name: (joined[name].entry.is_control, name))
    return {name: joined[name] for name in order}


def join_references(
    folders: Sequence[Folder], joined: Mapping[str, Joined], scan_set: ScanSet
) -> Joined | None:
    """Answers of the reference method for tasks that compare with it; None if there are none.

    Raises:
        UserError: two folders asked two methods or have two results for one item, settings differ
            from those of the models, or there is no result for an item that is to be scored.
    """
    found: Joined | None = None
    for folder in folders:
        if (model := folder.reference) is None:
            continue
        found = found or Joined(model.entry, {})
        if found.entry.deciding() != model.entry.deciding():
            said = differences(model.entry.deciding(), found.entry.deciding())
            raise UserError(
                f"{model.folder}: its reference is another entry than in "
                f"{found.sources[0].folder} ({said}); leave one out with "
                f"{model.left_out(model.pieces[0].task)}"
            )
        _add(found, model, scan_set)
    for task in (task for task in tasks().values() if task.asks_reference):
        there = found.of(task) if found is not None else []
        items = {item for taken in there for item in taken.piece.items.values()}
        for name, one in joined.items():
            held = one.of(task, raw=True)
            told = [settings for taken in held for settings in taken.piece.settings]
            if told and not any(task.needs_reference(settings_of(task, each)) for each in told):
                continue
            for taken in held:
                if lost := sorted({taken.piece.items[key] for key in taken.keys} - items):
                    raise UserError(
                        f"{taken.piece.path}: no folder holds what the reference says of "
                        f"{lost[0]!r} (reference/{task.name}/*.h5), with which {name!r} is "
                        f"compared; add its folder, or --without-task {taken.folder}:{task.name}"
                    )
    _check_settings({**joined, "the reference": found} if found is not None else joined)
    return found


# --- one model -----------------------------------------------------------------------------------


def _place(model: ModelResults) -> str:
    return f"{model.folder}: model {model.named!r}"


def _check_same_entry(first: ModelResults, second: ModelResults) -> None:
    """Refuse one name for two entries, or two descriptions of one.

    Raises:
        UserError: naming what differs.
    """
    name = first.entry.name
    one, other = first.entry.deciding(), second.entry.deciding()
    if one != other:
        raise UserError(
            f"{_place(second)} is another entry than in {first.folder} "
            f"({differences(other, one)}); give it another name with "
            f"--rename {second.folder}:{second.named}={name}-2, or leave it out with "
            f"--without {second.folder}:{second.named}"
        )
    for key in TOLD:
        one, other = first.entry.settings.get(key), second.entry.settings.get(key)
        if one != other:
            raise UserError(
                f"{_place(second)} is described otherwise than in {first.folder} (`{key}` "
                f"{other!r} and {one!r}); correct the registry there and run `snakemake` again (it "
                "runs no model for it)"
            )
    if first.seen != second.seen:
        silent = next((one.folder for one in (first, second) if not one.seen), None)
        raise UserError(
            f"{_place(second)} has seen other systems than in {first.folder}"
            + (f", and {silent} does not tell" if silent else "")
            + "; correct its `seen_systems` where it is wrong and run `snakemake` there again (it "
            f"runs no model for it), or leave one out with --without {second.folder}:"
            f"{second.named}"
        )


def _add(one: Joined, model: ModelResults, scan_set: ScanSet) -> None:
    """Add what one folder holds of a model, without what is there already.

    Raises:
        UserError: a row is there already, with another result.
    """
    one.sources.append(model)
    for piece in model.pieces:
        shared: dict[int, list[Key]] = {}
        for index, taken in enumerate(one.taken):
            if taken.piece.task is piece.task and (both := {*taken.keys} & {*piece.keys}):
                shared[index] = sorted(both)
        for index, keys in shared.items():
            before, found = one.taken[index], Rounding()
            if (key := first_difference(before.piece, piece, keys, scan_set, found)) is not None:
                cure = "remove the older file"
                if model.folder != before.folder:
                    option = model.left_out(piece.task, _pattern(model))
                    cure = f"leave one out, such as {option}"
                raise UserError(
                    f"{piece.path}: model {model.named!r} has other results for "
                    f"{piece.words(key)!r} than {before.piece.path}"
                    + (f" ({found})" if str(found) else "")
                    + f"; {cure}"
                )
            if found.largest:
                one.rounding.append(_rounding(before.piece, piece, len(keys), found))
        held = {key for keys in shared.values() for key in keys}
        if keys := tuple(key for key in piece.keys if key not in held):
            one.taken.append(_taken(piece, keys, model))


def _rounding(first: Piece, second: Piece, n: int, found: Rounding) -> str:
    said = (
        f"{n} results of {first.task.name} are there and in {first.path}, with differences of "
        f"rounding ({found})"
    )
    if found.apart:
        said += (
            f", which {found.apart} of them do not stay at: what grows from them is not compared"
        )
    return f"{second.path}: {said}; those of {first.path} are taken"


def _pattern(model: ModelResults) -> str:
    """The controls differ all or none, as a rule: between machines in the last digit."""
    prefix = f"{model.entry.family}-"
    common = model.entry.is_control and model.named.startswith(prefix)
    return f"{prefix}*" if common else model.named


def _taken(piece: Piece, keys: tuple[Key, ...], model: ModelResults) -> Taken:
    try:
        families = family_modules(model.entry.families)
        here = stage_fingerprint(stage_module(piece.task.name, "run"), *families)
    except KeyError:  # of a family that this version does not have
        here = "unknown"
    scored = piece.scored is None or piece.scored["code"] == score_fingerprint(piece.task)
    made = bool(piece.made_from) and all(how.get("code") == here for how in piece.made_from)
    return Taken(piece, keys, model.folder, made and scored)


# --- all models ----------------------------------------------------------------------------------


def _check_bases(joined: Mapping[str, Joined]) -> None:
    """Refuse a perturbed model whose base is another entry than the model of that name.

    Raises:
        UserError: naming both.
    """
    known: dict[str, tuple[ModelResults, Mapping[str, Any]]] = {
        name: (one.sources[0], one.entry.deciding()) for name, one in joined.items()
    }
    for one in joined.values():
        if (base := one.entry.base) is None:
            continue
        where, what = one.sources[0], base.deciding()
        first, deciding = known.setdefault(base.name, (where, what))
        settings = {k: v for k, v in deciding["settings"].items() if k not in _RUNNING}
        if what != (plain := {**deciding, "settings": settings}):
            old = where.entry.base.name if where.entry.base else base.name
            raise UserError(
                f"{_place(where)} is made from another {base.name!r} than that of {first.folder} "
                f"({differences(what, plain)}); give one another name, such as "
                f"--rename {where.folder}:{old}={base.name}-2"
            )


def _check_settings(joined: Mapping[str, Joined]) -> None:
    """Refuse results of a task that were made with other settings.

    Raises:
        UserError: naming the setting that differs.
    """
    for task in tasks().values():
        first: tuple[str, Taken, Mapping[str, Any]] | None = None
        for name, one in joined.items():
            told = [(each, one) for each in one.of(task) for one in each.piece.settings]
            alike = task.comparable([settings for _, settings in told])
            for (each, _), settings in zip(told, alike, strict=True):
                first = first or (name, each, settings)
                if settings != first[2]:
                    raise UserError(
                        f"{each.piece.path}: results of {name!r} for {task.name} were made with "
                        f"other settings than those of {first[0]!r} in {first[1].piece.path} "
                        f"({differences(settings, first[2])}); make them again with those, or "
                        f"leave them out with --without-task {each.folder}:{task.name}"
                    )


def common_settings(joined: Mapping[str, Joined], task: Task) -> Mapping[str, Any] | None:
    """The settings that the results of a task were made with; None if no file holds them."""
    for one in joined.values():
        told = [settings for each in one.of(task) for settings in each.piece.settings]
        if told:
            return task.comparable(told)[0]
    return None


def planned(joined: Mapping[str, Joined], task: Task) -> set[Key]:
    """Rows that at least one model has, made with the common settings."""
    found = {key for one in joined.values() for each in one.of(task) for key in each.keys}
    settings = common_settings(joined, task) or {}
    for column, name in enumerate(task.keys):
        if name in settings:
            (value,) = row_key([settings[name]])
            found = {key for key in found if key[column] == value}
    return found


def other_code(joined: Collection[Joined]) -> list[str]:
    """Results that were made by other code or lack a record of it, in words."""
    return [
        f"{each.piece.path} ({one.entry.name}, {made_by(each)})"
        for one in joined
        for task in tasks().values()
        for each in one.of(task)
        if not each.same_code
    ]


def made_by(taken: Taken) -> str:
    """Description of the code that made a file."""
    made = sorted({how.get("git_commit", "")[:8] or "unknown" for how in taken.piece.made_from})
    said = f"{taken.piece.task.name} by commit {', '.join(made) or 'unknown'}"
    if taken.piece.scored is not None:
        said += f", scores by commit {taken.piece.scored['git_commit'][:8] or 'unknown'}"
    return said


def check_code(joined: Collection[Joined]) -> None:
    """Refuse results that were not made by this version's code, for `--strict`.

    Raises:
        UserError: naming the first such file.
    """
    if others := other_code(joined):
        raise UserError(
            f"{others[0]}: not made by this version's code, or it does not tell"
            + (f"; so are {len(others) - 1} more" if others[1:] else "")
            + "; make them again with this version, or leave --strict out"
        )
