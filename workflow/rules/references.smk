# Scan sets: geometries of every frame with their reference energies and forces.


rule entry:
    output:
        RESULTS / "{model}" / "model.json",
    log:
        RESULTS / "logs" / "entry" / "{model}.log",
    wildcard_constraints:
        model=one_of(NO_CONTROLS),
    localrule: True  # nodes may have no network
    conda:
        BASE_ENVIRONMENT
    params:
        **plain(),
        models_file=where(RUN.models_file),
        name=lambda wildcards: wildcards.model,
        # the part of the entry that decides numbers: a new citation changes no file
        entry=lambda wildcards: as_text(of_model(wildcards).deciding()),
    shell:
        "{params.python:q} -m pesbench entry {params.name:q} --models-file {params.models_file:q}"
        " --out {output:q} 2> {log:q}"


if RUN.source == "bsct_spice":

    rule scan_set_from_archive:
        output:
            SCAN_SET,
        log:
            RESULTS / "logs" / "scan_set.log",
        benchmark:
            RESULTS / "benchmarks" / "scan_set.tsv"
        localrule: True
        conda:
            BASE_ENVIRONMENT
        params:
            **plain("pesbench.references.bsct_spice"),
            name=RUN.scan_set,
            archive=where(RUN.archive),  # its content is pinned by the manifest
        shell:
            "{params.python:q} -m pesbench import-archive"
            " --name {params.name:q} --archive {params.archive:q} --out {output:q} 2> {log:q}"


if RUN.source == "molecules":

    # a rule that inherits from another is not local unless it says so
    localrules:
        method_entry,

    use rule entry as method_entry with:
        output:
            RESULTS / "{use}.json",
        log:
            RESULTS / "logs" / "method_entry" / "{use}.log",
        wildcard_constraints:
            use="reference|relax",
        params:
            **plain(),
            models_file=where(RUN.models_file),
            name=lambda wildcards: RUN.method(wildcards.use).name,
            entry=lambda wildcards: as_text(RUN.method(wildcards.use).deciding()),

    rule molecules:
        input:
            files=RUN.molecule_files,
            relax=[RESULTS / "relax.json"] if RUN.relax else [],
            environment=START.software.stamps(RUN.relax) if RUN.relax else [],
        output:
            RESULTS / "molecules.extxyz",
        log:
            RESULTS / "logs" / "molecules.log",
        conda:
            conda_file(of_relax) if RUN.relax else BASE_ENVIRONMENT
        threads: RUN.threads
        resources:
            **asks(lambda wildcards: REQUESTS.molecules(), on_gpu(RUN.relax)),
        params:
            **plain(
                "pesbench.references.molecules",
                *family_modules(RUN.relax.families if RUN.relax else ()),
            ),
            molecules=given(as_text(RUN.settings["molecules"])),
            # relax.json describes the method; the path of its weights changes nothing
            relax=where(
                [
                    *("--relax", str(RESULTS / "relax.json"), *loading_options(RUN.relax)),
                    *START.software.option(RUN.relax),
                ]
                if RUN.relax
                else []
            ),
            requirements=START.software.requirements(RUN.relax) if RUN.relax else "",
            device=RUN.device,
        shell:
            "{params.python:q} -m pesbench prepare-molecules --molecules {params.molecules:q}"
            " {params.relax:q} --device {params.device:q} --threads {threads:q} --out {output:q} 2> {log:q}"

    rule scan_geometries:
        input:
            RESULTS / "molecules.extxyz",
        output:
            scans=RESULTS / "reference" / "scans.h5",
            skipped=RESULTS / "reference" / "skipped_bonds.csv",
        log:
            RESULTS / "logs" / "scan_geometries.log",
        localrule: True
        conda:
            BASE_ENVIRONMENT
        params:
            **plain("pesbench.references.calculators"),
            name=RUN.scan_set,
            options=given(RUN.scan_options),
        shell:
            "{params.python:q} -m pesbench scan-molecules --name {params.name:q}"
            " --molecules {input:q} {params.options:q} --out {output.scans:q} --skipped {output.skipped:q} 2> {log:q}"

    # The reference is an evaluation like any other: in shards, with checkpoints, in a supervised process.
    rule reference:
        input:
            scans=RESULTS / "reference" / "scans.h5",
            entry=RESULTS / "reference.json",
            environment=environment(of_reference),
        output:
            RESULTS / "reference" / "{shard}.h5",
        log:
            RESULTS / "logs" / "reference" / "{shard}.log",
        benchmark:
            RESULTS / "benchmarks" / "reference" / "{shard}.tsv"
        conda:
            conda_file(of_reference)
        threads: RUN.threads
        resources:
            **asks(lambda wildcards: REQUESTS.reference(wildcards.shard), on_gpu(RUN.reference)),
        params:
            **asking("pesbench.tasks.bonds.run", of_reference),
            scans=lambda wildcards: RUN.reference_shards[wildcards.shard],
        shell:
            "{params.python:q} -m pesbench run bonds --entry {input.entry:q} {params.loading:q} {params.environment:q}"
            " --scan-set {input.scans:q} --scans {params.scans:q} --device {params.device:q}"
            " --threads {threads:q} --out {output:q} 2> {log:q}"

    rule scan_set_from_molecules:
        input:
            scans=RESULTS / "reference" / "scans.h5",
            skipped_bonds=RESULTS / "reference" / "skipped_bonds.csv",
            references=[RESULTS / "reference" / f"{shard}.h5" for shard in RUN.reference_shards],
        output:
            scan_set=SCAN_SET,
            skipped=RESULTS / "skipped.csv",
        log:
            RESULTS / "logs" / "scan_set.log",
        localrule: True
        conda:
            BASE_ENVIRONMENT
        params:
            **plain("pesbench.references.calculators"),
            level_of_theory=given(RUN.level_of_theory),
            options=given(RUN.quality_options),
        shell:
            "{params.python:q} -m pesbench collect-references --scans {input.scans:q}"
            " --references {input.references:q} --skipped-bonds {input.skipped_bonds:q}"
            " --level-of-theory={params.level_of_theory:q} {params.options:q}"
            " --out {output.scan_set:q} --skipped {output.skipped:q} 2> {log:q}"
