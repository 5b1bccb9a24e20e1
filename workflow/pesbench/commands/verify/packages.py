"""Distributions that entries pin: wheels or source archives, whose members are read, never run.

Nothing of a distribution is unpacked to the disk, imported or executed; what is read at once is
bounded.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import operator
import re
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pesbench.core.errors import HostError, UserError
from pesbench.core.text import printable
from pesbench.files.requirements import read_requirements

MOST_MEMBERS = 200_000
MOST_BYTES = 20_000_000  # of a member that is read
MOST_BYTES_READ = 1_000_000_000  # of all members that are read
MOST_BYTES_UNPACKED = 20_000_000_000  # of a source archive, which is read through
MOST_BYTES_OF_FILE = 4_000_000_000
DOWNLOAD_TIMEOUT_S = 1800
_PIN = re.compile(r"([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*==\s*([\w.+!-]+)\s*(?:;.*)?")
_PYTHON = re.compile(r"(\d+)\.(\d+)")
_READABLE = (".py", ".json", ".yaml", ".yml", ".toml", ".dist-info/METADATA", "PKG-INFO")
_COMPARE = {">=": operator.ge, "<": operator.lt, ">": operator.gt, "<=": operator.le}
_SOURCE_ARCHIVES = (".tar.gz", ".zip")
logger = logging.getLogger("pesbench")


@dataclass(frozen=True)
class Pin:
    """A distribution of one version.

    Attributes:
        name: Its name, as packages compare it: lower case, `-` between words.
        version: Its version.
    """

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


@dataclass(frozen=True)
class Distribution:
    """A distribution that was read.

    Attributes:
        pin: Name and version.
        file: Name of the file.
        sha256: Checksum of the file.
        python: Version of Python that it was chosen for, such as `3.12`.
        members: Content of the modules and tables in it, by their path from the folder that
            imports start at.
    """

    pin: Pin
    file: str
    sha256: str
    python: str
    members: dict[str, bytes]

    def why_unfit(self) -> str | None:
        """Why its Python cannot run it, by its metadata; None where nothing says so."""
        for name, content in self.members.items():
            if name.endswith((".dist-info/METADATA", "PKG-INFO")):
                text = content.decode(errors="replace")
                said = re.search(r"^Requires-Python:\s*(.*)$", text, re.MULTILINE)
                if said and not _allows(said[1], self.python):
                    wanted = printable(said[1].strip())
                    return f"{self.pin} needs Python {wanted}, not {self.python}"
        return None


def _allows(wanted: str, python: str) -> bool:
    """Whether limits such as `>=3.9,<3.13` let a version of Python pass; others do not count."""
    version = tuple(map(int, python.split(".")))
    for clause in wanted.split(","):
        limit = re.fullmatch(r"\s*(>=|<=|<|>)\s*(\d+)(?:\.(\d+))?.*", clause)
        if limit and not _COMPARE[limit[1]](version, (int(limit[2]), int(limit[3] or 0))):
            return False
    return True


def normal(name: str) -> str:
    """A name of a distribution as packages compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(requirements: Iterable[str], folder: Path, place: str) -> list[Pin]:
    """The pins among some requirements, those of files too.

    Args:
        requirements: Lines of pip, or paths of files of them.
        folder: Folder that a relative path starts from.
        place: What messages start with.

    Raises:
        UserError: a requirement is no exact version, or a file is missing.
    """
    found = []
    for line in read_requirements(requirements, folder).lines:
        if not (exact := _PIN.fullmatch(line)):
            raise UserError(
                f"{place}: requirement {printable(line)} names no exact version; write "
                "name==version"
            )
        found.append(Pin(normal(exact[1]), exact[2]))
    return found


def python_version(python: str | None) -> str:
    """The version of an interpreter by its name or path; without one, that of this process.

    Raises:
        UserError: the name holds no version.
    """
    if python is None:
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    if not (found := _PYTHON.search(Path(python).name) or _PYTHON.search(python)):
        raise UserError(f"`python: {python}` tells no version; name it as in `python3.12`")
    return f"{found[1]}.{found[2]}"


class Packages:
    """Distributions in a folder, downloaded into it if they are not there.

    Args:
        folder: Folder of wheels and source archives.
        download: Whether a wheel that is not there is downloaded, with pip.
    """

    def __init__(self, folder: Path, *, download: bool = True) -> None:
        self._folder, self._download = folder, download
        self._read: dict[tuple[Pin, str], Distribution | None] = {}

    def get(self, pin: Pin, python: str) -> Distribution | None:
        """A distribution; None where there is no wheel of it, and no source archive in the folder.

        Raises:
            UserError: the file is damaged or larger than is read.
            HostError: pip does not end.
        """
        if (pin, python) not in self._read:
            path = self._find(pin, python)
            if path is None and self._download:
                self._fetch(pin, python)
                path = self._find(pin, python)
            self._read[pin, python] = path and read(path, pin, python)
        return self._read[pin, python]

    def _find(self, pin: Pin, python: str) -> Path | None:
        files = sorted(self._folder.iterdir()) if self._folder.is_dir() else []
        ours = [path for path in files if path.is_file() and _is_of(path.name, pin)]
        # compiled for this Python, then for any, then a source archive
        for fits in (
            lambda name: f"-cp{python.replace('.', '')}-" in name,
            lambda name: name.endswith(".whl") and ("-none-" in name or "-abi3-" in name),
            lambda name: name.endswith(_SOURCE_ARCHIVES),
        ):
            for path in ours:
                if fits(path.name):
                    return path
        return None

    def _fetch(self, pin: Pin, python: str) -> None:
        """Download a wheel. A source archive is none, as pip would run its build."""
        self._folder.mkdir(parents=True, exist_ok=True)
        command = (
            sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check", "download",
            "--quiet", "--no-deps", "--only-binary=:all:", "--python-version", python,
            "--dest", str(self._folder), str(pin),
        )  # fmt: skip
        try:
            done = subprocess.run(
                command, check=False, capture_output=True, timeout=DOWNLOAD_TIMEOUT_S,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise HostError(f"pip download {pin}: no end after {DOWNLOAD_TIMEOUT_S} s") from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            logger.warning("pip download %s: %s", pin, printable(said[-1] if said else "failed"))


def _is_of(file: str, pin: Pin) -> bool:
    """Whether a file name is that of a wheel or source archive of a version."""
    if file.endswith(".whl"):
        name, _, rest = file.partition("-")
        return normal(name) == pin.name and rest.partition("-")[0] == pin.version
    for end in _SOURCE_ARCHIVES:
        if file.endswith(end):
            name, _, version = file.removesuffix(end).rpartition("-")
            return normal(name) == pin.name and version == pin.version
    return False


def read(path: Path, pin: Pin, python: str) -> Distribution:
    """A distribution from its file.

    Raises:
        UserError: the file is no archive, damaged, or larger than is read.
    """
    if path.stat().st_size > MOST_BYTES_OF_FILE:
        raise UserError(f"{path}: larger than {MOST_BYTES_OF_FILE / 1e9:g} GB; it is not read")
    is_wheel = path.suffix == ".whl"
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        raw = _of_zip(path) if path.suffix in (".whl", ".zip") else _of_tar(path)
        members, size = {}, 0
        for name, content in raw:
            members[_place(name, wheel=is_wheel)] = content
            size += len(content)
            if size > MOST_BYTES_READ:
                raise ValueError(f"more than {MOST_BYTES_READ / 1e9:g} GB of source")
    except (
        zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError,
        NotImplementedError, ValueError,
    ) as error:  # fmt: skip
        raise UserError(
            f"{path}: is no archive that can be read ({printable(error)}); delete it, and it "
            "is downloaded again"
        ) from error
    return Distribution(pin, path.name, sha256, python, members)


def _of_zip(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _check_count(len(members))
        for member in members:
            if member.filename.endswith(_READABLE) and not member.is_dir():
                with archive.open(member) as file:
                    yield member.filename, _bounded(file.read(MOST_BYTES + 1), member.filename)


def _of_tar(path: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path, "r:gz") as archive:
        count = size = 0
        while (member := archive.next()) is not None:
            count, size = count + 1, size + member.size
            _check_count(count)
            if size > MOST_BYTES_UNPACKED:
                raise ValueError(f"more than {MOST_BYTES_UNPACKED / 1e9:g} GB in it")
            readable = member.isfile() and member.name.endswith(_READABLE)
            if readable and (file := archive.extractfile(member)) is not None:
                with contextlib.closing(file):
                    yield member.name, _bounded(file.read(MOST_BYTES + 1), member.name)


def _check_count(count: int) -> None:
    if count > MOST_MEMBERS:
        raise ValueError(f"more than {MOST_MEMBERS} members")


def _bounded(content: bytes, name: str) -> bytes:
    """Content of a member; what is larger than any module or table stays unread."""
    if len(content) > MOST_BYTES and name.endswith(".py"):
        raise ValueError(f"{name} is larger than {MOST_BYTES / 1e6:g} MB")
    return content if len(content) <= MOST_BYTES else b""


def _place(name: str, *, wheel: bool) -> str:
    """The path of a member from the folder that imports start at."""
    parts = name.split("/")
    if wheel:
        # NAME-VERSION.data/purelib/ is installed as if it were the top
        inside = (
            len(parts) > 2 and parts[0].endswith(".data") and parts[1] in ("purelib", "platlib")
        )
        return "/".join(parts[2:] if inside else parts)
    parts = parts[1:]  # NAME-VERSION/
    return "/".join(parts[1:] if parts[:1] == ["src"] else parts)
