"""How often the verdict across families of models is wrong, and how often it finds an effect.

python benchmarks/verdict_rule.py                   2000 draws a cell, some minutes
python benchmarks/verdict_rule.py --draws 200       to try

Each draw is a study: families of models, the variants of each, a metric x and a response y of each
variant. Half of the variance of x, and half of that of y, is what a family has in common. The rule
is that of `pesbench.compare.association.verdicts`, with any number of families: p within families,
the interval of all variants, and that with each family left out. All families are taken to have
failures; what few molecules add to the noise is left out, as is their part of the bootstrap.

Columns, shares of the draws with a verdict (supported or contradicted), in per cent:

* null: x and y have nothing to do with each other;
* one: they correlate with r = 0.95, within the largest family alone. A verdict across families is
  wrong;
* signs: within each family they correlate with r = 0.9 or r = -0.9, by chance. A verdict is wrong;
* 0.8, 0.95: they correlate with this r, within and between families. A verdict is right.

A single family is judged as the rule judges within a family; one and signs are no null there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pesbench.compare.association.verdicts import resolved_sign
from pesbench.metrics import rank_statistics as statistics
from pesbench.metrics.aggregate import seed_of

Array = NDArray[np.float64]

LAYOUTS: tuple[tuple[int, ...], ...] = (
    (8,), (12,),
    (12, 2, 2), (5, 5, 5), (8, 8, 8),
    (4,) * 4, (8,) * 4,
    (12, 2, 2, 2, 1), (3,) * 5, (6,) * 5,
    (12, 2, 2, 2, 1, 1), (3,) * 6,
    (12, 2, 2, 2, 1, 1, 1), (2,) * 7,
    (12, 2, 2, 2, 2, 1, 1, 1), (1,) * 8, (4,) * 8,
)  # fmt: skip
CELLS = ("null", "one", "signs", "0.8", "0.95")
COMMON = 0.5  # share of the variance that a family has in common
PERMUTATIONS, RESAMPLES = 999, 500
_AT_ONCE = 4_000_000  # numbers of an array of drawn permutations
_STRONG = {"one": 0.95, "signs": 0.9}


def studies(
    layout: Sequence[int], cell: str, draws: int, generator: np.random.Generator
) -> tuple[Array, Array]:
    """Metric and response of the variants of simulated studies, (draws, n) each.

    Args:
        layout: Variants of each family.
        cell: One of `CELLS`.
        draws: Studies.
        generator: Source of random numbers.
    """
    family = np.repeat(np.arange(len(layout)), layout)

    def common() -> Array:
        return np.sqrt(COMMON) * generator.normal(size=(draws, len(layout)))[:, family]

    def own() -> Array:
        return np.sqrt(1 - COMMON) * generator.normal(size=(draws, len(family)))

    common_x, own_x, common_y, own_y = common(), own(), common(), own()
    within = np.zeros((draws, len(family)))
    between = 0.0
    if cell == "one":
        within[:, family == np.argmax(layout)] = _STRONG[cell]
    elif cell == "signs":
        signs = generator.choice([-1.0, 1.0], size=(draws, len(layout)))
        within = _STRONG[cell] * signs[:, family]
    elif cell != "null":
        between = float(cell)
        within += between
    y = between * common_x + np.sqrt(1 - between**2) * common_y
    y += within * own_x + np.sqrt(1 - within**2) * own_y
    return common_x + own_x, y


def verdicts(x: Array, y: Array, families: Sequence[str]) -> NDArray[np.int64]:
    """The sign that the rule resolves in each study, 0 for none; shape (draws,).

    Args:
        x: Metric, (draws, n).
        y: Response, (draws, n).
        families: Family of each variant, length n.
    """
    found = np.zeros(len(x), dtype=np.int64)
    given = statistics.stratified_spearman(x, y, families)
    parts = np.array_split(np.arange(len(x)), 1 + len(x) * PERMUTATIONS * 40 // _AT_ONCE)
    p = np.concatenate(
        [
            statistics.stratified_p(x[one], y[one], families, "rule", PERMUTATIONS)
            for one in parts
            if len(one)
        ]
    )
    names = np.array(families)
    kept = [np.ones(len(names), dtype=bool)]
    if len(set(families)) > 1:
        kept += [names != family for family in sorted(set(families))]
    open_ = np.flatnonzero(p < 0.05)
    for chosen in kept:  # what one interval leaves open, the others cannot close
        weights = statistics.draw_variants(names[chosen].tolist(), "rule", RESAMPLES)
        low, high = np.full((2, len(x), 1), np.nan)
        for one in np.array_split(open_, 1 + len(open_) // 200):
            a, b = (values[one][:, None, chosen] for values in (x, y))
            rho, _ = statistics.weighted_spearman(a, b, None, weights)
            low[one, 0], high[one, 0] = statistics.percentile_bounds(rho)
        found = resolved_sign(given, p, low, high)
        open_ = np.flatnonzero(found)
    return found


def share(layout: Sequence[int], cell: str, draws: int) -> float:
    """Share of simulated studies in which the rule resolves a sign.

    Args:
        layout: Variants of each family.
        cell: One of `CELLS`.
        draws: Studies.
    """
    families = [f"family {k}" for k, count in enumerate(layout) for _ in range(count)]
    name = f"verdict rule {'/'.join(map(str, layout))} {cell}"
    generator = np.random.default_rng(seed_of(name))
    return float(np.mean(verdicts(*studies(layout, cell, draws, generator), families) != 0))


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table as Markdown, row by row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=2000, help="studies a cell")
    draws = parser.parse_args(argv).draws
    print(f"| families | variants | {' | '.join(CELLS)} |")
    print(f"|--:|:--|{'--:|' * len(CELLS)}")
    for layout in LAYOUTS:
        asked = [cell for cell in CELLS if len(layout) > 1 or cell not in _STRONG]
        found = {cell: f"{100 * share(layout, cell, draws):.1f}" for cell in asked}
        cells = [found.get(cell, "") for cell in CELLS]
        row = f"| {len(layout)} | {'/'.join(map(str, layout))} | {' | '.join(cells)} |"
        print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
