"""Text from outside (names, messages, content of files), made safe for the place where it is shown.

One function a format. Every writer of Markdown, CSV, HTML, figures and logs in this package goes
through these, so that no cell is a formula, a link, a tag, a new row or a command of a terminal.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_MARKDOWN = re.compile(
    r"[\\`*~\[\]|$]"
    r"|(?<![^\W_])_"  # within a word it stands for itself
    r"|:(?=//)|(?<=\bwww)\."  # addresses become links even without brackets
)
_HTML = re.compile(r"<(?=[A-Za-z/!?])|&(?=#|\w+;)")  # `<0.001` opens no tag
_BLOCK = re.compile(
    r"\d+(?=[.)](\s|$))|(?=[#>+=-])"
)  # what begins a list, a quotation or a heading
_FORMULA = tuple("=+-@")


def printable(text: object) -> str:
    r"""One line without what a terminal or browser acts on and a reader does not see.

    White space but the plain and the non-breaking kinds becomes a space. Control characters, marks
    that turn the direction of text, zero-width characters and lone surrogates become `\x1b` or
    `\u202e`.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(_visible(one) for one in text)


def _visible(one: str) -> str:
    if one.isprintable() or unicodedata.category(one) == "Zs":
        return one
    return " " if one.isspace() else one.encode("unicode_escape").decode("ascii")


def quoted(text: object, most: int = 200) -> str:
    """What a server, a file or a package says, for a message: one line of so many characters."""
    line = " ".join(printable(str(text)[: 4 * most]).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def lines(text: object) -> str:
    """`printable` text of several lines."""
    return "\n".join(printable(line) for line in str(text).split("\n"))


def html_text(value: object) -> object:
    """A value for a template, which escapes it afterwards; text is made `printable`."""
    return lines(value) if type(value) is str else value  # markup of the template itself stays


# of at least two names, whose first begins as no bond of a SMILES does
_ABSOLUTE = re.compile(
    r"(?<![\w.~:/\\>)\]])/[A-Za-z][a-z_]{2}[\w.+@-]*(?:/[\w.+@~-]+)*/([\w.+@~-]+)"
)


def without_folders(text: str) -> str:
    """Text for readers elsewhere: of an absolute path, the last name alone is left."""
    return _ABSOLUTE.sub(r"…/\1", text)


# --- Markdown --------------------------------------------------------------------------------


def markdown(text: object) -> str:
    """Plain text as Markdown that shows just that, within a line, a heading or a cell."""
    text = _MARKDOWN.sub(r"\\\g<0>", printable(text))
    return _HTML.sub(lambda found: {"<": "&lt;", "&": "&amp;"}[found[0]], text)


def markdown_paragraph(text: object) -> str:
    """Plain text as a paragraph or an item of a list."""
    said = markdown(text).strip()
    found = _BLOCK.match(said)
    return said if found is None else said[: found.end()] + "\\" + said[found.end() :]


def markdown_list(items: Iterable[object]) -> str:
    """One item a line."""
    return "\n".join(f"- {markdown_paragraph(item)}" for item in items)


def markdown_table(table: pd.DataFrame, left: Sequence[str]) -> str:
    """Text cells as a Markdown table.

    Args:
        table: Cells and titles are plain text.
        left: Titles of the columns that are aligned left; the others are aligned right.
    """
    align = ["left" if title in left else "right" for title in table.columns]
    shown = table.map(markdown).set_axis([markdown(title) for title in table.columns], axis=1)
    return shown.to_markdown(index=False, disable_numparse=True, colalign=align)


# --- CSV -------------------------------------------------------------------------------------


def csv_cell(value: object) -> object:
    """A cell that no spreadsheet reads as a formula, with an apostrophe in front if needed."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    # full-width signs are signs for some spreadsheets
    first = unicodedata.normalize("NFKC", text.lstrip()[:1])
    return f"'{text}" if first.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def csv_table(table: pd.DataFrame) -> str:
    """A table as CSV, without its index."""
    words = table.select_dtypes(include=["object", "string", "category"]).columns
    safe = table.assign(**{name: table[name].astype(object).map(csv_cell) for name in words})
    return safe.to_csv(index=False)


# --- numbers -----------------------------------------------------------------------------------


def number(value: Any, digits: int = 3) -> str:
    """A number with so many significant digits; `n/a` if missing."""
    import numpy as np
    import pandas as pd

    if pd.isna(value):
        return "n/a"
    if not np.isfinite(value):
        return "∞"
    if value == 0:
        return "0"
    if abs(value) < 1e-5:
        return f"{value:.1e}"
    if abs(value) >= 1e10:
        return f"{value:.{digits - 1}e}"
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
    return f"{value:,.{decimals}f}".replace(",", "\u202f")


# --- figures and logs ------------------------------------------------------------------------


def label(text: object) -> str:
    """Plain text for a figure, where dollars would enclose mathematics."""
    return printable(text).replace("$", r"\$")


class LineFormatter(logging.Formatter):
    """Log records for a terminal or a file, without the control characters of others."""

    def format(self, record: logging.LogRecord) -> str:
        return lines(super().format(record))
