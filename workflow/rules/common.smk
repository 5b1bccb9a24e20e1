# What more than one file of rules uses.

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
    """A parameter that says where something lies: another place is no reason to run again.

    Snakemake compares the parameters of earlier runs, but not those derived from the input.
    """
    return lambda wildcards, input: place


def given(value):
    """A parameter that is taken as it stands: in a text, Snakemake would look for wildcards."""
    return lambda wildcards: value


def as_text(value):
    """A parameter as JSON: of a dictionary Snakemake would compare the keys only."""
    return json.dumps(value, sort_keys=True)


def option(name, values):
    """An option and its values as words of a command, each of which is quoted; none without."""
    return [name, *map(str, values)] if values else []


def from_here(paths):
    """Input files relative to the working folder: where that lies is no reason to run again."""
    here = Path.cwd()
    return [path.relative_to(here) if path.is_relative_to(here) else path for path in paths]


def one_of(names):
    """A wildcard's pattern that matches these names and nothing else."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


# --- rules that ask no model --------------------------------------------------------------------

PYTHON = sys.executable
# `snakemake --lint` wants an environment for every rule. With `software: conda` these rules run with
# Snakemake's own interpreter, too.
BASE_ENVIRONMENT = None if RUN.software == "conda" else "../../envs/pesbench.yaml"


def plain(*modules):
    """Parameters `python` and `code` of a rule that asks no model.

    `code` is what decides its output beside its input: these modules and what they import. A module
    that differs from job to job is given by the wildcards.
    """

    def code(wildcards):
        names = (module(wildcards) if callable(module) else module for module in modules)
        return stage_fingerprint(*names)

    if not modules:
        return {"python": where(PYTHON)}
    if not any(map(callable, modules)):
        return {"python": where(PYTHON), "code": stage_fingerprint(*modules)}
    return {"python": where(PYTHON), "code": code}


# --- rules that ask a model ---------------------------------------------------------------------


def of_model(wildcards):
    """The entry of the wildcard `model`."""
    return RUN.models[wildcards.model]


def of_reference(wildcards):
    """The entry that the scan set is made with."""
    return RUN.reference


def asking(module, entry_of):
    """Parameters `python`, `device`, `loading` and `code` of a rule that asks a model.

    `module` names what runs, or gives the name by the wildcards; `entry_of` gives the model's entry.
    """

    def code(wildcards):
        entry = entry_of(wildcards)
        name = module(wildcards) if callable(module) else module
        families = family_modules(entry.families)
        return stage_fingerprint(name, *families) + START.software.requirements(entry)

    return {
        # where the interpreter and the weights lie is no reason to run again
        "python": lambda wildcards, input: START.software.python(entry_of(wildcards)),
        "loading": lambda wildcards, input: loading_options(entry_of(wildcards)),
        "device": RUN.device,
        "code": code,
    }


def environment(entry_of):
    """Input: the file that says that an environment is there, and what it holds."""
    if RUN.software != "venv":
        return []
    return lambda wildcards: START.software.stamps(entry_of(wildcards))


def conda_file(entry_of):
    """What Snakemake would make an environment from."""
    if RUN.software != "conda":
        return BASE_ENVIRONMENT
    return lambda wildcards: START.software.conda_file(entry_of(wildcards))


# --- what jobs ask a scheduler for --------------------------------------------------------------

REQUESTS = Requests(RUN)
CONTROLS = [name for name, entry in RUN.models.items() if entry.family == "control"]
NO_CONTROLS = [name for name in RUN.models if name not in CONTROLS]


def asks(request, gpu):
    """Resources of a rule: time and memory that grow with each attempt, and where the job goes.

    `request` gives those of a job by its wildcards; `gpu` says whether it needs a GPU, or says so
    by the wildcards.
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
    """Whether jobs of an entry get a GPU; None, which is no entry, does not."""
    return entry is not None and uses_gpu(entry, RUN.device)


def model_on_gpu(wildcards):
    """Whether jobs of the wildcard `model` get a GPU."""
    return on_gpu(of_model(wildcards))


# --- files of the scans and of dynamics ---------------------------------------------------------


def seen_option(wildcards, input):
    """A parameter: the file that tells what the model of the wildcard `model` was trained on."""
    return option("--seen-systems", RUN.seen_systems(wildcards.model))


# --- weights that are trained here --------------------------------------------------------------


@functools.cache
def training_method():
    """The modules that decide the numbers of the method that frames for training are made with.

    A registry of one's own need not hold it: the command says so where it is asked for.
    """
    entry = read_models(RUN.models_file).get("gfn2-xtb")
    return family_modules(entry.families if entry else ())
