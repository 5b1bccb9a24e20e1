"""Two folders of results side by side: what changed, why, and folders of strangers."""

from __future__ import annotations

import json
import re
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


def copies(place: Path) -> tuple[Path, Path]:
    """Two copies of two models of the kept study."""
    made = []
    for name in ("a", "b"):
        folder = place / name
        folder.mkdir()
        described = {name: one for name, one in read_record(STUDY / NAME).items() if name in MODELS}
        write_record(folder / NAME, described)
        for model in MODELS:
            shutil.copytree(STUDY / model, folder / model)
        made.append(folder)
    return made[0], made[1]


def scored(folder: Path, model: str) -> int:
    """Scans that have a score."""
    rows = read_scores(folder / model / "scores" / "bonds.parquet")
    return int((rows["status"] == "ok").sum())


@pytest.fixture
def runs(tmp_path) -> tuple[Path, Path]:
    return copies(tmp_path)


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


def last(capsys) -> str:
    return capsys.readouterr().out.strip().splitlines()[-1]


def test_equal_runs_are_unchanged(runs, capsys, tmp_path):
    assert diff(*runs, "--out", tmp_path / "diff.json") == 0
    assert re.fullmatch(r"unchanged: [1-9][0-9]* scores compared", last(capsys))
    told = json.loads((tmp_path / "diff.json").read_text())
    assert told["format"] == "pesbench-diff"
    assert told["answer"] == "unchanged"
    scores = told["models"]["gfn1-xtb"]["bonds"]["scores"]
    assert {one["verdict"] for one in scores.values()} == {"unchanged"}
    assert scores["fsd_full"]["before"] == scores["fsd_full"]["after"]


def test_a_score_that_changed_is_told_with_its_reason(runs, capsys, tmp_path):
    a, b = runs
    made = [{"device": "cuda", "git_commit": "feed", "dtype": "float64"}]
    change(b, "gfn1-xtb", "bonds", worse("fsd_windowed", 3.0), code="0" * 64, made_from=made)
    assert diff(a, b, "--out", tmp_path / "diff.json") == 1
    said = capsys.readouterr().out
    (line,) = (line for line in said.splitlines() if line.strip().startswith("changed: windowed"))
    assert "worse by 3" in line or "worse by 2.9" in line
    n = scored(a, "gfn1-xtb")
    assert f"{n} of {n} rows differ" in line
    assert "differs: code of the scores:" in said
    assert "differs: device: cpu → cuda" in said
    assert "\nchanged: 1 scores of 1 models changed (gfn1-xtb); " in said
    told = json.loads((tmp_path / "diff.json").read_text())["models"]["gfn1-xtb"]["bonds"]
    one = told["scores"]["fsd_windowed"]
    assert one["verdict"] == "changed"
    assert 0 < one["low"] < one["after"] - one["before"] < one["high"]
    assert {"what": "device", "A": ["cpu"], "B": ["cuda"]} in told["differs"]
    assert diff(b, a) == 1  # better is a change, too
    assert "better by" in capsys.readouterr().out


def test_other_weights_of_one_name_are_the_first_reason(runs, capsys):
    a, b = runs
    entry = json.loads((b / "mace-mini" / "model.json").read_text())
    entry["settings"]["sha256"] = "ab" * 32
    (b / "mace-mini" / "model.json").write_text(json.dumps(entry))
    for path in (b / "mace-mini" / "scores").glob("*.parquet"):
        change(b, "mace-mini", path.stem, lambda rows: rows, entry=entry)
    change(b, "mace-mini", "bonds", worse("force_mae", 0.5))
    assert diff(a, b) == 1
    said = capsys.readouterr().out
    assert "differs: weights (sha256): " in said
    assert "→ ababab" in said


def test_three_scans_a_thousand_times_worse_are_a_change(runs, capsys, tmp_path):
    def exploded(rows):
        first = rows.index[rows["status"] == "ok"][:3]
        for row, factor in zip(first, (1e3, 1e6, 1e4), strict=True):
            rows.loc[row, ["fsd_full", "force_mae"]] *= factor
        return rows

    a, b = runs
    change(b, "mace-mini", "bonds", exploded)
    assert diff(a, b, "--tolerance", "0.5", "--out", tmp_path / "diff.json") == 1
    assert last(capsys).startswith("changed: 2 scores of 1 models changed (mace-mini); ")
    told = json.loads((tmp_path / "diff.json").read_text())["models"]["mace-mini"]["bonds"]
    rows = told["scores"]["fsd_full"]["rows"]  # the largest first
    assert [round(np.log10(row["B"] / row["A"])) for row in rows] == [6, 4, 3]
    scan_order = read_scores(b / "mace-mini" / "scores" / "bonds.parquet")["scan"].tolist()
    assert [row["row"] for row in rows] == [scan_order[k] for k in (1, 2, 0)]


@pytest.mark.parametrize("status", ["timeout", "crashed", "masked"])
def test_scans_that_fail_now_are_a_change(runs, capsys, status):
    a, b = runs
    told = {"status": status, "message": "=cmd\x1b[31m <script>"}
    change(b, "mace-mini", "bonds", lambda rows: rows.assign(**told))
    assert diff(a, b) == 1
    said = capsys.readouterr().out
    assert f"ok → {status} (=cmd\\x1b[31m <script>)" in said
    assert "\x1b" not in said
    assert f"\nchanged: {scored(a, 'mace-mini')} rows ended in another way; " in said
    assert diff(b, a) == 1  # of one that runs again, too


def test_one_scan_that_fails_now_is_a_change(runs):
    def failing(rows):
        rows.loc[rows.index[rows["status"] == "ok"][0], "status"] = "out_of_memory"
        return rows

    change(runs[1], "gfn1-xtb", "bonds", failing)
    assert diff(*runs) == 1


def test_a_lost_model_is_a_change_unless_it_may_be_missing(runs, capsys):
    a, b = runs
    shutil.rmtree(b / "mace-mini")
    assert diff(a, b) == 1
    said = capsys.readouterr().out
    assert "only in A: mace-mini" in said
    assert "\nchanged: 1 models, tasks or scores are not in B; " in said
    assert diff(a, b, "--allow-missing") == 0
    assert last(capsys).startswith("unchanged: 1 models, tasks or scores are not in B; ")
    assert diff(b, a) == 0  # one more is told
    assert "only in B: mace-mini" in capsys.readouterr().out


def test_a_lost_task_or_score_is_a_change_unless_it_may_be_missing(runs, capsys):
    a, b = runs
    (b / "gfn1-xtb" / "scores" / "dynamics.parquet").unlink()
    change(b, "mace-mini", "bonds", lambda rows: rows.drop(columns="fsd_compress"))
    assert diff(a, b) == 1
    assert "only in A: dynamics gfn1-xtb, fsd_compress bonds mace-mini" in capsys.readouterr().out
    assert diff(a, b, "--allow-missing") == 0
    assert last(capsys).startswith("unchanged: 2 models, tasks or scores are not in B; ")
    assert diff(b, a) == 0


def test_lost_rows_are_a_change(runs, capsys):
    a, b = runs
    change(b, "gfn1-xtb", "bonds", lambda rows: rows.iloc[2:])
    assert diff(a, b, "--allow-missing") == 1
    said = capsys.readouterr().out
    assert "2 only in A: C-C/" in said
    assert "\nchanged: 2 rows are not in B; " in said
    assert diff(b, a) == 0


def test_rounding_is_no_change_and_a_drift_is_one_unless_it_is_tolerated(runs, capsys):
    def drifted(by):
        return lambda rows: rows.assign(fsd_full=rows["fsd_full"] * (1 + by))

    a, b = runs
    change(b, "gfn1-xtb", "bonds", drifted(1e-9))
    assert diff(a, b) == 0
    change(b, "gfn1-xtb", "bonds", drifted(1e-6))
    capsys.readouterr()
    assert diff(a, b) == 1
    said = capsys.readouterr().out
    n = scored(a, "gfn1-xtb")
    assert f"{n} of {n} rows differ" in said
    shown = re.findall(r"/\S+: (\S+) → (\S+)$", said, flags=re.MULTILINE)
    assert len(shown) == 3
    assert all(before != after for before, after in shown)  # digits enough
    assert diff(a, b, "--tolerance", "1e-5") == 0


def test_a_score_that_is_gone_on_some_rows_is_a_change(runs, capsys):
    def gone(rows):
        rows.loc[rows.index[rows["status"] == "ok"][:4], "force_mae"] = np.nan
        return rows

    a, b = runs
    change(b, "gfn1-xtb", "bonds", gone)
    for one, other, shown in ((a, b, r"\S+ → n/a"), (b, a, r"n/a → \S+")):
        assert diff(one, other, "--tolerance", "0.5") == 1
        said = capsys.readouterr().out
        assert f"4 of {scored(STUDY, 'gfn1-xtb')} rows differ" in said
        assert re.search(rf"C-C/\S+: {shown}\n", said)
    change(a, "gfn1-xtb", "bonds", gone)  # missing in both: nothing to compare, and no change
    assert diff(a, b) == 0


def test_rows_without_a_score_in_either_run_decide_nothing(runs, capsys):
    for folder in runs:
        for path in folder.glob("*/scores/*.parquet"):
            change(
                folder, path.parents[1].name, path.stem,
                lambda rows: rows.assign(
                    status="timeout", **({"outcome": "censored"} if "outcome" in rows else {})
                ),
            )  # fmt: skip
    assert diff(*runs) == 1
    assert last(capsys) == "not decided: 0 scores compared"


def test_an_empty_selection_is_refused(runs, caplog):
    for path in runs[1].glob("*/scores/*.parquet"):
        change(runs[1], path.parents[1].name, path.stem, lambda rows: rows.iloc[1::2])
    for path in runs[0].glob("*/scores/*.parquet"):
        change(runs[0], path.parents[1].name, path.stem, lambda rows: rows.iloc[::2])
    assert "have no model with the same scans" in refused(caplog, *runs)
    for path in runs[1].glob("*/scores/*.parquet"):
        change(runs[1], path.parents[1].name, path.stem, lambda rows: rows.head(0))
    assert "holds no scores" in refused(caplog, *runs)


# --- trajectories --------------------------------------------------------------------------------


def broken(n: int, **told):
    """The first n trajectories end in another way."""
    told = told or {"outcome": "failed", "failure": "hot"}

    def made(rows):
        rows.loc[rows.index[:n], list(told)] = list(told.values())
        return rows

    return made


def test_newly_failing_trajectories_are_a_change_where_chance_seldom_makes_them(runs, capsys):
    a, b = runs
    change(b, "gfn1-xtb", "dynamics", broken(5))
    assert diff(a, b) == 0
    said = capsys.readouterr().out
    assert "within chaos: share of runs that do not reach their end 0 → 0.0391" in said
    assert "5 of 128 rows differ, p = 0.062" in said
    assert "\nunchanged: 1 scores of trajectories differ within chaos; " in said
    change(b, "gfn1-xtb", "dynamics", broken(6))
    assert diff(a, b) == 1
    assert "6 of 128 rows differ, p = 0.031" in capsys.readouterr().out
    shutil.rmtree(a / "mace-mini")  # what else is in the folder decides nothing
    assert diff(a, b) == 1


def test_trajectories_that_fail_both_ways_are_chaos(runs):
    change(runs[0], "gfn1-xtb", "dynamics", lambda rows: broken(20)(rows))
    change(runs[1], "gfn1-xtb", "dynamics", lambda rows: broken(20)(rows[::-1])[::-1])
    assert diff(*runs) == 0


def test_few_trajectories_are_not_decided(runs, capsys):
    for folder in runs:
        change(folder, "gfn1-xtb", "dynamics", lambda rows: rows.head(5))
    assert diff(*runs) == 0
    change(runs[1], "gfn1-xtb", "dynamics", broken(5))
    capsys.readouterr()
    assert diff(*runs) == 1
    assert last(capsys).startswith("not decided: 1 scores differ and are not decided; ")


@pytest.mark.parametrize("status", ["timeout", "unsupported"])
def test_trajectories_that_are_no_longer_run_to_an_end_are_a_change(runs, capsys, status):
    outcome = {"timeout": "censored", "unsupported": "not_at_risk"}[status]
    change(runs[1], "gfn1-xtb", "dynamics", broken(2, status=status, outcome=outcome))
    assert diff(*runs) == 1
    assert f"ran → {outcome} ({status})" in capsys.readouterr().out


def test_trajectories_that_an_alarm_ends_are_judged_with_those_that_fail(runs, capsys):
    ended = {"status": "alarm", "outcome": "censored"}
    change(runs[1], "gfn1-xtb", "dynamics", broken(5, **ended))
    assert diff(*runs) == 0
    change(runs[1], "gfn1-xtb", "dynamics", broken(6, **ended))
    assert diff(*runs) == 1
    assert "ran →" not in capsys.readouterr().out


def test_scores_of_trajectories_part_by_chaos_and_change_when_all_go_one_way(runs, capsys):
    def scaled(up, down):
        def made(rows):
            factors = np.where(np.arange(len(rows)) % 2, up, down)
            return rows.assign(energy_rms_mev_per_atom=rows["energy_rms_mev_per_atom"] * factors)

        return made

    a, b = runs
    change(b, "gfn1-xtb", "dynamics", scaled(1.1, 1 / 1.1))
    assert diff(a, b) == 0
    assert "within chaos: energy RMS" in capsys.readouterr().out
    change(b, "gfn1-xtb", "dynamics", scaled(1000, 0.99))  # half of them by much
    assert diff(a, b) == 1
    assert "changed: energy RMS" in capsys.readouterr().out


def test_packages_of_the_model_are_those_of_its_files(runs, capsys):
    scan = read_scans(MINI, 100)[0]
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
