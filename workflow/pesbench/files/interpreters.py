"""An interpreter of Python by its name or path, for the environment of a model."""

from __future__ import annotations

import functools
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pesbench.core.errors import UserError
from pesbench.core.paths import given_path
from pesbench.files.environment import OLDEST_PYTHON, run_python

_VERSION = "import sys; sys.stdout.write('%d.%d' % sys.version_info[:2])"  # Python 2, too
_OLDEST = ".".join(map(str, OLDEST_PYTHON))


@dataclass(frozen=True)
class Interpreter:
    """An interpreter that starts.

    Attributes:
        path: Where it is.
        version: Such as `3.12`.
    """

    path: str
    version: str


def version_of(said: str, base: Path) -> str:
    """The version of an interpreter, such as `3.12`; it is started only if its name tells none.

    Args:
        said: Name or path; "" for the interpreter of this process.
        base: Folder that a relative path starts from.

    Raises:
        UserError: see `find_interpreter`.
    """
    named = re.fullmatch(r"python(3\.\d+)", said)
    return named[1] if named else find_interpreter(said, base).version


@functools.cache
def find_interpreter(said: str, base: Path) -> Interpreter:
    """The interpreter that an entry names.

    A name is looked for on the PATH. What is found there may be a version manager's shim that
    exists and does not start: then it is looked for in the folders of pyenv and uv, the newest
    first.

    Args:
        said: Name such as `python3.12`, or a path; "" for the interpreter of this process.
        base: Folder that a relative path starts from.

    Raises:
        UserError: there is none, it does not start or is too old; one line with what was tried.
    """
    if not said:
        return Interpreter(sys.executable, f"{sys.version_info[0]}.{sys.version_info[1]}")
    tried = []
    for path in _candidates(said, base):
        version, reason = run_python(path, "-S", "-c", _VERSION)
        if reason:
            tried.append(f"{path} {reason}")
            continue
        if tuple(map(int, version.split("."))) < OLDEST_PYTHON:
            raise UserError(f"{path} is Python {version}; name one of {_OLDEST} or newer")
        return Interpreter(path, version)
    cure = f"install Python {_OLDEST} or newer, or give the path of one"
    if "/" in said:
        raise UserError(f"{tried[0]}; {cure}" if tried else f"no file {said}; {cure}")
    places = " or ".join(map(str, _managers()))
    found = f"{'; '.join(tried)}; no other" if tried else f"no {said} on the PATH, and none"
    raise UserError(f"{found} is under {places}; {cure}")


def _candidates(said: str, base: Path) -> Iterator[str]:
    if "/" in said:
        path = base / given_path(said)
        if path.exists():
            yield str(path.absolute())
        return
    if found := shutil.which(said):
        yield found
    for folder in _managers():
        versions = sorted(folder.glob("*"), key=_numbers, reverse=True)
        yield from (str(one / "bin" / said) for one in versions if (one / "bin" / said).exists())


def _managers() -> tuple[Path, Path]:
    """The folders in which pyenv and uv keep versions of Python."""
    home = Path.home()
    return (
        Path(os.environ.get("PYENV_ROOT", home / ".pyenv")) / "versions",
        home / ".local" / "share" / "uv" / "python",
    )


def _numbers(folder: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", folder.name)]
