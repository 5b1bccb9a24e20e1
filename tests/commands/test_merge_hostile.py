"""A folder of results that means harm: refused in one line, or shown as text, and no more."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser

import h5py
import numpy as np
import pandas as pd
import pytest
from test_merge import LEVEL, METHOD, Group, contents, control, net, refused, run

from examples import matches
from pesbench.commands.merge.assembly import merge
from pesbench.commands.merge.place import new_folder
from pesbench.core.errors import UserError
from pesbench.files.atomic import write_json
from pesbench.files.scan_set import ScanSet, write_scan_set
from pesbench.models.record import Described, check_name, description, write_record
from pesbench.models.registry import ModelEntry

LINK = "[here](javascript:alert(1)) ![x](http://there.example/x.png) https://there.example"
TAG = "<script>alert(1)</script><img src=x onerror=alert(2)> &lt;b&gt; \"'"
MARKS = "a | b || `c` **d** _e_ $\\frac{$ ~~f~~\n\n# g\r\n- h"
CONTROLS = "\x1b[2J\x1b]0;t\x07 \x9b31m pay\u202egnp.exe \u2066i\u2069 \u200b"
HOSTILE = f"=cmd()|' /C calc'!A0 {LINK} {TAG} {MARKS} {CONTROLS}"
ONE_LINE = "".join(c for c in HOSTILE if c.isprintable())  # of a registry, others are refused
FOLDER = re.sub("[/\n\r]", "", HOSTILE)[:150]  # a folder may have any name


def _spoilt_text(group, toys):
    """Every text of a folder that is not a name is hostile."""
    scans = [replace(scan, smiles=HOSTILE) for scan in toys.values()]
    scans[0] = replace(scans[0], quality="marked", reason=HOSTILE)
    level = f"{LEVEL} {ONE_LINE}"
    path = group.folder / "toys.h5"
    write_scan_set(
        path, scans, name="toys", level_of_theory=level, source=HOSTILE,
        provenance={"command": [HOSTILE]},
    )  # fmt: skip
    with ScanSet(path) as opened:
        group.sha256 = opened.sha256
    how = {"commit": HOSTILE, "code": HOSTILE}
    group.scans(group.add(replace(METHOD, settings={**METHOD.settings, "level_of_theory": level})))
    group.scans(group.add(control()), rough=1.0)
    told = dict.fromkeys(("citation", "license", "description"), ONE_LINE)
    raw = group.add(net("raw", level_of_theory=ONE_LINE, **told), seen={"a": "seen", "b": "unseen"})
    group.scans(raw, rough=0.05, failed=["C-O/c", "C-N/b"], **how)
    group.dynamics(raw, **how)
    scored = group.add(net("scored", "b", level_of_theory=ONE_LINE))
    group.scans(scored, rough=0.1, failed=["C-O/c"], **how)
    group.dynamics(scored, drift=1.0, **how)
    group.score()
    for name in ("raw", "scored"):
        for stored in matches(group.folder / name, "bonds/*.h5"):
            with h5py.File(stored, "r+") as file:
                file.attrs["device"] = file.attrs["dtype"] = HOSTILE
                for scan_id in ("C-O/c", "C-N/b"):
                    file[scan_id].attrs["message"] = HOSTILE
    for kind, column in (("bonds", "message"), ("dynamics", "failure")):
        stored = group.folder / "scored" / "scores" / f"{kind}.parquet"
        table = pd.read_parquet(stored)
        table[column] = HOSTILE
        if kind == "dynamics":
            table["outcome"], table["time_ps"] = "failed", 0.1
        table.attrs["made_from"] = [dict.fromkeys(("git_commit", "device", "dtype"), HOSTILE)]
        table.attrs["provenance"] = HOSTILE
        table.to_parquet(stored)
        shutil.rmtree(group.folder / "scored" / kind)
    with (group.folder / "skipped.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["scan", "quality", "reason"], [HOSTILE, "skipped", HOSTILE]])


@pytest.fixture(scope="module")
def shown(toys, toy_set, tmp_path_factory):
    """What a hostile folder becomes: the merged folder, and what lay beside it before and after."""
    place = tmp_path_factory.mktemp("hostile")
    group = Group(place / FOLDER, toy_set, toys)
    _spoilt_text(group, toys)
    before = contents(place)
    assert run(group.folder, "--out", place / "out") == 0
    after = {k: v for k, v in contents(place).items() if not k.startswith("out/")}
    return place / "out", before, after


def test_only_the_merged_folder_is_written(shown):
    out, before, after = shown
    assert before == after
    folders = {str(path.parent.relative_to(out)) for path in matches(out, "**/*.json")}
    models = {"raw", "scored", "truth", "control-zero"}
    shown_here = ("association", "atlas", "bonds", "dynamics", "pairs")
    sections = {f"sections/{name}" for name in shown_here}
    own = {"raw/sections/bonds", "scored/sections/bonds"}
    assert folders == {".", "explorer", *models, *sections, *own}


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_shows_text_only(shown):
    page = _Tags()
    page.feed((shown[0] / "leaderboard.html").read_text())
    assert page.tags.count("script") == 1
    assert all(value.startswith("data:image/png") for t, n, value in page.attributes if n == "src")
    assert all(value.startswith("#") for t, n, value in page.attributes if (t, n) == ("a", "href"))
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    text = "".join(page.text)
    assert TAG in text
    assert LINK in text
    for said in (text, *(value or "" for _, _, value in page.attributes)):
        assert all(c.isprintable() or c in "\n\u202f" for c in said)


def test_markdown_has_its_columns_and_no_markup_of_others(shown):
    for path in matches(shown[0], "**/*.md"):
        text = path.read_text()
        assert all(c.isprintable() or c in "\n\u202f" for c in text)
        plain = re.sub(r"\\[!-/:-@\[-`{-~]", "", text)
        assert not re.search(r"<|\]\(|https?://|\$|`", plain), path
        tables = re.findall(r"(?:^\|.*\n)+", plain, re.MULTILINE)
        assert tables
        for table in tables:
            assert len({line.count("|") for line in table.splitlines()}) == 1, path
        assert not re.search(r"^(?!# |## |### |- |\||\*\*|\n)[#>+=-]", plain, re.MULTILINE)


def test_no_cell_of_a_csv_is_a_formula(shown):
    found = sorted(shown[0].rglob("*.csv"))
    assert len(found) >= 5
    for path in found:
        with path.open(newline="", encoding="utf-8") as file:
            for cell in (cell for row in csv.reader(file) for cell in row):
                assert cell.isprintable(), path
                if cell[:1] in tuple("=+-@"):
                    float(cell)


def test_json_is_whole(shown):
    for path in matches(shown[0], "**/*.json"):
        assert path.read_text().isascii()
        json.loads(path.read_text())


def test_the_terminal_shows_one_line_a_message(shown, tmp_path, toys, toy_set, capsys, caplog):
    group = Group(tmp_path / FOLDER, toy_set, toys)
    group.scans(group.add(net("a")))
    (group.folder / "a" / "model.json").write_text(json.dumps({"name": HOSTILE}))
    assert run(group.folder, "--out", tmp_path / "out") == 2
    assert caplog.records[-1].getMessage().isprintable()


# --- names ---------------------------------------------------------------------------------------

NAMES = ["../../x/y", "..", ".", "", "/etc", "a/b", "--help", "-x", "a\nb", "<b>", "a|b", "=1+1",
         "x" * 300, "sections", "models.json", "a b", "$x$", "\x1b[2J"]  # fmt: skip


def _small(place, toys, toy_set):
    group = Group(place / "given", toy_set, toys)
    group.scans(group.add(METHOD))
    group.scans(group.add(net("net")), rough=0.1)
    return group


def _scan_set_name(group, name):
    with h5py.File(group.folder / "toys.h5", "r+") as file:
        file.attrs["name"] = name


def _in_model_json(group, name):
    path = group.folder / "net" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"name": name}))


def _in_models_json(group, name):
    group.described[name] = Described()
    write_record(group.folder / "models.json", group.described)


def _base(group, name):
    base = {"name": name, "family": "mace", "settings": {"sha256": "a" * 64}}
    settings = {"base": name, "perturbation": "noise", "dose": 1.0, "base_entry": base}
    group.scans(group.add(ModelEntry("bent", "perturbed", settings)), rough=0.2)


def _family(group, name):
    path = group.folder / "net" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"family": name}))


def _seen(group, name):
    group.described["net"] = Described(description(net()), {name: "seen"})
    write_record(group.folder / "models.json", group.described)


def test_a_molecule_may_be_named_after_its_scan():
    """As those of BSCT-SPICE are."""
    check_name("C-C/29068", "place", "system")
    for name in ("C-C/../x", "/etc", "C-C//x", "C-C/"):
        with pytest.raises(UserError, match="unfit for a path"):
            check_name(name, "place", "system")


def _seed_of(group, name):
    group.described["net"] = Described({"seed_of": name})
    write_record(group.folder / "models.json", group.described)


PLACES = [_scan_set_name, _in_model_json, _in_models_json, _base, _family, _seen, _seed_of]


@pytest.mark.parametrize(
    ("place", "name"),
    [(_in_models_json, n) for n in NAMES] + [(p, n) for p in PLACES for n in (NAMES[0], "<b>", "")],
)
def test_a_name_that_is_no_name_is_refused(place, name, toys, toy_set, tmp_path):
    group = _small(tmp_path, toys, toy_set)
    place(group, name)
    before = contents(tmp_path)
    said = refused([group], tmp_path / "out")
    assert "\n" not in said or "\n" in name
    assert contents(tmp_path) == before


def stopped(group, place) -> str:
    """The one line of the command, which leaves nothing behind."""
    before = contents(place)
    with pytest.raises(UserError) as failure, new_folder(place / "out") as out:
        merge([group.folder], out)
    assert contents(place) == before
    return str(failure.value)


@pytest.mark.parametrize("field", ["scan", "system", "bond", "status", "n_frames", "seen"])
def test_scores_may_not_say_of_a_scan_what_the_scan_set_does_not(field, toys, toy_set, tmp_path):
    group = _small(tmp_path, toys, toy_set)
    group.score()
    shutil.rmtree(group.folder / "net" / "bonds")
    path = group.folder / "net" / "scores" / "bonds.parquet"
    table = pd.read_parquet(path)
    table[field] = table[field].astype(object)
    table.loc[2, field] = 3 if field == "n_frames" else "../../x"
    if field == "n_frames":
        table[field] = table[field].astype(int)
    table.to_parquet(path)
    assert "bonds.parquet" in stopped(group, tmp_path)


# --- content -------------------------------------------------------------------------------------


def _tamper(group, toys, *, told):
    """A model's forces become the reference's: it alone is without error then."""
    scans = [replace(s, forces=s.forces * (1 + 0.1 * np.sin(40 * s.coordinate))[:, None, None])
             for s in toys.values()]  # fmt: skip
    path = group.folder / "toys.h5"
    if not told:
        with h5py.File(path, "r+") as file:
            for scan in scans:
                file[scan.id]["forces"][...] = scan.forces
        return
    write_scan_set(path, scans, name="toys", level_of_theory=LEVEL, source="", provenance={})
    with ScanSet(path) as opened:
        for stored in matches(group.folder, "*/bonds/*.h5"):
            with h5py.File(stored, "r+") as file:
                file.attrs["scan_set_sha256"] = opened.sha256


def test_a_changed_scan_set_is_refused(toys, toy_set, tmp_path):
    group = _small(tmp_path, toys, toy_set)
    _tamper(group, toys, told=False)
    assert "it was changed" in refused([group], tmp_path / "out")
    scan_set = group.folder / "toys.h5"
    scan_set.rename(tmp_path / "given.h5")
    assert "it was changed" in refused([group], tmp_path / "out2", scan_set=tmp_path / "given.h5")


def test_a_reference_that_is_not_its_own_is_refused(toys, toy_set, tmp_path):
    group = _small(tmp_path, toys, toy_set)
    _tamper(group, toys, told=True)
    said = stopped(group, tmp_path)
    assert "not what its reference says: 'truth'" in said
    assert "is rounding" in said


# --- files ---------------------------------------------------------------------------------------


def _skipped_link(group, aside):
    (group.folder / "skipped.csv").symlink_to(aside)


def _model_link(group, aside):
    (group.folder / "net").rename(aside.parent / "net")
    (group.folder / "net").symlink_to(aside.parent / "net")


def _fifo(group, _):
    (group.folder / "models.json").unlink()
    os.mkfifo(group.folder / "models.json")


def _device(group, _):
    (group.folder / "net" / "model.json").unlink()
    (group.folder / "net" / "model.json").symlink_to("/dev/zero")


def _deep(group, _):
    (group.folder / "models.json").write_text("[" * 100_000)


def _no_number(group, _):
    path = group.folder / "net" / "model.json"
    path.write_text(path.read_text().replace('"float64"', "NaN"))


def _no_csv(group, _):
    (group.folder / "skipped.csv").write_bytes(b"\xff\xfe\x00scan")


@pytest.mark.parametrize(
    "spoil", [_skipped_link, _model_link, _fifo, _device, _deep, _no_number, _no_csv]
)
def test_files_that_are_something_else_are_refused(spoil, toys, toy_set, tmp_path):
    (aside := tmp_path / "private" / "key").parent.mkdir()
    aside.write_text("secret")
    group = _small(tmp_path, toys, toy_set)
    spoil(group, aside)
    refused([group], tmp_path / "out")


def test_nothing_that_a_folder_names_is_loaded(toys, toy_set, tmp_path, monkeypatch):
    """Weights, import paths, cards: a merge needs none, wherever they are said to be."""
    monkeypatch.syspath_prepend(tmp_path)
    ran = tmp_path / "ran"
    code = f"import pathlib; pathlib.Path({str(ran)!r}).touch()"
    (tmp_path / "evil_module.py").write_text(code)
    weights = tmp_path / "weights.model"
    weights.write_bytes(f"cbuiltins\nexec\n(V{code}\ntR.".encode())
    (tmp_path / "weights.json").write_text('{"sha256": "x"')  # a card that is damaged
    group = _small(tmp_path, toys, toy_set)
    ase = {"calculator": "evil_module:Model", "arguments": {}, "fresh": False, "charges": False}
    for name, family, settings in (
        ("imported", "ase", ase),
        ("unpickled", "mace", {"weights": str(weights)}),
    ):
        group.scans(group.add(ModelEntry(name, family, settings)), rough=0.1)
        write_json(
            group.folder / name / "model.json",
            {"name": name, "family": family, "settings": settings},
        )
    shutil.rmtree(group.folder / "unpickled" / "bonds")
    group.scans(ModelEntry("unpickled", "mace", {}), rough=0.1)
    assert run(group.folder, "--out", tmp_path / "out") == 0
    assert not ran.exists()
    assert "evil_module" not in sys.modules
    assert str(weights) not in (tmp_path / "out" / "unpickled" / "model.json").read_text()
