# `snakemake plan` predicts the cost of a run before it starts; `snakemake plan_actual` compares it with the
# actual cost afterwards. Neither is part of the run.

METHODS = [use for use in ("reference", "relax") if getattr(RUN, use) is not None]


# Scans come from the scan set or, if its reference would have to be computed first, from the molecules.
rule probe_scans:
    input:
        SCAN_SET if RUN.source == "bsct_spice" else RUN.molecule_files,
    output:
        RESULTS / "probe_scans.h5",
    log:
        RESULTS / "logs" / "probe_scans.log",
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain("pesbench.commands.plan.probe_scans"),
        config=where(as_text(RUN.resolved(START.config.values))),
        scans=RUN.scans,
    shell:
        "{params.python:q} -m pesbench probe-scans --config {params.config:q}"
        " --out {output:q} 2> {log:q}"


# The model runs where and as in the run itself; a failure is a row of the plan.
rule probe:
    input:
        scans=RESULTS / "probe_scans.h5",
        entry=RESULTS / "{model}" / "model.json",
        environment=environment(of_model),
    output:
        RESULTS / "{model}" / "probe.json",
    log:
        RESULTS / "logs" / "probe" / "{model}.log",
    wildcard_constraints:
        model=one_of(NO_CONTROLS),
    conda:
        conda_file(of_model)
    threads: RUN.threads
    resources:
        **asks(lambda wildcards: REQUESTS.probe(of_model(wildcards)), model_on_gpu),
    params:
        **asking("pesbench.commands.plan.probe", of_model),
    shell:
        "{params.python:q} -m pesbench probe --entry {input.entry:q} {params.loading:q} {params.environment:q}"
        " --scan-set {input.scans:q} --device {params.device:q} --threads {threads:q}"
        " --out {output:q} 2> {log:q}"


if RUN.reference is not None:

    use rule probe as probe_reference with:
        input:
            scans=RESULTS / "probe_scans.h5",
            entry=RESULTS / "reference.json",
            environment=environment(of_reference),
        output:
            RESULTS / "reference" / "probe.json",
        log:
            RESULTS / "logs" / "reference" / "probe.log",
        conda:
            conda_file(of_reference)
        resources:
            **asks(lambda wildcards: REQUESTS.probe(RUN.reference), on_gpu(RUN.reference)),
        params:
            **asking("pesbench.commands.plan.probe", of_reference),


if RUN.relax is not None:

    use rule probe as probe_relax with:
        input:
            scans=RESULTS / "probe_scans.h5",
            entry=RESULTS / "relax.json",
            environment=environment(of_relax),
        output:
            RESULTS / "relax" / "probe.json",
        log:
            RESULTS / "logs" / "relax_probe.log",
        conda:
            conda_file(of_relax)
        resources:
            **asks(lambda wildcards: REQUESTS.probe(RUN.relax), on_gpu(RUN.relax)),
        params:
            **asking("pesbench.commands.plan.probe", of_relax),


rule plan:
    input:
        SCAN_SET if RUN.source == "bsct_spice" else RUN.molecule_files,
        expand(RESULTS / "{name}" / "probe.json", name=[*NO_CONTROLS, *METHODS]),
    output:
        csv=RESULTS / "plan.csv",
        markdown=RESULTS / "plan.md",
    log:
        RESULTS / "logs" / "plan.log",
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain("pesbench.commands.plan.command"),
        config=given(as_text(RUN.resolved(START.config.values))),
    shell:
        "{params.python:q} -m pesbench plan --config {params.config:q} --no-probe"
        " --out {output.csv:q} 2> {log:q}"


rule plan_actual:
    input:
        plan=RESULTS / "plan.csv",
        answers=[
            file
            for task, run in RUN.tasks.items()
            for model in run.models
            for file in answers(task, model)
        ],
        reference=[
            RESULTS / "reference" / task / f"{shard}.h5"
            for task, run in RUN.tasks.items()
            if run.asks_reference
            for shard in run.shards
        ],
    output:
        RESULTS / "plan_actual.csv",
    log:
        RESULTS / "logs" / "plan_actual.log",
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain("pesbench.commands.plan.actual"),
        results=where(RESULTS),
    shell:
        "{params.python:q} -m pesbench plan-actual --plan {input.plan:q} --results {params.results:q}"
        " --out {output:q} 2> {log:q}"
