# Trainings of studies of data: `make data-study`, `make study-harvest`. Their plans name them all.

DATA_RESOURCES = Path("resources/data_study")
# frames of four trajectories a molecule, two of them to train on, 50 fs apart: 280 of each of seven molecules, or 40
DATA_SAMPLING = {
    "data": "--temperatures-k 300 600 --interval-steps 100 --frames 140".split(),
    "harvest": "--temperatures-k 300 600 --interval-steps 100 --frames 20".split(),
}
HOT_SAMPLING = "--interval-steps 100 --frames 15".split()


wildcard_constraints:
    study=one_of(PLANS),


rule data_sample:
    input:
        molecules=DATA_RESOURCES / "molecules.extxyz",
        split=DATA_RESOURCES / "split.csv",
        method=WEIGHTS / "method.json",
    output:
        frames=STUDY / "sampled.extxyz",
        record=STUDY / "sampled.json",
    log:
        WEIGHTS / "logs" / "{study}-sample.log",
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        python=where(PYTHON),
        options=lambda wildcards: DATA_SAMPLING[wildcards.study],
        code=lambda wildcards: stage_fingerprint("pesbench.training.sampling", *training_method()),
    shell:
        "{params.python:q} -m pesbench sample --molecules {input.molecules:q}"
        " --split {input.split:q} --method {input.method:q} {params.options:q}"
        " --out {output.frames:q} --record {output.record:q} 2> {log:q}"


rule data_approach:
    input:
        frames=STUDY / "sampled.extxyz",
        molecules=DATA_RESOURCES / "molecules.extxyz",
        tested="resources/mini/molecules.extxyz",
        method=WEIGHTS / "method.json",
    output:
        STUDY / "approaches.extxyz",
    log:
        WEIGHTS / "logs" / "{study}-approach.log",
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        python=where(PYTHON),
        plan=lambda wildcards, input: PLANS[wildcards.study],
        asked=lambda wildcards: as_text(plan_of(wildcards.study).asked_of_approaches),
        code=lambda wildcards: stage_fingerprint(
            "pesbench.training.approach_frames", *training_method()
        ),
    shell:
        "{params.python:q} -m pesbench sample-approach --plan {params.plan:q}"
        " --frames {input.frames:q} --molecules {input.molecules:q} --tested {input.tested:q}"
        " --method {input.method:q} --out {output:q} 2> {log:q}"


rule data_set:
    input:
        frames=STUDY / "sampled.extxyz",
        record=STUDY / "sampled.json",
        approach=lambda wildcards: (
            [STUDY / "approaches.extxyz"] if wildcards.source == APPROACH else []
        ),
    output:
        frames=STUDY / "{source}-{number}-draw_{draw}.extxyz",
        record=STUDY / "{source}-{number}-draw_{draw}.frames.json",
    log:
        WEIGHTS / "logs" / "{study}-{source}-{number}-draw_{draw}.log",
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
        repeats=lambda wildcards: plan_of(wildcards.study).repeats(int(wildcards.number)),
        made=lambda wildcards: plan_of(wildcards.study).target,
        approach=lambda wildcards, input: option("--approach", input.approach),
    shell:
        "{params.python:q} -m pesbench training-set"
        " --frames {input.frames:q} --record {input.record:q} {params.approach:q}"
        " --count {wildcards.number:q} --repeats {params.repeats:q} --draw {wildcards.draw:q}"
        " --study {params.made:q} --out {output.frames:q}"
        " --out-record {output.record:q} 2> {log:q}"


rule data_hot:
    input:
        molecules=DATA_RESOURCES / "molecules.extxyz",
        split=DATA_RESOURCES / "split.csv",
        method=WEIGHTS / "method.json",
    output:
        frames=STUDY / "hot.extxyz",
        record=STUDY / "hot.json",
    log:
        WEIGHTS / "logs" / "{study}-hot.log",
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        python=where(PYTHON),
        temperature=lambda wildcards: plan_of(wildcards.study).harvest.temperature_k,
        options=HOT_SAMPLING,
        code=lambda wildcards: stage_fingerprint("pesbench.training.sampling", *training_method()),
    shell:
        "{params.python:q} -m pesbench sample --molecules {input.molecules:q}"
        " --split {input.split:q} --method {input.method:q} --temperatures-k {params.temperature:q}"
        " {params.options:q} --out {output.frames:q} --record {output.record:q} 2> {log:q}"


# The geometries that trainings start from, as the scan set that dynamics asks for.
rule data_start:
    input:
        DATA_RESOURCES / "molecules.extxyz",
    output:
        scans=STUDY / "start.h5",
        skipped=STUDY / "start_skipped.csv",
    log:
        WEIGHTS / "logs" / "{study}-start.log",
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain("pesbench.references.calculators"),
    shell:
        "{params.python:q} -m pesbench scan-molecules --name start --molecules {input:q}"
        " --out {output.scans:q} --skipped {output.skipped:q} 2> {log:q}"


rule data_dynamics:
    input:
        weights=STUDY / "{name}.pt",
        scan_set=STUDY / "start.h5",
    output:
        STUDY / "{name}.dynamics.h5",
    log:
        WEIGHTS / "logs" / "{study}-{name}-dynamics.log",
    wildcard_constraints:
        name=TRAINING,
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        python=where(PYTHON),
        plan=lambda wildcards, input: PLANS[wildcards.study],
        asked=lambda wildcards: as_text(asdict(plan_of(wildcards.study).harvest)),
        code=lambda wildcards: stage_fingerprint(
            "pesbench.training.data_dynamics",
            *family_modules([data_training(wildcards).family]),
        ),
    shell:
        "{params.python:q} -m pesbench data-dynamics {wildcards.name:q} --plan {params.plan:q}"
        " --weights {input.weights:q} --scan-set {input.scan_set:q} --threads {threads:q}"
        " --out {output:q} 2> {log:q}"


rule data_harvest:
    input:
        trajectories=STUDY / "{name}.dynamics.h5",
        known=data_frames(".extxyz"),
        method=WEIGHTS / "method.json",
    output:
        frames=STUDY / "{name}.harvest.extxyz",
        record=STUDY / "{name}.harvest.json",
    log:
        WEIGHTS / "logs" / "{study}-{name}-harvest.log",
    wildcard_constraints:
        name=TRAINING,
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        python=where(PYTHON),
        models_file=where(RUN.models_file),
        most=lambda wildcards: plan_of(wildcards.study).most_harvested(data_training(wildcards)),
        code=lambda wildcards: stage_fingerprint("pesbench.training.harvesting", *training_method()),
    shell:
        "{params.python:q} -m pesbench harvest {input.trajectories:q} --labels gfn2-xtb"
        " --models-file {params.models_file:q} --known {input.known:q} --most {params.most:q}"
        " --device cpu --threads {threads:q} --out {output.frames:q} 2> {log:q}"


rule data_grown:
    input:
        frames=STUDY / "sampled.extxyz",
        record=STUDY / "sampled.json",
        harvested=asked_harvests,
        random=random_frames,
    output:
        frames=STUDY / "frames-{name}.extxyz",
        record=STUDY / "frames-{name}.frames.json",
    log:
        WEIGHTS / "logs" / "{study}-frames-{name}.log",
    wildcard_constraints:
        name=TRAINING,
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        **plain("pesbench.training.grown"),
        made=lambda wildcards: plan_of(wildcards.study).target,
        kind=lambda wildcards: data_training(wildcards).kind,
        start=lambda wildcards: plan_of(wildcards.study).md_frames(data_training(wildcards)),
        epoch=lambda wildcards: plan_of(wildcards.study).largest,
        draw=lambda wildcards: data_training(wildcards).seed,
        random=lambda wildcards, input: option("--random", input.random),
    shell:
        "{params.python:q} -m pesbench training-set --frames {input.frames:q}"
        " --record {input.record:q} --harvested {input.harvested:q} --kind {params.kind:q}"
        " --epoch-frames {params.epoch:q} --study {params.made:q}"
        " {params.random:q} --count {params.start:q} --draw {params.draw:q} --out {output.frames:q}"
        " --out-record {output.record:q} 2> {log:q}"


rule data_train:
    input:
        frames=data_frames(".extxyz"),
        record=data_frames(".frames.json"),
    output:
        weights=STUDY / "{name}.pt",
        card=STUDY / "{name}.json",
        page=STUDY / "{name}.md",
    log:
        WEIGHTS / "logs" / "{study}-{name}.log",
    wildcard_constraints:
        name=TRAINING,
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        **plain("pesbench.training.data_training"),
        plan=lambda wildcards, input: PLANS[wildcards.study],
        # a change in what another training takes is no reason to train this one again
        asked=lambda wildcards: as_text(plan_of(wildcards.study).asked_of(data_training(wildcards))),
        work=lambda wildcards, input: WEIGHTS / wildcards.study / "training",
    shell:
        "{params.python:q} -m pesbench train-data {wildcards.name:q} --plan {params.plan:q}"
        " --frames {input.frames:q} --record {input.record:q}"
        " --work {params.work:q}/{wildcards.name:q} --threads {threads:q} --out {output.weights:q} 2> {log:q}"


# Of the trainings that are done: one that failed stops nothing but itself.
rule data_registry:
    input:
        weights=done_trainings,
        registry=RUN.models_file,
        split=DATA_RESOURCES / "split.csv",
    output:
        STUDY / "models.yaml",
    log:
        WEIGHTS / "logs" / "{study}-models.log",
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain("pesbench.training.data_registry"),
        plan=lambda wildcards, input: PLANS[wildcards.study],
        folder=lambda wildcards, input: WEIGHTS / wildcards.study,
    shell:
        "{params.python:q} -m pesbench data-models --plan {params.plan:q}"
        " --weights {params.folder:q} --models-file {input.registry:q} --method gfn2-xtb"
        " --split {input.split:q} --out {output:q} 2> {log:q}"


# Names a user may ask for: `snakemake weights_data`, and then `snakemake data_models`; the same of harvest.
rule weights_data:
    input:
        study_weights("data"),
    localrule: True


rule data_models:
    input:
        WEIGHTS / "data" / "models.yaml",
    localrule: True


rule weights_harvest:
    input:
        study_weights("harvest"),
    localrule: True


rule harvest_models:
    input:
        WEIGHTS / "harvest" / "models.yaml",
    localrule: True
