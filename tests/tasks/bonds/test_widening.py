"""A wider selection keeps what a narrower one has made; all controls are one job."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from examples import REPO, fake_entry, faulty
from pesbench.cli import main
from pesbench.files.evaluation import Evaluation
from pesbench.orchestration.config import resolve
from pesbench.orchestration.config_files import Config, merged
from pesbench.tasks.bonds.task import TASK
from shards import evaluate_missing, evaluate_shard, write_scores

DEFAULT = yaml.safe_load((REPO / "config" / "config.yaml").read_text())


def _arrays(path):
    with Evaluation(path) as evaluation:
        scans = {scan_id: evaluation.scan(scan_id) for scan_id in evaluation.ids}
    return {scan_id: (one.energy, one.forces, one.status) for scan_id, one in scans.items()}


def _same(one, other):
    assert one.keys() == other.keys()
    for scan_id, (energy, forces, status) in one.items():
        assert np.array_equal(energy, other[scan_id][0], equal_nan=True)
        assert np.array_equal(forces, other[scan_id][1], equal_nan=True)
        assert status is other[scan_id][2]


@pytest.mark.parametrize(
    "entry", [fake_entry(batch_size=7), faulty("raise", batch_size=7)], ids=["sound", "faulty"]
)
def test_a_wider_evaluation_is_that_of_one_go_to_the_bit(entry, toy_set, toys, tmp_path):
    ids = sorted(toys)
    whole, grown = tmp_path / "whole.h5", tmp_path / "grown.h5"
    evaluate_shard(entry, toy_set, ids, whole)
    evaluate_missing(entry, toy_set, ids[:2], grown)
    made = grown.stat().st_mtime_ns
    evaluate_missing(entry, toy_set, ids[:1], grown)  # narrower: nothing is lost or done
    assert grown.stat().st_mtime_ns == made
    evaluate_missing(entry, toy_set, ids[3:5], grown)
    evaluate_missing(entry, toy_set, ids, grown)
    _same(_arrays(grown), _arrays(whole))
    assert TASK.held(grown) == tuple(ids)
    with Evaluation(grown) as evaluation:
        how = json.loads(evaluation.attributes["provenance"])
        assert [one["scans"] for one in how["kept"]] == [2, 4]
    assert not list(tmp_path.glob("*_more*"))


@pytest.mark.parametrize(
    "other",
    [
        {"entry": fake_entry(name="fake", arguments={"depth": 4.0})},
        {"threads": 2},
        {"device": "cuda"},
        {"damaged": True},
        {"packages": {"numpy": "0.1"}},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_is_of_something_else_is_not_kept(other, toy_set, toys, tmp_path, monkeypatch):
    ids, out = sorted(toys), tmp_path / "0000.h5"
    evaluate_shard(fake_entry(), toy_set, ids[:1], out)
    asked = []
    monkeypatch.setattr(
        "pesbench.tasks.bonds.run.evaluate_shard", lambda job: asked.append(list(job.items))
    )
    if other.get("damaged"):
        content = bytearray(out.read_bytes())
        content[len(content) // 2] ^= 1
        out.write_bytes(content)
    if "packages" in other:
        monkeypatch.setattr("pesbench.files.provenance.package_versions", lambda: other["packages"])
    settings = {key: other[key] for key in ("threads", "device") if key in other}
    evaluate_missing(other.get("entry", fake_entry()), toy_set, ids[:2], out, **settings)
    assert asked == [ids[:2]]


def test_scores_are_of_the_selected_scans_alone(toy_set, toys, tmp_path):
    out = tmp_path / "0000.h5"
    evaluate_shard(fake_entry(), toy_set, sorted(toys), out)
    for selected, n_scans in ((["*"], 6), (["C-*"], 3), (["N-N/d", "C-C/*"], 2)):
        write_scores(toy_set, [out], tmp_path / "s.parquet", selected=selected)
        assert len(pd.read_parquet(tmp_path / "s.parquet")) == n_scans


# --- which job a scan belongs to ----------------------------------------------------------------


def _run(**changes):
    return resolve(Config((("config", merged(DEFAULT, changes)),)), REPO)


@pytest.mark.parametrize("systems", [["C-N/*"], ["*/ethanol*"], ["N-O/*", "C-C/ethanol_0-1"]])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_the_job_of_a_scan_does_not_depend_on_the_selection(systems, size):
    whole, some = (
        _run(shard_size=size, **selected).tasks["bonds"] for selected in ({}, {"systems": systems})
    )
    for model in ("gfn1-xtb", "control-zero"):
        jobs = {scan: name for name, job in whole.shards_of(model).items() for scan in job.items}
        found = {scan: name for name, job in some.shards_of(model).items() for scan in job.items}
        assert found == {scan: jobs[scan] for scan in some.selected}
        assert whole.shards_of(model) == some.shards_of(model, selected=False)
    assert list(some.shards_of("control-zero")) == ["0000"]


def test_the_job_of_a_molecule_does_not_depend_on_the_selected_scans():
    block = {"halved": ["ethanol", "hydrazine"], "shard_size": 2}
    whole, some = (
        _run(dynamics=block, **selected).tasks["dynamics"].shards
        for selected in ({}, {"systems": ["N-*/*", "C-O/eth*"]})
    )
    jobs = {system: name for name, shard in whole.items() for system in shard.items}
    found = {system: name for name, shard in some.items() for system in shard.items}
    assert 0 < len(found) < len(jobs)
    assert found == {system: jobs[system] for system in found}


# --- controls ------------------------------------------------------------------------------------


def test_all_controls_are_one_command_and_a_further_one_runs_alone(
    toy_set, tmp_path, monkeypatch, caplog
):
    (tmp_path / "models.yaml").write_text(
        "control-zero: {family: control, control: zero}\n"
        "control-scaled: {family: control, control: scaled, dose: 0.9}\n"
        "control-shift: {family: control, control: shift, dose: 0.01}\n"
        "emt: {family: ase, calculator: 'ase.calculators.emt:EMT'}\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ["controls", "bonds", "--models-file", "models.yaml", "--scan-set", str(toy_set),
             "--results", "results/toys", "--models"]  # fmt: skip
    assert main([*words, "control-zero", "control-scaled"]) == 0
    files = {path: path.read_bytes() for path in (tmp_path / "results").rglob("bonds/*.h5")}
    assert len(files) == 2
    assert main([*words, "control-zero", "control-scaled", "control-shift"]) == 0
    assert all(path.read_bytes() == content for path, content in files.items())
    for name in ("control-zero", "control-scaled", "control-shift"):
        folder = tmp_path / "results" / "toys" / name
        # as the rules of a model make them
        assert main(["entry", name, "--models-file", "models.yaml", "--out", "entry.json"]) == 0
        assert (tmp_path / "entry.json").read_bytes() == (folder / "model.json").read_bytes()
        assert main(["run", "bonds", "--entry", "entry.json", "--scan-set", str(toy_set),
                     "--device", "cpu", "--out", "e.h5"]) == 0  # fmt: skip
        _same(_arrays(folder / "bonds" / "0000.h5"), _arrays(tmp_path / "e.h5"))
        assert main(["score", "bonds", "--scan-set", str(toy_set), "--entry", "entry.json",
                     "--files", "e.h5", "--out", "s.parquet"]) == 0  # fmt: skip
        one = pd.read_parquet(folder / "scores" / "bonds.parquet")
        other = pd.read_parquet(tmp_path / "s.parquet")
        pd.testing.assert_frame_equal(
            one.drop(columns=["wall_s", "command_s"]), other.drop(columns=["wall_s", "command_s"])
        )
        (tmp_path / "e.h5").unlink()
    for name in ("emt", "control-none"):
        assert main([*words, name]) == 2
        assert f"no control '{name}'" in caplog.records[-1].getMessage()
