"""Configuration of a run: the default config, the user's configs, the command line.

Snakemake's own reading of the same files is not used: it takes the last of two equal keys, and
reads `017` as 15 and `no` as false.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pesbench.core.errors import UserError
from pesbench.core.found import tasks
from pesbench.files.strict_yaml import NotYamlError, check_plain, parse_yaml, read_yaml
from pesbench.files.validation import COMMAND_LINE, check_block, shown

DEFAULT_CONFIG = Path("config/config.yaml")
_KEY = re.compile(r"[A-Za-z_][\w-]*")


@dataclass(frozen=True)
class Config:
    """A config put together from layers, of which a later one counts more.

    Attributes:
        layers: What each is called in messages, and what it says.
    """

    layers: tuple[tuple[str, Mapping[str, Any]], ...]

    @cached_property
    def values(self) -> dict[str, Any]:
        """Values by key, with blocks inside of blocks."""
        return merged(*(content for _, content in self.layers))

    @cached_property
    def _said(self) -> dict[str, int]:
        """Number of the last layer by dotted key, of what is no block."""
        return {
            key: number
            for number, (_, content) in enumerate(self.layers)
            for key in _dotted(content)
        }

    @property
    def name(self) -> str:
        """Name of the whole config in messages."""
        return " + ".join(name for name, _ in self.layers)

    @property
    def places(self) -> dict[str, str]:
        """Place of the last value of each key at the top."""
        found = {key: number for number, (_, content) in enumerate(self.layers) for key in content}
        return {key: self.layers[number][0] for key, number in found.items()}

    def layer(self, name: str) -> Mapping[str, Any]:
        """Content of one layer; empty if there is none of that name."""
        return dict(self.layers).get(name, {})

    def before(self, key: str, other: str) -> bool:
        """Whether one dotted key was said in an earlier layer than another."""
        return key in self._said and self._said[key] < self._said.get(other, -1)


def _dotted(content: Mapping[str, Any], above: str = "") -> list[str]:
    found = []
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            found += _dotted(value, f"{above}{key}.")
        else:
            found.append(f"{above}{key}")
    return found


def merged(*configs: Mapping[str, Any]) -> dict[str, Any]:
    """A config of several, of which a later one counts more; blocks key by key.

    Snakemake's own function merges, as it does for the files of `--configfile`.
    """
    from snakemake.utils import update_config

    found: dict[str, Any] = {}
    for config in configs:
        update_config(found, config)
    return found


def read_config(
    files: Sequence[Path], arguments: Sequence[str] = (), default: Path | None = DEFAULT_CONFIG
) -> Config:
    """The default config with others over it.

    What the default config asks for beside the scans (`dynamics`, ...) is not part of a run with a
    config of its own.

    Args:
        files: Configs of `--configfile`.
        arguments: Arguments of `--config`, each `KEY=VALUE` with a value in YAML.
        default: The default config; None for none.

    Raises:
        UserError: a file is missing or no config, or an argument is none.
    """
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if default is not None and (default.exists() or not files):
        content = _read(default)
        blocks = _stages() if files else ()
        kept = {key: value for key, value in content.items() if key not in blocks}
        layers.append((str(default), kept))
    layers += [(_near(path), _read(path)) for path in files]
    if arguments:
        layers.append((COMMAND_LINE, read_arguments(arguments)))
    return Config(tuple(layers))


def _stages() -> list[str]:
    """Blocks of a config that choose models to ask for something more."""
    return [*(name for name, task in tasks().items() if not task.always), "ladder"]


def _near(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _read(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    check_block(content, _near(path))
    return content


def read_arguments(arguments: Sequence[str]) -> dict[str, Any]:
    """Content of `--config KEY=VALUE ...`, as Snakemake reads it.

    Raises:
        UserError: one is no such argument, or a key is given twice.
    """
    found: dict[str, Any] = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals or not _KEY.fullmatch(key):
            raise UserError(
                f"{COMMAND_LINE}: {shown(argument)} is not of the form KEY=VALUE; write, for "
                "instance, 'models=[gfn1-xtb]'"
            )
        if key in found:
            raise UserError(f"{COMMAND_LINE}: `{key}` is given twice; give it once")
        found[key] = _value(key, text)
    check_plain(found, COMMAND_LINE)
    return found


def _value(key: str, text: str) -> Any:
    try:
        return parse_yaml(text)
    except NotYamlError:
        return text  # as Snakemake has it: what is no YAML is text
    except UserError as error:
        raise UserError(f"{COMMAND_LINE}: `{key}`: {error}") from error


def is_whole(arguments: Sequence[str]) -> bool:
    """Whether the words of `--config` are a whole config as JSON."""
    return len(arguments) == 1 and arguments[0].lstrip().startswith("{")


def read_whole(text: str) -> Config:
    """A whole config as JSON, which stands alone.

    Raises:
        UserError: it is none.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{COMMAND_LINE}: not valid JSON ({error}); give KEY=VALUE, or --configfile FILE"
        ) from error
    check_block(content, COMMAND_LINE)
    return Config(((COMMAND_LINE, content),))
