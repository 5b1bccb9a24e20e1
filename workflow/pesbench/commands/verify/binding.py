"""Whether a call of an entry fits what is called, by its source."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from pesbench.commands.verify.source import Found, Sources
from pesbench.models.calls import Named


class UnfitError(Exception):
    """The arguments do not fit; the text says which."""


@dataclass(frozen=True)
class Parameters:
    """What a function takes.

    Attributes:
        positional_only: Names that cannot be given as keywords.
        named: Names that can be given either way, in their order.
        keyword_only: Names that can be given as keywords only.
        required: Those of the names that have no default.
        any_positional: Whether it takes any number of positional arguments.
        any_keyword: Whether it takes any keyword.
        place: File and line.
    """

    positional_only: tuple[str, ...]
    named: tuple[str, ...]
    keyword_only: tuple[str, ...]
    required: frozenset[str]
    any_positional: bool
    any_keyword: bool
    place: str


def parameters(sources: Sources, found: Found) -> Parameters:
    """What a function, a method or a class takes when it is called.

    Raises:
        UnfitError: it is nothing that can be called.
        ElsewhereError: a class takes what a base class takes that lies elsewhere.
    """
    node = found.node
    if isinstance(node, ast.ClassDef):
        return _of_class(sources, found)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        decorators = {ast.unparse(one).rpartition(".")[2] for one in node.decorator_list}
        bound = found.owner is not None and "staticmethod" not in decorators
        if bound and "classmethod" not in decorators:
            raise UnfitError(
                f"{found.place}: {node.name!r} is a method of an object, not of the class"
            )
        return _of_arguments(node.args, found.place, skip=int(bound))
    raise UnfitError(
        f"{found.place}: it is a value, of which its source does not say what it takes"
    )


def _of_class(sources: Sources, found: Found) -> Parameters:
    """What a class takes: as its `__init__` says, its own or inherited, or as a dataclass."""
    node = found.node
    assert isinstance(node, ast.ClassDef)
    own = any(isinstance(one, ast.FunctionDef) and one.name == "__init__" for one in node.body)
    if _is_dataclass(node) and not own:
        return _of_dataclass(sources, found)
    for name in ("__init__", "__new__"):
        method = sources.method(found, name)
        if method is None:
            continue
        if isinstance(method.owner, ast.ClassDef) and method.owner is not node:
            inherited = Found(method.distribution, method.module, method.file, method.owner)
            return _of_class(sources, inherited)
        assert isinstance(method.node, ast.FunctionDef | ast.AsyncFunctionDef)
        return _of_arguments(method.node.args, method.place, skip=1)
    return Parameters((), (), (), frozenset(), False, False, found.place)


def _of_arguments(arguments: ast.arguments, place: str, skip: int) -> Parameters:
    """Args: skip: 1 for a bound method, whose first parameter is not given."""
    only = [one.arg for one in arguments.posonlyargs]
    named = [one.arg for one in arguments.args]
    both = [*only, *named]
    without = both[: len(both) - len(arguments.defaults)]
    keyword = [one.arg for one in arguments.kwonlyargs]
    required = [
        name
        for name, default in zip(keyword, arguments.kw_defaults, strict=True)
        if default is None
    ]
    if skip and only:
        only = only[1:]
    elif skip:
        named = named[1:]
    return Parameters(
        tuple(only),
        tuple(named),
        tuple(keyword),
        frozenset([*without[skip:], *required]),
        arguments.vararg is not None,
        arguments.kwarg is not None,
        place,
    )


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any(
        ast.unparse(one).partition("(")[0].rpartition(".")[2] == "dataclass"
        for one in node.decorator_list
    )


def _of_dataclass(sources: Sources, found: Found) -> Parameters:
    """What the generated `__init__` of a dataclass takes: the fields of its bases and its own."""
    assert isinstance(found.node, ast.ClassDef)
    fields: dict[str, bool] = {}  # whether it has a default
    for base in sources.base_classes(found):
        if isinstance(base.node, ast.ClassDef) and _is_dataclass(base.node):
            inner = _of_dataclass(sources, base)
            fields |= {name: name not in inner.required for name in inner.named}
    for statement in found.node.body:
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        if "ClassVar" in ast.unparse(statement.annotation):
            continue
        said = {}
        if isinstance(statement.value, ast.Call) and ast.unparse(statement.value.func).endswith(
            "field"
        ):
            said = {one.arg: ast.unparse(one.value) for one in statement.value.keywords}
            if said.get("init") == "False":
                continue
            fields[statement.target.id] = bool({"default", "default_factory"} & set(said))
            continue
        fields[statement.target.id] = statement.value is not None
    required = frozenset(name for name, default in fields.items() if not default)
    return Parameters((), tuple(fields), (), required, False, False, found.place)


def check(named: Named, takes: Parameters) -> tuple[str, ...]:
    """Refuse a call that does not fit.

    Returns:
        Keywords that nothing but `**kwargs` takes.

    Raises:
        UnfitError: one line.
    """
    if named.keywords is None:
        return ()
    count = named.positional
    ordered = [*takes.positional_only, *takes.named]
    filled = ordered if count is None else ordered[:count]
    if count is not None and count > len(ordered) and not takes.any_positional:
        raise UnfitError(f"takes {len(ordered)} positional arguments, not {count}")
    known = {*takes.named, *takes.keyword_only}
    unknown = [name for name in named.keywords if name not in known]
    if unknown and not takes.any_keyword:
        raise UnfitError(f"has no argument {unknown[0]!r}; it takes {_list(ordered, takes)}")
    if count is not None:
        if twice := [name for name in named.keywords if name in filled]:
            raise UnfitError(f"argument {twice[0]!r} is given twice")
        missing = sorted(takes.required - set(named.keywords) - set(filled))
        if missing:
            raise UnfitError(f"needs the argument {missing[0]!r}")
    return tuple(unknown)


def _list(ordered: Sequence[str], takes: Parameters) -> str:
    return ", ".join([*ordered, *takes.keyword_only]) or "none"
