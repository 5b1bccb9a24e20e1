# Environments of models that name requirements or an interpreter, and with `software: venv` those of families.
from pesbench.training.apax_variants import TO_BE_TRAINED
from pesbench.training.backbone_plan import SEVENNET_TO_BE_TRAINED

ENVIRONMENTS = START.software.to_build(
    [*RUN.running, *filter(None, [RUN.relax]), TO_BE_TRAINED, SEVENNET_TO_BE_TRAINED]
)


if ENVIRONMENTS:

    # The name follows from the requirements. The code is no parameter: its change would run all models of the
    # environment again with the same packages. One that cannot be made is a result, and is tried again by each run.
    rule environment:
        output:
            START.software.built / "{environment}.json",
        log:
            START.software.built / "logs" / "{environment}.log",
        wildcard_constraints:
            environment=one_of(ENVIRONMENTS),
        localrule: True  # nodes may have no network
        conda:
            BASE_ENVIRONMENT
        params:
            **plain(),
            asked=lambda wildcards, input: ENVIRONMENTS[wildcards.environment].words,
            folder=lambda wildcards, output: Path(output[0]).with_suffix(""),
            attempts=lambda wildcards: START.software.attempts(wildcards.environment),
        shell:
            "{params.python:q} -m pesbench build-environment {params.asked:q} --record-failure"
            " --out {params.folder:q} 2> {log:q}"
