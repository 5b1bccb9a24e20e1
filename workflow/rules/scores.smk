# Scores: metrics of stored evaluations, without a model.


rule score:
    input:
        scan_set=SCAN_SET,
        evaluations=evaluations,
    output:
        RESULTS / "{model}" / "scores" / "scans.parquet",
    log:
        RESULTS / "logs" / "score" / "{model}.log",
    conda:
        "../../envs/pesbench.yaml"
    params:
        python=where(PYTHON),
        code=stage_fingerprint("scores"),
    shell:
        "{params.python} -m pesbench score --scan-set {input.scan_set:q}"
        " --evaluations {input.evaluations:q} --out {output:q} 2> {log:q}"
