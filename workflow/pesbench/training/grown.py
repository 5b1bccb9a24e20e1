"""Sets of frames that grow: harvested frames, or as many random ones, beside those of the start."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

from pesbench.core.errors import UserError, reading
from pesbench.files.atomic import atomic_path, write_json
from pesbench.files.molecules.xyz import write_extxyz
from pesbench.training.frames import read_frames, record_content
from pesbench.training.nested import in_order, nested_set, read_sampled
from pesbench.training.sampling import ISOLATED, TEST_SEEN, TEST_UNSEEN, TRAIN, VALID


@dataclass(frozen=True)
class Growth:
    """What is added to the frames of a start.

    Attributes:
        harvests: Files of `pesbench harvest`, each with its record, one a round.
        kind: Kind of the training, see `data_plan`.
        random: File of `pesbench sample`; as many frames of it take the place of the harvested
            ones. None for these.
    """

    harvests: Sequence[Path]
    kind: str
    random: Path | None = None


def read_harvest(path: Path) -> list[Atoms]:
    """The frames of a file of `pesbench harvest`, which may hold none.

    Raises:
        UserError: the file is missing, cut short or something else.
    """
    return [] if path.is_file() and not path.stat().st_size else read_frames(path)


def passes(frames: Sequence[Atoms], count: int) -> list[Atoms]:
    """So many frames: all of them again and again, and of the last pass the first ones.

    Args:
        frames: At least one.
        count: Length of an epoch.

    Raises:
        UserError: there are more frames than an epoch has.
    """
    if len(frames) > count:
        raise UserError(
            f"{len(frames)} frames to train on, and an epoch has {count}; give more `epoch_frames`"
        )
    return [frames[k % len(frames)] for k in range(count)]


def write_grown_set(
    frames: Path,
    record: Path,
    count: int,
    epoch_frames: int,
    growth: Growth,
    out: Path,
    out_record: Path,
    made_by: str,
    draw: int = 1,
) -> None:
    """Write a set of frames that trainings read, with its record.

    The first frames are those of the nested set of the same draw, and so are all frames to validate
    with. Random frames are the first in the order of the draw, the molecules in turn, so that those
    of a round are among those of the next.

    Args:
        frames: File of `pesbench sample`.
        record: How they were made, of the same command.
        count: MD frames of the start.
        epoch_frames: Frames of an epoch, whatever the number of different ones.
        growth: What is added.
        out: extxyz of the frames.
        out_record: Its record.
        made_by: Command that makes it, for the card.
        draw: Number of the draw.

    Raises:
        UserError: a file is missing or damaged, or holds too few frames.
    """
    parts = read_sampled(frames)
    start = nested_set([*parts[TRAIN], *parts[VALID]], count, (), draw)
    rounds = [read_harvest(path) for path in growth.harvests]
    added = [atoms for some in rounds for atoms in some]
    harvests = [_harvest(path) for path in growth.harvests]
    method_calls = sum(one.labelled for one in harvests)
    asking_wall_s: float | None = round(sum(one.wall_s for one in harvests), 1)
    if growth.random is not None:
        hot = read_sampled(growth.random)
        order = in_order([*hot[TRAIN], *hot[VALID]], draw)
        if len(order) < len(added):
            raise UserError(
                f"{growth.random}: holds {len(order)} frames, and {len(added)} were harvested; "
                "sample more"
            )
        added = order[: len(added)]
        method_calls = steps_to(added)
        asking_wall_s = None  # nobody has measured it
    with record_content(record) as content:
        told = dict(content)
    train = [*start.train, *added]
    for part, members in ((TRAIN, train), (VALID, start.valid)):
        for atoms in members:
            atoms.info["part"] = part
    held_out = [atoms for part in (TEST_SEEN, TEST_UNSEEN) for atoms in parts.get(part, [])]
    every = [*parts.get(ISOLATED, []), *passes(train, epoch_frames), *start.valid, *held_out]
    with atomic_path(out) as unfinished:
        write_extxyz(unfinished, every)
    told["training_set"] = {
        "frames": len(train),
        "draw": draw,
        "epoch_frames": epoch_frames,
        "validation_frames": len(start.valid),
        "approach_frames": 0,
        "approach_molecules": [],
        "made_by": made_by,
        "grown": {
            "kind": growth.kind,
            "start_frames": count,
            # by this number a set is compared with others where less was found than asked for
            "asked_frames": count + sum(one.most for one in harvests),
            "added": [len(some) for some in rounds],
            "method_calls": method_calls,
            "asking_wall_s": asking_wall_s,
        },
    }
    write_json(out_record, told)


@dataclass(frozen=True)
class _Harvest:
    """What the record of a harvest tells.

    Attributes:
        labelled: Frames that were labelled.
        wall_s: Seconds of the labels and of the dynamics before.
        most: Most frames that were asked for.
    """

    labelled: int
    wall_s: float
    most: int


def _harvest(frames: Path) -> _Harvest:
    record = frames.with_suffix(".json")
    with reading(record, "no record of a harvest", "`pesbench harvest` writes it with the frames"):
        told = json.loads(record.read_text(encoding="utf-8"))
        wall_s = float(told["spent"].get("wall_s", 0.0)) + float(told["dynamics_wall_s"])
        return _Harvest(int(told["labelled"]), wall_s, int(told["settings"]["most"]))


def steps_to(frames: Sequence[Atoms]) -> int:
    """Steps of dynamics up to the last of some frames in each of the trajectories they are from."""
    last: dict[tuple[Any, ...], int] = {}
    for atoms in frames:
        trajectory = tuple(atoms.info[key] for key in ("system", "temperature_k", "replicate"))
        last[trajectory] = max(last.get(trajectory, 0), int(atoms.info["step"]))
    return sum(last.values())
