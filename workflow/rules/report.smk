# Sections, leaderboard and page, from stored scores.


# What `pesbench merge` needs to know about the models if it does not have the registry.
rule describe:
    input:
        seen=RUN.seen_files,
    output:
        RESULTS / "models.json",
    log:
        RESULTS / "logs" / "describe.log",
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain("pesbench.models.record"),
        models_file=where(RUN.models_file),
        models=list(RUN.models),
        descriptions=given(DESCRIPTIONS),
    shell:
        "{params.python:q} -m pesbench describe --models {params.models:q}"
        " --models-file {params.models_file:q} --out {output:q} 2> {log:q}"


rule model_section:
    input:
        scan_set=SCAN_SET,
        files=lambda wildcards: answers(wildcards.task, wildcards.model),
        scores=lambda wildcards: graph.scores_file(RESULTS, wildcards.task, wildcards.model),
    output:
        report(
            directory(RESULTS / "{model}" / graph.SECTIONS / "{task}"),
            patterns=["{figure}.png"],
            caption="../report/model_section.rst",
            category="Sections of models",
            subcategory="{task}",
            labels={"model": "{model}", "figure": "{figure}"},
        ),
    log:
        RESULTS / "logs" / "model_section" / "{task}" / "{model}.log",
    wildcard_constraints:
        task=one_of(TASK_SECTIONS),
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        python=where(PYTHON),
        code=lambda wildcards: section_code(stage_module(wildcards.task, "model_section")),
        words=model_section_words,
    shell:
        "{params.python:q} -m pesbench {params.words:q} 2> {log:q}"


rule section:
    input:
        scan_set=SCAN_SET,
        scores=lambda wildcards: scores_of(graph.section_ran(REPORT, wildcards.task)),
    output:
        report(
            directory(RESULTS / graph.SECTIONS / "{task}"),
            patterns=["{figure}.png"],
            caption="../report/section.rst",
            category="Sections",
            subcategory="{task}",
            labels={"figure": "{figure}"},
        ),
    log:
        RESULTS / "logs" / "section" / "{task}.log",
    wildcard_constraints:
        task=one_of(TASK_SECTIONS),
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        python=where(PYTHON),
        code=lambda wildcards: section_code(
            stage_module(wildcards.task, "section"),
            stage_module(wildcards.task, "task"),  # its metrics are columns of the leaderboard
            "pesbench.metrics.board",
            "pesbench.report.choice",
            "pesbench.report.identity",
        ),
        descriptions=given(DESCRIPTIONS),
        ranking=RANKING,
        words=section_words,
    shell:
        "{params.python:q} -m pesbench {params.words:q} 2> {log:q}"


rule compare:
    input:
        scan_set=SCAN_SET,
        scores=lambda wildcards: scores_of(comparisons()[wildcards.comparison].scores(REPORT)),
        answers=lambda wildcards: [
            file
            for of_task in compared_files(wildcards.comparison).values()
            for files in of_task.values()
            for file in files
        ],
        others=lambda wildcards: from_here(comparisons()[wildcards.comparison].files(REPORT)),
    output:
        report(
            directory(RESULTS / graph.SECTIONS / "{comparison}"),
            patterns=["{figure}.png"],
            caption="../report/comparison.rst",
            category="Sections",
            subcategory="{comparison}",
            labels={"figure": "{figure}"},
        ),
    log:
        RESULTS / "logs" / "compare" / "{comparison}.log",
    wildcard_constraints:
        comparison=one_of(COMPARISON_SECTIONS),
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        python=where(PYTHON),
        code=lambda wildcards: section_code(section_module(wildcards.comparison)),
        descriptions=given(DESCRIPTIONS),
        ladder=ladder_of,
        ranking=RANKING,
        words=compare_words,
    shell:
        "{params.python:q} -m pesbench {params.words:q} 2> {log:q}"


rule leaderboard:
    input:
        scan_set=SCAN_SET,
        sections=SECTIONS,
    output:
        [RESULTS / name for name in graph.LEADERBOARD],
    log:
        RESULTS / "logs" / "leaderboard.log",
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain("pesbench.report.tables", *BOARD),
        words=where(graph.board_command(RESULTS, REPORT, "leaderboard", scan_set=SCAN_SET)),
    shell:
        "{params.python:q} -m pesbench {params.words:q} 2> {log:q}"


rule page:
    input:
        scan_set=SCAN_SET,
        sections=SECTIONS,
        of_models=MODEL_SECTIONS,
        skipped=SKIPPED,
    output:
        report(
            RESULTS / graph.PAGE,
            caption="../report/leaderboard.rst",
            category="Leaderboard",
        ),
    log:
        RESULTS / "logs" / "page.log",
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain("pesbench.report.page", "pesbench.report.answer", *BOARD, *UNASKED),
        words=where(graph.board_command(RESULTS, REPORT, "page", scan_set=SCAN_SET)),
    shell:
        "{params.python:q} -m pesbench {params.words:q} 2> {log:q}"


# A folder that opens in a browser: the page with every scan and trajectory behind its numbers.
rule explorer:
    input:
        scan_set=SCAN_SET,
        sections=SECTIONS,
        of_models=MODEL_SECTIONS,
        scores=SCORES,
        answers=EXPLORED,
        record=RESULTS / "models.json",
    output:
        directory(RESULTS / graph.EXPLORER),
    log:
        RESULTS / "logs" / "explorer.log",
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain(
            "pesbench.report.explorer.folder",
            "pesbench.report.answer",
            *EXPLORERS,
            *BOARD,
            *UNASKED,
        ),
        assets=graph.explorer_assets(),
        words=where(graph.board_command(RESULTS, REPORT, "explorer", scan_set=SCAN_SET)),
    shell:
        "{params.python:q} -m pesbench {params.words:q} 2> {log:q}"
