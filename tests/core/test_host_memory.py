"""Memory that a process has freed."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys

import pytest

ARRAYS = """
import resource, sys
import numpy as np
from pesbench.core.host_memory import keep_freed_memory
if "keep" in sys.argv:
    keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [np.ones(2**18) for _ in range(100)]
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 100 * 2**21 // resource.getpagesize()
pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other C libraries stay as they are"
)
VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


def _page_faults(*words: str, **variables: str) -> int:
    """Pages that the system hands out again for arrays of the size of those that were freed."""
    clean = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    command = [sys.executable, "-c", ARRAYS, *words]
    ended = subprocess.run(command, env=clean | variables, capture_output=True, check=True)
    return int(ended.stdout)


def test_freed_memory_is_kept_for_the_next_arrays():
    assert _page_faults() > PAGES / 4
    assert _page_faults("keep") < PAGES / 100


def test_what_the_user_set_stands():
    given = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    assert _page_faults("keep", **given) > PAGES / 4
