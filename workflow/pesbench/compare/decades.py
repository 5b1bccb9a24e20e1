"""A logarithmic axis that holds 0 and what is about 0: metrics of a model without a defect."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOST_DECADES = 8  # what is smaller than the largest value by more counts as about 0
_TICKS = 4


def with_zero(axes: Axes, values: Array, most_decades: int = MOST_DECADES) -> None:
    """Scale y by decades, with a linear piece below them if a value is 0, negative or tiny.

    Args:
        axes: Axes whose y axis is scaled.
        values: All that is to be seen on it, at least one of them positive, finite.
        most_decades: Smaller values go to the linear piece.
    """
    high = float(values.max())
    seen = values[values > high * 10.0**-most_decades]
    low = float(seen.min())
    least = 10.0 ** np.floor(np.log10(low))
    below = values[values < least]
    if len(below):
        axes.set_yscale("symlog", linthresh=least, linscale=0.7)
        # a negative value below −least is on decades of its own
        axes.set_ylim(min(-0.35 * least, 2.5 * float(below.min())), 2.5 * high)
    else:
        axes.set_yscale("log")
        axes.set_ylim(low / 2.5, high * 2.5)
    limits = axes.get_ylim()
    decades = np.arange(np.log10(least), np.ceil(np.log10(high)) + 1)
    apart = -(-len(decades) // _TICKS)
    ticks = 10.0 ** decades[apart if len(below) and apart > 1 else 0 :: apart]
    ticks = [*([0.0] if len(below) else []), *ticks[(ticks >= limits[0]) & (ticks <= limits[1])]]
    axes.set_yticks(ticks, [_decade(tick) for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(limits)


def _decade(value: float) -> str:
    if value == 0:
        return "0"
    exponent = round(np.log10(value))
    return f"{value:g}" if -3 <= exponent <= 3 else f"$10^{{{exponent}}}$"
