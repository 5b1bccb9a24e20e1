"""GMNN potentials trained with apax, in the environment of family `apax`, with a model card.

A training takes minutes. One that was killed starts anew: apax forgets the best epoch when it
continues.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from pesbench.core.errors import UserError
from pesbench.files import provenance
from pesbench.files.atomic import write_json, write_text
from pesbench.files.environment import Environment
from pesbench.models.addresses import file_sha256
from pesbench.models.families.apax.archive import pack
from pesbench.models.families.apax.family import FAMILY
from pesbench.models.registry import ModelEntry
from pesbench.training.apax_variants import BOUNDED, ZBL, ApaxVariant
from pesbench.training.elsewhere import (
    check_environment,
    errors_there,
    run_there,
    table_of_errors,
)
from pesbench.training.frames import read_parts, read_record
from pesbench.training.sampling import (
    ENERGY,
    FORCES,
    TRAIN,
    VALID,
    seed_number,
)

JOB, LOG, TRAINED, MODEL = "job.json", "apax.log", "trained.json", "model"
_STAMP = "made_of.json"
_PROCESS = "pesbench.models.families.apax.train"


def apax_config(variant: ApaxVariant, work: Path) -> dict[str, Any]:
    """The `config.yaml` of a training, with the keys of the practitioner's fork of apax.

    Loss and metrics are those of apax's template; what is left out has apax's default.

    Args:
        variant: What to train.
        work: Folder with the frames, in which apax makes its own.
    """
    network, schedule = variant.network, variant.schedule
    term = {
        "name": "zbl",
        "r_max": network.repulsion_cutoff,
        "initial_rep_scale": network.repulsion_scale,
    }
    return {
        "n_epochs": schedule.epochs,
        "seed": seed_number("train", variant.name) % 2**31,
        "ckpt_interval": max(1, schedule.epochs - 1),  # the first epoch and the last
        "data_parallel": False,
        "data": {
            "directory": str(work),
            "experiment": "fit",
            "train_data_path": str(work / "train.extxyz"),
            "val_data_path": str(work / "valid.extxyz"),
            "batch_size": schedule.batch_frames,
            "valid_batch_size": 100,
        },
        "model": {
            "name": "gmnn",
            "basis": {"name": "bessel", "n_basis": network.n_basis},
            "readout_activation": "swish" if network.readout == BOUNDED else "identity",
            "empirical_corrections": [term] if network.repulsion == ZBL else [],
        },
        "loss": [
            {"name": "energy", "loss_type": "mse", "weight": 1.0},
            {"name": "forces", "loss_type": "mse", "weight": 4.0},
        ],
        "metrics": [{"name": name, "reductions": ["mae"]} for name in ("energy", "forces")],
        "progress_bar": {"disable_epoch_pbar": True, "disable_batch_pbar": True},
    }


def _write_frames(frames: Sequence[Atoms], path: Path) -> None:
    """Frames as apax reads them: energies and forces of a calculator."""
    plain = []
    for frame in frames:
        one = Atoms(frame.numbers, frame.positions)
        one.calc = SinglePointCalculator(
            one, energy=float(frame.info[ENERGY]), forces=frame.arrays[FORCES]
        )
        plain.append(one)
    write(path, plain, format="extxyz")


def train(
    variant: ApaxVariant,
    parts: Mapping[str, Sequence[Atoms]],
    work: Path,
    environment: Environment,
    threads: int,
) -> dict[str, Any]:
    """Train a potential; its folder `model` and the frames lie in `work`.

    Args:
        variant: What to train.
        parts: Frames of `pesbench sample` by their part.
        work: Folder that is emptied first.
        environment: Environment with apax.
        threads: Number of threads.

    Returns:
        `best_epoch`, `history`, `processor_s` and `repulsion`, as the process writes them.

    Raises:
        UserError: the folder holds something else, or there is no apax.
        HostError: the environment could not be made.
        RuntimeError: the training failed; the log is in `work`.
    """
    check_environment(environment, FAMILY)
    if work.is_dir() and any(work.iterdir()) and not (work / _STAMP).is_file():
        raise UserError(f"{work}: holds something else than a training; give another folder")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    write_json(work / _STAMP, {"name": variant.name})
    for part in (TRAIN, VALID):
        _write_frames(parts[part], work / f"{part}.extxyz")
    elements = sorted({int(z) for frame in parts[TRAIN] for z in frame.numbers})
    work = work.absolute()
    write_json(work / JOB, {"config": apax_config(variant, work), "elements": elements})
    run_there(_PROCESS, work / JOB, work / LOG, environment, threads)
    found: dict[str, Any] = json.loads((work / TRAINED).read_text(encoding="utf-8"))
    return found


def train_variant(
    variant: ApaxVariant,
    frames: Path,
    record: Path,
    work: Path,
    out: Path,
    environment: Environment,
    threads: int = 1,
) -> None:
    """Train a potential and write its weights with their card (`<out>.json`, `<out>.md`).

    Args:
        variant: What to train.
        frames: File of `pesbench sample`.
        record: How they were made, of the same command.
        work: Folder of frames and logs; emptied first.
        out: The weights, a zip archive.
        environment: Environment with apax.
        threads: Number of threads.

    Raises:
        UserError: the frames or their record are unfit, the folder holds something else, or there
            is no apax.
        HostError: the environment could not be made.
        RuntimeError: the training failed.
    """
    made_of = read_record(record)
    parts = read_parts(frames)
    trained = train(variant, parts, work, environment, threads)
    pack(work / MODEL, out)
    sha256 = file_sha256(out)
    entry = ModelEntry(
        variant.name, FAMILY.name, {"weights": str(out), "sha256": sha256, "dtype": "float64"}
    )
    found = errors_there(entry, parts, environment, threads)
    card = {
        "name": variant.name,
        "sha256": sha256,
        "bytes": out.stat().st_size,
        "switches": asdict(variant.network),
        "training": asdict(variant.schedule),
        "errors": found,
        "repulsion": trained["repulsion"],
        "best_epoch": trained["best_epoch"],
        "training_s": round(sum(epoch["epoch_time"] for epoch in trained["history"]), 1),
        "processor_s": trained["processor_s"],
        "history": trained["history"],
        **made_of,
        "elements": sorted({str(s) for frame in parts[TRAIN] for s in frame.symbols}),
        "frames_sha256": file_sha256(frames),
        "provenance": provenance.collect(environment.software),
    }
    write_json(out.with_suffix(".json"), card)
    write_text(out.with_suffix(".md"), card_text(card))


def card_text(card: Mapping[str, Any]) -> str:
    """The model card for readers, from its JSON."""
    sampling, switches, repulsion = card["sampling"], card["switches"], card["repulsion"]
    temperatures = " and ".join(f"{t:g}" for t in sampling["temperatures_k"])
    if repulsion is None:
        told = "* no repulsion"
    else:
        best = repulsion["best"]
        told = (
            f"* prefactor of the repulsion: {repulsion['initial']:g} eV·Å before training,"
            f" {best['prefactor']:.4g} after it; its coefficients sum to"
            f" {np.sum(best['coefficients']):.4g} (0.999 before)"
        )
    packages = card["provenance"]["packages"]
    return "\n".join(
        [
            f"# {card['name']}",
            "",
            "A GMNN potential of apax for the experiment of docs/apax.md, not for production."
            f" Trained on {card['level_of_theory']} frames of {', '.join(card['seen'])}, sampled by"
            f" Langevin dynamics at {temperatures} K. Held-out frames come from trajectories of"
            " their own. Licence: that of this project (MIT).",
            "",
            *table_of_errors(card["errors"]),
            "",
            "| switch | value |",
            "|---|---|",
            *(f"| `{key}` | {value} |" for key, value in switches.items()),
            "",
            told,
            f"* elements: {', '.join(card['elements'])}",
            f"* weights: {card['bytes']} bytes, sha256 `{card['sha256']}`",
            f"* frames: sha256 `{card['frames_sha256']}`",
            f"* training: {card['training']['epochs']} epochs, the best of them"
            f" {card['best_epoch'] + 1}; {card['processor_s']:.0f} s of processor time; history in"
            " the JSON beside this",
            "* all again: `make weights-apax`",
            f"* made: {card['provenance']['created']}, "
            + ", ".join(f"{name} {number}" for name, number in packages.items()),
            "",
        ]
    )
