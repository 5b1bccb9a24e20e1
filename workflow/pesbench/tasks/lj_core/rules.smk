# Trainings of output heads on the Lennard-Jones dimer: `make architecture`.

from pesbench.tasks.lj_core.designs import DECIDING, parts as lj_parts, trained_tables

LJ_HEADS = WEIGHTS / "lj_core"
LJ_PARTS = list(lj_parts())


rule lj_head:
    output:
        table=LJ_HEADS / "{part}.csv",
        card=LJ_HEADS / "{part}.json",
    log:
        WEIGHTS / "logs" / "lj-{part}.log",
    wildcard_constraints:
        part=one_of(LJ_PARTS),
    # the main rows before the grid
    priority: lambda wildcards: len(LJ_PARTS) - LJ_PARTS.index(wildcards.part)
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        **plain(*DECIDING),
        work=where(LJ_HEADS / "training"),
    shell:
        "{params.python:q} -m pesbench lj-heads {wildcards.part:q} --work {params.work:q}"
        " --threads {threads:q} --out {output.table:q} 2> {log:q}"


# Names a user may ask for: `snakemake lj_trainings`, and then `snakemake lj_heads`.
rule lj_trainings:
    input:
        expand(LJ_HEADS / "{part}.csv", part=LJ_PARTS),
    localrule: True


# Of the parts that are done: one that failed stops nothing but itself.
rule lj_heads:
    input:
        parts=lambda wildcards: trained_tables(LJ_HEADS),
        cards=lambda wildcards: [table.with_suffix(".json") for table in trained_tables(LJ_HEADS)],
    output:
        table=LJ_HEADS / "heads.csv",
        card=LJ_HEADS / "heads.json",
    log:
        WEIGHTS / "logs" / "lj-heads.log",
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain("pesbench.tasks.lj_core.head_table"),
    shell:
        "{params.python:q} -m pesbench lj-heads-table --parts {input.parts:q} --out {output.table:q} 2> {log:q}"
