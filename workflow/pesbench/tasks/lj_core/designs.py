"""Which heads are trained: the main rows, and the grid over what the published post leaves open."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pesbench.core.errors import UserError
from pesbench.core.names import closest

MLP, RATIONAL = "mlp", "rational"
POWER, LOG_ENERGY, BOUNDED = "mlp_r12", "mlp_log_energy", "bounded"
HEADS = (RATIONAL, MLP, POWER, LOG_ENERGY, BOUNDED)
ACTIVATIONS = ("relu", "silu", "tanh")
DEPTHS = (2, 3)
NONE, SOFTPLUS, ABS, U_PLUS_SOFTPLUS = "none", "softplus", "abs", "u_plus_softplus"
TRANSFORMS = (NONE, SOFTPLUS, ABS, U_PLUS_SOFTPLUS)
SCALES = ("one", "epsilon")
UNIFORM, MIN_BIAS = "uniform", "min_bias"
SAMPLINGS = (UNIFORM, MIN_BIAS)
MAIN_SEEDS, GRID_SEEDS = 10, 3
MAIN, GRID = "main", "grid"

# the modules that decide what a trained head says: the fingerprint of a part is theirs
DECIDING = tuple(f"{__package__}.{name}" for name in ("head_training", "judged", "ghost"))

# Published numbers of `log10_energy_mae_core`, mean and standard deviation over ten seeds.
PUBLISHED = {RATIONAL: (1.332, 0.399), MLP: (4.842, 0.0505)}


@dataclass(frozen=True)
class Design:
    """One design of a network for the energy of a dimer.

    Attributes:
        head: One of `HEADS`.
        activation: Of the hidden layers.
        depth: Number of hidden layers.
        transform: What makes the latent coordinate z of the rational head from its backbone; ""
            for other heads.
        scale: Factor of the energy, `one` or `epsilon`.
        sampling: Distribution of the training distances: `uniform`, or `min_bias`, which is
            r = 0.95 + 2.05 U³.
    """

    head: str
    activation: str
    depth: int = 2
    transform: str = ""
    scale: str = "one"
    sampling: str = MIN_BIAS

    @property
    def name(self) -> str:
        """A name for files, from which all random numbers of the training derive."""
        parts = (self.head, self.activation, f"{self.depth}", self.transform, self.scale,
                 self.sampling)  # fmt: skip
        return "-".join(part for part in parts if part)


@dataclass(frozen=True)
class Schedule:
    """How heads are trained: a fixed number of steps of Adam at one rate.

    The published optimiser and its length are not public; these are of our replication.

    Attributes:
        steps: Steps of Adam.
        batch: Distances a step, drawn anew each time.
        learning_rate: Of Adam.
        chunk: Steps between two checkpoints.
    """

    steps: int = 4000
    batch: int = 512
    learning_rate: float = 1e-3
    chunk: int = 200


@dataclass(frozen=True)
class Part:
    """What one job trains.

    Attributes:
        name: Name of the job and of its file.
        designs: One after the other.
        seeds: Number of seeds of each.
    """

    name: str
    designs: tuple[Design, ...]
    seeds: int


def main_designs() -> dict[str, Design]:
    """The main row of each head.

    Activation and depth are the defaults of the published package: SiLU for the MLP, ReLU for the
    backbone of the rational head. Its transform is our choice. Those that a practitioner would try
    differ from the MLP in their readout alone.
    """
    silu = {head: Design(head, "silu") for head in HEADS if head != RATIONAL}
    return {RATIONAL: Design(RATIONAL, "relu", transform=U_PLUS_SOFTPLUS), **silu}


def grid(head: str) -> Iterator[Design]:
    """The designs of the grid of the rational head or of the MLP."""
    transforms = TRANSFORMS if head == RATIONAL else ("",)
    for values in itertools.product(ACTIVATIONS, DEPTHS, transforms, SCALES, SAMPLINGS):
        yield Design(head, *values)


def mlp_beside(design: Design) -> Design:
    """The MLP of the grid that is the same as a rational design in all else."""
    return replace(design, head=MLP, transform="")


@functools.cache
def parts() -> dict[str, Part]:
    """All jobs by name: a main row each, and the grid by head, activation and depth.

    Those of the MLP stand first, beside which each rational head needs one.
    """
    found = [Part(f"{MAIN}-{name}", (one,), MAIN_SEEDS) for name, one in main_designs().items()]
    for head, activation, depth in itertools.product((MLP, RATIONAL), ACTIVATIONS, DEPTHS):
        chosen = [d for d in grid(head) if (d.activation, d.depth) == (activation, depth)]
        found.append(Part(f"{GRID}-{head}-{activation}-{depth}", tuple(chosen), GRID_SEEDS))
    return {part.name: part for part in found}


def trained_tables(folder: Path) -> list[Path]:
    """The tables in a folder of the parts that are trained; those of all parts if none is."""
    every = [folder / f"{name}.csv" for name in parts()]
    return [table for table in every if table.is_file()] or every


def part_of(name: str) -> Part:
    """One job.

    Raises:
        UserError: there is none of that name.
    """
    known = parts()
    if name not in known:
        raise UserError(f"lj-heads: no part {name!r}; {closest(name, known)}")
    return known[name]
