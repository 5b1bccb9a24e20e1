"""YAML as a user writes it: nothing is guessed, nothing is overwritten in silence.

Plain scalars follow the core schema of YAML 1.2: numbers are decimal, `true` and `false` are the
only truth values, and all else is text. What YAML 1.1 would read as octal (`017`), as sexagesimal
(`1:30`), as a date or as a truth value (`no`) stays the text that was written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pesbench.core.errors import UserError

try:
    import yaml
except ImportError as error:  # the base package is without
    raise UserError(
        f"entries and configurations need {error.name}, which is not installed; "
        "pip install 'pesbench[check]'"
    ) from error

DEEPEST = 50  # blocks inside each other
MOST_VALUES = 100_000  # of a file, with every alias written out
LONGEST_NUMBER = 30  # digits; what is longer is no quantity
LONGEST_TEXT = 1000  # characters of a value; a message that quotes one stays a line
_TAG = "tag:yaml.org,2002:"
_PLAIN = {
    "null": re.compile(r"~|null|Null|NULL|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "int": re.compile(r"[-+]?(0|[1-9][0-9]*)"),
    "float": re.compile(
        r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
    ),
    "merge": re.compile(r"<<"),
}
_KNOWN_TAGS = {_TAG + kind for kind in ("null", "bool", "int", "float", "str", "seq", "map")}
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff]")


class NotYamlError(UserError):
    """A text that does not follow the syntax of YAML."""


class _StrictLoader(yaml.SafeLoader):
    """Scalars of the core schema of YAML 1.2."""

    yaml_implicit_resolvers: ClassVar[dict[str | None, list[tuple[str, re.Pattern[str]]]]] = {
        None: [(_TAG + kind, re.compile(f"(?:{p.pattern})\\Z")) for kind, p in _PLAIN.items()]
    }


def _at(node: yaml.Node, message: str) -> UserError:
    return UserError(f"line {node.start_mark.line + 1}: {message}")


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node))
    kind = node.tag.removeprefix(_TAG)
    if not _PLAIN[kind].fullmatch(text):
        raise _at(node, f"{text!r} is no {kind}; write a decimal number")
    if kind == "int":
        return int(text)
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _truth(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> bool:
    text = str(loader.construct_scalar(node))
    if not _PLAIN["bool"].fullmatch(text):
        raise _at(node, f"{text!r} is no truth value; write true or false")
    return text.lower() == "true"


_StrictLoader.add_constructor(_TAG + "int", _number)
_StrictLoader.add_constructor(_TAG + "float", _number)
_StrictLoader.add_constructor(_TAG + "bool", _truth)


def _check_nodes(root: yaml.Node) -> None:
    """Refuse what is too deep, too large with its aliases written out, or no plain data."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node, depth: int) -> int:
        if id(node) in open_nodes:
            raise _at(node, "an alias stands inside of what it stands for; write it out")
        if depth > DEEPEST:
            raise _at(node, f"more than {DEEPEST} blocks inside each other; make it flat")
        if id(node) in sizes:
            return sizes[id(node)]
        open_nodes.add(id(node))
        children: list[yaml.Node] = []
        if isinstance(node, yaml.ScalarNode):
            _check_scalar(node)
        elif isinstance(node, yaml.MappingNode):
            _check_keys([key for key, _ in node.value])
            children = [one for pair in node.value for one in pair]
        else:
            children = node.value
        if node.tag not in (*_KNOWN_TAGS, _TAG + "merge"):
            short = node.tag.replace(_TAG, "!!")[:40]
            raise _at(node, f"the type {short!r} is not known here; write plain text or a number")
        total = 1 + sum(size(child, depth + 1) for child in children)
        if total > MOST_VALUES:
            raise _at(node, f"more than {MOST_VALUES} values with its aliases; make it smaller")
        open_nodes.remove(id(node))
        sizes[id(node)] = total
        return total

    size(root, 0)


def _check_keys(keys: Sequence[yaml.Node]) -> None:
    seen: set[str] = set()
    for key in keys:
        if key.tag == _TAG + "merge":  # `<<: *other`, whose keys may be replaced
            continue
        if not isinstance(key, yaml.ScalarNode) or key.tag != _TAG + "str":
            shown = key.value if isinstance(key, yaml.ScalarNode) else "a block"
            raise _at(key, f"the name {shown[:40]!r} is no text; put it in quotes")
        if key.value in seen:
            raise _at(key, f"the name {key.value[:80]!r} occurs twice; rename or remove one")
        seen.add(key.value)


def _check_scalar(node: yaml.ScalarNode) -> None:
    if node.tag == _TAG + "int" and len(node.value) > LONGEST_NUMBER:
        raise _at(node, f"a number of {len(node.value)} digits; put it in quotes if it is text")
    if found := _UNPRINTABLE.search(node.value):
        raise _at(node, f"the character {found[0]!r} cannot be printed; take it out")


def parse_yaml(text: str) -> Any:
    """The content of a text in YAML.

    Args:
        text: Text as a user wrote it.

    Returns:
        Dictionaries with text as keys, lists, text, numbers, truth values and None.

    Raises:
        NotYamlError: it is none.
        UserError: a key occurs twice or is no text; it is nested too deeply, too
            large, or holds objects (`!!binary`) or characters that cannot be printed.
    """
    try:
        loader = _StrictLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_nodes(node)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        told = " ".join(str(error).replace('in "<unicode string>", ', "in ").split())
        raise NotYamlError(f"not valid YAML ({told})") from error
    except RecursionError as error:
        raise UserError(f"more than {DEEPEST} blocks inside each other; make it flat") from error


class _StrictDumper(yaml.SafeDumper):
    """Quotes what `parse_yaml` would not read as text."""


for _kind, _pattern in _PLAIN.items():
    if _kind != "merge":
        _StrictDumper.add_implicit_resolver(
            _TAG + _kind, re.compile(f"(?:{_pattern.pattern})\\Z"), None
        )


def dump_yaml(value: Any) -> str:
    """YAML that both `parse_yaml` and Snakemake read as the same value."""
    return yaml.dump(value, Dumper=_StrictDumper, sort_keys=False, width=100, allow_unicode=True)


def read_text(path: Path) -> str:
    """The text of a file, a byte order mark aside.

    Raises:
        UserError: it is missing, no file, or no UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except ValueError as error:  # of a name with a NUL, too
        if not isinstance(error, UnicodeDecodeError):
            raise UserError(f"{str(path)!r}: no name of a file ({error})") from error
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{path}: line {line}: no UTF-8; save the file as UTF-8") from error


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        UserError: as `read_text` and `parse_yaml`, with the file.
    """
    text = read_text(path)
    try:
        return parse_yaml(text)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def check_plain(value: Any, place: str) -> None:
    """Refuse numbers that are not finite and text that cannot be printed or is a file of its own.

    Args:
        value: Value from YAML, JSON or a command line.
        place: What it is called in messages.

    Raises:
        UserError: naming the first of them.
    """
    todo: list[tuple[str, Any]] = [("", value)]
    while todo:
        where, one = todo.pop()
        key = f"{place}: `{where}`" if where else place
        if isinstance(one, dict):
            todo += [(f"{where}.{k}" if where else str(k), v) for k, v in one.items()]
            todo += [(where, k) for k in one]
        elif isinstance(one, list | tuple):
            todo += [(f"{where}.{n}" if where else str(n), v) for n, v in enumerate(one)]
        elif isinstance(one, float) and not math.isfinite(one):
            raise UserError(f"{key} is {one!r}; give a finite number")
        elif isinstance(one, str) and len(one) > LONGEST_TEXT:
            raise UserError(f"{key} has {len(one)} characters; give at most {LONGEST_TEXT}")
        elif isinstance(one, str) and (found := _UNPRINTABLE.search(one)):
            raise UserError(f"{key}: the character {found[0]!r} cannot be printed; take it out")
