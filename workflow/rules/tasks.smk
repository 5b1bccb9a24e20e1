# Tasks: each task runs for each model in jobs of some scans or molecules, and its answers are scored.


rule prepare:
    input:
        scan_set=SCAN_SET,
    output:
        RESULTS / "inputs" / "{task}.h5",
    log:
        RESULTS / "logs" / "prepare" / "{task}.log",
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain(lambda wildcards: stage_modules(wildcards.task, "prepare")),
        asked=lambda wildcards: option(
            f"--{RUN.tasks[wildcards.task].task.item}s", RUN.tasks[wildcards.task].selected
        ),
        settings=lambda wildcards: words(RUN.tasks[wildcards.task].settings, "run"),
    shell:
        "{params.python:q} -m pesbench prepare {wildcards.task:q} --scan-set {input.scan_set:q}"
        " {params.asked:q} {params.settings:q} --out {output:q} 2> {log:q}"


rule run:
    input:
        scan_set=SCAN_SET,
        entry=RESULTS / "{model}" / "model.json",
        environment=environment(of_model),
        prepared=prepared,
        answers=read_by("run"),
        named=run_files,
    output:
        update(RESULTS / "{model}" / "{task}" / "{shard}.h5"),  # its content is kept
    log:
        RESULTS / "logs" / "{task}" / "{model}" / "{shard}.log",
    benchmark:
        RESULTS / "benchmarks" / "{task}" / "{model}" / "{shard}.tsv"
    wildcard_constraints:
        model=one_of(REQUESTS.on_gpu),
    # the tasks of the longest jobs start first, so that no core waits for one at the end
    priority: lambda wildcards: RUN.tasks[wildcards.task].task.priority
    conda:
        conda_file(of_model)
    threads: RUN.threads
    resources:
        **asks(shard_request, gpu=True),
    params:
        **asking(lambda wildcards: stage_modules(wildcards.task, "run"), of_model),
        asked=items,
        settings=run_settings,
        prepared=prepared_option,
        answers=read_option,
    shell:
        "{params.python:q} -m pesbench run {wildcards.task:q} --entry {input.entry:q} {params.loading:q}"
        " {params.environment:q} --scan-set {input.scan_set:q} {params.asked:q} {params.settings:q} {params.prepared:q}"
        " {params.answers:q} --device {params.device:q} --threads {threads:q} --out {output:q} 2> {log:q}"


# Models that use no GPU.
use rule run as run_on_cpu with:
    wildcard_constraints:
        model=one_of(REQUESTS.on_cpu),
    resources:
        **asks(shard_request, gpu=False),


# The reference method of the scan set, whether the run shows it as a model or not.
use rule run as run_reference with:
    input:
        scan_set=SCAN_SET,
        entry=RESULTS / "reference.json",
        environment=environment(of_reference),
        prepared=prepared,
        answers=read_by("run"),
        named=run_files,
    output:
        RESULTS / "reference" / "{task}" / "{shard}.h5",
    log:
        RESULTS / "logs" / "reference" / "{task}" / "{shard}.log",
    benchmark:
        RESULTS / "benchmarks" / "reference" / "{task}" / "{shard}.tsv"
    wildcard_constraints:
        task=one_of([name for name, run in RUN.tasks.items() if run.asks_reference]),
    conda:
        conda_file(of_reference)
    resources:
        **asks(reference_request, on_gpu(RUN.reference)),
    params:
        **asking(lambda wildcards: stage_modules(wildcards.task, "run"), of_reference),
        asked=lambda wildcards: option(
            f"--{RUN.tasks[wildcards.task].task.item}s",
            RUN.tasks[wildcards.task].shards[wildcards.shard].items,
        ),
        settings=run_settings,
        prepared=prepared_option,
        answers=read_option,


rule score:
    input:
        scan_set=SCAN_SET,
        entry=RESULTS / "{model}" / "model.json",
        files=lambda wildcards: answers(wildcards.task, wildcards.model),
        reference=reference_answers,
        prepared=prepared,
        answers=read_by("score"),
        record=record,
        seen=lambda wildcards: RUN.seen_systems(wildcards.model),
        named=score_files,
    output:
        RESULTS / "{model}" / "scores" / "{task}.parquet",
    log:
        RESULTS / "logs" / "score" / "{task}" / "{model}.log",
    wildcard_constraints:
        model=one_of(NO_CONTROLS),
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain(
            lambda wildcards: stage_modules(wildcards.task, "score"), "pesbench.commands.scoring"
        ),
        seen=seen_option,
        trained_on=trained_on_option,
        selected=selected_option,
        settings=score_settings,
        reference=lambda wildcards, input: option("--reference", input.reference),
        prepared=prepared_option,
        answers=read_option,
        record=lambda wildcards, input: option("--record", [input.record] if input.record else []),
    shell:
        "{params.python:q} -m pesbench score {wildcards.task:q} --scan-set {input.scan_set:q}"
        " --entry {input.entry:q} --files {input.files:q} {params.reference:q} {params.prepared:q}"
        " {params.answers:q} {params.record:q}"
        " {params.seen:q} {params.trained_on:q} {params.selected:q} {params.settings:q}"
        " --out {output:q} 2> {log:q}"


# Entry, answers and scores of all controls in one job: one control takes less time than the start of a process.
for one in CONTROL_TASKS:

    rule:
        name:
            f"controls_{one}"
        input:
            scan_set=SCAN_SET,
        output:
            update(expand(RESULTS / "{model}" / "model.json", model=CONTROLS)),
            update(expand(RESULTS / "{model}" / one / "0000.h5", model=CONTROLS)),
            update(expand(RESULTS / "{model}" / "scores" / f"{one}.parquet", model=CONTROLS)),
        log:
            RESULTS / "logs" / f"controls_{one}.log",
        benchmark:
            RESULTS / "benchmarks" / f"controls_{one}.tsv"
        priority: max(run.task.priority for run in RUN.tasks.values())  # one job of minutes
        conda:
            BASE_ENVIRONMENT
        resources:
            **asks(lambda wildcards: REQUESTS.other(), gpu=False),
        params:
            **plain(
                *stage_modules(one, "run"),
                *stage_modules(one, "score"),
                "pesbench.commands.controls",
                *family_modules(sorted({RUN.models[name].family for name in CONTROLS})),
            ),
            task=given(one),
            models_file=where(RUN.models_file),
            results=where(RESULTS),
            models=where(CONTROLS),
            # existing files are kept: another choice of controls runs none of them again
            entries=as_text({name: RUN.models[name].deciding() for name in CONTROLS}),
            asked=given(items_of(one, CONTROLS[0], "0000")),
            selected=given(option("--selected", RUN.selected)),
            settings=given(words(RUN.tasks[one].settings, "score")),
        shell:
            "{params.python:q} -m pesbench controls {params.task:q} --models {params.models:q}"
            " --models-file {params.models_file:q} --scan-set {input.scan_set:q} {params.asked:q}"
            " {params.selected:q} {params.settings:q} --results {params.results:q} 2> {log:q}"
