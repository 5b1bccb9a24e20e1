"""Nested sets of frames: a smaller one is part of every larger one, and an epoch is as long."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms

from pesbench.core.errors import UserError
from pesbench.files.atomic import atomic_path, write_json
from pesbench.files.molecules.xyz import write_extxyz
from pesbench.training.frames import check_told, read_frames, read_parts, record_content
from pesbench.training.sampling import (
    ENERGY,
    FORCES,
    ISOLATED,
    TEST_SEEN,
    TEST_UNSEEN,
    TRAIN,
    VALID,
)

TENTH = 10  # one of so many frames is from an approach, and there are so many validation frames
_TOLD = ("system", "temperature_k", "replicate", "step")  # by which frames are put in order
SHIFT = 37  # approach frames between the beginnings of two draws; prime, so that molecules differ


@dataclass(frozen=True)
class NestedSet:
    """Frames of a training.

    Attributes:
        train: Frames to train on; the closest-approach frames come last.
        valid: Frames to choose the best epoch by, of MD alone, one a begun ten of `train`.
        n_approach: Closest-approach frames among `train`.
    """

    train: list[Atoms]
    valid: list[Atoms]
    n_approach: int


def tenth_of(count: int) -> int:
    """One tenth of a number of frames, rounded up."""
    return -(-count // TENTH)


def _key(atoms: Atoms, draw: int) -> str:
    told = [atoms.info[key] for key in _TOLD]
    return hashlib.sha256(" ".join(map(str, [draw, *told])).encode()).hexdigest()


def read_sampled(frames: Path) -> dict[str, list[Atoms]]:
    """Frames of `pesbench sample` by their part, of which those of molecules can be put in order.

    Raises:
        UserError: see `read_parts`; or a frame to train on, to validate with or of a trajectory
            that is held out does not tell what it is of.
    """
    parts = read_parts(frames)
    in_turn = [one for part in (TRAIN, VALID, TEST_SEEN) for one in parts.get(part, [])]
    check_told(in_turn, frames, _TOLD)
    return parts


def in_order(frames: Sequence[Atoms], draw: int = 1) -> list[Atoms]:
    """Frames in an order that depends on their names and the draw only, the molecules in turn.

    Args:
        frames: Sampled; `info` holds `system`, `temperature_k`, `replicate` and `step`.
        draw: Number of the draw.
    """
    by_system: dict[str, list[Atoms]] = {}
    for atoms in sorted(frames, key=lambda one: _key(one, draw)):
        by_system.setdefault(str(atoms.info["system"]), []).append(atoms)
    longest = max(map(len, by_system.values()), default=0)
    return [
        by_system[name][turn]
        for turn in range(longest)
        for name in sorted(by_system)
        if turn < len(by_system[name])
    ]


def nested_set(
    frames: Sequence[Atoms], count: int, approaches: Sequence[Atoms] = (), draw: int = 1
) -> NestedSet:
    """The set of so many frames, which holds that of any smaller number of the same draw.

    Of every begun eleven frames one validates. With closest-approach frames, these replace one
    tenth (rounded up) of the others: the last in the order, so that the sets are nested.

    Args:
        frames: MD frames to train on and to validate with.
        count: Number of frames to train on.
        approaches: Closest-approach frames; none for MD alone. Another draw begins elsewhere among
            them.
        draw: Number of the draw: 1, 2, ...

    Raises:
        UserError: there are too few of either.
    """
    order = in_order(frames, draw)
    valid = order[:: TENTH + 1]
    train = [atoms for k, atoms in enumerate(order) if k % (TENTH + 1)]
    tenth = tenth_of(count)
    n_approach = tenth if approaches else 0
    for what, there, needed in (
        ("MD frames to train on", len(train), count - n_approach),
        ("MD frames to validate with", len(valid), tenth),
        ("closest-approach frames", len(approaches), n_approach),
    ):
        if there < needed:
            raise UserError(f"{there} {what} are there, {needed} are needed; make more")
    begin = (draw - 1) * SHIFT % max(1, len(approaches))
    turned = [*approaches[begin:], *approaches[:begin]]
    chosen = [*train[: count - n_approach], *turned[:n_approach]]
    return NestedSet(chosen, valid[:tenth], n_approach)


def write_nested_set(
    frames: Path,
    record: Path,
    count: int,
    repeats: int,
    out: Path,
    out_record: Path,
    approaches: Path | None = None,
    draw: int = 1,
    made_by: str = "make data-study",
) -> None:
    """Write a nested set as a file that trainings read, with its record.

    The frames to train on stand in it `repeats` times, so that an epoch of every set has the same
    number of gradient steps.

    Args:
        frames: File of `pesbench sample`.
        record: How they were made, of the same command.
        count: Number of frames to train on.
        repeats: Passes of an epoch.
        out: extxyz of the frames.
        out_record: Its record.
        approaches: File of closest-approach frames; None for none.
        draw: Number of the draw.
        made_by: Command of the study, for the cards.

    Raises:
        UserError: a file is missing, damaged or of something else, or holds too few frames.
    """
    parts = read_sampled(frames)
    some: list[Atoms] = []
    if approaches is not None:
        some = read_frames(approaches)
        check_told(some, approaches, ("system", ENERGY, FORCES), "pesbench sample-approach")
    found = nested_set([*parts[TRAIN], *parts[VALID]], count, some, draw)
    with record_content(record) as content:
        told = dict(content)
    for part, members in ((TRAIN, found.train), (VALID, found.valid)):
        for atoms in members:
            atoms.info["part"] = part
    held_out = {part: parts.get(part, []) for part in (TEST_SEEN, TEST_UNSEEN)}
    written = [*parts.get(ISOLATED, []), *found.train * repeats, *found.valid]
    with atomic_path(out) as unfinished:
        write_extxyz(unfinished, [*written, *held_out[TEST_SEEN], *held_out[TEST_UNSEEN]])
    molecules = sorted({str(a.info["system"]) for a in found.train[count - found.n_approach :]})
    told["training_set"] = {
        "frames": count,
        "draw": draw,
        "repeats": repeats,
        "validation_frames": len(found.valid),
        "approach_frames": found.n_approach,
        "approach_molecules": molecules,
        "made_by": made_by,
    }
    write_json(out_record, told)
