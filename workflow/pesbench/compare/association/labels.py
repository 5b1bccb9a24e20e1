"""Short labels beside the dots of a scatter plot that cover and cross as little as can be.

Each label tries many places about its dot and takes the one of least cost, given the places of the
others, in turns until none moves. No chance is in it: the same dots give the same places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_TURNS = 8
_PLACES = 400  # that each label tries
_ACROSS_POINTS, _UP_POINTS = 5.0, 5.0  # between them
_GAP_POINTS = 1.5  # about a label and about a line
_DOT_GAP_POINTS = 2.5  # about the dots of others
_LEAST_LINE_POINTS = 5.0  # a label nearer to its dot needs no line
# cost of a place: points to the dot, and for each other label, dot or line in the way
_COVERS, _CROSSES, _PASSES = 2000.0, 500.0, 200.0


def place_labels(
    axes: Axes, x: Array, y: Array, labels: Sequence[str], radius: float, **look: Any
) -> None:
    """Write a label for each dot; a line leads to those that are not next to theirs.

    Args:
        axes: Axes with their final limits, in a figure with its final layout.
        x: Dots in data units, shape (n,).
        y: As `x`.
        labels: Their labels.
        radius: Radius of a dot in points.
        **look: Properties of the texts.
    """
    if not len(labels):
        return
    figure = axes.get_figure()
    scale = 72 / figure.dpi
    texts = [axes.text(0, 0, label, ha="center", va="center", **look) for label in labels]
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in texts]
    sizes = scale * np.array([(box.width, box.height) for box in boxes])
    dots = scale * axes.transData.transform(np.column_stack([x, y]))
    centres = places(dots, sizes, scale * np.array(axes.bbox.extents), radius)
    to_data = axes.transData.inverted()
    for text, place in zip(texts, to_data.transform(centres / scale), strict=True):
        text.set_position(tuple(place))
    ends = _nearest(dots, centres, sizes)
    far = np.hypot(*(ends - dots).T) > radius + _LEAST_LINE_POINTS
    limits = axes.axis()
    for dot, end in zip(dots[far], ends[far], strict=True):
        axes.plot(*to_data.transform(np.array([dot, end]) / scale).T, color="0.6", lw=0.6, zorder=3)
    axes.axis(limits)


def places(dots: Array, sizes: Array, inside: Array, radius: float) -> Array:
    """Centres of the labels of n dots, in points as all lengths here, shape (n, 2).

    Args:
        dots: Dots, shape (n, 2).
        sizes: Width and height of their labels, shape (n, 2).
        inside: Left, bottom, right, top of what the labels stay in, shape (4,).
        radius: Radius of a dot.
    """
    tried = [_candidates(dot, size, inside, radius) for dot, size in zip(dots, sizes, strict=True)]
    centres = np.array([some[0] for some in tried])
    # those with least room about them choose first
    near = np.abs(dots[:, None] - dots[None]) < 2 * (sizes[:, None] + radius)
    order = np.argsort(-near.all(axis=2).sum(axis=1), kind="stable")
    placed = np.zeros(len(dots), dtype=bool)
    for _ in range(_TURNS):
        before = centres.copy()
        for k in order:
            placed[k] = True
            others = placed & (np.arange(len(dots)) != k)
            cost = _cost(k, tried[k], dots, sizes, centres, others, radius)
            centres[k] = tried[k][np.argmin(cost)]
        if (centres == before).all():
            break
    return centres


def _candidates(dot: Array, size: Array, inside: Array, radius: float) -> Array:
    """Centres to try for one label, the nearest first, shape (m, 2)."""
    across, up = size / 2 + radius + _GAP_POINTS
    low, high = inside[:2] + size / 2 + _GAP_POINTS, inside[2:] - size / 2 - _GAP_POINTS
    beside = [
        (across, 0),
        (-across, 0),
        *((k * size[0] / 4, s * up) for k in range(-2, 3) for s in (-1, 1)),
    ]
    steps = [
        np.arange(lo, hi, step)
        for lo, hi, step in zip(low, high, (_ACROSS_POINTS, _UP_POINTS), strict=True)
    ]
    grid = np.stack(np.meshgrid(*steps), axis=-1).reshape(-1, 2)
    found = np.concatenate([dot + np.array(beside), grid])
    found = found[((found >= low - 1e-6) & (found <= high + 1e-6)).all(axis=1)]
    if not len(found):  # wider than the panel
        return dot[None] + (0, up)
    distance = np.hypot(*(_nearest(dot, found, size) - dot).T)
    return found[np.argsort(distance, kind="stable")[:_PLACES]]


def _cost(
    k: int, tried: Array, dots: Array, sizes: Array, centres: Array, others: Mask, radius: float
) -> Array:
    """Cost of each place that label k tries, given the others, shape (m,)."""
    ends = _nearest(dots[k], tried, sizes[k])
    cost = np.hypot(*(ends - dots[k]).T)
    half = sizes[k] / 2
    alien = np.arange(len(dots)) != k
    room = np.where(alien, radius + _DOT_GAP_POINTS, radius + 0.5)
    covers = np.abs(tried[:, None] - dots[None]) < half + room[None, :, None]
    cost += _COVERS * covers.all(axis=2).sum(axis=1)
    cost += _PASSES * (_distance(dots[alien], dots[k], ends) < radius + _GAP_POINTS).sum(axis=1)
    if not others.any():
        return cost
    other, other_half = centres[others], sizes[others] / 2 + _GAP_POINTS
    other_dots, other_ends = dots[others], _nearest(dots[others], centres[others], sizes[others])
    covers = np.abs(tried[:, None] - other[None]) < half + other_half
    cost += _COVERS * covers.all(axis=2).sum(axis=1)
    start = np.broadcast_to(dots[k], tried.shape)
    cost += _CROSSES * _meets(start[:, None], ends[:, None], other, other_half).sum(axis=1)
    cost += _CROSSES * _meets(other_dots, other_ends, tried[:, None], half + _GAP_POINTS).sum(
        axis=1
    )
    cost += _CROSSES * _cross(start[:, None], ends[:, None], other_dots, other_ends).sum(axis=1)
    return cost


def _nearest(dot: Array, centre: Array, size: Array) -> Array:
    """Where the line from a dot ends at a label."""
    return centre + np.clip(dot - centre, -size / 2, size / 2)


def _distance(point: Array, start: Array, ends: Array) -> Array:
    """Distances of n points from m lines with a common start, shape (m, n)."""
    along = (ends - start)[:, None]
    length = np.maximum((along**2).sum(axis=2), 1e-12)
    share = np.clip(((point - start) * along).sum(axis=2) / length, 0, 1)
    return np.hypot(*np.moveaxis(start + share[..., None] * along - point, -1, 0))


def _meets(start: Array, end: Array, centre: Array, half: Array) -> Mask:
    """Whether lines pass through boxes."""
    along = end - start
    along = np.where(np.abs(along) < 1e-9, 1e-9, along)
    one, two = (centre - half - start) / along, (centre + half - start) / along
    enters = np.minimum(one, two).max(axis=-1)
    leaves = np.maximum(one, two).min(axis=-1)
    return (enters <= leaves) & (enters <= 1) & (leaves >= 0)


def _cross(a: Array, b: Array, c: Array, d: Array) -> Mask:
    """Whether the line from a to b crosses that from c to d."""

    def side(p: Array, q: Array, r: Array) -> Array:
        one, two = q - p, r - p
        return one[..., 0] * two[..., 1] - one[..., 1] * two[..., 0]

    return (side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)
