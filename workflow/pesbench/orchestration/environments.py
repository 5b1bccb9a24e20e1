"""An environment for the packages of one family, which need not fit those of another.

A virtual environment in a folder of its own, from pinned requirements, with this package installed
beside them. A stamp beside the folder, written last, tells a whole one from one whose making was
interrupted. It holds no date: the same packages again are no reason to compute anything again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from pesbench.core.errors import HostError, UserError
from pesbench.core.paths import real_path
from pesbench.files.atomic import write_json
from pesbench.files.strict_yaml import read_text

FORMAT = "pesbench-environment"
PROJECT = Path(__file__).parents[3]  # the checkout
_SHOWN_LINES = 5
_REFERS = re.compile(r"^\s*(?:-r|-c|--requirement|--constraint)[ =]\s*(\S+)")
logger = logging.getLogger("pesbench")


def requirements_sha256(requirements: Path) -> str:
    """The sha256 of a requirements file and of those that it refers to; comments do not count.

    Raises:
        UserError: a file is missing, no UTF-8, or refers to itself.
    """
    digest = hashlib.sha256()
    for line in _lines(requirements):
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def _lines(path: Path, inside: tuple[Path, ...] = ()) -> list[str]:
    text = read_text(path)
    inside = (*inside, real_path(path))
    found: list[str] = []
    for line in text.splitlines():
        bare = re.sub(r"(^|\s)#.*", "", line).strip()
        if bare:
            found.append(bare)
        if refers := _REFERS.match(bare):
            other = path.parent / refers[1]
            if real_path(other) in inside:
                raise UserError(f"{path}: refers to itself by {bare!r}; take that line out")
            found += _lines(other, inside)
    return found


def python_of(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / "bin" / "python"


def stamp_of(folder: Path) -> Path:
    """Stamp that states that an environment is complete, and its content."""
    return folder.with_name(f"{folder.name}.json")


def build_environment(requirements: Path, folder: Path, project: Path = PROJECT) -> None:
    """Make a virtual environment, whole or not at all.

    Args:
        requirements: Requirements file of pip, the build backend of `project` in it.
        folder: Folder that is emptied first; its `stamp_of` is written last.
        project: Project that is installed as a link, so that a change of its code needs no new
            environment; its own dependencies are among the requirements.

    Raises:
        UserError: the requirements are missing, or the folder holds something else.
        HostError: pip failed, of the network or the disk perhaps.
    """
    requirements_sha256(requirements)  # before anything is removed
    lock = folder.with_name(f"{folder.name}.lock")
    ours = stamp_of(folder).exists() or lock.exists()
    if folder.is_dir() and any(folder.iterdir()) and not ours:
        raise UserError(f"{folder}: is no environment that was made here; give another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(lock, "w") as descriptor:
        _build(requirements, folder, project, descriptor)


def _build(requirements: Path, folder: Path, project: Path, lock: int) -> None:
    sha256 = requirements_sha256(requirements)
    # the stamp first: what is left of an interrupted removal is then no whole environment
    stamp = stamp_of(folder)
    before = stamp.read_bytes() if stamp.is_file() else None
    stamp.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _fill(requirements, folder, project, lock, sha256)
    except BaseException:
        # as it was found: an environment that is gone, which says so. A stamp that is missing
        # would be made as a job, and all models of the family would run again
        shutil.rmtree(folder, ignore_errors=True)
        if before is not None:
            stamp.write_bytes(before)
        raise


def _fill(requirements: Path, folder: Path, project: Path, lock: int, sha256: str) -> None:
    python = str(python_of(folder))
    pip = (python, "-m", "pip", "--no-input", "--disable-pip-version-check")
    # bytecode of gigabytes of which little is imported takes a third of the time
    install = (*pip, "install", "--progress-bar", "off", "--no-compile")
    beside = ("--no-deps", "--no-build-isolation", "--editable", str(project))
    _run("python -m venv", (sys.executable, "-m", "venv", str(folder)), lock)
    _run(f"pip install -r {requirements}", (*install, "-r", str(requirements)), lock)
    with _alone(project / "pyproject.toml", "r"):  # what comes now writes into the project's folder
        _run(f"pip install --editable {project}", (*install, *beside), lock)
    _run("pip check", (*pip, "check"), lock)
    packages = _run("pip freeze", (*pip, "freeze", "--all", "--exclude-editable"), lock, quiet=True)
    content = {
        "format": FORMAT,
        "requirements_sha256": sha256,
        "python": platform.python_version(),
        "packages": sorted(line for line in packages if not line.startswith("WARNING")),
    }
    write_json(stamp_of(folder), content)


@contextlib.contextmanager
def _alone(path: Path, mode: str) -> Iterator[int]:
    """One process at a time; one that inherits the descriptor holds the lock as well."""
    with path.open(mode) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("%s: waiting for the process that holds it", path)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            logger.warning("%s: this file system has no locks", path.parent)
        yield lock.fileno()


def _run(what: str, command: Sequence[str], lock: int, *, quiet: bool = False) -> list[str]:
    """The lines that a command writes, all of them logged unless it is to be quiet.

    It holds the lock to its own end: when this process is killed, pip goes on for a while.
    """
    # PYTHONPATH would show pip what is installed elsewhere, and so would the working folder
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    clean["PYTHONSAFEPATH"] = "1"
    lines: list[str] = []
    try:
        process = subprocess.Popen(
            command,
            env=clean,
            pass_fds=(lock,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise HostError(f"{what}: {command[0]} cannot be run ({error.strerror})") from error
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            if not quiet:
                logger.info("%s", lines[-1])
    if process.returncode:
        said = [line for line in lines if line.startswith("ERROR")] or list(filter(None, lines))
        last = " / ".join(deque(said, maxlen=_SHOWN_LINES)) or f"exit code {process.returncode}"
        raise HostError(f"{what} failed: {last}; correct the requirements, or try again")
    return lines
