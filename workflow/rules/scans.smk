# Evaluations: every model on every shard of the scan set. The only rule that runs models.


rule evaluate:
    input:
        scan_set=SCAN_SET,
        # what of the entry decides the numbers stands in params; a new citation does not rerun
        entry=ancient(RESULTS / "{model}" / "model.json"),
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
        entry=lambda wildcards: RUN.models[wildcards.model].deciding(),
        code=lambda wildcards: stage_fingerprint("evaluate", RUN.models[wildcards.model].family),
        scans=lambda wildcards: RUN.shards(wildcards.model)[wildcards.shard],
    shell:
        "{params.python} -m pesbench evaluate --entry {input.entry:q} --scan-set {input.scan_set:q}"
        " --scans {params.scans:q} --device {params.device} --threads {threads}"
        " --out {output:q} 2> {log:q}"
