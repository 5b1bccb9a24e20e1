"""An unconstrained attention potential: small, and with every design choice as a switch.

The neighbours of an atom are tokens that attend to each other; the token of the atom itself is read
out as its energy. Nothing in it is symmetric under rotation: that is learnt from rotated frames.
Two tokens stand for a pair of atoms, one seen from each end; every second attention is among the
tokens of the other end, so that what an atom knows spreads over the molecule. Whatever an atom
learns of a neighbour goes through the factor exp(b(x)) of `testbed.neighbours`, so that the energy
is as smooth as x is.

Source: after EScAIP and AllScAIP in fairchem, in its smallest form; the temperature τ after
arXiv:2602.04861, which gives no equation (here softmax(q·k/(τ√d) + b)).

Shapes: S molecules padded to N atoms; C channels; tokens (S, N, M, C): centre, slot. The first slot
is the atom itself, the others are those of its neighbours (`neighbours.Slots`).
"""

from __future__ import annotations

import math

import torch
from ase.data import atomic_numbers
from torch import Tensor, nn
from torch.nn import functional

from pesbench.models.families.testbed.neighbours import (
    FAR_ANGSTROM,
    Slots,
    edge_coordinate,
    log_bias,
    neighbour_slots,
)
from pesbench.models.families.testbed.rational import RationalReadout, crowding
from pesbench.models.families.testbed.repulsion import zbl
from pesbench.models.families.testbed.settings import PotentialSettings

torch.serialization.add_safe_globals([slice])  # in a table that e3nn 0.4 reads on import
from e3nn import o3  # noqa: E402

L_MAX = 2
N_HARMONICS = (L_MAX + 1) ** 2
REPULSION_CUTOFF_ANGSTROM = 2.0  # also of what a rational readout diverges with
RATIONAL, RATIONAL_PLAIN = "rational", "rational_plain"


def own(tokens: Tensor) -> Tensor:
    """The tokens of the atoms themselves, shape (S, N, C), of tokens (S, N, M, C)."""
    return tokens[:, :, 0]


class Attention(nn.Module):
    """Tokens of a centre attend to each other; the edge's bias is added, not divided by τ.

    Args:
        channels: C.
        heads: H.
        temperature: τ.
    """

    def __init__(self, channels: int, heads: int, temperature: float) -> None:
        super().__init__()
        self.heads = heads
        self.scale = 1.0 / (temperature * math.sqrt(channels / heads))
        self.norm = nn.LayerNorm(channels)
        self.project = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor, bias: Tensor) -> Tensor:
        """softmax_l(q_m·k_l/(τ√d_head) + b_l) v_l.

        Args:
            tokens: Shape (S, N, M, C).
            bias: b of every slot, shape (S, N, M).

        Returns:
            What is added to the tokens, shape (S, N, M, C).
        """
        s, n, m, c = tokens.shape
        parts = self.project(self.norm(tokens)).view(s, n, m, 3, self.heads, c // self.heads)
        q, k, v = parts.permute(3, 0, 1, 4, 2, 5)
        return self.out(self._mixed(q, k, v, bias).permute(0, 1, 3, 2, 4).reshape(s, n, m, c))

    def of_own(self, tokens: Tensor, bias: Tensor) -> Tensor:
        """What `forward` adds to the atoms' own tokens, without asking for the others.

        Args:
            tokens: Shape (S, N, M, C).
            bias: Shape (S, N, M).

        Returns:
            Shape (S, N, C).
        """
        s, n, m, c = tokens.shape
        tokens = self.norm(tokens)
        of_q, of_kv = self.project.weight.tensor_split((c,))
        shift_q, shift_kv = self.project.bias.tensor_split((c,))
        q = functional.linear(own(tokens), of_q, shift_q).view(s, n, self.heads, 1, -1)
        parts = functional.linear(tokens, of_kv, shift_kv).view(s, n, m, 2, self.heads, -1)
        k, v = parts.permute(3, 0, 1, 4, 2, 5)
        return self.out(self._mixed(q, k, v, bias).reshape(s, n, c))

    def _mixed(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        """Values mixed for each of Q queries; q is (S, N, H, Q, C/H), k and v (S, N, H, M, C/H)."""
        logits = (q @ k.transpose(3, 4)) * self.scale + bias[:, :, None, None, :]
        return torch.softmax(logits, dim=4) @ v


class Block(nn.Module):
    """Attention among the tokens of one end, then of the other, then a network for each token."""

    def __init__(self, channels: int, heads: int, temperature: float) -> None:
        super().__init__()
        self.here = Attention(channels, heads, temperature)
        self.there = Attention(channels, heads, temperature)
        self.feed = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, 2 * channels),
            nn.SiLU(),
            nn.Linear(2 * channels, channels),
        )

    def forward(self, tokens: Tensor, bias: Tensor, slots: Slots) -> Tensor:
        """The tokens after this block; `bias` is symmetric in the two ends."""
        tokens = tokens + self.here(tokens, bias)
        other = slots.swapped(tokens)
        tokens = slots.swapped(other + self.there(other, bias))
        return tokens + self.feed(tokens)

    def of_own(self, tokens: Tensor, bias: Tensor, slots: Slots) -> Tensor:
        """The atoms' own tokens after this block, shape (S, N, C): all that a readout needs."""
        tokens = tokens + self.here(tokens, bias)
        atoms = own(tokens) + self.there.of_own(slots.swapped(tokens), bias)
        return atoms + self.feed(atoms)


class AttentionPotential(nn.Module):
    """Energy and forces of molecules.

    Args:
        settings: Switches of the potential.
    """

    def __init__(self, settings: PotentialSettings) -> None:
        super().__init__()
        self.settings = settings
        c = settings.channels
        n_elements = len(settings.elements)
        place = torch.full((120,), -1, dtype=torch.long)
        for index, symbol in enumerate(settings.elements):
            place[atomic_numbers[symbol]] = index
        self.register_buffer("place", place, persistent=False)
        centres = torch.linspace(0.0, settings.cutoff, settings.n_gaussians, dtype=torch.float64)
        self.register_buffer("centres", centres, persistent=False)
        self.from_element = nn.Embedding(n_elements, c)
        self.to_element = nn.Embedding(n_elements, c)
        self.from_distance = nn.Linear(settings.n_gaussians, c)
        self.from_direction = nn.Linear(N_HARMONICS, c, bias=False)
        self.mix = nn.Sequential(nn.SiLU(), nn.Linear(c, c))
        self.blocks = nn.ModuleList(
            Block(c, settings.heads, settings.temperature) for _ in range(settings.blocks)
        )
        self.energy_head = _head(c, 1)
        self.force_head = _head(c, 3) if settings.forces == "direct" else None
        self.energy_scale = nn.Parameter(torch.ones(n_elements))
        self.energy_shift = nn.Parameter(torch.zeros(n_elements))
        if settings.repulsion != "none":
            # softplus keeps the factor positive, whatever training does
            raw = math.log(math.expm1(settings.repulsion_scale))
            factor = nn.Parameter(torch.tensor(raw), requires_grad=settings.repulsion == "zbl")
            self.repulsion_raw = factor
        if settings.readout in (RATIONAL, RATIONAL_PLAIN):
            self.rational = RationalReadout()

    @property
    def atomic_numbers(self) -> list[int]:
        """Atomic numbers of the elements that it knows."""
        return [atomic_numbers[symbol] for symbol in self.settings.elements]

    def forward(self, positions: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Energies and forces; with gradients of both where the module trains.

        Args:
            positions: Å, shape (S, N, 3).
            numbers: Atomic numbers, shape (S, N); 0 where there is no atom.

        Returns:
            eV, shape (S,), and eV/Å, shape (S, N, 3), 0 where there is no atom.
        """
        with torch.enable_grad():
            if not positions.requires_grad:
                positions = positions.detach().requires_grad_()
            real = numbers > 0
            atoms, distance = self.atoms(positions, numbers, real)
            near = None
            if self.settings.readout == RATIONAL:
                near = crowding(distance, real, REPULSION_CUTOFF_ANGSTROM)
            energy = (self.atomic_energies(atoms, numbers, near) * real).sum(1)
            pair = self.repulsion(distance, numbers, real)
            if self.force_head is None:
                return energy + pair, self._minus_slope(energy + pair, positions)
            forces = self.force_head(atoms) * real[..., None]
            if self.settings.repulsion != "none":
                forces = forces + self._minus_slope(pair, positions)
            return energy + pair, forces

    def _minus_slope(self, energy: Tensor, positions: Tensor) -> Tensor:
        (slope,) = torch.autograd.grad(energy.sum(), positions, create_graph=self.training)
        return -slope

    def atoms(self, positions: Tensor, numbers: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Own tokens of the atoms, and distances in Å, shapes (S, N, C) and (S, N, N)."""
        settings = self.settings
        vector = positions.unsqueeze(1) - positions.unsqueeze(2)  # [s, i, j] = r_j - r_i
        itself = torch.eye(numbers.shape[1], dtype=torch.bool, device=numbers.device)
        both = real[:, :, None] & real[:, None, :] & ~itself
        # the length of nothing has no slope, and a place without an atom no direction
        safe = torch.where(both[..., None], vector, torch.ones_like(vector))
        length = safe.norm(dim=3)
        distance = torch.where(
            both, length, torch.where(itself, 0.0, torch.full_like(length, FAR_ANGSTROM))
        )
        x = edge_coordinate(
            distance,
            real,
            kind=settings.neighbours,
            cutoff=settings.cutoff,
            k=settings.k,
            rank_width=settings.rank_width,
            sharpness=settings.edge_sharpness,
        )
        slots = neighbour_slots(x)
        bias = log_bias(slots.of(x))
        length = slots.of(length)
        gaussians = torch.exp(
            -0.5
            * ((slots.of(distance)[..., None] - self.centres.to(distance)) / settings.smearing) ** 2
        )
        # TorchScript rounds its first calls differently from those it has optimised
        with torch.jit.optimized_execution(False):
            harmonics = o3.spherical_harmonics(
                list(range(L_MAX + 1)), slots.of(safe) / length[..., None], normalize=False
            )
        harmonics = harmonics * slots.of(both)[..., None]
        index = self.place[numbers].clamp(min=0)
        other = slots.of(index[:, None, :].expand_as(both))
        edge = self.from_distance(gaussians) + self.from_direction(harmonics)
        edge = edge + self.from_element(index)[:, :, None] + self.to_element(other)
        tokens = self.mix(edge)
        for block in self.blocks[:-1]:
            tokens = block(tokens, bias, slots)
        return self.blocks[-1].of_own(tokens, bias, slots), distance

    def atomic_energies(self, atoms: Tensor, numbers: Tensor, near: Tensor | None = None) -> Tensor:
        """E_i = c_Z h_i + e_Z, or c_Z swish(h_i) + e_Z ≥ e_Z − 0.2785 c_Z where it is bounded.

        A rational readout has c_Z P(z_i)/Q(z_i) + e_Z with c_Z ≥ 0, where z_i is h_i, or with
        `near` that and softplus(h_i) together.

        Args:
            atoms: Own tokens of the atoms, shape (S, N, C).
            numbers: Shape (S, N).
            near: `rational.crowding` of the atoms, shape (S, N), for the readout that needs it.

        Returns:
            eV, shape (S, N).
        """
        value = self.energy_head(atoms).squeeze(2)
        index = self.place[numbers].clamp(min=0)
        scale = self.energy_scale[index]
        if self.settings.readout == "bounded":
            value, scale = functional.silu(value), scale.abs()
        elif self.settings.readout in (RATIONAL, RATIONAL_PLAIN):
            z = value if near is None else near + functional.softplus(value)
            value, scale = self.rational(z), scale.abs()
        return scale * value + self.energy_shift[index]

    def repulsion(self, distance: Tensor, numbers: Tensor, real: Tensor) -> Tensor:
        """The Ziegler-Biersack-Littmark energy times its factor, eV, shape (S,)."""
        if self.settings.repulsion == "none":
            return distance.new_zeros(len(distance))
        n = numbers.shape[1]
        i, j = torch.triu_indices(n, n, offset=1, device=numbers.device)
        pair = zbl(distance[:, i, j], numbers[:, i], numbers[:, j], REPULSION_CUTOFF_ANGSTROM)
        pair = pair * (real[:, i] & real[:, j])
        return functional.softplus(self.repulsion_raw) * pair.sum(1)


def _head(channels: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(channels),
        nn.Linear(channels, channels),
        nn.SiLU(),
        nn.Linear(channels, outputs),
    )
