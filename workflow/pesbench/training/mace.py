"""Small MACE models, trained with `mace_run_train` on sampled frames, with a model card."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from ase import Atoms

from pesbench.core.errors import UserError, reading
from pesbench.engine.supervisor import die_with_parent
from pesbench.files import provenance
from pesbench.files.atomic import atomic_path, write_json, write_text
from pesbench.files.molecules.xyz import write_extxyz
from pesbench.models.addresses import file_sha256
from pesbench.models.families.mace.family import MACE
from pesbench.models.registry import ModelEntry, load
from pesbench.training.frames import (
    errors,
    level_of,
    made_by,
    once,
    origin,
    read_parts,
    record_content,
    training_set,
)
from pesbench.training.mace_settings import MACETraining
from pesbench.training.mace_start import read_start, refitted_energies
from pesbench.training.sampling import (
    ENERGY,
    FORCES,
    ISOLATED,
    TEST_SEEN,
    TEST_UNSEEN,
    TRAIN,
    VALID,
    seed_number,
)

STAMP = "made_of.json"
KEPT_CHECKPOINTS = 2  # of each stage: the last one may be cut short by a kill
logger = logging.getLogger("pesbench")


def _by_age(folder: Path) -> dict[str, list[Path]]:
    """The checkpoints of each stage of the training, the oldest first."""
    found: dict[str, list[tuple[int, Path]]] = {}
    for path in folder.glob("*.pt"):
        if match := re.fullmatch(r".+_epoch-(\d+)(_swa)?", path.stem):
            found.setdefault(match[2] or "", []).append((int(match[1]), path))
    return {stage: [path for _, path in sorted(paths)] for stage, paths in found.items()}


def _is_whole(checkpoint: Path) -> bool:
    try:
        with zipfile.ZipFile(checkpoint) as archive:  # torch.save writes one, with checksums
            if archive.testzip() is not None:
                return False
        torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception:  # whatever a damaged or foreign file makes of it
        return False
    return True


def drop_unfinished_checkpoints(folder: Path) -> None:
    """Remove checkpoints that a kill cut short, and files that hold anything but tensors.

    `mace_run_train` writes a checkpoint under its final name, and starts anew without a word where
    it cannot read the last one. It executes what a checkpoint says: of a folder that came from
    elsewhere, nothing may be left that can run code.

    Args:
        folder: Folder of the checkpoints; need not exist.
    """
    for path in sorted(folder.glob("*_epoch-*")):  # all that it may take for a checkpoint
        if path.is_file() and not _is_whole(path):
            logger.warning(
                "%s: was cut short, or holds more than tensors; going on from the one before", path
            )
            path.unlink()


def drop_old_checkpoints(folder: Path) -> None:
    """Keep the last checkpoints of each stage, as many as a kill needs.

    Args:
        folder: Folder of the checkpoints; need not exist.
    """
    for paths in _by_age(folder).values():
        for path in paths[:-KEPT_CHECKPOINTS]:
            path.unlink()


def _run_training(command: Sequence[str], folder: Path) -> float:
    """Run it, passing on the epochs; the wall time of all calls in this folder, in s."""
    spent_file = folder / "wall_s.json"
    before = 0.0
    if spent_file.is_file():
        with reading(spent_file, "damaged", f"remove {folder} to start anew"):
            before = float(json.loads(spent_file.read_text(encoding="utf-8")))
    start = time.monotonic()
    drop_unfinished_checkpoints(folder / "checkpoints")
    models = folder / "model"  # the network that is loaded in the end is made by this call
    if models.is_symlink():
        models.unlink()
    elif models.exists():
        shutil.rmtree(models)
    with (folder / "mace_run_train.log").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            preexec_fn=die_with_parent,  # two trainings in one folder would ruin each other
        )
        assert process.stdout is not None
        tail: list[str] = []
        for line in process.stdout:
            log.write(line)
            tail = [*tail[-4:], line.strip()]
            if "Epoch" in line:
                logger.info("%s", line.strip().rpartition("INFO: ")[2])
                # here and not at the end, so that a killed call also counts
                write_json(spent_file, round(before + time.monotonic() - start, 1))
                drop_old_checkpoints(folder / "checkpoints")
        if process.wait():
            raise RuntimeError(
                f"mace_run_train ended with exit code {process.returncode}: {' | '.join(tail)}"
            )
    return before + time.monotonic() - start


def train(
    name: str,
    frames: Path,
    training: MACETraining,
    work: Path,
    start_from: Path | None = None,
) -> tuple[Path, list[str], float]:
    """Train a model; a second call on the same frames continues from the last checkpoint.

    A folder of other frames, of another architecture or schedule or of another version of MACE is
    emptied first: its checkpoints have seen other data.

    Args:
        name: Name of the model; its seed is derived from it.
        frames: File of `pesbench sample`.
        training: How.
        work: Folder of checkpoints and logs, kept.
        start_from: Weights to begin with, of `mace_start.write_start`; None for random ones.

    Returns:
        The model file, the command that made it, and the wall time in s, summed over its calls.

    Raises:
        UserError: the frames or the weights to begin with are unfit.
        RuntimeError: the training failed; the log is in `work`.
    """
    parts = read_parts(frames)
    start = None if start_from is None else read_start(start_from, training)
    made_of = {
        "frames_sha256": file_sha256(frames),
        "options": training.options(),
        "mace-torch": version("mace-torch"),
        **({"start_from": file_sha256(start_from)} if start_from else {}),
        **({"refitted": True} if training.refitted else {}),
    }
    stamp = work / STAMP
    before = None
    if stamp.is_file():
        with reading(stamp, "damaged", f"remove {work} to start anew"):
            before = json.loads(stamp.read_text(encoding="utf-8"))
    elif work.is_dir() and any(work.iterdir()):
        raise UserError(f"{work}: holds something else than a training; give another folder")
    if work.is_dir() and before != made_of:
        logger.info("%s: made of something else; starting anew", work)
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    write_json(stamp, made_of)
    files = {TRAIN: work / "train.extxyz", VALID: work / "valid.extxyz"}
    for part, path in files.items():
        alone = part == TRAIN and not training.refitted
        isolated = parts.get(ISOLATED, []) if alone else []
        with atomic_path(path) as unfinished:
            write_extxyz(unfinished, [*isolated, *parts[part]])
    command = [
        sys.executable,
        "-m",
        "mace.cli.run_train",
        f"--name={name}",
        f"--seed={seed_number('train', name) % 2**31}",
        f"--train_file={files[TRAIN]}",
        f"--valid_file={files[VALID]}",
        f"--energy_key={ENERGY}",
        f"--forces_key={FORCES}",
        "--config_type_weights={'Default': 1.0}",
        *(f"--{kind}_dir={work / kind}" for kind in ("model", "log", "checkpoints", "results")),
        # else it removes the last checkpoint before the next one is written
        "--keep_checkpoints",
        *training.options(),
    ]
    command += _beginning([*parts[TRAIN], *parts[VALID]], training, start, work)
    wall_s = _run_training(command, work)
    stages = [work / "model" / f"{name}{suffix}.model" for suffix in ("_stagetwo", "")]
    made = [path for path in stages if path.is_file()]
    if not made:
        raise RuntimeError(f"{work}: mace_run_train wrote no model")
    return made[0], command[1:], wall_s


def _beginning(
    frames: Sequence[Atoms], training: MACETraining, start: torch.nn.Module | None, work: Path
) -> list[str]:
    """Options of what a training begins with: energies of the elements, and a network."""
    options = [f"--E0s={refitted_energies(frames, start)}"] if training.refitted else []
    if start is None:
        return options
    pickled = work / "start.model"  # `mace_run_train` reads no other; this call wrote it
    with atomic_path(pickled) as unfinished:
        torch.save(start, unfinished)
    return [*options, f"--foundation_model={pickled}", "--multiheads_finetuning=False"]


def write_model(
    name: str,
    frames: Path,
    record: Path,
    training: MACETraining,
    work: Path,
    out: Path,
    start_from: Path | None = None,
    again: str = "",
) -> None:
    """Train, and write the weights with their card (`<out>.json`, `<out>.md`).

    Args:
        name: Name of the model.
        frames: File of `pesbench sample`.
        record: How the frames were made, of the same command.
        training: How.
        work: Folder of checkpoints and logs; what is there is continued.
        out: The `.model` file.
        start_from: Weights to begin with, see `train`.
        again: Command that makes the weights again, for the card; "" for what the frames tell.
    """
    with record_content(record) as data:
        level_of_theory = level_of(data)
        temperatures_k = [float(t) for t in data["sampling"]["temperatures_k"]]
        told = {key: data[key] for key in ("seen", "unseen", "sampling", "counts")}
        told |= training_set(data)
    made, command, wall_s = train(name, frames, training, work, start_from)
    with atomic_path(out) as part:
        shutil.copyfile(made, part)
    settings = {
        "weights": str(out),
        "sha256": file_sha256(out),
        "dtype": "float64",
        "compile": False,
    }
    model = load(ModelEntry(name, MACE.name, settings), scan_set=None, device="cpu")
    parts = once(read_parts(frames), data)
    held_out = [part for part in (TEST_SEEN, TEST_UNSEEN) if part in parts]
    card = {
        "name": name,
        "sha256": settings["sha256"],
        "bytes": out.stat().st_size,
        "level_of_theory": level_of_theory,
        "elements": sorted({str(s) for a in parts.get(ISOLATED, parts[TRAIN]) for s in a.symbols}),
        "errors": {part: errors(model, parts[part]) for part in (TRAIN, *held_out)},
        "errors_by_temperature_k": {
            f"{t:g}": {
                part: errors(model, [a for a in parts[part] if a.info["temperature_k"] == t])
                for part in held_out
            }
            for t in temperatures_k
        },
        **told,
        **({"made_by": again} if again else {}),
        "frames_sha256": file_sha256(frames),
        **({"start_from": file_sha256(start_from)} if start_from else {}),
        "training_command": [part.replace(f"{work}/", "") for part in command],
        "training_wall_s": round(wall_s, 1),
        "provenance": provenance.collect(),
    }
    write_json(out.with_suffix(".json"), card)
    write_text(out.with_suffix(".md"), card_text(card))


def card_text(card: dict[str, Any]) -> str:
    """The model card for readers, from its JSON."""
    names = {TRAIN: "trained on", TEST_SEEN: "held out, seen", TEST_UNSEEN: "held out, unseen"}
    rows = [
        f"| {names[part]} | {e['frames']} | {e['force_mae_mev_per_angstrom']:.1f} |"
        f" {e['energy_mae_mev_per_atom']:.2f} |"
        for part, e in card["errors"].items()
    ]
    by_temperature = [
        f"| {t} | " + " | ".join(f"{e[p]['force_mae_mev_per_angstrom']:.1f}" for p in e) + " |"
        for t, e in card["errors_by_temperature_k"].items()
    ]
    held_out = [part for part in card["errors"] if part != TRAIN]
    columns = " | ".join(f"force MAE, {part} (meV/Å)" for part in held_out)
    sampling = card["sampling"]
    temperatures = ", ".join(f"{t:g}" for t in sampling["temperatures_k"])
    return "\n".join(
        [
            f"# {card['name']}",
            "",
            "A small MACE model for tests and examples, not for production. Trained on"
            f" {card['level_of_theory']} frames of {origin(card)}, sampled by Langevin dynamics at"
            f" {temperatures} K. Held-out frames come from trajectories of their own."
            " Licence: that of this project (MIT).",
            "",
            "| frames | number | force MAE (meV/Å) | energy MAE (meV/atom) |",
            "|---|---:|---:|---:|",
            *rows,
            "",
            f"| T (K) | {columns} |",
            "|---:|" + "---:|" * len(held_out),
            *by_temperature,
            "",
            f"* elements: {', '.join(card['elements'])}",
            f"* seen: {', '.join(card['seen'])}",
            f"* never seen: {', '.join(card['unseen'])}",
            f"* weights: {card['bytes']} bytes, sha256 `{card['sha256']}`",
            f"* frames: sha256 `{card['frames_sha256']}`",
            f"* training: {card['training_wall_s']:.0f} s, `python "
            + " ".join(card["training_command"])
            + "`",
            f"* all again: `{made_by(card, 'make weights-mace')}`",
            f"* made: {card['provenance']['created']}, "
            + ", ".join(f"{k} {v}" for k, v in card["provenance"]["packages"].items()),
            "",
        ]
    )
