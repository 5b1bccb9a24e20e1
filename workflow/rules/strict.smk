# With `strict: true` the last of all: a run in which a model failed ends with an exit code.

STRICT = [RESULTS / "strict.txt"] if RUN.strict else []


if STRICT:

    rule strict:
        input:
            built=BUILT,
            scan_set=SCAN_SET,
        output:
            STRICT,
        log:
            RESULTS / "logs" / "strict.log",
        retries: 0  # the results stay what they are
        localrule: True
        conda:
            BASE_ENVIRONMENT
        params:
            **plain("pesbench.report.strict"),
            results=where(RESULTS),
            models_file=where(RUN.models_file),
            models=list(RUN.models),
            dynamics=RAN_DYNAMICS,
            vibrations=option("--vibrations", RUN.vibrations),
        shell:
            "{params.python:q} -m pesbench strict --results {params.results:q} --models {params.models:q}"
            " --models-file {params.models_file:q}"
            " --scan-set {input.scan_set:q} {params.dynamics:q} {params.vibrations:q}"
            " --out {output:q} 2> {log:q}"
