"""What the texts of a figure cover: each other, and what is beyond its edge."""

from __future__ import annotations

from itertools import combinations
from unittest import mock

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

_SLACK_PIXELS = 1.0


def drawn_texts(figure: Figure) -> list[Text]:
    """The texts that a figure draws, tick labels and legends included."""
    found = []
    draw = Text.draw

    def noted(text: Text, *arguments: object, **options: object) -> None:
        if text.get_visible() and text.get_text().strip():
            found.append(text)
        draw(text, *arguments, **options)

    with mock.patch.object(Text, "draw", noted):
        FigureCanvasAgg(figure).draw()
    return found


def covered(figure: Figure) -> list[str]:
    """What is wrong with the texts of a figure: pairs that overlap, and texts that are cut."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in drawn_texts(figure)]
    found = [
        f"{one!r} over {other!r}"
        for (one, a), (other, b) in combinations(boxes, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > _SLACK_PIXELS
        and min(a.y1, b.y1) - max(a.y0, b.y0) > _SLACK_PIXELS
    ]
    edge = figure.bbox.padded(_SLACK_PIXELS)
    found += [
        f"{text!r} is cut"
        for text, a in boxes
        if a.x0 < edge.x0 or a.y0 < edge.y0 or a.x1 > edge.x1 or a.y1 > edge.y1
    ]
    return found
