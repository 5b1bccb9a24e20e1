"""Calls that an entry names by import path: a calculator, and the objects that it is made from.

A value in `arguments` may be

* a scalar, or a list or block of values;
* `{call: module:function, arguments: {...}, positional: [...]}`, which stands for what the call
  returns. `positional` may also be a call: what it returns is then spread, as in `f(*g())`;
* `{object: module:name}`, which stands for the object itself, such as a class, or a unit.

A text may hold `${device}` and `${dtype}`; an import path, too, as in `{object: "torch:${dtype}"}`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from pesbench.core.errors import UserError

DEVICE, DTYPE = "device", "dtype"
PLACEHOLDERS = (DEVICE, DTYPE)
IMPORT_PATH = r"^[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"
_CALL, _OBJECT, _PARTS = "call", "object", ("arguments", "positional")
_PLACEHOLDER = re.compile(r"\$\{(\w*)\}|\$\{")
_SHOWN_CHARACTERS = 80


@dataclass(frozen=True)
class Named:
    """An import path in an entry.

    Attributes:
        place: Key that it stands at, such as `arguments.model.call`.
        path: `module:name`, placeholders filled in.
        keywords: Names of the keyword arguments; None for an object that is not called.
        positional: Number of positional arguments; None where a call decides it.
    """

    place: str
    path: str
    keywords: tuple[str, ...] | None = None
    positional: int | None = 0


def import_object(path: str) -> Any:
    """The object at `module:name` or `module:Class.method`, such as `ase.calculators.emt:EMT`."""
    module, _, names = path.partition(":")
    return reduce(getattr, names.split("."), importlib.import_module(module))


def placeholders(value: Any) -> set[str]:
    """Names of the placeholders in a value, such as `device`, known or not."""
    if isinstance(value, str):
        return {found[1] or "" for found in _PLACEHOLDER.finditer(value)}
    if isinstance(value, Mapping):
        return set().union(*map(placeholders, value.values()))
    if isinstance(value, list | tuple):
        return set().union(*map(placeholders, value))
    return set()


def made(value: Any, filling: Mapping[str, str]) -> Any:
    """What a value stands for; its calls are made, the innermost first.

    Args:
        value: Value of an entry that `check_calls` has let pass.
        filling: What stands for the placeholders.

    Raises:
        Exception: whatever an import or a call raises.
    """
    if isinstance(value, str):
        return _filled(value, filling)
    if isinstance(value, list | tuple):
        return [made(one, filling) for one in value]
    if not isinstance(value, Mapping):
        return value
    if _CALL in value:
        return prepared(value, filling)()
    if _OBJECT in value:
        return import_object(_filled(value[_OBJECT], filling))
    return {key: made(one, filling) for key, one in value.items()}


def prepared(call: Mapping[str, Any], filling: Mapping[str, str]) -> Callable[[], Any]:
    """A call whose arguments are made, ready to be called any number of times.

    Args:
        call: Block with `call` and, where it has them, `arguments` and `positional`.
        filling: What stands for the placeholders.

    Raises:
        Exception: whatever an import or an inner call raises.
    """
    function = import_object(_filled(call[_CALL], filling))
    positional = made(call.get("positional", ()), filling)
    arguments = {key: made(one, filling) for key, one in call.get("arguments", {}).items()}
    return lambda: function(*positional, **arguments)


def _filled(text: str, filling: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: filling[found[1]], text)


# --- checks --------------------------------------------------------------------------------------


def check_calls(
    call: Mapping[str, Any], place: str, filling: Mapping[str, str], key: str = "calculator"
) -> list[Named]:
    """Refuse a call that is none, and find what it names.

    Args:
        call: Block with `call`, `arguments` and `positional` of the calculator.
        place: What messages start with, such as the model.
        filling: What stands for the placeholders; a name that is not in it is unknown.
        key: Key of an entry that the outermost path stands at.

    Returns:
        Every import path, the inner ones first.

    Raises:
        UserError: one line with the place and the cure.
    """
    *inner, outermost = _named_in_call(call, "", place, filling)
    return [*inner, replace(outermost, place=key)]


def _named(value: Any, at: str, place: str, filling: Mapping[str, str]) -> Iterator[Named]:
    """What a value names."""
    if isinstance(value, str):
        _check_placeholders(value, at, place, filling)
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            yield from _named(one, f"{at}.{number}", place, filling)
    elif isinstance(value, Mapping):
        if _CALL in value or (value and set(value) <= set(_PARTS)):
            yield from _named_in_call(value, at, place, filling)
        elif _OBJECT in value:
            _check_keys(value, (_OBJECT,), at, place)
            yield Named(f"{at}.{_OBJECT}", _path(value[_OBJECT], f"{at}.{_OBJECT}", place, filling))
        else:
            for key, one in value.items():
                yield from _named(one, f"{at}.{key}", place, filling)


def _named_in_call(
    call: Mapping[str, Any], at: str, place: str, filling: Mapping[str, str]
) -> Iterator[Named]:
    inside = f"{at}." if at else ""
    _check_keys(call, (_CALL, *_PARTS), at, place)
    path = _path(call[_CALL], f"{inside}{_CALL}" if at else "calculator", place, filling)
    arguments, positional = (call.get(part) for part in _PARTS)
    if not (arguments is None or isinstance(arguments, Mapping)):
        raise UserError(
            f"{place}: `{inside}arguments` must be a block of keys, not {_shown(arguments)}"
        )
    for key in arguments or ():
        if not (isinstance(key, str) and key.isidentifier()):
            raise UserError(
                f"{place}: `{inside}arguments`: {_shown(key)} is no name of an argument; correct it"
            )
    spread = isinstance(positional, Mapping) and _CALL in positional
    if not (positional is None or spread or isinstance(positional, list | tuple)):
        raise UserError(
            f"{place}: `{inside}positional` must be a list, or a call that returns one, "
            f"not {_shown(positional)}"
        )
    for key, one in (arguments or {}).items():
        yield from _named(one, f"{inside}arguments.{key}", place, filling)
    if spread:
        yield from _named(positional, f"{inside}positional", place, filling)
    else:
        for number, one in enumerate(positional or ()):
            yield from _named(one, f"{inside}positional.{number}", place, filling)
    yield Named(
        f"{inside}{_CALL}" if at else "calculator",
        path,
        tuple(arguments or ()),
        None if spread else len(positional or ()),
    )


def _check_keys(block: Mapping[str, Any], known: tuple[str, ...], at: str, place: str) -> None:
    where = f"{place}: `{at}`" if at else place
    if known[0] not in block:
        raise UserError(
            f"{where}: the key {known[0]!r} is missing; add it (module:function), or rename "
            f"{', '.join(map(repr, block))}"
        )
    if unknown := [key for key in block if key not in known]:
        raise UserError(
            f"{where}: unknown key {_shown(unknown[0])}; a block with {known[0]!r} may hold "
            f"{', '.join(known)}"
        )


def _path(path: Any, at: str, place: str, filling: Mapping[str, str]) -> str:
    if isinstance(path, str):
        _check_placeholders(path, at, place, filling)
        if re.fullmatch(IMPORT_PATH, full := _filled(path, filling)):
            return full
    raise UserError(f"{place}: `{at}: {_shown(path)}` is no import path; write module:name")


def _check_placeholders(text: str, at: str, place: str, filling: Mapping[str, str]) -> None:
    for found in _PLACEHOLDER.finditer(text):
        if found[1] in filling:
            continue
        if found[1] == DTYPE:
            raise UserError(
                f"{place}: `{at}` holds ${{dtype}}, and the entry names no precision; add "
                "`dtype: float32` or `dtype: float64`"
            )
        known = " and ".join(f"${{{name}}}" for name in PLACEHOLDERS)
        raise UserError(f"{place}: `{at}: {_shown(text)}` is not known; known: {known}")


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
