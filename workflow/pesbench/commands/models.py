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

    stage = stages.add_parser("build-environment", help="make a virtual environment for models")
    stage.add_argument("--requirement", action="append", default=[], metavar="PIN",
                       help="line of pip, such as mace-torch==0.3.16, or a file of them that ends "
                       "in .txt; may be repeated")  # fmt: skip
    stage.add_argument("--python", default="",
                       help="interpreter by name or path (default: that of this "
                       "command)")  # fmt: skip
    stage.add_argument("--record-failure", action="store_true",
                       help="where pip fails, write the reason into the stamp, and end "
                       "well")  # fmt: skip
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
    from pesbench.orchestration.environments import (
        BuildError,
        build_environment,
        record_failure,
    )

    try:
        build_environment(arguments.requirement, arguments.out, arguments.python)
    except BuildError as error:
        if not arguments.record_failure:
            raise
        logging.getLogger("pesbench").error("%s", error)
        record_failure(arguments.out, error.reason)
