"""Protection of batch jobs from the user's session and working folder.

A terminal of Jupyter or Colab names a backend of matplotlib that only a notebook has, a working
folder may hold a `numpy.py`, a shell may turn warnings into errors. What is meant for a job
(threads, devices, proxies, places of caches, `PYTHONPATH`) stays.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

from pesbench.core.errors import HostError, UserError, check_writable

_PACKAGE = str(Path(__file__).parents[2])  # the folder that this package is imported from
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
        folders: Folders from which modules are imported last, too.
    """
    os.environ.update(_SET)
    os.environ.pop("PYTHONOPTIMIZE", None)
    # set in many images of Python; each of a run's many processes would compile what it imports
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
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


def check_python() -> None:
    """Refuse a Python that leaves assertions out: packages of others read files in them.

    Raises:
        UserError: one line with the cure.
    """
    if sys.flags.optimize:
        raise UserError(
            "Python runs with -O or PYTHONOPTIMIZE, without the assertions that ASE and other "
            "packages count on; leave the option out, or `unset PYTHONOPTIMIZE`"
        )


def check_working_folder(folder: Path) -> None:
    """Refuse a folder that Snakemake cannot work in.

    Raises:
        UserError: a shell would read its name.
        HostError: it cannot be written, where Snakemake keeps its records.
    """
    check_words([folder])
    try:
        check_writable(folder)
    except HostError as error:
        raise HostError(
            f"{folder}: Snakemake keeps its records in the folder that it runs in, which cannot be "
            "written or is full; run it in another one, or with `--directory FOLDER`"
        ) from error


def check_words(words: Iterable[object], *, apostrophes: bool = True) -> None:
    """Refuse what Snakemake, or its plugins, would put between double quotes for a shell.

    A command longer than a shell takes becomes a script in the working folder, whose name is put
    so; conda's folders and files are; and with Slurm all of a job's command, whose words are quoted
    as Python quotes them.

    Args:
        words: Paths and options.
        apostrophes: Whether they may occur.

    Raises:
        UserError: one line for the first.
    """
    read = """["`$\\\\]""" if apostrophes else """["`$\\\\']"""
    for word in map(str, words):
        if re.search(read, word):
            raise UserError(
                f"{word}: holds a quotation mark, a backquote, a dollar or a backslash, which a "
                "shell would read here; rename it"
            )


def check_interpreter(path: str) -> None:
    """Refuse an interpreter whose path Snakemake's plugin for Slurm does not quote.

    Raises:
        UserError: one line.
    """
    if re.search(r"[^\w@%+=:,./~-]", path):
        raise UserError(f"{path}: an interpreter for Slurm has a path without spaces and quotes")
