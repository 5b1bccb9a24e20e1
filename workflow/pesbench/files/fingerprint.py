"""Hashes of the code that decides an output.

Snakemake does not see package code: each rule carries in its `params` the fingerprint of the stage
that makes its output. A stage is named by the module that it enters the package by, and its
fingerprint is the hash of all modules that this one imports, directly or not, in functions too. So
a changed metric recomputes scores and nothing else, and no list of modules is kept. Comments,
docstrings, help texts of settings and formatting do not count, and neither do imports under
`TYPE_CHECKING`, which run nothing, nor `__init__.py` files, which hold no code. A module that is
loaded by its name is named beside the entry: the adapter of a model's family (`family_modules`).
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import json
import os
import platform
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

FAMILIES = "pesbench.models.families"
MOST_KEPT = 2000  # sources: some ten versions of the package
_FILE_NAME = re.compile(r"[\w-]+(\.[\w-]+)+")


@dataclass(frozen=True)
class Source:
    """Content of a module's source.

    Attributes:
        meaning: Hash of `normalised`.
        imports: Dotted names that may be modules; a relative one begins with its dots.
        constants: Texts that may be names of files beside the module.
    """

    meaning: str
    imports: tuple[str, ...]
    constants: tuple[str, ...]


class Code:
    """The modules of a package, each read once.

    Args:
        package: Folder of the package.
    """

    def __init__(self, package: Path) -> None:
        self._package = package
        self._read: dict[str, tuple[str, set[str]]] = {}  # hash and imports by module
        self._known = _Known(package / "__pycache__" / "fingerprints.json")

    def closure(self, *entries: str) -> frozenset[str]:
        """The modules that some modules import, and they themselves.

        Args:
            entries: Dotted names; that of a folder stands for all modules in it.

        Raises:
            KeyError: the package has no such module.
        """
        found: set[str] = set()
        new = {module for entry in entries for module in self._modules(entry)}
        while new:
            found |= new
            new = {other for module in new for other in self._module(module)[1]} - found
        self._known.save()
        return frozenset(found)

    def fingerprint(self, *entries: str) -> str:
        """The hash of a closure, of 16 characters.

        Raises:
            KeyError: the package has no such module.
        """
        digest = hashlib.sha256()
        for module in sorted(self.closure(*entries)):
            digest.update(f"{module} {self._module(module)[0]}\n".encode())
        return digest.hexdigest()[:16]

    def _path(self, module: str) -> Path:
        return self._package.joinpath(*module.split(".")[1:])

    def _modules(self, entry: str) -> Iterator[str]:
        path = self._path(entry)
        if path.with_name(f"{path.name}.py").is_file():
            yield entry
        elif entry.startswith(f"{self._package.name}.") and path.is_dir():
            for file in path.rglob("*.py"):
                if file.name != "__init__.py":
                    yield ".".join((entry, *file.relative_to(path).with_suffix("").parts))
        else:
            raise KeyError(entry)

    def _module(self, module: str) -> tuple[str, set[str]]:
        """Hash of a module and of the files beside it that it names, and what it imports."""
        if module not in self._read:
            path = self._path(module)
            source = self._known.read((path.with_name(f"{path.name}.py")).read_bytes())
            meaning = source.meaning
            for name in source.constants:
                if name != f"{path.name}.py" and (path.parent / name).is_file():
                    beside = hashlib.sha256((path.parent / name).read_bytes()).hexdigest()
                    meaning += f" {name} {beside}"
            whole = (_absolute(name, module) for name in source.imports)
            self._read[module] = meaning, {one for one in map(self._target, whole) if one}
        return self._read[module]

    @functools.cache  # noqa: B019 - there is one for each package
    def _target(self, imported: str) -> str:
        """The module that an import runs, or "": `a.b` may be `b` of the module `a`, too."""
        for name in (imported, imported.rpartition(".")[0]):
            path = self._path(name)
            if name.startswith(f"{self._package.name}.") and (
                path.with_name(f"{path.name}.py").is_file()
            ):
                return name
        return ""


class _Known:
    """What sources say, kept from one start to the next: parsing all of them takes a second.

    A source is known by the hash of its bytes, so that nothing here can be out of date.

    Args:
        path: File that keeps it, if its folder can be written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._changed = path, False
        self._sources: dict[str, Source] = {}
        self._version = f"{platform.python_version()} {_hash(Path(__file__).read_bytes())}"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["version"] == self._version:
                self._sources = {
                    key: Source(one["meaning"], tuple(one["imports"]), tuple(one["constants"]))
                    for key, one in kept["sources"].items()
                }

    def read(self, source: bytes) -> Source:
        """Content of a source."""
        key = _hash(source)
        if key not in self._sources:
            self._sources[key], self._changed = _parsed(source), True
        return self._sources[key]

    def save(self) -> None:
        """Keep what is new, where that is possible."""
        if not self._changed:
            return
        self._changed = False
        newest = list(self._sources.items())[-MOST_KEPT:]
        kept = {key: asdict(source) for key, source in newest}
        text = json.dumps({"version": self._version, "sources": kept})
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(exist_ok=True)
            number, part = tempfile.mkstemp(dir=self._path.parent)  # jobs may do so at once
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(text)
            Path(part).replace(self._path)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _parsed(source: bytes) -> Source:
    tree = ast.parse(source)
    constants = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and _FILE_NAME.fullmatch(node.value)
    }
    imports = tuple(sorted(set(_imports(tree))))
    return Source(_hash(_dumped(tree).encode()), imports, tuple(sorted(constants)))


def _imports(node: ast.AST) -> Iterator[str]:
    """Names that may be modules of this package, of the import statements that run something."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names if _is_own(alias.name))
        elif isinstance(child, ast.ImportFrom):
            place = "." * child.level + (f"{child.module}." if child.module else "")
            if child.level or _is_own(place):
                yield from (f"{place}{alias.name}" for alias in child.names)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield from _imports(ast.Module([other], []))
        else:
            yield from _imports(child)


def _absolute(name: str, module: str) -> str:
    """An import of a module, without the dots of a relative one."""
    bare = name.lstrip(".")
    level = len(name) - len(bare)
    return f"{module.rsplit('.', level)[0]}.{bare}" if level else name


def _is_own(module: str) -> bool:
    return module.partition(".")[0] == __name__.partition(".")[0]


@functools.cache
def _here() -> Code:
    return Code(Path(__file__).parents[1])


_asked: dict[str, str] = {}


@functools.cache
def stage_fingerprint(*entries: str) -> str:
    """The fingerprint of a stage of this package.

    Args:
        entries: The dotted name of the module that the stage enters the package by, such as
            `pesbench.tasks.bonds.run`, and those that it loads by their names, such as
            `family_modules` of a model that runs in it.

    Raises:
        KeyError: no such module.
    """
    fingerprint = _here().fingerprint(*entries)
    _asked[" ".join(entries)] = fingerprint
    return fingerprint


def family_modules(families: Iterable[str]) -> tuple[str, ...]:
    """The modules of the adapters of some families, such as `ModelEntry.families`."""
    return tuple(f"{FAMILIES}.{family}" for family in families)


def asked_for() -> dict[str, str]:
    """The fingerprints that this process has asked for so far, by their entries.

    A command asks for that of its own stage before it writes: so its output can tell what code it
    was made by.
    """
    return dict(_asked)


def normalised(source: str) -> str:
    """Python source as its syntax tree, without docstrings and the help texts of settings.

    Two sources are equal by it where nothing that they do differs.
    """
    return _dumped(ast.parse(source))


def _dumped(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setting":
            node.keywords = [one for one in node.keywords if one.arg != "help"]
    return ast.dump(tree)
