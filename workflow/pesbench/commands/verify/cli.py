"""Command `verify-entries`."""

from __future__ import annotations

import argparse
import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pesbench.commands.parsing import Stages
from pesbench.commands.verify.record import RECORD
from pesbench.core.errors import UserError
from pesbench.core.paths import MODELS_FILE


def add(stages: Stages) -> None:
    """The subcommand of this module."""
    stage = stages.add_parser(
        "verify-entries",
        help="compare entries with the source of the packages that they pin",
        for_people=True,
    )
    stage.add_argument("models", nargs="*", help="names of entries; all that pin packages if none")
    stage.add_argument("--models-file", type=Path, default=Path(MODELS_FILE))
    stage.add_argument(
        "--record", action="output", default=RECORD,
        help="JSON that says what was found; the parts of other entries are kept",
    )  # fmt: skip
    stage.add_argument(
        "--packages", type=Path,
        help="folder of wheels and source archives; a wheel that is not there is downloaded into "
        "it. Without it, a folder that is removed in the end",
    )  # fmt: skip
    stage.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pesbench.commands.verify.packages import Packages
    from pesbench.commands.verify.record import is_verifiable, read_record, verify, write_record
    from pesbench.core.names import closest
    from pesbench.models.models_file import read_models

    logger = logging.getLogger("pesbench")
    registry = read_models(arguments.models_file)
    fit = {name: one for name, one in registry.items() if is_verifiable(one)}
    for name in arguments.models:
        if name not in fit:
            known = f"{closest(name, fit)}" if name not in registry else "name another"
            raise UserError(
                f"{arguments.models_file}: no entry {name!r} that pins what it calls; {known}"
            )
    names = arguments.models or list(fit)
    before = read_record(arguments.record)
    record = {name: before[name] for name in before if name in fit and name not in names}
    failures = 0
    with _folder(arguments.packages) as folder:
        packages = Packages(folder)
        for name in names:
            try:
                record[name] = verify(fit[name], packages, Path.cwd())
            except UserError as error:
                failures += 1
                logger.error("%s", error)
                continue
            for path in record[name]["paths"]:
                said = path.get("source") or path["not_checked"]
                logger.info("%s: %s: %s", name, path["path"], said)
    if failures:
        logger.error("%d of %d entries do not fit; nothing was written", failures, len(names))
        return 1
    write_record(arguments.record, record)
    logger.info("%s: written; %d entries", arguments.record, len(record))
    return 0


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="pesbench-packages-") as folder:
        yield Path(folder)
