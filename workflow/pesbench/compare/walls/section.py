"""Section of repulsion and readout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pesbench.compare.inputs import CompareInputs
from pesbench.compare.ladder.cards import note_on_frames
from pesbench.compare.walls.claims import findings
from pesbench.compare.walls.comparison import COMPARISON, LJ_CORE
from pesbench.compare.walls.rows import (
    COULOMB_EV_ANGSTROM,
    Potential,
    Walls,
    potentials,
    removed_pairs,
)
from pesbench.core.section import Section, Table
from pesbench.core.text import csv_table, number

_DIMER = (
    "“Its head on a dimer” is the core error, by the task `lj_core`, of the head that is nearest "
    "to a readout; which one that is, is our choice. A rational readout is given 1/r of each pair, "
    "as a repulsion is. "
)
_ON_DIMER = "its head on a dimer (decades)"
_CHOICES = ("n_basis", "readout", "repulsion", "repulsion_cutoff")


def section(inputs: CompareInputs) -> Section:
    """Two tables; every number of every seed in `walls.csv`, the claims in `walls_claims.csv`.

    Raises:
        UserError: see `pesbench.compare.walls.rows.potentials`.
    """
    every, pairs = potentials(inputs)
    claims = findings(every)
    errors = _of_dimer(every, inputs.tables.get(LJ_CORE, {}))
    of_dimer = {name: {_ON_DIMER: number(error)} for name, error in errors.items()}
    return Section(
        title=COMPARISON.title,
        sentence=_sentence(every, len(pairs)),
        tables=[
            Table("potentials", shown(every, of_dimer)),
            Table("claims", _shown_claims(claims), title="What is claimed"),
        ],
        notes=[
            *_notes(pairs, removed_pairs(inputs)),
            *note_on_frames([name for one in every for name in one.other_frames]),
            *([dimer_note(every, errors)] if errors else []),
        ],
        files={"walls.csv": csv_table(seeds(every)), "walls_claims.csv": csv_table(claims)},
    )


def _sentence(every: Sequence[Potential], n_pairs: int) -> str:
    good = [one.name for one in every if all(seed.all_monotone for seed in one.seeds)]
    if not n_pairs:
        return "The potentials have no bonded pair in common."
    return (
        f"{len(good)} of {len(every)} potentials are monotone on all {n_pairs} bonded pairs that "
        f"they share, in every seed{': ' if good else ''}{', '.join(good)}."
    )


def seeds(every: Sequence[Potential]) -> pd.DataFrame:
    """One row a training: the choices, and the attributes of `Walls`.

    `repulsion_scale` is the prefactor before training and `prefactor` that after it, in eV·Å.
    """
    rows = [
        {
            "potential": one.name,
            **{key: one.choices.get(key) for key in (*_CHOICES, "repulsion_scale")},
            **vars(seed),
        }
        for one in every
        for seed in one.seeds
    ]
    return pd.DataFrame(rows)


def _of_dimer(
    every: Sequence[Potential], scores: Mapping[str, pd.DataFrame]
) -> dict[str, float | None]:
    """Error of each potential's head on a dimer, decades; none if no head is trained."""
    if not scores:
        return {}
    from pesbench.tasks.lj_core.head_summary import error_of_readout
    from pesbench.tasks.lj_core.head_table import heads_of

    if (heads := heads_of(scores)) is None:
        return {}
    return {one.name: error_of_readout(heads, _said(one.choices.get("readout"))) for one in every}


def dimer_note(every: Sequence[Potential], errors: Mapping[str, float | None]) -> str:
    """Readouts by their error on the dimer, with the pairs that are monotone without a repulsion.

    Args:
        every: The potentials.
        errors: Error of the head of each on the dimer, decades; None of one without such a head.
    """
    pairs: dict[str, list[Walls]] = {}
    of_readout: dict[str, float] = {}
    for one in every:
        error = errors.get(one.name)
        if one.choices.get("repulsion") == "none" and error is not None:
            readout = _said(one.choices.get("readout"))
            of_readout[readout] = error
            pairs.setdefault(readout, []).extend(one.seeds)
    told = [
        f"{readout} ({number(of_readout[readout])} decades; "
        f"{sum(seed.n_monotone for seed in pairs[readout])} of "
        f"{sum(seed.n_pairs for seed in pairs[readout])} pairs)"
        for readout in sorted(of_readout, key=of_readout.__getitem__)
    ]
    return (
        f"{_DIMER}Without a repulsion, from the smallest error on the dimer, with the monotone "
        f"pairs of all seeds: {', '.join(told) or 'none'}. Whether the rank of heads on the dimer "
        f"says anything about holes is not resolved by {len(told)} readouts of one family."
    )


def shown(
    every: Sequence[Potential], more: Mapping[str, Mapping[str, str]] | None = None
) -> pd.DataFrame:
    """One row a potential as text, over its seeds.

    Args:
        every: The potentials.
        more: Further cells by potential.
    """
    return pd.DataFrame([_cells(one, (more or {}).get(one.name, {})) for one in every])


def _cells(one: Potential, more: Mapping[str, str]) -> dict[str, str]:
    trained = [seed.prefactor for seed in one.seeds if seed.prefactor is not None]
    screening = [seed.screening for seed in one.seeds if seed.screening is not None]
    cutoff = one.choices.get("repulsion_cutoff") if trained else None
    return {
        "potential": one.name,
        "basis": _said(one.choices.get("n_basis")),
        "readout": _said(one.choices.get("readout")),
        **more,
        "repulsion": _said(one.choices.get("repulsion")),
        "cutoff (Å)": _said(cutoff),
        "prefactor before (eV·Å)": number(one.choices["repulsion_scale"]) if trained else "–",
        "after training": _range(trained) if trained else "–",
        "sum of coefficients after": _range(screening) if screening else "–",
        "seeds": str(len(one.seeds)),
        "monotone pairs": ", ".join(f"{seed.n_monotone}/{seed.n_pairs}" for seed in one.seeds),
        "failed pairs": ", ".join(str(seed.n_failed) for seed in one.seeds),
        "largest hole radius (Å)": _range([seed.hole_radius_angstrom for seed in one.seeds]),
        "spurious minima": ", ".join(str(seed.n_spurious_minima) for seed in one.seeds),
        "force MAE on held-out frames (meV/Å)": _range(
            [seed.force_mae_mev_per_angstrom for seed in one.seeds]
        ),
    }


def _said(value: Any) -> str:
    return "–" if value is None else str(value)


def _range(values: Sequence[float]) -> str:
    """Smallest and largest of the seeds that have a number; `n/a` where none has."""
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return "n/a"
    low, high = number(min(known)), number(max(known))
    return low if low == high else f"{low} to {high}"


def _shown_claims(claims: pd.DataFrame) -> pd.DataFrame:
    shown = claims.drop(columns=["expected", "n_hold"]).rename(columns={"n_seeds": "seeds"})
    return shown.astype(str)


def _left_out(removed: Mapping[str, int]) -> str:
    """A sentence on the models for whose sake pairs are counted for none."""
    if not removed:
        return ""
    told = ", ".join(f"{count} by {name}" for name, count in removed.items())
    return f" Left out for all, because a model was not asked or knows too few elements: {told}."


def _notes(pairs: Sequence[str], removed: Mapping[str, int]) -> list[str]:
    systems = sorted({pair.partition("/")[2].rpartition("_")[0] for pair in pairs})
    return [
        f"Counted are the {len(pairs)} bonded pairs that all of these potentials were asked and "
        f"know the elements of ({', '.join(systems) or 'none'}).{_left_out(removed)}",
        "A pair is monotone where the energy falls nowhere on approach below the minimum (task "
        "`approach`); one without a number is not.",
        f"A prefactor of {COULOMB_EV_ANGSTROM:g} eV·Å is the physical repulsion. apax's ZBL lacks "
        "this constant: it starts from 0.1, and is 144 times weaker. The factor of the testbed's "
        "potentials is multiplied by it here. It is trained with the network, but for `zbl_fixed`. "
        "apax trains the coefficients of the screening function as well, whose sum is 0.999 at the "
        "start; prefactor times sum is what acts at small distances.",
        "A claim holds where it does for every seed. Three seeds are few: what all of them say may "
        "be chance in one case of eight, were both outcomes equally likely. A comparison of two "
        "potentials is not informative where no pair, or every pair, is monotone in all seeds of "
        "both, or where none of these seeds has a spurious minimum. A pair that failed has no "
        "minima that could be counted.",
        "Potentials of one family are compared with one another. What holds is supported within "
        "that family, and the frames are near equilibrium and labelled by the method that their "
        "cards name, not by the functional of the post.",
    ]
