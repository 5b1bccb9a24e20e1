"""Figures and the page: what is drawn and written, from synthetic scores."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_tables import SCANS, control, fact, perturbed, rows
from test_worst import files, scores

from pesbench.core.jobs import ScoreJob
from pesbench.files import figures
from pesbench.report import page
from pesbench.report.sections import StoredFigure, read_section, write_section
from pesbench.tasks.bonds import worst_figure
from pesbench.tasks.bonds.board import leaderboard
from pesbench.tasks.bonds.by_bond_figure import fsd_by_bond
from pesbench.tasks.bonds.control_figure import control_ladders, spread
from pesbench.tasks.bonds.model_section import model_section
from pesbench.tasks.bonds.score import PLACES
from pictures import covered

__all__ = ["files", "scores"]  # fixtures of test_worst
PNG = b"\x89PNG\r\n\x1a\n"


def make_board(models, controls, defects=()):
    scores = {**models, **{c.name: rows(c.name, fsd, forces_only=True) for c, fsd in controls}}
    scores |= {who.name: rows(who.name, fsd) for who, fsd in defects}
    facts = [*(fact(name) for name in models), *(who for who, _ in (*defects, *controls))]
    return leaderboard(scores, facts), scores, facts


CONTROLS = [
    (control("zero"), SCANS * 1.7),
    (control("step", 1.5), SCANS),
    (control("step", 2.0), SCANS * 1.8),
    (control("shift", 0.01), SCANS),
    (control("shift", -0.01), SCANS * 0.9),
    (control("spike", 3.0), SCANS),
]


def many(count):
    return {f"a-model-with-a-name-{k}": rows(f"a-model-with-a-name-{k}", SCANS * (0.5 + 0.03 * k))
            for k in range(count)}  # fmt: skip


def drawn(figure):
    """Every text of a figure."""
    return [text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text"))]


def cells(figure):
    """Texts of the heat map by names of their row and column."""
    axes = figure.axes[0]
    rows, columns = (
        dict(zip(axis.get_ticklocs(), (t.get_text() for t in axis.get_ticklabels()), strict=True))
        for axis in (axes.yaxis, axes.xaxis)
    )
    return {
        (rows[t.get_position()[1]], columns[t.get_position()[0]].split("\n")[0]): t.get_text()
        for t in axes.texts
    }


def hatched(axes):
    return [patch for patch in axes.patches if patch.get_hatch()]


def test_bond_figure_has_a_cell_a_mean_and_shows_what_is_missing():
    part = rows("part", SCANS, failed=[1, *range(0, 20, 4)])  # no scan of O-P is left
    board, scores, _ = make_board({"a": rows("a", SCANS), "part": part}, CONTROLS)
    figure = fsd_by_bond(board, scores)
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["C–N\n15", "O–P\n5", "mean\n20"]
    below = ["control-shift_0.01", "control-spike_3", "control-step_2"]  # the worst of each kind
    names = [t.get_text() for t in axes.get_yticklabels()]
    assert names == ["a", "part", "zero forces", *below]
    found = cells(figure)
    of_bond = {"O–P": SCANS[::4].mean(), "C–N": np.delete(SCANS, np.s_[::4]).mean()}
    for bond, mean in of_bond.items():
        assert float(found["a", bond]) == pytest.approx(mean, abs=0.5)
        assert float(found["zero forces", bond]) == pytest.approx(1.7 * mean, abs=0.5)
    assert found["part", "C–N"].endswith(" (14)")
    assert found["part", "mean"].endswith(" (14)")
    assert ("part", "O–P") not in found
    (nothing,) = hatched(axes)
    assert nothing.get_xy() == (0.5, 0.5)
    places = [*axes.get_yticks(), *axes.get_xticks()]
    assert np.diff(places[1:4]) == pytest.approx([1.4, 1.4])  # zero forces apart
    assert places[-1] - places[-2] == pytest.approx(1.4)  # and the mean


def test_bonds_to_hydrogen_stand_apart_and_no_better_than_zero_is_marked():
    own = rows("a", SCANS)
    own.loc[3, "bond"] = "C-H"
    own.loc[own["bond"] == "O-P", "fsd_full"] *= 1.7  # what zero forces score
    own.loc[0, ["status", "fsd_full"]] = ["error", np.nan]  # on the scans that it has
    controls = [(control("zero"), SCANS * 1.7)]
    board, scores, _ = make_board({"a": own}, controls)
    axes = fsd_by_bond(board, scores).axes[0]
    assert [t.get_text()[:3] for t in axes.get_xticklabels()] == ["C–N", "O–P", "mea", "C–H"]
    assert np.diff(axes.get_xticks()) == pytest.approx([1, 1.4, 1.4])
    (mark,) = axes.lines
    assert (round(mark.get_xdata()[0]), mark.get_ydata()[0]) == (1, 0)


def test_numbers_are_left_out_of_cells_that_are_too_narrow():
    own = rows("a", SCANS).assign(bond=[f"C-X{k}" for k in range(20)])
    wide = fsd_by_bond(*make_board({"a": own}, [])[:2])
    assert len(cells(wide)) == 21
    many_bonds = pd.concat([own.assign(scan=own["scan"] + f"_{k}", bond=own["bond"] + f"{k}")
                            for k in range(2)])  # fmt: skip
    narrow = fsd_by_bond(*make_board({"a": many_bonds}, [])[:2])
    assert not narrow.axes[0].texts
    assert not covered(narrow)


def test_ladders_show_models_and_controls():
    models = {"a": rows("a", SCANS), "rough": rows("rough", SCANS * 50)}
    board, _, facts = make_board(models, CONTROLS)
    figure = control_ladders(board, facts)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["force step", "bond-length shift", "spike in one frame"]
    step = figure.axes[0]
    ladder = next(line for line in step.lines if line.get_marker() == "o")
    assert ladder.get_xdata().tolist() == [1.0, 1.5, 2.0]
    assert ladder.get_ydata() == pytest.approx([0, 10, 18])
    assert step.get_ylim()[1] < 25  # the rough model does not flatten the ladders
    labels = drawn(figure)
    assert "a  10.0" in labels
    assert "↑ rough  500.0" in labels
    assert "zero forces  17.0" in labels
    assert "horizontal line: the FSD of a model" in labels


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [1, 5, 30])
def test_texts_of_figures_of_one_to_thirty_models_cover_nothing(tmp_path, count):
    board, scores, facts = make_board(many(count), CONTROLS)
    bonds = fsd_by_bond(board, scores)
    ladders = control_ladders(board, facts)
    figures.save(bonds, tmp_path / "bonds.png", dpi=40)
    assert (tmp_path / "bonds.png").read_bytes().startswith(PNG)
    with Image.open(tmp_path / "bonds.png") as image:
        assert json.loads(image.text["Comment"])["packages"]["pesbench"]
    assert not list(tmp_path.glob("*.part"))
    assert not covered(bonds)
    assert not covered(ladders)
    assert len(ladders.axes[-1].texts) == count + 1


def test_the_same_scores_give_the_same_picture():
    board, scores, _ = make_board(many(2), CONTROLS)
    first, second = (figures.png(fsd_by_bond(board, scores), dpi=40) for _ in range(2))
    assert first == second


def test_nothing_to_draw_says_so():
    board, scores, facts = make_board({"b": rows("b", SCANS, failed=range(20))}, [])
    assert "No model" in drawn(fsd_by_bond(board, scores))[0]
    assert "No control" in drawn(control_ladders(board, facts))[0]


DEFECTS = [
    (perturbed("p<1>", "ripple", 0.01), SCANS * 0.1),
    (perturbed("q", "dip", 1.0), SCANS * 9),
]


def test_perturbed_models_are_in_no_figure_that_compares_models():
    models = {"a": rows("a", SCANS), "b": rows("b", SCANS * 1.2)}
    alone, beside = make_board(models, CONTROLS), make_board(models, CONTROLS, DEFECTS)
    pictures = [
        [figures.png(fsd_by_bond(board, scores), dpi=40),
         figures.png(control_ladders(board, facts), dpi=40)]
        for board, scores, facts in (alone, beside)
    ]  # fmt: skip
    assert pictures[0] == pictures[1]
    board, scores, facts = make_board({}, CONTROLS, DEFECTS)
    said = drawn(fsd_by_bond(board, scores))[0]
    assert said == "No model has a scored scan; perturbed models are not in this figure."
    assert "zero forces  17.0" in drawn(control_ladders(board, facts))


@pytest.mark.parametrize(
    ("levels", "gap"), [([1, 1, 1], 0.5), ([0, 0, 9, 10, 10], 1), ([5.0], 1), ([0, 10], 1)]
)
def test_labels_are_spread_in_order_and_inside(levels, gap):
    found = np.array(spread(levels, gap, 0.0, 10.0))
    assert (np.diff(found) >= gap - 1e-9).all()
    assert found.min() >= -1e-9
    assert found.max() <= 10 + 1e-9
    if len(levels) < 3:
        assert found == pytest.approx(levels)


def test_labels_move_to_both_sides_and_shrink_their_gap_where_there_is_no_room():
    assert spread([5, 5, 5], 1, 0, 10) == pytest.approx([4, 5, 6])
    assert spread([5] * 21, 1, 0, 10) == pytest.approx(np.linspace(0, 10, 21))
    assert spread([], 1, 0, 10) == []


def test_worst_figure_says_in_words_what_is_wrong_and_marks_the_place(files, scores):
    scan_set, shards = files
    figure = worst_figure.worst_scans(scan_set, shards, scores, "m")
    upper = {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_title(loc="left")}
    titles = [title.strip().split("\n") for title in upper]
    assert [lines[0] for lines in titles] == ["1. C-C/bump", "2. C-C/hole", "3. C-N/long"]
    assert titles[0][1].startswith("false barrier of 1.")
    assert any(line.startswith("wall gives way at 1.0") for line in titles[1])
    panels = list(upper.values())
    curves = [sum(len(line.get_xdata()) > 2 for line in axes.lines) for axes in panels]
    assert curves == [3, 3, 2]  # C-N/long has forces only
    assert len(panels[2].lines[0].get_xdata()) == 99  # the masked frame is left out
    (barrier,) = (line for line in panels[0].lines if line.get_marker() == "^")
    assert barrier.get_xdata()[0] == pytest.approx(2.2, abs=0.05)
    assert barrier.get_ydata()[0] < panels[0].get_ylim()[1]
    lower = figure.axes[1]
    assert lower.get_yscale() == "log"
    assert lower.get_ylim()[0] < 1 < lower.get_ylim()[1]
    assert "wall gives way" in drawn(figure)
    assert "force changes most, reference below 10 eV" in drawn(figure)


def test_worst_figure_of_what_has_no_fault_says_so(files, scores):
    scan_set, shards = files
    for none, said in (
        (scores.assign(status="error"), "no false or missing barrier"),
        (scores.drop(columns=list(PLACES)), "3 of 3 scored scans were scored by an older version"),
    ):
        assert said in drawn(worst_figure.worst_scans(scan_set, shards, none, "m"))[0]


@pytest.fixture
def html(files, scores, tmp_path):
    scan_set, shards = files
    failed = scores[scores["status"] != "ok"]
    sections = {}
    for name, rows_of in (
        ("m", scores),
        ("none", failed),
        ("old", scores.drop(columns=list(PLACES))),
    ):
        job = ScoreJob(shards if name == "m" else (), scan_set.path, None)
        folder = tmp_path / name / "bonds"
        write_section(folder, model_section(job, rows_of), [], "a" * 64)
        sections[name] = [read_section(folder)]
    m = sections["m"][0]
    (tmp_path / "x.png").write_bytes(PNG)
    board, _, _ = make_board({"m": rows("m", SCANS, failed=[3], message="<b>&")}, CONTROLS)
    return page.render(
        board,
        title="Leaderboard of test",
        facts=[("level of theory", "HF <STO-3G>"), ("scans", "4, 0 dropped")],
        answers=["m is <smooth>."],
        skipped=pd.DataFrame([{"scan": "C-C/x", "quality": "dropped", "reason": "SCF & co"}]),
        sections=[replace(m, figures=(StoredFigure(tmp_path / "x.png", "a <caption>"),))],
        of_models=sections,
        made=[("commit", "abc123")],
    )


def test_page_holds_everything_and_asks_for_nothing(html):
    assert "Leaderboard of test" in html
    assert "abc123" in html
    assert html.count("data:image/png;base64,") == 2
    assert base64.b64encode(PNG).decode() in html
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", html)
    assert "http" not in html
    assert 'FSD <span class="unit">(Å⁻¹)</span>' in html


def test_page_escapes_what_others_wrote(html):
    assert "HF &lt;STO-3G&gt;" in html
    assert "&lt;b&gt;&amp;" in html
    assert "<b>" not in html


def test_page_gives_the_answer_first_and_the_facts_last(html):
    order = [
        *("m is &lt;smooth&gt;.", "<h2>Models</h2>", "How to read it", '<details id="bonds-m">'),
        *("SCF &amp; co", "HF &lt;STO-3G&gt;", "abc123"),
    ]
    places = [html.index(text) for text in order]
    assert places == sorted(places)


def test_page_tells_where_a_model_breaks(html):
    assert '<a href="#bonds-m">m</a>' in html
    of = {
        name: html[html.index(f'<details id="bonds-{name}">') :].split("</details>")[0]
        for name in ("m", "none", "old")
    }
    summary = re.search(r"<summary>(.*?)</summary>", of["m"]).group(1)
    assert re.search(r"false barrier at 2\.\d\d Å \(C-C/bump\)", summary)
    assert re.search(r"wall gives way at 1\.\d\d Å \(C-C/hole\)", summary)
    assert "1 scan without a score" in summary
    headings = re.findall("<h3>(.*?)</h3>", of["m"])
    assert headings == [
        "False and missing barriers and wells", "Abrupt changes of the force",
        "The repulsive wall gives way", "Bond length of the minimum", "Stiffness of the minimum",
        "Largest slope anywhere", "Scans without a score",
    ]  # fmt: skip
    cells = re.findall(r'<td class="text">(.*?)</td>', of["m"])
    assert cells[:3] == ["1", "C-C/bump", "false barrier"]
    assert cells[-3:] == ["C-N/fails", "error", "broke"]
    assert "no abrupt fault is listed; 1 scan without a score" in of["none"]
    assert of["none"].count("<p>None.</p>") == 6
    assert of["old"].count("scored by an older version") == 5


def test_page_sorts_by_numbers_and_leaves_missing_ones_empty():
    models = {"a": rows("a", SCANS), "b": rows("b", SCANS, failed=range(20))}
    board, _, _ = make_board(models, [])
    html = page.render(board, title="t", facts=[])
    cells = re.findall(r'<td class="(\w*)" data-sort="([^"]*)">', html)
    per_row = len(cells) // 2
    first, second = cells[:per_row], cells[per_row:]
    assert first[0] == ("", "1.0")
    assert second[0] == ("none", "")
    assert first[1] == ("text", "a")


def test_page_has_a_section_of_perturbed_models():
    board, _, _ = make_board({"a": rows("a", SCANS)}, CONTROLS, DEFECTS)
    html = page.render(board, title="t", facts=[])
    headings = re.findall("<h2>(.*?)</h2>", html)
    assert headings[:3] == ["Models", "Perturbed models", "Controls"]
    section = html[html.index("<h2>Perturbed") : html.index("<h2>Controls")]
    assert "<th" in section
    assert "rank" not in section
    cells = re.findall(r'<td class="(\w*)" data-sort="([^"]*)">(.*?)</td>', section)
    first = len(cells) // 2
    assert cells[0] == ("text", "q", "q")  # a dip, before a ripple
    assert cells[first] == ("text", "p&lt;1&gt;", "p&lt;1&gt;")
    assert cells[first + 1] == ("word", "ripple", "ripple on truth")
    assert cells[first + 2] == ("", "0.01", "0.01 eV")
