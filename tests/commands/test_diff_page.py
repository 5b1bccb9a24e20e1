"""The page of a diff: what `diff` decides, as data and in Chromium (explorer/test/diff.mjs)."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest
from test_diff import broken, change, copies, diff, refused, runs
from test_explorer import read

from examples import matches
from page_tests import GROUP, cases, missing, run_cases
from pesbench.commands.diff import page
from pesbench.report.explorer import scripts

__all__ = ["runs"]  # a fixture of test_diff
HOSTILE = "=cmd|'<script>alert(1)</script>\" \x1b[31m ]]> `$(x)`"
MADE = [{"device": "cuda", "git_commit": "<b>feed</b>", "dtype": "float64"}]
pytestmark = GROUP


def exploded(rows):
    first = rows.index[rows["status"] == "ok"][:3]
    for row, factor in zip(first, (1e3, 1e6, 1e4), strict=True):
        rows.loc[row, ["fsd_full", "force_mae"]] *= factor
    failed = rows.index[rows["status"] == "ok"][10:13]
    rows.loc[failed, ["status", "message"]] = ["timeout", HOSTILE]
    return rows


def page_of(a: Path, b: Path, *words) -> Path:
    """The page of two runs, the second of which changes, gets an explorer and an odd name."""
    place = a.parent / "page"
    b = b.rename(a.parent / "b #'")
    change(b, "mace-mini", "bonds", exploded, made_from=MADE)
    change(b, "gfn1-xtb", "dynamics", broken(8))
    (b / "explorer").mkdir()
    (b / "explorer" / "index.html").touch()
    assert diff(a, b, "--page", place, *words) == 1
    return place


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """The page of two equal runs and of two that differ, with what the terminal said of these."""
    folder = tmp_path_factory.mktemp("diff")
    a, b = copies(folder)
    assert diff(a, b, "--page", folder / "unchanged") == 0
    with (folder / "said.txt").open("w") as said, contextlib.redirect_stdout(said):
        page_of(a, b, "--out", folder / "diff.json")
    return folder


@pytest.fixture(scope="module")
def made(place) -> Path:
    return place / "page"


def test_the_page_tells_what_is_decided_in_the_words_of_the_terminal(made):
    told = json.loads((made.parent / "diff.json").read_text())
    shown = json.loads((made / "diff.json").read_text())
    assert {**shown, "folders": 0} == scripts.plain({**told, "folders": 0})
    index = read(made / "data" / "index.js")
    assert (index["answer"], index["verdict"]) == (told["answer"], told["verdict"])
    said = (made.parent / "said.txt").read_text()
    assert said.rstrip().endswith(index["verdict"])
    shown = set()
    for one in index["scores"]:
        task = index["tasks"][one["task"]]
        of_task = told["models"][task["model"]][task["task"]]
        wanted = of_task["scores"][one["name"]]
        for key in ("verdict", "before", "after", "p", "n"):
            assert one[key] == wanted[key]
        assert one["differ"] == len(wanted["rows"])
        assert task["flips"] == [
            flip | {"message": flip["message"].replace("\x1b", "\\x1b")}
            for flip in of_task["status_changes"]
        ]
        shown.add((task["model"], task["task"], one["name"]))
        if one["verdict"] != "unchanged":
            assert f"    {one['said']}\n" in said
            assert not one["note"] or f"      {one['note']}\n" in said
    assert shown == {
        (model, task, name)
        for model, some in told["models"].items()
        for task, one in some.items()
        for name in one["scores"]
    }


def test_all_rows_of_what_differs_are_there_and_of_nothing_else(made):
    told = json.loads((made / "diff.json").read_text())
    index = read(made / "data" / "index.js")
    pieces = {path.stem for path in made.glob("data/scores-*.js")}
    assert {task["piece"] for task in index["tasks"]} == {None, *pieces}
    assert len(pieces) == 2
    for one in index["scores"]:
        task = index["tasks"][one["task"]]
        if not one["differ"]:
            continue
        piece = read(made / "data" / f"{task['piece']}.js")
        rows = [(piece["rows"][k], a, b) for k, a, b in piece["scores"][one["name"]]]
        assert len({row for row, _, _ in rows}) == one["n"]
        wanted = told["models"][task["model"]][task["task"]]["scores"][one["name"]]["rows"]
        assert rows[: one["differ"]] == [(row["row"], row["A"], row["B"]) for row in wanted]
        assert all(a == b for _, a, b in rows[one["differ"] :])


def test_reasons_are_told_with_the_tasks_that_they_are_of(made):
    index = read(made / "data" / "index.js")
    (device,) = (one for one in index["causes"] if one["what"] == "device")
    assert (device["before"], device["after"]) == (["cpu"], ["cuda"])
    (at,) = device["changed"]
    assert not device["unchanged"]
    assert (index["tasks"][at]["model"], index["tasks"][at]["task"]) == ("mace-mini", "bonds")


def test_equal_runs_have_a_page_without_rows(place):
    index = read(place / "unchanged" / "data" / "index.js")
    assert (index["answer"], index["exit"], index["causes"]) == ("unchanged", 0, [])
    assert not list(place.glob("unchanged/data/scores-*.js"))


def test_no_folder_of_this_machine_is_told(made):
    for path in matches(made, "**/*.js*"):
        assert str(made.parent) not in path.read_text(encoding="utf-8")
    assert [one["path"] for one in read(made / "data" / "index.js")["folders"]] == ["…/a", "…/b #'"]


def test_what_strangers_wrote_is_one_string_of_a_script(made):
    for path in matches(made, "data/*.js"):
        assert not {"<", ">", "&"} & set(path.read_text(encoding="ascii"))
    tasks = read(made / "data" / "index.js")["tasks"]
    messages = {flip["message"] for task in tasks for flip in task["flips"]}
    assert messages == {HOSTILE.replace("\x1b", "\\x1b")}


def test_links_lead_to_what_is_there_and_never_out_of_the_folder(made):
    a, b = made.parent / "a", made.parent / "b #'"
    assert page._links(a, made) == {}
    assert page._links(b, made) == {"explorer": "../b%20%23%27/explorer/index.html"}
    (a / "leaderboard.md").symlink_to(made / "diff.json")
    assert page._links(a, made) == {}


def test_another_folder_is_refused_before_any_work(runs, caplog, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diff.json").touch()
    shutil.rmtree(runs[1])  # is not read
    assert "holds 'diff.json' and is no page" in refused(caplog, *runs, "--page", tmp_path / "mine")


def test_a_page_is_replaced(place, tmp_path):
    shutil.copytree(place / "unchanged", tmp_path / "page")
    (tmp_path / "page" / "old").touch()
    assert diff(place / "a", place / "b #'", "--page", tmp_path / "page") == 1
    assert not (tmp_path / "page" / "old").exists()
    assert read(tmp_path / "page" / "data" / "index.js")["answer"] == "changed"


@pytest.fixture(scope="module")
def told(place) -> dict[str, str]:
    if reason := missing():
        pytest.skip(reason)
    return run_cases("diff.mjs", place / "page", place / "unchanged")


@pytest.mark.parametrize("case", cases("diff.mjs"))
def test_page(told, case):
    assert told[case] == "", told[case]
