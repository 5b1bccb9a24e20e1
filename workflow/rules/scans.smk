# Evaluations: every model on every shard of the scan set. The only rule that runs models.


rule evaluate:
    input:
        scan_set=SCAN_SET,
        entry=RESULTS / "{model}" / "model.json",
    output:
        RESULTS / "{model}" / "scans" / "{shard}.h5",
    log:
        RESULTS / "logs" / "evaluate" / "{model}" / "{shard}.log",
    benchmark:
        RESULTS / "benchmarks" / "evaluate" / "{model}" / "{shard}.tsv"
    retries: 1  # for a failure of the machine; the second call continues from the checkpoint
    conda:
        "../../envs/pesbench.yaml"
    threads: RUN.threads
    params:
        python=where(PYTHON),
        device=RUN.device,
        weights=lambda wildcards, input: RUN.weights(wildcards.model),
        code=lambda wildcards: stage_fingerprint("evaluate", *RUN.models[wildcards.model].families),
        scans=lambda wildcards: RUN.shards(wildcards.model)[wildcards.shard],
    shell:
        "{params.python} -m pesbench evaluate --entry {input.entry:q} {params.weights} --scan-set {input.scan_set:q}"
        " --scans {params.scans:q} --device {params.device} --threads {threads}"
        " --out {output:q} 2> {log:q}"
