"""Where the packages of a model are: `software` in the config, and what entries ask for.

The packages of two models need not fit into one environment. A model whose entry names
requirements or an interpreter runs in an environment made of these; so does one of a family that
names them, unless the config says `software: current`. Any other runs in the environment that
Snakemake itself runs in.
"""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from pesbench.core.errors import UserError
from pesbench.core.family import family_of
from pesbench.files.atomic import write_text
from pesbench.files.environment import CONDA, python_of, stamp_of
from pesbench.files.interpreters import find_interpreter, version_of
from pesbench.files.requirements import Requirements, read_requirements
from pesbench.models.registry import ModelEntry
from pesbench.orchestration.config import Run
from pesbench.orchestration.environments import PROJECT, failed_attempts, is_made_here, is_whole

MODES = ("current", "venv", "conda")


@dataclass(frozen=True)
class Asked:
    """An environment that an entry or its family asks for.

    Attributes:
        said: Pins and files of them, as `pesbench build-environment` takes them.
        python: Interpreter by name or path; "" for that of Snakemake.
        requirements: What pip is told to install.
    """

    said: tuple[str, ...]
    python: str
    requirements: Requirements

    @property
    def name(self) -> str:
        """Name of its folder, the same for all that ask for the same."""
        return self.requirements.name(self.python)

    @property
    def words(self) -> list[str]:
        """Words of the command that makes it, without the folder."""
        python = [f"--python={self.python}"] if self.python else []
        return [*(f"--requirement={one}" for one in self.said), *python]


@dataclass(frozen=True)
class Software:
    """Environments of the packages of the models of a run.

    Attributes:
        mode: One of `MODES`.
        built: Folder of the environments that are made.
        base: Folder that relative paths of entries start from.
    """

    mode: str
    built: Path
    base: Path
    _known: dict[str, Asked | None] = field(default_factory=dict, compare=False, repr=False)

    def asked(self, entry: ModelEntry) -> Asked | None:
        """The environment that a model asks for; None if it runs in that of Snakemake.

        Args:
            entry: Entry of the model; a perturbed one runs where its base does.

        Raises:
            UserError: its requirements cannot be read, or contradict each other.
        """
        if entry.name not in self._known:
            self._known[entry.name] = self._ask(entry.base or entry)
        return self._known[entry.name]

    def _ask(self, entry: ModelEntry) -> Asked | None:
        family = family_of(entry.family)
        own, python = entry.settings.get("requirements"), entry.settings.get("python")
        by_family = self.mode != "current" and (family.requirements or family.python)
        if own is None and python is None and not by_family:
            return None
        said, base = (family.requirements, PROJECT) if own is None else (own, self.base)
        try:
            requirements = read_requirements(said, base)
        except UserError as error:
            raise UserError(f"model {entry.name!r}: `requirements`: {error}") from error
        if own is None:  # from wherever the command is called
            said = [str(base / one) if one.endswith(".txt") else one for one in said]
        return Asked(tuple(said), python or family.python, requirements)

    def folder(self, asked: Asked) -> Path:
        """Folder of an environment."""
        return self.built / asked.name

    def option(self, entry: ModelEntry) -> list[str]:
        """The option of a command that says where a model runs; none for where Snakemake does."""
        asked = self.asked(entry)
        if asked is None:
            return []
        where = CONDA if self.mode == "conda" else str(stamp_of(self.folder(asked)))
        return ["--environment", where]

    def stamps(self, entry: ModelEntry) -> list[Path]:
        """The stamp of a model's environment, if the workflow makes one."""
        asked = None if self.mode == "conda" else self.asked(entry)
        return [] if asked is None else [stamp_of(self.folder(asked))]

    def requirements(self, entry: ModelEntry) -> str:
        """Text that changes with the packages of a model's environment; "" without one."""
        asked = None if self.mode == "conda" else self.asked(entry)
        return "" if asked is None else asked.name

    def to_build(self, entries: Iterable[ModelEntry]) -> dict[str, Asked]:
        """The environments of some models that the workflow makes, by name."""
        if self.mode == "conda":
            return {}
        every = [asked for entry in entries if (asked := self.asked(entry))]
        return {asked.name: asked for asked in sorted(every, key=lambda asked: asked.name)}

    def attempts(self, name: str) -> int:
        """How often an environment could not be made."""
        return failed_attempts(self.built / name)

    def conda_file(self, entry: ModelEntry) -> str | None:
        """File from which Snakemake makes the environment of a model, written if need be."""
        asked = self.asked(entry) if self.mode == "conda" else None
        if asked is None:
            return None
        path = self.folder(asked).with_suffix(".yaml").absolute()
        text = self._conda_text(asked)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
        return str(path)

    def _conda_text(self, asked: Asked) -> str:
        # conda starts pip in the folder of the file
        pins = [
            str(self.base / line) if line.startswith(("./", "../")) else line
            for line in asked.requirements.completed
        ]
        version = version_of(asked.python, self.base)
        content = {
            "channels": ["conda-forge"],
            "dependencies": [f"python={version}", "pip", {"pip": pins}],
        }
        return yaml.safe_dump(content, sort_keys=False)

    def check(self, entries: Iterable[ModelEntry]) -> None:
        """Refuse models that cannot run where they are to run; nothing is imported.

        Raises:
            UserError: one line with the model, the package, interpreter or environment, and the
                cure.
        """
        for entry in entries:
            asked = self.asked(entry)
            if asked is None:
                self._check_current(entry)
                continue
            if self.mode != "conda" and is_whole(self.folder(asked)):
                continue
            try:
                if self.mode == "conda":
                    self.conda_file(entry)
                else:
                    find_interpreter(asked.python, self.base)
            except UserError as error:
                raise UserError(
                    f"model {entry.name!r}: `python: {asked.python}`: {error}"
                ) from error

    def check_there(self, entries: Iterable[ModelEntry]) -> None:
        """Refuse, before jobs start, an environment that was removed, or was not made here.

        Made as a job it would count as another one, and all of its models run again. One of
        somebody else's results would run programs of theirs.

        Raises:
            UserError: one line with the command that makes it again.
        """
        for asked in self.to_build(entries).values():
            folder = self.folder(asked)
            is_there = python_of(folder).exists()
            if not is_whole(folder) or (is_there and is_made_here(folder)):
                continue
            reason = "was not made here (your cache has no note of it)" if is_there else "is gone"
            command = ["python", "-m", "pesbench", "build-environment", *asked.words]
            raise UserError(
                f"{folder}: this environment {reason}; make it again with "
                f"`{shlex.join([*command, '--out', str(folder)])}`, or delete the folder and "
                f"{stamp_of(folder)}, and the workflow makes it once a job needs it, and "
                "runs all of its models again"
            )

    def _check_current(self, entry: ModelEntry) -> None:
        """Refuse a model whose packages are missing in the environment of Snakemake."""
        name = entry.families[-1]
        family = family_of(name)
        missing = [one for one in family.modules if importlib.util.find_spec(one) is None]
        if not missing:
            return
        cures = [f"pip install 'pesbench[{family.extra}]'"] if family.extra else []
        if self.mode == "current" and family.requirements:
            cures.insert(0, "`software: venv` in the config builds one that has it")
        raise UserError(
            f"model {entry.name!r}: family {name!r} needs {missing[0]!r}, which is not installed "
            f"in the environment that Snakemake runs in; {', or '.join(cures)}"
        )


def software_of(run: Run) -> Software:
    """Environments of the packages of the models of a run in the working folder."""
    return Software(run.software, run.results.parent / "environments", Path.cwd())
