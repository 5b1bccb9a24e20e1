# Trainings of the transfer study: `make study-transfer`. The plan names them all.

TRANSFER_SPLIT = DATA_RESOURCES / "split.csv"


rule transfer_method:
    output:
        TRANSFER / "{level}_method.json",
    log:
        WEIGHTS / "logs" / "transfer-{level}-method.log",
    wildcard_constraints:
        level="cheap|expensive",
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain(),
        models_file=where(RUN.models_file),
        name=lambda wildcards: getattr(transfer_plan(), wildcards.level),
    shell:
        "{params.python:q} -m pesbench entry {params.name:q} --models-file {params.models_file:q}"
        " --out {output:q} 2> {log:q}"


rule transfer_sample:
    input:
        molecules=DATA_RESOURCES / "molecules.extxyz",
        split=TRANSFER_SPLIT,
        method=TRANSFER / "cheap_method.json",
    output:
        frames=TRANSFER / "cheap.extxyz",
        record=TRANSFER / "cheap.json",
    log:
        WEIGHTS / "logs" / "transfer-sample.log",
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        python=where(PYTHON),
        options=lambda wildcards: transfer_plan().sampling_words,
        code=lambda wildcards: stage_fingerprint(
            "pesbench.training.sampling", *transfer_method("cheap")(wildcards)
        ),
    shell:
        "{params.python:q} -m pesbench sample --molecules {input.molecules:q}"
        " --split {input.split:q} --method {input.method:q} {params.options:q}"
        " --out {output.frames:q} --record {output.record:q} 2> {log:q}"


rule transfer_label:
    input:
        frames=TRANSFER / "cheap.extxyz",
        record=TRANSFER / "cheap.json",
        method=TRANSFER / "expensive_method.json",
    output:
        frames=TRANSFER / "expensive.extxyz",
        record=TRANSFER / "expensive.json",
    log:
        WEIGHTS / "logs" / "transfer-label.log",
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        python=where(PYTHON),
        pool=lambda wildcards: transfer_plan().pool_frames,
        held_out=lambda wildcards: transfer_plan().held_out_frames,
        code=lambda wildcards: stage_fingerprint(
            "pesbench.training.labelling", *transfer_method("expensive")(wildcards)
        ),
    shell:
        "{params.python:q} -m pesbench label-frames --frames {input.frames:q}"
        " --record {input.record:q} --method {input.method:q} --pool {params.pool:q}"
        " --held-out {params.held_out:q} --device cpu --threads {threads:q}"
        " --out {output.frames:q} --out-record {output.record:q} 2> {log:q}"


rule transfer_set:
    input:
        frames=TRANSFER / "{level}.extxyz",
        record=TRANSFER / "{level}.json",
    output:
        frames=TRANSFER / "{level}-{number}-draw_{draw}.extxyz",
        record=TRANSFER / "{level}-{number}-draw_{draw}.frames.json",
    log:
        WEIGHTS / "logs" / "transfer-{level}-{number}-draw_{draw}.log",
    wildcard_constraints:
        level="cheap|expensive",
        number="[0-9]+",
        draw="[0-9]+",
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        **plain("pesbench.training.nested"),
        repeats=transfer_repeats,
    shell:
        "{params.python:q} -m pesbench training-set --frames {input.frames:q}"
        " --record {input.record:q} --count {wildcards.number:q} --repeats {params.repeats:q}"
        " --draw {wildcards.draw:q} --study study-transfer --out {output.frames:q}"
        " --out-record {output.record:q} 2> {log:q}"


rule transfer_pretrain:
    input:
        frames=cheap_frames(".extxyz"),
        record=cheap_frames(".frames.json"),
    output:
        weights=TRANSFER / "{name}.pt",
        card=TRANSFER / "{name}.json",
    log:
        WEIGHTS / "logs" / "transfer-{name}.log",
    wildcard_constraints:
        name=f"({one_of(FAMILIES)})-({one_of(STARTED)})-start(-seed_[0-9]+)?",
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        **plain("pesbench.training.transfer"),
        plan=where(TRANSFER_FILE),
        asked=lambda wildcards: as_text(transfer_plan().asked_of_start(transfer_start(wildcards))),
        work=where(TRANSFER / "training"),
    shell:
        "{params.python:q} -m pesbench pretrain {wildcards.name:q} --plan {params.plan:q}"
        " --frames {input.frames:q} --record {input.record:q}"
        " --work {params.work:q}/{wildcards.name:q} --threads {threads:q} --out {output.weights:q} 2> {log:q}"


rule transfer_train:
    input:
        frames=expensive_frames(".extxyz"),
        record=expensive_frames(".frames.json"),
        start=started_from,
    output:
        weights=TRANSFER / "{name}.pt",
        card=TRANSFER / "{name}.json",
        page=TRANSFER / "{name}.md",
    log:
        WEIGHTS / "logs" / "transfer-{name}.log",
    wildcard_constraints:
        name=f"({one_of(FAMILIES)})-({one_of(ROUTES)})-[0-9]+(-seed_[0-9]+)?",
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        **plain("pesbench.training.transfer"),
        plan=where(TRANSFER_FILE),
        # a change in what another training takes is no reason to train this one again
        asked=lambda wildcards: as_text(transfer_plan().asked_of(transfer_training(wildcards))),
        start=lambda wildcards, input: option("--start", input.start),
        work=where(TRANSFER / "training"),
    shell:
        "{params.python:q} -m pesbench train-transfer {wildcards.name:q} --plan {params.plan:q}"
        " --frames {input.frames:q} --record {input.record:q} {params.start:q}"
        " --work {params.work:q}/{wildcards.name:q} --threads {threads:q} --out {output.weights:q} 2> {log:q}"


# Names a user may ask for: `snakemake weights_transfer`, and then `snakemake transfer_models`.
rule weights_transfer:
    input:
        lambda wildcards: [
            TRANSFER / one.weights_name for one in transfer_plan().trainings().values()
        ],
    localrule: True


# Of the trainings that are done: one that failed stops nothing but itself.
rule transfer_models:
    input:
        weights=done_transfers,
        registry=RUN.models_file,
        split=TRANSFER_SPLIT,
    output:
        TRANSFER / "models.yaml",
    log:
        WEIGHTS / "logs" / "transfer-models.log",
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain("pesbench.training.transfer"),
        plan=where(TRANSFER_FILE),
        folder=where(TRANSFER),
    shell:
        "{params.python:q} -m pesbench transfer-models --plan {params.plan:q}"
        " --weights {params.folder:q} --models-file {input.registry:q}"
        " --split {input.split:q} --out {output:q} 2> {log:q}"
