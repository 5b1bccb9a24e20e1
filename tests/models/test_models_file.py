"""What an entry that brings its packages is: the same on every machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pesbench.core.errors import UserError
from pesbench.models.fetching import settle
from pesbench.models.models_file import make_entry, resolve_entry
from pesbench.models.record import description
from pesbench.models.registry import ModelEntry

HERE = f"python{sys.version_info[0]}.{sys.version_info[1]}"


def resolved(folder: Path, **keys: object) -> ModelEntry:
    said = {"family": "ase", "calculator": "not_here:Calculator"} | keys
    return resolve_entry(make_entry("own", said), folder / "models.yaml", folder)


def test_equal_packages_are_one_model_wherever_they_are_named(tmp_path: Path) -> None:
    for machine, lines in (("a", "b==1\na==1  # why\n"), ("b", "a==1\n\nb==1\n")):
        (tmp_path / machine).mkdir()
        (tmp_path / machine / "pins.txt").write_text(f"{lines}-c limits.txt\n")
        (tmp_path / machine / "limits.txt").write_text("c<2\n")
    (tmp_path / "b" / "python").symlink_to(sys.executable)
    one = resolved(tmp_path / "a", requirements=["pins.txt"], python=HERE)
    other = resolved(tmp_path / "b", requirements=["pins.txt"], python="./python")
    assert one.deciding() == other.deciding()
    assert one.sha256 == other.sha256
    assert one.deciding()["settings"]["environment"] == [
        "--constraint c<2", "a==1", "b==1", f"python {HERE.removeprefix('python')}"
    ]  # fmt: skip
    for entry in (one, other):
        for written in (settle(entry), description(entry)):
            assert str(tmp_path) not in json.dumps(written)
            assert "pins.txt" not in json.dumps(written)
    assert ModelEntry.of(settle(one)).sha256 == one.sha256  # as a job reads it


def test_other_packages_are_another_model(tmp_path: Path) -> None:
    pins = tmp_path / "pins.txt"
    pins.write_text("a==1\n")
    before = resolved(tmp_path, requirements=["pins.txt"])
    assert before.sha256 == resolved(tmp_path, requirements=["a==1"]).sha256
    assert before.sha256 != resolved(tmp_path, requirements=["a==1"], python=HERE).sha256
    pins.write_text("a==2\n")
    assert before.sha256 != resolved(tmp_path, requirements=["pins.txt"]).sha256


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"requirements": ["gone.txt"]}, "model 'own': `requirements`: .*gone.txt"),
        ({"python": "./gone"}, "model 'own': `python: ./gone`: no file ./gone"),
    ],
)
def test_what_is_not_there_is_one_line(tmp_path: Path, keys: dict, said: str) -> None:
    with pytest.raises(UserError, match=rf"models.yaml: {said}") as caught:
        resolved(tmp_path, **keys)
    assert "\n" not in str(caught.value)
