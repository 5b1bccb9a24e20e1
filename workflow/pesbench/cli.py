"""The command line: one subcommand a stage, each of them what one rule runs.

The subcommands are found by looking: every module of `pesbench.commands`, and every module `cli` of
its packages and of the tasks, that has a function `add`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pesbench.commands.parsing import WRITES, bounded, parser
from pesbench.core.errors import HostError, UserError, disk_failure
from pesbench.core.paths import check_folder, check_outputs
from pesbench.core.text import LineFormatter
from pesbench.orchestration import running
from pesbench.orchestration.surroundings import check_python, shut_out

INTERRUPTED = 130  # exit code, as of a shell after Ctrl-C


def _check_outputs(arguments: argparse.Namespace) -> None:
    values = vars(arguments)
    outputs = {k.removeprefix(WRITES): v for k, v in values.items() if k.startswith(WRITES)}
    others = [v for k, v in values.items() if k not in outputs and not k.startswith(WRITES)]
    inputs = [one for value in others for one in (value if isinstance(value, list) else [value])]
    if isinstance(archive := values.get("archive"), str) and "://" not in archive:
        inputs.append(Path(archive))  # an address or a path
    check_outputs(outputs, inputs)
    if isinstance(work := values.get("work"), Path):
        check_folder("work", work)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one stage.

    Returns:
        Exit code: 0, 1 where `check` found a limit violated or `strict` a model that failed, 2
        for bad input (one line on stderr), 75 where the machine failed and a second call
        continues, 130 where the user interrupted it.
    """
    shut_out()
    messages = logging.StreamHandler(sys.stderr)
    messages.setFormatter(LineFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[messages])
    arguments = parser().parse_args(argv)
    running.join()
    try:
        check_python()
        _check_outputs(arguments)
        return arguments.run(arguments) or 0
    except KeyboardInterrupt:
        logging.getLogger("pesbench").error("pesbench: interrupted; the same command continues")
        return INTERRUPTED
    except (UserError, HostError) as error:
        failure = error
    except MemoryError as error:
        failure = HostError(f"{str(error) or 'not enough memory'}; free some, or ask for more")
    except (OSError, RuntimeError) as error:
        found = disk_failure(error, getattr(arguments, "out", None))
        if found is None and isinstance(error, OSError) and error.filename is not None:
            where = os.fsdecode(error.filename)
            found = UserError(f"{where}: {error.strerror}; give another path, or mend this one")
        if found is None:
            raise
        failure = found
    logging.getLogger("pesbench").error("pesbench: error: %s", bounded(failure))
    return failure.exit_code
