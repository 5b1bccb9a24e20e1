"""Which results of several folders stand for each model, and whether they may stand together."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pesbench.commands.merge.contents import (
    DYNAMICS,
    KINDS,
    RAW,
    SCANS,
    STAGES,
    Folder,
    ModelResults,
    Piece,
    trajectory_key,
)
from pesbench.commands.merge.duplicates import Rounding, first_difference
from pesbench.core.errors import UserError
from pesbench.files.fingerprint import family_modules, stage_fingerprint
from pesbench.files.integrity import differences
from pesbench.files.scan_set import ScanSet
from pesbench.models.registry import ModelEntry

SCORE_STAGES = {SCANS: "pesbench.tasks.bonds.score", DYNAMICS: "pesbench.tasks.dynamics.score"}
# of a description, what tables and tests go by
TOLD = ("level_of_theory", "seed_of", "seen_scans", "trained")
_RUNNING = ("batch_size", "timeout_s")  # of a base, a perturbed entry has its own
logger = logging.getLogger("pesbench")


@dataclass(frozen=True)
class Taken:
    """A file, and what of it is taken.

    Attributes:
        piece: The file.
        keys: What of it is in no file before, sorted.
        folder: It is from.
        same_code: Whether what made the evaluations or trajectories is this version's code, and,
            of scores, what scored them.
    """

    piece: Piece
    keys: tuple[str, ...]
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
        sources: In the order of the folders.
        taken: By file.
        rounding: What is there twice and not equal to the bit, in words.
    """

    entry: ModelEntry
    seen: Mapping[str, str]
    sources: list[ModelResults] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    rounding: list[str] = field(default_factory=list)

    def of(self, kind: str, *, raw: bool | None = None) -> list[Taken]:
        """What of one kind is taken; evaluations and trajectories only, or scores only."""
        return [
            one
            for one in self.taken
            if one.piece.kind == kind and (raw is None or one.piece.raw == raw)
        ]


def join(folders: Sequence[Folder], scan_set: ScanSet) -> dict[str, Joined]:
    """The models of several folders, by name, controls last.

    Raises:
        UserError: one name for two entries, two results for one scan or trajectory, dynamics of
            other settings, trajectories of a model that has no scan, or no result at all.
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
        if not one.of(SCANS):
            raise UserError(
                f"{one.sources[0].folder}: trajectories of {name!r} without any scan; add the "
                f"folder that holds its scans, or --without {one.sources[0].folder}:{name}"
            )
    _check_bases(joined)
    _check_settings(joined)
    order = sorted(joined, key=lambda name: (joined[name].entry.family == "control", name))
    return {name: joined[name] for name in order}


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
        UserError: a scan or trajectory is there already, with another result.
    """
    one.sources.append(model)
    for piece in model.pieces:
        shared: dict[int, list[str]] = {}
        for index, taken in enumerate(one.taken):
            if taken.piece.kind == piece.kind and (both := {*taken.keys} & {*piece.keys}):
                shared[index] = sorted(both)
        for index, keys in shared.items():
            before, found = one.taken[index], Rounding()
            if (key := first_difference(before.piece, piece, keys, scan_set, found)) is not None:
                cure = "remove the older file"
                if model.folder != before.folder:
                    cure = f"leave one out, such as --without '{model.folder}:{_pattern(model)}'"
                raise UserError(
                    f"{piece.path}: model {model.named!r} has other results for {key!r} than "
                    f"{before.piece.path}" + (f" ({found})" if str(found) else "") + f"; {cure}"
                )
            if found.largest:
                one.rounding.append(_rounding(before.piece, piece, len(keys), found))
        held = {key for keys in shared.values() for key in keys}
        if keys := tuple(key for key in piece.keys if key not in held):
            one.taken.append(_taken(piece, keys, model))


def _rounding(first: Piece, second: Piece, n: int, found: Rounding) -> str:
    what = "scans" if first.kind == SCANS else "trajectories"
    said = f"{n} {what} are there and in {first.path}, with differences of rounding ({found})"
    if found.apart:
        said += (
            f", which {found.apart} of them do not stay at: what grows from them is not compared"
        )
    return f"{second.path}: {said}; those of {first.path} are taken"


def _pattern(model: ModelResults) -> str:
    """The controls differ all or none, as a rule: between machines in the last digit."""
    return "control-*" if model.named.startswith("control-") else model.named


def _taken(piece: Piece, keys: tuple[str, ...], model: ModelResults) -> Taken:
    try:
        here = stage_fingerprint(STAGES[piece.kind], *family_modules(model.entry.families))
    except KeyError:  # of a family that this version does not have
        here = "unknown"
    scored = piece.scored is None or piece.scored["code"] == stage_fingerprint(
        SCORE_STAGES[piece.kind]
    )
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
    """Refuse dynamics of other settings, or of another time step than the common one or its half.

    Raises:
        UserError: naming the setting that differs, or both time steps.
    """
    first: tuple[str, Taken, Mapping[str, Any]] | None = None
    for name, one in joined.items():
        taken = one.of(DYNAMICS)
        if not taken:
            continue
        coarse = max(taken, key=lambda each: max(each.piece.timesteps_fs))
        coarsest = max(coarse.piece.timesteps_fs)
        for each in taken:
            settings = {**(each.piece.settings or {}), "timestep_fs": coarsest}
            first = first or (name, each, settings)
            if settings != first[2]:
                raise UserError(
                    f"{each.piece.path}: model {name!r} ran dynamics of other settings than "
                    f"{first[0]!r} in {first[1].piece.path} ({differences(settings, first[2])}); "
                    "run it again with those, or leave the dynamics of a folder out with "
                    f"--without-dynamics {each.folder}"
                )
            _check_timesteps(name, each, coarsest, coarse.piece.path)


def _check_timesteps(name: str, taken: Taken, coarsest_fs: float, path: Path) -> None:
    """Refuse trajectories of one model with a time step that is neither the common one nor half.

    Args:
        name: Of the model.
        taken: Some of its trajectories.
        coarsest_fs: Its largest time step.
        path: Of the trajectories with that.

    Raises:
        UserError: naming both.
    """
    for step in taken.piece.timesteps_fs:
        if not any(math.isclose(step, fs) for fs in (coarsest_fs, coarsest_fs / 2)):
            raise UserError(
                f"{taken.piece.path}: model {name!r} ran dynamics with a time step of {step:g} fs, "
                f"and with {coarsest_fs:g} fs in {path}; beside a time step only its half, "
                f"{coarsest_fs / 2:g} fs, can stand: leave the dynamics of a folder out with "
                f"--without-dynamics {taken.folder}"
            )


def planned(joined: Mapping[str, Joined], kind: str) -> set[str]:
    """What at least one model has: scans, or trajectories with the common time step."""
    keys = {key for one in joined.values() for each in one.of(kind) for key in each.keys}
    if kind == SCANS or not keys:
        return keys
    steps = (s for one in joined.values() for t in one.of(kind) for s in t.piece.timesteps_fs)
    coarsest = max(steps)
    return {key for key in keys if key.endswith(trajectory_key("", coarsest))}


def other_code(joined: Mapping[str, Joined]) -> list[str]:
    """What was made by other code than this version's, or does not tell, in words."""
    found = []
    for name, one in joined.items():
        for kind in KINDS:
            for each in one.of(kind):
                if not each.same_code:
                    found.append(f"{each.piece.path} ({name}, {made_by(each)})")
    return found


def made_by(taken: Taken) -> str:
    """By what code a file was made, in words."""
    made = sorted({how.get("git_commit", "")[:8] or "unknown" for how in taken.piece.made_from})
    said = f"{RAW[taken.piece.kind]} by commit {', '.join(made) or 'unknown'}"
    if taken.piece.scored is not None:
        said += f", scores by commit {taken.piece.scored['git_commit'][:8] or 'unknown'}"
    return said


def check_code(joined: Mapping[str, Joined]) -> None:
    """Refuse what was not made by this version's code, as `--strict` asks.

    Raises:
        UserError: naming the first such file.
    """
    if others := other_code(joined):
        raise UserError(
            f"{others[0]}: not made by this version's code, or it does not tell"
            + (f"; so are {len(others) - 1} more" if others[1:] else "")
            + "; make them again with this version, or leave --strict out"
        )
