"""Family `mace`: MACE models from a weight file or a published name, through TorchSim."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch_sim as ts
from torch_sim.models.mace import MaceModel
from torch_sim.neighbors import vesin_nl_ts

from pesbench.errors import HostError, UserError
from pesbench.models.torchsim import DTYPES, TorchSimModel, choose_device


class MACE(TorchSimModel):
    """A MACE model.

    TorchSim 0.3 tells batches apart by their elements alone; two batches with the same elements in
    another division into systems would share a stale index, so it is set anew here.
    """

    _model: MaceModel

    def on_new_composition(self, state: ts.SimState) -> None:
        self._model.setup_from_system_idx(state.atomic_numbers, state.system_idx)
        state.pbc = torch.as_tensor(state.pbc)


def load_mace(settings: dict[str, Any], device: str) -> MACE:
    """A MACE model from the settings of its entry.

    Args:
        settings: `weights` (a path) or `foundation` (`mace_mp/<name>`, `mace_off/<name>` or
            `mace_omol/<name>`, which mace-torch downloads), `dtype`.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UserError: the file is no MACE model.
    """
    torch_device, dtype = choose_device(device), DTYPES[settings["dtype"]]
    torch.set_default_dtype(dtype)  # e3nn makes constants in the default precision
    if "foundation" in settings:
        network = _foundation_model(settings["foundation"], torch_device)
        details = {"foundation": settings["foundation"]}
    else:
        network = _read_weights(Path(settings["weights"]), torch_device)
        details = {"weights_sha256": settings["sha256"]}
    for parameter in network.parameters():
        parameter.requires_grad_(requires_grad=False)  # forces need the graph of positions only
    if settings["compile"]:
        from e3nn.util import jit  # imported after mace, which prepares torch for e3nn's files

        network = jit.compile(network)
    elements = frozenset(int(z) for z in network.atomic_numbers)
    model = MaceModel(
        network,
        device=torch_device,
        dtype=dtype,
        compute_stress=False,
        neighbor_list_fn=_neighbor_list,
    )
    return MACE(model, elements, details | {"mace-torch": version("mace-torch")})


def _neighbor_list(
    positions: torch.Tensor, cell: torch.Tensor, pbc: torch.Tensor, cutoff: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """TorchSim's default neighbour list, with `pbc` as a tensor: a compiled MACE takes no bool."""
    return vesin_nl_ts(positions, cell, bool(pbc), cutoff)


def _read_weights(path: Path, device: torch.device) -> torch.nn.Module:
    try:
        network = torch.load(path, map_location=device, weights_only=False)
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: torch cannot read these weights ({type(error).__name__}: {said}); "
            "give the .model file that mace_run_train writes"
        ) from error
    if not all(hasattr(network, name) for name in ("atomic_numbers", "r_max", "forward")):
        raise UserError(
            f"{path}: holds a {type(network).__name__}, no MACE model; "
            "give the .model file that mace_run_train writes"
        )
    return network


def _foundation_model(name: str, device: torch.device) -> torch.nn.Module:
    from mace.calculators import foundations_models

    collection, _, model = name.partition("/")
    loader = getattr(foundations_models, collection)
    try:
        return loader(model=model, device=str(device), return_raw_model=True)
    except RuntimeError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
            raise HostError(f"{name}: the download failed ({cause}); try again") from error
        raise
