"""Settings of tasks and families: frozen dataclasses whose fields carry help, unit and limits.

One declaration gives the keys of a config block, the options of a command, the defaults of both and
the table of the documentation. This module needs the standard library only: a command in the
environment of a model reads what was validated where Snakemake runs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pesbench.core.errors import UserError

PATH, ADDRESS = "path", "path-or-address"  # of a file or folder; of a file here or on the web
_META = "pesbench"
_KINDS = {
    bool: "true or false",
    dict: "a block of keys",
    float: "a number",
    int: "a whole number",
    str: "text",
}


@dataclass(frozen=True)
class Setting:
    """Description of a field of a settings dataclass.

    Attributes:
        help: One sentence, with the unit.
        above: The value must be larger; of a tuple, each item.
        at_least: The value must not be smaller.
        at_most: The value must not be larger.
        choices: The allowed values, where there are few.
        pattern: Regular expression that a text must match; of a tuple, each item.
        path: `PATH` or `ADDRESS` for a text that is one, "" for any other.
        word: A text that may stand in place of a number, such as `auto`.
        unique: Whether the items of a tuple must differ.
        stage: The stage whose command has it as an option, `run` or `score`: a change of it repeats
            that stage and those that follow.
        empty: Whether a tuple that must be given may hold nothing.
    """

    help: str
    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    choices: tuple[Any, ...] = ()
    pattern: str = ""
    path: str = ""
    word: str = ""
    unique: bool = False
    stage: str = "run"
    empty: bool = False


def setting(
    default: Any = MISSING,
    *,
    help: str,  # noqa: A002
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    choices: tuple[Any, ...] = (),
    pattern: str = "",
    path: str = "",
    word: str = "",
    unique: bool = False,
    stage: str = "run",
    empty: bool = False,
) -> Any:
    """A field of a settings dataclass; without a default it must be given. See `Setting`.

    A default of `dict` stands for an empty block of any keys.
    """
    about = Setting(
        help, above, at_least, at_most, choices, pattern, path, word, unique, stage, empty
    )
    return _field(about, {} if default is dict else default)


def _field(about: Setting, default: Any) -> Any:
    if default == {}:  # which may not be shared
        return field(default_factory=dict, metadata={_META: about})
    return field(default=default, metadata={_META: about})


@dataclass(frozen=True)
class Key:
    """A field of a settings dataclass as a key of the config or an option of a command.

    Attributes:
        name: Name in the config, such as `duration_ps`.
        about: Help and limits.
        type: Type of the value, or of each item if `many`; `dict` for a block of any keys.
        many: Whether the value is a tuple.
        optional: Whether the value may be None.
        default: `dataclasses.MISSING` where the key is required.
    """

    name: str
    about: Setting
    type: type
    many: bool
    optional: bool
    default: Any

    @property
    def has_default(self) -> bool:
        """Whether the key has a default."""
        return self.default is not MISSING and self.default is not None

    @property
    def option(self) -> str:
        """The name of the command-line option, such as `--duration-ps`."""
        return f"--{self.name.replace('_', '-')}"


@dataclass(frozen=True)
class Declared:
    """A field of a dataclass that `setting` made.

    Attributes:
        name: Name of the field.
        hint: Type of the field.
        about: Help and limits.
        default: `dataclasses.MISSING` where it must be given.
    """

    name: str
    hint: Any
    about: Setting
    default: Any

    @property
    def may_be_empty(self) -> bool:
        """Whether a tuple or block may hold nothing."""
        return self.about.empty or (self.default is not MISSING and self.default in ((), {}))


@functools.cache
def declared(cls: type) -> tuple[Declared, ...]:
    """The fields of a dataclass of settings, in order.

    Raises:
        TypeError: a field was not made by `setting`.
    """
    hints, found = get_type_hints(cls), []
    for one in dataclasses.fields(cls):
        if _META not in one.metadata:
            raise TypeError(f"{cls.__name__}.{one.name}: declare it with `setting`")
        default = one.default if one.default_factory is MISSING else one.default_factory()
        found.append(Declared(one.name, hints[one.name], one.metadata[_META], default))
    return tuple(found)


def joined(name: str, *parts: type, more: Sequence[tuple[str, Any, Any]] = ()) -> type:
    """A dataclass of settings with the fields of others, each given by its name.

    Args:
        name: Name of the class.
        parts: Dataclasses whose fields it has, in order.
        more: Name, type and `setting` of further ones.
    """
    fields = [
        (one.name, one.hint, _field(one.about, one.default))
        for part in parts
        for one in declared(part)
    ]
    return dataclasses.make_dataclass(name, [*fields, *more], frozen=True, kw_only=True)


@functools.cache  # every job and every entry of the registry needs it
def keys(settings: type) -> tuple[Key, ...]:
    """The fields of a settings dataclass that is a block of values, in order.

    Raises:
        TypeError: a field was not made by `setting`, or its type is none of a scalar, an optional
            scalar, a scalar or a word, a tuple of scalars, a block and `Any`.
    """
    found = []
    for one in declared(settings):
        kind, optional = one.hint, False
        if get_origin(kind) in (Union, UnionType):
            optional = type(None) in get_args(kind)
            beside = (type(None), str) if one.about.word else (type(None),)
            (kind,) = (arg for arg in get_args(kind) if arg not in beside)
        many = get_origin(kind) is tuple
        if many:
            kind = get_args(kind)[0]
        kind = dict if kind is Any or get_origin(kind) is Mapping else kind
        if kind not in (bool, int, float, str, dict):
            raise TypeError(f"{settings.__name__}.{one.name}: settings hold scalars, not {kind}")
        found.append(Key(one.name, one.about, kind, many, optional, one.default))
    return tuple(found)


def check_limits(settings: Any, place: str) -> None:
    """Refuse values of settings that no config gave, such as those of a function's caller.

    Args:
        settings: An instance of a settings dataclass.
        place: What they are called in the message.

    Raises:
        UserError: one line with the first key whose value has another type or is out of limits.
    """
    for key in keys(type(settings)):
        value = getattr(settings, key.name)
        if value is None and key.optional:
            continue
        if key.many and not value and key.default != ():
            raise UserError(f"{place}: `{key.name}` is empty; give at least one")
        for one in value if key.many else (value,):
            if not _allowed(key, one):
                raise UserError(f"{place}: `{key.name}` is {one!r}; give {_wanted(key)}")


def _allowed(key: Key, value: Any) -> bool:
    about, kinds = key.about, (int, float) if key.type is float else (key.type,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and key.type is not bool):
        return False
    return (  # each is false for NaN
        (about.above is None or value > about.above)
        and (about.at_least is None or value >= about.at_least)
        and (about.at_most is None or value <= about.at_most)
        and (not about.choices or value in about.choices)
    )


def _wanted(key: Key) -> str:
    about = key.about
    if about.choices:
        return f"one of {', '.join(map(str, about.choices))}"
    kind = _KINDS[key.type]
    limits = [
        f"{word} {exactly(limit)}"
        for word, limit in (
            ("above", about.above), ("of at least", about.at_least), ("at most", about.at_most)
        )
        if limit is not None
    ]  # fmt: skip
    return f"{kind} {' and '.join(limits)} ({about.help})" if limits else f"{kind} ({about.help})"


def exactly(value: object) -> str:
    """A value as a word of a command; a number is as short as possible without rounding."""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def words(settings: Any, stage: str) -> list[str]:
    """The settings of a stage as options of its command, those that are None left out."""
    found: list[str] = []
    for key in keys(type(settings)):
        value = getattr(settings, key.name)
        if key.about.stage != stage or value is None:
            continue
        if key.type is bool:
            found.append(key.option if value else f"--no-{key.option.removeprefix('--')}")
            continue
        values = value if key.many else (value,)
        found += [key.option, *map(exactly, values)]
    return found


def named_files(settings: Any, stage: str) -> list[str]:
    """The files that the settings of a stage name, which are inputs of its command."""
    paths = [key for key in keys(type(settings)) if key.about.stage == stage and key.about.path]
    values = (getattr(settings, key.name) for key in paths)
    return [value for value in values if value is not None]


def _shown(value: Any) -> str:
    """A value in a table of the documentation."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str | dict):
        return f"`{value}`"
    if isinstance(value, tuple):
        items = (f'"{one}"' if isinstance(one, str) else exactly(one) for one in value)
        return f"`[{', '.join(items)}]`"
    return exactly(value)


def table(rows: Iterable[Key]) -> str:
    """Keys, their defaults and what they mean, as the documentation shows them, in Markdown."""
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for key in rows:
        default = _shown(key.default) if key.has_default else "–"
        choices = [_shown(one) for one in key.about.choices]
        one_of = f" One of {', '.join(choices)}." if choices else ""
        lines.append(f"| `{key.name}` | {default} | {key.about.help}{one_of} |")
    return "\n".join(lines) + "\n"
