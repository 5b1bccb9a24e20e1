"""Networks for the energy of a dimer, all seeds of a design as one batched network (torch).

The input is x = u/u_max with u = 1/r and u_max = 1/0.95, so that x is at most 1 in training and
4.75 at 0.2 σ. Shapes: S seeds, R distances, W channels of a hidden layer.

Source of the improper rational head and of the MLP: the package `zeroproofml` 0.6.1 (its degrees
are those of the published post, 3 over 1); the other heads are ours. Their scalars count in units
of ε: a step of Adam moves a scalar by about its rate, so that 4000 steps at 1e-3 move it by about 4
and by 12.6 at most, while the wall needs 4ε/0.95¹² = 148 and the well is 20 deep.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pesbench.models.families.testbed.rational import first_coefficients, quotient
from pesbench.tasks.lj_core import designs
from pesbench.tasks.lj_core.designs import Design
from pesbench.tasks.lj_core.potential import EPSILON, TRAINED_FROM

WIDTH = 128

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


def generator_of(*names: object) -> torch.Generator:
    """A generator whose seed depends on names only."""
    digest = hashlib.sha256(" ".join(map(str, names)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def latent(kind: str, value: Tensor, x: Tensor) -> Tensor:
    """The latent coordinate z of a rational head from the output of its backbone."""
    if kind == designs.NONE:
        return value
    if kind == designs.ABS:
        return value.abs()
    positive = functional.softplus(value)
    return x + positive if kind == designs.U_PLUS_SOFTPLUS else positive


class Heads(nn.Module):
    """The energy of a dimer by all seeds of a design.

    A seed has the same weights whether it is alone or among others: they are drawn from the names
    of the design and of the seed.

    Args:
        design: What is built.
        seeds: Numbers of the seeds, S of them.
        width: W.
    """

    def __init__(self, design: Design, seeds: Sequence[int], width: int = WIDTH) -> None:
        super().__init__()
        self.design = design
        self.seeds = tuple(seeds)
        self.scale = EPSILON if design.scale == "epsilon" else 1.0
        self._activation = _ACTIVATIONS[design.activation]
        sizes = [1, *[width] * design.depth, 1]
        draws = [generator_of("weights", design.name, seed) for seed in seeds]

        def uniform(shape: tuple[int, ...], bound: float) -> nn.Parameter:
            drawn = [torch.rand(shape, generator=g, dtype=torch.float64) for g in draws]
            return nn.Parameter((2 * torch.stack(drawn) - 1) * bound)

        # as torch.nn.Linear begins
        self.weights = nn.ParameterList(
            uniform((n, m), 1 / math.sqrt(n)) for n, m in itertools.pairwise(sizes)
        )
        self.biases = nn.ParameterList(
            uniform((1, m), 1 / math.sqrt(n)) for n, m in itertools.pairwise(sizes)
        )
        one = torch.ones(len(self.seeds), 1, dtype=torch.float64)
        if design.head == designs.RATIONAL:
            start = torch.stack([first_coefficients(g) for g in draws])
            self.coefficients = nn.Parameter(start.double())  # shape (S, 6)
        elif design.head == designs.POWER:
            self.power = nn.Parameter(one.clone())
        elif design.head == designs.BOUNDED:
            self.factor, self.shift = nn.Parameter(one.clone()), nn.Parameter(0 * one)

    def forward(self, r: Tensor) -> Tensor:
        """Energies at distances in σ.

        Args:
            r: Shape (S, R).

        Returns:
            Shape (S, R).
        """
        x = TRAINED_FROM / r
        return self.scale * self._readout(self._backbone(x), x)

    def with_slope(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Energies and dE/dr, in one pass forwards; both have gradients of the weights.

        The products with weights are written out: torch's own forward mode would multiply with the
        tangents of the weights as well, which are 0, and take half as long again.
        """
        x = TRAINED_FROM / r
        per_r = -x / r
        hidden, slope = x[..., None], per_r[..., None]
        last = len(self.weights) - 1
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden, slope = torch.baddbmm(bias, hidden, weight), torch.bmm(slope, weight)
            if k < last:
                hidden, slope = torch.func.jvp(self._activation, (hidden,), (slope,))
        energy, slope = torch.func.jvp(self._readout, (hidden[..., 0], x), (slope[..., 0], per_r))
        return self.scale * energy, self.scale * slope

    def _backbone(self, x: Tensor) -> Tensor:
        hidden, last = x[..., None], len(self.weights) - 1
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            hidden = self._activation(hidden) if k < last else hidden
        return hidden[..., 0]

    def _readout(self, value: Tensor, x: Tensor) -> Tensor:
        head = self.design.head
        if head == designs.RATIONAL:
            z = latent(self.design.transform, value, x)
            return quotient(self.coefficients[..., None].unbind(1), z)
        if head == designs.POWER:
            return value + 4 * EPSILON * self.power * x**12
        if head == designs.LOG_ENERGY:
            return torch.sign(value) * torch.expm1(value.abs())
        if head == designs.BOUNDED:
            return EPSILON * (self.factor.abs() * functional.silu(value) + self.shift)
        return value
