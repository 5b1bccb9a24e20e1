"""Pretraining on quantities of atoms: charges and bond orders of extended tight binding.

A network gives features of atoms, and two small heads that are thrown away read from them the
charge of an atom and the Wiberg bond order of a pair. The readout of the energy is not trained.
Random numbers are drawn from the name and the epoch, and an epoch is one checkpoint, so that a
killed pretraining ends bit for bit as an undisturbed one on a CPU with the same number of threads.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from ase import Atoms
from torch import Tensor, nn

from pesbench.core.errors import UserError, reading
from pesbench.core.progress import track
from pesbench.files.atomic import atomic_path, write_json
from pesbench.testbed.training import denormals_are_zero
from pesbench.training.atom_targets import atom_targets
from pesbench.training.sampling import seed_number

CHECKPOINT, SETTINGS = "checkpoint.pt", "settings.json"
BATCH_FRAMES, LEARNING_RATE, HIDDEN, MAX_NORM = 16, 3e-3, 64, 5.0
logger = logging.getLogger("pesbench")


class FeatureNetwork(Protocol):
    """A network as the source of features of atoms.

    Attributes:
        module: Its parameters, those that the features do not depend on among them.
    """

    module: nn.Module

    def features(self, frames: Sequence[Atoms], generator: np.random.Generator) -> Tensor:
        """Features of the atoms of all frames, one after another, with gradients: (A, D)."""
        ...


class Heads(nn.Module):
    """Charge of an atom and bond order of a pair, read from features of atoms.

    Args:
        width: Number of features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.charge = nn.Sequential(nn.Linear(width, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 1))
        self.bond = nn.Sequential(nn.Linear(2 * width + 1, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 1))

    def forward(self, atoms: Tensor, pairs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Charges, shape (A,), and bond orders, shape (P,), the same from either end of a pair."""
        one, other = atoms[pairs[:, 0]], atoms[pairs[:, 1]]
        near = torch.exp(-lengths)[:, None]
        both = torch.cat([one + other, one * other, near], dim=1)
        return self.charge(atoms).squeeze(1), self.bond(both).squeeze(1)


@dataclass
class AtomicPretraining:
    """A pretraining under way.

    Args:
        name: Its name; all random numbers are drawn from it.
        network: Whose features are trained.
        train: Frames to train on.
        valid: Frames to tell errors of.
        method: tblite's name of the method.
        epochs: Number of epochs; the last weights are taken.
        folder: Folder of the checkpoint; what is found there is continued.
        made_of: What must not change between the calls of one pretraining.

    Raises:
        UserError: a checkpoint of other settings, or a damaged one.
    """

    name: str
    network: FeatureNetwork
    train: Sequence[Atoms]
    valid: Sequence[Atoms]
    method: str
    epochs: int
    folder: Path
    made_of: dict[str, Any]

    def __post_init__(self) -> None:
        self._targets = {
            id(atoms): atom_targets(atoms, self.method) for atoms in (*self.train, *self.valid)
        }
        every = [self._targets[id(atoms)] for atoms in self.train]
        self.spread = tuple(
            max(float(np.concatenate(values).std()), 1e-6)
            for values in ([t.charges for t in every], [t.bond_orders for t in every])
        )
        with torch.no_grad():
            some = self.network.features(
                self.train[:1], np.random.default_rng(seed_number("width", self.name))
            )
            width = some.shape[1]
        torch.manual_seed(seed_number("heads", self.name))
        self.heads = Heads(width)
        trained = [*self.network.module.parameters(), *self.heads.parameters()]
        self._parameters = [one for one in trained if one.requires_grad]
        self.optimiser = torch.optim.AdamW(self._parameters, lr=LEARNING_RATE, weight_decay=1e-4)
        steps = -(-len(self.train) // BATCH_FRAMES) * self.epochs
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, LEARNING_RATE, total_steps=max(2, steps), cycle_momentum=False
        )
        self.done, self.wall_s = 0, 0.0
        self._resume()

    @property
    def _parts(self) -> dict[str, Any]:
        return {
            "network": self.network.module,
            "heads": self.heads,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
        }

    def _resume(self) -> None:
        wanted = json.loads(
            json.dumps(self.made_of | {"name": self.name, "epochs": self.epochs, "of": self.method})
        )
        place, checkpoint = self.folder / SETTINGS, self.folder / CHECKPOINT
        if place.is_file() or checkpoint.is_file():
            with reading(place, "damaged", f"remove {self.folder} to start anew"):
                found = json.loads(place.read_text(encoding="utf-8"))
            if found != wanted:
                raise UserError(
                    f"{self.folder}: a pretraining of other settings; restore them to continue it, "
                    "or remove the folder to start anew"
                )
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(place, wanted)
        if not checkpoint.is_file():
            return
        try:  # the folder may have come from elsewhere: only tensors and plain values are read
            stored = torch.load(checkpoint, map_location="cpu", weights_only=True)
            if stored["threads"] != torch.get_num_threads():  # they decide rounding
                torch.set_num_threads(stored["threads"])
            for name, part in self._parts.items():
                part.load_state_dict(stored[name])
            self.done, self.wall_s = stored["done"], stored["wall_s"]
        except Exception as error:
            raise UserError(
                f"{checkpoint}: damaged ({type(error).__name__}); remove its folder to start anew"
            ) from error
        logger.info("%s: continuing after epoch %d", self.name, self.done)

    @denormals_are_zero()
    def run(self) -> dict[str, float]:
        """Train to the end.

        Returns:
            Errors on `valid`: `charge_mae_e`, `bond_order_mae`, and those of the means of the
            trained ones, `charge_mae_e_of_mean` and `bond_order_mae_of_mean`.

        Raises:
            UserError: the loss is not finite; the checkpoint of the epoch before is kept.
        """
        left = range(self.done + 1, self.epochs + 1)
        for number in track(left, len(left), "epochs"):
            start = time.monotonic()
            generator = np.random.default_rng(seed_number("epoch", self.name, number))
            order = generator.permutation(len(self.train))
            losses = []
            for k in range(0, len(order), BATCH_FRAMES):
                some = [self.train[i] for i in order[k : k + BATCH_FRAMES]]
                losses.append(self._step(some, number, generator))
            self.done, self.wall_s = number, self.wall_s + time.monotonic() - start
            stored = {name: part.state_dict() for name, part in self._parts.items()}
            stored |= {
                "done": self.done, "wall_s": self.wall_s, "threads": torch.get_num_threads(),
            }  # fmt: skip
            with atomic_path(self.folder / CHECKPOINT) as part:
                torch.save(stored, part)
            logger.info("%s: epoch %d: loss %.4f", self.name, number, np.mean(losses))
        return self._errors()

    def _step(self, frames: Sequence[Atoms], epoch: int, generator: np.random.Generator) -> float:
        charges, orders, wanted = self._asked(frames, generator)
        loss = ((charges - wanted[0]) / self.spread[0]).square().mean()
        loss = loss + ((orders - wanted[1]) / self.spread[1]).square().mean()
        if not torch.isfinite(loss):
            raise UserError(f"{self.name}: the loss is not a number in epoch {epoch}")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, MAX_NORM)
        self.optimiser.step()
        self.schedule.step()
        return float(loss.detach())

    def _asked(
        self, frames: Sequence[Atoms], generator: np.random.Generator
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Charges and bond orders of frames by the heads, and what they should be."""
        targets = [self._targets[id(atoms)] for atoms in frames]
        first = np.cumsum([0, *(len(one.charges) for one in targets)])[:-1]
        pairs = np.concatenate([t.pairs + k for t, k in zip(targets, first, strict=True)])
        lengths = np.concatenate([one.lengths for one in targets])
        found = self.heads(
            self.network.features(frames, generator), torch.tensor(pairs),
            torch.tensor(lengths, dtype=torch.float32),
        )  # fmt: skip
        wanted = (
            torch.tensor(np.concatenate([one.charges for one in targets]), dtype=torch.float32),
            torch.tensor(np.concatenate([one.bond_orders for one in targets]), dtype=torch.float32),
        )
        return *found, wanted

    def _errors(self) -> dict[str, float]:
        means = [
            float(np.concatenate(values).mean())
            for values in (
                [self._targets[id(a)].charges for a in self.train],
                [self._targets[id(a)].bond_orders for a in self.train],
            )
        ]
        with torch.no_grad():
            generator = np.random.default_rng(seed_number("errors", self.name))
            charges, orders, wanted = self._asked(self.valid, generator)
        found = {}
        for name, got, right, mean in zip(
            ("charge_mae_e", "bond_order_mae"), (charges, orders), wanted, means, strict=True
        ):
            found[name] = round(float((got - right).abs().mean()), 5)
            found[f"{name}_of_mean"] = round(float((mean - right).abs().mean()), 5)
        return found
