"""How many pages the system hands out again for arrays of the size of those that were freed.

python page_faults.py           as glibc is by default
python page_faults.py keep      after `keep_freed_memory`
"""

from __future__ import annotations

import resource
import sys

import numpy as np

from pesbench.core.host_memory import keep_freed_memory

ARRAYS = 100
PAGES = ARRAYS * 2**21 // resource.getpagesize()  # of all arrays


def page_faults(_: object = None) -> int:
    """Page faults of the second of two rounds; the argument is the model of a worker."""
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        arrays = [np.ones(2**18) for _ in range(ARRAYS)]
        del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


if __name__ == "__main__":
    if "keep" in sys.argv:
        keep_freed_memory()
    print(page_faults())
