import dataclasses
import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from examples import weight_sums
from pesbench.files.scan_set import ScanSet

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", autouse=True)
def _benchmarks_on_path():
    sys.path.insert(0, str(ROOT))
    yield
    sys.path.remove(str(ROOT))


def row(**values):
    from benchmarks.bench import Row

    return Row(**{"item": "1", "what": "it", "measured": 2.0, "target": 1.5} | values)


def test_reached_follows_the_direction_of_the_target():
    assert row().reached is True
    assert row(at_least=False).reached is False
    assert row(measured=None).reached is None
    assert row(target=None).reached is None


def test_table_says_what_was_missed_and_why_something_was_skipped():
    from benchmarks.run import table

    text = table([row(at_least=False, low=1.0, high=3.0), row(measured=None, note="skipped: no x")])
    missed, skipped = text.splitlines()[2:]
    assert "2.00 x (1.00 to 3.00)" in missed
    assert "≤ 1.5 x" in missed
    assert "NO" in missed
    assert "[skipped: no x]" in skipped
    assert "yes" not in skipped


def test_evenly_spaced_items_hold_both_ends():
    from benchmarks.bench import evenly

    assert evenly(range(10), 4) == [0, 3, 6, 9]
    assert evenly(range(3), 5) == [0, 1, 2]
    assert evenly(range(9), 1) == [4]


def test_items_that_need_the_archive_are_skipped_without_it(tmp_path, monkeypatch):
    from benchmarks.bench import Inputs
    from benchmarks.run import rows_of

    monkeypatch.setenv("PESBENCH_ARCHIVE", str(tmp_path / "none.tar.gz"))
    (found,) = rows_of("4", Inputs(tmp_path))
    assert found.measured is None
    assert "none.tar.gz" in found.note


def test_unknown_item_is_refused(capsys):
    from benchmarks.run import main

    with pytest.raises(SystemExit):
        main(["99"])
    assert "no item '99'" in capsys.readouterr().err


def test_a_gpu_that_is_not_there_is_one_line(capsys):
    import torch
    from benchmarks.run import main

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit):
        main(["--device", "cuda", "13"])
    assert "torch sees no GPU" in capsys.readouterr().err.splitlines()[-1]


def test_items_that_no_device_changes_are_refused_with_one(capsys):
    from benchmarks.run import main

    with pytest.raises(SystemExit):
        main(["--device", "cuda", "4"])
    assert "item 4 does not depend on --device" in capsys.readouterr().err


def test_two_devices_are_compared_on_the_same_frames(toy_set, monkeypatch):
    from benchmarks import gpu

    from pesbench.orchestration.config import read_models

    monkeypatch.setattr(gpu, "SIZES", (1, 4))
    with ScanSet(toy_set) as scan_set:
        ids = scan_set.ids
    entry = read_models(ROOT / "config/models.yaml")["testbed-base"]
    found = gpu._compare(entry, toy_set, ids, "cpu", 2)
    assert found["difference"] == found["twice"] == 0  # one device, here
    assert found["largest"] > 0.1
    assert len(found["ratios"]) == 2
    assert set(found["frames_a_second"]) == {1, 4}


def test_random_weights_are_the_same_for_the_same_seed(tmp_path):
    if importlib.util.find_spec("mace") is None:
        pytest.skip("needs mace-torch")
    from benchmarks.bench import isolated
    from benchmarks.models import SMALL, write_mace

    isolated(write_mace, tmp_path / "a", SMALL, 0)
    a, b, c = isolated(weight_sums, tmp_path / "a", write_mace, SMALL)  # of two processes
    assert a == b
    assert a != c


def test_report_is_json(tmp_path, monkeypatch):
    from benchmarks import run

    monkeypatch.setattr(run, "_measure", lambda item, inputs: iter([row(item=item)]))
    out = tmp_path / "report.json"
    assert run.main(["5", "--json", str(out), "--keep", str(tmp_path)]) == 0
    report = json.loads(out.read_text())
    assert report["rows"][0]["reached"] is True
    assert {"cpu", "cores", "torch", "date"} <= report["machine"].keys()


def test_commands_by_hand_wait_for_their_input(tmp_path):
    from benchmarks.overhead import in_lanes, read_jobs

    columns = ["output_file", "date", "rule", "log-file(s)", "input-file(s)", "shellcmd"]
    commands = {
        "c": ("a,b", "cat a b > c; echo end >> order"),
        "a": ("-", "sleep 0.2; echo 1 > a; echo a >> order"),
        "b": ("-", "echo 2 > b"),
        "d/e": ("b", "test ! -e e; mkdir -p d; cp b d/e"),
    }
    rows = [
        [name, "-", f"rule_{name[0]}", "logs/x.log", needed, command]
        for name, (needed, command) in commands.items()
    ]
    summary = "\n".join(["Building DAG", "\t".join(columns), *("\t".join(row) for row in rows)])
    done = tmp_path / "done"
    for number, name in enumerate(("a", "b", "d/e", "c")):
        (done / name).parent.mkdir(parents=True, exist_ok=True)
        (done / name).touch()
        os.utime(done / name, (number, number))
    jobs = read_jobs(summary, done)
    assert [job.rule for job in jobs] == ["rule_a", "rule_b", "rule_d", "rule_c"]
    again = tmp_path / "again"
    again.mkdir()
    wall_s, sum_s = in_lanes(jobs[::-1], again)
    assert wall_s > 0.2
    assert sum_s > 0.2
    assert (again / "c").read_text() == "1\n2\n"
    assert (again / "order").read_text().split() == ["a", "end"]
    assert (again / "logs").is_dir()
    with pytest.raises(RuntimeError, match="tells of no command"):
        read_jobs(summary.replace(commands["b"][1], "-"), done)
    failing = [dataclasses.replace(job, command="echo broken >&2; false") for job in jobs]
    with pytest.raises(RuntimeError, match="broken"):
        in_lanes(failing, again)


def test_the_workflow_is_measured_from_nothing_in_a_folder_that_was_kept(tmp_path, monkeypatch):
    """A second `run.py 9 --keep FOLDER`; what the folder links to stays."""
    from benchmarks import overhead
    from benchmarks.bench import Inputs

    began = []

    class StopError(Exception):
        pass

    def command(*_, log, **__):
        began.append(sorted(path.name for path in log.parent.iterdir()))
        (log.parent / "results" / "mini").mkdir(parents=True)
        (log.parent / "results-of-snakemake").mkdir()
        raise StopError

    monkeypatch.setattr(overhead, "Command", command)
    monkeypatch.setattr(overhead.os, "sched_getaffinity", lambda _: {0, 1})
    for _ in range(2):
        with pytest.raises(StopError):
            list(overhead.measure(Inputs(tmp_path)))
    assert began == [["config", "resources"]] * 2
    assert (ROOT / "config" / "config.yaml").is_file()


def test_verdict_rule_tells_effects_of_all_families_from_none_and_from_that_of_one():
    from benchmarks.verdict_rule import share

    assert share((4,) * 6, "0.95", 60) > 0.8
    assert share((4,) * 6, "null", 60) < 0.1
    assert share((14, 3, 3, 3, 3), "one", 60) < 0.1
    assert share((12,), "0.95", 60) > 0.8
    assert share((12, 2, 2), "0.95", 60) == 0
