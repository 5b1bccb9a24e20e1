"""Two families that cannot share an environment, each in its own, on one leaderboard.

`software: venv` from nothing: the environments of `mace` (e3nn 0.4.4) and `sevennet` (e3nn 0.6),
which take a minute or two and 3 GB.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import h5py
import pandas as pd
import pytest
import yaml

from pesbench.core.family import families
from pesbench.files.environment import python_of, read_stamp, stamp_of
from pesbench.files.requirements import read_requirements
from pesbench.orchestration.config import read_models
from workflow_copy import REPO, Copy

FAMILIES = {"mace": "mace-mini", "sevennet": "7net-0"}
# any calculator of the package, by an entry that asks for the same packages
BY_ENTRY = "7net-0-by-entry"
SHARED = {
    "family": "ase",
    "calculator": "sevenn.calculator:SevenNetCalculator",
    "arguments": {"model": "7net-0", "device": "cpu"},
    "requirements": ["envs/sevennet.txt"],
    "level_of_theory": "PBE+U",
}
CONFIG = {
    "software": "venv",
    "models": [*FAMILIES.values(), BY_ENTRY],
    "controls": ["control-zero"],
    "dynamics": {"models": []},
}
FEW = ("results/mini/leaderboard.csv", "--configfile", "families.yaml")
UNREACHABLE = (
    *("Connection", "Network is unreachable", "Temporary failure", "timed out"),
    *("No space left", "SSLError", "ProxyError", "did not answer"),
)
# Float32, and sums in another order: a unit in the last place of 50 eV is 4e-6 eV.
ENERGY_EV, OF_LARGEST_FORCE = 5e-5, 2e-6
pytestmark = [pytest.mark.families, pytest.mark.xdist_group("families")]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy of the workflow with both environments, and nothing else yet."""
    made = Copy(tmp_path_factory.mktemp("families"), "results")
    with (made.root / "config/models.yaml").open("a") as file:
        file.write(yaml.safe_dump({BY_ENTRY: SHARED}))
    config = CONFIG | made.few("hydroxylamine")
    (made.root / "families.yaml").write_text(yaml.safe_dump(config))
    done = made.snakemake(*FEW, "--until", "environment")
    assert done.returncode == 0, done.stdout + done.stderr
    for family in FAMILIES:
        failure = read_stamp(stamp_of(environment(made, family))).failure
        log = (made.root / "results/environments/logs").glob("*.log")
        text = failure + "".join(path.read_text() for path in log)
        if failure and any(reason in text for reason in UNREACHABLE):
            pytest.skip(f"the families' packages cannot be installed here: {failure}")
        assert not failure
    return made


def environment(copy: Copy, family: str) -> Path:
    name = read_requirements(families()[family].requirements, copy.root).name("")
    return copy.root / "results" / "environments" / name


def test_neither_has_the_packages_of_the_other(copy: Copy) -> None:
    versions = {}
    for family in FAMILIES:
        packages = json.loads(stamp_of(environment(copy, family)).read_text())["packages"]
        versions[family] = dict(line.split("==") for line in packages if "==" in line)
    assert versions["mace"]["e3nn"] == "0.4.4"
    assert versions["sevennet"]["e3nn"] == "0.6.0"
    assert "sevenn" not in versions["mace"]
    assert not {"mace-torch", "snakemake", "tblite"} & set(versions["sevennet"])


# --- the adapter, in the environment of its family -----------------------------------------------


@pytest.fixture(scope="module")
def measured(copy: Copy) -> dict[str, Any]:
    """What `check_sevennet.py` found."""
    python = python_of(environment(copy, "sevennet"))
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [python, REPO / "tests/helpers/check_sevennet.py"],
        env=clean | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO / "workflow")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


CHECKPOINTS = ("7net-0", "7net-l3i5", "7net-mf-0")


@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.parametrize(
    "what", ["of sevenn", "of sevenn, periodic", "alone", "permuted", "far away"]
)
def test_every_way_to_ask_gives_the_same_within_float32(
    measured: dict[str, Any], name: str, what: str
) -> None:
    energy, force = measured[name][what]
    assert energy < ENERGY_EV
    assert force < OF_LARGEST_FORCE * measured[name]["largest force"]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_contract(measured: dict[str, Any], name: str) -> None:
    found = measured[name]
    assert found["first call"] == [0.0, 0.0]  # else a resumed run would differ from another
    assert found["largest force"] > 1.0
    assert found["types"] == ["float64", "float64"]
    assert found["statuses"] == ["ok"]
    assert found["info"] == [True, False, "float32", "cpu"]
    assert found["versions"] == ["0.13.0", "0.6.0"]


@pytest.mark.parametrize(("name", "highest"), [("7net-0", 2), ("7net-l3i5", 3)])
def test_features_turn_like_the_harmonics_of_their_degree(
    measured: dict[str, Any], name: str, highest: int
) -> None:
    found = measured["described"][name]
    *before, last = found["layers"].values()
    assert found["turned"] == list(range(highest + 1))
    assert all([degree for _, degree in irreps] == found["turned"] for irreps in before)
    assert [degree for _, degree in last] == [0]
    assert list(found["layers"])[:2] == ["0_equivariant_gate", "1_equivariant_gate"]
    assert found["alone"] < 1e-4


def test_a_training_that_was_killed_goes_on_exactly_and_its_checkpoint_loads(
    measured: dict[str, Any],
) -> None:
    found = measured["trained"]
    assert found["same"]
    whole, resumed = found["losses"]
    assert whole == resumed
    assert whole[-1] < whole[0]
    assert found["error found"] == pytest.approx(found["error told"], abs=1e-4)
    assert [degree for _, degree in found["layers"]["0_equivariant_gate"]] == [0, 1]


@pytest.mark.parametrize("name", ["7net-0", "7net-l3i5"])
def test_the_entries_say_what_the_checkpoints_are(measured: dict[str, Any], name: str) -> None:
    from ase.data import atomic_numbers

    entry = read_models(REPO / "config/models.yaml")[name]
    assert measured[name]["sha256"] == entry.settings["sha256"]
    assert measured[name]["elements"] == sorted(
        atomic_numbers[symbol] for symbol in entry.settings["elements"]
    )


def test_a_checkpoint_of_ones_own_is_given_by_its_path(measured: dict[str, Any]) -> None:
    assert measured["a file of one's own"] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("another sha256", "carries another file of this name, with sha256 7052cb42"),
        ("another package", "give the .pth checkpoint that sevenn writes"),
        ("text", "is text, no weights"),
        ("no level", "was trained on PBE, R2SCAN; name one with `modal`"),
        ("a wrong level", "no level 'SCAN'; its levels: PBE, R2SCAN"),
        ("a level too many", "no level 'PBE'; its levels: none"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(measured: dict[str, Any], case: str, said: str) -> None:
    message = measured["refusals"][case]
    assert said in message
    assert "\n" not in message


def test_failures_have_a_status_of_their_own(measured: dict[str, Any]) -> None:
    assert measured["out of memory"].startswith("DeviceOutOfMemoryError: CUDA out of memory")
    known, polonium = (
        next(v for k, v in measured["shard"].items() if name in k) for name in ("known", "polonium")
    )
    assert known == ["ok", ""]
    assert polonium[0] == "unsupported"
    assert "Po" in polonium[1]


# --- one leaderboard -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def board(copy: Copy) -> pd.DataFrame:
    done = copy.snakemake(*FEW)
    assert done.returncode == 0, done.stdout + done.stderr
    return pd.read_csv(copy.results / "leaderboard.csv").set_index("model")


def test_both_are_ranked_on_one_leaderboard(copy: Copy, board: pd.DataFrame) -> None:
    assert board.loc[[*FAMILIES.values(), BY_ENTRY], "rank"].notna().all()
    for family, model in FAMILIES.items():
        row = board.loc[model]
        assert row["family"] == family
        assert row["n_scored"] == row["n_planned"] == 1
        with h5py.File(copy.results / model / "bonds" / "0000.h5") as file:
            packages = json.loads(file.attrs["provenance"])["packages"]
        assert packages["e3nn"] == {"mace": "0.4.4", "sevennet": "0.6.0"}[family]
        assert ("sevenn" in packages, "mace-torch" in packages) == (
            family == "sevennet",
            family == "mace",
        )


def test_an_entry_that_asks_for_the_same_packages_shares_their_environment(
    copy: Copy, board: pd.DataFrame
) -> None:
    """The calculator and the adapter are one model, within the rounding of float32."""
    assert len(list((copy.root / "results/environments").glob("*.json"))) == len(FAMILIES)
    both = board.loc[[FAMILIES["sevennet"], BY_ENTRY], "force_mae"]
    assert both.iloc[0] == pytest.approx(both.iloc[1], rel=1e-4)


def test_other_packages_run_the_models_of_their_family_again(
    copy: Copy, board: pd.DataFrame
) -> None:
    assert copy.planned(*FEW) == {}
    pins = copy.root / "envs" / "sevennet.txt"
    before = pins.read_text()
    pins.write_text(before.replace("tqdm==", "# tqdm=="))
    jobs = copy.planned(*FEW)
    pins.write_text(before)
    assert (jobs["environment"], jobs["run"], jobs["score"]) == (1, 1, 2)
    assert jobs["run_on_cpu"] == 1
    assert "reference" not in jobs


def test_the_same_packages_made_again_run_nothing(copy: Copy, board: pd.DataFrame) -> None:
    """The removal is told with the command that makes it again; no model runs for it."""
    folder = environment(copy, "mace")
    stamp = stamp_of(folder)
    content = stamp.read_bytes()
    aside = folder.with_name("aside")
    folder.rename(aside)
    assert copy.planned(*FEW) == {}  # no job needs it
    done = copy.snakemake(*FEW, "--forcerun", "leaderboard")
    assert done.returncode != 0
    assert "this environment is gone; make it again with" in done.stderr
    aside.rename(folder)
    stamp.write_bytes(content)  # later than the results
    assert copy.planned(*FEW) == {}
