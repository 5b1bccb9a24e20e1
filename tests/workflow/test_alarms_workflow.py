"""The rules of a task that reads what other tasks have stored of all its models."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from examples import REPO
from workflow_copy import Copy, refusal

STUDY = yaml.safe_load((REPO / "config/extrapolation.yaml").read_text())
MODELS = ["gfn1-xtb", "mace-mini", "testbed-rough", "testbed-rough-seed_2"]


def test_alarms_read_the_answers_of_all_their_models(tmp_path: Path) -> None:
    copy = Copy(tmp_path / "copy", results="results")
    few = STUDY | {"models": MODELS, "dynamics": STUDY["dynamics"] | {"models": MODELS[:3]}}
    few |= {"alarms": {"models": MODELS[1:]}, "results": "results"}
    (copy.root / "few.yaml").write_text(yaml.safe_dump(few))
    target = "results/extrapolation/mace-mini/scores/alarms.parquet"
    done = copy.snakemake("-n", "-p", target, "--configfile", "few.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join((done.stdout + done.stderr).split())

    def read(command: str) -> set[str]:
        (found,) = set(re.findall(rf"pesbench {command} .*?--answers ([^-].*?) --", said))
        return set(re.findall(r"extrapolation/([\w-]+/\w+)/\d+\.h5", found))

    def read_in_run(model: str) -> set[str]:
        entry = f"results/extrapolation/{model}/model.json"
        return read(re.escape(f"run alarms --entry {entry}"))

    # a model has trajectories where it runs `dynamics`, and is read where it is one of `alarms`
    moved = {"mace-mini/dynamics", "testbed-rough/dynamics"}
    assert read_in_run("mace-mini") == read_in_run("testbed-rough") == moved
    # a further seed does not disagree with other potentials
    assert read_in_run("testbed-rough-seed_2") == {"testbed-rough/dynamics"}
    others = {f"{model}/{task}" for model in MODELS[1:] for task in ("bonds", "alarms")}
    assert read("score alarms") == moved | others
    assert "--record results/extrapolation/models.json" in said


def test_alarms_of_coarse_trajectories_are_refused_before_any_work(tmp_path: Path) -> None:
    path = tmp_path / "coarse.yaml"
    dynamics = STUDY["dynamics"] | {"store_every": 20}
    path.write_text(yaml.safe_dump(STUDY | {"dynamics": dynamics}))
    said = refusal(REPO, "--configfile", str(path))
    assert "`dynamics.store_every` is 20" in said
    assert "write `store_every: 2`" in said
    assert said.startswith(str(path))
