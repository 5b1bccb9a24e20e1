"""Files of geometries that a command may write or remove."""

from __future__ import annotations

from ase import Atoms

from pesbench.files.molecules.xyz import write_extxyz
from pesbench.files.replaceable import may_be_replaced


def test_our_own_frames_alone(tmp_path):
    path = tmp_path / "a.extxyz"
    assert may_be_replaced(path, "pair")
    path.touch()
    assert may_be_replaced(path, "pair")
    write_extxyz(path, [Atoms("H", info={"pair": "bond/a_0-1"})])
    assert may_be_replaced(path, "pair")
    assert not may_be_replaced(path, "row")
    path.write_text("1\nno pair\nH 0 0 0\n")
    assert not may_be_replaced(path, "pair")
