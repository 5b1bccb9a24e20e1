"""Arrays of Slurm's, and what Snakemake's executor plugin (2.8.0) gets wrong about them.

The plugin starts every task of an array as if it were the first one, which then runs the task's own
job, but looks after the output of the first (snakemake-executor-plugin-slurm, issue 447): a task
that fails removes what the first has finished, and one that ends long before the first counts as
failed. Here such a task becomes its own job instead. All tasks get what one of them asks for, first
attempts beside later ones: here each asks for what is enough for any. And of `sacct` the plugin
asks numbers that only one task of an array has (`JobIdRaw`), so that all of them end with that one;
`squeue` tells them apart.
"""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from pesbench.core.errors import UserError
from pesbench.orchestration.requests import Cluster, Request, enough

# rules all of whose jobs go to one kind of node
RULES = ("dynamics", "dynamics_on_cpu", "evaluate", "evaluate_on_cpu", "reference")
# seconds that Slurm has to remember a job that has ended: the plugin looks every 180 s at least
MIN_JOB_AGE_S = 240
FAST_ENOUGH = 100_000  # jobs a second, that a rate of submission holds back none
_PAYLOAD = "--slurm-jobstep-array-execs"
_OWN = "PESBENCH_ARRAY_TASK"  # environment variable: of a task that has become its own job
_WITHOUT = "--slurm-array-jobs ''"


def own_command(arguments: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """The command of a task of an array that was started as the first one; None of anything else.

    Args:
        arguments: Of this process.
        environment: The same.

    Raises:
        UserError: the array was too large for sbatch's command line, which the plugin answers by
            running its first job in place of every other.
    """
    task = environment.get("SLURM_ARRAY_TASK_ID")
    if task in (None, environment.get("SLURM_ARRAY_TASK_MIN")) or _OWN in environment:
        return None
    if "slurm-jobstep" not in arguments:  # started by hand within somebody's own array
        return None
    payload = next((a.partition("=")[2] for a in arguments if a.startswith(f"{_PAYLOAD}=")), "")
    if not payload:
        raise UserError(
            f"task {task} of an array has no job of its own: the array does not fit on sbatch's "
            f"command line; set a smaller slurm-array-limit in slurm/config.yaml, or add {_WITHOUT}"
        )
    from snakemake_executor_plugin_slurm_jobstep import parse_array_execs

    return zlib.decompress(bytes.fromhex(parse_array_execs(payload)[task])).decode()


def become_own_job(arguments: Sequence[str]) -> None:
    """Go on as the own job of a task of an array; nothing in any other process.

    Args:
        arguments: Of this process.

    Raises:
        UserError: see `own_command`.
    """
    command = own_command(arguments, os.environ)
    if command is not None:
        os.execvpe("sh", ["sh", "-c", command], os.environ | {_OWN: "1"})


def min_job_age_s() -> int | None:
    """How long this Slurm remembers a job that has ended; None where it cannot be asked."""
    from snakemake_executor_plugin_slurm.job_status_query import get_min_job_age

    return get_min_job_age()


def holding_back(
    jobs: int | None, resources: Mapping[str, object], jobs_a_second: float | None, scheduler: str
) -> list[str]:
    """The options by which Snakemake itself would hold back jobs that are ready.

    Args:
        jobs: Of `--jobs`; None without a limit.
        resources: Of `--resources`.
        jobs_a_second: Of `--max-jobs-per-timespan`; None without a limit.
        scheduler: Of `--scheduler`.
    """
    found = [] if jobs is None else [f"--jobs {jobs}"]
    found += [f"--resources {name}={most}" for name, most in resources.items()]
    if jobs_a_second is not None and jobs_a_second < FAST_ENOUGH:
        found.append(f"--max-jobs-per-timespan {jobs_a_second:g}/1s")
    if scheduler != "greedy":
        found.append(f"--scheduler {scheduler}")
    return found


def check_arrays(
    rules: Collection[str], options: Sequence[str], status_command: str | None
) -> None:
    """Refuse arrays whose tasks the plugin would lose or mistake for others.

    Args:
        rules: Whose jobs are to be submitted as arrays.
        options: Those of `holding_back`.
        status_command: What tells of jobs, `squeue` or `sacct`.

    Raises:
        UserError: with the options that go together.
    """
    if not rules:
        return
    if other := sorted(set(rules) - set(RULES)):
        raise UserError(
            f"array jobs of {other[0]}: an array asks for one kind of node; set slurm-array-jobs "
            f"to some of {','.join(RULES)}"
        )
    # it forgets what it does not put into an array at once, and waits for ever (its issue 473)
    if options:
        name = options[0].partition(" ")[0]
        raise UserError(
            f"{options[0]} and array jobs: Slurm's plugin would lose jobs; leave {name} out, or "
            f"add {_WITHOUT}"
        )
    if status_command == "sacct":
        raise UserError(
            "array jobs whose state is asked of sacct: Slurm's plugin would mistake tasks of an "
            f"array for one another; take slurm-status-command: squeue, or add {_WITHOUT}"
        )
    age_s = min_job_age_s()
    # the plugin turns to sacct where it does not know
    if age_s < MIN_JOB_AGE_S if age_s is not None else shutil.which("sacct") is not None:
        known = "is not known" if age_s is None else f"is {age_s} s"
        raise UserError(
            f"array jobs need a Slurm that remembers jobs for {MIN_JOB_AGE_S} s after their end, "
            f"and MinJobAge {known} (`scontrol show config`); add {_WITHOUT} "
            "--slurm-status-command sacct"
        )


# --- what tasks ask for --------------------------------------------------------------------------


class Task(Protocol):
    """A job, as Snakemake has it."""

    wildcards: Sequence[str]
    attempt: int


class Amounts:
    """Time and memory that the jobs of a rule ask for.

    Args:
        request: Of a job by its wildcards.
        cluster: Whose longest times hold.
    """

    def __init__(self, request: Callable[[Sequence[str]], Request], cluster: Cluster) -> None:
        self._request, self._cluster = request, cluster
        self._shared: dict[tuple[tuple[str, ...], int], tuple[int, int]] = {}

    def of(
        self, wildcards: Sequence[str], attempt: int, tasks: Callable[[], Collection[Task]]
    ) -> tuple[int, int]:
        """Whole minutes and MB of an attempt of a job.

        Args:
            wildcards: Of the job.
            attempt: From 1.
            tasks: The jobs that are submitted together, this one included; none as long as none
                is ready, and where each goes alone. Called once for all of them.
        """
        own = tuple(wildcards), attempt
        if own not in self._shared:
            each = {(tuple(task.wildcards), task.attempt): task.wildcards for task in tasks()}
            if own not in each:
                return enough([(self._request(wildcards), attempt)], self._cluster)
            every = [(self._request(names), number) for (_, number), names in each.items()]
            self._shared = dict.fromkeys(each, enough(every, self._cluster))
        return self._shared[own]
