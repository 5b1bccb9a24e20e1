"""The profiles `slurm` and `workstation`, as far as a dry run shows them; tests/slurm runs one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from examples import rule_files

REPO = Path(__file__).parents[2]
MODELS = "models=[mace-mini,gfn1-xtb,gfn2-curl_0.001]"


def dry_run(tmp_path: Path, *arguments: str, start: Path = REPO) -> dict[str, set[str]]:
    """Resources that the jobs of each rule and task ask for, one string a distinct set."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", *arguments, f"results={tmp_path}"],
        cwd=start,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, set[str]] = {}
    for rule, facts, asked in re.findall(
        r"^rule (\w+):\n((?:    .*\n)*?)    resources: (.*)$", done.stdout, re.MULTILINE
    ):
        task = re.search(r"\btask=(\w+)", facts)
        found.setdefault(f"{rule} {task[1]}" if task else rule, set()).add(asked)
    return found


@pytest.fixture(scope="module")
def on_slurm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    folder = tmp_path_factory.mktemp("slurm")
    return dry_run(folder, "--profile", "slurm", "--config", MODELS)


def test_a_model_on_a_gpu_goes_to_its_partition_and_any_other_to_the_other(on_slurm):
    for asked in on_slurm["run bonds"]:
        assert "slurm_partition=gpu, gpu=1, " in asked
    for asked in on_slurm["run_on_cpu bonds"] | on_slurm["run_on_cpu dynamics"]:
        assert "slurm_partition=cpu, " in asked
        assert "gpu=" not in asked
    every = set.union(*on_slurm.values())
    assert not any("slurm_account" in asked for asked in every)  # none is set as shipped


def test_the_profile_names_the_published_benchmark(on_slurm):
    assert "scan_set_from_archive" in on_slurm
    assert "reference" not in on_slurm


def test_a_config_on_the_command_line_takes_its_place(tmp_path):
    config = ("--configfile", "config/own_molecules.yaml")
    found = dry_run(tmp_path, "--profile", "slurm", *config, "--config", MODELS)
    assert "scan_set_from_archive" not in found
    assert all("slurm_partition=cpu" in asked for asked in found["reference"])
    assert all("slurm_partition=gpu" in asked for asked in found["run bonds"])  # site.yaml is read


def test_the_site_counts_wherever_the_work_is_done(tmp_path):
    """Else account and partitions would be lost without a word."""
    checkout, folder = tmp_path / "checkout", tmp_path / "folder"
    checkout.mkdir()
    folder.mkdir()
    for name in ("Snakefile", "workflow", "config", "resources", "envs"):
        (checkout / name).symlink_to(REPO / name)
    for name in ("config", "resources"):
        (folder / name).symlink_to(REPO / name)
    shutil.copytree(REPO / "slurm", checkout / "slurm")
    site = checkout / "slurm" / "site.yaml"
    site.write_text(site.read_text().replace("# account: my_project", "account: chem"))
    run = ("--profile", "slurm", "--configfile", "config/own_molecules.yaml")
    there = ("--directory", str(folder), "--config", "models=[mace-mini]", "controls=[]")
    for asked in dry_run(tmp_path / "r", *run, *there, start=checkout)["run bonds"]:
        assert "slurm_account=chem, slurm_partition=gpu, " in asked
    (folder / "slurm").mkdir()
    (folder / "slurm" / "site.yaml").write_text("cluster: {gpu_partition: fast}")
    for asked in dry_run(tmp_path / "r", *run, *there, start=checkout)["run bonds"]:
        assert "slurm_account" not in asked
        assert "slurm_partition=fast, " in asked


def test_a_config_may_name_another_cluster(tmp_path):
    cluster = {"account": "chem", "gpu_partition": "a", "gpu_model": "a100", "gpu_hours": 1}
    dynamics = {"models": ["mace-mini"], "duration_ps": 1000}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"cluster": cluster, "dynamics": dynamics}))
    config = ("--configfile", str(tmp_path / "run.yaml"))
    found = dry_run(tmp_path, "--profile", "slurm", *config, "--config", MODELS)
    for asked in found["run dynamics"]:
        assert "runtime=60, " in asked
        assert "slurm_account=chem" in asked
        assert "slurm_partition=a," in asked
        assert "gpu_model=a100" in asked
    for asked in found["run_on_cpu bonds"]:
        assert "slurm_account=chem" in asked
        assert "slurm_partition" not in asked


def test_a_workstation_has_one_gpu_and_knows_of_no_partition(tmp_path):
    profile = yaml.safe_load((REPO / "workstation" / "config.yaml").read_text())
    assert profile["resources"] == {"gpu": 1}
    found = dry_run(tmp_path, "--profile", "workstation", "--config", MODELS)
    assert all(re.search(r"\bgpu=1\b", asked) for asked in found["run bonds"])
    assert not any("gpu=" in asked for asked in found["run_on_cpu bonds"])
    assert not any("slurm" in asked for asked in set.union(*found.values()))


def test_what_goes_to_a_node_says_what_it_needs():
    """Every rule is local or states its time and memory."""
    stated = re.compile(r"localrule: True|resources:\n +\*\*")
    files = rule_files()
    assert len(files) > 7
    for text in (file.read_text() for file in files if file.name != "common.smk"):
        for rule in re.split(r"^ *(?:use )?rule ", text, flags=re.MULTILINE)[1:]:
            name = re.match(r"\w+(?: as (\w+) with)?", rule)
            assert name is not None
            local = f"localrules:\n        {name[1]},\n" in text  # of one that inherits
            assert stated.search(rule) or local, name[0]
