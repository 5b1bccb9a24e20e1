"""Checkpoints: pieces, notes and states are read as they were written, or refused by name."""

from __future__ import annotations

import errno
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from examples import fake_entry, written_entry
from pesbench.cli import main
from pesbench.core.errors import HostError, UserError
from pesbench.files import atomic
from pesbench.files.checkpoint import Checkpoint, checkpoint_folder, stored_settings
from pesbench.tasks.dynamics.settings import DynamicsSettings
from pesbench.tasks.vibrations.settings import VibrationSettings
from shards import evaluate_shard, run_dynamics_shard, run_vibrations

IDS = ("C-C/a", "C-N/b", "C-O/c")


@pytest.fixture
def checkpoint(tmp_path) -> Checkpoint:
    """One with two pieces, each with a state, and a note."""
    made = Checkpoint(tmp_path / "out.h5", {"model": {"name": "a"}, "threads": 1})
    for number in (1, 2):
        state = {"step": np.array(number), "positions": np.full((2, 3), float(number))}
        made.append_with_state(state, energy=np.arange(number), names=np.array(["a", "bc"]))
    made.write_note("limit", {"systems": 16, "atoms": None})
    return made


def _reads(checkpoint: Checkpoint):
    """The readers of the second piece, its state and the note, and the settings, by file."""
    folder = checkpoint.folder
    return {
        folder / "000001.npz": lambda: checkpoint.read(1),
        folder / "state_000001.npz": checkpoint.read_state,
        folder / "limit.json": lambda: checkpoint.read_note("limit"),
        folder / "settings.json": lambda: Checkpoint(folder.parent / "out.h5", {"model": 1}),
    }


def test_what_is_stored_is_read_back(checkpoint, tmp_path):
    again = Checkpoint(tmp_path / "out.h5", {"model": {"name": "a"}, "threads": 1})
    assert again.count == 2
    assert again.read(1)["names"].tolist() == ["a", "bc"]
    assert again.read_note("limit") == {"systems": 16, "atoms": None}
    assert again.read_note("none") is None
    assert again.read_state()["positions"].tolist() == [[2.0] * 3] * 2
    assert not (again.folder / "state_000000.npz").exists()  # the one before is of no use
    assert stored_settings(tmp_path / "out.h5") == {"model": {"name": "a"}, "threads": 1}
    again.clear()
    assert Checkpoint(tmp_path / "out.h5", {"threads": 1, "model": {"name": "a"}}).count == 0
    assert [path.name for path in again.folder.iterdir()] == ["settings.json"]
    again.remove()
    assert stored_settings(tmp_path / "out.h5") is None
    assert not checkpoint_folder(tmp_path / "out.h5").exists()


def test_a_state_without_its_piece_does_not_count(checkpoint, tmp_path, monkeypatch):
    """A kill between the two: the piece before and its state go on."""

    def killed(self, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.append_with_state({"step": np.array(3)}, energy=np.arange(3))
    again = Checkpoint(tmp_path / "out.h5", {"model": {"name": "a"}, "threads": 1})
    assert again.count == 2
    assert int(again.read_state()["step"]) == 2


@pytest.mark.parametrize("what", ["000001.npz", "state_000001.npz", "limit.json", "settings.json"])
def test_whatever_is_damaged_is_refused_by_name(checkpoint, what):
    """As a lost node leaves it: without content, cut short, or of zeros."""
    path = checkpoint.folder / what
    read, whole = _reads(checkpoint)[path], path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole[:-9], bytes(len(whole)), b"\xff" + whole):
        path.write_bytes(content)
        with pytest.raises(UserError) as failure:
            read()
        said = str(failure.value)
        assert said.startswith(f"{path}: damaged (")
        assert said.endswith(f"); remove {checkpoint.folder} to start this file anew")
        assert "\n" not in said


@pytest.mark.parametrize("content", ["null", "[1]", "3"])
def test_settings_are_a_mapping(checkpoint, content):
    (checkpoint.folder / "settings.json").write_text(content)
    with pytest.raises(UserError, match=r"settings.json: damaged \(holds a "):
        stored_settings(checkpoint.folder.parent / "out.h5")


def test_every_changed_byte_of_a_piece_is_refused_or_changes_nothing(checkpoint):
    path = checkpoint.folder / "000001.npz"
    kept, whole, refused = checkpoint.read(1), path.read_bytes(), 0
    for place, byte in enumerate(whole):
        path.write_bytes(whole[:place] + bytes([byte ^ 0xFF]) + whole[place + 1 :])
        try:
            found = checkpoint.read(1)
        except UserError:
            refused += 1
        else:  # dates, and what the directory says twice
            assert all(np.array_equal(found[key], kept[key]) for key in found)
    assert refused > len(whole) / 2


def test_a_state_that_is_missing_is_damage_and_a_failing_disk_is_not(checkpoint, monkeypatch):
    (checkpoint.folder / "state_000001.npz").unlink()
    with pytest.raises(UserError, match=r"state_000001.npz: damaged \(.*No such file"):
        checkpoint.read_state()

    def fails(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(zipfile, "ZipFile", fails)
    monkeypatch.setattr(Path, "read_text", fails)
    for path, read in _reads(checkpoint).items():
        with pytest.raises(HostError, match="Input/output error"):
            read()
        assert path


@pytest.mark.parametrize("what", ["settings", "spent", "made", "limit"])
def test_a_command_says_so_in_one_line(what, toy_set, tmp_path, monkeypatch, caplog):
    """No traceback, and nothing is thrown away."""
    entry, out, append = fake_entry(batch_size=13), tmp_path / "out.h5", Checkpoint.append

    def one_piece(checkpoint, **arrays):
        if checkpoint.count:
            raise KeyboardInterrupt
        append(checkpoint, **arrays)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "append", one_piece)
        with pytest.raises(KeyboardInterrupt):
            evaluate_shard(entry, toy_set, IDS, out, device="cpu")
    path = tmp_path / "out.h5.checkpoint" / f"{what}.json"
    assert json.loads(path.read_text())
    path.write_text("")
    named = written_entry(entry, tmp_path / "entry.json")
    command = ["run", "bonds", *named, "--scan-set", toy_set,
               "--scans", *IDS, "--device", "cpu", "--out", out]  # fmt: skip
    assert main([str(word) for word in command]) == 2
    said = caplog.records[-1].getMessage().removeprefix("pesbench: error: ")
    assert said.startswith(f"{path}: damaged (")
    assert "\n" not in said
    assert not out.exists()
    assert (path.parent / "000000.npz").is_file()


def test_a_node_that_is_lost_leaves_no_name_without_content(tmp_path, monkeypatch):
    """Content is on the disk before the name is: in what order is told by the calls."""
    calls = []
    fsync, replace = os.fsync, Path.replace

    def noted(number):
        path = Path(f"/proc/self/fd/{number}").readlink()
        calls.append(("on the disk", path.name, path.stat().st_size))
        fsync(number)

    def renamed(path, target):
        calls.append(("named", path.name, path.stat().st_size))
        return replace(path, target)

    monkeypatch.setattr(atomic.os, "fsync", noted)
    monkeypatch.setattr(Path, "replace", renamed)
    made = Checkpoint(tmp_path / "out.h5", {"a": 1})
    made.append(x=np.arange(1000))
    size = (made.folder / "000000.npz").stat().st_size
    assert calls == [
        ("on the disk", "settings.json.part", 13),
        ("named", "settings.json.part", 13),
        ("on the disk", "000000.npz.part", size),
        ("named", "000000.npz.part", size),
    ]


CHANGES = {
    "float": lambda a: np.zeros(a.shape, "f4"), "whole": lambda a: np.zeros(a.shape, "i8"),
    "text": lambda a: np.full(a.shape, "x"), "truth": lambda a: np.zeros(a.shape, "?"),
    "complex": lambda a: np.zeros(a.shape, "c16"), "flat": np.ravel, "scalar": lambda a: a.flat[:1],
    "axis": lambda a: a[..., None], "less": lambda a: a[:-1] if a.ndim else a, "none": None,
}  # fmt: skip


def _said(understand, piece):
    try:
        understand(piece)
    except UserError as error:
        return str(error)
    return None


def _npz(path, arrays):
    with path.open("wb") as file:
        np.savez(file, **arrays)


@pytest.mark.parametrize("stage", ["evaluate", "dynamics", "vibrations"])
def test_a_piece_with_something_else_in_it_is_one_line(toy_set, tmp_path, stage, monkeypatch):
    """Every array of every piece is left out or replaced by another type or shape."""
    from pesbench.engine import shard
    from pesbench.tasks.bonds import shard as evaluate
    from pesbench.tasks.dynamics.recorder import read_segment
    from pesbench.tasks.vibrations import run as vibrations

    made = {}
    kept = Checkpoint.append

    def keep(checkpoint, **arrays):
        made[checkpoint.count] = {key: np.asarray(value) for key, value in arrays.items()}
        kept(checkpoint, **arrays)

    monkeypatch.setattr(Checkpoint, "append", keep)
    entry, out = fake_entry(), tmp_path / "out.h5"
    match stage:
        case "evaluate":
            evaluate_shard(entry, toy_set, ["C-N/b"], out)
            read = {0: lambda piece: piece.read(0, evaluate._from_arrays)}
        case "vibrations":
            run_vibrations(entry, toy_set, ["b"], VibrationSettings(relax_steps=5), out)
            read = {0: lambda piece: piece.read(0, vibrations._from_arrays)}
        case "dynamics":
            settings = DynamicsSettings((300.0,), 1, 0.01, relax_steps=5)
            run_dynamics_shard(entry, toy_set, ["b"], settings, out)
            read = {
                0: lambda piece: piece.read(0, shard.caller_state),
                1: lambda piece: piece.read(1, read_segment),
            }
    monkeypatch.undo()
    piece, refused = Checkpoint(tmp_path / "again.h5", {}), 0
    for index, understand in read.items():
        path = piece.folder / f"{index:06d}.npz"
        _npz(path, made[index])
        understand(piece)
        for name, array in made[index].items():
            for change in CHANGES.values():
                others = {key: value for key, value in made[index].items() if key != name}
                if change is not None:
                    others[name] = change(array)
                _npz(path, others)
                said = _said(understand, piece)
                assert said is None or (said.startswith(f"{path}: damaged (") and "\n" not in said)
                refused += said is not None
    assert refused > 20


def test_a_piece_that_declares_more_than_it_holds_is_not_allocated(tmp_path):
    piece = Checkpoint(tmp_path / "out.h5", {})
    path = piece.folder / "000000.npz"
    header = str({"descr": "<f8", "fortran_order": False, "shape": (1 << 34,)}).encode()
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    for packed in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(path, "w", packed) as stored:
            stored.writestr("x.npy", content + bytes(80))
        with pytest.raises(UserError, match="damaged"):
            piece.read(0)
    with zipfile.ZipFile(path, "w") as stored:
        stored.writestr("x.npy", b"\x93NUMPY\x01\x00\x76\x00" + b"[" * 0x76)
    with pytest.raises(UserError, match="damaged"):
        piece.read(0)
