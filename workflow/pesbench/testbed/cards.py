"""A trained potential with its card: what it was made of, and how good it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pesbench.core.errors import UserError
from pesbench.core.interface import Batch, Model
from pesbench.files import provenance
from pesbench.files.atomic import write_json, write_text
from pesbench.files.scan_set import ScanSet
from pesbench.metrics.smoothness import equilibrium_index
from pesbench.models.addresses import file_sha256
from pesbench.models.as_calculator import atoms_batch
from pesbench.models.families.testbed.family import FAMILY
from pesbench.models.families.testbed.settings import PotentialSettings
from pesbench.models.families.testbed.weights import potential_of, write_weights
from pesbench.models.registry import ModelEntry, load
from pesbench.models.torch_devices import choose_device
from pesbench.models.weights import read_weights
from pesbench.testbed.tensors import ScanTensors, check_elements, scan_tensors
from pesbench.testbed.training import HISTORY, Training
from pesbench.testbed.variants import Variant
from pesbench.training.frames import (
    errors,
    made_by,
    once,
    origin,
    read_parts,
    read_record,
    training_set,
)
from pesbench.training.sampling import TEST_SEEN, TEST_UNSEEN, TRAIN, VALID, seed_number

N_ROTATIONS = 4
ROTATED_FRAMES = 100
SMOKE_EPOCHS, SMOKE_EVERY = 2, 8


@dataclass(frozen=True)
class Sources:
    """Files that a training reads.

    Attributes:
        frames: File of `pesbench sample`.
        record: How they were made, of the same command.
        scan_set: Scan set with the scans whose FSD is logged; None for none.
        start_from: Weights to begin with, with the same switches; None for random ones.
    """

    frames: Path
    record: Path
    scan_set: Path | None = None
    start_from: Path | None = None


def read_scans(scan_set: Path | None, ids: Sequence[str]) -> list[ScanTensors]:
    """The fixed scans of a training.

    Raises:
        UserError: a scan is not in the scan set or has no minimum, or no scan set is given.
    """
    if not ids:
        return []
    if scan_set is None:
        raise UserError("the FSD of scans is asked for; give --scan-set")
    found = []
    with ScanSet(scan_set) as scans:
        for scan_id in ids:
            if scan_id not in scans.ids:
                raise UserError(f"{scan_set}: no scan {scan_id!r}; correct `fsd_scans`")
            scan = scans.scan(scan_id)
            used = np.isfinite(scan.energy)
            try:
                q = equilibrium_index(scan.energy[used])
            except ValueError as error:
                raise UserError(
                    f"{scan_set}: {scan_id}: {error}; take it out of `fsd_scans`"
                ) from error
            found.append(scan_tensors(scan, q, used))
    return found


def train_variant(
    variant: Variant,
    sources: Sources,
    work: Path,
    out: Path,
    *,
    device: str = "cpu",
    smoke: bool = False,
) -> None:
    """Train a variant and write its weights with their card (`<out>.json`, `<out>.md`).

    Args:
        variant: What to train.
        sources: What to train on.
        work: Folder of the checkpoint; what is there is continued.
        out: The weights.
        device: `auto`, `cpu` or `cuda`.
        smoke: Train on few frames for two epochs: a test of the machinery, no potential.

    Raises:
        UserError: the frames or their record are unfit, the folder holds another training, or the
            loss is no number.
    """
    record = read_record(sources.record)
    parts = read_parts(sources.frames)
    judged = [part for part in (TRAIN, TEST_SEEN, TEST_UNSEEN) if part in parts]
    for part in judged:
        check_elements(parts[part], variant.potential.elements)
    run = _training(variant, sources, parts, work, device=device, smoke=smoke)
    write_weights(run.run(), out)
    parts = once(parts, record)
    entry = ModelEntry(
        variant.name,
        FAMILY.name,
        {"weights": str(out), "sha256": file_sha256(out), "dtype": "float64"},
    )
    model = load(entry, scan_set=None, device="cpu")
    every = SMOKE_EVERY if smoke else 1
    card: dict[str, Any] = {
        "name": variant.name,
        "sha256": entry.settings["sha256"],
        "bytes": out.stat().st_size,
        "parameters": sum(p.numel() for p in run.network.parameters()),
        "smoke": smoke,
        "level_of_theory": record["level_of_theory"],
        "switches": variant.potential.to_dict(),
        "training": asdict(run.settings),
        "fsd_scans": list(variant.fsd_scans) if run.settings.fsd_weight else [],
        "errors": {part: errors(model, parts[part][::every]) for part in judged},
        "rotation": rotation_variance(model, parts.get(TEST_SEEN, parts[VALID])[::every]),
        "best_epoch": run.best["epoch"],
        "epochs": len(run.history),
        "history": [asdict(epoch) for epoch in run.history],
        "seen": record["seen"],
        "unseen": record["unseen"],
        "sampling": record["sampling"],
        "counts": record["counts"],
        **training_set(record),
        **({"start_from": file_sha256(sources.start_from)} if sources.start_from else {}),
        "frames_sha256": file_sha256(sources.frames),
        "training_wall_s": round(run.wall_s, 1),
        "provenance": provenance.collect(),
    }
    if variant.potential.repulsion != "none":
        raw = run.best["state"]["repulsion_raw"]
        card["repulsion_scale"] = round(float(np.log1p(np.exp(float(raw)))), 4)
    # JSON has no NaN; without a logged FSD there is none
    for epoch in card["history"]:
        if not np.isfinite(epoch["fsd_per_angstrom"]):
            epoch["fsd_per_angstrom"] = None
    write_json(out.with_suffix(".json"), card)
    write_text(out.with_suffix(".md"), card_text(card))


def _training(
    variant: Variant,
    sources: Sources,
    parts: Mapping[str, Sequence[Atoms]],
    work: Path,
    *,
    device: str,
    smoke: bool,
) -> Training:
    """The training of a variant, as `train_variant` has its arguments; `parts` are the frames."""
    training = variant.training
    train, valid = parts[TRAIN], parts[VALID]
    if smoke:
        training = type(training)(**{**asdict(training), "epochs": SMOKE_EPOCHS})
        train, valid = train[::SMOKE_EVERY], valid[::SMOKE_EVERY]
    made_of: dict[str, Any] = {"frames_sha256": file_sha256(sources.frames), "smoke": smoke}
    start = None
    if sources.start_from is not None:
        weights = read_weights(sources.start_from, None, FAMILY)
        start = potential_of(weights, torch.float32, torch.device("cpu"))
        made_of["start_from"] = file_sha256(sources.start_from)
    needs_scans = bool(training.fsd_weight or variant.fsd_every)
    return Training(
        variant.name,
        variant.potential,
        training,
        train,
        valid,
        work,
        made_of,
        scans=read_scans(sources.scan_set, variant.fsd_scans) if needs_scans else (),
        fsd_every=variant.fsd_every,
        device=choose_device(device),
        start=start,
    )


def rotation_variance(model: Model, frames: Sequence[Atoms]) -> dict[str, float]:
    """Deviation of a potential from symmetry under rotation.

    Args:
        model: Loaded.
        frames: Frames, of which about `ROTATED_FRAMES`, evenly spaced, are rotated.

    Returns:
        Root mean square of F(R x) − R F(x) over components in meV/Å, and of E(R x) − E(x) in
        meV/atom, over `N_ROTATIONS` rotations.
    """
    some = list(frames[:: max(1, len(frames) // ROTATED_FRAMES)])
    batch = atoms_batch(some)
    base = model.evaluate(batch)
    sizes = np.array([len(atoms) for atoms in some])
    generator = np.random.default_rng(seed_number("rotation variance"))
    force, energy = [], []
    for rotation in Rotation.from_quat(generator.standard_normal((N_ROTATIONS, 4))):
        turn = rotation.as_matrix()
        turned = model.evaluate(_turned(batch, turn))
        force.append(turned.forces - base.forces @ turn.T)
        assert turned.energies is not None
        assert base.energies is not None
        energy.append((turned.energies - base.energies) / sizes)
    return {
        "force_rms_mev_per_angstrom": round(1000 * float(np.sqrt(np.mean(np.square(force)))), 3),
        "energy_rms_mev_per_atom": round(1000 * float(np.sqrt(np.mean(np.square(energy)))), 4),
        "frames": len(some),
        "rotations": N_ROTATIONS,
    }


def _turned(batch: Batch, turn: NDArray[np.float64]) -> Batch:
    return Batch(**{**batch.__dict__, "positions": batch.positions @ turn.T})


def card_text(card: dict[str, Any]) -> str:
    """The model card for readers, from its JSON."""
    names = {TRAIN: "trained on", TEST_SEEN: "held out, seen", TEST_UNSEEN: "held out, unseen"}
    rows = [
        f"| {names[part]} | {e['frames']} | {e['force_mae_mev_per_angstrom']:.1f} |"
        f" {e['energy_mae_mev_per_atom']:.2f} |"
        for part, e in card["errors"].items()
    ]
    defaults = PotentialSettings().to_dict()
    switches = [
        f"| `{key}` | {value} | {'' if value == defaults[key] else defaults[key]} |"
        for key, value in card["switches"].items()
        if key != "elements"
    ]
    sampling = card["sampling"]
    temperatures = ", ".join(f"{t:g}" for t in sampling["temperatures_k"])
    more = []
    if card["smoke"]:
        more.append("**A smoke test, no potential: few frames, two epochs.**")
    if card["fsd_scans"]:
        more.append(
            f"The loss holds the force smoothness of {len(card['fsd_scans'])} scans with weight"
            f" {card['training']['fsd_weight']:g}; they are no test of it (`seen_scans` of its"
            f" entry): {', '.join(card['fsd_scans'])}."
        )
    if "repulsion_scale" in card:
        more.append(f"Factor of the repulsion after training: {card['repulsion_scale']}.")
    return "\n".join(
        [
            f"# {card['name']}",
            "",
            "A small attention potential of the testbed, to compare design choices with, not for"
            f" production. Trained on {card['level_of_theory']} frames of {origin(card)}, sampled"
            f" by Langevin dynamics at {temperatures} K. Held-out frames"
            " come from trajectories of their own. Licence: that of this project (MIT).",
            "",
            *(line for text in more for line in (text, "")),
            "| frames | number | force MAE (meV/Å) | energy MAE (meV/atom) |",
            "|---|---:|---:|---:|",
            *rows,
            "",
            "| switch | value | default, where another |",
            "|---|---|---|",
            *switches,
            "",
            f"* rotation variance: {card['rotation']['force_rms_mev_per_angstrom']:.1f} meV/Å and"
            f" {card['rotation']['energy_rms_mev_per_atom']:.2f} meV/atom (root mean square)",
            f"* elements: {', '.join(card['switches']['elements'])}",
            f"* seen: {', '.join(card['seen'])}",
            f"* never seen: {', '.join(card['unseen'])}",
            f"* weights: {card['parameters']} parameters, {card['bytes']} bytes, sha256"
            f" `{card['sha256']}`",
            f"* frames: sha256 `{card['frames_sha256']}`",
            f"* training: {card['epochs']} epochs, the best of them {card['best_epoch']};"
            f" {card['training_wall_s']:.0f} s; history in the JSON beside this"
            f" (of `{HISTORY}`)",
            f"* all again: `{made_by(card, 'make weights-testbed')}`",
            f"* made: {card['provenance']['created']}, "
            + ", ".join(f"{k} {v}" for k, v in card["provenance"]["packages"].items()),
            "",
        ]
    )
