# Frames on which a model failed, to train on, with labels of any entry of the registry (docs/harvest.md):
# `snakemake results/mini/mace-mini/harvest/gfn2-xtb.extxyz`.

if RUN.models_of("dynamics"):

    rule harvest:
        input:
            trajectories=lambda wildcards: answers("dynamics", wildcards.model),
            environment=environment(of_labels),
        output:
            frames=RESULTS / "{model}" / "harvest" / "{labels}.extxyz",
            record=RESULTS / "{model}" / "harvest" / "{labels}.json",
        log:
            RESULTS / "logs" / "harvest" / "{model}" / "{labels}.log",
        wildcard_constraints:
            model=one_of(RUN.models_of("dynamics")),
            labels="[^/]+",
        conda:
            conda_file(of_labels)
        threads: RUN.threads
        resources:
            **asks(
                lambda wildcards: REQUESTS.training(),
                gpu=lambda wildcards: on_gpu(of_labels(wildcards)),
            ),
        params:
            **asking("pesbench.training.harvesting", of_labels),
            models_file=where(RUN.models_file),
            entry=lambda wildcards: as_text(of_labels(wildcards).deciding()),
        shell:
            "{params.python:q} -m pesbench harvest {input.trajectories:q} --labels {wildcards.labels:q}"
            " --models-file {params.models_file:q} {params.environment:q} --device {params.device:q}"
            " --threads {threads:q} --out {output.frames:q} 2> {log:q}"
