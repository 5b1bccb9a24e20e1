"""Common style of all figures, and how they are written to files.

Figures are of matplotlib and no window system knows of them; `save` and `png` turn one into a file
or bytes. Colours are those of seaborn's colour-blind palette.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pesbench.files import provenance
from pesbench.files.atomic import atomic_path

DPI = 150
# without the pale pink and the yellow, which vanish on white as thin lines
PALETTE = [sns.color_palette("colorblind", 10)[k] for k in (0, 1, 2, 3, 4, 9, 5, 7)]
GREY = "0.45"
_STYLE = {
    **sns.axes_style("ticks", {"axes.grid": True, "grid.color": "0.92"}),
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib; seaborn's first choice need not
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
}


@contextmanager
def style() -> Iterator[None]:
    """The look that all figures share."""
    with mpl.rc_context():
        mpl.rcdefaults()  # independent of a matplotlibrc
        mpl.rcParams.update(_STYLE)
        yield


def png(figure: Figure, dpi: int = DPI, made: Mapping[str, Any] | None = None) -> bytes:
    """The figure as bytes of a PNG file, the same bytes every time.

    It has at most 256 colours, with which it is a third as large and looks the same.

    Args:
        figure: What is drawn.
        dpi: Pixels an inch.
        made: How it was made, for its comment (JSON).
    """
    drawn, buffer, notes = io.BytesIO(), io.BytesIO(), PngInfo()
    if made is not None:
        notes.add_text("Comment", json.dumps(made))
    FigureCanvasAgg(figure)  # whatever backend is set
    with style():  # some settings are read here
        figure.savefig(drawn, format="png", dpi=dpi)
    image = Image.open(drawn).convert("RGB").quantize(256)
    image.save(buffer, format="png", dpi=(dpi, dpi), pnginfo=notes, optimize=True)
    return buffer.getvalue()


def save(figure: Figure, path: Path, dpi: int = DPI) -> None:
    """Write a figure as PNG that says how it was made, whole or not at all."""
    with atomic_path(path) as part:
        part.write_bytes(png(figure, dpi, provenance.collect()))


def saying(text: str) -> Figure:
    """A figure with a message, for when there is nothing to draw."""
    with style():
        figure = Figure(figsize=(6, 1.2))
        figure.text(0.5, 0.5, text, ha="center", va="center", color=GREY, fontsize=10)
    return figure
