# With `strict: true` the last rule of a run: it ends with a nonzero exit code if a model failed.

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
        retries: 0  # a second attempt would have the same result
        localrule: True
        conda:
            BASE_ENVIRONMENT
        params:
            **plain("pesbench.report.strict", "pesbench.report.inputs"),
            words=where(graph.strict_command(RESULTS, REPORT, **PLACES)),
        shell:
            "{params.python:q} -m pesbench {params.words:q} --out {output:q} 2> {log:q}"
