"""What a user's session and working folder hold for other purposes does not reach a batch job.

A terminal of Jupyter or Colab names a backend of matplotlib that only a notebook has, a working
folder may hold a `numpy.py`, a shell may turn warnings into errors. What is meant for a job
(threads, devices, proxies, places of caches, `PYTHONPATH`) stays.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from pathlib import Path

_PACKAGE = str(Path(__file__).parents[1])  # the folder that this package is imported from
_SET = {
    "MPLBACKEND": "agg",
    "MATPLOTLIBRC": os.devnull,
    "PYTHONSAFEPATH": "1",  # children do not import from the working folder first
}
_SILENT = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


def shut_out(*folders: str) -> None:
    """Set this process, and all that it starts, apart from the user's surroundings.

    The working folder is imported from last: a calculator that lies there is found, and a module
    called like a package of others does not take its place.

    Args:
        folders: To import from last, too.
    """
    os.environ.update(_SET)
    if os.environ.pop("PYTHONWARNINGS", None):
        sys.warnoptions.clear()  # which children inherit
        warnings.simplefilter("default")
        for category in _SILENT:
            warnings.simplefilter("ignore", category)
    last_of_all = list(folders)
    with contextlib.suppress(OSError):  # a working folder that was removed
        last_of_all.append(str(Path.cwd()))
    last = [folder for folder in dict.fromkeys(last_of_all) if folder != _PACKAGE]
    sys.path[:] = [place for place in sys.path if place and place not in last] + last
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without Å is no error
            stream.reconfigure(errors="backslashreplace")
