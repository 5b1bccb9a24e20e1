# Functions of the rules of the transfer study.

from pesbench.training.transfer_plan import ROUTES, STARTED, read_transfer_plan

TRANSFER = WEIGHTS / "transfer"
TRANSFER_FILE = Path("config/transfer_training.yaml")


@functools.cache
def transfer_plan():
    """The plan, which a run that trains nothing need not have."""
    return read_transfer_plan(TRANSFER_FILE)


def transfer_method(level):
    """The modules that decide the numbers of a method of the plan."""

    def modules(wildcards):
        entry = registry().get(getattr(transfer_plan(), level))
        return family_modules(entry.families if entry else ())

    return modules


def transfer_training(wildcards):
    """The training of the wildcard `name`."""
    return transfer_plan().training_of(wildcards.name, str(TRANSFER_FILE))


def transfer_start(wildcards):
    """The pretraining of the wildcard `name`."""
    return transfer_plan().start_of(wildcards.name, str(TRANSFER_FILE))


def expensive_frames(ending):
    """Input: a file of the set that a training takes."""

    def path(wildcards):
        one = transfer_training(wildcards)
        return TRANSFER / f"expensive-{one.frames}-draw_{one.seed}{ending}"

    return path


def cheap_frames(ending):
    """Input: a file of the set that a pretraining takes."""

    def path(wildcards):
        one = transfer_start(wildcards)
        return TRANSFER / f"cheap-{transfer_plan().cheap_frames}-draw_{one.seed}{ending}"

    return path


def started_from(wildcards):
    """Input: the weights of the pretraining that a training starts from, or none."""
    start = transfer_training(wildcards).start
    return [TRANSFER / start.weights_name] if start else []


def transfer_repeats(wildcards):
    """How often an epoch passes over a set."""
    if wildcards.level == "cheap":
        return 1
    return transfer_plan().repeats(int(wildcards.number))


def done_transfers(wildcards):
    """Input: the weights that are there; transfer_train makes those of every training."""
    every = [TRANSFER / one.weights_name for one in transfer_plan().trainings().values()]
    return [path for path in every if path.is_file()]
