"""What `make` says where the machine lacks something."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("fails_on", "says"),
    [
        ("ensurepip", "Python's venv is missing: apt-get install python3-venv"),
        ("version_info", "pesbench needs Python 3.11 or newer"),
    ],
)
def test_a_missing_prerequisite_is_one_line(tmp_path: Path, fails_on: str, says: str) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$*" in *{fails_on}*) exit 1;; *) exit 0;; esac\n')
    python.chmod(0o755)
    # `make test` runs this very test: the inner make shall not know of the outer one
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON", "VENV")
    environment = {key: value for key, value in os.environ.items() if key not in outer}
    done = subprocess.run(
        ["make", "setup", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}"],
        cwd=REPO,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert done.stdout.strip().startswith(says)
    assert len(done.stdout.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "venv").exists()
