"""Start of the Snakefile: the config is read and checked before there is any job."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pesbench.core.errors import UserError, check_writable
from pesbench.files.layout import check_layout
from pesbench.models.registry import ModelEntry
from pesbench.orchestration.at_work import take
from pesbench.orchestration.cluster import Cluster, read_cluster
from pesbench.orchestration.config import Run, resolve
from pesbench.orchestration.config_files import DEFAULT_CONFIG, Config, read_config
from pesbench.orchestration.running import announce
from pesbench.orchestration.slurm_queue import refuse_left_over
from pesbench.orchestration.software import Software, software_of
from pesbench.orchestration.surroundings import (
    check_interpreter,
    check_python,
    check_words,
    check_working_folder,
)


@dataclass(frozen=True)
class Given:
    """Config files and values that Snakemake got from the command line or a profile.

    Attributes:
        files: Files of `--configfile`.
        arguments: Arguments of `--config`, as they were written.
        alone: Whether these take the place of `config/config.yaml` as a whole.
        home: Folder of the Snakefile.
        on_slurm: Whether jobs are Slurm's.
        main: Whether this is the process that starts the jobs, and not one of them.
    """

    files: Sequence[Path]
    arguments: Sequence[str]
    alone: bool
    home: Path
    on_slurm: bool
    main: bool = True


@dataclass(frozen=True)
class Start:
    """Config, resolved run and software.

    Attributes:
        config: Config as the user gave it.
        run: The resolved run.
        cluster: Partitions and limits; those of no cluster without Slurm.
        software: Environment of the models' packages.
        on_slurm: Whether jobs are Slurm's.
    """

    config: Config
    run: Run
    cluster: Cluster
    software: Software
    on_slurm: bool

    def begin(self) -> None:
        """Check, before the first of the jobs, that no other run uses the results.

        Raises:
            HostError: the results cannot be written.
            UserError: another run is at work in them, or its jobs are in Slurm's queue; or the
                results are of an earlier version, whose files have other names; or an environment
                was removed or not made here.
        """
        check_writable(self.run.results)
        check_layout(self.run.results)
        self.software.check_there(_asking(self.run))
        take(self.run.results, Path.cwd())
        if self.on_slurm:
            refuse_left_over(Path.cwd())
        announce()


def _asking(run: Run) -> list[ModelEntry]:
    """The entries of which a worker is started."""
    return [*run.running, *filter(None, [run.relax])]


def start(given: Given) -> Start:
    """Read and check a config, and what it needs.

    Raises:
        HostError: the working folder cannot be written.
        UserError: one line for the first thing that is wrong.
    """
    check_python()
    check_working_folder(Path.cwd())
    if re.search("[{}]", str(given.home)):
        raise UserError(f"{given.home}: holds braces, wildcards of Snakemake's; rename it")
    config = read_config(given.files, given.arguments, None if given.alone else DEFAULT_CONFIG)
    run = resolve(config, Path.cwd())
    software = software_of(run)
    if run.software == "conda":
        check_words([given.home, software.built.absolute()])
    if given.main:  # on a node, what is missing for one model would end the jobs of all
        software.check(_asking(run))
    if not given.on_slurm:  # a run on one machine has no use for the names of partitions
        return Start(config, run, Cluster(), software, False)
    check_interpreter(sys.executable)
    files = [*given.files, *run.molecule_files, *run.seen_files]
    folders = [Path.cwd(), given.home, run.results]
    check_words([*folders, *files, *given.arguments], apostrophes=False)
    # of the folder that is worked in, else the one that ships, whatever --directory says
    sites = [folder / "slurm" / "site.yaml" for folder in (Path.cwd(), given.home)]
    return Start(config, run, read_cluster(config.values, *sites), software, True)
