"""The explorer's folder: data as scripts, curves that can be rebuilt, what may be replaced."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import threading
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
from test_merge import METHOD, Group, control, net, run
from test_merge_hostile import CONTROLS, LINK, MARKS, TAG
from test_worst import IDS, files, make_scan, scores

from examples import REPO, matches
from pesbench import cli
from pesbench.commands import explorer as command
from pesbench.core.errors import UserError
from pesbench.core.exploring import Explored, ExplorerJob, packed
from pesbench.files.scan_set import write_scan_set
from pesbench.metrics import smoothness
from pesbench.report.explorer import exchange, folder, scripts
from pesbench.report.sections import StoredSection
from pesbench.tasks.bonds import board_metrics, explorer, worst
from pesbench.tasks.dynamics import board as dynamics_board
from plots import add_plots

__all__ = ["files", "scores"]  # fixtures of test_worst
SOURCES = REPO / "explorer"
ASSETS = REPO / "workflow/pesbench/report/explorer/assets"


def value_of(script: str):
    """What a page gets from a script; it parses the one string of it."""
    name, text = re.fullmatch(r'pesbenchData\("([^"\\]+)",\'([^\']*)\'\);\n', script).groups()
    # of the escapes of a string of the language, only the one of the backslash is used
    assert not re.search(r"(?<!\\)(\\\\)*\\(?!\\)", text)
    return name, json.loads(text.replace("\\\\", "\\"))


def read(path: Path):
    return value_of(path.read_text(encoding="ascii"))[1]


def numbers(text: str, kind: str = "<f4"):
    return np.frombuffer(base64.b64decode(text), kind)


@pytest.fixture(scope="module")
def out(toys, toy_set, tmp_path_factory) -> Path:
    """A folder of results with its explorer."""
    place = tmp_path_factory.mktemp("explorer")
    group = Group(place / "group", toy_set, toys)
    group.scans(group.add(METHOD))
    group.scans(group.add(control()), rough=1.0)
    group.scans(group.add(net("ours")), rough=0.05, failed=["C-O/c"])
    group.scans(group.add(net("theirs", "b")), rough=0.01)
    assert run(group.folder, "--out", place / "out") == 0
    return place / "out"


# --- scripts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said", [CONTROLS, LINK, MARKS, TAG, "__proto__", "');alert(1);('", "\\'", "\u2028", "\\u0027"]
)
def test_a_script_is_one_string_that_nothing_ends(said):
    script = scripts.script("task/piece-1", {said: [said, {"__proto__": said}]})
    assert script.isascii()
    assert script.count("\n") == 1
    assert not {"<", ">", "&"} & set(script)
    name, found = value_of(script)
    assert name == "task/piece-1"
    (shown,) = found
    assert found == {shown: [shown, {"__proto__": shown}]}
    assert all(c.isprintable() or c == "\n" for c in shown)


def test_numbers_keep_their_digits_and_infinities_are_told():
    value = {"a": 1 / 3, "b": np.float64("nan"), "c": np.inf, "d": np.int64(3), "e": pd.NA is None}
    assert value_of(scripts.script("x", value))[1] == {
        "a": 1 / 3, "b": None, "c": "inf", "d": 3, "e": False,
    }  # fmt: skip
    with pytest.raises(TypeError, match="is no data"):
        scripts.script("x", {"a": object()})


def test_packed_numbers_that_look_like_a_path_stay_as_they_are():
    raw = base64.b64decode("/Abc/home+/Def01")  # 12 bytes
    numbers = packed(np.frombuffer(raw, "<f4"))
    assert value_of(scripts.script("x", {"a": numbers}))[1] == {"a": "/Abc/home+/Def01"}
    assert value_of(scripts.script("x", {"a": "/Abc/home+/Def01"}))[1] == {"a": "…/Def01"}


def test_packed_numbers_are_little_endian_and_too_large_ones_infinite():
    assert numbers(packed([1.5, 1e9, np.nan], "<f2"), "<f2").tolist()[:2] == [1.5, np.inf]
    assert packed(np.array([[1.0, 2.0]], dtype=">f8")) == packed([1.0, 2.0])


# --- the curves of a scan ------------------------------------------------------------------------


def explored(files, scores, role="model"):
    scan_set, shards = files
    put = {}
    job = ExplorerJob(scan_set.path, {4: Explored("m", role, scores, shards)}, put.__setitem__)
    return explorer.explorer(job), put


def test_curves_and_geometries_are_those_of_the_files(files, scores):
    told, put = explored(files, scores)
    _, shards = files
    with worst.open_evaluations(shards) as holder:
        stored = {name: worst.read_evaluation(holder, make_scan(name)) for name in IDS}
    names = [row[0] for row in told["scans"]["rows"]]
    assert names == list(IDS)
    for number, scan_id in enumerate(IDS):
        scan, evaluation = make_scan(scan_id), stored[scan_id]
        piece = put[f"scan-{number}"]
        q = piece["minimum"]
        assert q == np.argmin(scan.energy)
        start, x = numbers(piece["start"]).reshape(-1, 3), numbers(piece["coordinate"], "<f8")
        assert x == pytest.approx(scan.coordinate, abs=0)
        vector = (start[1] - start[0]) / np.linalg.norm(start[1] - start[0])
        side = np.where(np.array(piece["fragment"]) == piece["fragment"][1], 0.5, -0.5)
        change = (x - np.linalg.norm(start[1] - start[0]))[:, None, None]
        assert start + change * vector * side[:, None] == pytest.approx(scan.positions, abs=1e-4)
        reference = numbers(piece["reference"]["energy"]) + piece["reference"]["zero"]
        assert reference == pytest.approx(scan.energy, abs=1e-5)
        if scan_id == "C-N/fails":
            continue
        (own,) = piece["models"]
        energy = numbers(own["energy"]) + own["zero"]
        assert energy == pytest.approx(evaluation.energy, abs=1e-5, nan_ok=True)
        change = np.sum((evaluation.forces - scan.forces[q]) ** 2, axis=(1, 2))
        assert numbers(own["change"]) == pytest.approx(change, rel=1e-6, nan_ok=True)
        # the page could compute the score from what it has
        row = dict(zip(put["model-4"]["columns"], own["row"], strict=True))
        of_reference = np.maximum(numbers(piece["reference"]["change"]), 1.0)
        ratio = (np.log(np.maximum(change, 1.0)) - np.log(of_reference))[ok := np.isfinite(change)]
        assert row["fsd_full"] == pytest.approx(smoothness.slopes(x[ok], ratio).max(), rel=1e-4)
        forces = numbers(own["forces"], "<f2").reshape(len(own["frames"]), 2, 3)
        assert forces == pytest.approx(evaluation.forces[own["frames"]], rel=2e-3, abs=1e-5)
        middle = row["fsd_peak_coordinate"]
        beside = [k for k in own["frames"] if abs(x[k] - middle) < x[1] - x[0]]
        assert len(beside) == 2
        assert len(own["frames"]) <= 2 * explorer.BESIDE_PEAK + 1
        assert {*beside, q} == set(piece["reference"]["frames"])


def test_a_scan_that_failed_is_told_and_has_no_numbers(files, scores):
    _, put = explored(files, scores)
    (own,) = put[f"scan-{IDS.index('C-N/fails')}"]["models"]
    row = dict(zip(put["model-4"]["columns"], own["row"], strict=True))
    assert (row["status"], row["message"]) == ("error", "broke")
    assert row["fsd_full"] is None
    assert np.isnan(numbers(own["energy"])).all()


def test_evaluations_of_another_scan_set_are_refused(files, scores, tmp_path):
    scan_set, shards = files
    other = tmp_path / "other.h5"
    scans = [replace(scan_set.scan(one), smiles="other") for one in scan_set.ids]
    write_scan_set(other, scans, name="s", level_of_theory="t", source="x", provenance={})
    job = ExplorerJob(other, {0: Explored("m", "model", scores, shards)}, lambda *_: None)
    with pytest.raises(UserError, match="was made on another scan set"):
        explorer.explorer(job)


def test_geometries_that_do_not_follow_from_the_first_are_kept_whole():
    scan = make_scan("C-C/bump")
    bent = replace(scan, positions=scan.positions + np.linspace(0, 1, 100)[:, None, None])
    assert "start" not in (piece := explorer._geometry(bent))
    assert numbers(piece["positions"]).reshape(bent.positions.shape) == pytest.approx(
        bent.positions, abs=1e-6
    )


def test_controls_have_scores_and_no_curves(files, scores):
    told, put = explored(files, scores, role="control")
    assert not put["scan-0"]["models"]
    assert len(put["model-4"]["rows"]) == len(IDS)
    assert told["heat"]["values"]["fsd_full"]["4"][0][1] == 2  # scans of C-C


def test_a_command_of_a_file_is_cut_to_options_that_give_no_consent():
    class File:
        def __init__(self, command):
            self.attributes = {"provenance": json.dumps({"command": command})}

    start = ["python", "-m", "pesbench", "run", "bonds"]
    kept = ["--entry", "m.json", "--weights", "$(x)"]
    whole = [
        *start,
        *kept[:2],
        "--entry-sha256",
        "0" * 64,
        "--scans",
        "a",
        "b",
        *kept[2:],
        "--out",
        "y",
    ]
    assert explorer._command(File(whole)) == ["run", "bonds", *kept]
    absolute = [*start, "--entry", "/home/someone/m.json", "--device", "cpu"]
    assert explorer._command(File(absolute)) == [
        "run", "bonds", "--entry", "PATH/TO/m.json", "--device", "cpu",
    ]  # fmt: skip
    for other in (
        ["sh", "-c", "x"],
        ["python", "-m", "other", "run", "bonds", "--entry", "x"],
        "x",
        [1],
        None,
    ):
        assert explorer._command(File(other)) == []


# --- the folder ----------------------------------------------------------------------------------


def test_the_index_holds_the_leaderboard_and_the_rest_is_loaded_when_asked_for(out):
    index = read(out / "explorer/data/index.js")
    board = pd.read_csv(out / "leaderboard.csv")
    assert [row["model"] for row in index["rows"]] == board["model"].tolist()
    columns = {one["name"]: one for one in index["columns"]}
    assert {"fsd_full", "force_mae", "level_of_theory"} <= set(columns)
    assert (folder.NO_ATLAS in index["notes"]) == (index["atlas"] is None)
    assert columns["fsd_full"]["group"] == "Smoothness"
    assert columns["fsd_full"]["low"] == "fsd_full_low"
    assert columns["force_mae"]["group"] == "Accuracy"
    assert columns["seconds_per_frame"]["group"] == "Cost"
    assert (columns["seconds_per_frame"]["unit"], columns["seconds_per_frame"]["scale"]) == (
        "",
        1e3,
    )
    assert columns["force_mae"]["shown"]
    assert not columns["energy_mae"]["shown"]  # raw
    assert not columns["fsd_full_seen"]["shown"]  # of no model here
    for row, shown in zip(board.to_dict("records"), index["rows"], strict=True):
        assert shown["fsd_full"] == row["fsd_full"]  # to the last digit
    pieces = {
        str(p.relative_to(out / "explorer/data"))[:-3] for p in out.glob("explorer/data/*/*.js")
    }
    told = [*index["sections"], *(one for some in index["of_models"].values() for one in some)]
    assert {one["piece"] for one in told} <= pieces
    assert {f"bonds/scan-{k}" for k in range(6)} | {f"bonds/model-{k}" for k in range(4)} <= pieces
    for one in told:
        section = read(out / f"explorer/data/{one['piece']}.js")
        for part in (*section["tables"], *section["figures"]):
            assert (out / "explorer" / section["folder"] / part["file"]).is_file()
    assert "theirs, 0.129" in index["answers"][0]


def test_a_section_without_a_sentence_begins_with_its_answer(tmp_path):
    (tmp_path / "data").mkdir()
    stored = StoredSection("association", "0" * 64, "Title", answer="It does.", notes=("A note.",))
    told = folder._section_pieces(tmp_path, stored, [], "association")
    assert told["sentence"] == "It does."
    assert read(tmp_path / "data/sections/association.js")["sentence"] == "It does."
    both = replace(stored, sentence="What was found.")
    assert folder._section_pieces(tmp_path, both, [], "b")["sentence"] == "What was found."


@pytest.mark.parametrize(
    ("n_asked", "said"),
    [("x", "no whole number"), ("1.5", "no whole number"), ("", "no whole number"),
     ("-1", "no whole number"), ("1", "ours has more scans in atlas.csv than here")],
)  # fmt: skip
def test_counts_of_the_atlas_that_cannot_be_are_one_line(tmp_path, n_asked, said):
    path = tmp_path / "atlas_counts.csv"
    path.write_text(f"model,source,n_asked\ntheirs,scans,6\nours,scans,{n_asked}\n")
    rows = pd.DataFrame({"model": "ours", "source": "scans", "item": ["a", "a", "b"]})
    with pytest.raises(UserError, match=said) as refused:
        folder._asked(path, rows)
    assert str(path) in str(refused.value)
    path.write_text("model,source,n_asked\nours,scans,2\nours,scans,2\nNA,scans,0\n")
    assert folder._asked(path, rows) == {"scans": {"ours": 2, "NA": 0}}


def test_a_plot_is_told_with_the_rows_of_its_csv(out, tmp_path):
    results = tmp_path / "out"
    shutil.copytree(out, results)
    add_plots(results, results / "toys.h5", ["ours", "=theirs"])
    piece = read(results / "explorer/data/sections/plots.js")
    doses, lines, holes = piece["figures"]
    assert doses["plot"]["columns"] == [
        "model", "series", "kind", "unit", "dose", "mae", "low", "high",
    ]  # fmt: skip
    assert doses["plot"]["rows"][1] == [
        "'=theirs",
        "all",
        "step",
        "eV",
        "10.0",
        "1.5",
        "1.4",
        "1.6",
    ]
    assert lines["plot"]["x"] == {"mae": "MAE (eV)", "dose": "dose"}
    assert holes["plot"]["rows"] == [["ours", "0.0", ""], ["'=theirs", "0.5", ""]]
    assert {one["plot"]["file"] for one in (doses, lines, holes)} <= {*piece["files"]}
    for name in piece["files"]:
        copied = pd.read_csv(results / "explorer/sections/plots" / name)
        pd.testing.assert_frame_equal(copied, pd.read_csv(results / "sections/plots" / name))


def test_a_copied_csv_holds_no_formula_and_no_folder_and_may_be_empty(tmp_path):
    (tmp_path / "copies").mkdir()
    some, none = tmp_path / "some.csv", tmp_path / "none.csv"
    some.write_text("=cmd|x!A1,/home/bob/secret/x\n=1+1,/home/bob/y\n")
    none.write_text("\n")
    assert [folder._csv(tmp_path / "copies", one) for one in (some, none)] == [
        "some.csv", "none.csv",
    ]  # fmt: skip
    copied = (tmp_path / "copies" / "some.csv").read_text()
    assert copied.splitlines() == ["'=cmd|x!A1,…/x", "'=1+1,…/y"]
    assert (tmp_path / "copies" / "none.csv").read_text() == ""


@pytest.mark.parametrize("made_from", [None, ["x"], [{"device": 1, "git_commit": ""}]])
def test_a_card_tells_what_ran_and_takes_anything_for_it(made_from):
    told = dict(explorer._ran(made_from, None))
    assert set(told) <= {"device"}


def test_a_card_tells_platform_and_commit_of_all_files():
    files = [{"platform": "Linux", "git_commit": one, "device": "cpu"} for one in ("b", "a", "b")]
    assert dict(explorer._ran(files, None)) == {
        "device": "cpu", "platform": "Linux", "commit of pesbench": "a, b",
    }  # fmt: skip


def test_every_column_has_a_title_and_says_what_it_is(out):
    columns = read(out / "explorer/data/index.js")["columns"]
    assert len(columns) > 50
    assert not [one["name"] for one in columns if not one["help"]]
    assert not [one["title"] for one in columns if "_" in one["title"]]
    # a score has a direction; without one are counts, words, grids and what describes a model
    scores = {one["name"]: one["better"] for one in columns if one["kind"] == "number"}
    assert {name for name, better in scores.items() if not better} <= {
        "dose", "step_low", "step_high", "rank_score", "fsd_peak_near_equilibrium",
        "n_costs", "parameters", "cost_bytes_per_atom",
    }  # fmt: skip


@pytest.mark.parametrize("of", [dynamics_board.METRICS, board_metrics.METRICS])
def test_metrics_of_a_board_are_told_in_whole(of):
    assert all(one.help.endswith(".") and one.title and one.name == name
               for name, one in of.items())  # fmt: skip


def test_every_column_of_dynamics_is_told():
    assert set(dynamics_board.COLUMNS) == set(dynamics_board.METRICS)


def test_the_leaderboard_for_other_sites_follows_its_schema(out):
    told = json.loads((out / "explorer" / exchange.NAME).read_text())
    schema = json.loads((out / "explorer" / exchange.SCHEMA_NAME).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(told, schema)
    board = pd.read_csv(out / "leaderboard.csv").set_index("model")
    for one in told["models"]:
        assert one["values"]["fsd_full"] == board.loc[one["name"], "fsd_full"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(told | {"version": 2}, schema)


def test_explore_rebuilds_and_serves_this_machine_alone(out, capsys, caplog):
    (out / "explorer/index.html").unlink()
    words = ["explore", str(out), "--scan-set", str(out / "toys.h5"), "--no-server"]
    assert cli.main(words) == 0
    assert "opens in a browser as it is" in capsys.readouterr().out
    with command.server(out / "explorer", 0) as serving:
        host, port = serving.server_address
        assert host == "127.0.0.1"
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        try:
            with urllib.request.urlopen(f"http://{host}:{port}/") as page:
                assert page.read() == (ASSETS / "index.html").read_bytes()
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(f"http://{host}:{port}/../leaderboard.csv")
            before = (out / "explorer/index.html").stat().st_mtime_ns
            assert cli.main([*words[:-1], "--port", str(port)]) == 2
            assert f"--port {port}: " in caplog.text
            assert (out / "explorer/index.html").stat().st_mtime_ns == before  # before any work
        finally:
            serving.shutdown()


@pytest.fixture
def ask(tmp_path):
    """A function of a path and headers that asks a server of a folder for it."""
    place = tmp_path / "explorer"
    (place / "data").mkdir(parents=True)
    (place / "index.html").write_text("the page")
    (place / "data" / "index.js").write_text("data")
    (tmp_path / "secret").write_text("secret")
    (place / "link").symlink_to(tmp_path / "secret")
    (place / "above").symlink_to(tmp_path)
    (tmp_path / "reached").symlink_to(place)

    with command.server(tmp_path / "reached", 0) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        port = serving.server_address[1]

        def asked(path: str, **headers: str):
            request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
            try:
                with urllib.request.urlopen(request) as answer:
                    return answer.status, answer.read().decode(), answer.headers
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode(), error.headers

        yield asked
        serving.shutdown()


def test_the_server_answers_no_other_host_name(ask):
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.", ""):
        status, said, _ = ask("/", Host=host)
        assert (status, "the page" in said) == (421, False), host
    for host in ("127.0.0.1:1", "localhost:65000", "LOCALHOST", "127.0.0.1"):
        assert ask("/", Host=host)[:2] == (200, "the page")


def test_the_server_lists_no_folder_and_follows_no_link_out_of_its_own(ask):
    assert ask("/data/index.js")[:2] == (200, "data")
    for path in ("/data/", "/data", "/link", "/above/", "/above/secret", "/%2e%2e/secret",
                 "/../secret", "/%00"):  # fmt: skip
        status, said, _ = ask(path)
        assert status == 404, path
        assert "secret" not in said
        assert "index.js" not in said


def test_results_that_are_no_folder_are_said_to_be_none(tmp_path, caplog):
    assert cli.main(["explore", str(tmp_path / "nowhere"), "--no-server"]) == 2
    assert "nowhere: no such folder of results" in caplog.text


def test_no_other_page_can_load_what_the_server_has(ask):
    assert ask("/data/index.js")[2]["Cross-Origin-Resource-Policy"] == "same-origin"


def test_the_folder_names_no_folder_of_the_machine(out):
    """What a run writes with absolute paths may be published."""
    here = str(out.parent).encode()
    for path in matches(out, "explorer/**/*"):
        if path.is_file() and path.parent.name != "assets":
            assert here not in path.read_bytes(), path


# --- the build -----------------------------------------------------------------------------------


def test_the_assets_are_built_from_these_sources():
    digest = hashlib.sha256()
    for name in [
        *sorted(f"src/{p.name}" for p in (SOURCES / "src").iterdir()),
        "package.json",
        "build.js",
    ]:
        digest.update(f"{name}\n".encode() + (SOURCES / name).read_bytes())
    built = (ASSETS / "sources.sha256").read_text().strip()
    assert built == digest.hexdigest(), "run `npm ci && npm run build` in explorer"


def test_the_licences_of_all_that_is_bundled_are_shipped():
    told = (ASSETS / "LICENSES.txt").read_text()
    wanted = json.loads((SOURCES / "package.json").read_text())["dependencies"]
    locked = json.loads((SOURCES / "package-lock.json").read_text())["packages"]
    shipped = [name for name, one in locked.items() if name and not one.get("dev")]
    for name in shipped:
        assert f"{name.rpartition('node_modules/')[2]} {locked[name]['version']}\n" in told
    assert all(not set(version) & set("^~*") for version in wanted.values())
    project = (REPO / "pyproject.toml").read_text()
    assert '"report/explorer/assets/*"' in project


@pytest.mark.parametrize("path", sorted((SOURCES / "src").glob("*.js")), ids=lambda p: p.name)
def test_no_source_parses_markup_or_runs_text(path):
    said = path.read_text(encoding="utf-8")
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "srcdoc",
        "fetch(",
        "XMLHttpRequest",
        "://",
    ):
        assert word not in said
