"""Text of others in Markdown, CSV, HTML, figures and logs: shown as it is, never acted on."""

from __future__ import annotations

import csv
import io
import logging
import re

import pandas as pd
import pytest
from matplotlib.figure import Figure

from pesbench import cli
from pesbench.core import text

HOSTILE = [
    "<script>alert(1)</script>",
    "a | b | c",
    "[here](javascript:alert(1))",
    "![pixel](http://there.example/x.png)",
    "see https://there.example or www.there.example",
    "`code` **bold** _slanted_ ~~gone~~ $x^2$",
    "two\nlines\r\nand\u2028more",
    "\x1b[2J\x1b]0;title\x07 and \x9b31m",
    "pay\u202egnp.exe \u2066isolated\u2069 \u200b\ufeff",
    "lone \ud800 surrogate",
    "&lt;b&gt; &#60;",
    "=1+1|cmd",
    "# heading",
    "1. item",
    "- item",
    "back\\slash \\| pipe",
]


@pytest.mark.parametrize("said", HOSTILE)
def test_printable_text_is_one_visible_line(said):
    shown = text.printable(said)
    assert all(c.isprintable() for c in shown)
    shown.encode()
    assert text.printable(shown) == shown


def test_what_is_harmless_stays_as_it_is():
    for said in ("1\u202f234.5", "Å⁻¹ ± 0.1 (n = 3)", "gfn2-xtb", "控制", "a\u00a0b"):
        assert text.printable(said) == said
    for said in ("fsd_full", "control-shift_+0.005", "0.12 ≈", "<0.001", "3 / 4", "not_evaluated"):
        assert text.markdown(said) == said


def unescaped(cell: str) -> str:
    """Text that CommonMark shows of escaped text; fails where markup is left."""
    plain = re.sub(r"\\([!-/:-@\[-`{-~])", lambda m: f"\ue000{ord(m[1]):02x}\ue001", cell)
    assert not re.search(r"[`*~\[\]|$<]|\bhttps?://|\bwww\.|(?<![^\W_])_", plain), cell
    plain = re.sub("\ue000([0-9a-f]{2})\ue001", lambda m: chr(int(m[1], 16)), plain)
    return plain.replace("&lt;", "<").replace("&amp;", "&")


@pytest.mark.parametrize("said", HOSTILE)
def test_markdown_shows_text_and_nothing_else(said):
    assert unescaped(text.markdown(said)) == text.printable(said)
    assert unescaped(text.markdown_paragraph(said)) == text.printable(said).strip()
    assert not re.match(r"(#|>|\+|-|=|\d+[.)]\s)", text.markdown_paragraph(said))


def test_a_markdown_table_keeps_its_columns():
    table = pd.DataFrame({"a": HOSTILE, "b": ["x"] * len(HOSTILE)}, dtype=object)
    lines = text.markdown_table(table, ["a"]).splitlines()
    assert len(lines) == len(HOSTILE) + 2
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines} == {3}


@pytest.mark.parametrize(
    "said",
    ["=cmd()", "+1 or 2", "-x", "@SUM(A1)", "\t=x", "\r\n=x", " =x", "\uff1d1+1", "=1+1|cmd"],
)
def test_no_cell_is_a_formula(said):
    table = pd.DataFrame({"text": [said, None], "number": [-1.5, float("nan")]})
    rows = list(csv.reader(io.StringIO(text.csv_table(table))))
    assert rows[1] == ["'" + text.printable(said), "-1.5"]
    assert rows[2] == ["", ""]


def test_numbers_and_words_of_a_table_are_written_as_they_are():
    table = pd.DataFrame(
        {"a": ["-0.5", "x,y"], "b": [True, False], "c": pd.array([1, None], dtype="Int64")}
    )
    assert text.csv_table(table) == table.to_csv(index=False)


def test_dollars_are_no_mathematics_in_a_figure():
    figure = Figure()
    drawn = figure.text(0, 0, text.label(r"$\frac{$ and $x$"))
    figure.canvas.draw()
    assert drawn.get_text().replace("\\$", "$") == r"$\frac{$ and $x$"


def test_a_log_has_no_control_characters_of_others(capfd, monkeypatch):
    class Hostile:
        def parse_args(self, _):
            def run(_):
                logging.getLogger("pesbench").warning("%s", "".join(HOSTILE))
                raise cli.UserError("\x1b[2J" + HOSTILE[6])

            return type("Arguments", (), {"run": staticmethod(run)})

    logger = logging.getLogger()
    before = logger.handlers[:]
    logger.handlers.clear()
    monkeypatch.setattr(cli, "parser", Hostile)
    try:
        assert cli.main([]) == 2
    finally:
        logger.handlers[:] = before
    said = capfd.readouterr().err  # which rules write to the log of a job
    assert all(line.isprintable() for line in said.split("\n"))
    assert said.splitlines()[-1].startswith("pesbench: error: \\x1b[2Jtwo lines")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("no file /home/some.one/w/m.pt: gone", "no file …/m.pt: gone"),
        ("File '/work/a b/c/d.py', line 3", "File '…/a b/c/d.py', line 3"),
        ("a=/tmp/x,b=(/opt/env/bin/python)", "a=…/x,b=(…/python)"),
        *((same, same) for same in (
            "/Cl/C=C/C", "F/C=C/F", "C(/CCC/C=C)/C", "meV/atom/ps", "https://a.example/b/c.d/e",
            "and/or", "results/<set>/explorer/index.html", "../a/b/c", "~/a/b/c", "eV/Å",
        )),
    ],
)  # fmt: skip
def test_absolute_paths_lose_their_folders_and_nothing_else_does(said, shown):
    assert text.without_folders(said) == shown
