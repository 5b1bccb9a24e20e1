"""Pretrainings and trainings of the transfer study, and the registry of what is trained."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from pesbench.core.errors import UserError, reading
from pesbench.core.interface import Model
from pesbench.files import provenance
from pesbench.files.atomic import write_json
from pesbench.metrics.gaussianity import LEAST_ATOMS, gaussianity
from pesbench.models.addresses import file_sha256
from pesbench.models.as_calculator import atoms_batch
from pesbench.models.families.mace.family import MACE
from pesbench.models.families.tblite import FAMILY as TBLITE
from pesbench.models.families.testbed.family import FAMILY as TESTBED
from pesbench.models.families.testbed.network import AttentionPotential
from pesbench.models.families.testbed.settings import PotentialSettings
from pesbench.models.families.testbed.weights import Trained, potential_of, write_weights
from pesbench.models.registry import ModelEntry, load
from pesbench.models.weights import read_weights
from pesbench.testbed.cards import Sources, train_variant
from pesbench.testbed.variants import Variant
from pesbench.training.atomic import AtomicPretraining, FeatureNetwork
from pesbench.training.feature_networks import MACEFeatures, TestbedFeatures
from pesbench.training.frames import (
    BATCH_FRAMES,
    read_parts,
    read_record,
    record_content,
)
from pesbench.training.mace import write_model
from pesbench.training.mace_settings import MACETraining
from pesbench.training.mace_start import neighbours, untrained, write_start
from pesbench.training.nested import in_order
from pesbench.training.registry import read_beside, write_registry
from pesbench.training.sampling import TEST_SEEN, TRAIN, VALID, seed_number
from pesbench.training.transfer_plan import (
    ATOMIC,
    ROUTES,
    Start,
    TransferPlan,
    TransferTraining,
)

ABOUT = "Written by `pesbench transfer-models`: the potentials of the transfer study."
TARGET = "make study-transfer"
TRANSFER = "transfer"  # key of a card


def moments(found: Sequence[np.ndarray], frames: Sequence[Atoms]) -> dict[str, float]:
    """How far descriptors of frames are from normally distributed, see `metrics.gaussianity`.

    Args:
        found: Descriptors of the atoms of some frames each, in order, shapes (A, D).
        frames: All frames.
    """
    numbers = np.concatenate([atoms.numbers for atoms in frames])
    values = asdict(gaussianity(np.concatenate(found), numbers))
    return {key: round(value, 4) for key, value in values.items()} | {"atoms": len(numbers)}


def _held_out(frames: Path) -> list[Atoms]:
    """The held-out frames of a file, on which descriptors are looked at.

    Raises:
        UserError: see `read_parts`; or there are too few for moments of descriptors.
    """
    found = read_parts(frames).get(TEST_SEEN, [])
    counts = Counter(number for atoms in found for number in atoms.numbers.tolist())
    if max(counts.values(), default=0) < LEAST_ATOMS:
        raise UserError(
            f"{frames}: no element has {LEAST_ATOMS} atoms in the frames of the part "
            f"`{TEST_SEEN}`, on which descriptors are looked at; hold more frames out"
        )
    return found


def _described(model: Model, frames: Sequence[Atoms]) -> dict[str, float]:
    """Moments of what the last layer of a model says of the atoms of frames."""
    found = []
    for k in range(0, len(frames), BATCH_FRAMES):
        layers = model.describe(atoms_batch(frames[k : k + BATCH_FRAMES]))  # type: ignore[attr-defined]
        found.append(layers[list(layers)[-1]].scalars)
    return moments(found, frames)


def _last_layer(network: FeatureNetwork, frames: Sequence[Atoms], width: int) -> dict[str, float]:
    """The same of a network that is pretrained: its last `width` features, as `describe` has them.

    Args:
        network: The network.
        frames: Frames.
        width: Features of the last layer.
    """
    found = []
    generator = np.random.default_rng(seed_number("last layer"))
    with torch.no_grad():
        for k in range(0, len(frames), BATCH_FRAMES):
            some = network.features(frames[k : k + BATCH_FRAMES], generator)
            found.append(some[:, -width:].double().numpy())
    return moments(found, frames)


def train_start(
    plan: TransferPlan, start: Start, frames: Path, record: Path, work: Path, out: Path
) -> None:
    """Pretrain, and write the weights with their card (`<out>.json`).

    Args:
        plan: The plan.
        start: Which pretraining of it.
        frames: Its nested set of cheap frames.
        record: How that was made.
        work: Folder of the checkpoint; what is there is continued.
        out: The weights, that trainings start from.

    Raises:
        UserError: the frames or their record are unfit.
    """
    # the geometries that have expensive labels, too: moments depend on the number of frames
    held_out = in_order(_held_out(frames))[: plan.held_out_frames]
    network, width = _random_network(plan, start, read_parts(frames)[TRAIN])
    before = _last_layer(network, held_out, width)
    if start.route == ATOMIC:
        told = _atomic_start(plan, start, network, frames, record, work, out)
    elif start.family == MACE.name:
        told, network = _mace_start(plan, start, frames, record, work, out)
    else:
        told, network = _testbed_start(plan, start, frames, record, work, out)
    told |= {
        "descriptors": {"before": before, "after": _last_layer(network, held_out, width)},
        "route": start.route,
        "seed": start.seed,
    }
    write_json(out.with_suffix(".json"), told)


def _random_network(
    plan: TransferPlan, start: Start, frames: Sequence[Atoms]
) -> tuple[FeatureNetwork, int]:
    """A network of random weights, and the number of features of its last layer.

    Args:
        plan: The plan.
        start: The pretraining, from whose name the weights are drawn.
        frames: Frames to train on.
    """
    seed = seed_number("weights", start.name)
    if start.family == MACE.name:
        how = MACETraining()
        elements = sorted({int(z) for atoms in frames for z in atoms.numbers})
        near = neighbours(frames, how.r_max)
        return MACEFeatures(untrained(how, elements, near, seed % 2**31)), how.num_channels
    torch.manual_seed(seed)
    switches = PotentialSettings.of(plan.potential, start.name)
    return TestbedFeatures(AttentionPotential(switches)), switches.channels


def _model(training: TransferTraining, weights: Path) -> Model:
    settings = {"weights": str(weights), "sha256": file_sha256(weights), "dtype": "float64"}
    if training.family == MACE.name:
        settings["compile"] = False  # type: ignore[assignment]
    entry = ModelEntry(training.name, training.family, settings)
    return load(entry, scan_set=None, device="cpu")


def _testbed_start(
    plan: TransferPlan, start: Start, frames: Path, record: Path, work: Path, out: Path
) -> tuple[dict[str, Any], FeatureNetwork]:
    """The testbed on cheap energies and forces: what its card tells, and the network."""
    variant = Variant(
        start.name,
        PotentialSettings.of(plan.potential, start.name),
        plan.schedule(plan.pretraining),
    )
    train_variant(variant, Sources(frames, record), work, out)
    trained = potential_of(read_weights(out, None, TESTBED), torch.float32, torch.device("cpu"))
    told = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    return told, TestbedFeatures(trained.network)


def _mace_start(
    plan: TransferPlan, start: Start, frames: Path, record: Path, work: Path, out: Path
) -> tuple[dict[str, Any], FeatureNetwork]:
    """MACE on cheap energies and forces: what its card tells, and the network."""
    how = replace(plan.mace(plan.pretraining), refitted=True)
    made = work / "trained.model"
    write_model(start.name, frames, record, how, work / "training", made)
    told = json.loads(made.with_suffix(".json").read_text(encoding="utf-8"))
    # what was trained and written just now, by this call
    trained = torch.load(made, map_location="cpu", weights_only=False)
    write_start(trained, out)
    return {**told, "sha256": file_sha256(out)}, MACEFeatures(trained)


def _atomic_start(
    plan: TransferPlan,
    start: Start,
    network: FeatureNetwork,
    frames: Path,
    record: Path,
    work: Path,
    out: Path,
) -> dict[str, Any]:
    """Either family on charges and bond orders, with the network that is to be trained."""
    about, parts = read_record(record), read_parts(frames)
    with record_content(record) as content:
        method = content["method"]
        if method["family"] != TBLITE.name:
            raise UserError(
                f"{record}: frames of {method['name']}; charges and bond orders are those of "
                "tblite; sample with an entry of family `tblite`"
            )
        of = str(method["settings"]["method"])
    made_of = {"frames_sha256": file_sha256(frames)}
    epochs = plan.schedule(plan.pretraining).epochs
    run = AtomicPretraining(
        start.name, network, parts[TRAIN], parts[VALID], of, epochs, work, made_of
    )
    found = run.run()
    if isinstance(network, TestbedFeatures):
        atomic = np.zeros(len(network.module.settings.elements))
        trained = network.module.eval().requires_grad_(requires_grad=False)
        write_weights(Trained(trained, atomic, {"name": start.name, **made_of}), out)
    else:
        write_start(network.module, out)
    return {
        "name": start.name,
        "sha256": file_sha256(out),
        "errors": found,
        "epochs": epochs,
        "training_wall_s": round(run.wall_s, 1),
        **about,
        **made_of,
        "provenance": provenance.collect(),
    }


def train_transfer(
    plan: TransferPlan,
    training: TransferTraining,
    frames: Path,
    record: Path,
    start_from: Path | None,
    work: Path,
    out: Path,
) -> None:
    """Train one potential on expensive labels and write its weights with their card.

    Args:
        plan: The plan.
        training: Which training of it.
        frames: Its nested set.
        record: How that was made.
        start_from: Weights of its pretraining; None from random weights.
        work: Folder of the checkpoint; what is there is continued.
        out: The weights.

    Raises:
        UserError: the frames, their record or the weights to start from are unfit.
    """
    if (training.start is None) != (start_from is None):
        wanted = f"give --start {training.start.weights_name}" if training.start else "without one"
        raise UserError(f"{training.name}: starts from other weights: {wanted}")
    held_out = _held_out(frames)
    rate = plan.start_rate if training.start else 1.0
    if training.family == MACE.name:
        how = plan.mace()
        how = replace(how, refitted=True, lr=how.lr * rate)
        write_model(training.name, frames, record, how, work, out, start_from)
    else:
        schedule = plan.schedule()
        schedule = replace(schedule, learning_rate=schedule.learning_rate * rate)
        switches = PotentialSettings.of(plan.potential, training.name)
        variant = Variant(training.name, switches, schedule)
        train_variant(variant, Sources(frames, record, start_from=start_from), work, out)
    place = out.with_suffix(".json")
    card = json.loads(place.read_text(encoding="utf-8"))
    card[TRANSFER] = {
        "route": training.route,
        "frames": training.frames,
        "seed": training.seed,
        "start": training.start.name if training.start else None,
        "learning_rate_factor": rate,
        "descriptors": _described(_model(training, out), held_out),
    }
    if start_from is not None:
        about = start_from.with_suffix(".json")
        with reading(about, "no card of the pretraining", "make it again with `pesbench pretrain`"):
            card[TRANSFER]["start_descriptors"] = json.loads(about.read_text(encoding="utf-8"))[
                "descriptors"
            ]
    write_json(place, card)


def write_transfer_registry(
    plan: TransferPlan, weights: Path, models_file: Path, split: Path, out: Path
) -> None:
    """Write the entries of the trainings that are done, and of the methods of their labels.

    Args:
        plan: The plan.
        weights: Folder of the weights.
        models_file: Registry with the entries of the methods.
        split: CSV of the molecules that were trained on.
        out: The registry.

    Raises:
        UserError: no training is done, or the registry has no such entry.
    """
    beside = read_beside(models_file, [plan.expensive, plan.cheap])
    level = beside[plan.expensive]["level_of_theory"]

    def entry_of(one: TransferTraining, path: Path) -> dict[str, Any]:
        return {
            "family": one.family,
            "dtype": "float64",
            "level_of_theory": level,
            "training_dispersion": "included",
            "conservative": True,
            "seen_systems": str(split),
            "description": f"Transfer study: {one.frames} frames of {level}, {ROUTES[one.route]}",
            "license": "MIT",
        }

    write_registry(out, ABOUT, TARGET, plan.trainings().values(), weights, beside, entry_of)
