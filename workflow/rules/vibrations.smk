# Harmonic frequencies of the molecules, and their scores against those of the reference.

VIBRATIONS = expand(RESULTS / "{model}" / "scores" / "vibrations.parquet", model=RUN.vibrations)


if VIBRATIONS:

    rule vibrations:
        input:
            scan_set=SCAN_SET,
            entry=RESULTS / "{model}" / "model.json",
        output:
            RESULTS / "{model}" / "vibrations.h5",
        log:
            RESULTS / "logs" / "vibrations" / "{model}.log",
        benchmark:
            RESULTS / "benchmarks" / "vibrations" / "{model}.tsv"
        retries: RETRIES  # the machine failed, or a time limit: each continues from the checkpoint
        conda:
            "../../envs/pesbench.yaml"
        threads: RUN.threads
        resources:
            **asks(lambda wildcards: REQUESTS.vibrations(wildcards.model), gpu=False)
            | {key: place_of_model(key) for key in PLACE},
        params:
            python=where(PYTHON),
            device=RUN.device,
            weights=lambda wildcards, input: RUN.weights(wildcards.model),
            systems=RUN.vibration_systems,
            code=lambda wildcards: stage_fingerprint(
                "vibrations", *RUN.models[wildcards.model].families
            ),
        shell:
            "{params.python} -m pesbench vibrations --entry {input.entry:q} {params.weights}"
            " --scan-set {input.scan_set:q} --systems {params.systems:q}"
            " --device {params.device} --threads {threads} --out {output:q} 2> {log:q}"

    # the method that the scan set was made with, whether the run shows it as a model or not
    rule reference_vibrations:
        input:
            scan_set=SCAN_SET,
            entry=RESULTS / "reference.json",
        output:
            RESULTS / "reference" / "vibrations.h5",
        log:
            RESULTS / "logs" / "reference" / "vibrations.log",
        benchmark:
            RESULTS / "benchmarks" / "reference" / "vibrations.tsv"
        retries: RETRIES  # the machine failed, or a time limit: each continues from the checkpoint
        conda:
            "../../envs/pesbench.yaml"
        threads: RUN.threads
        resources:
            **asks(lambda wildcards: REQUESTS.reference_vibrations(), on_gpu(RUN.reference)),
        params:
            python=where(PYTHON),
            weights=where(weights_option(RUN.reference)),
            device=RUN.device,
            systems=RUN.vibration_systems,
            code=stage_fingerprint("vibrations", *RUN.reference.families),
        shell:
            "{params.python} -m pesbench vibrations --entry {input.entry:q} {params.weights}"
            " --scan-set {input.scan_set:q} --systems {params.systems:q}"
            " --device {params.device} --threads {threads} --out {output:q} 2> {log:q}"

    rule score_vibrations:
        input:
            vibrations=RESULTS / "{model}" / "vibrations.h5",
            reference=RESULTS / "reference" / "vibrations.h5",
            seen=lambda wildcards: RUN.seen_systems(wildcards.model),
        output:
            RESULTS / "{model}" / "scores" / "vibrations.parquet",
        log:
            RESULTS / "logs" / "score_vibrations" / "{model}.log",
        localrule: True
        conda:
            "../../envs/pesbench.yaml"
        params:
            python=where(PYTHON),
            seen=lambda wildcards, input: f"--seen-systems {input.seen}" if input.seen else "",
            code=stage_fingerprint("vibration-scores"),
        shell:
            "{params.python} -m pesbench score-vibrations --vibrations {input.vibrations:q}"
            " --reference {input.reference:q} {params.seen} --out {output:q} 2> {log:q}"
