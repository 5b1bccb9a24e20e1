"""Where a model runs: what `--environment` takes and refuses, and how a worker is told."""

from __future__ import annotations

import json
import sys
import venv
from pathlib import Path

import pytest

from examples import fake_entry
from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.engine.worker import ModelLoadError, Worker
from pesbench.files import provenance
from pesbench.files.environment import HERE, Environment, environment_of, python_of, stamp_of
from pesbench.files.interpreters import find_interpreter


def test_none_is_the_environment_of_this_process() -> None:
    assert environment_of(None) is HERE
    assert environment_of(sys.executable).is_here
    here = provenance.collect()
    assert HERE.software.items() <= here.items()
    assert provenance.collect(HERE.software)["packages"] == here["packages"]


def test_an_environment_that_could_not_be_made_is_a_model_that_does_not_load() -> None:
    """No process is started for it."""
    lost = Environment("", "its environment could not be made: pip: no network")
    with Worker(fake_entry(), environment=lost) as worker:
        with pytest.raises(ModelLoadError) as caught:
            worker.start()
        assert worker.starts == 0
    assert caught.value.status is Status.ERROR
    assert caught.value.message == lost.failure
    assert lost.software["packages"] == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("python9.9", "--environment python9.9: no such interpreter; give the path of one, or"),
        ("missing.json", "missing.json"),
        ("other.json", "no stamp of an environment"),
        ("gone.json", "the environment beside it is gone; delete this file"),
    ],
)
def test_what_is_no_environment_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.json").write_text('{"format": "another"}')
    Path("gone.json").write_text(json.dumps({"format": "pesbench-environment", "packages": []}))
    with pytest.raises(UserError, match=said) as caught:
        environment_of(given)
    assert "\n" not in str(caught.value)


def test_an_environment_without_what_a_worker_needs_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    venv.create(folder, symlinks=True, with_pip=False)
    with pytest.raises(UserError, match="has no ase and no h5py and no numpy, which a worker"):
        environment_of(str(python_of(folder)))
    stamp_of(folder).write_text(json.dumps({"format": "pesbench-environment", "packages": []}))
    with pytest.raises(UserError, match="has no ase"):
        environment_of(str(stamp_of(folder)))


def test_the_versions_of_a_newer_python_are_its_own() -> None:
    try:
        found = find_interpreter("python3.12", Path.cwd())
    except UserError as error:
        pytest.skip(str(error))
    software = Environment(found.path).software
    assert software["python"].startswith("3.12.")
    assert software["packages"]["pesbench"] == HERE.software["packages"]["pesbench"]
