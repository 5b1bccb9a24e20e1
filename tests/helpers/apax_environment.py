"""Where the tests that need apax find it: an environment of its own, which they never make."""

from __future__ import annotations

import os

from examples import REPO
from pesbench.files.environment import Environment, environment_of, stamp_of
from pesbench.orchestration.environments import is_made_here, is_whole
from pesbench.orchestration.software import Software
from pesbench.training.apax_variants import TO_BE_TRAINED

VARIABLE = "PESBENCH_APAX_PYTHON"
MISSING = (
    "apax needs JAX and TensorFlow, 2.9 GB: `make weights-apax` makes its environment, or set "
    f"{VARIABLE} to an interpreter that has the packages of envs/apax.txt"
)


def apax_environment() -> Environment | None:
    """The interpreter that the variable names, else what the workflow made here; None if neither.

    Raises:
        UserError: the variable names no interpreter that a worker could start in.
    """
    if given := os.environ.get(VARIABLE):
        return environment_of(given)
    software = Software("venv", REPO / "results" / "environments", REPO)
    asked = software.asked(TO_BE_TRAINED)
    assert asked is not None
    folder = software.folder(asked)
    there = is_whole(folder) and is_made_here(folder)
    return environment_of(str(stamp_of(folder))) if there else None
