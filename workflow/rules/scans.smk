# Evaluations: every model on every shard of the scan set.


rule evaluate:
    input:
        scan_set=SCAN_SET,
        entry=RESULTS / "{model}" / "model.json",
        environment=environment(of_model),
    output:
        RESULTS / "{model}" / "scans" / "{shard}.h5",
    log:
        RESULTS / "logs" / "evaluate" / "{model}" / "{shard}.log",
    benchmark:
        RESULTS / "benchmarks" / "evaluate" / "{model}" / "{shard}.tsv"
    wildcard_constraints:
        model=one_of(REQUESTS.on_gpu),
    priority: 1
    retries: RETRIES  # the machine failed, or a time limit: each continues from the checkpoint
    conda:
        conda_file(of_model)
    threads: RUN.threads
    resources:
        **evaluation_asks(gpu=True),
    params:
        python=interpreter(of_model),
        device=RUN.device,
        loading=lambda wildcards, input: RUN.loading(wildcards.model),
        code=code_of("evaluate", of_model),
        scans=lambda wildcards: RUN.shards(wildcards.model)[wildcards.shard],
    shell:
        "{params.python:q} -m pesbench evaluate --entry {input.entry:q} {params.loading:q} --scan-set {input.scan_set:q}"
        " --scans {params.scans:q} --device {params.device:q} --threads {threads:q}"
        " --out {output:q} 2> {log:q}"


# models that take no GPU: another rule, so that an array of Slurm's holds one kind
use rule evaluate as evaluate_on_cpu with:
    wildcard_constraints:
        model=one_of(REQUESTS.on_cpu),
    resources:
        **evaluation_asks(gpu=False),
