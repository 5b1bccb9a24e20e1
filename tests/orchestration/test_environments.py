"""An environment a family: what is made from what, and which interpreter runs what."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import yaml

from pesbench.core.errors import HostError, UserError
from pesbench.models.registry import ModelEntry
from pesbench.orchestration.config import read_models, resolve_entry
from pesbench.orchestration.environments import (
    build_environment,
    python_of,
    requirements_sha256,
    stamp_of,
)
from pesbench.orchestration.software import Software
from workflow_copy import refusal

REPO = Path(__file__).parents[2]
FAMILIES = ("mace", "sevennet")  # with files of their own
BACKEND = '''
"""A build backend that needs nothing: a wheel whose one file leads to the project."""
import os
import time
import zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    time.sleep(float(os.environ.get("TINY_SLEEP", 0)))
    name = "pesbench-9.9-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        write(wheel, "pesbench", "9.9", {"pesbench_there.pth": os.path.join(os.getcwd(), "there")})
    return name

def write(wheel, name, version, files):
    info = f"{name}-{version}.dist-info"
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    for path, text in files.items():
        wheel.writestr(path, text)
    record = "".join(f"{path},,\\n" for path in [*files, f"{info}/RECORD"])
    wheel.writestr(f"{info}/RECORD", record)
'''


def _pins(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


# --- what an environment is made from ------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_conda_is_given_the_pins_of_pip(family: str) -> None:
    pins = _pins(REPO / f"envs/{family}.txt")
    packages = yaml.safe_load((REPO / f"envs/{family}.yaml").read_text())["dependencies"]
    assert packages[-1] == {"pip": [f"{name}=={version}" for name, version in pins.items()]}
    assert {"ase", "h5py", "numpy", "setuptools", "torch"} <= set(pins)


def test_mace_is_pinned_as_in_the_environment_of_all() -> None:
    known = _pins(REPO / "envs/constraints.txt")
    pins = _pins(REPO / "envs/mace.txt")
    del pins["setuptools"]  # every environment brings one
    assert pins.items() <= known.items()


def test_two_families_that_cannot_share_an_environment() -> None:
    versions = [_pins(REPO / f"envs/{family}.txt")["e3nn"] for family in FAMILIES]
    assert versions == ["0.4.4", "0.6.0"]


def test_what_changes_the_requirements(tmp_path: Path) -> None:
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    second.write_text("b==1\n")
    first.write_text("--constraint second.txt\na==1\n")
    before = requirements_sha256(first)
    first.write_text("# words\n--constraint second.txt\n\na==1  # words\n")
    assert requirements_sha256(first) == before
    second.write_text("b==2\n")
    assert requirements_sha256(first) != before
    second.unlink()
    with pytest.raises(UserError, match=r"second\.txt: cannot be read"):
        requirements_sha256(first)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"ase  # Gr\xf6\xdfe\n", "line 1: no UTF-8"),
        (b"ase\n-r own.txt\n", "refers to itself"),
        (b"--constraint=other.txt\n", "refers to itself"),
        (b"-r missing.txt\n", "cannot be read"),
    ],
)
def test_requirements_that_cannot_be_read_are_one_line(tmp_path, content, said):
    (tmp_path / "own.txt").write_bytes(content)
    (tmp_path / "other.txt").write_text("-c own.txt\n")
    with pytest.raises(UserError, match=said):
        requirements_sha256(tmp_path / "own.txt")


# --- making one ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that is called as this one, and installs without network."""
    folder = tmp_path_factory.mktemp("making") / "project"
    (folder / "there").mkdir(parents=True)
    (folder / "there" / "pesbench.py").write_text("import tiny\n")
    (folder / "backend.py").write_text(BACKEND)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    return folder


@pytest.fixture(scope="module")
def requirements(project: Path) -> Path:
    """Requirements of one package, in a file beside them."""
    scope: dict[str, object] = {}
    exec(compile(BACKEND, "backend.py", "exec"), scope)
    wheel = project.parent / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        scope["write"](file, "tiny", "1.0", {"tiny.py": "VERSION = '1.0'\n"})
    path = project.parent / "tiny.txt"
    path.write_text(f"--no-index\n{wheel}\n")
    return path


@pytest.fixture(scope="module")
def built(project: Path, requirements: Path) -> Path:
    """An environment that was made once; a test leaves it whole."""
    folder = project.parent / "environments" / "tiny"
    build_environment(requirements, folder, project)
    return folder


def _runs(folder: Path, code: str) -> bool:
    command = [python_of(folder), "-c", code]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(command, env=clean, capture_output=True, check=False).returncode == 0


@pytest.mark.xdist_group("an environment")  # which is made once
def test_an_environment_holds_its_requirements_and_the_package_and_nothing_else(
    built: Path, project: Path, requirements: Path
) -> None:
    folder = built
    assert _runs(folder, "import pesbench, tiny")
    assert not _runs(folder, "import numpy")
    stamp = json.loads(stamp_of(folder).read_text())
    assert stamp["requirements_sha256"] == requirements_sha256(requirements)
    assert any(line.startswith("tiny ") for line in stamp["packages"]), stamp["packages"]
    assert not any("pesbench" in line for line in stamp["packages"])  # as it lies there
    # the code of the package is that of the project, without a new environment
    code = project / "there" / "pesbench.py"
    before = code.read_text()
    code.write_text("raise SystemExit(3)\n")
    assert not _runs(folder, "import pesbench")
    code.write_text(before)


def test_what_pip_cannot_install_is_one_line_and_no_environment(
    tmp_path: Path, project: Path
) -> None:
    requirements, folder = tmp_path / "wrong.txt", tmp_path / "wrong"
    requirements.write_text("--no-index\nnot-there==1\n")
    with pytest.raises(HostError) as caught:
        build_environment(requirements, folder, project)
    message = str(caught.value)
    assert "No matching distribution found for not-there==1" in message
    assert "\n" not in message
    assert not stamp_of(folder).exists()


INTERRUPTED = """
import sys
from pathlib import Path
from pesbench.orchestration.environments import build_environment
build_environment(*map(Path, sys.argv[1:]))
"""


@pytest.mark.xdist_group("an environment")  # which is made once
def test_an_interrupted_one_is_not_taken_for_whole(
    built: Path, project: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where a whole one stood before; and the next attempt waits for what goes on."""
    folder = built
    monkeypatch.setenv("TINY_SLEEP", "5")  # the installation of the project takes that long
    arguments = [str(path) for path in (requirements, folder, project)]
    before = (folder / "pyvenv.cfg").stat().st_mtime_ns
    with subprocess.Popen([sys.executable, "-c", INTERRUPTED, *arguments]) as process:
        until = time.monotonic() + 120
        while not _begun_anew(folder, before):
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert not stamp_of(folder).exists()
    monkeypatch.delenv("TINY_SLEEP")
    build_environment(requirements, folder, project)
    assert stamp_of(folder).exists()
    assert _runs(folder, "import pesbench, tiny")


def _begun_anew(folder: Path, before: int) -> bool:
    packages = list(folder.glob("lib/*/site-packages/tiny.py"))
    try:
        return bool(packages) and (folder / "pyvenv.cfg").stat().st_mtime_ns != before
    except FileNotFoundError:
        return False


def test_a_folder_that_holds_something_else_is_left_alone(
    tmp_path: Path, project: Path, requirements: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "pyvenv.cfg").write_text("of my own\n")
    with pytest.raises(UserError, match="is no environment that was made here"):
        build_environment(requirements, folder, project)
    assert (folder / "pyvenv.cfg").read_text() == "of my own\n"


# --- which interpreter runs what -----------------------------------------------------------------


def _entries() -> dict[str, ModelEntry]:
    return read_models(REPO / "config/models.yaml")


def _software(mode: str, tmp_path: Path) -> Software:
    return Software(mode, REPO / "envs", tmp_path / "environments", "/base/python")


@pytest.mark.parametrize("mode", ["current", "venv", "conda"])
def test_the_interpreter_of_each_family(tmp_path: Path, mode: str) -> None:
    software, entries = _software(mode, tmp_path), _entries()
    for name in ("gfn2-xtb", "emt", "control-zero", "gfn2-curl_0.01", "testbed-base"):
        assert software.python(entries[name]) == ["/base/python"], name
        assert software.stamps(entries[name]) == []
        assert software.requirements(entries[name]) == ""
        assert software.conda_file(entries[name]) is None
    own = {"mace": entries["mace-mini"], "sevennet": entries["7net-0"]}
    own["mace "] = ModelEntry("ripple", "perturbed", {}).with_base(entries["mace-mini"])
    for family, entry in own.items():
        folder = tmp_path / "environments" / family.strip()
        if mode == "current":
            assert software.python(entry) == ["/base/python"]
        elif mode == "venv":
            assert software.python(entry) == [str(folder / "bin" / "python")]
        else:
            outside = f"PESBENCH_OUTSIDE={sys.prefix}"  # refused by the command
            words = ["env", f"PYTHONPATH={REPO / 'workflow'}", outside, "python"]
            assert software.python(entry) == words
        assert software.stamps(entry) == ([stamp_of(folder)] if mode == "venv" else [])
        assert bool(software.requirements(entry)) is (mode == "venv")
        file = str(REPO / "envs" / f"{family.strip()}.yaml")
        assert software.conda_file(entry) == (file if mode == "conda" else None)
    built = list(FAMILIES) if mode == "venv" else []
    assert software.to_build([*own.values(), entries["gfn2-xtb"]]) == built


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
        with pytest.raises(UserError, match="in the environment that Snakemake runs in"):
            _software(mode, tmp_path).check_base(entries["mace-mini"])  # of `relax`


def test_an_environment_that_was_removed_is_told(tmp_path: Path) -> None:
    """As a job it would run all of its family's models again."""
    software, entry = _software("venv", tmp_path), _entries()["7net-0"]
    folder = tmp_path / "environments" / "sevennet"
    folder.parent.mkdir()
    software.check([entry])  # not made yet: the workflow does it
    stamp_of(folder).write_text("{}")
    with pytest.raises(UserError, match=rf"is gone; .* build-environment .* --out {folder}`"):
        software.check([entry])
    python_of(folder).parent.mkdir(parents=True)
    python_of(folder).touch()
    software.check([entry])


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


def _interpreters(text: str) -> dict[str, set[str]]:
    """What runs each command of a dry run; those that run a model with its name."""
    found: dict[str, set[str]] = {}
    for python, what, rest in re.findall(
        r"Shell command: (.*?) -m pesbench (run \w+|\S+) (.*)$", text, re.M
    ):
        model = re.search(r"--entry \S*?([^/\s]+)(?:/model)?\.json", rest)
        found.setdefault(f"{what} {model[1]}" if model else what, set()).add(python)
    return found


RUN_A_MODEL = {
    *(f"run bonds {model}" for model in MODELS[:-1]),  # controls are a job without a model
    *("run dynamics mace-mini", "run dynamics 7net-0", "run vibrations 7net-0"),
    *(f"probe {model}" for model in MODELS[:-1]),  # for a plan; a control is not timed
    *(f"{stage} reference" for stage in ("run bonds", "run vibrations", "probe")),
}


@pytest.mark.parametrize("mode", ["venv", "conda"])
def test_every_rule_that_runs_a_model_takes_the_interpreter_of_its_family(
    checkout: Path, mode: str
) -> None:
    option = ("--software-deployment-method", "conda") if mode == "conda" else ()
    done = _dry_run(checkout, *option, "--config", f"software={mode}", "--", "all", "plan")
    assert done.returncode == 0, done.stdout + done.stderr
    found = _interpreters(done.stdout)
    folder = checkout / "results" / "environments"
    for what in RUN_A_MODEL:
        (python,) = found.pop(what)
        family = {"mace": "mace", "7net": "sevennet"}.get(what.rpartition(" ")[2][:4])
        if family is None:
            assert python == sys.executable, what
        elif mode == "venv":
            assert python == str(folder / family / "bin" / "python"), what
        else:
            there, outside = checkout / "workflow", f"PESBENCH_OUTSIDE={sys.prefix}"
            assert python == f"env PYTHONPATH={there} {outside} python", what
    assert set.union(*found.values()) == {sys.executable}  # nothing else
    made = re.findall(r"pesbench build-environment --requirements (\S+) --out (\S+) ", done.stdout)
    if mode == "venv":
        files = {f: str(Path("results") / "environments" / f) for f in FAMILIES}
        assert {Path(file).stem: out for file, out in made} == files
    else:
        assert not made
        conda = set(
            re.findall(r"Conda environment (\S+) will be created", done.stdout + done.stderr)
        )
        assert {Path(file).name for file in conda} == {"mace.yaml", "sevennet.yaml"}


def test_the_current_environment_is_the_default_and_makes_none(checkout: Path) -> None:
    models = ("--config", "models=[gfn1-xtb,mace-mini,mace-mini-ripple]", "vibrations={models: []}")
    done = _dry_run(checkout, *models)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set.union(*_interpreters(done.stdout).values()) == {sys.executable}
    assert "environments" not in done.stdout


REFUSED = {
    "a mode that is none": (["software=pip"], "`software`: 'pip' is not known"),
    "a family that is not installed": ([], "model '7net-0': family 'sevennet' needs 'sevenn'"),
}


def test_a_model_whose_conda_environment_is_not_activated_does_not_run(tmp_path: Path) -> None:
    outside = f"PESBENCH_OUTSIDE={sys.prefix}"
    command = ["env", outside, sys.executable, "-m", "pesbench", "entry", "emt"]
    done = subprocess.run(
        [*command, "--models-file", str(REPO / "config/models.yaml"), "--out", str(tmp_path / "x")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "needs `--software-deployment-method conda` on the command line" in done.stderr


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
