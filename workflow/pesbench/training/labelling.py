"""Labels of another method for sampled frames, which trainings then read as any others."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from pesbench.core.errors import HostError, UserError
from pesbench.core.interface import Model, Status, told
from pesbench.core.progress import track
from pesbench.files import provenance
from pesbench.files.atomic import atomic_path, write_json
from pesbench.files.checkpoint import Arrays, Checkpoint, stored_array
from pesbench.files.fingerprint import family_modules, stage_fingerprint
from pesbench.files.molecules.xyz import write_extxyz
from pesbench.models.addresses import file_sha256
from pesbench.models.as_calculator import atoms_batch
from pesbench.models.registry import ModelEntry, load
from pesbench.training.frames import (
    read_parts,
    record_content,
)
from pesbench.training.nested import TENTH, in_order
from pesbench.training.sampling import ENERGY, FORCES, TEST_SEEN, TRAIN, VALID

logger = logging.getLogger("pesbench")


def chosen_frames(frames: Path, pool: int, held_out: int) -> list[Atoms]:
    """Frames to label: so many to train on or validate with, and of trajectories held out.

    Both are in the order of `nested.in_order`, the molecules in turn.

    Raises:
        UserError: the file is unfit, or there are too few.
    """
    parts = read_parts(frames)
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
    entry: ModelEntry,
    out: Path,
    out_record: Path,
) -> None:
    """Label frames and write them with their record; a killed call continues after its last frame.

    A frame that the method does not answer, or not with finite numbers, is left out and told.

    Args:
        frames: File of `pesbench sample`.
        record: How they were made, of the same command.
        pool: Number of frames to train on or validate with.
        held_out: Number of frames that are held out.
        entry: The method.
        out: extxyz of the frames.
        out_record: Its record.

    Raises:
        UserError: a file is unfit, the method does not load, or a part is left without a frame.
    """
    with record_content(record) as content:
        about = dict(content)
    chosen = chosen_frames(frames, pool, held_out)
    try:
        model = load(entry, scan_set=None, device="cpu")
    except (UserError, HostError):
        raise
    except Exception as error:
        raise UserError(f"model {entry.name!r}: does not load ({told(error)})") from error
    checkpoint = Checkpoint(
        out,
        {
            "model": entry.deciding(),
            "frames_sha256": file_sha256(frames),
            "asked": [pool, held_out],
            "code": stage_fingerprint(__name__, *family_modules(entry.families)),
        },
    )
    left = range(checkpoint.count, len(chosen))
    for k in track(left, len(left), "labels"):
        checkpoint.append(**_label(model, chosen[k]))
    labelled, failed = [], []
    for k, atoms in enumerate(chosen):
        one, why = checkpoint.read(k, _taken)
        if why:
            failed.append(f"{atoms.info['system']} at step {atoms.info['step']}: {why}")
            continue
        atoms.info[ENERGY], atoms.arrays[FORCES] = one
        labelled.append(atoms)
    for said in failed:
        logger.warning("no label of %s", said)
    _check_left(labelled, out)
    counts = Counter(str(atoms.info["part"]) for atoms in labelled)
    about |= {
        "method": entry.deciding(),
        "sampled_with": about["method"],
        "counts": {f"frames_{part}": n for part, n in sorted(counts.items())},
        "not_labelled": failed,
        "provenance": provenance.collect(),
    }
    with atomic_path(out) as part:
        write_extxyz(part, labelled)
    write_json(out_record, about)
    checkpoint.remove()


def _label(model: Model, atoms: Atoms) -> dict[str, Any]:
    result = model.evaluate(atoms_batch([atoms]))
    ok = result.status[0] is Status.OK and result.energies is not None
    finite = ok and np.isfinite(result.energies[0]) and np.isfinite(result.forces).all()
    why = "" if finite else result.messages[0] or "a number is missing or not finite"
    energy = result.energies[0] if finite else np.nan
    return {
        "energy": np.array([energy], dtype=np.float64),
        "forces": np.asarray(result.forces, dtype=np.float64),
        "why": np.array([why]),
    }


def _taken(arrays: Arrays) -> tuple[tuple[float, Any], str]:
    energy = stored_array(arrays, "energy", "f", (1,))
    forces = stored_array(arrays, "forces", "f", (None, 3))
    why = stored_array(arrays, "why", "U", (1,))
    return (float(energy[0]), forces), str(why[0])


def _check_left(labelled: Sequence[Atoms], out: Path) -> None:
    parts = {str(atoms.info["part"]) for atoms in labelled}
    if not {TRAIN, VALID, TEST_SEEN} <= parts:
        raise UserError(
            f"{out}: a part is left without a frame, as the method answers too few; see the log"
        )
