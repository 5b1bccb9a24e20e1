"""Requirements of an environment: pins of pip, and files of them, as entries and families say."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pesbench.core.errors import UserError
from pesbench.core.paths import given_path, real_path
from pesbench.files.environment import NEEDED

_PASSWORD = re.compile(r"://[^/@\s]*:(?!\$\{)[^/@\s]+@")
_FILE = re.compile(r"(?:(-[rc])\s*|(--requirement|--constraint)[ =]\s*)(.+)")
_NAME = re.compile(r"([A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)\s*(?=$|[\[<>=!~;@\s])")
_PIN = re.compile(r"[^=;<>!~\[\]]+(?:\[[^]]*\])?\s*={2,3}\s*([^=\s;,*]+)(?!\S*\*)(?=$|[\s;,])")
_CONSTRAINT = "--constraint "
_DIGITS = 16  # of the name of an environment


@dataclass(frozen=True)
class Requirements:
    """What pip is told to install.

    Attributes:
        lines: Lines of a requirements file of pip, without comments, each once.
        constraints: Lines of the files that are constraints, which `lines` name by their paths.
    """

    lines: tuple[str, ...]
    constraints: tuple[str, ...] = ()

    @property
    def packages(self) -> list[str]:
        """Names of the packages, in small letters with dashes, as far as lines begin with one."""
        return [name for line in self.lines if (name := _package(line))]

    @property
    def completed(self) -> tuple[str, ...]:
        """The lines, and the packages that this one needs beside them."""
        beside = [name for name in NEEDED if name not in self.packages]
        return (*self.lines, *beside)

    @property
    def content(self) -> list[str]:
        """The lines in one order, those of constraints in place of the paths of their files."""
        lines = {line for line in self.lines if not line.startswith(_CONSTRAINT)}
        return sorted(lines | {_CONSTRAINT + line for line in self.constraints})

    def name(self, python: str) -> str:
        """Name of an environment: equal for equal requirements in any order.

        Args:
            python: Interpreter as the entry names it; "" for that of Snakemake.
        """
        content = "\n".join([*self.content, f"python {python}"])
        return hashlib.sha256(content.encode()).hexdigest()[:_DIGITS]


def read_requirements(said: Iterable[str], base: Path) -> Requirements:
    """The requirements of an entry or a family, files read.

    Args:
        said: Lines of pip, or paths of files of them, which end in `.txt`.
        base: Folder that relative paths start from.

    Raises:
        UserError: a file is missing or refers to itself, a package is pinned twice, or a line holds
            a password.
    """
    lines: list[str] = []
    constraints: list[str] = []
    for one in said:
        text = _bare(one)
        if not one.isprintable():
            raise UserError(f"{one[:100]!r} is no line of a requirements file; give one in each")
        if not text:
            continue
        is_file = text.endswith(".txt") and not text.startswith("-")
        line = f"-r {shlex.quote(text)}" if is_file else text
        for found, is_constraint in _expanded(line, base, ()):
            (constraints if is_constraint else lines).append(found)
    found = Requirements(tuple(dict.fromkeys(lines)), tuple(dict.fromkeys(constraints)))
    if any(map(_PASSWORD.search, (*lines, *constraints))):
        raise UserError(
            "an address in a line holds a password, which results would show; keep it in pip's "
            "own configuration, or write a variable such as ${TOKEN} in its place"
        )
    _check_pins(found.lines)
    return found


def _expanded(line: str, base: Path, inside: tuple[Path, ...]) -> Iterator[tuple[str, bool]]:
    """A line, or those of the file that it refers to; and whether they only limit others."""
    refers = _FILE.fullmatch(line)
    if not refers:
        yield line, False
        return
    path = base / given_path(_one_word(line, refers[3]))
    limits = (refers[1] or refers[2]) in ("-c", "--constraint")
    if real_path(path) in inside:
        raise UserError(f"{path}: refers to itself; take that line out")
    if limits:
        yield _CONSTRAINT + shlex.quote(str(path.absolute())), False
    for each in _lines(path):
        for found, is_constraint in _expanded(each, path.parent, (*inside, real_path(path))):
            yield found, limits or is_constraint


def _one_word(line: str, said: str) -> str:
    """The path in a line, which pip reads as a shell does."""
    try:
        (word,) = shlex.split(said)
    except ValueError as error:
        raise UserError(
            f"{line!r}: names no file, or more than one; give one in a line, in quotation marks if "
            "its path has a space"
        ) from error
    return word


def _lines(path: Path) -> Iterator[str]:
    # the command line imports this module where the package of YAML is missing, too
    from pesbench.files.strict_yaml import read_text

    for line in read_text(path).replace("\\\n", " ").splitlines():
        if bare := _bare(line):
            yield bare


def _bare(line: str) -> str:
    """A line without its comment, words one space apart."""
    return " ".join(re.sub(r"(^|\s)#.*", "", line).split())


def _package(line: str) -> str:
    found = _NAME.match(line)
    return re.sub(r"[-_.]+", "-", found[1]).lower() if found else ""


def _check_pins(lines: Iterable[str]) -> None:
    """Refuse two pins of a package that differ; with a marker, each may hold elsewhere."""
    pins: dict[str, str] = {}
    for line in lines:
        if not (pin := _PIN.match(line)) or ";" in line:
            continue
        name, version = _package(line), re.sub(r"(\.0)+$", "", pin[1].partition("+")[0])
        if pins.setdefault(name, version) != version:
            raise UserError(
                f"{name!r} is pinned to {pins[name]} and to {version}; keep one of them"
            )
