"""A network whose parameters are drawn anew: the same architecture, untrained."""

from __future__ import annotations

import sys

from pesbench.core.interface import Model, NotDescribedError
from pesbench.models.parameters import networks

_MARK = "pesbench_redrawn"


def redraw(model: Model, seed: int = 0) -> None:
    """Draw every parameter of a model's networks from a normal distribution.

    Its width is the root mean square of the parameter as it was, so that features keep their size.
    Buffers, such as coupling coefficients, stay. A second call changes nothing.

    Args:
        model: A loaded model; it answers as untrained from then on.
        seed: Of the draws.

    Raises:
        NotDescribedError: it holds no torch network.
    """
    torch = sys.modules.get("torch")
    found = [] if torch is None else networks(model, torch)
    if torch is None or not found:
        raise NotDescribedError("the model holds no torch network to draw anew")
    generator = torch.Generator().manual_seed(seed)
    for network in found:
        if getattr(network, _MARK, False):
            continue
        for parameter in network.parameters():
            size = (
                parameter.detach().double().pow(2).mean().sqrt().item()
                if len(parameter.flatten())
                else 0.0
            )
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.data.copy_(size * drawn)
        setattr(network, _MARK, True)


def is_redrawn(model: Model) -> bool:
    """Whether `redraw` has changed a model."""
    torch = sys.modules.get("torch")
    return torch is not None and any(getattr(one, _MARK, False) for one in networks(model, torch))
