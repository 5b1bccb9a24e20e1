# The study of interpolated wave functions (docs/wavefunction.md): `make study-wavefunction`.

WAVEFUNCTION_STUDY = RESULTS.parent / "wavefunctions"


rule wavefunction_scans:
    input:
        scan_set=SCAN_SET,
        weights="resources/weights/wavefunction-fci.zip",
    output:
        table=WAVEFUNCTION_STUDY / "scans.csv",
        record=WAVEFUNCTION_STUDY / "scans.json",
    log:
        WAVEFUNCTION_STUDY / "logs" / "scans.log",
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        **plain("pesbench.compare.wavefunction.scans"),
        folder=where(WAVEFUNCTION_STUDY),
    shell:
        "{params.python:q} -m pesbench wavefunction-scans --scan-set {input.scan_set:q}"
        " --weights {input.weights:q} --threads {threads:q} --folder {params.folder:q} 2> {log:q}"


rule wavefunction_far:
    input:
        plan=WAVEFUNCTION_FILE,
        molecules="resources/fci/molecules.extxyz",
    output:
        table=WAVEFUNCTION_STUDY / "far.csv",
        record=WAVEFUNCTION_STUDY / "far.json",
    log:
        WAVEFUNCTION_STUDY / "logs" / "far.log",
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        **plain("pesbench.compare.wavefunction.far"),
        folder=where(WAVEFUNCTION_STUDY),
    shell:
        "{params.python:q} -m pesbench wavefunction-far wavefunction-fci-narrow --plan {input.plan:q}"
        " --threads {threads:q} --folder {params.folder:q} 2> {log:q}"


rule wavefunction_nve:
    input:
        plan=WAVEFUNCTION_FILE,
        molecules="resources/fci/molecules.extxyz",
    output:
        table=WAVEFUNCTION_STUDY / "nve.csv",
        record=WAVEFUNCTION_STUDY / "nve.json",
    log:
        WAVEFUNCTION_STUDY / "logs" / "nve.log",
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        **plain("pesbench.compare.wavefunction.nve"),
        folder=where(WAVEFUNCTION_STUDY),
    shell:
        "{params.python:q} -m pesbench wavefunction-nve wavefunction-fci --plan {input.plan:q}"
        " --systems water h6-chain=0.95 --threads {threads:q} --folder {params.folder:q} 2> {log:q}"


# A name a user may ask for: `snakemake study_wavefunction --configfile config/wavefunction.yaml`.
rule study_wavefunction:
    input:
        parts=expand(WAVEFUNCTION_STUDY / "{part}.csv", part=["scans", "far", "nve"]),
        card=WEIGHTS / "wavefunction-water-6-31g.json",
    output:
        page=WAVEFUNCTION_STUDY / "README.md",
        figure=WAVEFUNCTION_STUDY / "errors.png",
    log:
        WAVEFUNCTION_STUDY / "logs" / "page.log",
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain("pesbench.compare.wavefunction.study"),
        folder=where(WAVEFUNCTION_STUDY),
    shell:
        "{params.python:q} -m pesbench wavefunction-page --folder {params.folder:q} --cards {input.card:q}"
        " 2> {log:q}"
