"""Memory that a process has freed."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

import page_faults
from examples import fake_entry
from page_faults import PAGES
from pesbench.engine.worker import Worker

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other C libraries stay as they are"
)
VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


def _page_faults(*words: str, **variables: str) -> int:
    clean = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    command = [sys.executable, page_faults.__file__, *words]
    ended = subprocess.run(command, env=clean | variables, capture_output=True, check=True)
    return int(ended.stdout)


def test_freed_memory_is_kept_for_the_next_arrays():
    assert _page_faults() > PAGES / 4
    assert _page_faults("keep") < PAGES / 100


def test_what_the_user_set_stands():
    given = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    assert _page_faults("keep", **given) > PAGES / 4


def test_the_process_of_a_model_keeps_it(monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    with Worker(fake_entry()) as worker:
        worker.start()
        assert worker.call(page_faults.page_faults) < PAGES / 100
