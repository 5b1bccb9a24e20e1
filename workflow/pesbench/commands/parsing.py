"""Common part of all commands: the parser, its outputs, common options."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pesbench import __version__
from pesbench.commands.arguments import DEVICES, device, number, threads
from pesbench.core.errors import UserError
from pesbench.core.found import default_rank_by
from pesbench.core.paths import MODELS_FILE, path_argument
from pesbench.core.section import ENTRY_COVERAGE
from pesbench.core.text import printable

if TYPE_CHECKING:
    from pesbench.files.environment import Environment
    from pesbench.models.registry import ModelEntry

_PACKAGE = Path(__file__).parents[1]
LONGEST_LINE = 1500  # characters of a message
WRITES = "writes "  # before the name of an output, in the parsed arguments
ENTRY_SHA256 = (
    "digest of the entry that `pesbench entry` prints; needed if loading the entry can run code"
)
ENVIRONMENT = (
    "environment that the model runs in: stamp (JSON) made by `build-environment`, an interpreter, "
    "or `conda` for the one that is activated (default: that of this command)"
)
TRUST = "allow weights that run code when they are loaded"


class Output(argparse.Action):
    """A file that the command writes, kept apart from those that it reads."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(type=Path, **settings)

    def __call__(
        self, parser: object, namespace: argparse.Namespace, value: Any, option: str | None = None
    ) -> None:
        setattr(namespace, self.dest, value)
        setattr(namespace, WRITES + self.dest, value)


class Parser(argparse.ArgumentParser):
    """A parser, and those of its subcommands, to which `type=Path` is `path_argument`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.register("type", Path, path_argument)
        self.register("type", "threads", threads)  # by name for tasks, which import no command
        self.register("action", "output", Output)

    def error(self, message: str) -> NoReturn:
        """Usage and one line, of which a word of the command line is not the most."""
        super().error(bounded(message))


def bounded(message: object) -> str:
    """A message on one line, cut where it is longer than `LONGEST_LINE` characters."""
    text = printable(message)
    return text if len(text) <= LONGEST_LINE else text[: LONGEST_LINE - 3] + "..."


class Stages:
    """The subcommands, listed in two groups: those for people, and stages of the workflow."""

    def __init__(self, commands: argparse._SubParsersAction) -> None:
        self._commands = commands
        self._lines: dict[bool, list[str]] = {True: [], False: []}

    def add_parser(self, name: str, **settings: Any) -> argparse.ArgumentParser:
        """A subcommand with one line of `help`; `for_people` says which group it is of."""
        line = settings.pop("help")
        self._lines[settings.pop("for_people", False)].append(f"  {name:<19} {line}")
        about = line[:1].upper() + line[1:] + ("" if line.endswith("?") else ".")
        return self._commands.add_parser(name, description=about, **settings)

    @staticmethod
    def add_named_model(stage: argparse.ArgumentParser) -> None:
        """The options of a command for people that runs a model of the registry.

        A command of a task gets them from here, since its module imports nothing of this room.
        """
        stage.add_argument("model", help="name of an entry of the registry")
        stage.add_argument("--models-file", type=Path, default=Path(MODELS_FILE))
        stage.add_argument("--trust", action="store_true", help=TRUST)
        add_running(stage)

    @staticmethod
    def named_model(
        arguments: argparse.Namespace, name: str | None = None
    ) -> tuple[ModelEntry, Environment]:
        """The entry that the options of `add_named_model` name, and where it runs.

        Its weights are downloaded where they are elsewhere.

        Args:
            arguments: Parsed arguments.
            name: Another entry of the same registry.

        Raises:
            UserError: there is no such entry, it is wrong, or no such environment.
            HostError: a download failed; another attempt may not.
        """
        from pesbench.models.fetching import fetch_weights

        wanted = arguments.model if name is None else name
        entry = registered(wanted, arguments.models_file, trust=arguments.trust)
        return fetch_weights(entry), where_of(arguments)

    @property
    def listing(self) -> str:
        """What `--help` says of them."""
        return "\n".join(
            ["commands for people:", *sorted(self._lines[True]), "",
             "stages of the workflow:", *sorted(self._lines[False])]
        )  # fmt: skip


def registered(name: str, models_file: Path, *, trust: bool) -> ModelEntry:
    """An entry of the registry, resolved.

    Raises:
        UserError: there is no such entry, or it is wrong.
    """
    from pesbench.core.names import closest
    from pesbench.models.models_file import read_models, resolve_entry

    registry = read_models(models_file)
    if name not in registry:
        raise UserError(f"{models_file}: no model {name!r}; {closest(name, registry)}")
    entry = registry[name].trusted() if trust else registry[name]
    return resolve_entry(entry, models_file, Path.cwd())


def all_scans(scan_set: Path) -> tuple[str, ...]:
    """The ids of all scans of a set."""
    from pesbench.files.scan_set import ScanSet

    with ScanSet(scan_set) as opened:
        return opened.ids


def add_model(stage: argparse.ArgumentParser) -> None:
    """The options of a command that loads a model."""
    stage.add_argument("--entry", type=Path, required=True, help="resolved entry (JSON)")
    stage.add_argument("--weights", type=Path, help="weight file, for an entry that has one")
    stage.add_argument("--entry-sha256", help=ENTRY_SHA256)
    add_running(stage)


def add_running(stage: argparse.ArgumentParser) -> None:
    """The options that say where a model runs."""
    stage.add_argument("--environment", metavar="WHERE", help=ENVIRONMENT)
    stage.add_argument("--device", type=device, default="auto", help=DEVICES)
    stage.add_argument("--threads", type=threads, default=1)


def add_ranking(stage: argparse.ArgumentParser) -> None:
    """The options that say what ranks models, and which of them take part."""
    stage.add_argument(
        "--rank-by", default=default_rank_by(), help="score that ranks the models; lower is better"
    )
    stage.add_argument(
        "--entry-coverage", type=number(0, 1), default=ENTRY_COVERAGE, metavar="SHARE",
        help="least share of the planned scans that a model has to have scores of, to take part in "
        "what models share (default: %(default)s)",
    )  # fmt: skip


def entry_of(arguments: argparse.Namespace) -> ModelEntry:
    """The entry that the options of `add_model` name.

    Raises:
        UserError: see `ModelEntry.from_file`.
    """
    from pesbench.models.registry import ModelEntry

    return ModelEntry.from_file(arguments.entry, arguments.weights, arguments.entry_sha256)


def where_of(arguments: argparse.Namespace) -> Environment:
    """The environment that the options of `add_running` name.

    Raises:
        UserError: there is none, or it lacks what a worker needs.
    """
    from pesbench.files.environment import environment_of

    return environment_of(arguments.environment)


def _modules() -> list[str]:
    """The dotted names of the modules with subcommands, sorted."""
    patterns = ("commands/*.py", "commands/*/cli.py", "tasks/*/cli.py")
    files = sorted(file for pattern in patterns for file in _PACKAGE.glob(pattern))
    names = [file.relative_to(_PACKAGE).with_suffix("").parts for file in files]
    return [".".join(("pesbench", *parts)) for parts in names if parts[-1] != "__init__"]


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    made = Parser(
        prog="pesbench",
        description="Smoothness of machine-learning potentials.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=__version__)
    stages = Stages(made.add_subparsers(dest="stage", required=True, metavar="COMMAND"))
    for name in _modules():
        if (add := getattr(importlib.import_module(name), "add", None)) is not None:
            add(stages)
    made.epilog = stages.listing
    return made
