"""A trained potential in a file: its weights, what they are for and what they were made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pesbench.core.errors import UserError
from pesbench.core.text import quoted
from pesbench.files.atomic import atomic_path
from pesbench.models.families.testbed.network import AttentionPotential
from pesbench.models.families.testbed.settings import PotentialSettings
from pesbench.models.weights import Weights

FORMAT, VERSION = "pesbench-testbed", 1


@dataclass(frozen=True)
class Trained:
    """A potential and where its energy starts from.

    Attributes:
        network: The network in the requested precision, ready to evaluate.
        atomic_energies: eV, of an atom of each of the settings' elements; added to the network's.
        made_of: Name, sha256 of the frames, training settings, epoch.
    """

    network: AttentionPotential
    atomic_energies: NDArray[np.float64]
    made_of: dict[str, Any] = field(default_factory=dict)


def write_weights(trained: Trained, path: Path) -> None:
    """Write a potential; weights as float32, in which they are trained."""
    state = {name: value.detach().cpu().to(torch.float32, copy=True)
             for name, value in trained.network.state_dict().items()}  # fmt: skip
    content = {
        "format": FORMAT,
        "version": VERSION,
        "settings": trained.network.settings.to_dict(),
        "atomic_energies_ev": trained.atomic_energies.tolist(),
        "made_of": trained.made_of,
        "state": state,
    }
    with atomic_path(path) as part:
        torch.save(content, part)


def potential_of(weights: Weights, dtype: torch.dtype, device: torch.device) -> Trained:
    """A potential from the content of its file; only tensors and plain values are unpickled.

    Raises:
        UserError: the file holds something else, or weights of other settings than it says.
    """
    path = weights.path
    try:
        content = torch.load(weights.open(), map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"{path}: torch cannot read these weights ({type(error).__name__}: {quoted(error)}); "
            f"{weights.cure}"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path}: no weights of the testbed; {weights.cure}")
    if content.get("version") != VERSION:
        raise UserError(
            f"{path}: weights of version {quoted(content.get('version'), 20)}, this is {VERSION}; "
            "train them again"
        )
    if lacking := {"settings", "state", "atomic_energies_ev", "made_of"} - set(content):
        raise UserError(f"{path}: holds no `{min(lacking)}`; {weights.cure}")
    settings = PotentialSettings.of(content["settings"], str(path))
    network = AttentionPotential(settings)
    try:
        network.load_state_dict(content["state"])
    except RuntimeError as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: weights and settings do not belong together ({said})") from error
    network.requires_grad_(requires_grad=False)
    return Trained(
        network.to(device=device, dtype=dtype).eval(),
        np.asarray(content["atomic_energies_ev"], dtype=np.float64),
        content["made_of"],
    )
