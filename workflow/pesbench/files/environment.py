"""Environment of a model: the interpreter that its worker is started with.

A command runs in one interpreter, and the process that holds the model may run in another one,
with the packages of that model. A file beside such an environment, its stamp, says that it is
whole, or why it could not be made.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pesbench.core.errors import UserError, reading
from pesbench.core.interface import one_line
from pesbench.files import provenance
from pesbench.files import software as script

FORMAT = "pesbench-environment"
NEEDED = ("ase", "h5py", "numpy")  # what this package itself imports in a worker
OLDEST_PYTHON = (3, 11)
CONDA = "conda"  # stands for the environment that conda has activated
_STAMP = ".json"
_START_S = 120.0  # for an interpreter on a cold file system


def python_of(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / "bin" / "python"


def stamp_of(folder: Path) -> Path:
    """Stamp that states that an environment is complete, and its content."""
    return folder.with_name(f"{folder.name}{_STAMP}")


@dataclass(frozen=True)
class Environment:
    """Where a model runs.

    Attributes:
        python: Path of the interpreter.
        failure: Why the environment could not be made, as a model's message; "" if it is there.
    """

    python: str = sys.executable
    failure: str = ""

    @property
    def is_here(self) -> bool:
        """Whether it is the environment of this process."""
        return self.python == sys.executable and not self.failure

    @property
    def software(self) -> dict[str, Any]:
        """Python, platform and versions of packages, as provenance records them.

        Raises:
            UserError: the interpreter does not start.
        """
        own = script.software(provenance.package_versions())
        if self.failure:
            return own | {"python": "", "packages": {}}
        if self.is_here:
            return own
        answer = _software_of(self.python)
        code = {name: number for name, number in own["packages"].items() if name == "pesbench"}
        return answer | {"packages": code | answer["packages"]}


HERE = Environment()


def environment_of(text: str | None) -> Environment:
    """The environment that the option `--environment` names.

    Args:
        text: Stamp of an environment (JSON), name or path of an interpreter, or `conda` for the
            environment that is activated; None for the environment of this process.

    Raises:
        UserError: there is none, or it lacks what a worker needs.
    """
    if text is None:
        return HERE
    if text.endswith(_STAMP):
        found = _of_stamp(Path(text))
    elif text == CONDA:
        found = _activated()
    elif path := shutil.which(Path(text).expanduser() if "/" in text else text):
        found = Environment(str(Path(path).absolute()))  # a link says which environment it is of
    else:
        raise UserError(
            f"--environment {text}: no such interpreter; give the path of one, or the stamp "
            f"(FOLDER{_STAMP}) that `pesbench build-environment` writes"
        )
    if not found.failure:
        _check(found)
    return found


def failure_of(stamp: Path) -> str:
    """Why an environment could not be made; "" if its stamp says that it is whole.

    Raises:
        UserError: the file is no stamp.
    """
    with reading(stamp, "no stamp of an environment", "delete it, and the workflow makes it anew"):
        content = json.loads(stamp.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError("another format")
        return one_line(content.get("failure", ""))


def _of_stamp(stamp: Path) -> Environment:
    if failure := failure_of(stamp):
        return Environment("", f"its environment could not be made: {failure}")
    python = python_of(stamp.with_suffix("").absolute())
    if not python.exists():
        raise UserError(
            f"{stamp}: the environment beside it is gone; delete this file, and the workflow makes "
            "it anew"
        )
    return Environment(str(python))


def _activated() -> Environment:
    """The environment that conda has activated.

    Raises:
        UserError: there is none, or it is that of this process.
    """
    prefix = os.environ.get("CONDA_PREFIX", "")
    if not prefix or Path(prefix).resolve() == Path(sys.prefix).resolve():
        raise UserError(
            "`software: conda` needs `--software-deployment-method conda` on the command line of "
            "snakemake, too; add it"
        )
    return Environment(str(python_of(Path(prefix))))


def _check(environment: Environment) -> None:
    """Refuse an environment that no worker can run in.

    Raises:
        UserError: it does not start, is too old or lacks a package.
    """
    if environment.is_here:
        return
    found = environment.software
    if tuple(map(int, found["python"].split(".")[:2])) < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise UserError(
            f"{environment.python}: is Python {found['python']}; a model needs {oldest} or newer"
        )
    if missing := [name for name in NEEDED if name not in found["packages"]]:
        raise UserError(
            f"{environment.python}: has no {' and no '.join(missing)}, which a worker needs; "
            "install what is missing there, or let `pesbench build-environment` make one"
        )


@functools.cache
def _software_of(python: str) -> dict[str, Any]:
    names = (*NEEDED, *provenance.recorded())
    answer: dict[str, Any] = json.loads(said_by(python, "-I", script.__file__, *names))
    return answer


def said_by(python: str, *words: str) -> str:
    """What an interpreter prints.

    Raises:
        UserError: it does not start.
    """
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    try:
        done = subprocess.run(
            [python, *words], env=clean, stdin=subprocess.DEVNULL, capture_output=True,
            encoding="utf-8", errors="replace", check=False, timeout=_START_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{python}: no answer in {_START_S:g} s; give another one") from error
    except OSError as error:
        raise UserError(f"{python}: does not start ({error.strerror}); give another") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        said = one_line(lines[0]) if lines else f"exit code {done.returncode}"
        raise UserError(f"{python}: does not start ({said}); give another one")
    return done.stdout
