# Harmonic frequencies of the molecules, and their scores against those of the reference.

VIBRATIONS = expand(RESULTS / "{model}" / "scores" / "vibrations.parquet", model=RUN.vibrations)


if VIBRATIONS:

    rule vibrations:
        input:
            scan_set=SCAN_SET,
            entry=RESULTS / "{model}" / "model.json",
            environment=environment(of_model),
        output:
            RESULTS / "{model}" / "vibrations.h5",
        log:
            RESULTS / "logs" / "vibrations" / "{model}.log",
        benchmark:
            RESULTS / "benchmarks" / "vibrations" / "{model}.tsv"
        conda:
            conda_file(of_model)
        threads: RUN.threads
        resources:
            **asks(
                lambda wildcards: REQUESTS.shard(wildcards.model, "vibrations", "0000"),
                model_on_gpu,
            ),
        params:
            **asking("pesbench.tasks.vibrations.run", of_model),
            systems=RUN.vibration_systems,
        shell:
            "{params.python:q} -m pesbench vibrations --entry {input.entry:q} {params.loading:q}"
            " --scan-set {input.scan_set:q} --systems {params.systems:q}"
            " --device {params.device:q} --threads {threads:q} --out {output:q} 2> {log:q}"

    # the method that the scan set was made with, whether the run shows it as a model or not
    rule reference_vibrations:
        input:
            scan_set=SCAN_SET,
            entry=RESULTS / "reference.json",
            environment=environment(of_reference),
        output:
            RESULTS / "reference" / "vibrations.h5",
        log:
            RESULTS / "logs" / "reference" / "vibrations.log",
        benchmark:
            RESULTS / "benchmarks" / "reference" / "vibrations.tsv"
        conda:
            conda_file(of_reference)
        threads: RUN.threads
        resources:
            **asks(
                lambda wildcards: REQUESTS.shard("reference", "vibrations", "0000"),
                on_gpu(RUN.reference),
            ),
        params:
            **asking("pesbench.tasks.vibrations.run", of_reference),
            systems=RUN.vibration_systems,
        shell:
            "{params.python:q} -m pesbench vibrations --entry {input.entry:q} {params.loading:q}"
            " --scan-set {input.scan_set:q} --systems {params.systems:q}"
            " --device {params.device:q} --threads {threads:q} --out {output:q} 2> {log:q}"

    rule score_vibrations:
        input:
            scan_set=SCAN_SET,
            entry=RESULTS / "{model}" / "model.json",
            vibrations=RESULTS / "{model}" / "vibrations.h5",
            reference=RESULTS / "reference" / "vibrations.h5",
            seen=lambda wildcards: RUN.seen_systems(wildcards.model),
        output:
            RESULTS / "{model}" / "scores" / "vibrations.parquet",
        log:
            RESULTS / "logs" / "score_vibrations" / "{model}.log",
        localrule: True
        conda:
            BASE_ENVIRONMENT
        params:
            **plain("pesbench.tasks.vibrations.score"),
            seen=seen_option,
        shell:
            "{params.python:q} -m pesbench score-vibrations --vibrations {input.vibrations:q}"
            " --reference {input.reference:q} --entry {input.entry:q}"
            " --scan-set {input.scan_set:q} {params.seen:q} --out {output:q} 2> {log:q}"
