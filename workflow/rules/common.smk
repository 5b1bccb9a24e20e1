# What more than one file of rules uses.


def where(place):
    """A parameter that says where something lies: another place is no reason to run again.

    Snakemake compares the parameters of earlier runs, but not those derived from the input.
    """
    return lambda wildcards, input: place


def given(value):
    """A parameter that is taken as it stands: in a text, Snakemake would look for wildcards."""
    return lambda wildcards: value


def option(name, values):
    """An option and its values as words of a command, each of which is quoted; none without."""
    return [name, *map(str, values)] if values else []


def seen_option(wildcards, input):
    """A parameter: the file that tells what the model of the wildcard `model` was trained on."""
    return option("--seen-systems", RUN.seen_systems(wildcards.model))


def from_here(paths):
    """Input files relative to the working folder: where that lies is no reason to run again."""
    here = Path.cwd()
    return [path.relative_to(here) if path.is_relative_to(here) else path for path in paths]


def evaluation_files(model):
    """The evaluation files of one model."""
    return [RESULTS / model / "scans" / f"{shard}.h5" for shard in RUN.shards(model)]


def evaluations(wildcards):
    """The evaluation files of one model, of the wildcard `model`."""
    return evaluation_files(wildcards.model)


@functools.cache
def scans_of(model, shard):
    """The scans of a job: those selected, and what its file already holds beside them.

    So a wider selection evaluates what is missing, and a narrower one is no reason to run again.
    """
    some = RUN.shards(model, selected=False)[shard]
    held = held_scans(RESULTS / model / "scans" / f"{shard}.h5")
    wanted = {*RUN.shards(model)[shard], *held}
    return [scan for scan in some if scan in wanted]


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


# --- where models find their packages ---------------------------------------------------------------

# of rules that run no model; with `software: conda` they run with Snakemake's own, too
BASE_ENVIRONMENT = None if RUN.software == "conda" else "../../envs/pesbench.yaml"


def of_model(wildcards):
    """The entry of the wildcard `model`."""
    return RUN.models[wildcards.model]


def of_reference(wildcards):
    """The entry that the scan set is made with."""
    return RUN.reference


def interpreter(entry_of):
    """A parameter: what runs an entry. Where it lies is no reason to run again."""
    return lambda wildcards, input: SOFTWARE.python(entry_of(wildcards))


def environment(entry_of):
    """Input: what says that it is there, and what it holds."""
    return lambda wildcards: SOFTWARE.stamps(entry_of(wildcards))


def code_of(stage, entry_of):
    """A parameter: what decides the output beside the input, other packages in an environment too."""

    def code(wildcards):
        entry = entry_of(wildcards)
        return stage_fingerprint(stage, *entry.families) + SOFTWARE.requirements(entry)

    return code


def conda_file(entry_of):
    """What Snakemake would make an environment from."""
    return lambda wildcards: SOFTWARE.conda_file(entry_of(wildcards)) or BASE_ENVIRONMENT


# --- what jobs ask a scheduler for ---------------------------------------------------------------

REQUESTS = Requests(RUN)
CONTROLS = [name for name, entry in RUN.models.items() if entry.family == "control"]
NO_CONTROLS = [name for name in RUN.models if name not in CONTROLS]
# a job of a cluster is a Snakemake, too, and shall not try again by itself
RETRIES = 3 if workflow.is_main_process else 0


def one_of(names):
    """A wildcard's pattern that matches these names and nothing else."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


def array_rules():
    """Rules whose jobs Slurm gets as arrays; known once the run has started, and not in a dry run."""
    return re.findall(r"\w+", getattr(workflow.executor_settings, "array_jobs", None) or "")


def tasks(rulename):
    """Jobs of a rule that Slurm is about to get as arrays."""
    if rulename not in array_rules():
        return []
    return [job for job in workflow.dag.ready_jobs if job.rule.name == rulename]


def held_back_by():
    """The options of this run by which Snakemake holds back jobs that are ready."""
    nodes = workflow.resource_settings.nodes
    rate = workflow.scheduling_settings.max_jobs_per_timespan
    return holding_back(
        None if nodes == sys.maxsize else nodes,
        # beside its own, _cores and _nodes
        {
            name: resource.value
            for name, resource in workflow.global_resources.items()
            if not name.startswith("_")
        },
        rate and rate.max_jobs / rate.timespan,
        workflow.scheduling_settings.scheduler,
    )


def slurm_run():
    """What Slurm's jobs of this run are called; "" where there is none."""
    submitted = next((job for job in workflow.dag.needrun_jobs() if not job.is_local), None)
    return workflow.scheduler.get_executor(submitted).run_uuid if submitted else ""


def asks(request, gpu):
    """The resources of a rule, time and memory growing with each attempt.

    `request` gives a job's own from its wildcards. What goes to Slurm at a time as arrays asks for
    what is enough for every task.
    """
    amounts = Amounts(request, CLUSTER)

    def runtime(wildcards, attempt, rulename):
        return amounts.of(wildcards, attempt, lambda: tasks(rulename))[0]

    def memory(wildcards, attempt, rulename):
        return amounts.of(wildcards, attempt, lambda: tasks(rulename))[1]

    return {"runtime": runtime, "mem_mb": memory} | CLUSTER.place(gpu)


def on_gpu(entry):
    """Whether jobs of an entry get a GPU; None, which is no entry, does not."""
    return entry is not None and uses_gpu(entry, RUN.device)


def place_of_model(key):
    """A key of `CLUSTER.place` by the wildcard `model`, for a rule of models of both kinds."""
    return lambda wildcards: CLUSTER.place(on_gpu(RUN.models[wildcards.model])).get(key)


def evaluation_asks(gpu):
    """The resources of evaluations."""
    return asks(lambda wildcards: REQUESTS.evaluation(wildcards.model, wildcards.shard), gpu)


def dynamics_asks(gpu):
    """The same of dynamics."""
    return asks(lambda wildcards: REQUESTS.dynamics(wildcards.model, wildcards.shard), gpu)


onstart:
    try:
        check_writable(RESULTS)
        take(RESULTS, Path.cwd())
    except (HostError, UserError) as error:
        sys.exit(f"pesbench: error: {error}")
    if hasattr(workflow.executor_settings, "array_jobs"):  # Slurm's
        try:
            check_arrays(
                array_rules(), held_back_by(), workflow.executor_settings.status_command
            )
            refuse_left_over(Path.cwd(), runs_at_work(Path.cwd()))
        except UserError as error:
            sys.exit(f"pesbench: error: {error}")
        note_run(Path.cwd(), slurm_run())


onsuccess:
    if workflow.is_main_process and (said := summary(RESULTS)):
        print(said, file=sys.stderr)
