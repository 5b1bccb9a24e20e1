# Backbones of the spectral diagnosis: `snakemake weights_backbones backbone_models --configfile config/weights.yaml`.
# The plan names them all.

from pesbench.training.backbone_plan import (
    SEVENNET_TO_BE_TRAINED,
    asked_of_training,
    read_backbones,
)

BACKBONES = WEIGHTS / "backbones"
BACKBONE_FILE = Path("config/backbones.yaml")
BACKBONE_RESOURCES = Path("resources/architecture")


rule backbone_sample:
    input:
        molecules=BACKBONE_RESOURCES / "molecules.extxyz",
        split=BACKBONE_RESOURCES / "split.csv",
        method=WEIGHTS / "method.json",
    output:
        frames=BACKBONES / "frames.extxyz",
        record=BACKBONES / "frames.json",
    log:
        WEIGHTS / "logs" / "backbone-sample.log",
    priority: 100  # all backbones wait for it
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        python=where(PYTHON),
        options=lambda wildcards: read_backbones(BACKBONE_FILE).sampling_words,
        code=lambda wildcards: stage_fingerprint("pesbench.training.sampling", *training_method()),
    shell:
        "{params.python:q} -m pesbench sample --molecules {input.molecules:q}"
        " --split {input.split:q} --method {input.method:q} {params.options:q}"
        " --out {output.frames:q} --record {output.record:q} 2> {log:q}"


rule backbone_mace:
    input:
        frames=BACKBONES / "frames.extxyz",
        record=BACKBONES / "frames.json",
        environment=[],
    output:
        weights=BACKBONES / "{name}.model",
        card=BACKBONES / "{name}.json",
        page=BACKBONES / "{name}.md",
    log:
        WEIGHTS / "logs" / "backbone-{name}.log",
    wildcard_constraints:
        name="mace-.*",
    # before the heads of lj_core, the slowest first
    priority: lambda wildcards: 50 + read_backbones(BACKBONE_FILE).training_of(wildcards.name, "").backbone.l_max
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        # of its own family alone; `asked` holds what is taken of the plan
        **plain("pesbench.training.mace"),
        plan=where(BACKBONE_FILE),
        asked=lambda wildcards: as_text(asked_of_training(BACKBONE_FILE, wildcards.name)),
        environment=[],
        work=where(BACKBONES / "training"),
    shell:
        "{params.python:q} -m pesbench train-backbone {wildcards.name:q} --plan {params.plan:q}"
        " --frames {input.frames:q} --record {input.record:q} {params.environment:q}"
        " --work {params.work:q}/{wildcards.name:q} --threads {threads:q} --out {output.weights:q} 2> {log:q}"


use rule backbone_mace as backbone_sevennet with:
    input:
        frames=BACKBONES / "frames.extxyz",
        record=BACKBONES / "frames.json",
        environment=START.software.stamps(SEVENNET_TO_BE_TRAINED),
    output:
        weights=BACKBONES / "{name}.pth",
        card=BACKBONES / "{name}.json",
        page=BACKBONES / "{name}.md",
    wildcard_constraints:
        name="sevennet-.*",
    conda:
        conda_file(lambda wildcards: SEVENNET_TO_BE_TRAINED)
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        **plain("pesbench.training.sevennet", "pesbench.models.families.sevennet.train"),
        plan=where(BACKBONE_FILE),
        asked=lambda wildcards: as_text(asked_of_training(BACKBONE_FILE, wildcards.name)),
        environment=lambda wildcards, input: START.software.option(SEVENNET_TO_BE_TRAINED),
        work=where(BACKBONES / "training"),


# Names a user may ask for: `snakemake weights_backbones`, and then `snakemake backbone_models`.
rule weights_backbones:
    input:
        lambda wildcards: [
            BACKBONES / one.weights_name
            for one in read_backbones(BACKBONE_FILE).trainings().values()
        ],
    localrule: True


# Of the trainings that are done: one that failed stops nothing but itself. A run whose registry this is finds it made.
if RUN.models_file.resolve() != (BACKBONES / "models.yaml").resolve():

    rule backbone_models:
        input:
            weights=lambda wildcards: [
                path
                for one in read_backbones(BACKBONE_FILE).trainings().values()
                if (path := BACKBONES / one.weights_name).is_file()
            ],
            registry=RUN.models_file,
            split=BACKBONE_RESOURCES / "split.csv",
        output:
            registry=BACKBONES / "models.yaml",
            planned=BACKBONES / "models.csv",
        log:
            WEIGHTS / "logs" / "backbone-models.log",
        localrule: True
        conda:
            BASE_ENVIRONMENT
        params:
            **plain("pesbench.training.backbones"),
            plan=where(BACKBONE_FILE),
            folder=where(BACKBONES),
        shell:
            "{params.python:q} -m pesbench backbone-models --plan {params.plan:q}"
            " --weights {params.folder:q} --models-file {input.registry:q} --method gfn2-xtb"
            " --split {input.split:q} --out {output.registry:q} 2> {log:q}"
