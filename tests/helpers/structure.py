"""Prints the structure of the package: rooms, imports, cycles and sizes.

    python tests/helpers/structure.py [CHECKOUT]

It reads the source of `CHECKOUT/workflow/pesbench` (or of the checkout that holds this file) and
imports none of it. An import of a function runs later than one of a module and is told apart;
imports under `TYPE_CHECKING` run never and do not count.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = "pesbench"
# From the lowest: a room imports those of its own level and below. The modules beside the rooms
# (`api`, `cli`, `__main__`) may import every room and are imported by none.
ROOMS = (
    ("core",), ("metrics",), ("files",), ("models",), ("engine",), ("references",), ("tasks",),
    ("training", "testbed"), ("compare",), ("report",), ("orchestration",), ("commands",),
)  # fmt: skip
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
LONGEST_MODULE, LONGEST_FUNCTION = 500, 80


@dataclass
class Module:
    """A module of the package.

    Attributes:
        name: Dotted.
        lines: Of its file.
        imports: Modules of the package that its import runs.
        later: Those that functions of it import.
        private: `module.name` of private names that it takes from other modules.
        functions: Lines of each function by name.
        statements: Number of statements beside the docstring.
    """

    name: str
    lines: int
    imports: set[str] = field(default_factory=set)
    later: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    functions: dict[str, int] = field(default_factory=dict)
    statements: int = 0

    @property
    def room(self) -> str:
        """The folder directly below the package, or "" for a module beside the rooms."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 2 or parts[-1] in LEVEL else ""


def is_private(name: str) -> bool:
    """Whether a name begins with one underscore."""
    return name.startswith("_") and not name.startswith("__")


def read(checkout: Path) -> dict[str, Module]:
    """All modules of a checkout by name; a package is called by the name of its folder."""
    root = checkout / "workflow" / PACKAGE
    paths = {}
    for path in sorted(root.rglob("*.py")):
        parts = (PACKAGE, *path.relative_to(root).with_suffix("").parts)
        paths[".".join(parts).removesuffix(".__init__")] = path
    return {name: _module(name, path, paths) for name, path in paths.items()}


def _module(name: str, path: Path, paths: Mapping[str, Path]) -> Module:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    module = Module(name, len(source.splitlines()))
    documented = ast.get_docstring(tree, clean=False) is not None
    module.statements = sum(not _is_future(node) for node in tree.body[documented:])
    aliases: dict[str, str] = {}  # names in this module that stand for modules of the package
    for node, inside in _imports(tree, inside=False):
        for target, taken, alias in _targets(node, name, paths):
            if target != name:
                (module.later if inside else module.imports).add(target)
            if taken and is_private(taken):
                module.private.add(f"{target}.{taken}")
            if not taken:
                aliases[alias] = target
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            module.functions[f"{name}.{node.name}"] = node.end_lineno - node.lineno + 1
        if (
            isinstance(node, ast.Attribute)
            and is_private(node.attr)
            and isinstance(node.value, ast.Name)
            and node.value.id in aliases
        ):
            module.private.add(f"{aliases[node.value.id]}.{node.attr}")
    module.later -= module.imports
    return module


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _imports(node: ast.AST, *, inside: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Import statements, and whether each is in a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, inside
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _imports(other, inside=inside)
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, inside=inside or function)


def _targets(
    node: ast.Import | ast.ImportFrom, name: str, paths: Mapping[str, Path]
) -> Iterator[tuple[str, str, str]]:
    """The module that a module imports, the name taken from it or "", and what it is called."""
    place = ""
    if isinstance(node, ast.ImportFrom):
        inside = f"{name}.__init__" if paths[name].name == "__init__.py" else name
        above = [inside.rsplit(".", node.level)[0]] if node.level else []
        place = ".".join([*above, *([node.module] if node.module else [])])
    for alias in node.names:
        if isinstance(node, ast.Import):
            if alias.name in paths:
                yield alias.name, "", alias.asname or alias.name
        elif place in paths:
            whole = f"{place}.{alias.name}"
            if whole in paths:
                yield whole, "", alias.asname or alias.name
            else:
                yield place, alias.name, alias.asname or alias.name


def cycles(modules: Mapping[str, Module], *, later: bool) -> list[list[str]]:
    """Groups of modules that import each other, with or without imports in functions."""

    def edges(name: str) -> set[str]:
        module = modules[name]
        return module.imports | module.later if later else module.imports

    @functools.cache
    def reached(name: str) -> frozenset[str]:
        found: set[str] = set()
        new = edges(name)
        while new:
            found |= new
            new = {other for one in new for other in edges(one)} - found
        return frozenset(found)

    groups = {
        frozenset(other for other in reached(name) if name in reached(other))
        for name in modules
        if name in reached(name)
    }
    return sorted(sorted(group) for group in groups)


def depth(modules: Mapping[str, Module]) -> list[str]:
    """The longest chain of imports of modules; one that leads back to itself ends there."""
    best: dict[str, list[str]] = {}

    def longest(name: str, above: frozenset[str]) -> list[str]:
        if name not in best:
            chains = [
                longest(other, above | {name}) for other in sorted(modules[name].imports - above)
            ]
            best[name] = [name, *max(chains, key=len, default=[])]
        return best[name]

    return max((longest(name, frozenset({name})) for name in sorted(modules)), key=len)


def violations(modules: Mapping[str, Module]) -> list[str]:
    """Imports of a higher room, of functions too."""
    found = []
    for module in modules.values():
        for target in sorted(module.imports | module.later):
            room = modules[target].room
            higher = LEVEL.get(room, len(ROOMS)) > LEVEL.get(module.room, len(ROOMS))
            if higher and target != PACKAGE:  # of which modules take the version alone
                found.append(f"{module.name} -> {target}")
    return found


def private_imports(modules: Mapping[str, Module]) -> list[str]:
    """Private names that another module takes."""
    return sorted(f"{m.name} takes {name}" for m in modules.values() for name in m.private)


def long_modules(modules: Mapping[str, Module]) -> list[str]:
    """Modules above `LONGEST_MODULE` lines."""
    return [f"{m.name} {m.lines}" for m in modules.values() if m.lines > LONGEST_MODULE]


def long_functions(modules: Mapping[str, Module]) -> list[str]:
    """Functions above `LONGEST_FUNCTION` lines."""
    return [
        f"{name} {lines}"
        for m in modules.values()
        for name, lines in m.functions.items()
        if lines > LONGEST_FUNCTION
    ]


def packages(modules: Mapping[str, Module]) -> list[str]:
    """Folders with an `__init__.py`, the package itself aside."""
    return [name for name in modules if any(other.startswith(f"{name}.") for other in modules)][1:]


def packages_with_code(modules: Mapping[str, Module]) -> list[str]:
    """Packages whose `__init__.py` holds more than a docstring, the package itself aside."""
    return [name for name in packages(modules) if modules[name].statements]


def main(arguments: list[str]) -> None:
    """Print the structure of a checkout."""
    checkout = Path(arguments[0]) if arguments else Path(__file__).parents[2]
    modules = read(checkout)
    folders = packages(modules)
    flat = [m for m in modules if m.count(".") == 1 and m not in folders]
    chain = depth(modules)
    figures: list[tuple[str, int, list[str]]] = [
        ("modules", len(modules) - len(folders) - 1, []),
        ("packages", len(folders), []),
        ("flat modules beside packages", len(flat), []),
        ("lines", sum(m.lines for m in modules.values()), []),
        ("import depth", len(chain), [" > ".join(chain)]),
    ]
    for title, found in (
        ("import cycles", [" ".join(c) for c in cycles(modules, later=False)]),
        ("import cycles, imports in functions included",
         [" ".join(c) for c in cycles(modules, later=True)]),
        ("imports of a higher room", violations(modules)),
        ("private names taken from other modules", private_imports(modules)),
        ("packages with code in __init__.py", packages_with_code(modules)),
        (f"modules above {LONGEST_MODULE} lines", long_modules(modules)),
        (f"functions above {LONGEST_FUNCTION} lines", long_functions(modules)),
    ):  # fmt: skip
        figures.append((title, len(found), found))
    for title, number, lines in figures:
        print(f"{title}: {number}")
        for line in lines:
            print(f"    {line}")


if __name__ == "__main__":
    main(sys.argv[1:])
