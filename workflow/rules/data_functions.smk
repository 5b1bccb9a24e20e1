# Functions of the rules of the data study.

from pesbench.training.data_plan import APPROACH, FAMILIES, MD, read_plan

DATA = WEIGHTS / "data"
DATA_FILE = Path("config/data_training.yaml")


@functools.cache
def data_plan():
    """The plan, which a run that trains nothing need not have."""
    return read_plan(DATA_FILE)


def data_training(wildcards):
    """The training of the wildcard `name`."""
    return data_plan().training_of(wildcards.name, str(DATA_FILE))


def data_frames(ending):
    """Input: a file of the set that a training takes."""
    return lambda wildcards: DATA / f"{data_training(wildcards).frames_name}{ending}"


def done_trainings(wildcards):
    """Input: the weights that are there; data_train makes those of every training."""
    every = [DATA / one.weights_name for one in data_plan().trainings().values()]
    return [path for path in every if path.is_file()]
