# Training of the small potentials in resources/weights: `make weights-mace`, `weights-testbed`, `weights-apax`,
# `weights-wavefunction`.

from dataclasses import asdict

from pesbench.testbed.variants import find_variant, read_variants
from pesbench.training import apax_variants
from pesbench.training.wavefunction_plan import read_trainings

WEIGHTS = RESULTS.parent / "weights"
MACE_OPTIONS = {"mace-mini": [], "mace-mini-zbl": ["--pair-repulsion"]}
TESTBED_FILE = Path("config/testbed.yaml")
# Hot frames for the MACE potentials; frames near equilibrium for the testbed, which scans test beyond its frames.
SAMPLING = {
    "frames": "--temperatures-k 300 600 1000 1500".split(),
    "near_equilibrium": "--temperatures-k 300 600 --interval-steps 20 --frames 60".split(),
    "ethanol": "--only ethanol --temperatures-k 300 600 --interval-steps 20 --frames 500".split(),
}
APAX_FILE = Path("config/apax.yaml")
WAVEFUNCTION_FILE = Path("config/wavefunction_training.yaml")
# the reference, and the testbed's potentials with the same switches
BESIDE_APAX = "gfn2-xtb testbed-base testbed-bounded testbed-zbl testbed-zbl-bounded".split()


rule training_method:
    output:
        WEIGHTS / "method.json",
    log:
        WEIGHTS / "logs" / "training_method.log",
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain(),
        models_file=where(RUN.models_file),
    shell:
        "{params.python:q} -m pesbench entry gfn2-xtb --models-file {params.models_file:q}"
        " --out {output:q} 2> {log:q}"


rule sample:
    input:
        molecules="resources/mini/molecules.extxyz",
        split="resources/mini/split.csv",
        method=WEIGHTS / "method.json",
    output:
        frames=WEIGHTS / "{frames}.extxyz",
        record=WEIGHTS / "{frames}.json",
    log:
        WEIGHTS / "logs" / "sample-{frames}.log",
    wildcard_constraints:
        frames="|".join(SAMPLING),
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        python=where(PYTHON),
        options=lambda wildcards: SAMPLING[wildcards.frames],
        code=lambda wildcards: stage_fingerprint("pesbench.training.sampling", *training_method()),
    shell:
        "{params.python:q} -m pesbench sample --molecules {input.molecules:q}"
        " --split {input.split:q} --method {input.method:q} {params.options:q}"
        " --out {output.frames:q} --record {output.record:q} 2> {log:q}"


rule train_mace:
    input:
        frames=WEIGHTS / "frames.extxyz",
        record=WEIGHTS / "frames.json",
    output:
        weights=WEIGHTS / "{name}.model",
        card=WEIGHTS / "{name}.json",
        page=WEIGHTS / "{name}.md",
    log:
        WEIGHTS / "logs" / "{name}.log",
    wildcard_constraints:
        name="|".join(MACE_OPTIONS),
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        **plain("pesbench.training.mace"),
        work=where(WEIGHTS / "training"),
        options=lambda wildcards: MACE_OPTIONS[wildcards.name],
    shell:
        "{params.python:q} -m pesbench train-mace {wildcards.name:q}"
        " --frames {input.frames:q} --record {input.record:q} {params.options:q}"
        " --work {params.work:q}/{wildcards.name:q} --threads {threads:q} --out {output.weights:q} 2> {log:q}"


rule train:
    input:
        frames=WEIGHTS / "near_equilibrium.extxyz",
        record=WEIGHTS / "near_equilibrium.json",
        scan_set=SCAN_SET,
    output:
        weights=WEIGHTS / "{name}.pt",
        card=WEIGHTS / "{name}.json",
        page=WEIGHTS / "{name}.md",
    log:
        WEIGHTS / "logs" / "{name}.log",
    wildcard_constraints:
        name="testbed-.*",
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        **plain("pesbench.testbed.cards"),
        variants=where(TESTBED_FILE),
        work=where(WEIGHTS / "training"),
        # a change in another variant is no reason to train this one again
        variant=lambda wildcards: as_text(asdict(find_variant(TESTBED_FILE, wildcards.name))),
    shell:
        "{params.python:q} -m pesbench train {wildcards.name:q}"
        " --variants {params.variants:q} --frames {input.frames:q} --record {input.record:q}"
        " --scan-set {input.scan_set:q} --work {params.work:q}/{wildcards.name:q}"
        " --threads {threads:q} --out {output.weights:q} 2> {log:q}"


rule train_apax:
    input:
        frames=WEIGHTS / "ethanol.extxyz",
        record=WEIGHTS / "ethanol.json",
        environment=START.software.stamps(TO_BE_TRAINED),
    output:
        weights=WEIGHTS / "{name}.zip",
        card=WEIGHTS / "{name}.json",
        page=WEIGHTS / "{name}.md",
    log:
        WEIGHTS / "logs" / "{name}.log",
    wildcard_constraints:
        name="apax-.*",
    conda:
        conda_file(lambda wildcards: TO_BE_TRAINED)
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        **plain("pesbench.training.apax", "pesbench.models.families.apax.train"),
        environment=lambda wildcards, input: START.software.option(TO_BE_TRAINED),
        variants=where(APAX_FILE),
        work=where(WEIGHTS / "training"),
        variant=lambda wildcards: as_text(
            asdict(apax_variants.find_variant(APAX_FILE, wildcards.name))
        ),
    shell:
        "{params.python:q} -m pesbench train-apax {wildcards.name:q}"
        " --variants {params.variants:q} --frames {input.frames:q} --record {input.record:q}"
        " {params.environment:q} --work {params.work:q}/{wildcards.name:q}"
        " --threads {threads:q} --out {output.weights:q} 2> {log:q}"


rule train_wavefunction:
    input:
        molecules="resources/fci/molecules.extxyz",
    output:
        weights=WEIGHTS / "{name}.zip",
        card=WEIGHTS / "{name}.json",
        page=WEIGHTS / "{name}.md",
    log:
        WEIGHTS / "logs" / "{name}.log",
    wildcard_constraints:
        name="wavefunction-.*",
    conda:
        BASE_ENVIRONMENT
    resources:
        **asks(lambda wildcards: REQUESTS.training(), gpu=False),
    params:
        **plain("pesbench.training.wavefunction"),
        plan=where(WAVEFUNCTION_FILE),
        # a change in another training is no reason to repeat this one
        asked=lambda wildcards: as_text(
            {
                molecule: asdict(keys)
                for molecule, keys in read_trainings(WAVEFUNCTION_FILE)[wildcards.name].items()
            }
        ),
    shell:
        "{params.python:q} -m pesbench train-wavefunction {wildcards.name:q} --plan {params.plan:q}"
        " --threads {threads:q} --out {output.weights:q} 2> {log:q}"


# Names a user may ask for: `snakemake weights_mace`, `weights_testbed`, `weights_wavefunction`, `weights_apax` and then
# `apax_models`.
rule weights_mace:
    input:
        expand(WEIGHTS / "{name}.{kind}", name=MACE_OPTIONS, kind=["model", "json", "md"]),
    localrule: True


rule weights_testbed:
    input:
        lambda wildcards: expand(
            WEIGHTS / "{name}.{kind}", name=read_variants(TESTBED_FILE), kind=["pt", "json", "md"]
        ),
    localrule: True


rule weights_wavefunction:
    input:
        WEIGHTS / "wavefunction-fci.zip",
    localrule: True


rule weights_apax:
    input:
        lambda wildcards: expand(
            WEIGHTS / "{name}.{kind}",
            name=apax_variants.read_variants(APAX_FILE),
            kind=["zip", "json", "md"],
        ),
    localrule: True


# Of the trainings that are done: one that failed stops nothing but itself.
rule apax_models:
    input:
        weights=lambda wildcards: [
            path
            for name in apax_variants.read_variants(APAX_FILE)
            if (path := WEIGHTS / f"{name}.zip").is_file()
        ],
        registry=RUN.models_file,
        split="resources/mini/split_ethanol.csv",
    output:
        WEIGHTS / "apax_models.yaml",
    log:
        WEIGHTS / "logs" / "apax_models.log",
    localrule: True
    conda:
        BASE_ENVIRONMENT
    params:
        **plain("pesbench.training.apax_registry"),
        variants=where(APAX_FILE),
        folder=where(WEIGHTS),
        beside=BESIDE_APAX,
    shell:
        "{params.python:q} -m pesbench apax-models --variants {params.variants:q}"
        " --weights {params.folder:q} --models-file {input.registry:q} --beside {params.beside:q}"
        " --split {input.split:q} --out {output:q} 2> {log:q}"
