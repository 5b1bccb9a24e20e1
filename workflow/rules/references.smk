# Scan sets: geometries of every frame with their reference energies and forces.


rule entry:
    output:
        RESULTS / "{model}" / "model.json",
    log:
        RESULTS / "logs" / "entry" / "{model}.log",
    conda:
        "../../envs/pesbench.yaml"
    params:
        python=where(PYTHON),
        models_file=where(RUN.models_file),
        # what of the entry decides numbers: a new citation rewrites nothing
        entry=lambda wildcards: as_text(RUN.models[wildcards.model].deciding()),
    shell:
        "{params.python} -m pesbench entry {wildcards.model:q} --models-file {params.models_file:q}"
        " --out {output:q} 2> {log:q}"


if RUN.source == "bsct_spice":

    rule scan_set_from_archive:
        output:
            SCAN_SET,
        log:
            RESULTS / "logs" / "scan_set.log",
        benchmark:
            RESULTS / "benchmarks" / "scan_set.tsv"
        conda:
            "../../envs/pesbench.yaml"
        params:
            python=where(PYTHON),
            name=RUN.scan_set,
            archive=where(RUN.archive),  # its content is pinned by the manifest
            code=stage_fingerprint("archive"),
        shell:
            "{params.python} -m pesbench --log {log:q} import-archive"
            " --name {params.name:q} --archive {params.archive:q} --out {output:q}"


if RUN.source == "molecules":

    rule reference_entry:
        output:
            RESULTS / "reference.json",
        log:
            RESULTS / "logs" / "reference_entry.log",
        localrule: True
        conda:
            "../../envs/pesbench.yaml"
        params:
            python=where(PYTHON),
            models_file=where(RUN.models_file),
            name=RUN.reference.name,
            entry=as_text(RUN.reference.deciding()),
        shell:
            "{params.python} -m pesbench entry {params.name:q} --models-file {params.models_file:q}"
            " --out {output:q} 2> {log:q}"

    rule scan_set_from_molecules:
        input:
            molecules=RUN.settings["molecules"],
            reference=RESULTS / "reference.json",
        output:
            scan_set=SCAN_SET,
            skipped=RESULTS / "skipped.csv",
        log:
            RESULTS / "logs" / "scan_set.log",
        benchmark:
            RESULTS / "benchmarks" / "scan_set.tsv"
        conda:
            "../../envs/pesbench.yaml"
        threads: RUN.threads
        params:
            python=where(PYTHON),
            name=RUN.scan_set,
            level_of_theory=RUN.level_of_theory,
            weights=where(weights_option(RUN.reference)),
            code=stage_fingerprint("reference", RUN.reference.family),
            options=RUN.scan_options,
            device=RUN.device,
        shell:
            "{params.python} -m pesbench --log {log:q} scan-molecules --name {params.name:q}"
            " --molecules {input.molecules:q} --reference {input.reference:q} {params.weights}"
            " --level-of-theory {params.level_of_theory:q} {params.options}"
            " --device {params.device} --threads {threads} --out {output.scan_set:q} --skipped {output.skipped:q}"
