"""JSON schemas of what users write, and one line for the first thing that is wrong."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from pesbench.core.errors import UserError
from pesbench.core.names import closest
from pesbench.core.paths import check_no_stream, given_path, path_or_address
from pesbench.core.settings import ADDRESS, PATH, Key, keys
from pesbench.files.strict_yaml import check_plain, read_yaml

try:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError
    from jsonschema.validators import extend
except ImportError as error:  # the base package is without
    raise UserError(
        f"entries and configurations need {error.name}, which is not installed; "
        "pip install 'pesbench[check]'"
    ) from error

COMMAND_LINE = "--config"  # what the command line is called in messages
SHOWN_CHARACTERS = 80  # of a value
_CONSEQUENCES = ("required", "not", "oneOf")
_SCHEMAS = Path(__file__).parents[1] / "schemas"  # in a checkout a link to workflow/schemas
_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "nothing",
    "number": "a number",
    "object": "a block of keys",
    "string": "text",
}
_KINDS = {bool: "boolean", dict: "object", float: "number", int: "integer", str: "string"}
_LIMITS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "above",
    "exclusiveMaximum": "below",
}
# 1e6 is a number that an option for whole numbers does not take
_Validator = extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


@functools.cache
def read_schema(name: str) -> dict[str, Any]:
    """A JSON schema of `workflow/schemas`."""
    return read_yaml(_SCHEMAS / f"{name}.schema.yaml")


def schema_of(*classes: type) -> dict[str, Any]:
    """The JSON schema of a block that holds the keys of some settings dataclasses."""
    every = [key for cls in classes for key in keys(cls)]
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [key.name for key in every if key.default is MISSING],
        "properties": {key.name: _property(key) for key in every},
    }


def _property(key: Key) -> dict[str, Any]:
    about = key.about
    limits = {
        "exclusiveMinimum": about.above,
        "minimum": about.at_least,
        "maximum": about.at_most,
        "enum": list(about.choices) or None,
        "pattern": about.pattern or None,
        "format": about.path or None,
        # a text that is needed says something
        "minLength": 1 if key.type is str and (about.path or key.default is MISSING) else None,
    }
    found = {name: limit for name, limit in limits.items() if limit is not None}
    found = {"type": _KINDS[key.type]} | found
    if about.word:
        found = {"anyOf": [found, {"const": about.word}]}
    found["description"] = about.help
    if key.many:
        found = {"type": "array", "items": found, "description": about.help}
        if about.unique:
            found["uniqueItems"] = True
        if key.default is MISSING or key.default != ():
            found["minItems"] = 1
    if key.default is not MISSING and key.default is not None:
        found["default"] = list(key.default) if key.many else key.default
    return found


def with_defaults(value: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    """A block with the defaults of the keys that it leaves out."""
    defaults = {k: v["default"] for k, v in properties.items() if "default" in v}
    return defaults | dict(value)


_PATHS = {PATH: given_path, ADDRESS: path_or_address}


def with_paths(value: Any, schema: Mapping[str, Any], place: str) -> Any:
    """A value with what its schema calls a path, by a format of `_PATHS`, as it is meant.

    Raises:
        UserError: see `given_path`; or Snakemake would fill something into a path.
    """
    match value:
        case str() if schema.get("format") in _PATHS and re.search("[{}]", value):
            raise UserError(
                f"{place}: {value!r} holds braces, which Snakemake takes for wildcards; rename it"
            )
        case str() if schema.get("format") in _PATHS:
            try:
                path = _PATHS[schema["format"]](value)
                check_no_stream(Path(path))
                return str(path)
            except UserError as error:
                raise UserError(f"{place}: {error}") from error
        case list() if "items" in schema:
            return [with_paths(one, schema["items"], place) for one in value]
        case dict() if "properties" in schema:
            properties = schema["properties"]
            return {k: with_paths(v, properties.get(k, {}), f"{place}: `{k}`")
                    for k, v in value.items()}  # fmt: skip
    return value


def shown(value: Any) -> str:
    """A value in a message, shortened."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a number of very many digits"
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


def _wrong_type(error: ValidationError, key: str, name: str, place: str) -> str:
    wanted = error.validator_value
    wanted = [wanted] if isinstance(wanted, str) else list(wanted)
    value, schema = error.instance, error.schema
    cure = ""
    on_command_line = place == COMMAND_LINE and "." not in name
    plain = isinstance(value, int | float) or (isinstance(value, str) and value.isprintable())
    if "array" in wanted and plain:
        written = f"{name.rpartition('.')[2]}: [{value}]" if name else f"[{value}]"
        cure = f"write '{name}=[{value}]'" if on_command_line else f"write `{written}`"
    elif "string" in wanted and plain:
        quoted = f"{name}=\"'{value}'\""
        cure = f"write {quoted}" if on_command_line else "put it in quotes"
    elif wanted == ["integer"] and isinstance(value, float) and value.is_integer():
        cure = f"write {int(value)}"
    elif "default" in schema:
        cure = f"leave it out for {shown(schema['default'])}"
    kinds = " or ".join(_TYPES[one] for one in wanted)
    return f"{key} must be {kinds}, not {shown(value)}" + (f"; {cure}" if cure else "")


def _explain(error: ValidationError, place: str) -> str:
    """One line for one violation of a schema."""
    where = ".".join(str(part) for part in error.absolute_path)
    key = f"{place}: `{where}`" if where else place
    schema = error.schema if isinstance(error.schema, dict) else {}
    about = f" ({schema['description']})" if "description" in schema else ""
    kind = str(error.validator)
    match kind:
        case "additionalProperties":
            properties = schema.get("properties", {})
            unknown = sorted(set(error.instance) - set(properties))[0]
            return f"{key}: unknown key {unknown!r}; {closest(unknown, properties)}"
        case "required":
            missing = sorted(set(error.validator_value) - set(error.instance))[0]
            return f"{key}: the key {missing!r} is missing; add it"
        case "type":
            return _wrong_type(error, key, where, place)
        case "enum":
            known = closest(error.instance, map(str, schema["enum"]))
            return f"{key}: {shown(error.instance)} is not known; {known}"
        case "oneOf" if all(list(s) == ["required"] for s in schema.get("oneOf", [{}])):
            keys = " or ".join(f"`{s['required'][0]}`" for s in schema["oneOf"])
            return f"{key}: exactly one of {keys} must be given"
        case "not":
            return f"{key}: a control of this kind has no `dose`; remove it"
        case "minItems" | "minProperties":
            return f"{key} is empty; give at least one"
        case "minLength":
            return f"{key} is empty; give a text, or leave the key out"
        case "uniqueItems":
            return f"{key} holds one value twice; give each once"
        case "pattern":
            return f"{key}: {shown(error.instance)} does not fit{about}; correct it"
        case "anyOf":
            kinds = " or ".join(
                str(s.get("const", _TYPES.get(s.get("type"), "another"))) for s in schema["anyOf"]
            )
            return f"{key} must be {kinds}, not {shown(error.instance)}"
    if kind in _LIMITS:
        limit = f"{_LIMITS[kind]} {error.validator_value}"
        return f"{key} is {shown(error.instance)}; give a number {limit}{about}"
    return f"{key}: {' '.join(error.message.split())[:400]}"


def check_schema(
    value: Any, schema: Mapping[str, Any], place: str, said: Mapping[str, str] | None = None
) -> None:
    """Refuse a value that a JSON schema does not allow.

    Args:
        value: What was read.
        schema: JSON schema, draft 2020-12. A whole number is one that is written as such.
        place: File and entry, for the message.
        said: Another place for some keys, such as the command line.

    Raises:
        UserError: one line for the first violation.
    """
    check_plain(value, place)
    errors = sorted(
        _Validator(schema).iter_errors(value),
        # a wrong value may make other keys seem missing or too many: it is told first
        key=lambda e: (
            str(e.validator) in _CONSEQUENCES,
            len(e.absolute_path),
            str(e.absolute_path),
        ),
    )
    if errors:
        raise UserError(_explain(errors[0], _said_at(errors[0], place, said or {})))


def _said_at(error: ValidationError, place: str, said: Mapping[str, str]) -> str:
    """Where the part of a config was said that is wrong."""
    if error.absolute_path:
        return said.get(str(error.absolute_path[0]), place)
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {}) if isinstance(error.schema, dict) else {}
        return said.get(sorted(set(error.instance) - set(known))[0], place)
    return place
