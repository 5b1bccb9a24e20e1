"""The outputs of layers of a torch network, by forward hooks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch

from pesbench.core.interface import NodeFeatures, NotDescribedError


class _EnoughError(Exception):
    """The last layer that is looked at has answered: the rest need not be computed."""


def layer_outputs(
    layers: Mapping[str, torch.nn.Module],
    forward: Callable[[], object],
    read: Callable[[Any], torch.Tensor | tuple[torch.Tensor, ...]] = lambda output: output,
) -> dict[str, torch.Tensor]:
    """What some layers of a network give in one forward pass, without gradients.

    The pass ends after the last of them, so that neither energies nor forces are computed.

    Args:
        layers: Layers by name, in the order in which the network calls them.
        forward: Calls the network.
        read: Takes the features from a layer's output; several are put side by side.

    Returns:
        Tensors of shape (A, columns) by the name of the layer.

    Raises:
        NotDescribedError: there is no layer, or one is compiled or was not called.
    """
    if not layers:
        raise NotDescribedError("the network has no layers that can be looked at")
    if any(isinstance(one, torch.jit.ScriptModule) for one in layers.values()):
        raise NotDescribedError("the network is compiled; leave `compile` out of its entry")
    last = next(reversed(layers))
    found: dict[str, torch.Tensor] = {}

    def hook(name: str) -> Callable[..., None]:
        def keep(_module: torch.nn.Module, _inputs: object, output: object) -> None:
            value = read(output)
            parts = value if isinstance(value, tuple) else (value,)
            found[name] = torch.cat([one.detach() for one in parts], dim=1).clone()
            if name == last:
                raise _EnoughError

        return keep

    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    try:
        with torch.no_grad(), contextlib.suppress(_EnoughError):
            forward()
    finally:
        for handle in handles:
            handle.remove()
    if missing := [name for name in layers if name not in found]:
        raise NotDescribedError(f"the network did not call its layer {missing[0]!r}")
    return found


def node_features(irreps: Any, values: torch.Tensor) -> NodeFeatures:
    """Features of a layer from a tensor and the `e3nn` irreps of its columns.

    Args:
        irreps: Irreps of e3nn, or pairs of channels and degree l.
        values: Shape (A, columns).

    Raises:
        NotDescribedError: the irreps are not those of the columns.
    """
    pairs = tuple((int(one[0]), int(getattr(one[1], "l", one[1]))) for one in irreps)
    pairs = tuple((channels, degree) for channels, degree in pairs if channels)
    if sum(channels * (2 * degree + 1) for channels, degree in pairs) != values.shape[1]:
        raise NotDescribedError(f"{values.shape[1]} columns are not those of the irreps {irreps}")
    return NodeFeatures(pairs, values.to("cpu", torch.float64).numpy())
