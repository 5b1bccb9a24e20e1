# With `software: venv`: one environment for each family of models, from its pinned requirements.

from pesbench.orchestration.environments import requirements_sha256

ENVIRONMENTS = START.software.to_build([*RUN.running, *filter(None, [RUN.relax])])


if ENVIRONMENTS:

    # the code is no parameter: its change would run all models of the family again with the same pins
    rule environment:
        output:
            START.software.built / "{family}.json",
        log:
            START.software.built / "logs" / "{family}.log",
        wildcard_constraints:
            family=one_of(ENVIRONMENTS),
        localrule: True  # nodes may have no network
        conda:
            BASE_ENVIRONMENT
        params:
            **plain(),
            folder=lambda wildcards, output: Path(output[0]).with_suffix(""),
            file=lambda wildcards, input: START.software.envs / f"{wildcards.family}.txt",
            requirements=lambda wildcards: requirements_sha256(
                START.software.envs / f"{wildcards.family}.txt"
            ),
        shell:
            "{params.python:q} -m pesbench build-environment --requirements {params.file:q}"
            " --out {params.folder:q} 2> {log:q}"
