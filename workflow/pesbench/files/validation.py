"""Frozen dataclasses from what users write, with one line for the first thing that is wrong.

The fields of a dataclass are the keys of a block (`pesbench.core.settings.setting`): their types,
limits and defaults are checked by pydantic, what a user is told is said here. Beside the types of
settings a block may hold blocks, lists and tables of blocks, which are dataclasses themselves.

Not for the environment of a model, which need not hold pydantic: commands there read what was
validated before.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pesbench.core.errors import UserError
from pesbench.core.names import closest
from pesbench.core.paths import check_no_stream, given_path, path_or_address
from pesbench.core.settings import ADDRESS, PATH, Declared, Setting, declared, exactly
from pesbench.files.strict_yaml import check_plain

try:
    from pydantic import (
        AfterValidator,
        BaseModel,
        ConfigDict,
        Field,
        Strict,
        ValidationError,
        WrapValidator,
        create_model,
        model_validator,
    )
except ImportError as error:  # the base package is without
    raise UserError(
        f"entries and configurations need {error.name}, which is not installed; "
        "pip install 'pesbench[check]'"
    ) from error

COMMAND_LINE = "--config"  # what the command line is called in messages
SHOWN_CHARACTERS = 80  # of a value
_KINDS = {bool: "true or false", float: "a number", int: "a whole number", str: "text"}
_PATHS = {PATH: given_path, ADDRESS: path_or_address}
_LIMITS = {"greater_than": "above", "greater_than_equal": "at least", "less_than_equal": "at most"}
_CONSEQUENCES = ("missing", "one_of")  # perhaps due to another mistake, which comes first
_UNKNOWN = "extra_forbidden"


def shown(value: Any) -> str:
    """A value in a message, shortened."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a number of very many digits"
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


def check_block(value: Any, place: str) -> None:
    """Refuse what is no block of keys, or holds what can be no value.

    Raises:
        UserError: one line with the place.
    """
    check_plain(value, place)
    if not isinstance(value, Mapping):
        raise UserError(f"{place} must be a block of keys, not {shown(value)}")


def validate(
    cls: type,
    value: Any,
    place: str,
    *,
    said: Mapping[str, str] | None = None,
    partial: bool = False,
) -> Any:
    """An instance of a dataclass of settings from a block of keys.

    A path in it is as it is meant, `~` being the home folder. A dataclass may name in a class
    attribute `one_of` keys of which exactly one must be given.

    Args:
        cls: The dataclass.
        value: Value as it was read.
        place: What the block is called in messages, such as "models.yaml: model 'mine'".
        said: Another place for some keys, such as the command line.
        partial: Whether other keys may stand beside those of the dataclass.

    Raises:
        UserError: one line with the place, the key and the cure.
    """
    check_block(value, place)
    try:
        return _instance(_model(cls, "ignore" if partial else "forbid").model_validate(value))
    except ValidationError as failure:
        errors = [
            _Error.of(one, cls)
            for one in failure.errors(include_url=False)
            # a list without a single good item counts as empty
            if not (one["type"] == "too_short" and one["input"])
        ]
    first = min(errors, key=lambda one: one.rank)
    raise UserError(first.told((said or {}).get(first.top, place)))


def filled(cls: type, value: Any, place: str) -> dict[str, Any]:
    """A block as it was written, with its defaults, and with its paths as they are meant.

    Raises:
        UserError: see `validate`.
    """
    found = validate(cls, value, place)
    every = declared(cls)
    defaults = {one.name: _plain(one.default) for one in every if one.default is not MISSING}
    paths = {one.name for one in every if one.about.path and one.name in value}
    return (
        {name: default for name, default in defaults.items() if default is not None}
        | dict(value)
        | {name: _plain(getattr(found, name)) for name in paths}
    )


def plain(settings: Any) -> dict[str, Any]:
    """A dataclass of settings as a block: mappings and lists, without what is not given."""
    return {
        one.name: _plain(getattr(settings, one.name))
        for one in dataclasses.fields(settings)
        if getattr(settings, one.name) is not None
    }


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return plain(value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value


# --- from a dataclass to pydantic ----------------------------------------------------------------


class _RefusedError(ValueError):
    """What a check of ours refuses, which pydantic puts among its own errors."""

    def __init__(self, kind: str, told: str = "") -> None:
        super().__init__(told)
        self.kind = kind


_DATACLASSES: dict[type, type] = {}  # by the model that pydantic has of them


@functools.cache
def _model(cls: type, extra: Literal["forbid", "ignore"] = "forbid") -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for one in declared(cls):
        default = ... if one.default is MISSING else one.default
        fields[one.name] = (_annotated(one.hint, one), Field(default))
    checks = {}
    if hasattr(cls, "one_of"):
        checks["one_of"] = model_validator(mode="after")(functools.partial(_one_of, cls.one_of))
    made = create_model(
        cls.__name__, __config__=ConfigDict(extra=extra), __validators__=checks, **fields
    )
    _DATACLASSES[made] = cls
    return made


def _annotated(hint: Any, field: Declared) -> Any:
    """The type that pydantic checks, of a field or of what it holds."""
    about, hints = field.about, _beside_none(hint)
    if len(hints) > 1:  # a text beside something else
        (other,) = (one for one in hints if one is not str)
        return Annotated[_annotated(other, field), WrapValidator(functools.partial(_text, about))]
    (kind,) = hints
    arguments = get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _model(kind)
    if get_origin(kind) is tuple and arguments[-1] is not ...:
        return tuple[tuple(_annotated(one, field) for one in arguments)]  # type: ignore[misc]
    if get_origin(kind) in (tuple, Mapping):
        many = (
            tuple[_annotated(arguments[0], field), ...]  # type: ignore[misc]
            if get_origin(kind) is tuple
            else dict[str, _annotated(arguments[1], field)]  # type: ignore[misc]
        )
        unique = [AfterValidator(_unique)] if about.unique else []
        least = [] if field.may_be_empty else [Field(min_length=1)]
        return _with(many, *least, *unique)
    if kind is Any:
        return Any
    if about.choices:
        return Literal[about.choices]
    limits = Field(
        gt=about.above, ge=about.at_least, le=about.at_most, pattern=about.pattern or None
    )
    path = [AfterValidator(functools.partial(_path, about))] if about.path else []
    # a required text is not empty
    least = (
        [Field(min_length=1)] if kind is str and (about.path or field.default is MISSING) else []
    )
    return _with(kind, Strict(), limits, *least, *path)


def _with(kind: Any, *about: Any) -> Any:
    for one in about:
        kind = Annotated[kind, one]
    return kind


def _beside_none(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) not in (Union, UnionType):
        return (hint,)
    return tuple(one for one in get_args(hint) if one is not NoneType)


def _text(about: Setting, value: Any, other: Callable[[Any], Any]) -> Any:
    """A text that may stand there, the only one where there is a `word`, or something else."""
    if isinstance(value, str) and about.word in ("", value):
        return _path(about, value) if about.path else value
    return other(value)


def _path(about: Setting, value: str) -> str:
    try:
        if re.search("[{}]", value):
            raise UserError(
                f"{value!r} holds braces, which Snakemake takes for wildcards; rename it"
            )
        path = _PATHS[about.path](value)
        check_no_stream(Path(path))
    except UserError as error:
        raise _RefusedError("path", str(error)) from error
    return str(path)


def _unique(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise _RefusedError("unique")
    return values


def _one_of(keys: tuple[str, ...], model: BaseModel) -> BaseModel:
    if len(set(keys) & model.model_fields_set) != 1:
        raise _RefusedError("one_of", " or ".join(f"`{key}`" for key in keys))
    return model


def _instance(value: Any) -> Any:
    """The dataclass instead of pydantic's model of it, in whatever holds it."""
    if isinstance(value, BaseModel):
        found = {name: _instance(getattr(value, name)) for name in type(value).model_fields}
        return _DATACLASSES[type(value)](**found)
    if isinstance(value, tuple):
        return tuple(_instance(one) for one in value)
    if isinstance(value, dict):
        return {key: _instance(one) for key, one in value.items()}
    return value


# --- messages for users --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Error:
    """One thing that is wrong.

    Attributes:
        kind: Type of the error, as pydantic calls it.
        path: Keys and numbers of items that lead to the place: for a key that is missing or
            unknown, to the block.
        key: Key that is missing or unknown, "" otherwise.
        value: Value that was given.
        limit: Limit that it exceeds, or what else belongs in the message.
        field: What the dataclass says of the place; None at the top.
        hint: Type of what should stand there.
    """

    kind: str
    path: tuple[str | int, ...]
    key: str
    value: Any
    limit: Any
    field: Declared | None
    hint: Any

    @classmethod
    def of(cls, error: Mapping[str, Any], top: type) -> _Error:
        """Make one from an item of `ValidationError.errors`."""
        kind, path, key = error["type"], tuple(error["loc"]), ""
        if kind == "invalid_key":  # no text: no key of ours
            kind, path = _UNKNOWN, (*path[:-1], str(path[-1]))
        if path[-1:] == ("[key]",):  # of a table whose keys are names
            kind, path, key = "key", path[:-2], str(path[-2])
        if kind in ("missing", _UNKNOWN):
            *above, last = path
            path = tuple(above)
            kind, key = ("length", "") if isinstance(last, int) else (kind, last)
        limit = next(iter(error.get("ctx", {"": None}).values()))
        if isinstance(limit, _RefusedError):
            kind, limit = limit.kind, str(limit)
        return cls(kind, path, key, error["input"], limit, *_at(top, path))

    @property
    def top(self) -> str:
        """The key at the top that it is in; "" for none."""
        return str(self.path[0]) if self.path else self.key

    @property
    def rank(self) -> tuple[Any, ...]:
        """The smallest is told: a wrong value may make other keys seem missing."""
        return self.kind in _CONSEQUENCES, len(self.path), str(self.path), self.key

    def told(self, place: str) -> str:
        """One line.

        Args:
            place: What the whole is called.
        """
        where = ".".join(map(str, self.path))
        key = f"{place}: `{where}`" if where else place
        about = f" ({self.field.about.help})" if self.field else ""
        match self.kind:
            case "extra_forbidden":
                known = [one.name for one in declared(self.hint)]
                return f"{key}: unknown key {self.key!r}; {closest(self.key, known)}"
            case "missing":
                return f"{key}: the key {self.key!r} is missing; add it"
            case "literal_error" if self.field:
                known = closest(self.value, map(str, self.field.about.choices))
                return f"{key}: {shown(self.value)} is not known; {known}"
            case "key":
                return f"{key}: the key {self.key} is no text; put it in quotes"
            case "one_of":
                return f"{key}: exactly one of {self.limit} must be given"
            case "path":
                return f"{key}: {self.limit}"
            case "too_short":
                return f"{key} is empty; give at least one"
            case "string_too_short":
                return f"{key} is empty; give a text, or leave the key out"
            case "unique":
                return f"{key} holds one value twice; give each once"
            case "string_pattern_mismatch":
                return f"{key}: {shown(self.value)} does not fit{about}; correct it"
            case "length" | "too_long":
                count = len(get_args(self.hint))
                return f"{key} must be a list of {count}, not {shown(self.value)}{about}"
            case kind if kind in _LIMITS:
                limit = f"{_LIMITS[kind]} {exactly(self.limit)}"
                return f"{key} is {shown(self.value)}; give a number {limit}{about}"
        return self._wrong_type(key, where, place)

    def _wrong_type(self, key: str, name: str, place: str) -> str:
        value, kinds = self.value, _kinds(self.hint, self.field)
        default = self.field.default if self.field else MISSING
        cure = ""
        on_command_line = place == COMMAND_LINE and "." not in name
        simple = isinstance(value, int | float) or (isinstance(value, str) and value.isprintable())
        if "a list" in kinds and simple:
            written = f"{name.rpartition('.')[2]}: [{value}]" if name else f"[{value}]"
            cure = f"write '{name}=[{value}]'" if on_command_line else f"write `{written}`"
        elif "text" in kinds and simple:
            quoted = f"{name}=\"'{value}'\""
            cure = f"write {quoted}" if on_command_line else "put it in quotes"
        elif kinds[0] == "a whole number" and isinstance(value, float) and value.is_integer():
            cure = f"write {int(value)}"
        elif default is not MISSING and default is not None:
            cure = f"leave it out for {shown(_plain(default))}"
        wanted = " or ".join(kinds)
        return f"{key} must be {wanted}, not {shown(value)}" + (f"; {cure}" if cure else "")


def _at(top: type, path: tuple[str | int, ...]) -> tuple[Declared | None, Any]:
    """What is declared at a place, and the type of what should stand there."""
    field, hint = None, top
    for part in path:
        # of a text or something else, something else was tried
        (hint,) = [one for one in _beside_none(hint) if one is not str][:1] or (hint,)
        if dataclasses.is_dataclass(hint):
            field = next(one for one in declared(hint) if one.name == part)
            hint = field.hint
        else:
            hint = get_args(hint)[1 if get_origin(hint) is Mapping else 0]
    if len(beside := _beside_none(hint)) == 1:
        (hint,) = beside
    return field, hint


def _kinds(hint: Any, field: Declared | None) -> list[str]:
    """What may stand at a place, in words."""
    found = []
    for one in _beside_none(hint):
        if one is str and field is not None and field.about.word:
            found.append(field.about.word)
        elif get_origin(one) is tuple:
            found.append("a list")
        else:
            found.append(_KINDS.get(one, "a block of keys"))
    return found
