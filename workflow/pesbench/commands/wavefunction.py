"""Commands of interpolated wave functions."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from pesbench.commands.arguments import number, threads, whole
from pesbench.commands.parsing import Stages
from pesbench.core.host_memory import keep_freed_memory

PLAN = "file of trainings, such as config/wavefunction_training.yaml"


def add(stages: Stages) -> None:
    """The subcommands of this module."""
    stage = stages.add_parser(
        "train-wavefunction", help="calculate the states of family `wavefunction`"
    )
    stage.add_argument("name", help="name of the training")
    stage.add_argument("--plan", type=Path, required=True, help=PLAN)
    stage.add_argument("--threads", type=threads, default=1)
    stage.add_argument("--out", action="output", required=True,
                       help="the weights (zip); their card is written beside them")  # fmt: skip
    stage.set_defaults(run=_train)
    _add_study(stages)


def _add_study(stages: Stages) -> None:
    stage = stages.add_parser(
        "wavefunction-scans", help="interpolated states against full CI, by their number"
    )
    stage.add_argument("--scan-set", type=Path, required=True, help="with full CI as reference")
    stage.add_argument("--weights", type=Path, required=True, help="file of `train-wavefunction`")
    _add_folder(stage, _scans)

    stage = stages.add_parser(
        "wavefunction-far", help="interpolated states far from their training geometries"
    )
    stage.add_argument("name", help="name of the training")
    stage.add_argument("--plan", type=Path, required=True, help=PLAN)
    _add_folder(stage, _far)

    stage = stages.add_parser(
        "wavefunction-nve", help="dynamics with states that are calculated along the way"
    )
    stage.add_argument("name", help="name of the training whose molecules run")
    stage.add_argument("--plan", type=Path, required=True, help=PLAN)
    stage.add_argument("--systems", type=_system, nargs="+", required=True,
                       metavar="ID[=ANGSTROM]",
                       help="ids of the molecules, with the length of their bonds at the "
                       "start")  # fmt: skip
    stage.add_argument("--calculations", type=whole(1, 1000), help="at most (default: 22)")
    stage.add_argument("--steps", type=whole(1, 10_000_000), help="of the long run")
    stage.add_argument("--exploring-steps", type=whole(1, 10_000_000), help="of a short run")
    _add_folder(stage, _nve)

    stage = stages.add_parser("wavefunction-page", help="tell what these studies found")
    stage.add_argument("--cards", type=Path, nargs="+", default=[], metavar="JSON",
                       help="cards of trainings that are told of, too")  # fmt: skip
    _add_folder(stage, _page)


def _add_folder(stage: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None]) -> None:
    stage.add_argument("--threads", type=threads, default=1)
    stage.add_argument("--folder", type=Path, required=True,
                       help="folder that tables are written into")  # fmt: skip
    stage.set_defaults(run=run)


def _system(text: str) -> tuple[str, float | None]:
    name, _, length = text.partition("=")
    return name, number(0, 100, above=True)(length) if length else None


def _prepared(arguments: argparse.Namespace) -> Path:
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # before PySCF is imported
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _scans(arguments: argparse.Namespace) -> None:
    folder = _prepared(arguments)
    from pesbench.compare.wavefunction.study import write_scans

    write_scans(arguments.scan_set, arguments.weights, folder)


def _far(arguments: argparse.Namespace) -> None:
    folder = _prepared(arguments)
    from pesbench.compare.wavefunction.study import write_far

    write_far(arguments.plan, arguments.name, folder)


def _nve(arguments: argparse.Namespace) -> None:
    folder = _prepared(arguments)
    from pesbench.compare.wavefunction.nve import Run
    from pesbench.compare.wavefunction.study import write_nve

    run = Run(
        calculations=arguments.calculations or Run.calculations,
        steps=arguments.steps or Run.steps,
        exploring_steps=arguments.exploring_steps or Run.exploring_steps,
    )
    write_nve(arguments.plan, arguments.name, dict(arguments.systems), run, folder)


def _page(arguments: argparse.Namespace) -> None:
    from pesbench.compare.wavefunction.study import write_page

    write_page(_prepared(arguments), arguments.cards)


def _train(arguments: argparse.Namespace) -> None:
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # before PySCF is imported
    keep_freed_memory()
    from pesbench.training.wavefunction import train_wavefunction

    train_wavefunction(arguments.name, arguments.plan, arguments.out)
