"""Two folders of results side by side: what changed, why, and folders of strangers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from atlas_confusion import MINI, perfect, read_scans
from examples import REPO
from pesbench import cli
from pesbench.files.evaluation import write_evaluation
from pesbench.files.scan_set import ScanSet
from pesbench.files.stored_tables import read_scores, write_scores
from pesbench.models.record import NAME, read_record, write_record

STUDY = REPO / "resources" / "study" / "mini"
MODELS = ("gfn1-xtb", "mace-mini")


@pytest.fixture
def runs(tmp_path) -> tuple[Path, Path]:
    """Two copies of two models of the kept study."""
    made = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        described = {name: one for name, one in read_record(STUDY / NAME).items() if name in MODELS}
        write_record(folder / NAME, described)
        for model in MODELS:
            shutil.copytree(STUDY / model, folder / model)
        made.append(folder)
    return made[0], made[1]


def change(folder: Path, model: str, task: str, how, **attributes) -> None:
    """Scores of a model, changed as another run would have written them."""
    path = folder / model / "scores" / f"{task}.parquet"
    rows = read_scores(path)
    told = rows.attrs | attributes
    rows = how(rows.copy())
    rows.attrs = told
    write_scores(path, rows)


def worse(column: str, by: float):
    def made(rows: pd.DataFrame) -> pd.DataFrame:
        generator = np.random.default_rng(1)
        rows[column] = rows[column] + by * generator.uniform(0.5, 1.5, len(rows))
        return rows

    return made


def diff(*words) -> int:
    return cli.main(["diff", *map(str, words)])


def refused(log, *words) -> str:
    """The one line of a diff that is refused."""
    log.clear()
    assert diff(*words) == 2
    (line,) = (one.getMessage() for one in log.records if one.levelname == "ERROR")
    assert "\n" not in line
    return line


def test_equal_runs_are_unchanged(runs, capsys, tmp_path):
    assert diff(*runs, "--out", tmp_path / "diff.json") == 0
    assert "unchanged: no score beyond noise" in capsys.readouterr().out
    told = json.loads((tmp_path / "diff.json").read_text())
    assert told["format"] == "pesbench-diff"
    assert told["changed"] is False
    scores = told["models"]["gfn1-xtb"]["bonds"]["scores"]
    assert {one["verdict"] for one in scores.values()} == {"equal"}
    assert scores["fsd_full"]["before"] == scores["fsd_full"]["after"]


def test_a_score_that_changed_is_told_with_its_reason(runs, capsys, tmp_path):
    a, b = runs
    made = [{"device": "cuda", "git_commit": "feed", "dtype": "float64"}]
    change(b, "gfn1-xtb", "bonds", worse("fsd_windowed", 3.0), code="0" * 64, made_from=made)
    assert diff(a, b, "--out", tmp_path / "diff.json") == 1
    said = capsys.readouterr().out
    (line,) = (line for line in said.splitlines() if line.strip().startswith("changed: windowed"))
    assert "worse by 3" in line or "worse by 2.9" in line
    assert "differs: code of the scores:" in said
    assert "differs: device: cpu → cuda" in said
    assert (
        said.strip()
        .splitlines()[-1]
        .startswith("changed: 1 scores of 1 models changed beyond noise (gfn1-xtb)")
    )
    told = json.loads((tmp_path / "diff.json").read_text())["models"]["gfn1-xtb"]["bonds"]
    one = told["scores"]["fsd_windowed"]
    assert one["verdict"] == "changed"
    assert one["low"] < one["mean"] < one["high"]
    assert one["low"] > 0
    assert {"what": "device", "A": ["cpu"], "B": ["cuda"]} in told["differs"]
    assert diff(b, a) == 1  # better is a change, too
    assert "better by" in capsys.readouterr().out


def test_other_weights_of_one_name_are_the_first_reason(runs, capsys):
    a, b = runs
    entry = json.loads((b / "mace-mini" / "model.json").read_text())
    entry["settings"]["sha256"] = "ab" * 32
    (b / "mace-mini" / "model.json").write_text(json.dumps(entry))
    for task in ("bonds", "dynamics", "vibrations"):
        path = b / "mace-mini" / "scores" / f"{task}.parquet"
        if path.is_file():
            change(b, "mace-mini", task, lambda rows: rows, entry=entry)
    change(b, "mace-mini", "bonds", worse("force_mae", 0.5))
    assert diff(a, b) == 1
    said = capsys.readouterr().out
    assert "differs: weights (sha256): " in said
    assert "→ ababab" in said


def test_differences_of_both_signs_are_noise(runs, capsys):
    def shaken(rows):
        sign = np.where(pd.factorize(rows["system"])[0] % 2, 1.0, -1.0)
        rows["force_mae"] = rows["force_mae"] * (1 + 0.01 * sign)
        return rows

    a, b = runs
    change(b, "gfn1-xtb", "bonds", shaken)
    assert diff(a, b) == 0
    assert "1 scores differ within noise (--all)" in capsys.readouterr().out
    assert diff(a, b, "--all") == 0
    assert "within noise: force MAE" in capsys.readouterr().out


def test_rounding_is_no_change(runs):
    a, b = runs
    change(b, "gfn1-xtb", "bonds", lambda rows: rows.assign(fsd_full=rows["fsd_full"] * (1 + 1e-9)))
    assert diff(a, b) == 0


def test_few_molecules_are_not_decided(runs, capsys):
    for folder in runs:
        change(folder, "gfn1-xtb", "bonds", lambda rows: rows.head(8))
    change(runs[1], "gfn1-xtb", "bonds", worse("force_mae", 0.5))
    assert diff(*runs) == 0
    said = capsys.readouterr().out
    assert "not decided: force MAE" in said
    assert "1 scores differ and are not decided" in said


def test_a_scan_that_fails_now_is_a_change_but_for_time_and_memory(runs, capsys):
    def failing(status):
        def made(rows):
            first = rows.index[rows["status"] == "ok"][0]
            rows.loc[first, ["status", "message"]] = status, "=cmd\x1b[31m <script>"
            return rows

        return made

    a, b = runs
    change(b, "gfn1-xtb", "bonds", failing("timeout"))
    assert diff(a, b) == 0
    assert "ok → timeout" in capsys.readouterr().out
    change(b, "gfn1-xtb", "bonds", failing("crashed"))
    assert diff(a, b) == 1
    said = capsys.readouterr().out
    assert "ok → crashed (=cmd\\x1b[31m <script>)" in said
    assert "\x1b" not in said


def test_more_failed_trajectories_are_judged_as_a_share(runs, capsys):
    def broken(rows):
        rows.loc[rows["status"] == "ok", ["outcome", "failure"]] = "failed", "hot"
        return rows

    a, b = runs
    change(b, "gfn1-xtb", "dynamics", broken)
    assert diff(a, b) == 1
    assert "changed: share of runs that fail 0 → 1" in capsys.readouterr().out


def test_what_only_one_run_has_is_told(runs, capsys):
    a, b = runs
    shutil.rmtree(b / "mace-mini")
    change(b, "gfn1-xtb", "bonds", lambda rows: rows.iloc[2:])
    assert diff(a, b) == 0
    said = capsys.readouterr().out
    assert "models only in A: mace-mini" in said
    assert "only in A: C-C/" in said


def test_packages_of_the_model_are_those_of_its_files(runs, capsys):
    (scan,) = read_scans(MINI, 100)
    with ScanSet(MINI) as opened:
        sha256 = opened.sha256
    for folder, version in zip(runs, ("2.8.0", "2.9.0\x1b[31m"), strict=True):
        entry = json.loads((folder / "gfn1-xtb" / "model.json").read_text())
        write_evaluation(
            folder / "gfn1-xtb" / "bonds" / "0000.h5", [perfect(scan)],
            attributes={
                "model": "gfn1-xtb", "entry": entry, "scan_set_sha256": sha256, "wall_s": 1.0,
                "provenance": {"packages": {"torch": version}, "python": "3.11.7"},
            },
        )  # fmt: skip
    change(runs[1], "gfn1-xtb", "bonds", worse("force_mae", 0.5))
    assert diff(*runs) == 1
    said = capsys.readouterr().out
    assert "differs: torch: 2.8.0 → 2.9.0\\x1b[31m" in said
    assert "Python" not in said


# --- bad input and strangers ---------------------------------------------------------------------


def test_bad_input_is_one_line(runs, caplog, tmp_path):
    a, b = runs
    assert "is given twice" in refused(caplog, a, a)
    assert "no such folder" in refused(caplog, a, tmp_path / "gone")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no model" in refused(caplog, a, empty)
    shutil.rmtree(b / "gfn1-xtb")
    shutil.rmtree(a / "mace-mini")
    assert "have no model with the same scans" in refused(caplog, a, b)


def test_a_folder_without_scores_is_refused(runs, caplog):
    a, b = runs
    for model in MODELS:
        shutil.rmtree(b / model / "scores")
    assert refused(caplog, a, b).startswith("pesbench: error: ")


def test_damaged_scores_are_refused(runs, caplog):
    change(runs[1], "gfn1-xtb", "bonds", lambda rows: rows)  # older tables carry no seal
    path = runs[1] / "gfn1-xtb" / "scores" / "bonds.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert str(path) in refused(caplog, *runs)


def test_a_link_out_of_a_folder_is_refused(runs, caplog, tmp_path):
    path = runs[1] / "gfn1-xtb" / "scores" / "bonds.parquet"
    path.rename(tmp_path / "elsewhere.parquet")
    path.symlink_to(tmp_path / "elsewhere.parquet")
    assert "a link leads out of the folder" in refused(caplog, *runs)


@pytest.mark.parametrize(
    "attributes",
    [
        {"made_from": "text"},
        {"made_from": [1, None, {"device": ["x", {"y": 1}], "code": {"a": 1}}]},
        {"settings": {"a": {"b": [1, {"c": "\x1b[0m"}]}}, "provenance": [1]},
        {"provenance": {"packages": {"\x1b[31mnumpy": {"x": 1}}, "git_commit": 7}},
        {"code": {"x": 1}},
    ],
)
def test_provenance_of_any_shape_is_text(runs, capsys, attributes):
    change(runs[1], "gfn1-xtb", "bonds", worse("fsd_windowed", 3.0), **attributes)
    assert diff(*runs) == 1
    assert "\x1b" not in capsys.readouterr().out


def test_a_name_that_is_a_path_is_refused(runs, caplog):
    entry = json.loads((runs[1] / "gfn1-xtb" / "model.json").read_text())
    entry["name"] = "../../etc"
    (runs[1] / "gfn1-xtb" / "model.json").write_text(json.dumps(entry))
    assert "'../../etc'" in refused(caplog, *runs)
