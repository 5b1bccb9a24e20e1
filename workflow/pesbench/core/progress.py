"""Progress of long work: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
LOG_EVERY_S = 30.0
logger = logging.getLogger("pesbench")


def track(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Pass `items` through, telling on stderr how far it is.

    Args:
        items: What is worked on.
        total: How many there are.
        what: The unit, in the plural, such as "scans".
    """
    tqdm = None
    if sys.stderr.isatty():
        with contextlib.suppress(ImportError):  # the base package is without
            from tqdm import tqdm
    if tqdm is not None:
        yield from tqdm(items, total=total, desc=what, unit=" " + what)
        return
    start = last = time.monotonic()
    done = 0
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= LOG_EVERY_S:
            last = now
            left = (now - start) / done * (total - done)
            logger.info("%d of %d %s, about %.0f s left", done, total, what, left)
    logger.info("%d of %d %s in %.1f s", done, total, what, time.monotonic() - start)
