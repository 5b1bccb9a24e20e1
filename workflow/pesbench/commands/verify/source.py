"""What an import path leads to, by the source of the packages: parsed, never run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pesbench.commands.verify.packages import Distribution

LONGEST_CHAIN = 40  # re-exports and base classes behind each other
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class NotFoundError(Exception):
    """The import path leads nowhere; the text says where it ends."""


class ElsewhereError(Exception):
    """The path leads into a package that is not among those read; the text names the module."""


@dataclass(frozen=True)
class Found:
    """A function, class or value in a source file.

    Attributes:
        distribution: The distribution that it lies in.
        module: Dotted name of the module that defines it.
        file: Path of the source file.
        node: Its definition.
        owner: For a method, the class that defines it.
    """

    distribution: Distribution
    module: str
    file: str
    node: ast.AST
    owner: ast.ClassDef | None = None

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.file}:{getattr(self.node, 'lineno', 1)}"


class Sources:
    """The modules of some distributions.

    Args:
        distributions: Those that an entry pins, in its order.
    """

    def __init__(self, distributions: Sequence[Distribution]) -> None:
        self._distributions = distributions
        self._parsed: dict[str, tuple[Distribution, str, ast.Module] | None] = {}

    def find(self, path: str) -> Found:
        """What `module:name` or `module:Class.method` leads to.

        Raises:
            NotFoundError: it leads nowhere.
            ElsewhereError: it leads out of these distributions.
        """
        module, _, names = path.partition(":")
        first, *others = names.split(".")
        found = self._in_module(module, first, ())
        for name in others:
            found = self._attribute(found, name)
        return found

    def base_classes(self, found: Found) -> Iterator[Found]:
        """The base classes of a class that lie in these distributions, in their order.

        Raises:
            NotFoundError: one leads nowhere.
            ElsewhereError: one lies elsewhere.
        """
        assert isinstance(found.node, ast.ClassDef)
        for base in found.node.bases:
            if isinstance(base, ast.Subscript):  # Generic[T]
                base = base.value
            yield self._expression(found.module, base, ())

    # --- modules ---------------------------------------------------------------------------------

    def _module(self, name: str) -> tuple[Distribution, str, ast.Module] | None:
        """A module: its distribution, its file and its syntax tree."""
        if name not in self._parsed:
            self._parsed[name] = self._parse(name)
        return self._parsed[name]

    def _parse(self, name: str) -> tuple[Distribution, str, ast.Module] | None:
        bare = name.replace(".", "/")
        for distribution in self._distributions:
            for file in (f"{bare}/__init__.py", f"{bare}.py"):
                if (content := distribution.members.get(file)) is None:
                    continue
                try:
                    return distribution, file, ast.parse(content)
                except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                    raise NotFoundError(f"{file} cannot be parsed ({error})") from error
        return None

    def _is_package(self, name: str) -> bool:
        prefix = name.replace(".", "/") + "/"
        return any(
            member.startswith(prefix) for one in self._distributions for member in one.members
        )

    def _in_module(self, module: str, name: str, chain: tuple[str, ...]) -> Found:
        """The definition of a name in a module, through all re-exports."""
        here = f"{module}:{name}"
        if here in chain or len(chain) >= LONGEST_CHAIN:
            raise NotFoundError(f"{here} is imported from itself")
        chain = (*chain, here)
        parsed = self._module(module)
        if parsed is None:
            if self._is_package(module):
                raise NotFoundError(f"the package {module} has no {name!r}")
            if self._is_package(module.partition(".")[0]) or self._module(module.partition(".")[0]):
                raise NotFoundError(f"there is no module {module}")
            raise ElsewhereError(module)
        distribution, file, tree = parsed
        for statement in reversed(_statements(tree.body)):
            found = self._defined(statement, module, file, distribution, name, chain)
            if found is not None:
                return found
        for statement in tree.body:  # names that a module makes when they are asked for
            if isinstance(statement, ast.FunctionDef) and statement.name == "__getattr__":
                for inner in ast.walk(statement):
                    if isinstance(inner, ast.ImportFrom) and _gives(inner, name):
                        return self._imported(inner, module, file, name, chain)
        for statement in _statements(tree.body):
            if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
                try:
                    return self._imported(statement, module, file, name, chain)
                except (NotFoundError, ElsewhereError):
                    continue
        raise NotFoundError(f"{file} has no {name!r}")

    def _defined(
        self,
        statement: ast.stmt,
        module: str,
        file: str,
        distribution: Distribution,
        name: str,
        chain: tuple[str, ...],
    ) -> Found | None:
        """What a statement defines under a name; None if it is not about that name."""
        if isinstance(statement, _DEFINITIONS):
            if statement.name == name and not _is_overload(statement):
                return Found(distribution, module, file, statement)
        elif isinstance(statement, ast.ImportFrom):
            if _gives(statement, name):
                return self._imported(statement, module, file, name, chain)
        elif isinstance(statement, ast.Import):
            for alias in statement.names:
                if (alias.asname or alias.name.partition(".")[0]) == name:
                    raise NotFoundError(f"{file}: {name!r} is the module {alias.name}")
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if any(isinstance(one, ast.Name) and one.id == name for one in targets):
                if isinstance(statement.value, ast.Name | ast.Attribute):
                    return self._expression(module, statement.value, chain)
                return Found(distribution, module, file, statement)
        return None

    def _imported(
        self, statement: ast.ImportFrom, module: str, file: str, name: str, chain: tuple[str, ...]
    ) -> Found:
        """What `from ... import name` brings."""
        target = statement.module or ""
        if statement.level:
            package = module if file.endswith("/__init__.py") else module.rpartition(".")[0]
            for _ in range(statement.level - 1):
                package = package.rpartition(".")[0]
            target = f"{package}.{target}".strip(".")
        original = next((a.name for a in statement.names if (a.asname or a.name) == name), name)
        return self._in_module(target, original, chain)

    # --- expressions -----------------------------------------------------------------------------

    def _expression(self, module: str, value: ast.expr, chain: tuple[str, ...]) -> Found:
        """What a name, or an attribute of an imported module, stands for in a module."""
        text = ast.unparse(value)
        first, *others = text.split(".")
        if not isinstance(value, ast.Name | ast.Attribute):
            raise NotFoundError(f"{module}: {text[:80]} cannot be followed")
        if not others:
            return self._in_module(module, first, chain)
        names = [first, *others]
        if (target := self._aliased(module, first)) is not None:
            names = [*target.split("."), *others]
        for cut in range(len(names) - 1, 0, -1):  # the longest module first
            if self._module(".".join(names[:cut])) is not None:
                found = self._in_module(".".join(names[:cut]), names[cut], chain)
                for name in names[cut + 1 :]:
                    found = self._attribute(found, name)
                return found
        raise ElsewhereError(".".join(names[:-1]))

    def _aliased(self, module: str, name: str) -> str | None:
        """The module that a name stands for in a module; None if it stands for something else."""
        parsed = self._module(module)
        assert parsed is not None
        for statement in _statements(parsed[2].body):
            if isinstance(statement, ast.Import):
                for alias in statement.names:
                    if (alias.asname or alias.name.partition(".")[0]) == name:
                        return alias.name if alias.asname else name
            if isinstance(statement, ast.ImportFrom) and not statement.level:
                for alias in statement.names:
                    if (alias.asname or alias.name) == name:
                        return f"{statement.module}.{alias.name}"
        return None

    def _attribute(self, found: Found, name: str, depth: int = 0) -> Found:
        """A method or an attribute of a class, through its base classes."""
        if not isinstance(found.node, ast.ClassDef):
            raise NotFoundError(f"{found.place} is no class, so that it has no {name!r}")
        if depth > LONGEST_CHAIN:
            raise NotFoundError(f"{found.place}: too many base classes")
        for statement in reversed(_statements(found.node.body)):
            names = (
                [statement.name]
                if isinstance(statement, _DEFINITIONS)
                else [t.id for t in getattr(statement, "targets", ()) if isinstance(t, ast.Name)]
            )
            if name in names and not _is_overload(statement):
                return Found(found.distribution, found.module, found.file, statement, found.node)
        elsewhere: ElsewhereError | None = None
        for base in found.node.bases:
            try:
                inside = self._expression(found.module, base, ())
                return self._attribute(inside, name, depth + 1)
            except ElsewhereError as error:
                elsewhere = error
            except NotFoundError:
                continue
        if elsewhere is not None:
            raise elsewhere
        raise NotFoundError(f"{found.place}: the class {found.node.name} has no {name!r}")

    def method(self, found: Found, name: str) -> Found | None:
        """A method of a class or its bases; None if these distributions have none.

        Raises:
            ElsewhereError: it may be that of a base class that lies elsewhere.
        """
        try:
            return self._attribute(found, name)
        except NotFoundError:
            return None


def is_standard(module: str) -> bool:
    """Whether a module is one of Python's own."""
    return module.partition(".")[0] in sys.stdlib_module_names


def _statements(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    """The statements of a module or class, those in branches too.

    What `except` clauses define comes first of all, so that it counts only where nothing else
    defines it: the last definition of a name counts.
    """
    usual: list[ast.stmt] = []
    fallbacks: list[ast.stmt] = []
    waiting = [(statement, usual) for statement in reversed(body)]
    while waiting:
        statement, found = waiting.pop()
        inner: list[tuple[ast.stmt, list[ast.stmt]]] = []
        if isinstance(statement, ast.Try):
            inner += [(one, fallbacks) for handler in statement.handlers for one in handler.body]
            every = (*statement.body, *statement.orelse, *statement.finalbody)
            inner += [(one, found) for one in every]
        elif isinstance(statement, ast.If):
            inner += [(one, found) for one in (*statement.orelse, *statement.body)]
        elif isinstance(statement, ast.With):
            inner += [(one, found) for one in statement.body]
        else:
            found.append(statement)
        waiting += reversed(inner)
    return fallbacks + usual


def _gives(statement: ast.ImportFrom, name: str) -> bool:
    return any((alias.asname or alias.name) == name for alias in statement.names)


def _is_overload(statement: ast.stmt) -> bool:
    """Whether it is a signature for type checkers alone."""
    return any(
        ast.unparse(one).rpartition(".")[2] == "overload"
        for one in getattr(statement, "decorator_list", ())
    )
