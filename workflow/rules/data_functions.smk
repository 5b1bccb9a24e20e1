# Functions of the rules of studies of data.

from pesbench.training.data_plan import ADDED, APPROACH, FAMILIES, MD, RANDOM, read_plan

# the studies, whose frames and weights each have a folder, and the plans of their trainings
PLANS = {
    "data": Path("config/data_training.yaml"),
    "harvest": Path("config/harvest_training.yaml"),
}
STUDY = WEIGHTS / "{study}"
TRAINING = f"({one_of(FAMILIES)})" + "-[a-z]+-[0-9]+(-round_[0-9]+)?(-seed_[0-9]+)?"


@functools.cache
def plan_of(study):
    """The plan of a study, which a run that trains nothing need not have."""
    return read_plan(PLANS[study])


def data_training(wildcards):
    """The training of the wildcards `study` and `name`."""
    return plan_of(wildcards.study).training_of(wildcards.name, str(PLANS[wildcards.study]))


def data_frames(ending):
    """Input: a file of the set that a training takes."""
    return lambda wildcards: STUDY / f"{data_training(wildcards).frames_name}{ending}"


def asked_harvests(wildcards):
    """Input: what was harvested for a training, one file a round."""
    return [STUDY / f"{one.name}.harvest.extxyz" for one in data_training(wildcards).asked]


def random_frames(wildcards):
    """Input: the random frames of a training that takes some."""
    return [STUDY / "hot.extxyz"] if data_training(wildcards).kind == RANDOM else []


def study_weights(study):
    """Input: the weights of all trainings of a study."""
    return lambda wildcards: [
        WEIGHTS / study / one.weights_name for one in plan_of(study).trainings().values()
    ]


def done_trainings(wildcards):
    """Input: the weights that are there; data_train makes those of every training."""
    return [path for path in study_weights(wildcards.study)(wildcards) if path.is_file()]
