"""Labels of another method for sampled frames, which trainings then read as any others."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.core.systems import System
from pesbench.engine.shard import refuse_control
from pesbench.files import provenance
from pesbench.files.atomic import atomic_path, write_json
from pesbench.files.molecules.xyz import write_extxyz
from pesbench.training.frames import record_content
from pesbench.training.labels import Labelling, Method
from pesbench.training.nested import TENTH, in_order, read_sampled
from pesbench.training.sampling import ENERGY, FORCES, TEST_SEEN, TRAIN, VALID

logger = logging.getLogger("pesbench")


def chosen_frames(frames: Path, pool: int, held_out: int) -> list[Atoms]:
    """Frames to label: so many to train on or validate with, and of trajectories held out.

    Both are in the order of `nested.in_order`, the molecules in turn.

    Raises:
        UserError: the file is unfit, or there are too few.
    """
    parts = read_sampled(frames)
    chosen: list[list[Atoms]] = []
    for what, some, count in (
        ("frames to train on", [*parts[TRAIN], *parts[VALID]], pool),
        ("held-out frames", parts.get(TEST_SEEN, []), held_out),
    ):
        if len(some) < count:
            raise UserError(f"{frames}: {len(some)} {what}, {count} are asked for; sample more")
        chosen.append(in_order(some)[:count])
    for k, atoms in enumerate(chosen[0]):  # sets are drawn from both alike
        atoms.info["part"] = TRAIN if k % (TENTH + 1) else VALID
    return [*chosen[0], *chosen[1]]


def write_labels(
    frames: Path,
    record: Path,
    pool: int,
    held_out: int,
    method: Method,
    out: Path,
    out_record: Path,
) -> None:
    """Label frames and write them with their record; a killed call continues.

    A frame that the method does not answer, or not with finite numbers, is left out and told.

    Args:
        frames: File of `pesbench sample`.
        record: How they were made, of the same command.
        pool: Number of frames to train on or validate with.
        held_out: Number of frames that are held out.
        method: What labels.
        out: extxyz of the frames.
        out_record: Its record.

    Raises:
        UserError: a file is unfit, the entry is a control, the method does not load or has no
            energies, or a part is left without a frame.
        HostError: the machine failed; a second call continues.
    """
    refuse_control(method.entry, "label-frames")
    with record_content(record) as content:
        about = dict(content)
    chosen = chosen_frames(frames, pool, held_out)
    made = Labelling(method, [_system(atoms) for atoms in chosen], out)
    made.run()
    labelled, failed = [], []
    for k, atoms in enumerate(chosen):
        label = made.labels[k]
        if label.status is not Status.OK:
            why = label.message or label.status.value
            failed.append(f"{atoms.info['system']} at step {atoms.info['step']}: {why}")
            continue
        atoms.info[ENERGY], atoms.arrays[FORCES] = label.energy, label.forces
        labelled.append(atoms)
    for said in failed:
        logger.warning("no label of %s", said)
    _check_left(labelled, out)
    counts = Counter(str(atoms.info["part"]) for atoms in labelled)
    about |= {
        "method": method.entry.deciding(),
        "sampled_with": about["method"],
        "counts": {f"frames_{part}": n for part, n in sorted(counts.items())},
        "not_labelled": failed,
        "spent": made.spent,
        "provenance": provenance.collect(method.environment.software),
    }
    with atomic_path(out) as part:
        write_extxyz(part, labelled)
    write_json(out_record, about)
    made.checkpoint.remove()


def _system(atoms: Atoms) -> System:
    """A frame, which says nothing of its bonds."""
    name, charge, spin = (atoms.info.get(key, 0) for key in ("system", "charge", "spin"))
    none = np.empty((0, 2), dtype=np.int64)
    return System(str(name), atoms.numbers, atoms.positions, none, int(charge), int(spin) or 1)


def _check_left(labelled: Sequence[Atoms], out: Path) -> None:
    parts = {str(atoms.info["part"]) for atoms in labelled}
    if not {TRAIN, VALID, TEST_SEEN} <= parts:
        raise UserError(
            f"{out}: a part is left without a frame, as the method answers too few; see the log"
        )
