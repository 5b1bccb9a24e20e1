"""The structure of the package: who imports whom, and how long modules and functions are."""

from __future__ import annotations

import pytest

from structure import (
    cycles,
    long_functions,
    long_modules,
    packages_with_code,
    private_imports,
    read,
    violations,
)


@pytest.fixture(scope="module")
def modules(repo):
    found = read(repo)
    assert len(found) > 100
    return found


def test_no_module_imports_itself_in_the_end(modules):
    assert not cycles(modules, later=False)
    assert not cycles(modules, later=True)  # not in functions either


def test_no_room_imports_a_higher_one(modules):
    assert not violations(modules)


def test_no_module_takes_a_private_name_of_another(modules):
    assert not private_imports(modules)


def test_packages_hold_no_code(modules):
    assert not packages_with_code(modules)


def test_modules_and_functions_are_short(modules):
    assert not long_modules(modules)
    assert not long_functions(modules)


def test_the_script_finds_what_it_looks_for(tmp_path):
    package = tmp_path / "workflow/pesbench"
    sources = {
        "core/low.py": "def f():\n    from pesbench.tasks.high import g\n",
        "tasks/high.py": (
            "from pesbench.core import low\nfrom pesbench.core.low import _h\nlow._k()"
        ),
        "tasks/one.py": "if TYPE_CHECKING:\n    import pesbench.tasks.two",
        "tasks/two.py": "import pesbench.tasks.one\n" + "\n" * 500,
        "tasks/long.py": "def long():\n" + "    x = 1\n" * 80,
        "tasks/__init__.py": '"""Tasks."""\nX = 1\n',
        "core/__init__.py": '"""Core."""\n',
        "__init__.py": "",
        "cli.py": "",
        "core/up.py": "import pesbench.cli",
    }
    for name, source in sources.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(source)
    found = read(tmp_path)
    assert cycles(found, later=False) == []
    assert cycles(found, later=True) == [["pesbench.core.low", "pesbench.tasks.high"]]
    assert violations(found) == [
        "pesbench.core.low -> pesbench.tasks.high", "pesbench.core.up -> pesbench.cli",
    ]  # fmt: skip
    assert private_imports(found) == [
        "pesbench.tasks.high takes pesbench.core.low._h",
        "pesbench.tasks.high takes pesbench.core.low._k",
    ]
    assert packages_with_code(found) == ["pesbench.tasks"]
    assert long_modules(found) == ["pesbench.tasks.two 501"]
    assert long_functions(found) == ["pesbench.tasks.long.long 81"]


def test_the_script_follows_relative_imports(tmp_path):
    package = tmp_path / "workflow/pesbench"
    sources = {
        "__init__.py": "",
        "core/__init__.py": "from .low import x\nfrom .. import cli",
        "core/low.py": "from . import up\nfrom .up import _h\nup._k()",
        "core/up.py": "from ..tasks import one",
        "tasks/__init__.py": "",
        "tasks/one.py": "def f():\n    from ..core.low import g",
        "cli.py": "",
    }
    for name, source in sources.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(source)
    found = read(tmp_path)
    assert found["pesbench.core"].imports == {"pesbench.core.low", "pesbench.cli"}
    assert found["pesbench.core.low"].imports == {"pesbench.core.up"}
    assert found["pesbench.core.up"].imports == {"pesbench.tasks.one"}
    assert found["pesbench.tasks.one"].later == {"pesbench.core.low"}
    assert len(private_imports(found)) == 2
    assert "pesbench.core.up -> pesbench.tasks.one" in violations(found)
