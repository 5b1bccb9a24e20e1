"""Interpreter that runs a model: `software` in the config.

The packages of two families need not fit into one environment. A family with a file in `envs/` may
have one of its own; any other runs in the environment that Snakemake itself runs in.
"""

from __future__ import annotations

import functools
import importlib.util
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pesbench.core.errors import UserError
from pesbench.core.family import family_of
from pesbench.models.registry import ModelEntry
from pesbench.orchestration.environments import PROJECT, python_of, requirements_sha256, stamp_of
from pesbench.orchestration.surroundings import OUTSIDE

MODES = ("current", "venv", "conda")
_SUFFIX = {"venv": ".txt", "conda": ".yaml"}  # of a family's file in `envs/`


@functools.cache  # every job needs it
def _sha256_of(requirements: Path, _mtime_ns: int) -> str:
    return requirements_sha256(requirements)


@dataclass(frozen=True)
class Software:
    """Environment of the packages of the models of a run.

    Attributes:
        mode: One of `MODES`.
        envs: Folder of the families' files.
        built: Folder of the environments that are made, one a family.
        base: The interpreter that Snakemake runs with.
    """

    mode: str
    envs: Path
    built: Path
    base: str = sys.executable

    def file(self, entry: ModelEntry) -> Path | None:
        """File of an environment's requirements; None if the model runs in the base environment.

        Args:
            entry: Entry of the model; a perturbed one runs where its base does.
        """
        if self.mode == "current":
            return None
        path = self.envs / f"{entry.families[-1]}{_SUFFIX[self.mode]}"
        return path if path.is_file() else None

    def python(self, entry: ModelEntry) -> list[str]:
        """The interpreter that runs a model, as the words of a command."""
        file = self.file(entry)
        if file is None:
            return [self.base]
        if self.mode == "conda":  # of the environment that Snakemake activates, with this package
            package, outside = f"PYTHONPATH={PROJECT / 'workflow'}", f"{OUTSIDE}={sys.prefix}"
            return ["env", package, outside, "python"]
        return [str(python_of((self.built / file.stem).absolute()))]

    def stamps(self, entry: ModelEntry) -> list[Path]:
        """The file that says that a model's environment is whole, if the workflow makes one."""
        file = self.file(entry)
        return [stamp_of(self.built / file.stem)] if file and self.mode == "venv" else []

    def requirements(self, entry: ModelEntry) -> str:
        """Text that changes with the packages of a model's environment; "" without one."""
        file = self.file(entry)
        return _sha256_of(file, file.stat().st_mtime_ns) if file and self.mode == "venv" else ""

    def to_build(self, entries: Iterable[ModelEntry]) -> list[str]:
        """The families of some models whose environments the workflow makes."""
        files = {self.file(entry) for entry in entries} if self.mode == "venv" else set()
        return sorted(file.stem for file in files if file)

    def conda_file(self, entry: ModelEntry) -> str | None:
        """File from which Snakemake makes the environment of a model; None if it makes none."""
        file = self.file(entry)
        return str(file) if file and self.mode == "conda" else None

    def check(self, entries: Iterable[ModelEntry]) -> None:
        """Refuse models whose packages are missing where they are to run; nothing is imported.

        Raises:
            UserError: one line with the model, the package or environment, and the cure.
        """
        for entry in entries:
            file = self.file(entry)
            if file is None:
                self.check_base(entry)
            elif self.mode == "venv":
                self._check_built(file)

    def _check_built(self, file: Path) -> None:
        """Refuse an environment that was removed after it was made.

        Made as a job it would count as another one, and all of its family's models run again.
        """
        folder = self.built / file.stem
        command = ("python", "-m", "pesbench", "build-environment")
        if stamp_of(folder).is_file() and not python_of(folder).exists():
            raise UserError(
                f"{folder}: the environment of family {file.stem!r} is gone; make it again with "
                f"`{shlex.join([*command, '--requirements', str(file), '--out', str(folder)])}`"
            )

    def check_base(self, entry: ModelEntry) -> None:
        """Refuse a model whose packages the base environment lacks, whatever the config says.

        Raises:
            UserError: see `check`.
        """
        name = entry.families[-1]
        family = family_of(name)
        missing = [one for one in family.modules if importlib.util.find_spec(one) is None]
        if not missing:
            return
        cures = [f"pip install 'pesbench[{family.extra}]'"] if family.extra else []
        if self.mode == "current" and (self.envs / f"{name}.txt").is_file():
            cures.insert(0, "`software: venv` in the config builds one that has it")
        raise UserError(
            f"model {entry.name!r}: family {name!r} needs {missing[0]!r}, which is not installed "
            f"in the environment that Snakemake runs in; {', or '.join(cures)}"
        )
