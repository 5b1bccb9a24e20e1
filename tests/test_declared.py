"""Packages that modules import are declared in `pyproject.toml`, by the extra that needs them."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from examples import REPO
from pesbench.core.family import family_of

PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DISTRIBUTIONS = packages_distributions()
PACKAGE = REPO / "workflow" / "pesbench"
MODULES = sorted((REPO / "workflow").rglob("*.py"))
TESTS = sorted((REPO / "tests").rglob("*.py"))
BESIDE_TESTS = sorted((REPO / "benchmarks").glob("*.py"))
OWN = {"pesbench", "benchmarks", "snakemake_logger_plugin_pesbench", *(p.stem for p in TESTS)}
ELSEWHERE = {
    "orbax": "orbax-checkpoint"
}  # names in an index of what is installed in no environment here
# Extras beside the base package by the start of a module's path; the longest that fits counts.
NEEDS = {
    "": ("workflow",),
    "models/": ("workflow", "mace", "testbed"),  # what several families of torch share
    "references/relax.py": ("workflow", "tblite"),
    "tasks/lj_core/head": ("workflow", "testbed"),  # the heads that it trains
    "testbed/": ("workflow", "testbed"),
    "training/": ("workflow", "mace"),
    "training/atom_targets.py": ("workflow", "tblite"),
}
# What runs in the environment of a family imports at first nothing beside the base package.
IN_ANY_ENVIRONMENT = re.compile(
    r"core/|engine/|models/(?!torch)[^/]+$|models/families/([^/]+|[^/]+/family)\.py$"
    r"|tasks/[^/]+/(run|settings|task)\.py$"
)


def _name(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def _names(*extras: str) -> set[str]:
    lists = [PROJECT["dependencies"], *(EXTRAS[extra] for extra in extras)]
    return {_name(requirement) for requirements in lists for requirement in requirements}


def _imports(tree: ast.AST, at_first: bool) -> Iterator[str]:
    """Names of top-level packages; `at_first`: only of what runs when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module).partition(".")[0]
        later = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or (
            isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        )
        if not (at_first and later):
            yield from _imports(node, at_first)


def third_party(path: Path, *, at_first: bool = False) -> set[str]:
    """Names, as in an index, of what a module imports from elsewhere."""
    names = set(_imports(ast.parse(path.read_text()), at_first)) - sys.stdlib_module_names - OWN
    return {_name(DISTRIBUTIONS.get(name, [ELSEWHERE.get(name, name)])[0]) for name in names}


def declared(path: Path) -> set[str]:
    """Names of the packages that a module of the workflow may import."""
    place = path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else ""
    within = place.removeprefix("models/families/")
    family = within.partition("/")[0].removesuffix(".py") if within != place else None
    if family is not None and (extra := family_of(family).extra):
        return _names(extra)
    pins = REPO / "envs" / f"{family}.txt"
    if pins.exists():  # a family without an extra has its environment alone
        return _names() | {
            _name(line) for line in pins.read_text().splitlines() if line[:1].isalpha()
        }
    return _names(*NEEDS[max((start for start in NEEDS if place.startswith(start)), key=len)])


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(REPO / "workflow").as_posix())
def test_a_module_imports_what_its_extra_declares(path):
    assert third_party(path) <= declared(path)
    if path.is_relative_to(PACKAGE) and IN_ANY_ENVIRONMENT.match(
        path.relative_to(PACKAGE).as_posix()
    ):
        assert third_party(path, at_first=True) <= _names()


def test_the_tests_import_what_is_installed_for_them():
    makefile = (REPO / "Makefile").read_text()
    (extras,) = re.findall(r"^EXTRAS := (.*)$", makefile, re.MULTILINE)
    assert "test" in extras.split(",")
    installed = _names(*extras.split(","))
    for family in ("apax", "sevennet"):  # whose tests run in an environment of their own
        installed |= declared(PACKAGE / "models/families" / family)
    assert len(TESTS) > 50
    for path in (*TESTS, *BESIDE_TESTS):
        assert third_party(path) <= installed, path


def test_every_declared_package_is_pinned():
    pins = {
        _name(s)
        for s in (REPO / "envs/constraints.txt").read_text().splitlines()
        if s[:1].isalpha()
    }
    assert _names(*EXTRAS) <= pins
