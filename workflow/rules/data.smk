# Trainings of the data study: `make data-study`. The plan names them all.

DATA_RESOURCES = Path("resources/data_study")
# frames of four trajectories a molecule, two of them to train on: 280 of each of seven molecules, 50 fs apart
DATA_SAMPLING = "--temperatures-k 300 600 --interval-steps 100 --frames 140".split()


rule data_sample:
    input:
        molecules=DATA_RESOURCES / "molecules.extxyz",
        split=DATA_RESOURCES / "split.csv",
        method=WEIGHTS / "method.json",
    output:
        frames=DATA / "sampled.extxyz",
        record=DATA / "sampled.json",
    log:
        WEIGHTS / "logs" / "data-sample.log",
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        python=where(PYTHON),
        options=DATA_SAMPLING,
        code=lambda wildcards: stage_fingerprint("pesbench.training.sampling", *training_method()),
    shell:
        "{params.python:q} -m pesbench sample --molecules {input.molecules:q}"
        " --split {input.split:q} --method {input.method:q} {params.options:q}"
        " --out {output.frames:q} --record {output.record:q} 2> {log:q}"


rule data_approach:
    input:
        frames=DATA / "sampled.extxyz",
        molecules=DATA_RESOURCES / "molecules.extxyz",
        tested="resources/mini/molecules.extxyz",
        method=WEIGHTS / "method.json",
    output:
        DATA / "approaches.extxyz",
    log:
        WEIGHTS / "logs" / "data-approach.log",
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        python=where(PYTHON),
        plan=where(DATA_FILE),
        asked=lambda wildcards: as_text(data_plan().asked_of_approaches),
        code=lambda wildcards: stage_fingerprint(
            "pesbench.training.approach_frames", *training_method()
        ),
    shell:
        "{params.python:q} -m pesbench sample-approach --plan {params.plan:q}"
        " --frames {input.frames:q} --molecules {input.molecules:q} --tested {input.tested:q}"
        " --method {input.method:q} --out {output:q} 2> {log:q}"


rule data_set:
    input:
        frames=DATA / "sampled.extxyz",
        record=DATA / "sampled.json",
        approach=lambda wildcards: (
            [DATA / "approaches.extxyz"] if wildcards.source == APPROACH else []
        ),
    output:
        frames=DATA / "{source}-{number}-draw_{draw}.extxyz",
        record=DATA / "{source}-{number}-draw_{draw}.frames.json",
    log:
        WEIGHTS / "logs" / "data-{source}-{number}-draw_{draw}.log",
    wildcard_constraints:
        source=one_of([MD, APPROACH]),
        number="[0-9]+",
        draw="[0-9]+",
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        **plain("pesbench.training.nested"),
        repeats=lambda wildcards: data_plan().repeats(int(wildcards.number)),
        approach=lambda wildcards, input: option("--approach", input.approach),
    shell:
        "{params.python:q} -m pesbench training-set"
        " --frames {input.frames:q} --record {input.record:q} {params.approach:q}"
        " --count {wildcards.number:q} --repeats {params.repeats:q} --draw {wildcards.draw:q} --out {output.frames:q}"
        " --out-record {output.record:q} 2> {log:q}"


rule data_train:
    input:
        frames=data_frames(".extxyz"),
        record=data_frames(".frames.json"),
    output:
        weights=DATA / "{name}.pt",
        card=DATA / "{name}.json",
        page=DATA / "{name}.md",
    log:
        WEIGHTS / "logs" / "data-{name}.log",
    wildcard_constraints:
        name=f"({one_of(FAMILIES)})" + "-[a-z]+-[0-9]+(-seed_[0-9]+)?",
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        **plain("pesbench.training.data_training"),
        plan=where(DATA_FILE),
        # a change in what another training takes is no reason to train this one again
        asked=lambda wildcards: as_text(data_plan().asked_of(data_training(wildcards))),
        work=where(DATA / "training"),
    shell:
        "{params.python:q} -m pesbench train-data {wildcards.name:q} --plan {params.plan:q}"
        " --frames {input.frames:q} --record {input.record:q}"
        " --work {params.work:q}/{wildcards.name:q} --threads {threads:q} --out {output.weights:q} 2> {log:q}"


# Names a user may ask for: `snakemake weights_data`, and then `snakemake data_models`.
rule weights_data:
    input:
        lambda wildcards: [DATA / one.weights_name for one in data_plan().trainings().values()],
    localrule: True


# Of the trainings that are done: one that failed stops nothing but itself.
rule data_models:
    input:
        weights=done_trainings,
        split=DATA_RESOURCES / "split.csv",
    output:
        DATA / "models.yaml",
    log:
        WEIGHTS / "logs" / "data-models.log",
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain("pesbench.training.data_registry"),
        plan=where(DATA_FILE),
        folder=where(DATA),
        models_file=where(RUN.models_file),
    shell:
        "{params.python:q} -m pesbench data-models --plan {params.plan:q}"
        " --weights {params.folder:q} --models-file {params.models_file:q} --method gfn2-xtb"
        " --split {input.split:q} --out {output:q} 2> {log:q}"
