"""The potentials of the experiment with their seeds, and how their walls are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pesbench.compare.inputs import CompareInputs
from pesbench.compare.ladder.cards import Card, seeds_on_other_frames
from pesbench.compare.walls.comparison import APPROACH, compared_cards
from pesbench.core.errors import reading
from pesbench.core.interface import Status

BOND = "bond"  # kind of the pairs that are counted
COULOMB_EV_ANGSTROM = 14.3996  # e²/(4πε₀): the prefactor of the physical repulsion
_NOT_TRIED = (Status.UNSUPPORTED.value, Status.MASKED.value)


@dataclass(frozen=True)
class Walls:
    """The bonded pairs of one trained potential, of those that all potentials have.

    Attributes:
        model: Name of the entry.
        n_pairs: Number of these pairs.
        n_failed: Of them, without a number, as after an energy that is not finite.
        n_monotone: Of them, whose energy rises everywhere; one that failed is none.
        hole_radius_angstrom: Largest hole radius of them; NaN if all failed.
        n_spurious_minima: Spurious minima of all of them.
        prefactor: Prefactor of the repulsion after training, eV·Å; None without one.
        screening: Its screening function at no distance after training, which is the sum of its
            coefficients; None where they are not trained.
        force_mae_mev_per_angstrom: On held-out frames of molecules that it has seen; NaN if the
            card does not tell.
    """

    model: str
    n_pairs: int
    n_failed: int
    n_monotone: int
    hole_radius_angstrom: float
    n_spurious_minima: int
    prefactor: float | None
    screening: float | None
    force_mae_mev_per_angstrom: float

    @property
    def all_monotone(self) -> bool:
        """Whether there are pairs, and every one is."""
        return 0 < self.n_pairs == self.n_monotone


@dataclass(frozen=True)
class Potential:
    """One potential with its seeds.

    Attributes:
        name: Name that its seeds share.
        choices: Switches of its card; `repulsion_scale` in eV·Å.
        seeds: Its trainings, the first one first.
        other_frames: Those of them that were trained on other frames than the first one.
    """

    name: str
    choices: Mapping[str, Any]
    seeds: Sequence[Walls]
    other_frames: tuple[str, ...] = ()

    def fits(self, wanted: Mapping[str, Any]) -> bool:
        """Whether its choices are these; a key that it does not have fits nothing but None."""
        return all(self.choices.get(key) == value for key, value in wanted.items())


@dataclass(frozen=True)
class _Repulsion:
    """The repulsion of a card, None for what it does not have.

    Attributes:
        initial: Prefactor before training, eV·Å.
        trained: Prefactor after it, eV·Å.
        screening: As that of `Walls`.
    """

    initial: float | None = None
    trained: float | None = None
    screening: float | None = None


def shared_pairs(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Bonded pairs that every model was asked and knows the elements of, sorted."""
    tried = [_tried(rows) for rows in tables.values()]
    return sorted(set.intersection(*tried)) if tried else []


def removed_pairs(inputs: CompareInputs) -> dict[str, int]:
    """Number of bonded pairs that other potentials have and a model has not, by its name.

    They are counted for none. A model that has all of them is left out.
    """
    tried = {name: _tried(inputs.tables[APPROACH][name]) for name in _cards(inputs)}
    every: set[str] = set().union(*tried.values())
    return {name: len(every - own) for name, own in tried.items() if every - own}


def _tried(rows: pd.DataFrame) -> set[str]:
    return set(rows.loc[(rows["kind"] == BOND) & ~rows["status"].isin(_NOT_TRIED), "pair"])


def potentials(inputs: CompareInputs) -> tuple[list[Potential], list[str]]:
    """The potentials in the order of the run, and the pairs that are counted.

    Raises:
        UserError: two entries are seeds of one potential, and their cards say otherwise, or a card
            is not understood.
    """
    told = _cards(inputs)
    tables = {name: inputs.tables[APPROACH][name] for name in told}
    pairs = shared_pairs(tables)
    members: dict[str, list[str]] = {}
    for name in told:
        members.setdefault(inputs.entries[name].potential, []).append(name)
    return [_potential(name, own, told, tables, pairs) for name, own in members.items()], pairs


def _cards(inputs: CompareInputs) -> dict[str, Card]:
    return compared_cards(inputs.entries, inputs.tables.get(APPROACH, {}))


def _potential(
    name: str,
    members: Sequence[str],
    cards: Mapping[str, Card],
    tables: Mapping[str, pd.DataFrame],
    pairs: Sequence[str],
) -> Potential:
    first = cards[members[0]]
    others = seeds_on_other_frames(name, {member: cards[member] for member in members})
    choices = {**first.choices, "repulsion_scale": _repulsion(first).initial}
    seeds = [_walls(member, tables[member], pairs, cards[member]) for member in members]
    return Potential(name, choices, seeds, others)


def _walls(model: str, rows: pd.DataFrame, pairs: Sequence[str], card: Card) -> Walls:
    own = rows[rows["pair"].isin(pairs)]
    ok = own[own["status"] == Status.OK.value]
    radii = ok["hole_radius_angstrom"].to_numpy(dtype=float)
    repulsion = _repulsion(card)
    return Walls(
        model=model,
        n_pairs=len(own),
        n_failed=len(own) - len(ok),
        n_monotone=int((ok["monotone"] == 1).sum()),
        hole_radius_angstrom=float(np.nanmax(radii)) if np.isfinite(radii).any() else np.nan,
        n_spurious_minima=int(ok["n_spurious_minima"].sum()),
        prefactor=repulsion.trained,
        screening=repulsion.screening,
        force_mae_mev_per_angstrom=card.force_mae_mev_per_angstrom.get("seen", np.nan),
    )


def _repulsion(card: Card) -> _Repulsion:
    """What the file of a card tells of its repulsion.

    A card of apax tells prefactors as they are. The factor of a testbed's potential is 1 where the
    repulsion is physical.

    Raises:
        UserError: the card is not understood.
    """
    with reading(card.path, "not a model card that is understood", "make it again"):
        content = json.loads(card.path.read_text(encoding="utf-8"))
        if found := content.get("repulsion"):
            coefficients = found["best"].get("coefficients")
            return _Repulsion(
                initial=float(found["initial"]),
                trained=float(found["best"]["prefactor"]),
                screening=float(sum(coefficients)) if coefficients else None,
            )
        if "repulsion_scale" in content:
            return _Repulsion(
                initial=COULOMB_EV_ANGSTROM * float(card.choices["repulsion_scale"]),
                trained=COULOMB_EV_ANGSTROM * float(content["repulsion_scale"]),
            )
        return _Repulsion()
