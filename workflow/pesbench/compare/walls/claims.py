"""What the practitioner says of repulsion, readout and basis, asked of every seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pesbench.compare.walls.rows import Potential, Walls

POST, OURS = "the post", "this project"
ALL, NOT_ALL = "all monotone", "not all monotone"
FEWER, MORE = "fewer monotone pairs than the other", "more spurious minima than the other"
NOT_INFORMATIVE = "not informative"
COLUMNS = ("claim", "source", "potential", "other", "expected", "n_seeds", "n_hold", "finding")
_GMNN = {"readout": "linear", "n_basis": 16}
_ZBL = {"repulsion": "zbl", "repulsion_scale": 0.1, "repulsion_cutoff": 1.5}  # apax's own


@dataclass(frozen=True)
class Claim:
    """A claim about the walls of some potentials.

    Attributes:
        text: What is claimed.
        source: Who claims it.
        about: Choices of the potentials that it is about.
        expected: `ALL` if every pair should be monotone, `NOT_ALL` if one at least should not be,
            `FEWER` if fewer should be than of every seed of the other potential, `MORE` if there
            should be more spurious minima than of every seed of that.
        other: Choices that the other potential has in place of these.
    """

    text: str
    source: str
    about: Mapping[str, Any]
    expected: str
    other: Mapping[str, Any] | None = None

    def holds(self, seed: Walls, others: Sequence[Walls]) -> bool:
        """Whether it does for one seed."""
        if self.expected == FEWER:
            return all(seed.n_monotone < other.n_monotone for other in others)
        if self.expected == MORE:
            return all(seed.n_spurious_minima > other.n_spurious_minima for other in others)
        return seed.all_monotone == (self.expected == ALL)

    def informative(self, seeds: Sequence[Walls]) -> bool:
        """Whether the seeds of both potentials of a comparison are not all at one end.

        With no pair monotone, or all, on both sides, neither can have fewer; without a spurious
        minimum on either, neither can have more.
        """
        if self.expected == FEWER:
            found = {seed.n_monotone for seed in seeds}
            return found != {0} and found != {seed.n_pairs for seed in seeds}
        return self.expected != MORE or any(seed.n_spurious_minima for seed in seeds)


def _claims() -> list[Claim]:
    none = {"repulsion": "none"}
    found = [
        Claim("a plain network has holes", POST, {**none, "readout": "linear"}, NOT_ALL),
        Claim("the standard ZBL is not enough", POST, {**_GMNN, **_ZBL}, NOT_ALL),
        Claim("a bounded readout alone is not enough", POST, {**none, "readout": "bounded"},
              NOT_ALL),
        Claim("a bounded readout with a ZBL of scale 1 is monotone everywhere", POST,
              {"readout": "bounded", "repulsion": "zbl", "repulsion_scale": 1.0}, ALL),
        Claim("a ZBL that starts from the Coulomb constant needs no bounded readout", OURS,
              {"readout": "linear", "repulsion": "zbl", "repulsion_scale": 14.4}, ALL),
        Claim("a ZBL of scale 1 does need it", OURS,
              {"readout": "linear", "repulsion": "zbl", "repulsion_scale": 1.0}, NOT_ALL),
    ]  # fmt: skip
    for n_basis in (8, 24):
        for repulsion in (none, _ZBL):
            about, other = {**_GMNN, **repulsion, "n_basis": n_basis}, {"n_basis": 16}
            text = "another size of the basis leaves"
            found += [
                Claim(f"{text} fewer monotone pairs than 16", POST, about, FEWER, other),
                Claim(f"{text} more spurious minima than 16", POST, about, MORE, other),
            ]
    return found


def _other(claim: Claim, one: Potential, every: Sequence[Potential]) -> Potential | None:
    """The other potential of a comparison; None for a claim about one, or where it is missing."""
    if claim.other is None:
        return None
    wanted = {**claim.about, **claim.other}
    return next((other for other in every if other is not one and other.fits(wanted)), None)


def findings(every: Sequence[Potential]) -> pd.DataFrame:
    """Every claim for every potential that it is about.

    Returns:
        `COLUMNS`. `finding` is `holds` or `does not hold` where all seeds agree, else `seeds
        disagree`, with the number of seeds for which it holds, or `NOT_INFORMATIVE`; no row for a
        claim without a potential, or without the other one, and none at all without pairs.
    """
    rows = []
    for claim in _claims():
        for potential in (one for one in every if _about(claim, one)):
            other = _other(claim, potential, every)
            if claim.other and other is None:
                continue
            others = other.seeds if other else ()
            n_seeds = len(potential.seeds)
            count = sum(claim.holds(seed, others) for seed in potential.seeds)
            informative = claim.informative([*potential.seeds, *others])
            rows.append(
                {
                    "claim": claim.text,
                    "source": claim.source,
                    "potential": potential.name,
                    "other": other.name if other else "",
                    "expected": claim.expected,
                    "n_seeds": n_seeds,
                    "n_hold": count,
                    "finding": _said(count, n_seeds) if informative else NOT_INFORMATIVE,
                }
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _about(claim: Claim, potential: Potential) -> bool:
    """Whether it has pairs and the choices fit; 14.3996 and 14.4 are one constant."""
    if not all(seed.n_pairs for seed in potential.seeds):
        return False
    wanted = dict(claim.about)
    scale = wanted.pop("repulsion_scale", None)
    own = potential.choices["repulsion_scale"]
    same = scale is None or (own is not None and abs(own / scale - 1) < 1e-3)
    return same and potential.fits(wanted)


def _said(count: int, n_seeds: int) -> str:
    said = "does not hold" if not count else "holds" if count == n_seeds else "seeds disagree"
    return f"{said} ({count} of {n_seeds} seeds)"
