"""Commands on entries of the registry and their environments."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pesbench.commands.parsing import TRUST, Stages, registered
from pesbench.core.paths import MODELS_FILE

if TYPE_CHECKING:
    pass


def add(stages: Stages) -> None:
    """The subcommands of this module."""
    stage = stages.add_parser(
        "entry", help="resolve one entry of the registry, and fetch its weights", for_people=True
    )
    stage.add_argument("model", help="name of the entry")
    stage.add_argument("--models-file", type=Path, default=Path(MODELS_FILE))
    stage.add_argument("--trust", action="store_true", help=TRUST)
    stage.add_argument("--out", action="output", required=True, help="JSON of the resolved entry")
    stage.set_defaults(run=_entry)

    stage = stages.add_parser("build-environment", help="make a virtual environment for one family")
    stage.add_argument("--requirements", type=Path, required=True,
                       help="requirements file of pip, such as envs/mace.txt")  # fmt: skip
    stage.add_argument(
        "--out", type=Path, required=True, help="folder of the environment; it is emptied first"
    )
    stage.set_defaults(run=_build_environment)


def _entry(arguments: argparse.Namespace) -> None:
    from pesbench.files.atomic import write_json
    from pesbench.models.fetching import settle

    entry = registered(arguments.model, arguments.models_file, trust=arguments.trust)
    write_json(arguments.out, settle(entry))
    logging.getLogger("pesbench").info(
        "%s: written; its --entry-sha256 is %s", arguments.out, entry.sha256
    )


def _build_environment(arguments: argparse.Namespace) -> None:
    from pesbench.orchestration.environments import build_environment

    build_environment(arguments.requirements, arguments.out)
