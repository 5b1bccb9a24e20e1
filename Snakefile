import re
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")

# slurm/Snakefile includes this one
ON_SLURM = globals().get("ON_SLURM", False)
HOME = Path(workflow.basedir).parent if ON_SLURM else Path(workflow.basedir)
sys.path.insert(0, str(HOME / "workflow"))

from pesbench.orchestration.surroundings import shut_out

shut_out(str(HOME))  # before anything else is imported

from pesbench.core.errors import HostError, UserError
from pesbench.orchestration.start import Given, start

# Bad input is reported in one line before any work. The config files and --config are read here and not by
# Snakemake, which takes the last of two equal keys and reads `017` as 15.
given_config = workflow.config_settings
try:
    START = start(
        Given(
            files=given_config.configfiles,
            arguments=given_config.config_args or [],
            alone=given_config.replace_workflow_config,
            home=HOME,
            on_slurm=ON_SLURM,
            main=workflow.is_main_process,
        )
    )
except (HostError, UserError) as error:
    sys.exit(f"pesbench: error: {error}")

RUN = START.run
RESULTS = RUN.results
SCAN_SET = RESULTS / f"{RUN.scan_set}.h5"


wildcard_constraints:
    model="|".join(re.escape(model) for model in RUN.models),
    task="|".join(RUN.tasks),
    shard=r"(half-)?\d{4}",


include: "workflow/rules/common.smk"
include: "workflow/rules/task_functions.smk"
include: "workflow/rules/report_functions.smk"
include: "workflow/rules/environments.smk"
include: "workflow/rules/references.smk"
include: "workflow/rules/tasks.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/weights.smk"
include: "workflow/rules/wavefunction.smk"
include: "workflow/rules/data_functions.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/transfer_functions.smk"
include: "workflow/rules/transfer.smk"
include: "workflow/rules/plan.smk"


for of_task in sorted(Path(workflow.basedir).glob("workflow/pesbench/tasks/*/rules.smk")):

    include: str(of_task)


# What a run makes.
BUILT = [
    RESULTS / "leaderboard.csv",
    RESULTS / "leaderboard.md",
    RESULTS / "leaderboard.html",
    RESULTS / "models.json",
    RESULTS / graph.EXPLORER,
    *SCORES,
    *SECTIONS,
    *MODEL_SECTIONS,
]


include: "workflow/rules/strict.smk"


rule all:
    default_target: True
    input:
        BUILT,
        STRICT,
    localrule: True


# Names a user may ask for: `snakemake scan_set`, `snakemake scores`.
rule scan_set:
    input:
        SCAN_SET,
    localrule: True


rule scores:
    input:
        SCORES,
    localrule: True


onstart:
    try:
        START.begin()
    except (HostError, UserError) as error:
        sys.exit(f"pesbench: error: {error}")


onsuccess:
    if said := summary(RESULTS):
        print(said, file=sys.stderr)
