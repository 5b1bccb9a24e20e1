"""Entries that bring their packages: environments that are shared, and one that cannot be made.

pip installs from wheels that are written here, so that no network is needed: the package of the
calculator, and for `ase`, `h5py` and `numpy` wheels that lead to the packages of this environment.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import h5py
import pandas as pd
import pytest
import yaml

from pesbench.files.environment import NEEDED
from wheels import write_needed, write_wheel
from workflow_copy import Copy

CALCULATOR = """
import sys

from ase.calculators.emt import EMT


class Here(EMT):
    def __init__(self, prefix=sys.prefix):
        assert "environments" in prefix, prefix
        super().__init__()
"""
FROM_WHEELS = ["--no-index", "--find-links wheels"]
ENTRY = {"family": "ase", "calculator": "tiny_here:Here"}
MODELS = {
    "one": ENTRY | {"requirements": [*FROM_WHEELS, "tiny==1.0"]},
    "other": ENTRY | {"requirements": ["pins.txt"]},
    "absent": ENTRY | {"requirements": [*FROM_WHEELS, "tiny==1.0", "nonsense==1"]},
    "gfn1-xtb": {"family": "tblite", "method": "GFN1-xTB"},
    "gfn2-xtb": {"family": "tblite", "method": "GFN2-xTB"},
    "control-zero": {"family": "control", "control": "zero"},
}
CONFIG = {
    "models_file": "own.yaml",
    "models": ["one", "other", "absent"],
    "controls": ["control-zero"],
    "dynamics": {"models": []},
    "vibrations": {"models": []},
}
SCORED = ("--configfile", "own_config.yaml", "--", "scores")
REASON = "its environment could not be made: pip: No matching distribution found for nonsense==1"
pytestmark = pytest.mark.xdist_group("environments of entries")


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PESBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy of the workflow whose own entries were run once."""
    made = Copy(tmp_path_factory.mktemp("environments"), "results")
    wheels = made.root / "wheels"
    write_wheel(wheels, "tiny", "1.0", {"tiny_here.py": CALCULATOR})
    places = [path for path in sys.path if path.endswith("site-packages")]
    write_needed(wheels, {name: version(name) for name in NEEDED}, places)
    pins = ["# words", "tiny==1.0", *reversed(FROM_WHEELS)]
    (made.root / "pins.txt").write_text("\n".join(pins))
    (made.root / "own.yaml").write_text(yaml.safe_dump(MODELS))
    (made.root / "own_config.yaml").write_text(yaml.safe_dump(CONFIG | made.few("hydrazine")))
    done = made.snakemake(*SCORED)
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def scores(copy: Copy, model: str) -> pd.DataFrame:
    return pd.read_parquet(copy.results / model / "scores/bonds.parquet")


def stamps(copy: Copy) -> list[dict]:
    found = (copy.root / "results/environments").glob("*.json")
    return [json.loads(path.read_text()) for path in found]


def test_entries_with_equal_requirements_share_an_environment(copy: Copy) -> None:
    whole = [one for one in stamps(copy) if "failure" not in one]
    assert len(whole) == 1
    assert len(stamps(copy)) == 2
    for model in ("one", "other"):
        assert set(scores(copy, model)["status"]) == {"ok"}
        with h5py.File(copy.results / model / "bonds/0000.h5") as file:
            packages = json.loads(file.attrs["provenance"])["packages"]
        assert packages["tiny"] == "1.0"  # of the worker, not of the command
        assert packages["ase"] == version("ase")


def test_one_that_cannot_be_made_costs_its_model_only(copy: Copy) -> None:
    absent = scores(copy, "absent")
    assert set(absent["status"]) == {"error"}
    assert set(absent["message"]) == {REASON}


def test_one_of_somebody_else_starts_no_job(
    copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in results that were unpacked: another user's cache knows none of them."""
    monkeypatch.setenv("PESBENCH_CACHE", str(tmp_path))
    done = copy.snakemake(*SCORED)
    assert done.returncode != 0
    assert "this environment was not made here" in done.stderr
    assert "localrule environment" not in done.stderr  # which is to be tried again


def test_the_next_run_tries_it_again_and_nothing_else(copy: Copy) -> None:
    jobs = copy.planned(*SCORED)
    assert jobs["environment"] == 1
    assert (jobs["run_on_cpu"], jobs["score"]) == (1, 1)
    write_wheel(copy.root / "wheels", "nonsense", "1", {"nonsense.py": ""})
    done = copy.snakemake(*SCORED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(scores(copy, "absent")["status"]) == {"ok"}
    assert not [one for one in stamps(copy) if "failure" in one]
    assert copy.planned(*SCORED) == {}
