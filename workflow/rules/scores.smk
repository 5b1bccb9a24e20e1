# Scores: metrics of stored evaluations, without a model.


rule score:
    input:
        scan_set=SCAN_SET,
        entry=RESULTS / "{model}" / "model.json",
        evaluations=evaluations,
        seen=lambda wildcards: RUN.seen_systems(wildcards.model),
    output:
        RESULTS / "{model}" / "scores" / "scans.parquet",
    log:
        RESULTS / "logs" / "score" / "{model}.log",
    wildcard_constraints:
        model=one_of(NO_CONTROLS),
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain("pesbench.tasks.bonds.score"),
        seen=seen_option,
        trained_on=lambda wildcards: option("--seen-scans", RUN.seen_scans(wildcards.model)),
        selected=given(RUN.selected),
        ceiling=RUN.energy_ceiling_ev,
    shell:
        "{params.python:q} -m pesbench score --scan-set {input.scan_set:q}"
        " --entry {input.entry:q} --evaluations {input.evaluations:q} {params.seen:q} {params.trained_on:q}"
        " --selected {params.selected:q} --energy-ceiling-ev {params.ceiling:q} --out {output:q} 2> {log:q}"
