"""Architecture and schedule of the small MACE models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FINAL_SHARE = 0.1  # of the learning rate at the end of stage one; stage two begins with it


@dataclass(frozen=True)
class MACETraining:
    """Architecture and schedule; the names are those of `mace_run_train`.

    Attributes:
        num_channels: Channels of each degree of a message.
        max_l: Highest degree of a message (`max_L`); 0 is scalars alone.
        max_ell: Highest l of the spherical harmonics.
        correlation: Body order of the product, less one.
        r_max: Cutoff in Å.
        epochs: Number of all epochs; the energy weighs more in the last quarter (stage two).
        batch_size: Frames a step.
        lr: Learning rate of stage one.
        pair_repulsion: Whether a Ziegler-Biersack-Littmark (ZBL) term is added.
        alike: Whether schedule and normalisation are the same whatever the frames: the learning
            rate of stage one falls steadily to `FINAL_SHARE`, and energies have the scale 1 eV.
            Else it falls where the error of the validation frames stays, and the scale is the root
            mean square of all forces.
        refitted: Whether the energies of the elements are fitted to the frames, by least squares
            to what the weights at the beginning leave; else they are those of isolated atoms.
    """

    num_channels: int = 32
    max_l: int = 0
    max_ell: int = 3
    correlation: int = 2
    r_max: float = 5.0
    epochs: int = 140
    batch_size: int = 8
    lr: float = 0.01
    pair_repulsion: bool = False
    alike: bool = False
    refitted: bool = False

    def options(self) -> list[str]:
        """The settings as options of `mace_run_train`."""
        stage_two = round(0.75 * self.epochs)
        pairs: dict[str, Any] = {
            "model": "MACE",
            "num_channels": self.num_channels,
            "max_L": self.max_l,
            "max_ell": self.max_ell,
            "correlation": self.correlation,
            "r_max": self.r_max,
            "num_interactions": 2,
            "max_num_epochs": self.epochs,
            "batch_size": self.batch_size,
            "valid_batch_size": 4 * self.batch_size,
            "lr": self.lr,
            "scheduler_patience": max(1, self.epochs // 20),
            "eval_interval": 1,
            "ema_decay": 0.99,
            "start_swa": stage_two,
            "energy_weight": 20.0,
            "forces_weight": 100.0,
            "swa_energy_weight": 200.0,
            "swa_forces_weight": 100.0,
            "swa_lr": self.lr / 10,
            "default_dtype": "float32",
            "device": "cpu",
            "plot": False,
        }
        options = [f"--{key}={value}" for key, value in pairs.items()]
        options += ["--ema", "--swa", "--restart_latest", "--save_cpu"]
        if self.alike:
            gamma = FINAL_SHARE ** (1 / max(1, stage_two))
            options += ["--scheduler=ExponentialLR", f"--lr_scheduler_gamma={gamma:.6f}"]
            options += ["--scaling=no_scaling"]
        return options + (["--pair_repulsion"] if self.pair_repulsion else [])
