# Functions that more than one file of rules uses.

import functools
import json
import re
import sys
from pathlib import Path

from pesbench.files.fingerprint import family_modules, stage_fingerprint
from pesbench.models.models_file import read_models
from pesbench.orchestration.config import loading_options
from pesbench.orchestration.cluster import PLACE
from pesbench.orchestration.requests import Requests, uses_gpu
from pesbench.report.terminal import summary

# --- parameters and input -----------------------------------------------------------------------


def where(place):
    """A parameter that is a path: another path is no reason to run again.

    Snakemake compares parameters with those of earlier runs, except those derived from the input.
    """
    return lambda wildcards, input: place


def given(value):
    """A literal parameter: in a plain string, Snakemake would look for wildcards."""
    return lambda wildcards: value


def as_text(value):
    """A parameter as JSON, because Snakemake compares only the keys of a dictionary."""
    return json.dumps(value, sort_keys=True)


def option(name, values):
    """An option and its quoted values as words of a command; nothing if there are no values."""
    return [name, *map(str, values)] if values else []


def from_here(paths):
    """Input files relative to the working folder: another place of it is no reason to run again."""
    here = Path.cwd()
    return [path.relative_to(here) if path.is_relative_to(here) else path for path in paths]


def one_of(names):
    """A pattern of a wildcard that matches only these names."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


# --- rules that run no model --------------------------------------------------------------------

PYTHON = sys.executable
# `snakemake --lint` requires an environment for every rule. With `software: conda` these rules still run
# with Snakemake's own interpreter. A relative path would start from the folder of the rule's file, and tasks have
# rules, too.
BASE_ENVIRONMENT = None if RUN.software == "conda" else str(HOME / "envs" / "pesbench.yaml")


def plain(*modules):
    """Parameters `python` and `code` of a rule that runs no model.

    `code` is the fingerprint of the code that decides the output: these modules and their imports.
    Modules that differ from job to job follow from the wildcards.
    """

    def code(wildcards):
        some = (module(wildcards) if callable(module) else (module,) for module in modules)
        return stage_fingerprint(*(name for names in some for name in names))

    if not modules:
        return {"python": where(PYTHON)}
    if not any(map(callable, modules)):
        return {"python": where(PYTHON), "code": stage_fingerprint(*modules)}
    return {"python": where(PYTHON), "code": code}


# --- rules that run a model ---------------------------------------------------------------------


def of_model(wildcards):
    """The entry of the wildcard `model`."""
    return RUN.models[wildcards.model]


def of_reference(wildcards):
    """The entry that the scan set is made with."""
    return RUN.reference


def of_relax(wildcards):
    """The entry that relaxes the molecules of the scan set."""
    return RUN.relax


@functools.cache
def registry():
    """All entries of the registry by name."""
    return read_models(RUN.models_file)


def of_labels(wildcards):
    """The entry of the wildcard `labels`, which need not be a model of the run."""
    if wildcards.labels not in registry():
        raise WorkflowError(
            f"{RUN.models_file}: no entry {wildcards.labels!r}; ask for labels of one that is there"
        )
    return registry()[wildcards.labels]


def asking(modules, entry_of):
    """Parameters `python`, `environment`, `device`, `loading` and `code` of a rule that runs a model.

    `modules` is the name of the module that runs, or a function of the wildcards that returns those
    that decide the output; `entry_of` returns the entry of the model.
    """

    def code(wildcards):
        entry = entry_of(wildcards)
        names = modules(wildcards) if callable(modules) else (modules,)
        families = family_modules(entry.families)
        return stage_fingerprint(*names, *families) + START.software.requirements(entry)

    return {
        # another path of the interpreter or of the weights is no reason to run again
        "python": where(PYTHON),
        "environment": lambda wildcards, input: START.software.option(entry_of(wildcards)),
        "loading": lambda wildcards, input: loading_options(entry_of(wildcards)),
        "device": RUN.device,
        "code": code,
    }


def environment(entry_of):
    """Input: the stamp of an environment that the workflow makes, which lists its content."""
    return lambda wildcards: START.software.stamps(entry_of(wildcards))


def conda_file(entry_of):
    """File from which Snakemake makes an environment."""
    if RUN.software != "conda":
        return BASE_ENVIRONMENT
    return lambda wildcards: START.software.conda_file(entry_of(wildcards))


# --- requests to a scheduler --------------------------------------------------------------------

REQUESTS = Requests(RUN)
CONTROLS = [name for name, entry in RUN.models.items() if entry.is_control]
NO_CONTROLS = [name for name in RUN.models if name not in CONTROLS]


def asks(request, gpu):
    """Resources of a rule: time and memory, which grow with each attempt, and the partition.

    `request` returns those of a job from its wildcards; `gpu` is whether it needs a GPU, or a function
    of the wildcards that returns this.
    """

    def place(key):
        return lambda wildcards: START.cluster.place(gpu(wildcards)).get(key)

    places = {key: place(key) for key in PLACE} if callable(gpu) else START.cluster.place(gpu)
    return {
        "runtime": lambda wildcards, attempt: request(wildcards).runtime_min(
            attempt, START.cluster
        ),
        "mem_mb": lambda wildcards, attempt: request(wildcards).memory_of_attempt_mb(
            attempt, START.cluster
        ),
        **places,
    }


def on_gpu(entry):
    """Whether jobs of an entry get a GPU; False for None, which stands for no entry."""
    return entry is not None and uses_gpu(entry, RUN.device)


def model_on_gpu(wildcards):
    """Whether jobs of the wildcard `model` get a GPU."""
    return on_gpu(of_model(wildcards))


# --- files of the scans and of dynamics ---------------------------------------------------------


def seen_option(wildcards, input):
    """A parameter: the file of the systems that the model of the wildcard `model` was trained on."""
    return option("--seen-systems", RUN.seen_systems(wildcards.model))


# --- weights that are trained here --------------------------------------------------------------


@functools.cache
def training_method():
    """The modules that decide the numbers of the method that makes frames for training.

    The registry of a user may lack this method; the command that needs it then says so.
    """
    entry = registry().get("gfn2-xtb")
    return family_modules(entry.families if entry else ())
