"""The commands of a plan."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pesbench.commands.arguments import cores, number
from pesbench.commands.parsing import Stages, add_model, entry_of, where_of

if TYPE_CHECKING:
    from pesbench.orchestration.config_files import Config


def add(stages: Stages) -> None:
    """The subcommands of this module."""
    stage = stages.add_parser(
        "plan", help="predict the cost of a run, and propose a run within a budget", for_people=True
    )
    _add_plan_config(stage)
    stage.add_argument("--budget-hours", type=number(above=True), metavar="H",
                       help="propose a run that fits; hours of a GPU if a model was timed on "
                       "one")  # fmt: skip
    stage.add_argument("--out", action="output",
                       help="CSV file; Markdown is written beside it (default: plan.csv in "
                       "results)")  # fmt: skip
    stage.add_argument("--no-network", action="store_true", help="download no weights")
    stage.add_argument("--no-probe", action="store_true",
                       help="use the timings that exist, make none")  # fmt: skip
    stage.add_argument("--again", action="store_true", help="time all models again")
    stage.add_argument("--cores", type=cores, default="all", metavar="N",
                       help="cores of the machine, for the hours of wall time (default: "
                       "all)")  # fmt: skip
    _add_probe_seconds(stage)
    stage.set_defaults(run=_plan)

    stage = stages.add_parser("probe-scans", help="choose the scans on which models are timed")
    _add_plan_config(stage)
    stage.add_argument("--out", action="output", required=True, help="scan set")
    stage.set_defaults(run=_probe_scans)

    stage = stages.add_parser("probe", help="time a model on a small and a large molecule")
    add_model(stage)
    stage.add_argument("--scan-set", type=Path, required=True, help="made by `probe-scans`")
    _add_probe_seconds(stage)
    stage.add_argument("--out", action="output", required=True, help="JSON of the timings")
    stage.set_defaults(run=_probe)

    stage = stages.add_parser(
        "plan-actual", help="compare the actual cost of a run with the prediction"
    )
    stage.add_argument("--plan", type=Path, required=True, help="CSV made by `plan`")
    stage.add_argument("--results", type=Path, required=True, help="folder of the scan set")
    stage.add_argument(
        "--out", action="output", required=True, help="CSV of predicted and actual cost"
    )
    stage.set_defaults(run=_plan_actual)


def _add_plan_config(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("--configfile", type=Path, nargs="+", default=[], metavar="FILE",
                       help="config files that override config/config.yaml, as for "
                       "Snakemake")  # fmt: skip
    stage.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE",
                       help="values that override the files, as for Snakemake; or the whole "
                       "config as JSON")  # fmt: skip


def _add_probe_seconds(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("--seconds", type=number(above=True), default=120.0, metavar="S",
                       help="longest time of a call, in seconds; after it no other call is "
                       "made")  # fmt: skip


def _plan_config(arguments: argparse.Namespace) -> Config:
    """The config of a plan: as Snakemake would be given it, or whole, as a rule gives it."""
    from pesbench.orchestration.config_files import is_whole, read_config, read_whole

    if is_whole(arguments.config):
        return read_whole(arguments.config[0])
    return read_config(arguments.configfile, arguments.config)


def _plan(arguments: argparse.Namespace) -> None:
    from pesbench.commands.plan.command import plan

    print(
        plan(
            _plan_config(arguments),
            arguments.configfile,
            arguments.out,
            budget_hours=arguments.budget_hours,
            probe=not arguments.no_probe,
            network=not arguments.no_network,
            again=arguments.again,
            seconds=arguments.seconds,
            cores=arguments.cores,
        )
    )


def _probe_scans(arguments: argparse.Namespace) -> None:
    from pesbench.commands.plan.command import write_scans

    write_scans(_plan_config(arguments), arguments.out)


def _probe(arguments: argparse.Namespace) -> None:
    from pesbench.commands.plan.probe import write_probe

    write_probe(
        entry_of(arguments),
        arguments.scan_set,
        arguments.out,
        device=arguments.device,
        threads=arguments.threads,
        seconds=arguments.seconds,
        environment=where_of(arguments),
    )


def _plan_actual(arguments: argparse.Namespace) -> None:
    from pesbench.commands.plan.command import plan_actual

    print(plan_actual(arguments.plan, arguments.results, arguments.out))
