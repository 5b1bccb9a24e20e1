"""Whether the import paths of an entry lead somewhere, looked at in a process of its own."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict

from pesbench.core.errors import UserError, signal_name
from pesbench.core.interface import one_line
from pesbench.models import import_probe
from pesbench.models.calls import Named

TIMEOUT_S = 300
_MOST_BYTES = 100_000  # of an answer
logger = logging.getLogger("pesbench")


def check_imports(name: str, paths: Sequence[Named]) -> None:
    """Refuse import paths that lead nowhere, or to what does not take its arguments.

    The imports run in a process of their own: they may be slow, or change global state. Code that
    is there and crashes or hangs when it is imported is a model that does not load, which is a
    result.

    Args:
        name: Name of the entry, for messages.
        paths: What is looked at, one after another.

    Raises:
        UserError: one line with the place and the original error.
    """
    answer, died = _asked(paths)
    where = f"`{answer.get('place')}: {one_line(answer.get('path'))}`"
    reason = one_line(answer.get("text", "")) or "no message"
    if died or answer.get("kind") == import_probe.FAILED:
        logger.warning("model %r: fails when it is imported (%s)", name, died or reason)
    elif answer.get("kind") == import_probe.MISSING:
        raise UserError(
            f"model {name!r}: {where} does not import ({reason}); "
            "correct the path (module:Class) or install its package"
        )
    elif answer:
        raise UserError(
            f"model {name!r}: {where} does not take the arguments of the entry ({reason}); "
            "correct them"
        )


def _asked(paths: Sequence[Named]) -> tuple[dict[str, str], str]:
    """The answer of the process, {} where nothing is wrong, and how it ended if it gave none."""
    with tempfile.TemporaryFile() as answered:  # no pipe, which a child of the import might hold
        process = subprocess.Popen(
            [sys.executable, "-P", import_probe.__file__, str(answered.fileno()),
             json.dumps([asdict(one) for one in paths])],
            pass_fds=[answered.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONSAFEPATH": "1"},
            start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return {}, f"no answer in {TIMEOUT_S} s"
        finally:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        answered.seek(0)
        with contextlib.suppress(ValueError):
            return json.loads(answered.read(_MOST_BYTES)), ""
    return {}, f"signal {signal_name(-code)}" if code < 0 else f"exit code {code}"
