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
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        python=where(PYTHON),
        seen=lambda wildcards, input: f"--seen-systems {input.seen}" if input.seen else "",
        trained_on=lambda wildcards: RUN.seen_scans_option(wildcards.model),
        code=stage_fingerprint("scores"),
    shell:
        "{params.python} -m pesbench score --scan-set {input.scan_set:q}"
        " --entry {input.entry:q} --evaluations {input.evaluations:q} {params.seen} {params.trained_on} --out {output:q} 2> {log:q}"
