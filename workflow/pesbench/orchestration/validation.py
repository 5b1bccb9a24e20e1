"""Settings dataclasses from what users write, with one line for the first thing that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING
from typing import Any

from pesbench.core.settings import Key, keys
from pesbench.files.schemas import check_schema, with_defaults

_KINDS = {bool: "boolean", int: "integer", float: "number", str: "string"}


def validate(cls: type, value: Any, place: str) -> Any:
    """An instance of a settings dataclass from a block of keys.

    Args:
        cls: See `pesbench.core.settings`.
        value: As it was read.
        place: What the block is called in messages, such as "models.yaml: model 'mine'".

    Raises:
        UserError: one line with the place, the key and the cure.
    """
    check_schema(value, schema_of(cls), place)
    return built(cls, value)


def built(cls: type, block: Mapping[str, Any]) -> Any:
    """An instance from a block that was checked, whose other keys are left alone."""
    return cls(**{key.name: _typed(key, block[key.name]) for key in keys(cls) if key.name in block})


def _typed(key: Key, value: Any) -> Any:
    if value is None:
        return None
    return tuple(key.type(one) for one in value) if key.many else key.type(value)


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
    }
    found = {name: limit for name, limit in limits.items() if limit is not None}
    found = {"type": _KINDS[key.type], "description": about.help} | found
    if key.many:
        found = {"type": "array", "items": found, "description": about.help}
        if key.default is MISSING or key.default:
            found["minItems"] = 1
    if key.default is not MISSING and key.default is not None:
        found["default"] = list(key.default) if key.many else key.default
    return found


def defaults_of(block: Mapping[str, Any], *classes: type) -> dict[str, Any]:
    """A block with the defaults of the keys that it leaves out."""
    return with_defaults(block, schema_of(*classes)["properties"])
