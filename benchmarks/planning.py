"""Item 8: what Snakemake takes to plan 30 models on BSCT-SPICE for a cluster."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import yaml
from benchmarks.bench import MB, ROOT, Command, Finished, Inputs, Row, SkippedError, median

N_MODELS = 30
TARGET_RATIO, TARGET_MB = 2.0, 300.0
_CONFIG = ("config/bsct_spice.yaml", "slurm/site.yaml")  # of the profile, but for the models
_WEIGHTS = ROOT / "resources" / "weights" / "mace-mini.model"


def write_run(folder: Path, n_models: int) -> Path:
    """A config of so many models, each with weights of its own, all with dynamics.

    Args:
        folder: Where config, registry, weights and results lie.
        n_models: How many, beside all controls.
    """
    names = [f"model-{number:02d}" for number in range(n_models)]
    entries = yaml.safe_load((ROOT / "config" / "models.yaml").read_text())
    for name in names:
        weights = folder / f"{name}.model"
        shutil.copy(_WEIGHTS, weights)
        entries[name] = {"family": "mace", "weights": str(weights), "trust": True}
    (folder / "models.yaml").write_text(yaml.safe_dump(entries))
    run = {
        "models_file": str(folder / "models.yaml"),
        "models": names,
        "dynamics": {"models": names},
        "results": str(folder / "results"),
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    return folder / "run.yaml"


def _dry_run(config: Path, log: Path) -> Finished:
    options = ("--dry-run", "--profile", "slurm", "--configfile", *_CONFIG, config)
    return Command(*options, log=log, module="snakemake").wait()


_BARE = """\
rule all:
    input:
        expand("{{n}}.txt", n=range({jobs})),


rule one:
    output:
        "{{n}}.txt",
    log:
        "{{n}}.log",
    shell:
        "touch {{output:q}} 2> {{log:q}}"
"""


def _bare_dry_run(folder: Path, jobs: int) -> Finished:
    """Snakemake with as many jobs that hold nothing."""
    snakefile = folder / "Snakefile"
    snakefile.write_text(_BARE.format(jobs=jobs - 1))
    options = ("--dry-run", "--workflow-profile", "none", "--directory", folder)
    return Command(
        *options, "--snakefile", snakefile, log=folder / "bare.log", module="snakemake"
    ).wait()


def _jobs(log: Path) -> int:
    found = re.search(r"^total +(\d+)$", log.read_text(), flags=re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{log}: holds no number of jobs")
    return int(found[1])


def measure(inputs: Inputs) -> Iterator[Row]:
    """Time, beside that of Snakemake alone, and memory of the dry run; the two take turns."""
    if not _WEIGHTS.is_file():
        raise SkippedError(f"no weights at {_WEIGHTS}")
    folder = inputs.folder / "planning"
    folder.mkdir(exist_ok=True)
    n_models = 3 if inputs.quick else N_MODELS
    config, log = write_run(folder, n_models), folder / "log"
    runs, bare = [], []
    for _ in range(inputs.repeats):
        runs.append(_dry_run(config, log))
        bare.append(_bare_dry_run(folder, _jobs(log)))
    what = f"snakemake -n --profile slurm, {n_models} models, bsct_spice with dynamics"
    # the time of the processor: what else the machine does is not Snakemake's
    ratios = [one.cpu_seconds / other.cpu_seconds for one, other in zip(runs, bare, strict=True)]
    peaks = [run.peak_bytes / MB for run in runs]
    yield Row(
        "8 dry run", f"{what} / bare Snakemake with as many jobs", median(ratios), "x",
        TARGET_RATIO, at_least=False, low=min(ratios), high=max(ratios),
        note=f"{_jobs(log)} jobs, {median([run.cpu_seconds for run in runs]):.1f} s of CPU, "
        f"{median([run.seconds for run in runs]):.1f} s",
        details={"repeats": ratios},
    )  # fmt: skip
    yield Row("8 dry run", "the same, peak memory", max(peaks), "MB", TARGET_MB, at_least=False)
