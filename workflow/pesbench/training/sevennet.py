"""Small SevenNet networks, trained in the environment of family `sevennet`, with a model card.

The network is sevenn's. The loop that trains it (`models.families.sevennet.train`) is ours, and not
sevenn's own trainer, because a killed training has to end bit for bit as an undisturbed one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

from pesbench.core.errors import UserError, reading
from pesbench.files import provenance
from pesbench.files.atomic import atomic_path, write_json, write_text
from pesbench.files.environment import Environment
from pesbench.files.fingerprint import stage_fingerprint
from pesbench.files.molecules.xyz import write_extxyz
from pesbench.models.addresses import file_sha256
from pesbench.models.families.sevennet.family import FAMILY
from pesbench.models.registry import ModelEntry
from pesbench.training.elsewhere import (
    check_environment,
    errors_there,
    run_there,
    table_of_errors,
)
from pesbench.training.frames import read_parts, read_record
from pesbench.training.sampling import (
    ENERGY,
    ISOLATED,
    TRAIN,
    VALID,
    seed_number,
)

JOB, LOG = "job.json", "sevenn.log"
STATE, WEIGHTS, HISTORY = "state.pt", "weights.pth", "history.json"  # as the process writes them
_PROCESS = "pesbench.models.families.sevennet.train"


@dataclass(frozen=True)
class SevenNetTraining:
    """Architecture and schedule.

    Attributes:
        l_max: Highest degree l of the node features between two interactions, and of the
            harmonics on edges.
        channels: Of each degree.
        layers: Interactions; the last gives scalars.
        cutoff_angstrom: Cutoff, Å.
        epochs: Number of epochs.
        batch_frames: Frames a step.
        learning_rate: At the start; it falls steadily to `final_share` of it.
        final_share: Share of the learning rate at the end.
        energy_weight: Of the mean squared error of the energy per atom, (eV/atom)².
        force_weight: Of the mean squared error of a force component, (eV/Å)².
    """

    l_max: int
    channels: int = 16
    layers: int = 3
    cutoff_angstrom: float = 4.5
    epochs: int = 60
    batch_frames: int = 8
    learning_rate: float = 0.004
    final_share: float = 0.05
    energy_weight: float = 1.0
    force_weight: float = 1.0


def train(
    name: str,
    parts: Mapping[str, Sequence[Atoms]],
    training: SevenNetTraining,
    work: Path,
    environment: Environment,
    threads: int,
) -> list[dict[str, float]]:
    """Train a network; a second call on the same frames continues after the last whole epoch.

    A folder of other frames, settings, code or versions is emptied first.

    Args:
        name: Name of the model, from which its seed is derived.
        parts: Frames of `pesbench sample` by their part.
        training: How.
        work: Folder of the state and the log, kept.
        environment: Environment with sevenn.
        threads: Number of threads.

    Returns:
        Loss and errors of each epoch.

    Raises:
        UserError: the folder holds something else, or there is no sevenn.
        HostError: the environment could not be made.
        RuntimeError: the training failed; the log is in `work`.
    """
    check_environment(environment, FAMILY)
    job = asdict(training) | {
        "seed": seed_number("train", name) % 2**31,
        "code": stage_fingerprint(_PROCESS),
        "atoms_ev": {str(a.numbers[0]): float(a.info[ENERGY]) for a in parts[ISOLATED]},
        "packages": {
            key: environment.software["packages"].get(key) for key in ("sevenn", "e3nn", "torch")
        },
    }
    prepare(job, parts, work)
    run_there(_PROCESS, work / JOB, work / LOG, environment, threads)
    found: list[dict[str, float]] = json.loads((work / HISTORY).read_text(encoding="utf-8"))
    return found


def prepare(job: Mapping[str, Any], parts: Mapping[str, Sequence[Atoms]], work: Path) -> None:
    """Write the job and its frames; what the folder holds of another training is removed.

    Raises:
        UserError: the folder holds something else than a training.
    """
    stamp, wanted = work / JOB, json.loads(json.dumps(job))
    texts = {}
    work.mkdir(parents=True, exist_ok=True)
    for part in (TRAIN, VALID):
        fresh = work / f"{part}.new.extxyz"
        with atomic_path(fresh) as unfinished:
            write_extxyz(unfinished, list(parts[part]))
        texts[part] = fresh
    wanted["frames_sha256"] = {part: file_sha256(path) for part, path in texts.items()}
    before = None
    if stamp.is_file():
        with reading(stamp, "damaged", f"remove {work} to start anew"):
            before = json.loads(stamp.read_text(encoding="utf-8"))
    elif {path.name for path in work.iterdir()} - {path.name for path in texts.values()}:
        raise UserError(f"{work}: holds something else than a training; give another folder")
    if before != wanted:
        for name in (STATE, WEIGHTS, HISTORY, LOG):
            (work / name).unlink(missing_ok=True)
    for part, path in texts.items():
        shutil.move(path, work / f"{part}.extxyz")
    write_json(stamp, wanted)


def check_isolated(parts: Mapping[str, Sequence[Atoms]], frames: Path) -> None:
    """Refuse frames of an element without an isolated atom.

    Args:
        parts: Frames by part.
        frames: Their file, for the message.

    Raises:
        UserError: naming the elements.
    """
    known = {str(atoms.symbols) for atoms in parts.get(ISOLATED, ())}
    trained = {
        str(one) for part in (TRAIN, VALID) for atoms in parts[part] for one in atoms.symbols
    }
    if missing := sorted(trained - known):
        raise UserError(
            f"{frames}: no isolated atom of {', '.join(missing)} (part `{ISOLATED}`), whose energy "
            "the network is shifted by; `pesbench sample` writes them"
        )


def write_model(
    name: str,
    frames: Path,
    record: Path,
    training: SevenNetTraining,
    work: Path,
    out: Path,
    environment: Environment,
    threads: int = 1,
) -> None:
    """Train a network and write its checkpoint with its card (`<out>.json`, `<out>.md`).

    Args:
        name: Name of the model.
        frames: File of `pesbench sample`.
        record: How they were made, of the same command.
        training: How.
        work: Folder of the state and the log; what is there is continued.
        out: The checkpoint.
        environment: Environment with sevenn.
        threads: Number of threads.

    Raises:
        UserError: the frames or their record are unfit, the folder holds something else, or there
            is no sevenn.
        HostError: the environment could not be made.
        RuntimeError: the training failed.
    """
    made_of = read_record(record)
    parts = read_parts(frames)
    check_isolated(parts, frames)
    history = train(name, parts, training, work, environment, threads)
    with atomic_path(out) as part:
        shutil.copyfile(work / WEIGHTS, part)
    sha256 = file_sha256(out)
    entry = ModelEntry(name, FAMILY.name, {"weights": str(out), "sha256": sha256})
    found = errors_there(entry, parts, environment, threads)
    card = {
        "name": name,
        "sha256": sha256,
        "bytes": out.stat().st_size,
        "training": asdict(training),
        "errors": found,
        "processor_s": round(sum(epoch["processor_s"] for epoch in history), 1),
        "history": history,
        **made_of,
        "elements": sorted({str(s) for atoms in parts[TRAIN] for s in atoms.symbols}),
        "frames_sha256": file_sha256(frames),
        "provenance": provenance.collect(environment.software),
    }
    write_json(out.with_suffix(".json"), card)
    write_text(out.with_suffix(".md"), card_text(card))


def card_text(card: Mapping[str, Any]) -> str:
    """The model card for readers, from its JSON."""
    temperatures = " and ".join(f"{t:g}" for t in card["sampling"]["temperatures_k"])
    packages = card["provenance"]["packages"]
    return "\n".join(
        [
            f"# {card['name']}",
            "",
            "A small SevenNet network for the spectral diagnosis, not for production. Trained on"
            f" {card['level_of_theory']} frames of {', '.join(card['seen'])}, sampled by Langevin"
            f" dynamics at {temperatures} K. Held-out frames come from a trajectory of their own."
            " The network is sevenn's; it was trained by a loop of this project, which resumes"
            " exactly, and not by sevenn's trainer. Licence: that of this project (MIT).",
            "",
            *table_of_errors(card["errors"]),
            "",
            "| key | value |",
            "|---|---|",
            *(f"| `{key}` | {value} |" for key, value in card["training"].items()),
            "",
            f"* elements: {', '.join(card['elements'])}",
            f"* weights: {card['bytes']} bytes, sha256 `{card['sha256']}`",
            f"* frames: sha256 `{card['frames_sha256']}`",
            f"* training: {card['processor_s']:.0f} s of processor time; history in the JSON beside"
            " this",
            "* all again: `snakemake weights_backbones --configfile config/weights.yaml`",
            f"* made: {card['provenance']['created']}, "
            + ", ".join(f"{name} {number}" for name, number in packages.items()),
            "",
        ]
    )
