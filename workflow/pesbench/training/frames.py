"""Labelled frames for training and testing potentials."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import read

from pesbench.core.errors import UserError, reading
from pesbench.core.interface import Model
from pesbench.models.as_calculator import atoms_batch
from pesbench.training.sampling import ENERGY, FORCES, TRAIN, VALID

BATCH_FRAMES = 32
WEIGHT = "config_weight"  # of a frame, as MACE reads it; 1 where it is not told
_AGAIN = "make it again with `pesbench sample`"


def read_frames(frames: Path) -> list[Atoms]:
    """All frames of a file, whole.

    Raises:
        UserError: the file is missing, empty, cut short or no list of frames.
    """
    if not frames.is_file():
        raise UserError(f"{frames}: no such file; make it with `pesbench sample`")
    content = frames.read_bytes()
    if not content.strip():
        raise UserError(f"{frames}: is empty; {_AGAIN}")
    if not content.endswith(b"\n"):  # a truncated number is still a number, and ASE would accept it
        raise UserError(f"{frames}: is cut short, its last line has no end; {_AGAIN}")
    try:
        return read(frames, index=":")
    except Exception as error:  # its readers raise whatever they meet
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{frames}: is cut short or no file of frames ({why}); {_AGAIN}") from error


def check_told(
    frames: Sequence[Atoms], path: Path, keys: Sequence[str], command: str = "pesbench sample"
) -> None:
    """Refuse frames that do not tell what is asked of them.

    Args:
        frames: Frames of a file.
        path: The file.
        keys: What each of them has to have in `info` or `arrays`.
        command: What makes such a file.

    Raises:
        UserError: one lacks a key.
    """
    for atoms in frames:
        if lacking := [key for key in keys if key not in atoms.info and key not in atoms.arrays]:
            name = atoms.info.get("system", atoms.symbols)
            raise UserError(
                f"{path}: a frame without `{lacking[0]}` ({name}); make the file with `{command}`"
            )


def read_labelled(frames: Path) -> list[Atoms]:
    """All frames of a file of `pesbench sample`, in its order.

    Raises:
        UserError: the file is missing, empty, cut short or made by something else, or a label is
            not finite.
    """
    found = read_frames(frames)
    check_told(found, frames, ("part",))
    for number, atoms in enumerate(found):
        labels = (atoms.info.get(ENERGY, np.nan), atoms.arrays.get(FORCES, np.nan))
        if not all(np.isfinite(label).all() for label in labels):
            raise UserError(
                f"{frames}: frame {number} ({atoms.info.get('system', atoms.symbols)}): its energy "
                f"or a force is missing or not a number (`{ENERGY}`, `{FORCES}`); take the frame "
                "out or label it again"
            )
    return found


def read_parts(frames: Path) -> dict[str, list[Atoms]]:
    """Frames of `pesbench sample` by their part.

    Raises:
        UserError: see `read_labelled`; or there is nothing to train on or validate with.
    """
    parts: dict[str, list[Atoms]] = {}
    for atoms in read_labelled(frames):
        parts.setdefault(str(atoms.info["part"]), []).append(atoms)
    if missing := [part for part in (TRAIN, VALID) if part not in parts]:
        raise UserError(f"{frames}: holds no {missing[0]} frame; sample more")
    return parts


@contextmanager
def record_content(path: Path) -> Iterator[dict[str, Any]]:
    """How frames were made; what the block does not find in it is an error of the file.

    Raises:
        UserError: the file is missing or holds something else.
    """
    with reading(path, "no record of frames", "`pesbench sample` writes it with them"):
        yield json.loads(path.read_text(encoding="utf-8"))


def read_record(path: Path) -> dict[str, Any]:
    """Origin of frames, for their card.

    Raises:
        UserError: the file is missing or holds something else.
    """
    with record_content(path) as data:
        return {
            "level_of_theory": level_of(data),
            **{key: data[key] for key in ("seen", "unseen", "sampling", "counts")},
            **training_set(data),
        }


def level_of(record: Mapping[str, Any]) -> str:
    """The level of theory of the labels of a record: method, or functional with basis set."""
    method = record["method"]
    settings = method["settings"]
    if {"functional", "basis"} <= settings.keys():
        dispersion = settings.get("dispersion", "none")
        added = "" if dispersion == "none" else f"+{dispersion}"
        return f"{settings['functional']}{added}/{settings['basis']}"
    return str(settings.get("method", method["name"]))


def errors(model: Model, frames: Sequence[Atoms]) -> dict[str, float]:
    """Errors of a model on labelled frames.

    Returns:
        `force_mae_mev_per_angstrom` over components, `energy_mae_mev_per_atom`, `frames`.
    """
    force, energy = [], []
    for start in range(0, len(frames), BATCH_FRAMES):
        some = frames[start : start + BATCH_FRAMES]
        result = model.evaluate(atoms_batch(some))
        assert result.energies is not None
        force.append(np.abs(result.forces - np.concatenate([a.arrays[FORCES] for a in some])))
        wanted = np.array([a.info[ENERGY] for a in some])
        energy.append(np.abs(result.energies - wanted) / np.array([len(a) for a in some]))
    return {
        "frames": len(frames),
        "force_mae_mev_per_angstrom": round(1000 * float(np.concatenate(force).mean()), 2),
        "energy_mae_mev_per_atom": round(1000 * float(np.concatenate(energy).mean()), 3),
    }


def training_set(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a record or a card says of a chosen set of frames; empty of one that says nothing."""
    key = "training_set"
    return {key: record[key]} if key in record else {}


def once(parts: Mapping[str, list[Atoms]], record: Mapping[str, Any]) -> dict[str, list[Atoms]]:
    """The frames of a file by part, those that an epoch passes over several times only once.

    Args:
        parts: Frames by part; all that are trained with stand one after another, then again.
        record: Of the file.
    """
    count = training_set(record).get("training_set", {}).get("frames")
    return {**parts, TRAIN: parts[TRAIN][:count]}


def origin(card: Mapping[str, Any]) -> str:
    """What the frames of a card are of, for its page."""
    chosen = training_set(card).get("training_set")
    if chosen is None:
        named = "made_by" in card  # neither is told of the weights that ship
        return ", ".join(card["seen"]) if named else "the seen molecules of `resources/mini`"
    approached, grown = chosen["approach_frames"], chosen.get("grown")
    more = f", {approached} of them on closest approach" if approached else ""
    more += f", {sum(grown['added'])} of them {grown['kind']}" if grown else ""
    return f"the molecules of `resources/data_study` ({chosen['frames']} frames{more})"


def made_by(card: Mapping[str, Any], target: str) -> str:
    """The command that makes the weights of a card again; `target` where it names none."""
    return str(training_set(card).get("training_set", card).get("made_by", target))
