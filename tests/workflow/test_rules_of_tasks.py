"""Rules in the folder of a task are run, not only planned."""

from __future__ import annotations

from pathlib import Path

from workflow_copy import Copy


def test_a_rule_of_a_task_runs_to_its_end(tmp_path: Path) -> None:
    """Snakemake reads the file of a rule's environment when the job has ended, not before."""
    copy = Copy(tmp_path / "copy", results="results")
    heads = copy.root / "results" / "weights" / "lj_core"
    heads.mkdir(parents=True)
    words = ("--smoke", "--seeds", "1", "--work", "work", "--out", str(heads / "main-mlp.csv"))
    done = copy.python("-m", "pesbench", "lj-heads", "main-mlp", *words)
    assert done.returncode == 0, done.stderr
    done = copy.snakemake("lj_heads", "--configfile", "config/weights.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (heads / "heads.csv").read_text().count("main-mlp") == 1
