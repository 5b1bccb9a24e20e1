"""Test of claims about design choices, from pairs that differ in one choice only.

Each claim names who makes it: arXiv:2602.04861 (smoother neighbours, attention and distances lower
the FSD), the public reviews of an earlier version of it (hard neighbours and direct forces do not
keep the energy), a practitioner (a repulsive core, alone and with a bounded readout, leaves fewer
holes in the repulsive wall) or this project. What they were claimed of, and what they are asked of
here, is told beside the findings (`pesbench.compare.ladder.text`). A pair is judged against the
noise of training seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pesbench.compare.ladder.cards import switched
from pesbench.compare.ladder.noise import Finding, finding
from pesbench.compare.ladder.quantities import QUANTITIES, Quantity
from pesbench.compare.ladder.rungs import DesignLadder, Row
from pesbench.core.text import number

PAPER = "arXiv:2602.04861"
REVIEWS = "reviews of arXiv:2602.04861"
PRACTITIONER = "a practitioner"
OURS = "this project"
COLUMNS = (
    "claim",
    "source",
    "model",
    "other",
    "quantity",
    "expected",
    "value",
    "value_other",
    "difference",
    "noise_limit",
    "n",
    "finding",
    "text",
)
Choices = Mapping[str, Any]


@dataclass(frozen=True)
class Claim:
    """A claim about one design choice.

    Attributes:
        text: What is claimed.
        source: Who claims it.
        switches: Switches in which two potentials must differ, and in nothing else.
        made: Whether the first of two potentials has made the choice, against the second.
        quantity: Column of the ladder that it is about.
        expected: −1 if the choice is claimed to lower it, +1 if to raise it.
        beside: Further columns that are told with it, not judged.
        ordered: Whether the choice has many values, of which each is compared with one only.
    """

    text: str
    source: str
    switches: frozenset[str]
    made: Callable[[Choices, Choices], bool]
    quantity: str
    expected: int
    beside: tuple[str, ...] = ()
    ordered: bool = False


def _more(key: str) -> Callable[[Choices, Choices], bool]:
    return lambda one, other: key in one and key in other and one[key] > other[key]


def _chosen(**values: tuple[Any, Any]) -> Callable[[Choices, Choices], bool]:
    """Value of each key of the first potential and of the second."""
    return lambda one, other: all(
        (one.get(key), other.get(key)) == wanted for key, wanted in values.items()
    )


_FSD, _WINDOWED = "fsd_full_per_angstrom", "fsd_windowed_per_angstrom"
_DRIFT, _RMS = "energy_drift_mev_per_atom_ps", "energy_rms_mev_per_atom"
_SURVIVAL, _WALL = "survival_ps", "compression_monotone_fraction"
_ZBL, _BOUNDED = ("zbl", "none"), ("bounded", "linear")
CLAIMS = (
    Claim(
        "soft instead of hard nearest neighbours lower the FSD", PAPER, frozenset({"neighbours"}),
        _chosen(neighbours=("soft_knn", "hard_knn")), _FSD, -1, (_WINDOWED,),
    ),
    Claim(
        "soft instead of hard nearest neighbours lower the drift of the energy", REVIEWS,
        frozenset({"neighbours"}), _chosen(neighbours=("soft_knn", "hard_knn")), _DRIFT, -1,
        (_RMS, _SURVIVAL),
    ),
    Claim(
        "a higher temperature of the attention lowers the FSD", PAPER, frozenset({"temperature"}),
        _more("temperature"), _FSD, -1, (_WINDOWED,), ordered=True,
    ),
    Claim(
        "broader smearing of the distance lowers the FSD", PAPER, frozenset({"smearing"}),
        _more("smearing"), _FSD, -1, (_WINDOWED,), ordered=True,
    ),
    Claim(
        "direct forces do not keep the energy: its drift rises", REVIEWS, frozenset({"forces"}),
        _chosen(forces=("direct", "gradient")), _DRIFT, 1, (_FSD, _WINDOWED, _SURVIVAL),
    ),
    Claim(
        "a ZBL core leaves fewer holes in the wall", PRACTITIONER, frozenset({"repulsion"}),
        _chosen(repulsion=_ZBL), _WALL, 1, (_FSD,),
    ),
    Claim(
        "a ZBL core with a bounded readout leaves fewer holes in the wall", PRACTITIONER,
        frozenset({"repulsion", "readout"}), _chosen(repulsion=_ZBL, readout=_BOUNDED), _WALL, 1,
        (_FSD,),
    ),
    Claim(
        "a bounded readout leaves fewer holes in the wall", OURS, frozenset({"readout"}),
        _chosen(readout=_BOUNDED), _WALL, 1, (_FSD,),
    ),
    Claim(
        "the FSD in the loss lowers the FSD", OURS, frozenset({"fsd_weight"}),
        _more("fsd_weight"), _FSD, -1,
        (_WINDOWED, "frames_force_mae_seen_mev_per_angstrom",
         "frames_force_mae_unseen_mev_per_angstrom", _DRIFT, _SURVIVAL),
        ordered=True,
    ),
)  # fmt: skip


def findings(ladder: DesignLadder, claims: Sequence[Claim] = CLAIMS) -> pd.DataFrame:
    """Every claim of which the ladder holds a pair, pair by pair.

    Of a choice with many values each is compared with the baseline's, where the baseline is among
    those that differ in nothing else; otherwise with the lowest.

    Returns:
        The columns `COLUMNS`: numbers in the units of the ladder's CSV (of drift and RMS,
        `difference` and `noise_limit`, what chance alone may make of it, are of the natural
        logarithm), over the `n` scans, trajectories or molecules that both have; `text` says it in
        words.
    """
    rows = [
        _finding(ladder, claim, one, other)
        for claim in claims
        for one, other in pairs(ladder, claim)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def pairs(ladder: DesignLadder, claim: Claim) -> list[tuple[Row, Row]]:
    """The rows that test a claim: with its choice, and without."""
    found = [
        (one, other)
        for one in ladder.rows
        for other in ladder.rows
        if one.choices
        and other.choices
        and switched(one.choices, other.choices) == claim.switches
        and claim.made(one.choices, other.choices)
    ]
    if not claim.ordered:
        return found
    base = ladder.baseline.name
    with_base = {row.name for pair in found if base in _names(pair) for row in pair}
    higher = {one.name for one, _ in found}
    return [
        pair
        for pair in found
        if base in _names(pair) or not (with_base & _names(pair) or pair[1].name in higher)
    ]


def _names(pair: tuple[Row, Row]) -> set[str]:
    return {row.name for row in pair}


def _finding(ladder: DesignLadder, claim: Claim, one: Row, other: Row) -> dict[str, Any]:
    quantity = QUANTITIES[claim.quantity]
    found = ladder.compare(claim.quantity, one, other)
    decided = finding(found.difference, claim.expected)
    return {
        "claim": claim.text,
        "source": claim.source,
        "model": one.name,
        "other": other.name,
        "quantity": claim.quantity,
        "expected": claim.expected,
        "value": found.one,
        "value_other": found.other,
        "difference": found.difference.value,
        "noise_limit": found.difference.limit,
        "n": found.n,
        "finding": decided.value,
        "text": _pair_text(ladder, claim, one, other, quantity, decided),
    }


def _pair_text(
    ladder: DesignLadder, claim: Claim, one: Row, other: Row, quantity: Quantity, decided: Finding
) -> str:
    found = ladder.compare(claim.quantity, one, other)
    names = f"{one.name} against {other.name}"
    beside = [
        f"{QUANTITIES[column].title} {_apart(ladder, column, one, other)}"
        for column in claim.beside
        if ladder.compare(column, one, other).n
    ]
    if not found.n:
        told = f" ({'; '.join(beside)})" if beside else ""
        return f"{names}: {decided.value}, the two share no number of it{told}"
    limit = found.difference.limit
    noise = "seed noise unknown"
    if np.isfinite(limit):
        known = number(limit * quantity.scale)
        if quantity.log:
            known = f"a factor of {number(np.exp(limit))}"
        noise = f"seed noise makes up to {known}"
    told = [noise, *([f"{found.n} {quantity.of}"] if quantity.of else [])]
    told += beside
    return (
        f"{names}: {quantity.title} {number(found.one * quantity.scale)} against "
        f"{number(found.other * quantity.scale)} {quantity.unit}, "
        f"{_apart(ladder, claim.quantity, one, other)} ({'; '.join(told)}): {decided.value}"
    )


def _apart(ladder: DesignLadder, column: str, one: Row, other: Row) -> str:
    quantity = QUANTITIES[column]
    found = ladder.compare(column, one, other)
    value = found.difference.value
    if value == 0:
        return "the same"
    if np.isnan(value):  # one of them has no logarithm
        return f"{number(found.one)} against {number(found.other)}"
    by = number(abs(value) * quantity.scale)
    if quantity.log:
        by = f"a factor of {number(np.exp(abs(value)))}"
    return f"{'higher' if value > 0 else 'lower'} by {by}"


def lines(found: pd.DataFrame) -> list[str]:
    """One line a claim, from the rows of `findings`."""
    said = []
    for (claim, source), rows in found.groupby(["claim", "source"], sort=False):
        counts = rows["finding"].value_counts()
        if len(rows) == 1:
            verdict = rows["finding"].iloc[0]
        else:
            verdict = ", ".join(
                f"{kind} in {counts[kind]} of {len(rows)} pairs"
                for kind in Finding
                if kind in counts
            )
        text = claim[0].upper() + claim[1:]
        said.append(f"{text} ({source}): {verdict}. {'; '.join(rows['text'])}.")
    return said
