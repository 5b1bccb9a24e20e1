"""Nothing that a config, a registry or a file holds is read by a shell: every word is quoted."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from snakemake.utils import format as filled_in

from examples import rule_files
from pesbench.cli import parser
from workflow_copy import REPO

RULES = rule_files()
SHELL = re.compile(r'^ *shell:\n((?: +"[^"\n]*"\n)+)', re.MULTILINE)


def test_every_rule_with_a_command_is_looked_at() -> None:
    text = "".join(file.read_text() for file in RULES)
    commands = SHELL.findall(text)
    assert len(commands) == text.count("shell:") > 20
    assert not re.search(r"^ *run:$", text, re.MULTILINE)


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.name)
def test_every_word_of_every_command_is_quoted(file) -> None:
    """`{params.x}` without `:q` is text that a shell reads; an empty list gives no word."""
    for command in SHELL.findall(file.read_text()):
        bare = [word for word in re.findall(r"\{[^}]*\}", command) if not word.endswith(":q}")]
        assert not bare, command


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@settings(max_examples=200)
@given(st.lists(TEXT))
def test_snakemake_quotes_each_word_of_a_list(words) -> None:
    command = filled_in("{python:q} a {words:q} b 2> {log:q}", python=["x y"], words=words, log="l")
    assert shlex.split(command) == ["x y", "a", *words, "b", "2>", "l"]


# --- through the whole workflow ------------------------------------------------------------------

HOSTILE = [
    "a$(touch pwned)`touch pwned`",
    """it's "so" {model} {{x}} [a]*?""",
    "-x --out ~ %s;touch pwned&&é日本\\",
]


def _without_braces(text):
    """As in the names of files, where they are refused."""
    return text.replace("{", "(").replace("}", ")")


@pytest.fixture(scope="module", params=HOSTILE, ids=["commands", "quotes", "options"])
def planned(request, tmp_path_factory):
    """The commands of all rules where every text and file that a user names is hostile."""
    text = request.param
    plain = _without_braces(text)
    root = tmp_path_factory.mktemp("shell")
    checkout, work = (
        root / f"check out {plain}",
        root / ("work " + re.sub(r"""["`$\\]""", "", text)),
    )
    checkout.symlink_to(REPO)
    work.mkdir()
    (work / "environment").symlink_to(sys.prefix)
    names = {
        "molecules": f"{plain} molecules.extxyz", "weights": f"{plain} weights.pt",
        "seen": f"{plain} seen.csv", "models": f"{plain} models.yaml",
    }  # fmt: skip
    shutil.copy(REPO / "resources/mini/molecules.extxyz", work / names["molecules"])
    weights = shutil.copy(REPO / "resources/weights/testbed-base.pt", work / names["weights"])
    shutil.copy(REPO / "resources/mini/split.csv", work / names["seen"])
    (work / "config").mkdir()
    for plan in (
        "testbed.yaml",
        "data_training.yaml",
        "transfer_training.yaml",
        "harvest_training.yaml",
        "apax.yaml",
        "backbones.yaml",
        "wavefunction_training.yaml",
    ):
        (work / "config" / plan).symlink_to(REPO / "config" / plan)
    (work / "resources").symlink_to(REPO / "resources")
    described = {"citation": text, "description": text, "license": text}
    method = {"family": "tblite", "method": "GFN1-xTB", "level_of_theory": text} | described
    own = {"family": "testbed", "weights": names["weights"], "seen_systems": names["seen"],
           "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
           "seen_scans": [f"C-O/{text}"]} | described  # fmt: skip
    perturbed = {"family": "perturbed", "base": "own", "perturbation": "curl", "dose": 0.1}
    entries = {
        "method": method,
        "own": own,
        "own-again": own | {"repeat": 2, "requirements": [text]},
        "own-perturbed": perturbed,
        "zero": {"family": "control", "control": "zero"},
    }  # fmt: skip
    (work / names["models"]).write_text(yaml.safe_dump(entries))
    ran = {"models": ["method", "own", "own-perturbed"]}
    config = {
        "scan_set": "own",
        "scan_sets": {
            "own": {
                "source": "molecules", "molecules": [{"file": names["molecules"]}],
                "reference": "method", "relax": "method", "bonds": ["C-*", "?-O", text.strip("-")],
            },
            "bsct": {"source": "bsct_spice", "archive": names["molecules"]},
        },
        "models_file": names["models"], "models": ["method", "own*"], "controls": ["zero"],
        "results": plain, "device": "cpu", "strict": True,
        "dynamics": ran, "vibrations": ran | {"systems": ["ethanol"]},
        "ladder": {"baseline": "method", "models": ["own"]},
    }  # fmt: skip
    (work / "c.yaml").write_text(yaml.safe_dump(config))
    commands = _commands(checkout, work, "all", "plan", "plan_actual", "weights_mace",
                         "weights_testbed", "weights_data", "data_models", "weights_apax",
                         "weights_harvest", "harvest_models", "weights_transfer", "transfer_models",
                         "apax_models", "weights_backbones", "backbone_models",
                         "weights_wavefunction", "study_wavefunction",
                         "lj_heads")  # fmt: skip
    none = (f"{block}={{models: []}}" for block in ("dynamics", "vibrations"))
    archive = ("scan_set=bsct", "ladder={baseline: own, models: []}", *none)
    commands += _commands(checkout, work, "scan_set", "--config", *archive)
    return text, work, commands


def _commands(checkout, work, *words):
    """The words of every command that a run would start, as a shell would take them."""
    python = str(work / "environment" / "bin" / "python")
    done = subprocess.run(
        [python, "-m", "snakemake", *words, "-n", "-p", "--cores", "1", "--snakefile",
         str(checkout / "Snakefile"), "--configfile", "c.yaml"],
        cwd=work, env=os.environ | {"PYTHONPATH": str(REPO / "workflow")}, encoding="utf-8",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    lines = re.findall(r"^(?:Shell command: |\s*)(.*-m pesbench .*)$", done.stdout, re.MULTILINE)
    assert lines
    found = [shlex.split(line) for line in lines]
    for command in found:
        assert command[:3] == [python, "-m", "pesbench"], command
    return [command[3:] for command in found]


def test_commands_say_what_was_said_whatever_a_user_names(planned) -> None:
    """Every command is taken by the command line, and gets each text as it was given."""
    text, work, commands = planned
    asked = {}
    taken = parser()
    for command in commands:
        words = command[: command.index("2>")] if "2>" in command else command
        with contextlib.redirect_stderr(io.StringIO()) as said:
            try:
                parsed = taken.parse_args(words)
            except SystemExit:
                pytest.fail(f"{words}: {said.getvalue()}")
        asked.setdefault(parsed.stage, []).append(parsed)
    written = "".join(file.read_text() for file in RULES)
    every = set(re.findall(r"-m pesbench ([a-z-]+)", written))
    # no task that ships prepares anything
    assert every - set(asked) == {"prepare"}
    assert [parsed.requirement for parsed in asked["build-environment"]] == [[text]]
    # the results of each are in one folder, whose name nobody took to pieces
    folder = _without_braces(text)
    for parsed in asked["page"] + asked["leaderboard"] + asked["section"] + asked["compare"]:
        assert parsed.results.parent.name == folder
    names = ["method", "own", "own-again", "own-perturbed", "zero"]
    for parsed in asked["section"] + asked["compare"]:
        assert parsed.models == names[: len(parsed.models)]
        assert parsed.models_file.name == f"{folder} models.yaml"
    assert {p.seen_systems and p.seen_systems.name for p in asked["score"]} == {
        None, f"{folder} seen.csv",
    }  # fmt: skip
    of_scans = [p for p in asked["score"] if p.task == "bonds"]
    assert {tuple(p.seen_scans) for p in of_scans} == {(), (f"C-O/{text}",)}
    assert {p.weights and p.weights.name for p in asked["run"]} == {
        None, f"{folder} weights.pt",
    }  # fmt: skip
    assert asked["collect-references"][0].level_of_theory == text
    (scanned,) = [parsed for parsed in asked["scan-molecules"] if parsed.name == "own"]
    assert scanned.bonds[:2] == ["C-*", "?-O"]
    (block,) = yaml.safe_load(asked["prepare-molecules"][0].molecules)
    assert block["file"].endswith(f"{folder} molecules.extxyz")
    assert asked["import-archive"][0].archive.endswith(f"{folder} molecules.extxyz")
    assert not list(work.parent.rglob("pwned"))


@pytest.mark.parametrize("name", ["a$(touch pwned)", "{model}"])
def test_a_folder_that_snakemake_cannot_quote_is_refused_in_one_line(tmp_path, name) -> None:
    """Of the working folder, what a shell would read; of the checkout, a wildcard."""
    folder = tmp_path / name
    checkout = folder if "{" in name else tmp_path / "checkout"
    checkout.symlink_to(REPO)
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--cores", "1", "--snakefile",
         str(checkout / "Snakefile"), "--configfile", str(REPO / "config/config.yaml"),
         "--config", f"models_file={REPO}/config/models.yaml", "models=[emt]",
         "dynamics={models: []}", "vibrations={models: []}", "approach={models: []}",
         f"scan_sets={{mini: {{molecules: {REPO}/resources/mini/molecules.extxyz}}}}"],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(REPO / "workflow")}, encoding="utf-8",
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("pesbench: error:")]
    assert len(said) == 1, done.stderr
    assert name in said[0]
    assert said[0].endswith("rename it")
    assert "Traceback" not in done.stderr
