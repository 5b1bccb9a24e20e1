"""A network whose parameters are scrambled: the same architecture without what it has learnt."""

from __future__ import annotations

import hashlib
import sys

from pesbench.core.interface import Model, NotDescribedError
from pesbench.models.parameters import networks

_MARK = "pesbench_scrambled"


def scramble(model: Model, name: str) -> None:
    """Permute the entries of every parameter of a model's networks at random.

    Their sizes stay, and with them the sizes of features; a parameter of one number, such as a
    denominator, stays as it is. Buffers, such as coupling coefficients, stay, too. A second call
    changes nothing.

    Args:
        model: A loaded model; it answers as untrained from then on.
        name: From which the permutations are drawn, so that each seed of a potential has its own.

    Raises:
        NotDescribedError: it holds no torch network.
    """
    torch = sys.modules.get("torch")
    found = [] if torch is None else networks(model, torch)
    if torch is None or not found:
        raise NotDescribedError("the model holds no torch network to scramble")
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    generator = torch.Generator().manual_seed(seed)
    for network in found:
        if getattr(network, _MARK, False):
            continue
        for parameter in network.parameters():
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.data.copy_(parameter.data.flatten()[order].view_as(parameter))
        setattr(network, _MARK, True)


def is_scrambled(model: Model) -> bool:
    """Whether `scramble` has changed a model."""
    torch = sys.modules.get("torch")
    return torch is not None and any(getattr(one, _MARK, False) for one in networks(model, torch))
