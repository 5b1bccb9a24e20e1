"""No test passes because there was nothing to look at; each file is tested by one process."""

from __future__ import annotations

import ast

import pytest

from examples import REPO, matches

TESTS = matches(REPO / "tests", "**/test_*.py")
FOLDERS = ("glob", "rglob", "iterdir", "listdir")


def _of_a_folder(node: ast.expr) -> bool:
    """Whether an expression is the paths of a folder, be they sorted or not."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
        if node.func.id not in ("sorted", "list", "set", "enumerate"):
            return False
        node = node.args[0]
    function = node.func if isinstance(node, ast.Call) else None
    return isinstance(function, ast.Attribute) and function.attr in FOLDERS


def empty_loops(source: str) -> list[int]:
    """Lines of loops over the paths of a folder that hold an assertion, and of `all` of them."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.For) and _of_a_folder(node.iter):
            if any(isinstance(part, ast.Assert) for part in ast.walk(node)):
                found.append(node.lineno)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("all", "max", "min"):
            parts = node.args[0].generators if isinstance(node.args[0], ast.GeneratorExp) else []
            if any(_of_a_folder(part.iter) for part in parts):
                found.append(node.lineno)
    return found


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(REPO / "tests")))
def test_a_loop_over_files_that_asserts_has_one_file_at_least(path):
    """`matches` of `tests/helpers/examples.py` says where there is none."""
    assert empty_loops(path.read_text()) == []


def test_such_a_loop_is_seen():
    loop = "for path in sorted(folder.glob('*')):\n    assert path\n"
    assert empty_loops(loop) == [1]
    assert empty_loops("assert all(p.exists() for p in folder.iterdir())") == [1]
    assert empty_loops("for path in matches(folder, '*'):\n    assert path\n") == []


def test_paths_that_do_not_exist_are_an_error(tmp_path):
    (tmp_path / "b.txt").touch()
    (tmp_path / "a.txt").touch()
    assert [path.name for path in matches(tmp_path, "*.txt")] == ["a.txt", "b.txt"]
    with pytest.raises(AssertionError, match=r"nothing matches \*\.h5"):
        matches(tmp_path, "*.h5")


def test_several_processes_share_no_file(request):
    """Each of them would make its fixtures; pytest-xdist reads the groups off the ids."""
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("one process tests, or files are not groups: `make test` sets --dist loadgroup")
    assert [item.nodeid for item in request.session.items if "@" not in item.nodeid] == []
