"""Settings dataclasses from what users write, with one line for the first thing that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pesbench.core.settings import Key, keys
from pesbench.files.schemas import check_schema, schema_of, with_defaults


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


def defaults_of(block: Mapping[str, Any], *classes: type) -> dict[str, Any]:
    """A block with the defaults of the keys that it leaves out."""
    return with_defaults(block, schema_of(*classes)["properties"])
