"""Properties of a cluster: account, partitions, and the limits of a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pesbench.core.settings import setting
from pesbench.files.strict_yaml import read_yaml
from pesbench.files.validation import check_block, validate

PLACE = ("gpu", "gpu_model", "slurm_account", "slurm_partition")


@dataclass(frozen=True)
class Cluster:
    """The block `cluster` of a config, or of `slurm/site.yaml`."""

    account: str | None = setting(
        None, help="Account that is charged; without this key the user's default.", pattern="."
    )
    cpu_partition: str | None = setting(
        None,
        help="Partition of jobs without a GPU; without this key the cluster's default.",
        pattern=".",
    )
    gpu_partition: str | None = setting(
        None,
        help="Partition of jobs with a GPU; without this key the cluster's default.",
        pattern=".",
    )
    gpu_model: str | None = setting(
        None,
        help="Slurm's name of the type of GPU, such as `a100`; without this key any type. A job "
        "that is resubmitted and gets another type starts from the beginning.",
        pattern="^[a-zA-Z0-9_.]+$",
    )
    cpu_hours: float = setting(
        24.0,
        help="Longest time that a job without a GPU may ask for, in hours; one that needs more "
        "continues at its next attempt.",
        at_least=0.01,
        at_most=100_000,
    )
    gpu_hours: float = setting(
        24.0,
        help="Longest time that a job with a GPU may ask for, in hours.",
        at_least=0.01,
        at_most=100_000,
    )
    cpu_memory_gb: float | None = setting(
        None,
        help="Largest memory that a job without a GPU may ask for, in GB; without this key no "
        "limit.",
        at_least=0.1,
        at_most=1_000_000,
    )
    gpu_memory_gb: float | None = setting(
        None,
        help="Largest memory that a job with a GPU may ask for, in GB; without this key no limit.",
        at_least=0.1,
        at_most=1_000_000,
    )
    time_factor: float = setting(
        1.0,
        help="Factor on all estimates of time, such as 2 for nodes half as fast.",
        at_least=0.001,
        at_most=1000,
    )

    def place(self, gpu: bool) -> dict[str, Any]:
        """Resources that say where a job goes, as Snakemake's executor for Slurm calls them.

        Args:
            gpu: Whether it needs a GPU.

        Returns:
            Some of `PLACE`: what is not set is left to the cluster.
        """
        partition = self.gpu_partition if gpu else self.cpu_partition
        found: dict[str, Any] = {"slurm_account": self.account, "slurm_partition": partition}
        if gpu:
            found |= {"gpu": 1, "gpu_model": self.gpu_model}
        return {key: value for key, value in found.items() if value is not None}


def read_cluster(config: Mapping[str, Any], *paths: Path) -> Cluster:
    """The cluster of a configuration, or of the profile's own file where it names none.

    Args:
        config: Config as Snakemake read it.
        paths: Possible paths of `slurm/site.yaml`; the first that exists counts.

    Raises:
        UserError: one line for the first thing that is wrong.
    """
    block, place = config.get("cluster"), "config: `cluster`"
    path = next((path for path in paths if path.is_file()), None)
    if block is None and path is not None:
        content = read_yaml(path)
        content = {} if content is None else content
        check_block(content, str(path))
        block, place = content.get("cluster"), f"{path}: `cluster`"
    return validate(Cluster, {} if block is None else block, place)
