"""The rule that harvests the trajectories of a model of any run."""

from __future__ import annotations

from pathlib import Path

import yaml

from workflow_copy import Copy


def test_a_model_is_harvested_with_the_labels_of_any_entry(tmp_path: Path) -> None:
    """The method that labels need not be a model of the run."""
    copy = Copy(tmp_path / "copy", results="results")
    few = copy.few("hydroxylamine", "hydrazine") | {"models": ["mace-mini"], "results": "results"}
    few |= {"scan_set": "mini", "dynamics": {"models": ["mace-mini"]}}
    (copy.root / "few.yaml").write_text(yaml.safe_dump(few))
    target = "results/mini/mace-mini/harvest/wb97m-d3bj.extxyz"
    done = copy.snakemake("-n", "-p", target, "--configfile", "few.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join((done.stdout + done.stderr).split())
    moved = "results/mini/mace-mini/dynamics/0000.h5"
    assert f"pesbench harvest {moved} --labels wb97m-d3bj --models-file config/models.yaml" in said
    assert f"--out {target}" in said
    done = copy.snakemake("-n", target.replace("wb97m-d3bj", "nobody"), "--configfile", "few.yaml")
    assert done.returncode != 0
    assert "nobody" in done.stdout + done.stderr
