import functools
import gc
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")


sys.path.insert(0, str(Path(workflow.basedir) / "workflow"))

from pesbench.orchestration.surroundings import (
    check_interpreter,
    check_python,
    check_words,
    check_working_folder,
    shut_out,
)

shut_out(workflow.basedir)  # before anything else is imported

from pesbench.orchestration.at_work import take
from pesbench.orchestration.config import loading_options, resolve
from pesbench.orchestration.config_files import DEFAULT_CONFIG, read_config
from pesbench.orchestration.environments import requirements_sha256
from pesbench.core.errors import HostError, UserError, check_writable
from pesbench.files.fingerprint import stage_fingerprint
from pesbench.models.record import description
from pesbench.models.registry import role
from pesbench.models.variants import can_be_resolved, variants
from pesbench.report.terminal import summary
from pesbench.orchestration.requests import PLACE, Cluster, Requests, read_cluster, uses_gpu
from pesbench.orchestration.running import enter, note_run, runs_at_work
from pesbench.orchestration.slurm_arrays import Amounts, become_own_job, check_arrays, holding_back
from pesbench.orchestration.slurm_queue import refuse_left_over
from pesbench.orchestration.software import Software
from pesbench.testbed.variants import find_variant, read_variants
from pesbench.tasks.bonds.widening import held_scans

# a DAG is many objects and little garbage: collecting less saves a tenth of a large dry run
gc.freeze()
gc.set_threshold(100_000, 50, 100)


# One line for bad input, before any work; everything below only reads RUN. Of what Snakemake was given
# it is the names of files and the words of --config that count, not its own reading: `read_config` refuses
# what that overwrites or guesses, and leaves out of config/config.yaml what a config of one's own did not ask for.
try:
    check_python()
    check_working_folder(Path.cwd())
    if re.search("[{}]", workflow.basedir):
        raise UserError(f"{workflow.basedir}: holds braces, wildcards of Snakemake's; rename it")
    become_own_job(sys.argv)  # a task of an array, which Slurm's plugin starts as another one
    given_config = workflow.config_settings
    CONFIG = read_config(
        given_config.configfiles,
        given_config.config_args,
        None if given_config.replace_workflow_config else DEFAULT_CONFIG,
    )
    RUN = resolve(CONFIG, Path.cwd())
    # a run on one machine has no use for the names of partitions
    ON_CLUSTER = workflow.resource_settings.nodes is not None
    # of the folder that is worked in, else the one that ships, whatever --directory says
    SITES = [Path(folder, "slurm", "site.yaml") for folder in (Path.cwd(), workflow.basedir)]
    CLUSTER = read_cluster(CONFIG.values, *SITES) if ON_CLUSTER else Cluster()
    SOFTWARE = Software(
        RUN.software, Path(workflow.basedir) / "envs", RUN.results.parent / "environments"
    )
    CONDA = "conda" in map(str, workflow.deployment_settings.deployment_method)
    SOFTWARE.check_deployment(CONDA)
    if CONDA:
        check_words([workflow.basedir, workflow.deployment_settings.conda_prefix])
    if ON_CLUSTER:
        check_interpreter(sys.executable)
        files = [*workflow.overwrite_configfiles, *RUN.molecule_files, *RUN.seen_files]
        options = workflow.config_settings.config_args or []
        folders = [Path.cwd(), workflow.basedir, RUN.results]
        check_words([*folders, *files, *options], apostrophes=False)
    SOFTWARE.check(RUN.running)
    if RUN.relax:  # beside RDKit
        SOFTWARE.check_base(RUN.relax)
except (HostError, UserError) as error:
    sys.exit(f"pesbench: error: {error}")

# a Snakemake that was killed stops nobody; one that is at work is told of before its lock is met
if workflow.is_main_process:
    if other := enter(Path.cwd(), on_cluster=ON_CLUSTER, command=sys.argv[1:]):
        print(f"pesbench: {other}", file=sys.stderr)

PYTHON = sys.executable
RESULTS = RUN.results
SCAN_SET = RESULTS / f"{RUN.scan_set}.h5"


include: "workflow/rules/common.smk"


wildcard_constraints:
    model="|".join(re.escape(model) for model in RUN.models),
    shard=r"(half-)?\d{4}",


localrules:
    all,
    scan_set,
    scores,
    weights_mace,
    weights_testbed,
    entry,
    describe,


include: "workflow/rules/environments.smk"
include: "workflow/rules/references.smk"
include: "workflow/rules/scans.smk"
include: "workflow/rules/scores.smk"
include: "workflow/rules/dynamics.smk"
include: "workflow/rules/vibrations.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/weights.smk"
include: "workflow/rules/plan.smk"


# What a run makes.
BUILT = [
    RESULTS / "leaderboard.csv",
    RESULTS / "leaderboard.md",
    RESULTS / "leaderboard.html",
    RESULTS / "models.json",
    *ASSOCIATION,
    *ASSOCIATION_FIGURE,
    *DOSE_FIGURE,
    *VIBRATIONS,
    *LADDER,
    *LADDER_FIGURE,
    *expand(RESULTS / "{model}" / "worst.extxyz", model=FOR_WORST),
]
STRICT = [RESULTS / "strict.txt"] if RUN.strict else []


include: "workflow/rules/strict.smk"


rule all:
    default_target: True
    input:
        BUILT,
        STRICT,


# Names a user may ask for: `snakemake scan_set`, `snakemake scores`.
rule scan_set:
    input:
        SCAN_SET,


rule scores:
    input:
        expand(RESULTS / "{model}" / "scores" / "scans.parquet", model=RUN.models),


rule weights_mace:
    input:
        expand(WEIGHTS / "{name}.{kind}", name=MACE_OPTIONS, kind=["model", "json", "md"]),


rule weights_testbed:
    input:
        lambda wildcards: expand(
            WEIGHTS / "{name}.{kind}",
            name=variant_names(TESTBED_FILE),
            kind=["pt", "json", "md"],
        ),
