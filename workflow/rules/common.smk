# What more than one file of rules uses.


def where(place):
    """A parameter that says where something lies: another place is no reason to run again.

    Snakemake compares the parameters of earlier runs, but not those derived from the input.
    """
    return lambda wildcards, input: str(place)


def evaluation_files(model):
    """The evaluation files of one model."""
    return [RESULTS / model / "scans" / f"{shard}.h5" for shard in RUN.shards(model)]


def evaluations(wildcards):
    """The evaluation files of one model, of the wildcard `model`."""
    return evaluation_files(wildcards.model)


def trajectory_files(model):
    """The trajectory files of one model."""
    return [RESULTS / model / "dynamics" / f"{shard}.h5" for shard in RUN.dynamics_shards]


def training_of(file, name):
    """What decides the training of a variant of the testbed."""
    return asdict(find_variant(file, name))


def variant_names(file):
    """Names of the testbed's variants."""
    return list(read_variants(file))


def as_text(value):
    """A parameter as JSON: of a dictionary Snakemake would compare the keys only."""
    return json.dumps(value, sort_keys=True)
