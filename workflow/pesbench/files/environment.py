"""Environment of a model: the interpreter that its worker is started with.

A command runs in one interpreter, and the process that holds the model may run in another one,
with the packages of that model. A file beside such an environment, its stamp, says that it is
whole, or why it could not be made.
"""

from __future__ import annotations

import functools
import json
import os
import re
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
        packages: Names of what the workflow installed; provenance records their versions.
    """

    python: str = sys.executable
    failure: str = ""
    packages: tuple[str, ...] = ()

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
        names = dict.fromkeys((*NEEDED, *self.packages, *provenance.recorded()))
        answer = _software_of(self.python, tuple(names))
        code = {name: number for name, number in own["packages"].items() if name == "pesbench"}
        return answer | {"packages": code | answer["packages"]}


HERE = Environment()


@dataclass(frozen=True)
class Stamp:
    """Content of a stamp.

    Attributes:
        failure: Why the environment could not be made; "" if it is whole.
        packages: Names of what is installed.
    """

    failure: str
    packages: tuple[str, ...] = ()


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


def read_stamp(stamp: Path) -> Stamp:
    """What the stamp of an environment says.

    Raises:
        UserError: the file is no stamp.
    """
    with reading(stamp, "no stamp of an environment", "delete it, and the workflow makes it anew"):
        content = json.loads(stamp.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError("another format")
        if failure := content.get("failure"):
            return Stamp(one_line(failure))
        return Stamp("", tuple(re.split(r"==| @ ", line)[0] for line in content["packages"]))


def _of_stamp(stamp: Path) -> Environment:
    said = read_stamp(stamp)
    if said.failure:
        return Environment("", f"its environment could not be made: {said.failure}")
    python = python_of(stamp.with_suffix("").absolute())
    if not python.exists():
        raise UserError(
            f"{stamp}: the environment beside it is gone; delete this file, and the workflow makes "
            "it anew"
        )
    return Environment(str(python), packages=said.packages)


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
def _software_of(python: str, packages: tuple[str, ...]) -> dict[str, Any]:
    printed, reason = run_python(python, "-I", script.__file__, *packages)
    if reason:
        raise UserError(
            f"{python} {reason}; give another interpreter, or make the environment anew"
        )
    answer: dict[str, Any] = json.loads(printed)
    return answer


def run_python(python: str, *words: str) -> tuple[str, str]:
    """What an interpreter prints, and why it does not start: one of them is ""."""
    try:
        done = subprocess.run(
            [python, *words], env=variables(), stdin=subprocess.DEVNULL, capture_output=True,
            encoding="utf-8", errors="replace", check=False, timeout=_START_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "", f"gives no answer in {_START_S:g} s"
    except OSError as error:
        return "", f"does not start ({error.strerror})"
    if not done.returncode:
        return done.stdout, ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return "", f"does not start ({one_line(lines[0]) if lines else f'exit code {done.returncode}'})"


def variables() -> dict[str, str]:
    """The environment variables without those of Python, which hold for one environment only."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
