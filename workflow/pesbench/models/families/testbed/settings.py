"""The switches of the testbed's potential, one for each design choice."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from ase.data import atomic_numbers

from pesbench.core.errors import UserError

CHOICES = {
    "neighbours": ("radius", "hard_knn", "soft_knn"),
    "forces": ("gradient", "direct"),
    "repulsion": ("none", "zbl", "zbl_fixed"),
    "readout": ("linear", "bounded", "rational", "rational_plain"),
}


@dataclass(frozen=True)
class PotentialSettings:
    """Everything that decides the form of a potential; its weights are all that is left.

    Attributes:
        neighbours: What an edge's weight falls off with: `radius` the distance alone, `hard_knn`
            also the ranks among either end's neighbours, `soft_knn` differentiable ranks.
        temperature: τ of the attention, dimensionless; more flattens it.
        smearing: Width w of the Gaussians of the distance, Å.
        forces: `gradient` of the energy, or `direct` from a readout of their own.
        repulsion: `zbl` adds the universal Ziegler-Biersack-Littmark potential times a factor that
            is trained, `zbl_fixed` times one that is not.
        repulsion_scale: That factor, or its initial value; 1 is the physical one.
        readout: Readout of the energy of an atom; `bounded` is bounded from below, `rational` a
            quotient of polynomials that diverges where atoms overlap, `rational_plain` the same
            quotient of a latent that need not.
        k: Neighbours of an atom that a rank of 1 stands for, dimensionless.
        cutoff: Distance at which an edge vanishes, Å.
        rank_width: Distance over which two neighbours change ranks, Å.
        edge_sharpness: λ of the smooth maximum of the two ranks and the distance, dimensionless.
        n_gaussians: Number of Gaussians of the distance, between 0 and the cutoff.
        channels: Number of channels of a token.
        heads: Number of heads of the attention; divides `channels`.
        blocks: Attention blocks.
        elements: Symbols that the potential knows, in the order of its embedding.
    """

    neighbours: str = "soft_knn"
    temperature: float = 1.0
    smearing: float = 0.1
    forces: str = "gradient"
    repulsion: str = "none"
    repulsion_scale: float = 1.0
    readout: str = "linear"
    k: float = 8.0
    cutoff: float = 5.0
    rank_width: float = 0.2
    edge_sharpness: float = 0.1
    n_gaussians: int = 256
    channels: int = 64
    heads: int = 4
    blocks: int = 2
    elements: tuple[str, ...] = ("H", "C", "N", "O", "P", "S")

    @classmethod
    def of(cls, values: Mapping[str, Any], place: str) -> Self:
        """Settings from a mapping, refused where a key or a value makes no sense.

        Args:
            values: Keys as the attributes; what is left out has its default.
            place: Place of the settings, for messages, such as `config/testbed.yaml: soft`.

        Raises:
            UserError: an unknown switch, or a value it cannot have.
        """
        check_values(cls, values, place, "switch")
        for key, choices in CHOICES.items():
            if key in values and values[key] not in choices:
                raise UserError(
                    f"{place}: `{key}` is {values[key]!r}; give one of {', '.join(choices)}"
                )
        given = values.get("elements", cls.elements)
        if not isinstance(given, list | tuple) or not all(isinstance(s, str | int) for s in given):
            raise UserError(f"{place}: `elements` is {given!r}; give a list of symbols")
        elements = tuple(given)
        wrong = [s for s in elements if s not in atomic_numbers or s == "X"]
        if wrong or not elements or len(set(elements)) < len(elements):
            what = f"{wrong[0]!r} is no element" if wrong else "none, or one twice"
            raise UserError(f"{place}: `elements`: {what}; give symbols such as H and C, each once")
        made = cls(**{**values, "elements": elements})
        if made.channels % made.heads:
            raise UserError(
                f"{place}: `channels` is {made.channels} and `heads` {made.heads}; give channels "
                "that the heads divide"
            )
        return made

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON and YAML know them; `of` reads them back."""
        return asdict(self) | {"elements": list(self.elements)}


def check_values(
    kind: type[Any],
    values: Mapping[str, Any],
    place: str,
    word: str,
    may_be_zero: Collection[str] = (),
) -> None:
    """Refuse unknown keys of a settings dataclass, and numbers that are none or not above 0.

    Args:
        kind: The dataclass.
        values: Values by key.
        place: Place of the values, for messages.
        word: What a key is called in messages.
        may_be_zero: Keys whose value may be 0.

    Raises:
        UserError: one line with the key.
    """
    known = {field.name: type(field.default) for field in fields(kind)}
    for key, value in values.items():
        if key not in known:
            raise UserError(f"{place}: no {word} {key!r}; there are {', '.join(sorted(known))}")
        if known[key] not in (int, float):
            continue
        allowed = int if known[key] is int else int | float
        number = isinstance(value, allowed) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0 or (
            value == 0 and key not in may_be_zero
        ):  # fmt: skip
            name = "whole number" if known[key] is int else "number"
            least = "of at least 0" if key in may_be_zero else "above 0"
            raise UserError(f"{place}: `{key}` is {value!r}; give a {name} {least}")
