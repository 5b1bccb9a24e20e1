# Short dynamics at constant energy, and their scores.


rule dynamics:
    input:
        scan_set=SCAN_SET,
        entry=RESULTS / "{model}" / "model.json",
        environment=environment(of_model),
    output:
        RESULTS / "{model}" / "dynamics" / "{shard}.h5",
    log:
        RESULTS / "logs" / "dynamics" / "{model}" / "{shard}.log",
    benchmark:
        RESULTS / "benchmarks" / "dynamics" / "{model}" / "{shard}.tsv"
    wildcard_constraints:
        model=one_of(REQUESTS.on_gpu),
    priority: 3  # the longest jobs start first, so that no core waits for one at the end
    conda:
        conda_file(of_model)
    threads: RUN.threads
    resources:
        **asks(
            lambda wildcards: REQUESTS.shard(wildcards.model, "dynamics", wildcards.shard),
            gpu=True,
        ),
    params:
        **asking("pesbench.tasks.dynamics.run", of_model),
        systems=lambda wildcards: RUN.dynamics_shards[wildcards.shard].systems,
        options=lambda wildcards: RUN.dynamics_shards[wildcards.shard].options,
    shell:
        "{params.python:q} -m pesbench dynamics --entry {input.entry:q} {params.loading:q}"
        " --scan-set {input.scan_set:q} --systems {params.systems:q} {params.options:q}"
        " --device {params.device:q} --threads {threads:q} --out {output:q} 2> {log:q}"


use rule dynamics as dynamics_on_cpu with:
    wildcard_constraints:
        model=one_of(REQUESTS.on_cpu),
    priority: 2
    resources:
        **asks(
            lambda wildcards: REQUESTS.shard(wildcards.model, "dynamics", wildcards.shard),
            gpu=False,
        ),


rule score_dynamics:
    input:
        scan_set=SCAN_SET,
        entry=RESULTS / "{model}" / "model.json",
        trajectories=lambda wildcards: trajectory_files(wildcards.model),
        seen=lambda wildcards: RUN.seen_systems(wildcards.model),
    output:
        RESULTS / "{model}" / "scores" / "dynamics.parquet",
    log:
        RESULTS / "logs" / "score_dynamics" / "{model}.log",
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain("pesbench.tasks.dynamics.score"),
        seen=seen_option,
    shell:
        "{params.python:q} -m pesbench score-dynamics --trajectories {input.trajectories:q}"
        " --entry {input.entry:q} --scan-set {input.scan_set:q} {params.seen:q} --out {output:q} 2> {log:q}"
