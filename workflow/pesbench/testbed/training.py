"""Training of an attention potential on labelled frames, exact in resume.

An epoch is one checkpoint: what is random in it is drawn from the names of the model and of the
epoch, so that a killed training repeats at most one epoch and ends bit for bit as an undisturbed
one, on a CPU with the same number of threads.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pesbench.core.errors import UserError, reading
from pesbench.core.progress import track
from pesbench.files.atomic import atomic_path, write_json, write_text
from pesbench.metrics.smoothness import force_smoothness_deviation
from pesbench.models.families.testbed.network import AttentionPotential
from pesbench.models.families.testbed.settings import PotentialSettings
from pesbench.models.families.testbed.weights import Trained
from pesbench.testbed.settings import TrainingSettings
from pesbench.testbed.smoothness_loss import smooth_fsd
from pesbench.testbed.tensors import (
    FrameTensors,
    ScanTensors,
    atomic_energies,
    batches,
    frame_tensors,
    rotated,
    rotations,
)
from pesbench.training.sampling import seed_number

CHECKPOINT, SETTINGS, HISTORY = "checkpoint.pt", "settings.json", "history.csv"
EVALUATED_FRAMES = 64  # a call
logger = logging.getLogger("pesbench")


@dataclass
class Epoch:
    """One epoch: the rate it begins with, the mean loss of its steps, and errors on the validation
    frames with the averaged weights.
    """

    epoch: int
    learning_rate: float
    loss: float
    valid_force_mae_mev_per_angstrom: float
    valid_energy_mae_mev_per_atom: float
    fsd_per_angstrom: float = math.nan
    wall_s: float = 0.0


@contextmanager
def denormals_are_zero() -> Iterator[None]:
    """Count denormal numbers as zero, which would make every product with them slow.

    Gaussians of far distances are such numbers in float32.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)  # as torch begins


def _optimisers(
    network: AttentionPotential, settings: TrainingSettings
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices between tokens, AdamW for everything else.

    Muon (Jordan et al. 2024) makes each step's matrix orthogonal; scaled as here it takes AdamW's
    learning rates (Liu et al., arXiv:2502.16982). Here it needs about half the epochs of AdamW.
    """
    matrices = [
        module.weight
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Linear) and not name.endswith("_head.3")  # the readouts
    ]
    chosen = {id(weight) for weight in matrices}
    others = [p for p in network.parameters() if id(p) not in chosen]
    rate, decay = settings.learning_rate, settings.weight_decay
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, weight_decay=decay),
    ]


def fixed_core(network: AttentionPotential, frames: Sequence[Atoms]) -> NDArray[np.float64]:
    """What a repulsion that is not trained gives to each frame, eV, shape (F,); else 0.

    The energies of atoms are fitted to what it leaves: some eV a molecule at equilibrium, which a
    training would else begin with as an error.
    """
    core = np.zeros(len(frames))
    if network.settings.repulsion != "zbl_fixed":
        return core
    for f, atoms in enumerate(frames):
        distance = torch.tensor(atoms.get_all_distances()[None], dtype=torch.float32)
        numbers = torch.tensor(atoms.numbers[None].astype(np.int64))
        with torch.no_grad():
            core[f] = float(network.repulsion(distance, numbers, numbers > 0))
    return core


def already_given(network: AttentionPotential, frames: Sequence[Atoms]) -> NDArray[np.float64]:
    """What a network gives to each frame, eV without the energies of atoms, shape (F,)."""
    found = np.empty(len(frames))
    with torch.no_grad():
        network.eval()
        for f, atoms in enumerate(frames):
            positions = torch.tensor((atoms.positions - atoms.positions.mean(axis=0))[None])
            numbers = torch.tensor(atoms.numbers[None].astype(np.int64))
            found[f] = float(network(positions.to(torch.float32), numbers)[0])
    return found


@dataclass
class Training:
    """A training under way.

    Args:
        name: Name of the model; all random numbers are drawn from it.
        potential: Switches of the potential.
        settings: Schedule of the training.
        train: Frames to train on.
        valid: Frames to choose the best epoch by.
        folder: Folder of the checkpoint; a training found there is continued.
        made_of: What must not change between the calls of one training, sha256 of the frames
            among it.
        scans: Fixed scans, for `fsd_weight` and `fsd_every`.
        fsd_every: Epochs between two looks at their FSD; 0 for none.
        device: Device of torch.
        start: Potential whose weights the training begins with, its energies of atoms aside, which
            are fitted to what these weights leave; None for random weights. `made_of` names it.

    Raises:
        UserError: a start with other switches, nothing to train on, a scan with an element that the
            potential does not know, or a checkpoint of other settings.
    """

    name: str
    potential: PotentialSettings
    settings: TrainingSettings
    train: Sequence[Atoms]
    valid: Sequence[Atoms]
    folder: Path
    made_of: dict[str, Any] = field(default_factory=dict)
    scans: Sequence[ScanTensors] = ()
    fsd_every: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    start: Trained | None = None

    def __post_init__(self) -> None:
        if not self.train or not self.valid:
            what = "train on" if not self.train else "validate with"
            raise UserError(f"{self.name}: no frame to {what}; sample more")
        if (self.settings.fsd_weight or self.fsd_every) and not self.scans:
            raise UserError(
                f"{self.name}: the FSD needs scans; name some with `fsd_scans` beside the variants"
            )
        elements = self.potential.elements
        known = [atomic_numbers[symbol] for symbol in elements]
        for scan in self.scans:
            if not set(scan.frames.numbers.unique().tolist()) <= set(known):
                raise UserError(
                    f"{self.name}: the scan {scan.id} holds an element that is not among the "
                    f"potential's {', '.join(elements)}; take it out of `fsd_scans`"
                )
        torch.manual_seed(seed_number("weights", self.name))
        network = AttentionPotential(self.potential)
        every = [*self.train, *self.valid]
        if self.start is None:
            given = fixed_core(network, every)
        else:
            self._begin_with(network, self.start.network)
            given = already_given(network, every)
        self.atomic = atomic_energies(every, elements, given)
        self._train = frame_tensors(self.train, elements, self.atomic)
        self._valid = frame_tensors(self.valid, elements, self.atomic)
        self.network = network.to(self.device).train()
        self.average = AveragedModel(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(self.settings.ema_decay)
        )
        self.optimisers = _optimisers(self.network, self.settings)
        steps = math.ceil(len(self.train) / self.settings.batch_frames) * self.settings.epochs
        self.schedules = [
            torch.optim.lr_scheduler.OneCycleLR(
                optimiser,
                max_lr=self.settings.learning_rate,
                total_steps=steps,
                # torch divides by the length of the rise less one step
                pct_start=0.05 if steps != 20 else 0.06,
                cycle_momentum=False,
            )
            for optimiser in self.optimisers
        ]
        self.history: list[Epoch] = []
        self.best: dict[str, Any] = {}
        self._resume()

    def _begin_with(self, network: AttentionPotential, start: AttentionPotential) -> None:
        found, wanted = start.settings.to_dict(), self.potential.to_dict()
        if found != wanted:
            raise UserError(
                f"{self.name}: the weights to start from have other switches "
                f"({_difference(found, wanted)}); start from weights with the same"
            )
        network.load_state_dict(start.state_dict())

    @property
    def _steppers(self) -> list[Any]:
        return [*self.optimisers, *self.schedules]

    # --- checkpoints

    def _wanted(self) -> dict[str, Any]:
        return json.loads(
            json.dumps(
                {
                    "name": self.name,
                    "potential": self.potential.to_dict(),
                    "training": asdict(self.settings),
                    # only where they are trained with; a look changes nothing
                    "scans": [[scan.id, scan.fingerprint] for scan in self.scans]
                    if self.settings.fsd_weight
                    else [],
                    **self.made_of,
                }
            )
        )

    def _resume(self) -> None:
        wanted, place = self._wanted(), self.folder / SETTINGS
        checkpoint = self.folder / CHECKPOINT
        if place.is_file() or checkpoint.is_file():
            with reading(place, "damaged", f"remove {self.folder} to start anew"):
                found = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else {}
            if found != wanted:
                raise UserError(
                    f"{self.folder}: a training of other settings ({_difference(found, wanted)}); "
                    "restore them to continue it, or remove the folder to start anew"
                )
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(place, wanted)
        if not checkpoint.is_file():
            return
        try:  # the folder may have come from elsewhere: only tensors and plain values are read
            stored = torch.load(checkpoint, map_location=self.device, weights_only=True)
            if stored["threads"] != torch.get_num_threads():  # they decide rounding
                logger.info("%s: with %d threads, as it was begun", self.name, stored["threads"])
                torch.set_num_threads(stored["threads"])
            self.network.load_state_dict(stored["network"])
            self.average.load_state_dict(stored["average"])
            for part, state in zip(self._steppers, stored["steppers"], strict=True):
                part.load_state_dict(state)
            self.history = [Epoch(**row) for row in stored["history"]]
            self.best = stored["best"]
        except Exception as error:
            raise UserError(
                f"{checkpoint}: damaged ({type(error).__name__}); remove its folder to start anew"
            ) from error
        logger.info("%s: continuing after epoch %d", self.name, len(self.history))

    def _save(self) -> None:
        content = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "steppers": [part.state_dict() for part in self._steppers],
            "history": [asdict(epoch) for epoch in self.history],
            "best": self.best,
            "threads": torch.get_num_threads(),
        }
        with atomic_path(self.folder / CHECKPOINT) as part:
            torch.save(content, part)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(asdict(self.history[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(epoch) for epoch in self.history)
        write_text(self.folder / HISTORY, text.getvalue())

    # --- epochs

    @denormals_are_zero()
    def run(self) -> Trained:
        """Train to the end.

        Returns:
            The averaged weights of the best epoch.

        Raises:
            UserError: the loss or its gradient is not finite, or the validation error is not; the
                checkpoint of the epoch before is kept.
        """
        self._run_epochs()
        network = AttentionPotential(self.potential)
        network.load_state_dict(self.best["state"])
        return Trained(
            network.eval().requires_grad_(requires_grad=False),
            self.atomic,
            {"name": self.name, "epoch": self.best["epoch"], **self._wanted()},
        )

    def _run_epochs(self) -> None:
        left = range(len(self.history) + 1, self.settings.epochs + 1)
        for number in track(left, len(left), "epochs"):
            if self._is_stale():
                logger.info("%s: no better for %d epochs", self.name, self.settings.patience_epochs)
                break
            start = time.monotonic()
            epoch = self._epoch(number)
            if not self.best or (
                epoch.valid_force_mae_mev_per_angstrom
                < self.best["valid_force_mae_mev_per_angstrom"]
            ):
                self.best = {
                    "epoch": number,
                    "valid_force_mae_mev_per_angstrom": epoch.valid_force_mae_mev_per_angstrom,
                    "state": {k: v.clone() for k, v in self.average.module.state_dict().items()},
                }
            epoch.wall_s = round(time.monotonic() - start, 3)
            self.history.append(epoch)
            self._save()
            logger.info(
                "%s: epoch %d: loss %.4f, validation %.1f meV/Å and %.2f meV/atom",
                self.name, number, epoch.loss, epoch.valid_force_mae_mev_per_angstrom,
                epoch.valid_energy_mae_mev_per_atom,
            )  # fmt: skip

    @property
    def wall_s(self) -> float:
        """Seconds of all epochs, over all calls."""
        return sum(epoch.wall_s for epoch in self.history)

    def _is_stale(self) -> bool:
        return bool(self.best) and (
            len(self.history) - self.best["epoch"] >= self.settings.patience_epochs
        )

    def _epoch(self, number: int) -> Epoch:
        generator = np.random.default_rng(seed_number("epoch", self.name, number))
        self.network.train()
        rate = float(self.schedules[0].get_last_lr()[0])
        losses = []
        parts = batches(self._train.sizes, self.settings.batch_frames, generator)
        scans = self._scans_in_turn(generator)
        for index in parts:
            loss = self._loss(rotated(self._train.pick(index), generator))
            if self.settings.fsd_weight:
                loss = loss + self.settings.fsd_weight * self._fsd_term(next(scans), generator)
            self._check_finite(loss, "loss", number)
            self.network.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(
                self.network.parameters(), self.settings.max_gradient_norm
            )
            self._check_finite(norm, "gradient of the loss", number)
            for part in self._steppers:
                part.step()
            self.average.update_parameters(self.network)
            losses.append(float(loss.detach()))
        force, energy = self._valid_errors()
        # or a checkpoint of it would take the place of a good one
        self._check_finite(torch.tensor(force + energy), "error on the validation frames", number)
        look = self.fsd_every and number % self.fsd_every == 0
        return Epoch(
            epoch=number,
            learning_rate=rate,
            loss=float(np.mean(losses)),
            valid_force_mae_mev_per_angstrom=force,
            valid_energy_mae_mev_per_atom=energy,
            fsd_per_angstrom=self._fsd() if look else math.nan,
        )

    def _check_finite(self, value: Tensor, what: str, epoch: int) -> None:
        if torch.isfinite(value):
            return
        kept = f", the checkpoint of epoch {epoch - 1} is kept in {self.folder}"
        raise UserError(
            f"{self.name}: the {what} is not a number in epoch {epoch}; training stops"
            f"{kept if epoch > 1 else ''}; train with a lower `learning_rate`"
        )

    def _loss(self, frames: FrameTensors) -> Tensor:
        energy, forces = self.network(*self._on_device(frames))
        sizes = torch.as_tensor(frames.sizes, device=self.device, dtype=energy.dtype)
        energy_error = (energy - frames.energies.to(self.device)).abs() / sizes
        real = frames.numbers.to(self.device) > 0
        # the root has no slope at 0
        length = ((forces - frames.forces.to(self.device)).square().sum(2) + 1e-12).sqrt()
        return (
            self.settings.energy_weight * energy_error.mean()
            + self.settings.force_weight * length[real].mean()
        )

    def _on_device(self, frames: FrameTensors) -> tuple[Tensor, Tensor]:
        return frames.positions.to(self.device), frames.numbers.to(self.device)

    def _scans_in_turn(self, generator: np.random.Generator) -> Iterator[ScanTensors]:
        while self.scans:
            for k in generator.permutation(len(self.scans)):
                yield self.scans[k]

    def _fsd_term(self, scan: ScanTensors, generator: np.random.Generator) -> Tensor:
        """The smooth FSD of a scan, turned as a whole."""
        turn = rotations(1, generator)[0]
        positions = (scan.frames.positions @ turn).to(self.device)
        _, forces = self.network(positions, scan.frames.numbers.to(self.device))
        reference = (scan.frames.forces @ turn).to(self.device)
        return smooth_fsd(scan.coordinate.to(self.device), forces, reference, scan.q)

    def _valid_errors(self) -> tuple[float, float]:
        """MAE of force components in meV/Å and of energies in meV/atom, of the average."""
        self.average.eval()
        force, energy, atoms = 0.0, 0.0, 0
        for start in range(0, len(self._valid.sizes), EVALUATED_FRAMES):
            index = np.arange(start, min(start + EVALUATED_FRAMES, len(self._valid.sizes)))
            frames = self._valid.pick(index)
            e, f = self.average(*self._on_device(frames))
            real = frames.numbers > 0
            force += float((f.detach().cpu() - frames.forces).abs()[real].sum())
            off = (e.detach().cpu() - frames.energies).abs() / torch.as_tensor(frames.sizes)
            energy += float(off.sum())
            atoms += int(frames.sizes.sum())
        return 1000 * force / (3 * atoms), 1000 * energy / len(self._valid.sizes)

    def _fsd(self) -> float:
        """Mean FSD of the fixed scans, Å⁻¹, with the averaged weights."""
        self.average.eval()
        found = []
        for scan in self.scans:
            forces = [
                self.average(*self._on_device(scan.frames.pick(index)))[1].detach().cpu()
                for index in np.array_split(np.arange(len(scan.coordinate)), 4)
            ]
            fsd = force_smoothness_deviation(
                scan.coordinate.double().numpy(),
                torch.cat(forces).double().numpy(),
                scan.frames.forces.double().numpy(),
                scan.q,
            )
            found.append(fsd.full)
        return float(np.mean(found))


def _difference(found: dict[str, Any], wanted: dict[str, Any], name: str = "") -> str:
    """The first setting that differs."""
    for key in sorted(found.keys() | wanted.keys()):
        a, b = found.get(key), wanted.get(key)
        if a != b:
            if isinstance(a, dict) and isinstance(b, dict):
                return _difference(a, b, f"{name}{key}.")
            return f"`{name}{key}` was {a!r} and is {b!r}"
    return ""
