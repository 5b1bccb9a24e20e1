# Tables, figures and the page, from stored scores.

from pesbench.models.record import description
from pesbench.models.registry import role
from pesbench.models.variants import can_be_resolved, variants

ROLES = {name: role(entry, RUN.level_of_theory) for name, entry in RUN.models.items()}
# nothing breaks in the reference, and where a known defect does is known; the worst.csv of any
# other model is made when asked for
FOR_WORST = [name for name in RUN.models if ROLES[name] == "model"]
BY_BOND = RESULTS / "figures" / "fsd_by_bond.png"
LADDERS = RESULTS / "figures" / "control_ladders.png"
# entries of one checkpoint in more than one numerical setting
VARIANTS = [name for group in variants(RUN.models.values()) for name in group]
PARITY = [RESULTS / "parity.csv"] if VARIANTS else []
DYNAMICS = expand(RESULTS / "{model}" / "scores" / "dynamics.parquet", model=RUN.dynamics)
RAN_DYNAMICS = option("--dynamics", RUN.dynamics)
# models whose smoothness is compared with their dynamics, and perturbed ones beside them
COMPARED = [name for name in RUN.dynamics if ROLES[name] == "model"]
PERTURBED = [name for name in RUN.dynamics if ROLES[name] == "perturbed"]
ASSOCIATION = [RESULTS / "association.csv"] if COMPARED or PERTURBED else []
# of fewer there is nothing to draw: association.md says so
ASSOCIATION_FIGURE = (
    [RESULTS / "figures" / "association.png"]
    if can_be_resolved({name: RUN.models[name] for name in COMPARED})
    else []
)
DOSE = [RESULTS / "dose_response.csv"] if PERTURBED else []
DOSE_FIGURE = [RESULTS / "figures" / "dose_response.png"] if PERTURBED else []
DOSE_METRICS_FIGURE = [RESULTS / "figures" / "dose_metrics.png"] if PERTURBED else []
# with all that ran dynamics: the horizon and the reference are those of the leaderboard
ON_LADDER = [n for n in RUN.models if n in RUN.ladder or n in RUN.dynamics] if RUN.ladder else []
VIBRATING = [name for name in RUN.vibrations if name in RUN.ladder]
LADDER = [RESULTS / "ladder.csv", RESULTS / "ladder_claims.csv"] if RUN.ladder else []
LADDER_FIGURE = [RESULTS / "ladder.png"] if RUN.ladder else []
SKIPPED = [RESULTS / "skipped.csv"] if RUN.source == "molecules" else []


# what `pesbench merge` needs to know of the models where the registry is not
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
        descriptions=given(
            as_text({name: description(entry) for name, entry in RUN.models.items()})
        ),
    shell:
        "{params.python:q} -m pesbench describe --models {params.models:q}"
        " --models-file {params.models_file:q} --out {output:q} 2> {log:q}"


rule worst:
    input:
        scan_set=SCAN_SET,
        evaluations=lambda wildcards: answers("bonds", wildcards.model),
        scores=RESULTS / "{model}" / "scores" / "bonds.parquet",
    output:
        csv=RESULTS / "{model}" / "worst.csv",
        extxyz=RESULTS / "{model}" / "worst.extxyz",
        figure=report(
            RESULTS / "{model}" / "worst.png",
            caption="../report/worst.rst",
            category="Where models break",
            labels={"model": "{model}"},
        ),
    log:
        RESULTS / "logs" / "worst" / "{model}.log",
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain("pesbench.tasks.bonds.worst", "pesbench.tasks.bonds.worst_figure"),
    shell:
        "{params.python:q} -m pesbench worst --scan-set {input.scan_set:q}"
        " --evaluations {input.evaluations:q} --scores {input.scores:q}"
        " --csv {output.csv:q} --extxyz {output.extxyz:q} --figure {output.figure:q} 2> {log:q}"


if VARIANTS:

    rule parity:
        input:
            scan_set=SCAN_SET,
            evaluations=[file for model in VARIANTS for file in answers("bonds", model)],
            scores=expand(RESULTS / "{model}" / "scores" / "bonds.parquet", model=VARIANTS),
        output:
            PARITY,
        log:
            RESULTS / "logs" / "parity.log",
        localrule: True
        conda:
            BASE_ENVIRONMENT
        params:
            **plain("pesbench.compare.parity"),
            results=where(RESULTS),
            models_file=where(RUN.models_file),
            models=VARIANTS,
        shell:
            "{params.python:q} -m pesbench parity --results {params.results:q}"
            " --models {params.models:q} --models-file {params.models_file:q}"
            " --scan-set {input.scan_set:q} --evaluations {input.evaluations:q} --csv {output:q} 2> {log:q}"


if ASSOCIATION:

    rule associate:
        input:
            scan_set=SCAN_SET,
            scores=expand(RESULTS / "{model}" / "scores" / "bonds.parquet", model=RUN.models),
            dynamics=DYNAMICS,
        output:
            csv=ASSOCIATION,
            markdown=RESULTS / "association.md",
            figure=[
                report(file, caption="../report/association.rst", category="Stability")
                for file in ASSOCIATION_FIGURE
            ],
            dose=DOSE,
            dose_figure=[
                report(file, caption="../report/dose_response.rst", category="Stability")
                for file in DOSE_FIGURE
            ],
            dose_metrics_figure=[
                report(file, caption="../report/dose_metrics.rst", category="Stability")
                for file in DOSE_METRICS_FIGURE
            ],
        log:
            RESULTS / "logs" / "associate.log",
        localrule: True
        conda:
            BASE_ENVIRONMENT
        params:
            **plain(
                "pesbench.compare.association",
                "pesbench.compare.association_figures",
                "pesbench.compare.dose",
                "pesbench.compare.dose_figures",
            ),
            results=where(RESULTS),
            models_file=where(RUN.models_file),
            models=list(RUN.models),
            seeds=given(as_text(RUN.seeds)),
            dynamics=RAN_DYNAMICS,
            figures=option("--figure", ASSOCIATION_FIGURE)
            + option("--dose-csv", DOSE)
            + option("--dose-figure", DOSE_FIGURE)
            + option("--dose-metrics-figure", DOSE_METRICS_FIGURE),
        shell:
            "{params.python:q} -m pesbench associate --results {params.results:q}"
            " --models {params.models:q} --models-file {params.models_file:q}"
            " --scan-set {input.scan_set:q} {params.dynamics:q} --csv {output.csv:q}"
            " --markdown {output.markdown:q} {params.figures:q} 2> {log:q}"


if RUN.ladder:

    rule ladder:
        input:
            scan_set=SCAN_SET,
            scores=expand(RESULTS / "{model}" / "scores" / "bonds.parquet", model=ON_LADDER),
            dynamics=DYNAMICS,
            vibrations=expand(
                RESULTS / "{model}" / "scores" / "vibrations.parquet", model=VIBRATING
            ),
            cards=from_here(RUN.ladder_cards),
        output:
            csv=LADDER[0],
            claims=LADDER[1],
            markdown=RESULTS / "ladder.md",
            figure=report(
                LADDER_FIGURE[0], caption="../report/ladder.rst", category="Design choices"
            ),
        log:
            RESULTS / "logs" / "ladder.log",
        localrule: True
        conda:
            BASE_ENVIRONMENT
        params:
            **plain(
                "pesbench.compare.ladder",
                "pesbench.compare.ladder_figure",
                "pesbench.compare.ladder_text",
            ),
            results=where(RESULTS),
            models_file=where(RUN.models_file),
            models=ON_LADDER,
            ladder=RUN.ladder,
            seeds=given(as_text(RUN.seeds)),
            dynamics=RAN_DYNAMICS,
            vibrations=option("--vibrations", VIBRATING),
        shell:
            "{params.python:q} -m pesbench ladder --results {params.results:q}"
            " --models {params.models:q} --models-file {params.models_file:q}"
            " --scan-set {input.scan_set:q} {params.dynamics:q} {params.vibrations:q}"
            " --ladder {params.ladder:q} --csv {output.csv:q} --claims {output.claims:q}"
            " --markdown {output.markdown:q} --figure {output.figure:q} 2> {log:q}"


rule leaderboard:
    input:
        scan_set=SCAN_SET,
        scores=expand(RESULTS / "{model}" / "scores" / "bonds.parquet", model=RUN.models),
        dynamics=DYNAMICS,
        parity=PARITY,
        association=ASSOCIATION,
        ladder=LADDER,
    output:
        csv=RESULTS / "leaderboard.csv",
        markdown=RESULTS / "leaderboard.md",
    log:
        RESULTS / "logs" / "leaderboard.log",
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain("pesbench.report.page"),
        results=where(RESULTS),
        models_file=where(RUN.models_file),
        models=list(RUN.models),
        descriptions=given(as_text(RUN.descriptions)),
        rank_by=RUN.rank_by,
        dynamics=RAN_DYNAMICS,
        parity=option("--parity", PARITY),
        association=option("--association", ASSOCIATION),
        ladder=option("--ladder", LADDER),
    shell:
        "{params.python:q} -m pesbench leaderboard --results {params.results:q} --models {params.models:q}"
        " --models-file {params.models_file:q}"
        " --scan-set {input.scan_set:q} {params.dynamics:q} --rank-by {params.rank_by:q} {params.parity:q}"
        " {params.association:q} {params.ladder:q}"
        " --csv {output.csv:q} --markdown {output.markdown:q} 2> {log:q}"


rule figures:
    input:
        scan_set=SCAN_SET,
        scores=expand(RESULTS / "{model}" / "scores" / "bonds.parquet", model=RUN.models),
        dynamics=DYNAMICS,
    output:
        by_bond=report(BY_BOND, caption="../report/fsd_by_bond.rst", category="Smoothness"),
        ladders=report(LADDERS, caption="../report/control_ladders.rst", category="Smoothness"),
    log:
        RESULTS / "logs" / "figures.log",
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain("pesbench.report.page", "pesbench.report.figures"),
        results=where(RESULTS),
        models_file=where(RUN.models_file),
        models=list(RUN.models),
        descriptions=given(as_text(RUN.descriptions)),
        rank_by=RUN.rank_by,
        dynamics=RAN_DYNAMICS,
    shell:
        "{params.python:q} -m pesbench figures --results {params.results:q} --models {params.models:q}"
        " --models-file {params.models_file:q}"
        " --scan-set {input.scan_set:q} {params.dynamics:q} --rank-by {params.rank_by:q}"
        " --by-bond {output.by_bond:q} --ladders {output.ladders:q} 2> {log:q}"


rule page:
    input:
        scan_set=SCAN_SET,
        scores=expand(RESULTS / "{model}" / "scores" / "bonds.parquet", model=RUN.models),
        dynamics=DYNAMICS,
        worst=expand(RESULTS / "{model}" / "worst.{form}", model=FOR_WORST, form=["csv", "png"]),
        by_bond=BY_BOND,
        ladders=LADDERS,
        skipped=SKIPPED,
        parity=PARITY,
        association=ASSOCIATION,
        association_figure=ASSOCIATION_FIGURE,
        dose_figure=DOSE_FIGURE,
        dose_metrics_figure=DOSE_METRICS_FIGURE,
        ladder=LADDER,
        ladder_figure=LADDER_FIGURE,
    output:
        report(
            RESULTS / "leaderboard.html",
            caption="../report/leaderboard.rst",
            category="Leaderboard",
        ),
    log:
        RESULTS / "logs" / "page.log",
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain("pesbench.report.page"),
        results=where(RESULTS),
        models_file=where(RUN.models_file),
        models=list(RUN.models),
        descriptions=given(as_text(RUN.descriptions)),
        rank_by=RUN.rank_by,
        dynamics=RAN_DYNAMICS,
        parity=option("--parity", PARITY),
        association=option("--association", ASSOCIATION)
        + option("--association-figure", ASSOCIATION_FIGURE),
        dose_figure=option("--dose-figure", DOSE_FIGURE)
        + option("--dose-metrics-figure", DOSE_METRICS_FIGURE),
        ladder=option("--ladder", LADDER) + option("--ladder-figure", LADDER_FIGURE),
        skipped=option("--skipped", SKIPPED),
    shell:
        "{params.python:q} -m pesbench page --results {params.results:q} --models {params.models:q}"
        " --models-file {params.models_file:q}"
        " --scan-set {input.scan_set:q} {params.dynamics:q} --rank-by {params.rank_by:q}"
        " --by-bond {input.by_bond:q} --ladders {input.ladders:q} {params.skipped:q} {params.parity:q}"
        " {params.association:q} {params.dose_figure:q} {params.ladder:q}"
        " --html {output:q} 2> {log:q}"
