"""An interpreter by name or path: found, and refused in one line where it does not start."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pesbench.core.errors import UserError
from pesbench.files.interpreters import Interpreter, find_interpreter

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
SHIM = "#!/bin/sh\necho 'pyenv: python9.9: command not found' >&2\nexit 127\n"


def _executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, and a PATH, with nothing in them."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    find_interpreter.cache_clear()
    return tmp_path / "home"


def _fake(version: str) -> str:
    return f"#!/bin/sh\nprintf {version}\n"


def test_none_named_is_that_of_this_process(tmp_path: Path) -> None:
    assert find_interpreter("", tmp_path) == Interpreter(sys.executable, HERE)


def test_a_path_may_be_relative_and_a_link(home: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").symlink_to(sys.executable)
    found = find_interpreter("./mine", tmp_path)
    assert found == Interpreter(str(tmp_path / "mine"), HERE)
    with pytest.raises(UserError, match=r"no file \./other; install Python 3\.11 or newer, or"):
        find_interpreter("./other", tmp_path)


def test_a_name_is_looked_for_on_the_path_first(home: Path, tmp_path: Path) -> None:
    _executable(home / ".pyenv/versions/9.9.1/bin/python9.9", _fake("9.9"))
    on_path = _executable(tmp_path / "bin/python9.9", _fake("9.9"))
    assert find_interpreter("python9.9", tmp_path) == Interpreter(str(on_path), "9.9")


@pytest.mark.parametrize("folder", [".pyenv/versions/9.9.10", ".local/share/uv/python/cpython-9.9"])
def test_a_shim_that_does_not_start_is_passed_over(home: Path, tmp_path: Path, folder: str) -> None:
    """The newest version of the name that starts is taken."""
    _executable(tmp_path / "bin/python9.9", SHIM)
    _executable(home / ".pyenv/versions/9.9.11/bin/python9.9", SHIM)
    if "pyenv" in folder:
        _executable(home / ".pyenv/versions/9.9.2/bin/python9.9", _fake("9.9"))
    wanted = _executable(home / folder / "bin/python9.9", _fake("9.9"))
    assert find_interpreter("python9.9", tmp_path) == Interpreter(str(wanted), "9.9")


def test_a_shim_alone_is_one_line_with_what_was_tried(home: Path, tmp_path: Path) -> None:
    shim = _executable(tmp_path / "bin/python9.9", SHIM)
    with pytest.raises(UserError) as caught:
        find_interpreter("python9.9", tmp_path)
    message = str(caught.value)
    assert f"{shim} does not start (pyenv: python9.9: command not found); no other is" in message
    assert f"under {home}/.pyenv/versions or {home}/.local/share/uv/python; install" in message
    assert "\n" not in message


def test_no_interpreter_at_all_is_one_line(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^no python9\.9 on the PATH, and none is under .*; inst"):
        find_interpreter("python9.9", tmp_path)


def test_an_old_one_is_one_line(home: Path, tmp_path: Path) -> None:
    path = _executable(tmp_path / "bin/python2", _fake("2.7"))
    with pytest.raises(UserError, match=rf"{path} is Python 2\.7; name one of 3\.11 or newer"):
        find_interpreter("python2", tmp_path)
