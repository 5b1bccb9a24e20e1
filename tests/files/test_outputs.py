"""What a command writes: a file, and never what it reads, a device, or another one's folder."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pytest

from examples import write_toys
from pesbench import cli
from pesbench.commands import models, parsing
from pesbench.core.errors import UserError
from pesbench.files.atomic import atomic_path
from pesbench.files.scan_set import ScanSet


def _one_line(caplog) -> str:
    line = caplog.records[-1].getMessage()
    assert line.startswith("pesbench: error: ")
    assert "\n" not in line
    return line


def _commands() -> dict[str, argparse.ArgumentParser]:
    (stages,) = (a for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction))
    return stages.choices


def test_every_file_that_a_command_writes_is_declared_as_one():
    """By their names, which no rule of argparse checks: an option `--out` is an output."""
    folders = {("build-environment", "out"), ("merge", "out")}
    for stage, parser in _commands().items():
        for action in parser._actions:
            if action.dest in ("out", "csv", "markdown", "html", "extxyz", "claims"):
                is_output = isinstance(action, parsing.Output)
                assert is_output is ((stage, action.dest) not in folders), (stage, action.dest)


def _place(folder: Path, kind: str) -> Path:
    path = folder / "there"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "device":
            try:
                os.mknod(path, 0o20666, os.makedev(1, 3))
            except PermissionError:
                pytest.skip("only root makes devices")
        case "folder":
            path.mkdir()
        case "socket":
            import socket

            socket.socket(socket.AF_UNIX).bind(str(path))
        case "loop":
            path.symlink_to(path)
        case "below a file":
            path.write_text("mine")
            return path / "out"
        case "link to a device":
            path.symlink_to("/dev/null")
        case "long name":
            return folder / ("x" * 300)
    return path


KINDS = [
    "fifo", "device", "folder", "socket", "loop", "below a file", "link to a device", "long name",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused_before_any_work(tmp_path, caplog, monkeypatch, kind):
    path = _place(tmp_path, kind)
    before = sorted((p.name, p.lstat().st_ino) for p in tmp_path.iterdir())
    monkeypatch.setattr(models, "_entry", lambda _: pytest.fail("it began"))
    assert cli.main(["entry", "gfn2-xtb", "--out", str(path)]) == 2
    assert str(path) in _one_line(caplog)
    assert sorted((p.name, p.lstat().st_ino) for p in tmp_path.iterdir()) == before
    with pytest.raises((UserError, OSError)), atomic_path(path) as part:
        part.write_text("x")
    assert sorted((p.name, p.lstat().st_ino) for p in tmp_path.iterdir()) == before


def test_behind_a_link_its_target_is_written(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for name, target in (("a", tmp_path / "elsewhere" / "a"), ("b", Path("elsewhere/b"))):
        (tmp_path / name).symlink_to(target)
        assert cli.main(["entry", "gfn2-xtb", "--out", str(tmp_path / name)]) == 0
        assert (tmp_path / name).is_symlink()
        assert json.loads((tmp_path / "elsewhere" / name).read_text())["name"] == "gfn2-xtb"
    # what is left of a killed command, or was put there, is no way to another file
    (tmp_path / "c.part").symlink_to(tmp_path / "elsewhere" / "a")
    with atomic_path(tmp_path / "c") as part:
        part.write_text("c")
    assert (tmp_path / "c").read_text() == "c"
    assert (tmp_path / "elsewhere" / "a").read_text() != "c"


@pytest.mark.parametrize("how", ["same", "relative", "symlink", "hard link", "part"])
@pytest.mark.parametrize("command", ["import-archive", "score", "scan-molecules", "probe-actual"])
def test_what_a_command_reads_is_not_written_over(
    tmp_path, monkeypatch, caplog, toys, command, how
):
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / ("mine.part" if how == "part" else "mine")
    write_toys(tmp_path / "toys.h5", toys.values())
    (tmp_path / "toys.h5").rename(mine)
    out = {
        "same": mine, "relative": Path("mine"), "symlink": tmp_path / "link",
        "hard link": tmp_path / "link", "part": tmp_path / "mine",
    }[how]  # fmt: skip
    if how == "symlink":
        out.symlink_to(mine)
    if how == "hard link":
        os.link(mine, out)
    before = mine.read_bytes()
    arguments = {
        "import-archive": ["import-archive", "--archive", mine],
        "score": ["score", "bonds", "--scan-set", tmp_path / "x.h5", "--files", "y.h5", mine],
        "scan-molecules": [
            "scan-molecules", "--molecules", mine, "--name", "x", "--skipped", tmp_path / "s.csv",
        ],
        "probe-actual": ["plan-actual", "--plan", mine, "--results", tmp_path],
    }[command]  # fmt: skip
    assert cli.main([*map(str, arguments), "--out", str(out)]) == 2
    assert "write over it" in _one_line(caplog)
    assert mine.read_bytes() == before
    with ScanSet(mine) as scan_set:
        assert scan_set.ids


def test_two_outputs_are_two_files(tmp_path, caplog):
    both = str(tmp_path / "out")
    arguments = ["--molecules", "x", "--name", "x", "--out", both, "--skipped", both]
    assert cli.main(["scan-molecules", *arguments]) == 2
    assert "write over it" in _one_line(caplog)


@pytest.mark.parametrize("below", [False, True])
@pytest.mark.parametrize("command", ["lj-heads", "train"])
def test_a_folder_of_checkpoints_that_is_a_file_is_refused_first(tmp_path, caplog, command, below):
    place = tmp_path / "file"
    place.write_text("mine")
    work = place / "work" if below else place
    inputs = [] if command == "lj-heads" else ["--variants", "v", "--frames", "f", "--record", "r"]
    words = [command, "main-mlp", *inputs, "--work", work, "--out", tmp_path / "out.csv"]
    assert cli.main([*map(str, words)]) == 2
    assert "give the name of a folder" in _one_line(caplog)
    assert place.read_text() == "mine"


@pytest.mark.parametrize("kind", ["fifo", "device", "socket", "link to a device"])
def test_what_has_no_end_is_not_read(tmp_path, caplog, kind):
    path = _place(tmp_path, kind)
    commands = [
        ["entry", "gfn2-xtb", "--models-file", str(path), "--out", str(tmp_path / "out")],
        ["split-molecules", "--molecules", str(path), "--out", str(tmp_path / "out")],
        ["merge", str(path), "--out", str(tmp_path / "merged")],
        ["plan", "--configfile", str(path), "--out", str(tmp_path / "out")],
        ["plan", "--no-probe", "--config", f"models_file={path}", "--out", str(tmp_path / "out")],
        ["plan", "--no-probe", "--config", f"dynamics={{models: [emt], systems_file: {path}}}",
         "--out", str(tmp_path / "out")],
    ]  # fmt: skip
    for words in commands:
        assert cli.main(words) == 2
        assert f"{path}: is a device, a pipe or a socket" in _one_line(caplog)


def test_a_link_that_leads_to_itself_is_one_line(tmp_path, caplog):
    loop, there = _place(tmp_path, "loop"), tmp_path / "results"
    there.mkdir()
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("-r there\n")
    for words in (
        ["merge", str(loop), "--out", str(tmp_path / "out")],
        ["merge", str(there), "--out", str(loop)],
        ["merge", str(there), "--out", str(tmp_path / "out"), "--without-dynamics", str(loop)],
        ["check", "--weights", str(loop), "--family", "mace", "--out", str(tmp_path / "out")],
        ["build-environment", "--requirement", str(requirements), "--out", str(tmp_path / "env")],
    ):
        assert cli.main(words) == 2
        assert "RuntimeError" not in _one_line(caplog)
