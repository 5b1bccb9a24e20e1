"""Types of arguments of a command line: numbers within limits, devices, cores.

What is refused is one line with the cure.
"""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable
from dataclasses import MISSING
from typing import Any

from pesbench.core.settings import Key, keys

DEVICES = "auto, cpu, cuda or cuda:N"


def whole(least: int = 0, most: int = 1_000_000_000) -> Callable[[str], int]:
    """The type of a whole number within limits."""

    def read(text: str) -> int:
        # not what int() takes beside it: 1_000, ٣, spaces
        if re.fullmatch(r"[-+]?[0-9]{1,20}", text, re.ASCII) and least <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(
            f"{_shown(text)} must be a whole number from {least} to {most}"
        )

    return read


def number(least: float = 0.0, most: float = 1e9, *, above: bool = False) -> Callable[[str], float]:
    """The type of a finite number within limits; `above` leaves the lower one out."""

    def read(text: str) -> float:
        try:
            value = float(text) if re.fullmatch(r"[-+.0-9eE]{1,40}", text) else math.nan
        except ValueError:
            value = math.nan
        if (value > least if above else value >= least) and value <= most:
            return value
        limits = f"{'above' if above else 'of at least'} {least:g} and at most {most:g}"
        raise argparse.ArgumentTypeError(f"{_shown(text)} must be a number {limits}")

    return read


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def device(text: str) -> str:
    """The type of a device, as in a config."""
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"no device {_shown(text)}; give {DEVICES}")
    return text


threads = whole(1, 4096)


def cores(text: str) -> int:
    """The type of a number of cores, or `all` of this machine."""
    return len(os.sched_getaffinity(0)) if text == "all" else whole(1, 1_000_000)(text)


# --- settings ------------------------------------------------------------------------------------


def add_settings(parser: argparse.ArgumentParser, settings: type, stage: str) -> None:
    """Add the settings of a stage as options, with their defaults and limits.

    Args:
        parser: Parser of the command.
        settings: A dataclass, see `pesbench.core.settings`.
        stage: Stage of the command.
    """
    for key in keys(settings):
        if key.about.stage != stage:
            continue
        options: dict[str, Any] = {"dest": key.name, "help": key.about.help}
        options |= {"default": key.default} if key.default is not MISSING else {"required": True}
        if key.type is bool:
            parser.add_argument(key.option, action=argparse.BooleanOptionalAction, **options)
            continue
        if key.about.choices:
            options["choices"] = key.about.choices
        if key.many:
            options["nargs"] = "+"
        parser.add_argument(key.option, type=_type_of(key), **options)


def settings_of(arguments: argparse.Namespace, settings: type) -> Any:
    """The settings that were given, those of another stage with their defaults."""
    given = {}
    for key in keys(settings):
        value = getattr(arguments, key.name, key.default)
        given[key.name] = tuple(value) if key.many and value is not None else value
    return settings(**given)


def _type_of(key: Key) -> Callable[[str], Any]:
    """The type of argparse that refuses what lies beyond the limits of a setting."""
    if key.type is str:
        return str
    about = key.about
    least = about.above if about.above is not None else about.at_least
    if key.type is int:
        most = {"most": int(about.at_most)} if about.at_most is not None else {}
        return whole(int(least or 0), **most)
    limits = {} if about.at_most is None else {"most": about.at_most}
    return number(least or 0.0, **limits, above=about.above is not None)
