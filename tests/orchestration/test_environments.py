"""Environments: how one is made, and where each model runs."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from pesbench.core.errors import HostError, UserError
from pesbench.core.family import families
from pesbench.files.environment import NEEDED, environment_of, python_of, read_stamp, stamp_of
from pesbench.files.requirements import read_requirements
from pesbench.models.models_file import make_entry
from pesbench.models.registry import ModelEntry
from pesbench.orchestration.config import read_models, resolve_entry
from pesbench.orchestration.environments import (
    BuildError,
    build_environment,
    failed_attempts,
    is_made_here,
    reason_of,
    record_failure,
)
from pesbench.orchestration.software import Software
from pesbench.orchestration.start import Given, start
from wheels import write_needed, write_wheel
from workflow_copy import refusal

REPO = Path(__file__).parents[2]

# --- making one ----------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PESBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Requirements of one package, from wheels beside."""
    folder = tmp_path_factory.mktemp("making") / "wheels"
    write_wheel(folder, "tiny", "1.0", {"tiny.py": "VERSION = '1.0'\n"})
    write_needed(folder, {name: version(name) for name in NEEDED}, [])
    return ["--no-index", f"--find-links {folder}", "tiny==1.0"]


@pytest.fixture(scope="module")
def built(said: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that was made once; a test leaves it whole."""
    folder = tmp_path_factory.mktemp("environments") / "tiny"
    build_environment(said, folder)
    return folder


def _runs(folder: Path, code: str) -> bool:
    command = [python_of(folder), "-c", code]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(command, env=clean, capture_output=True, check=False).returncode == 0


@pytest.mark.xdist_group("an environment")  # which is made once
def test_an_environment_holds_its_requirements_and_what_a_worker_needs(
    built: Path, said: list[str]
) -> None:
    assert _runs(built, "import tiny")
    assert not _runs(built, "import pesbench")  # the worker brings the code of the command
    stamp = json.loads(stamp_of(built).read_text())
    assert stamp["requirements"] == [*said, *NEEDED]
    found = environment_of(str(stamp_of(built)))
    assert found.python == str(python_of(built))
    assert found.software["packages"].items() >= {"tiny": "1.0", "ase": version("ase")}.items()
    assert found.software["packages"]["pesbench"] == version("pesbench")
    assert "tblite" not in found.software["packages"]


def test_what_pip_cannot_install_is_one_line_and_no_environment(tmp_path: Path) -> None:
    folder = tmp_path / "wrong"
    with pytest.raises(BuildError) as caught:
        build_environment(["--no-index", "not-there==1"], folder)
    reason = "pip: No matching distribution found for not-there==1"
    assert caught.value.reason == reason
    assert str(caught.value) == f"{reason}; correct the requirements, or try again"
    assert not stamp_of(folder).exists()
    assert not folder.exists()
    # a result, where the workflow asks for it
    for attempt in (1, 2):
        record_failure(folder, reason)
        assert failed_attempts(folder) == attempt
        found = environment_of(str(stamp_of(folder)))
        assert found.failure == f"its environment could not be made: {reason}"
        assert found.software["packages"] == {}


def test_git_asks_for_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It would wait at the terminal, while nobody sees why the run stands."""
    git = tmp_path / "bin" / "git"
    git.parent.mkdir()
    git.write_text('#!/bin/sh\necho "prompt: $GIT_TERMINAL_PROMPT" >&2\nexit 1\n')
    git.chmod(0o755)
    monkeypatch.setenv("PATH", f"{git.parent}{os.pathsep}{os.environ['PATH']}")
    caplog.set_level(logging.INFO, "pesbench")
    with pytest.raises(BuildError):
        build_environment(["x @ git+https://127.0.0.1:9/x.git"], tmp_path / "x")
    assert "prompt: 0" in caplog.text


RETRYING = "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by 'New...'"
ABSENT = "No matching distribution found for x==1"
CONFLICT = "Cannot install a==1 and b==1 because they have conflicting dependencies."


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["Looking in links", f"ERROR: {ABSENT}", ""], ABSENT),
        ([RETRYING, f"ERROR: {ABSENT}"], f"{ABSENT}; the package index did not answer"),
        ([f"ERROR: {CONFLICT}", "ERROR: ResolutionImpossible: for help visit"], CONFLICT),
        (["No module named pip"], "No module named pip"),
        (
            [
                "The virtual environment was not created successfully because ensurepip is not",
                "available.  On Debian/Ubuntu systems, you need to install the python3-venv",
                "Failing command: /home/me/environments/0/bin/python",
            ],
            "it lacks ensurepip; install the system's package python3-venv, or name another one",
        ),
        ([], ""),
    ],
)
def test_the_reason_in_what_pip_writes(lines: list[str], reason: str) -> None:
    assert reason_of(lines) == reason


@pytest.mark.xdist_group("an environment")  # which is made once
def test_one_that_comes_from_elsewhere_is_not_taken_for_ones_own(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run would start programs of a stranger's results."""
    assert is_made_here(built)
    elsewhere = tmp_path / "results" / "environments" / built.name
    shutil.copytree(built, elsewhere, symlinks=True)
    shutil.copy(stamp_of(built), stamp_of(elsewhere))
    assert not is_made_here(elsewhere)
    # nor one that takes the place of one's own, whose stamp is the same
    word = built / "pesbench-word"
    said = word.read_text()
    word.write_text("0" * len(said))
    assert not is_made_here(built)
    word.unlink()
    assert not is_made_here(built)
    word.write_text(said)
    assert is_made_here(built)
    monkeypatch.setenv("PESBENCH_CACHE", str(tmp_path / "another user's"))
    assert not is_made_here(built)


def test_nothing_of_what_stood_in_a_folder_is_left_in_an_environment(tmp_path: Path) -> None:
    folder, other = tmp_path / "own", tmp_path / "elsewhere"
    python_of(other).parent.mkdir(parents=True)
    python_of(other).write_text("#!/bin/sh\necho theirs\n")
    folder.symlink_to(other)
    stamp_of(folder).write_text(json.dumps({"format": "pesbench-environment", "packages": []}))
    with pytest.raises(BuildError):  # by pip of a Python of its own
        build_environment(["--no-index", "not-there==1"], folder)
    assert not folder.exists()
    assert python_of(other).read_text() == "#!/bin/sh\necho theirs\n"


def test_a_cache_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PESBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(HostError, match=r"the cache cannot be used .* set PESBENCH_CACHE"):
        build_environment(["--no-index"], tmp_path / "own")
    assert not (tmp_path / "own").exists()


INTERRUPTED = """
import sys
from pathlib import Path
from pesbench.orchestration.environments import build_environment
build_environment(sys.argv[2:], Path(sys.argv[1]))
"""


@pytest.mark.xdist_group("an environment")  # which is made once
def test_an_interrupted_one_is_not_taken_for_whole(built: Path, said: list[str]) -> None:
    """Not even where a whole one stood before; and the next attempt waits for what goes on."""
    before = (built / "pyvenv.cfg").stat().st_mtime_ns
    command = [sys.executable, "-c", INTERRUPTED, str(built), *said]
    with subprocess.Popen(command) as process:
        until = time.monotonic() + 120
        while not _begun_anew(built, before):
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert not stamp_of(built).exists()
    build_environment(said, built)
    assert stamp_of(built).exists()
    assert _runs(built, "import tiny")


def _begun_anew(folder: Path, before: int) -> bool:
    try:
        return (folder / "pyvenv.cfg").stat().st_mtime_ns != before
    except FileNotFoundError:
        return False


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "pyvenv.cfg").write_text("of my own\n")
    with pytest.raises(UserError, match="is no environment that was made here"):
        build_environment(["ase"], folder)
    # nor because of files of other programs beside it, which stay as they are
    beside = {"mine.lock": "of poetry\n", "mine.txt": "of pip\n"}
    for name, content in beside.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match="is no environment that was made here"):
        build_environment(["ase"], folder)
    (tmp_path / "mine.json").write_text('{"name": "of npm"}\n')
    with pytest.raises(UserError, match=r"mine\.json: no stamp of an environment"):
        build_environment(["ase"], folder)
    assert (folder / "pyvenv.cfg").read_text() == "of my own\n"
    for name, content in beside.items():
        assert (tmp_path / name).read_text() == content


@pytest.mark.xdist_group("an environment")  # which is made once
def test_one_that_another_process_made_meanwhile_is_left_alone(
    built: Path, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Models may be running in it."""
    caplog.set_level(logging.INFO, "pesbench")
    stamp, whole = stamp_of(built), stamp_of(built).read_bytes()
    stamp.unlink()
    (built / "in use").touch()
    with built.with_name(f"{built.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = threading.Thread(target=build_environment, args=(said, built))
        waiting.start()
        until = time.monotonic() + 60
        while "waiting for the process" not in caplog.text:
            assert time.monotonic() < until
            time.sleep(0.05)
        stamp.write_bytes(whole)
    waiting.join()
    assert (built / "in use").exists()
    assert stamp.read_bytes() == whole
    build_environment(said, built)  # asked for again, it is made anew
    assert not (built / "in use").exists()


# --- where a model runs --------------------------------------------------------------------------

PINNED = ("mace", "sevennet")  # families with requirements of their own


def _entries() -> dict[str, ModelEntry]:
    return read_models(REPO / "config/models.yaml")


def _software(mode: str, tmp_path: Path) -> Software:
    return Software(mode, tmp_path / "environments", tmp_path)


def _own(**keys: object) -> ModelEntry:
    keys = {"family": "ase", "calculator": "ase.calculators.emt:EMT"} | keys
    return make_entry("own", keys)


@pytest.mark.parametrize("mode", ["current", "venv", "conda"])
def test_the_environment_of_each_family(tmp_path: Path, mode: str) -> None:
    software, entries = _software(mode, tmp_path), _entries()
    for name in ("gfn2-xtb", "emt", "control-zero", "gfn2-curl_0.01", "testbed-base"):
        assert software.option(entries[name]) == []
        assert software.stamps(entries[name]) == []
        assert software.requirements(entries[name]) == ""
        assert software.conda_file(entries[name]) is None
    perturbed = ModelEntry("ripple", "perturbed", {}).with_base(entries["mace-mini"])
    names = {}
    for family, entry in (
        ("mace", entries["mace-mini"]), ("sevennet", entries["7net-0"]), ("mace", perturbed)
    ):  # fmt: skip
        name = names[family] = read_requirements(families()[family].requirements, REPO).name("")
        stamp = tmp_path / "environments" / f"{name}.json"
        where = {"current": [], "venv": ["--environment", str(stamp)],
                 "conda": ["--environment", "conda"]}  # fmt: skip
        assert software.option(entry) == where[mode]
        assert software.stamps(entry) == ([stamp] if mode == "venv" else [])
        assert software.requirements(entry) == (name if mode == "venv" else "")
    built = software.to_build([entries["mace-mini"], entries["7net-0"], perturbed])
    assert set(built) == (set(names.values()) if mode == "venv" else set())


@pytest.mark.parametrize("mode", ["current", "venv"])
def test_an_entry_that_says_what_it_needs_has_an_environment_in_every_mode(
    tmp_path: Path, mode: str
) -> None:
    software = _software(mode, tmp_path)
    (tmp_path / "pins.txt").write_text("b==1\na==1\n")
    asked = software.asked(_own(requirements=["a==1", "b==1"]))
    assert asked is not None
    assert asked.words == ["--requirement=a==1", "--requirement=b==1"]
    same = _software(mode, tmp_path).asked(_own(requirements=["pins.txt"]))
    assert same is not None
    assert same.name == asked.name
    newer = _software(mode, tmp_path).asked(_own(python="python3.12"))
    assert newer is not None
    assert newer.words == ["--python=python3.12"]
    assert newer.requirements.completed == NEEDED


def test_an_entry_goes_before_its_family(tmp_path: Path) -> None:
    entry = _entries()["7net-0"]
    own = ModelEntry("own", "sevennet", entry.settings | {"requirements": ("sevenn==0.13.0",)})
    for mode in ("current", "venv"):
        asked = _software(mode, tmp_path).asked(own)
        assert asked is not None
        assert asked.requirements.lines == ("sevenn==0.13.0",)
    newer = ModelEntry("newer", "sevennet", entry.settings | {"python": "python3.12"})
    asked = _software("current", tmp_path).asked(newer)
    assert asked is not None
    assert "sevenn==0.13.0" in asked.requirements.lines
    assert asked.words == [f"--requirement={REPO / 'envs/sevennet.txt'}", "--python=python3.12"]


def test_packages_that_are_missing_are_told_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = _entries()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"'7net-0'.*needs 'sevenn'.*`software: venv` in the"):
        _software("current", tmp_path).check([entries["control-zero"], entries["7net-0"]])
    for mode in ("current", "venv", "conda"):
        with pytest.raises(UserError, match=r"'gfn2-xtb'.*pip install 'pesbench\[tblite\]'"):
            _software(mode, tmp_path).check([entries["gfn2-xtb"]])
    for mode in ("venv", "conda"):
        _software(mode, tmp_path).check([entries["7net-0"], entries["mace-mini"]])


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"requirements": ["missing.txt"]}, r"'own': `requirements`: .*missing\.txt: cannot be r"),
        ({"requirements": ["a==1", "a==2"]}, "'own': `requirements`: 'a' is pinned to 1 and to 2"),
        ({"python": "python9.9"}, "'own': `python: python9.9`: no python9.9 on the PATH, and none"),
        ({"python": "./there"}, r"'own': `python: \./there`: no file \./there; install Python 3"),
    ],
)
def test_what_an_entry_cannot_ask_for_is_one_line(
    tmp_path: Path, keys: dict[str, object], said: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        _software("current", tmp_path).check([_own(**keys)])
    assert "\n" not in str(caught.value)


def test_an_environment_that_was_removed_is_told(tmp_path: Path) -> None:
    """As a job it would run all of its models again."""
    software, entry = _software("venv", tmp_path), _entries()["7net-0"]
    (stamp,) = software.stamps(entry)
    folder = stamp.with_suffix("")
    folder.parent.mkdir()
    software.check([entry])  # not made yet: the workflow does it
    record_failure(folder, "pip: no network")
    software.check([entry])  # it is tried again
    stamp.write_text(json.dumps({"format": "pesbench-environment", "packages": ["a==1"]}))
    software.check([entry])  # a dry run and a report need none
    said = (
        rf"is gone; .* build-environment .* --out {folder}`, or delete the folder and {stamp}, and"
    )
    with pytest.raises(UserError, match=said):
        software.check_there([entry])
    python_of(folder).parent.mkdir(parents=True)
    python_of(folder).touch()
    with pytest.raises(UserError, match=r"was not made here.* build-environment .* --out"):
        software.check_there([entry])
    assert read_stamp(stamp).packages == ("a",)
    stamp.write_text("{")
    with pytest.raises(UserError, match="no stamp of an environment"):
        software.check([entry])


def test_conda_is_given_the_same_requirements(tmp_path: Path) -> None:
    software = _software("conda", tmp_path)
    entry = _own(requirements=["--no-index", "./wheels/tiny.whl", "ase==3"], python="python3.12")
    path = Path(software.conda_file(entry))
    asked = software.asked(entry)
    assert asked is not None
    assert path == tmp_path / "environments" / f"{asked.name}.yaml"
    wheel = str(tmp_path / "wheels/tiny.whl")
    assert yaml.safe_load(path.read_text()) == {
        "channels": ["conda-forge"],
        "dependencies": [
            "python=3.12", "pip", {"pip": ["--no-index", wheel, "ase==3", "h5py", "numpy"]}
        ],
    }  # fmt: skip
    with pytest.raises(UserError, match=r"'own': `python: \./there`: no file"):
        _software("conda", tmp_path).check([_own(python="./there")])
    before = path.stat().st_mtime_ns
    assert Path(_software("conda", tmp_path).conda_file(entry)).stat().st_mtime_ns == before


def test_a_public_checkpoint_needs_no_file_here(tmp_path: Path) -> None:
    """It stands in a package of another environment; its sha256 stands in the entry."""
    models = REPO / "config/models.yaml"
    for name in ("7net-0", "7net-l3i5"):
        entry = resolve_entry(_entries()[name], models, REPO)
        assert entry.weights_path is None
        resolved = tmp_path / "model.json"
        resolved.write_text(json.dumps(entry.deciding()))
        found = ModelEntry.from_file(resolved, sha256=entry.sha256)
        assert found.settings["sha256"] == entry.settings["sha256"]
        assert found.settings["pretrained"] == name


# --- as rules of the workflow --------------------------------------------------------------------

MODELS = ("gfn1-xtb", "mace-mini", "7net-0", "mace-mini-ripple", "control-zero")
CONFIG = {
    "models": list(MODELS[:-1]),
    "controls": ["control-zero"],
    "dynamics": {"models": ["mace-mini", "7net-0"], "systems": ["hydrazine"]},
    "vibrations": {"models": ["7net-0"], "systems": ["hydrazine"]},
}
RIPPLE = (
    "\nmace-mini-ripple: {family: perturbed, base: mace-mini, perturbation: ripple, dose: 0.01}\n"
)
CONDA = """#!/bin/sh
case "$*" in
  "info --json") echo '{"conda_prefix": "/nowhere", "platform": "linux-64"}';;
  --version) echo "conda 25.1.0";;
  "config --get channel_priority"*) echo '{"get": {"channel_priority": "strict"}}';;
  *) exit 1;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like the repository, with a registry of its own and a `conda`."""
    root = tmp_path / "checkout"
    root.mkdir()
    for name in ("Snakefile", "workflow", "resources", "envs"):
        (root / name).symlink_to(REPO / name)
    shutil.copytree(REPO / "config", root / "config")
    with (root / "config/models.yaml").open("a") as file:
        file.write(RIPPLE)
    (root / "few.yaml").write_text(yaml.safe_dump(CONFIG))
    conda = root / "bin" / "conda"
    conda.parent.mkdir()
    conda.write_text(CONDA)
    conda.chmod(0o755)
    return root


def _dry_run(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    few = ("--configfile", "few.yaml")
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "-p", "--cores", "1", *few, *arguments],
        cwd=checkout,
        env=os.environ | {"PATH": f"{checkout / 'bin'}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


def _where(text: str) -> dict[str, set[str]]:
    """Where each command of a dry run lets its model run; those that run one with its name."""
    found: dict[str, set[str]] = {}
    for what, rest in re.findall(
        rf"Shell command: {re.escape(sys.executable)} -m pesbench (run \w+|\S+) (.*)$", text, re.M
    ):
        model = re.search(r"--entry \S*?([^/\s]+)(?:/model)?\.json", rest)
        where = re.search(r"--environment (\S+)", rest)
        found.setdefault(f"{what} {model[1]}" if model else what, set()).add(
            where[1] if where else ""
        )
    return found


RUN_A_MODEL = {
    *(f"run bonds {model}" for model in MODELS[:-1]),  # controls are a job without a model
    *("run dynamics mace-mini", "run dynamics 7net-0", "run vibrations 7net-0"),
    *(f"probe {model}" for model in MODELS[:-1]),  # for a plan; a control is not timed
    *(f"{stage} reference" for stage in ("run bonds", "run vibrations", "probe")),
}


@pytest.mark.parametrize("mode", ["venv", "conda"])
def test_every_rule_that_runs_a_model_takes_the_environment_of_its_family(
    checkout: Path, mode: str
) -> None:
    option = ("--software-deployment-method", "conda") if mode == "conda" else ()
    done = _dry_run(checkout, *option, "--config", f"software={mode}", "--", "all", "plan")
    assert done.returncode == 0, done.stdout + done.stderr
    commands = re.findall(r"Shell command: (\S+) -m pesbench", done.stdout)
    assert set(commands) == {sys.executable}
    found = _where(done.stdout)
    names = {
        family: read_requirements(families()[family].requirements, REPO).name("")
        for family in PINNED
    }
    for what in RUN_A_MODEL:
        (where,) = found.pop(what)
        family = {"mace": "mace", "7net": "sevennet"}.get(what.rpartition(" ")[2][:4])
        if family is None:
            assert where == "", what
        elif mode == "venv":
            assert where == f"results/environments/{names[family]}.json", what
        else:
            assert where == "conda", what
    assert set.union(*found.values()) == {""}  # nothing else
    made = re.findall(r"pesbench build-environment --requirement=(\S+) .*--out (\S+) ", done.stdout)
    if mode == "venv":
        files = {f: str(Path("results") / "environments" / names[f]) for f in PINNED}
        assert {Path(file).stem: out for file, out in made} == files
    else:
        assert not made
        conda = set(
            re.findall(r"Conda environment (\S+) will be created", done.stdout + done.stderr)
        )
        assert {Path(file).stem for file in conda} == set(names.values())


def test_the_current_environment_is_the_default_and_makes_none(checkout: Path) -> None:
    models = ("--config", "models=[gfn1-xtb,mace-mini,mace-mini-ripple]", "vibrations={models: []}")
    done = _dry_run(checkout, *models)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set.union(*_where(done.stdout).values()) == {""}
    assert "environments" not in done.stdout


REFUSED = {
    "a mode that is none": (["software=pip"], "`software`: 'pip' is not known"),
    "a family that is not installed": ([], "model '7net-0': family 'sevennet' needs 'sevenn'"),
}


def test_a_conda_environment_that_is_not_activated_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for prefix in ("", sys.prefix):
        monkeypatch.setenv("CONDA_PREFIX", prefix)
        with pytest.raises(UserError, match="needs `--software-deployment-method conda` on the"):
            environment_of("conda")


def test_a_job_on_a_node_does_not_look_for_what_other_models_need(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    given = Given([Path("few.yaml")], ["threads=1"], alone=False, home=checkout, on_slurm=False)
    with pytest.raises(UserError, match="is not installed"):
        start(given)
    assert start(replace(given, main=False)).run.models


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_run_is_one_line(
    checkout: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, said = REFUSED[case]
    monkeypatch.chdir(checkout)
    few = ("--configfile", "few.yaml", "--config", "threads=1")
    message = refusal(checkout, *few, *config)
    assert said in message
    assert "\n" not in message
