# Evaluations: every model on every shard of the scan set.


rule evaluate:
    input:
        scan_set=SCAN_SET,
        entry=RESULTS / "{model}" / "model.json",
        environment=environment(of_model),
    output:
        update(RESULTS / "{model}" / "scans" / "{shard}.h5"),  # what it holds is kept
    log:
        RESULTS / "logs" / "evaluate" / "{model}" / "{shard}.log",
    benchmark:
        RESULTS / "benchmarks" / "evaluate" / "{model}" / "{shard}.tsv"
    wildcard_constraints:
        model=one_of(REQUESTS.on_gpu),
    priority: 1
    conda:
        conda_file(of_model)
    threads: RUN.threads
    resources:
        **asks(
            lambda wildcards: REQUESTS.shard(wildcards.model, "bonds", wildcards.shard), gpu=True
        ),
    params:
        **asking("pesbench.tasks.bonds.run", of_model),
        scans=lambda wildcards: scans_of(wildcards.model, wildcards.shard),
    shell:
        "{params.python:q} -m pesbench evaluate --entry {input.entry:q} {params.loading:q} --scan-set {input.scan_set:q}"
        " --scans {params.scans:q} --device {params.device:q} --threads {threads:q}"
        " --out {output:q} 2> {log:q}"


# models that take no GPU
use rule evaluate as evaluate_on_cpu with:
    wildcard_constraints:
        model=one_of(REQUESTS.on_cpu),
    resources:
        **asks(
            lambda wildcards: REQUESTS.shard(wildcards.model, "bonds", wildcards.shard), gpu=False
        ),


if CONTROLS:

    # entry, evaluation and scores of all controls: one of them costs less than starting a process
    rule controls:
        input:
            scan_set=SCAN_SET,
        output:
            update(expand(RESULTS / "{model}" / "model.json", model=CONTROLS)),
            update(expand(RESULTS / "{model}" / "scans" / "0000.h5", model=CONTROLS)),
            update(expand(RESULTS / "{model}" / "scores" / "scans.parquet", model=CONTROLS)),
        log:
            RESULTS / "logs" / "controls.log",
        benchmark:
            RESULTS / "benchmarks" / "controls.tsv"
        conda:
            BASE_ENVIRONMENT
        resources:
            **asks(lambda wildcards: REQUESTS.other(), gpu=False),
        params:
            python=where(PYTHON),
            models_file=where(RUN.models_file),
            results=where(RESULTS),
            models=where(CONTROLS),
            # those that are there stay as they are: another choice of controls runs none of them again
            entries=as_text({name: RUN.models[name].deciding() for name in CONTROLS}),
            scans=lambda wildcards: scans_of(CONTROLS[0], "0000"),
            selected=given(RUN.selected),
            ceiling=RUN.energy_ceiling_ev,
            code=stage_fingerprint(
                "pesbench.tasks.bonds.run",
                "pesbench.tasks.bonds.score",
                *family_modules(["control"]),
            ),
        shell:
            "{params.python:q} -m pesbench controls --models {params.models:q}"
            " --models-file {params.models_file:q} --scan-set {input.scan_set:q} --scans {params.scans:q}"
            " --selected {params.selected:q} --energy-ceiling-ev {params.ceiling:q}"
            " --results {params.results:q} 2> {log:q}"
