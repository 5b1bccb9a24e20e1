"""An environment for the packages of some models, which need not fit those of others.

A virtual environment in a folder of its own, from requirements and the few packages that a worker
needs. This package is not installed: a worker is started with the code of the command. A stamp
beside the folder, written last, tells a whole one from one whose making was interrupted, or says
why it could not be made. It holds no date: the same packages again are no reason to compute
anything again.

An environment is a program that a run starts, and results may come from anybody. One that was made
here is known by a random word in its folder that stands in the user's cache, too.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from pesbench.core.errors import HostError, UserError
from pesbench.core.interface import one_line
from pesbench.core.paths import real_path
from pesbench.files.atomic import write_json, write_text
from pesbench.files.environment import FORMAT, python_of, read_stamp, stamp_of, variables
from pesbench.files.interpreters import Interpreter, find_interpreter
from pesbench.files.requirements import Requirements, read_requirements
from pesbench.models.addresses import CACHE_VARIABLE, cache_folder

_WORD = "pesbench-word"  # file in the folder of an environment
PROJECT = Path(__file__).parents[3]  # the checkout
# what pip says beside the reason
_UNTOLD = re.compile(r"ResolutionImpossible|subprocess-exited-with-error|for help visit")
logger = logging.getLogger("pesbench")


class BuildError(HostError):
    """An environment could not be made.

    Args:
        reason: What failed and why, such as `pip: No matching distribution found for x==1`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; correct the requirements, or try again")
        self.reason = reason


def build_environment(said: Sequence[str], folder: Path, python: str = "") -> None:
    """Make a virtual environment, whole or not at all.

    Args:
        said: Lines of pip, or paths of files of them that end in `.txt`, from the working folder.
        folder: Folder that is emptied first; its `stamp_of` is written last.
        python: Interpreter by name or path; "" for the one of this process.

    Raises:
        UserError: requirements or interpreter are wrong, or the folder holds something else.
        BuildError: pip failed, of the network or the disk perhaps.
    """
    requirements = read_requirements(said, Path.cwd())  # before anything is removed
    interpreter = find_interpreter(python, Path.cwd())
    lock = folder.with_name(f"{folder.name}.lock")
    before = _made(folder)  # refuses the JSON file of something else
    # a lock with content is that of another program
    ours = stamp_of(folder).is_file() or (lock.is_file() and not lock.stat().st_size)
    if folder.is_dir() and any(folder.iterdir()) and not ours:
        raise UserError(f"{folder}: is no environment that was made here; give another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(lock) as descriptor:
        # what another process made meanwhile is in use
        if _made(folder) == before or not python_of(folder).exists():
            _build(requirements, interpreter, folder, descriptor)


def _made(folder: Path) -> int:
    """When a whole environment was made, in nanoseconds; 0 if there is none."""
    return stamp_of(folder).stat().st_mtime_ns if is_whole(folder) else 0


def record_failure(folder: Path, reason: str) -> None:
    """Write why an environment could not be made: a result, which costs its models only.

    Args:
        folder: Folder of the environment.
        reason: Such as `pip: No matching distribution found for x==1`.
    """
    with _failures(folder).open("a", encoding="utf-8") as file:
        file.write(json.dumps(reason) + "\n")
    write_json(stamp_of(folder), {"format": FORMAT, "failure": reason})


def failed_attempts(folder: Path) -> int:
    """How often an environment could not be made; each next run tries again."""
    try:
        return len(_failures(folder).read_text(encoding="utf-8").splitlines())
    except FileNotFoundError:
        return 0


def _failures(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.failures")


def is_whole(folder: Path) -> bool:
    """Whether an environment has been made; its folder may have been removed since."""
    stamp = stamp_of(folder)
    return stamp.is_file() and not read_stamp(stamp).failure


def is_made_here(folder: Path) -> bool:
    """Whether an environment is one that this user has made in this very place.

    Raises:
        UserError: there is no place for a cache, as without a home.
    """
    note, word = _note_of(folder), folder / _WORD
    try:
        is_own = note.stat().st_uid in (os.getuid(), 0)
        return is_own and word.is_file() and word.read_bytes() == note.read_bytes()
    except OSError:
        return False


def _note_of(folder: Path) -> Path:
    place = str(real_path(folder)).encode(errors="surrogateescape")
    return cache_folder() / "environments" / hashlib.sha256(place).hexdigest()


def _note(folder: Path) -> str:
    """A word for an environment that is about to be made, noted in the cache.

    Raises:
        HostError: the cache cannot be written.
    """
    note, word = _note_of(folder), secrets.token_hex()
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_text(note, word)
    except OSError as error:
        raise HostError(
            f"{note}: the cache cannot be used ({error.strerror}); free space there, or set "
            f"{CACHE_VARIABLE} to another folder"
        ) from error
    return word


def _remove(folder: Path) -> None:
    """Remove a folder with all that is in it: what is left would be taken into an environment.

    Raises:
        UserError: something is left.
    """
    if folder.is_symlink():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        raise UserError(f"{folder}: cannot be removed; delete it by hand")


def _build(requirements: Requirements, interpreter: Interpreter, folder: Path, lock: int) -> None:
    # the stamp first: what is left of an interrupted removal is then no whole environment
    stamp = stamp_of(folder)
    before = stamp.read_bytes() if stamp.is_file() else None
    stamp.unlink(missing_ok=True)
    try:
        _remove(folder)
        _fill(requirements, interpreter, folder, lock)
    except BaseException:
        # as it was found: an environment that is gone, which says so. A stamp that is missing
        # would be made as a job, and all models that need it would run again
        shutil.rmtree(folder, ignore_errors=True)
        if before is not None:
            stamp.write_bytes(before)
        raise


def _fill(requirements: Requirements, interpreter: Interpreter, folder: Path, lock: int) -> None:
    word = _note(folder)
    python = str(python_of(folder))
    pip = (python, "-m", "pip", "--no-input", "--disable-pip-version-check")
    # bytecode of gigabytes of which little is imported takes a third of the time
    install = (*pip, "install", "--progress-bar", "off", "--no-compile")
    _run("python -m venv", (interpreter.path, "-m", "venv", str(folder)), lock)
    file = folder / "requirements.txt"  # a file beside the folder may be somebody's own
    write_text(file, "".join(f"{line}\n" for line in requirements.completed))
    _run("pip", (*install, "-r", str(file)), lock)
    packages = _run("pip", (*pip, "freeze", "--all"), lock, quiet=True)
    content = {
        "format": FORMAT,
        "requirements": list(requirements.completed),
        "python": interpreter.version,
        "packages": sorted(line for line in packages if not line.startswith("WARNING")),
    }
    write_text(folder / _WORD, word)
    write_json(stamp_of(folder), content)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[int]:
    """One process at a time; one that inherits the descriptor holds the lock as well."""
    with path.open("a", encoding="utf-8") as lock:  # what is in it stays
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
    # and git would wait for a password at the terminal
    clean = variables() | {"PYTHONSAFEPATH": "1", "GIT_TERMINAL_PROMPT": "0"}
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
        raise BuildError(f"{what}: {command[0]} cannot be run ({error.strerror})") from error
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            if not quiet:
                logger.info("%s", lines[-1])
    if process.returncode:
        raise BuildError(f"{what}: {reason_of(lines) or f'exit code {process.returncode}'}")
    return lines


def reason_of(lines: Sequence[str]) -> str:
    """The reason in what pip or another command has written, in one line."""
    if any("ensurepip is not" in line for line in lines):  # Debian's Python
        return "it lacks ensurepip; install the system's package python3-venv, or name another one"
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    told = [line for line in errors if not _UNTOLD.search(line)] or [*filter(None, lines)]
    unreached = any("Retrying (Retry(" in line for line in lines)
    last = [*told[-1:], *(["the package index did not answer"] if unreached else [])]
    return one_line("; ".join(last))
