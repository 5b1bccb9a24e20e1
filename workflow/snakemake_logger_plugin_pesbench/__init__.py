"""`snakemake --logger pesbench`: one line a stage on the terminal; the log files keep the rest.

A plugin as Snakemake's logger interface defines it. A stage is a rule. Errors and warnings are
printed as Snakemake itself formats them.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

_FAILED = (LogEvent.JOB_ERROR, LogEvent.GROUP_ERROR, LogEvent.ERROR)
_CLEAR = "\r\x1b[K"


class LogHandler(LogHandlerBase):
    """Counts the finished jobs of each rule and prints a line when all of them have ended."""

    def __post_init__(self) -> None:
        self._planned: dict[str, int] = {}
        self._rule_of: dict[int, str] = {}
        self._began: dict[str, float] = {}
        self._finished: Counter[str] = Counter()
        self._on_terminal = sys.stderr.isatty()

    @property
    def writes_to_stream(self) -> bool:
        return True

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return False

    @property
    def has_formatter(self) -> bool:
        return False

    @property
    def needs_rulegraph(self) -> bool:
        return False

    def emit(self, record: logging.LogRecord) -> None:
        """Take one event of Snakemake's."""
        event = getattr(record, "event", None)
        if event == LogEvent.RUN_INFO:
            self._planned = {k: n for k, n in record.stats.items() if k not in ("total", "all")}  # type: ignore[attr-defined]
            total = sum(self._planned.values())
            self._print(f"{total} jobs of {len(self._planned)} stages")
        elif event == LogEvent.JOB_INFO:
            name = record.rule_name  # type: ignore[attr-defined]
            self._rule_of[record.jobid] = name  # type: ignore[attr-defined]
            self._began.setdefault(name, time.monotonic())
        elif event == LogEvent.JOB_FINISHED:
            self._count(record.job_id)  # type: ignore[attr-defined]
        elif event in _FAILED or record.levelno >= logging.WARNING:
            self._print(self.format(record))

    def _count(self, job: int) -> None:
        name = self._rule_of.get(job)
        if name not in self._planned:
            return
        self._finished[name] += 1
        if self._finished[name] == self._planned[name]:
            seconds = time.monotonic() - self._began[name]
            plural = "s" * (self._planned[name] > 1)
            self._print(f"{name}: {self._planned[name]} job{plural}, {seconds:.0f} s")
        if self._on_terminal:
            done, total = sum(self._finished.values()), sum(self._planned.values())
            sys.stderr.write(f"{_CLEAR}{done} of {total} jobs")
            sys.stderr.flush()

    def _print(self, text: str) -> None:
        sys.stderr.write(f"{_CLEAR if self._on_terminal else ''}{text}\n")
        sys.stderr.flush()
