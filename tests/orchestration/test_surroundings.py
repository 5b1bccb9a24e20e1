"""The user's surroundings do not reach a batch job: homes, backends, locales, working folders."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import is_dataclass
from typing import get_args

import pytest

from examples import matches
from pesbench.cli import main, parser
from pesbench.core.errors import HostError, UserError
from pesbench.core.family import EntrySettings, families
from pesbench.core.found import tasks
from pesbench.core.paths import given_path
from pesbench.core.settings import declared
from pesbench.files.evaluation import Evaluation
from pesbench.files.scan_set import ScanSet
from pesbench.models.addresses import cache_path
from pesbench.models.models_file import make_entry
from pesbench.models.trust import entry_sha256
from pesbench.orchestration.config import resolve
from pesbench.orchestration.config_keys import config_keys
from pesbench.orchestration.surroundings import check_interpreter, check_words, check_working_folder
from pesbench.references.settings import SOURCES
from workflow_copy import REPO

# --- paths ---------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home of (a'b)"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.mark.parametrize(
    "text",
    ["x/y", "/x/y", "a~b/~", "$HOME/x", "a$(b)`c`", "{x}", "a (b'c)", "日本 é", "%s"],
)
def test_most_characters_of_a_path_are_what_they_are(text):
    assert str(given_path(text)) == text


def test_a_tilde_is_a_home_folder(home):
    assert given_path("~/x") == home / "x"
    assert given_path("~") == home


def test_what_begins_with_a_dash_is_no_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in ("-x", "--out", "./-x"):
        assert given_path(text).is_absolute()
        assert given_path(text).parent == tmp_path


@pytest.mark.parametrize(
    "text", ["a\0b", "a\nb", "a\x1b[31mb", "a\udcffb", "~no-such-user-here/x", "s3://a/b"]
)
def test_a_path_that_cannot_be_meant_is_refused(text):
    with pytest.raises(UserError, match=r"rename it|home folder|is an address"):
        given_path(text)


@pytest.mark.parametrize("word", ["a$(b)", "a`b`", 'a"b', "a\\b", "results=a$HOME", "it's"])
def test_words_between_double_quotes_of_a_shell_are_refused(word):
    plain = ["/home/my results (a), b/[c]*", "systems=[C-N/*]", None]
    check_words(plain, apostrophes=False)
    with pytest.raises(UserError, match=re.escape(word)):
        check_words([*plain, word], apostrophes=False)
    if word == "it's":
        check_words([*plain, word])
        return
    with pytest.raises(UserError, match=re.escape(word)):
        check_words([*plain, word])


def test_an_interpreter_for_slurm_has_a_plain_path():
    check_interpreter("/opt/a-b_c/bin/python3.11")
    for path in ("/opt/my tools/python", "/opt/a$(b)/python", "/opt/it's/python"):
        with pytest.raises(UserError, match="for Slurm"):
            check_interpreter(path)


def _declared_paths(cls, above=""):
    """Keys of a dataclass of settings whose value is a path, with those of its blocks."""
    for one in declared(cls):
        if one.about.path:
            yield f"{above}{one.name}"
        for hint in (one.hint, *get_args(one.hint)):
            for kind in (hint, *get_args(hint)):
                if is_dataclass(kind):
                    yield from _declared_paths(kind, f"{above}{one.name}.")
                    break


def test_every_key_of_a_path_says_so():
    """A key that is read as a path and not marked would not know `~`."""
    keys = {key for source in SOURCES.values() for key in _declared_paths(source)}
    assert keys == {"archive", "molecules", "molecules.file"}
    blocks = {f"{name}.systems_file" for name, task in tasks().items() if not task.always}
    others = {
        "models_file", "archive", "results", "lj_core.heads", "spectral.frames",
        "spectral.backbones",
        "alarms.reference_frames", "dynamics.reference_frames",
    }  # fmt: skip
    assert set(_declared_paths(config_keys())) == {*others, *blocks}
    assert list(_declared_paths(EntrySettings)) == ["seen_systems"]
    for family in families().values():
        weights = {"weights"} if family.weights else set()
        assert set(_declared_paths(family.settings)) == {"seen_systems", *weights}


def test_a_tilde_in_any_path_of_a_config_is_the_home_folder(home, tmp_path):
    molecules = REPO / "resources/mini/molecules.extxyz"
    shutil.copy(molecules, home / "m.extxyz")
    shutil.copy(REPO / "config/models.yaml", home / "models.yaml")
    (home / "names.txt").write_text("ethanol\n")
    for given in ("~/m.extxyz", [{"file": "~/m.extxyz"}]):
        own = {"source": "molecules", "molecules": given, "reference": "gfn2-xtb"}
        config = {
            "scan_set": "own", "scan_sets": {"own": own}, "models": ["emt"], "controls": [],
            "models_file": "~/models.yaml", "results": "~/out",
            "dynamics": {"models": ["emt"], "systems_file": "~/names.txt"},
        }  # fmt: skip
        run = resolve(config, tmp_path)
        assert run.results == home / "out" / "own"
        assert run.molecule_files == [str(home / "m.extxyz")]
        assert run.models_file == home / "models.yaml"
        assert run.tasks["dynamics"].shards["0000"].items == ("ethanol",)
    for key in ("results", "models_file"):
        with pytest.raises(UserError, match="holds braces"):
            resolve(config | {key: "a{model}b"}, tmp_path)


@pytest.mark.parametrize(("family", "suffix"), [("mace", "model"), ("testbed", "pt")])
def test_a_tilde_in_the_registry_is_the_home_folder(home, family, suffix):
    entry = {"family": family, "weights": f"~/x.{suffix}", "seen_systems": "~/seen.csv"}
    settings = make_entry("mine", entry).settings
    assert settings["weights"] == str(home / f"x.{suffix}")
    assert settings["seen_systems"] == str(home / "seen.csv")
    for key in ("weights", "seen_systems"):
        with pytest.raises(UserError, match=f"`{key}`.*holds braces"):
            make_entry("mine", entry | {key: "a{shard}b"})
    address = f"https://example.org/~me/x.{suffix}"
    assert make_entry("mine", entry | {"weights": address}).settings["weights"] == address


def test_a_tilde_on_a_command_line_is_the_home_folder(home, capsys):
    parsed = parser().parse_args(["entry", "emt", "--out=~/emt.json"])
    assert parsed.out == home / "emt.json"
    out = ["--out=~/emt.json", f"--models-file={REPO / 'config/models.yaml'}"]
    assert main(["entry", "emt", *out]) == 0
    assert json.loads((home / "emt.json").read_text())["name"] == "emt"
    with pytest.raises(SystemExit):
        parser().parse_args(["entry", "emt", "--out", "~no-such-user-here/x"])
    assert "write the path in full" in capsys.readouterr().err


def test_the_cache_of_weights_may_be_in_the_home_folder(home, monkeypatch):
    monkeypatch.setenv("PESBENCH_CACHE", "~/x")
    assert cache_path("https://example.org/a.model").parent == home / "x"
    monkeypatch.setenv("PESBENCH_CACHE", "~no-such-user-here/x")
    with pytest.raises(UserError, match="PESBENCH_CACHE"):
        cache_path("https://example.org/a.model")


# --- the session ---------------------------------------------------------------------------------

USETEX = "text.usetex: True\nsavefig.bbox: tight\nfont.family: serif\naxes.facecolor: red\n"
# each in one process: what the surroundings are, and what is asked of them
DRAW = """
import sys
from pesbench.cli import main
try: main(["--version"])
except SystemExit: pass
from pesbench.files import figures
import hashlib
figure = figures.saying("FSD (\\u00c5\\u207b\\u00b9) 50% a_b \\u22121")
print(hashlib.sha256(figures.png(figure)).hexdigest())
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The hash of a figure in a process with some surroundings."""

    def draw(folder, **environment):
        done = subprocess.run(
            [sys.executable, "-c", DRAW], cwd=folder, env=os.environ | environment,
            capture_output=True, encoding="utf-8", check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[-1]

    return draw, draw(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(
    "environment",
    [
        {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
        {"MPLBACKEND": "TkAgg", "MPLCONFIGDIR": "/proc/none"},
        {"MATPLOTLIBRC": "{folder}/elsewhere"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TZ": "Asia/Kolkata"},
        {"PYTHONWARNINGS": "error::RuntimeWarning", "PYTHONHASHSEED": "7"},
    ],
    ids=lambda environment: next(iter(environment)),
)
def test_a_figure_is_the_same_bytes_whatever_the_surroundings(drawn, tmp_path, environment):
    draw, wanted = drawn
    (tmp_path / "elsewhere").write_text(USETEX)
    (tmp_path / "matplotlibrc").write_text(USETEX)  # of the working folder
    given = {key: value.format(folder=tmp_path) for key, value in environment.items()}
    assert draw(tmp_path, **given) == wanted


def _command(folder, *words, **environment):
    """The command line of the package in a folder, as a user calls it."""
    return subprocess.run(
        [sys.executable, "-m", "pesbench", *words], cwd=folder, env=os.environ | environment,
        capture_output=True, check=False,
    )  # fmt: skip


def test_modules_of_the_working_folder_take_nobodys_place(tmp_path):
    """But a calculator that lies there is found, by the check of the registry and by a worker."""
    for name in ("numpy", "yaml", "ase", "pandas", "matplotlib"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')\n")
    (tmp_path / "my_module.py").write_text(
        "from ase.calculators.emt import EMT\n\nclass Mine(EMT):\n    pass\n"
    )
    entry = {"mine": {"family": "ase", "calculator": "my_module:Mine"}}
    (tmp_path / "models.yaml").write_text(json.dumps(entry))
    done = _command(tmp_path, "entry", "mine", "--models-file=models.yaml", "--out=mine.json")
    assert done.returncode == 0, done.stderr
    scans = REPO / "workflow/pesbench/commands/check/scans.h5"
    with ScanSet(scans) as scan_set:
        first = scan_set.ids[0]
    known = entry_sha256(json.loads((tmp_path / "mine.json").read_text()))
    done = _command(
        tmp_path, "run", "bonds", "--entry=mine.json", "--scan-set", str(scans), "--scans", first,
        "--out=mine.h5", "--entry-sha256", known,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with Evaluation(tmp_path / "mine.h5") as evaluation:
        assert evaluation.ids == (first,)


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"COLUMNS": "1", "NO_COLOR": "1"},
        {"PYTHONWARNINGS": "error", "TMPDIR": "/no/such/folder"},
    ],
    ids=lambda environment: next(iter(environment)),
)
def test_help_is_printed_in_any_locale(tmp_path, environment):
    done = _command(tmp_path, "check", "--help", **environment)
    assert done.returncode == 0, done.stderr
    assert b"--max-force-difference" in done.stdout


def test_what_a_process_starts_keeps_what_it_compiles(tmp_path):
    (tmp_path / "compiled.py").touch()
    code = "import sys; sys.path.append('.'); import compiled"
    start = (
        "import subprocess, sys; from pesbench.orchestration.surroundings import shut_out; "
        "shut_out(); subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
    )
    for flag in ("1", ""):
        subprocess.run(
            [sys.executable, "-c", start, code],
            cwd=tmp_path,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": flag},
            check=True,
        )
        shutil.rmtree(tmp_path / "__pycache__")


def test_a_python_without_assertions_is_refused(tmp_path):
    """ASE reads a line of a file in one."""
    done = _command(tmp_path, "entry", "emt", "--out=x", PYTHONOPTIMIZE="1")
    assert done.returncode == 2
    assert done.stderr.startswith(b"pesbench: error: Python runs with -O")
    assert done.stderr.count(b"\n") == 1


def test_a_working_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    check_working_folder(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(HostError, match=r"keeps its records.*--directory FOLDER"):
        check_working_folder(tmp_path)


def test_every_text_file_has_an_encoding_of_its_own():
    """What the locale says is no property of a file: of the package's, nor of those it writes."""
    bare = []
    for path in matches(REPO / "workflow/pesbench", "**/*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
            name = call.func.id if isinstance(call.func, ast.Name) else name
            constants = [a.value for a in call.args if isinstance(a, ast.Constant)]
            constants += [k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)]
            said = {k.arg for k in call.keywords} & {"encoding", "errors"}
            texts = name in ("read_text", "write_text") and isinstance(call.func, ast.Attribute)
            texts = texts and not said and len(constants) < 2
            opens = name == "open" and not said and not any("b" in str(c) for c in constants)
            opens = opens and any(str(c) in ("r", "w", "a", "a+", "w+", "x") for c in constants)
            pipes = name in ("run", "Popen") and "text" in {k.arg for k in call.keywords}
            if texts or opens or pipes:
                bare.append(f"{path.name}:{call.lineno}")
    assert not bare
