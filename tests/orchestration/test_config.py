"""Bad input ends before any work with one line that names the file, the entry and the cure."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import ase.io
import pytest
import yaml
from ase.build import molecule
from ase.data import chemical_symbols
from hypothesis import given
from hypothesis import strategies as st

from pesbench import cli
from pesbench.core.errors import UserError
from pesbench.core.names import closest, select
from pesbench.core.settings import declared, words
from pesbench.core.task import split_shards
from pesbench.files.atomic import write_json
from pesbench.files.strict_yaml import read_yaml
from pesbench.models.addresses import is_address
from pesbench.models.models_file import read_models
from pesbench.models.registry import ModelEntry
from pesbench.orchestration import config
from pesbench.orchestration.config import resolve
from pesbench.orchestration.config_keys import config_keys
from pesbench.references.quality import QualityLimits
from workflow_copy import refusal

SCANS = ("C-C/ethanol", "C-O/ethanol", "C-N/methylamine", "C-S/methanethiol")
MODELS = {
    "gfn1-xtb": {"family": "tblite", "method": "GFN1-xTB", "level_of_theory": "GFN1-xTB"},
    "gfn2-xtb": {"family": "tblite", "method": "GFN2-xTB", "level_of_theory": "GFN2-xTB"},
    "emt": {"family": "ase", "calculator": "ase.calculators.emt:EMT"},
    "control-zero": {"family": "control", "control": "zero"},
    "control-scaled_0.9": {"family": "control", "control": "scaled", "dose": 0.9},
}
CONFIG = {
    "scan_set": "mini",
    "scan_sets": {
        "mini": {"source": "molecules", "molecules": "molecules.xyz", "reference": "gfn2-xtb"},
        "bsct_spice": {"source": "bsct_spice", "archive": "https://example.org/a.tar.gz"},
    },
    "models_file": "models.yaml",
    "models": ["gfn1-xtb"],
}


@pytest.fixture
def base(tmp_path, repo):
    """A folder to run in: a registry, molecules, and the shipped manifest."""
    formulas = {"ethanol": "CH3CH2OH", "methylamine": "H3CNH2", "methanethiol": "CH3SH"}
    molecules = [molecule(formula) for formula in formulas.values()]
    for name, atoms in zip(formulas, molecules, strict=True):
        atoms.info["id"] = name
    ase.io.write(tmp_path / "molecules.xyz", molecules, format="extxyz")
    _write_models(tmp_path, MODELS)
    (tmp_path / "resources").symlink_to(repo / "resources")
    return tmp_path


def _write_models(base, models):
    (base / "models.yaml").write_text(yaml.safe_dump(models))


def _config(**changes):
    return copy.deepcopy(CONFIG) | changes


def _set(**changes):
    config = _config()
    config["scan_sets"]["mini"] |= changes
    return config


def _refused(base, config, *said):
    before = _tree(base)
    with pytest.raises(UserError) as error:
        resolve(config, base, "config.yaml")
    message = str(error.value)
    for text in said:
        assert text in message, message
    assert "\n" not in message
    assert len(message) < 600
    assert _tree(base) == before


def _tree(base):
    return sorted((str(p.relative_to(base)), p.stat().st_mtime_ns) for p in base.rglob("*"))


# --- what a good configuration gives -------------------------------------------------------------


def test_defaults(base):
    run = resolve(_config(), base)
    assert run.scan_set == "mini"
    assert run.source == "molecules"
    assert run.results == Path("results/mini")
    assert (run.device, run.threads, run.rank_by) == ("auto", 1, "fsd_full")
    assert list(run.models) == ["gfn1-xtb", "control-scaled_0.9", "control-zero"]
    assert run.reference.name == "gfn2-xtb"
    assert run.models["gfn1-xtb"].settings["batch_size"] == "auto"
    assert run.models["gfn1-xtb"].settings["timeout_s"] == 600
    assert run.models["gfn1-xtb"].settings["accuracy"] == 1.0
    assert run.settings["bonds_to_hydrogen"] is False
    assert [scan.rsplit("_")[0] for scan in run.scans] == sorted(SCANS)
    bonds = run.tasks["bonds"]
    assert {name: list(one.items) for name, one in bonds.shards.items()} == {"0000": run.scans}


COLLECT = [
    "collect-references", "--scans", "a", "--references", "b", "--out", "o", "--skipped", "s",
    "--skipped-bonds", "k", "--level-of-theory", "t",
]  # fmt: skip


def test_the_defaults_of_the_quality_gate_are_the_same_everywhere(base):
    """In a config, in the code and on the command line."""
    limits = asdict(QualityLimits())
    assert resolve(_config(), base).settings["quality"] == limits
    for options in ([], resolve(_config(), base).quality_options):
        parsed = vars(cli.parser().parse_args([*COLLECT, *options]))
        assert {key: parsed[key] for key in limits} == limits


def test_options_of_the_scan_set_reach_the_command(base):
    config = _set(bonds_to_hydrogen=True, quality={"failed_frames": 2, "energy_jump_ev": 0.1})
    run = resolve(config, base)
    assert "--bonds-to-hydrogen" in run.scan_options
    assert run.quality_options[:4] == ["--failed-frames", "2", "--energy-jump-ev", "0.1"]
    assert len(run.scans) == 4 + 3 + 2 + 2  # of the bonds to hydrogen, one of each class
    parsed = cli.parser().parse_args([*COLLECT, *run.quality_options])
    assert (parsed.failed_frames, parsed.energy_jump_ev) == (2, 0.1)
    parsed = cli.parser().parse_args(
        ["scan-molecules", "--molecules", "a", "--name", "n", "--out", "o", "--skipped", "s",
         *run.scan_options]
    )  # fmt: skip
    assert parsed.bonds_to_hydrogen
    assert parsed.bonds == ["*"]


def test_globs_choose_models_and_scans(base):
    run = resolve(_config(models=["gfn*", "emt"], controls=[], systems=["C-[NO]/*"]), base)
    assert list(run.models) == ["emt", "gfn1-xtb", "gfn2-xtb"]
    assert {scan.split("/")[0] for scan in run.scans} == {"C-N", "C-O"}
    one = resolve(_config(systems=[run.scans[0]]), base)
    assert one.scans == run.scans[:1]
    both = resolve(_config(models=["control-zero", "gfn1-xtb"], controls=["control-z*"]), base)
    assert sorted(both.models) == ["control-zero", "gfn1-xtb"]  # not twice


def test_molecules_of_dynamics_without_a_selected_scan_are_named(base, caplog):
    block = {
        "models": ["gfn1-xtb"],
        "temperatures_k": [500],
        "systems": ["ethanol", "methanethiol"],
    }
    run = resolve(_config(systems=["C-S/*"], dynamics=block), base)
    assert [one.items for one in run.tasks["dynamics"].shards.values()] == [("methanethiol",)]
    assert caplog.messages == [
        "config: `dynamics.systems`: without a selected scan, so without dynamics: ethanol"
    ]
    caplog.clear()
    resolve(_config(systems=["C-S/*"], dynamics=block | {"systems": ["*"]}), base)
    assert not caplog.messages


def test_dynamics_are_planned_by_molecule(base):
    block = {"models": ["gfn*"], "systems": ["*eth*"], "halved": ["ethanol"], "shard_size": 2}
    run = resolve(_config(models=["gfn*", "emt"], dynamics=block), base)
    assert run.models_of("dynamics") == ["gfn1-xtb", "gfn2-xtb"]
    jobs = run.tasks["dynamics"].shards
    shards = {name: list(shard.items) for name, shard in jobs.items()}
    assert shards == {
        "0000": ["ethanol", "methanethiol"],
        "0001": ["methylamine"],
        "half-0000": ["ethanol"],
    }
    parsed = cli.parser().parse_args(
        ["run", "dynamics", "--entry", "e", "--scan-set", "s", "--out", "o",
         *words(jobs["half-0000"].settings, "run")]
    )  # fmt: skip
    assert parsed.timestep_fs == 0.25
    assert parsed.temperatures_k == [300, 500, 1000]
    assert parsed.relax_fmax == 0.05
    assert resolve(_config(), base).models_of("dynamics") == []


def test_molecules_of_vibrations_without_a_selected_scan_are_named(base, caplog):
    block = {"models": ["gfn1-xtb"], "systems": ["ethanol", "methanethiol"]}
    run = resolve(_config(systems=["C-S/*"], vibrations=block), base)
    assert run.tasks["vibrations"].selected == ["methanethiol"]
    assert caplog.messages == [
        "config: `vibrations.systems`: without a selected scan, so without vibrations: ethanol"
    ]


def test_vibrations_are_planned_by_molecule(base):
    block = {"models": ["gfn*"], "systems": ["*ethan*"]}
    run = resolve(_config(models=["gfn1-xtb", "emt"], vibrations=block), base)
    assert run.models_of("vibrations") == [
        "gfn1-xtb"
    ]  # of the run's models; the reference is asked anyway
    assert "gfn2-xtb" not in run.models
    assert run.tasks["vibrations"].selected == ["ethanol", "methanethiol"]
    every = resolve(_config(vibrations={"models": ["*-xtb"]}), base)
    assert every.tasks["vibrations"].selected == ["ethanol", "methanethiol", "methylamine"]
    selected = resolve(_config(systems=["C-N/*"], vibrations={"models": ["*-xtb"]}), base)
    assert selected.tasks["vibrations"].selected == ["methylamine"]
    assert "vibrations" not in resolve(_config(), base).tasks
    assert "vibrations" not in resolve(_config(vibrations={"models": []}), base).tasks


def test_a_task_runs_on_what_is_selected_in_jobs_that_the_selection_does_not_move(base):
    block = {"models": ["gfn*"], "systems": ["*eth*"], "halved": ["ethanol"], "shard_size": 2}
    config = _config(models=["gfn*"], dynamics=block, shard_size=3)
    every = resolve(config, base).tasks
    some = resolve(config | {"systems": ["C-C/*", "C-S/*", "C-N/*"]}, base).tasks
    none = resolve(config | {"systems": ["C-S/*"]}, base).tasks
    assert [one.items for one in every["dynamics"].shards.values()] == [
        ("ethanol", "methanethiol"), ("methylamine",), ("ethanol",),
    ]  # fmt: skip
    assert some["dynamics"].shards == every["dynamics"].shards
    assert list(none["dynamics"].shards) == ["0000"]
    assert none["dynamics"].shards["0000"].items == ("methanethiol",)
    wider = none["dynamics"].shards_of("gfn1-xtb", selected=False)
    assert wider == every["dynamics"].shards
    bonds = none["bonds"]
    assert list(bonds.shards) == ["0001"]
    assert list(bonds.shards_of("gfn1-xtb", selected=False)) == ["0000", "0001"]
    (one,) = bonds.shards_of("control-zero", selected=False).values()
    assert list(one.items) == bonds.items == resolve(config, base).planned
    assert list(bonds.shards_of("control-zero")) == ["0000"]
    assert bonds.models == list(resolve(config, base).models)


def test_bsct_spice_is_planned_without_its_archive(base):
    config = _config(scan_set="bsct_spice", systems=["N-P/*"], shard_size=5)
    run = resolve(config, base)
    assert len(run.scans) == 14
    # cut in the whole set, not in what is selected of it
    assert [len(one.items) for one in run.tasks["bonds"].shards.values()] == [4, 5, 5]
    # controls are not worth a process each
    (one,) = run.tasks["bonds"].shards_of("control-zero").values()
    assert list(one.items) == run.scans
    assert run.archive == "https://example.org/a.tar.gz"
    assert run.reference is None
    (base / "local").mkdir()
    assert resolve(config | {"archive": "local"}, base).archive == "local"


@given(names=st.lists(st.integers(0, 10**6), unique=True, max_size=80), size=st.integers(1, 100))
def test_shards_are_a_partition_in_order(names, size):
    scans = sorted(f"C-C/{n}" for n in names)
    parts = split_shards(scans, size)
    assert [scan for part in parts.values() for scan in part] == scans
    assert list(parts) == [f"{k:04d}" for k in range(len(parts))] == sorted(parts)
    assert all(len(part) == size for part in list(parts.values())[:-1])
    assert all(1 <= len(part) <= size for part in parts.values())


@given(st.lists(st.text("abc-/", min_size=1, max_size=5), unique=True, min_size=1), st.data())
def test_a_name_selects_itself_and_the_star_everything(names, data):
    chosen = data.draw(st.lists(st.sampled_from(names), min_size=1))
    assert select(chosen, names, "here") == sorted(set(chosen))
    assert select(["*"], names, "here") == sorted(names)
    assert select([*chosen, "*"], reversed(names), "here") == sorted(names)


def test_the_shipped_configurations_resolve(repo):
    mini = resolve(read_yaml(repo / "config/config.yaml"), repo)
    assert len(mini.scans) >= 18
    assert mini.reference.settings["level_of_theory"] == "GFN2-xTB"
    bsct = resolve(read_yaml(repo / "config/bsct_spice.yaml"), repo)
    assert len(bsct.scans) == 485
    assert len(bsct.tasks["bonds"].shards) == 5
    study = resolve(read_yaml(repo / "config/study_bsct.yaml"), repo)
    assert study.scans == bsct.scans
    assert study.software == "venv"
    assert not {"wb97m-d3bj", "emt"} & set(study.models)


def test_hints():
    assert closest("modelz", ["models", "systems"]) == "did you mean 'models'?"
    assert closest("zzz", ["b", "a"]) == "known: a, b"


# --- the configuration ---------------------------------------------------------------------------

BAD_CONFIG = {
    "an unknown key": (
        _config(modelz=["a"]), "config.yaml", "unknown key 'modelz'", "did you mean 'models'?",
    ),
    "an unknown key of a scan set": (
        _set(refrence="x"), "`scan_sets.mini`", "unknown key 'refrence'",
        "did you mean 'reference'?",
    ),
    "an unknown key of the quality gate": (
        _set(quality={"jump": 1}), "`quality`", "unknown key 'jump'", "'wall_jump_ev'?",
    ),
    "molecules that are nothing": (_set(molecules=3), "`molecules` must be text or a list"),
    "a molecule without SMILES or file": (
        _set(molecules=[{"id": "a"}]), "exactly one of `smiles` or `file`",
    ),
    "an unknown key of a molecule": (
        _set(molecules=[{"smile": "CC"}]), "unknown key 'smile'", "did you mean 'smiles'?",
    ),
    "a SMILES that is none": (
        _set(molecules=[{"smiles": "CC("}]), "`scan_sets.mini`: `molecules[0]`", "cannot be read",
    ),
    "an unknown method to relax with": (_set(relax="gfn3"), "`scan_sets.mini.relax`", "gfn2-xtb"),
    "a control as reference": (
        _set(reference="control-zero"), "`scan_sets.mini.reference`", "is a control",
    ),
    "dynamics without models": (_config(dynamics={}), "`dynamics`", "'models' is missing"),
    "dynamics of an unknown model": (
        _config(dynamics={"models": ["gfn3"]}), "`dynamics.models`", "matches nothing",
    ),
    "dynamics of a control": (
        _config(dynamics={"models": ["control-zero"]}), "`dynamics.models`", "no dynamics",
    ),
    "dynamics of an unknown molecule": (
        _config(dynamics={"models": ["gfn1-xtb"], "systems": ["water"]}), "`dynamics.systems`",
    ),
    "a time step of zero": (
        _config(dynamics={"models": ["gfn1-xtb"], "timestep_fs": 0}), "timestep_fs` is 0",
        "in fs",
    ),
    "a negative temperature": (
        _config(dynamics={"models": ["gfn1-xtb"], "temperatures_k": [-5]}),
        "`dynamics.temperatures_k.0` is -5", "in K",
    ),
    "an absurd duration": (
        _config(dynamics={"models": ["gfn1-xtb"], "duration_ps": 1e9}), "`dynamics.duration_ps`",
        "in ps",
    ),
    "a missing file of molecules for dynamics": (
        _config(dynamics={"models": ["gfn1-xtb"], "systems_file": "x.txt"}),
        "x.txt: cannot be read",
    ),
    "vibrations without models": (_config(vibrations={}), "`vibrations`", "'models' is missing"),
    "vibrations of an unknown model": (
        _config(vibrations={"models": ["gfn3"]}), "`vibrations.models`", "matches nothing",
    ),
    "vibrations of a control": (
        _config(vibrations={"models": ["control-zero"]}), "`vibrations.models`", "no vibrations",
    ),
    "vibrations of an unknown molecule": (
        _config(vibrations={"models": ["gfn1-xtb"], "systems": ["water"]}),
        "`vibrations.systems`", "matches nothing",
    ),
    "the energy ceiling by its old name": (
        _config(worst={"energy_ceiling_ev": 5}), "`worst.energy_ceiling_ev` is called",
        "`bonds.energy_ceiling_ev`", "rename `worst`",
    ),
    "models of bonds": (
        _config(bonds={"models": ["gfn1-xtb"]}), "`bonds`: unknown key 'models'",
    ),
    "an energy ceiling of zero": (
        _config(bonds={"energy_ceiling_ev": 0}), "`bonds.energy_ceiling_ev` is 0", "in eV",
    ),
    "a molecule with half the time step that has none": (
        _config(dynamics={"models": ["gfn1-xtb"], "halved": ["water"]}), "`dynamics.halved`",
        "'water' matches nothing",
    ),
    "vibrations with a key of dynamics": (
        _config(vibrations={"models": ["gfn1-xtb"], "temperatures_k": [300]}), "`vibrations`",
        "'temperatures_k'",
    ),
    "vibrations without a method to compare with": (
        _config(scan_set="bsct_spice", vibrations={"models": ["gfn1-xtb"]}), "`vibrations`",
        "`source: molecules`",
    ),
    "a missing key": (
        {k: v for k, v in _config().items() if k != "models"}, "'models' is missing",
    ),
    "a text for a list": (
        _config(models="gfn1-xtb"), "`models` must be a list", "`models: [gfn1-xtb]`",
    ),
    "a text for a number": (_config(shard_size="ten"), "`shard_size`", "a whole number", "'ten'"),
    "a bool for a number": (_config(threads=True), "`threads`", "a whole number"),
    "too small a number": (_config(shard_size=0), "`shard_size` is 0", "at least 1"),
    "a number for a bool": (_set(bonds_to_hydrogen=1), "`bonds_to_hydrogen`", "true or false"),
    "an unknown device": (_config(device="gpu"), "`device`", "gpu"),
    "an unknown scan set": (_config(scan_set="minni"), "`scan_set`", "did you mean 'mini'?"),
    "an unknown source": (_set(source="molecule"), "`scan_sets.mini`", "did you mean 'molecules'?"),
    "a source without its keys": (
        _config(scan_sets={"mini": {"source": "molecules"}}), "`scan_sets.mini`",
        "'molecules' is missing",
    ),
    "a scan set name unfit for a path": (
        _config(scan_set="../up", scan_sets={"../up": CONFIG["scan_sets"]["mini"]}),
        "'../up' is unfit for a path",
    ),
    "no models": (_config(models=[]), "`models` is empty", "give at least one"),
    "models that are not there": (
        _config(models=["gfn3-xtb"]), "`models`", "'gfn3-xtb' matches nothing",
        "did you mean 'gfn2-xtb'?",
    ),
    "a glob that matches nothing": (_config(models=["mace*"]), "`models`", "matches nothing"),
    "no systems": (_config(systems=[]), "`systems` is empty"),
    "systems that are not there": (_config(systems=["C-F/*"]), "`systems`", "matches nothing"),
    "controls that are no controls": (_config(controls=["gfn*"]), "`controls`", "matches nothing"),
    "a reference that is not there": (
        _set(reference="gfn2"), "`scan_sets.mini.reference`", "did you mean 'gfn2-xtb'?",
    ),
    "no molecules": (_set(molecules="none.xyz"), "none.xyz", "check `molecules`"),
    "no registry": (_config(models_file="none.yaml"), "none.yaml", "check the path"),
    "no archive": (
        _config(scan_set="bsct_spice", archive="none.tar.gz"), "none.tar.gz", "79d915b0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_CONFIG)
def test_a_bad_configuration(base, case):
    config, *said = BAD_CONFIG[case]
    _refused(base, config, *said)


def test_the_entry_threshold_reaches_the_report_and_is_a_share(base):
    assert resolve(_config(), base).report.entry_coverage == 0.9
    run = resolve(_config(entry_coverage=1, rank_by="force_mae"), base)
    assert (run.report.rank_by, run.report.entry_coverage) == ("force_mae", 1)
    _refused(base, _config(entry_coverage=90), "`entry_coverage`", "at most 1")


def test_a_score_that_cannot_rank(base):
    _refused(base, _config(rank_by="fsd_ful"), "`rank_by`", "did you mean 'fsd_full'?")


@pytest.mark.parametrize("config", [[], "text", None, 3])
def test_a_configuration_that_is_no_mapping(base, config):
    _refused(base, config, "config.yaml", "a block of keys")


# --- molecules -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", ""),
        ("not molecules\n", "line 1: 'not molecules' stands where the number of atoms"),
        ("3\n\nO 0 0 0\nH 0 0 1\n", "line 5: 0 columns instead of 4"),
        ("2\nid=a\nO 0 0 0\nH 0 0 1\n2\nid=a\nO 0 0 0\nH 0 0 1\n", "occurs twice"),
    ],
)
def test_unreadable_molecules(base, content, said):
    (base / "bad.xyz").write_text(content)
    _refused(base, _set(molecules="bad.xyz"), "bad.xyz", said)


def test_molecules_without_a_bond_to_scan(base):
    ase.io.write(base / "water.xyz", molecule("H2O"))
    _refused(base, _set(molecules="water.xyz"), "no bond can be scanned", "water-0")


# --- the registry --------------------------------------------------------------------------------

ZERO = "0" * 64
BAD_ENTRY = {
    "no family": ({"method": "GFN1-xTB"}, "unknown family None"),
    "an unknown family": ({"family": "maze"}, "unknown family 'maze'", "did you mean 'mace'?"),
    "no block": ("tblite", "must be a block of keys"),
    "an unknown key": (
        {"family": "tblite", "method": "GFN1-xTB", "acuracy": 1},
        "unknown key 'acuracy'",
        "did you mean 'accuracy'?",
    ),
    "a key of another family": (
        {"family": "tblite", "method": "GFN1-xTB", "weights": "a"},
        "unknown key 'weights'",
    ),
    "a missing key": ({"family": "tblite"}, "'method' is missing"),
    "an unknown method": (
        {"family": "tblite", "method": "GFN3-xTB"},
        "`method`",
        "'GFN3-xTB' is not known",
        "did you mean 'GFN",
    ),
    "a wrong type": (
        {"family": "tblite", "method": "GFN1-xTB", "accuracy": "high"},
        "`accuracy`",
        "number",
    ),
    "a batch size of zero": (
        {"family": "tblite", "method": "GFN1-xTB", "batch_size": 0},
        "`batch_size`",
    ),
    "another word for auto": (
        {"family": "tblite", "method": "GFN1-xTB", "batch_size": "best"},
        "`batch_size`",
        "auto",
    ),
    "a timeout of zero": (
        {"family": "tblite", "method": "GFN1-xTB", "timeout_s": 0},
        "`timeout_s`",
    ),
    "an import path without a colon": (
        {"family": "ase", "calculator": "ase.calculators.emt.EMT"},
        "`calculator`",
        "ase.calculators.emt.EMT",
    ),
    "a module that is not there": (
        {"family": "ase", "calculator": "ase.calculators.no:EMT"},
        "does not import",
        "No module named 'ase.calculators.no'",
        "correct the path",
    ),
    "a class that is not there": (
        {"family": "ase", "calculator": "ase.calculators.emt:EMTT"},
        "does not import",
        "EMTT",
    ),
    "no weights": ({"family": "mace"}, "'weights' is missing"),
    "weights that are text": (
        {"family": "mace", "weights": "molecules.xyz"},
        "molecules.xyz is text, no weights",
        "give the .model file",
    ),
    "an address that is none": (
        {"family": "mace", "weights": "https:///a.model"},
        "names no host",
    ),
    "no symbols of elements": (
        {"family": "tblite", "method": "GFN1-xTB", "elements": ["carbon"]},
        "`elements",
    ),
    "another word on dispersion": (
        {"family": "mace", "weights": "https://example.org/a", "training_dispersion": "yes"},
        "`training_dispersion`",
        "'yes' is not known",
    ),
    "weights that are not there": (
        {"family": "mace", "weights": "no/such.model"},
        "no weight file at",
        "no/such.model",
        "correct `weights`",
    ),
    "weights with another hash": (
        {"family": "mace", "weights": "molecules.xyz", "sha256": ZERO},
        "has sha256",
        f"the entry says {ZERO}",
        "correct `sha256`",
    ),
    "a hash that is none": (
        {"family": "mace", "weights": "molecules.xyz", "sha256": "abc"},
        "`sha256`",
    ),
    "an unknown control": (
        {"family": "control", "control": "nois", "dose": 1},
        "'nois' is not known",
        "did you mean 'noise'?",
    ),
    "a control without its dose": ({"family": "control", "control": "noise"}, "'dose' is missing"),
    "a dose too many": (
        {"family": "control", "control": "zero", "dose": 1},
        "has no `dose`",
        "remove it",
    ),
}


@pytest.mark.parametrize("case", BAD_ENTRY)
def test_a_bad_entry(base, case):
    entry, *said = BAD_ENTRY[case]
    _write_models(base, MODELS | {"mine": entry})
    _refused(base, _config(models=["mine"]), str(base / "models.yaml"), "model 'mine'", *said)


def test_an_unknown_control_without_a_dose(base):
    _write_models(base, MODELS | {"mine": {"family": "control", "control": "refrence"}})
    _refused(base, _config(models=["mine"]), "model 'mine'", "did you mean 'reference'?")


@pytest.mark.parametrize("name", ["a/b", "a b", ".a", "-a", "", "a:b", "é", "a{b}"])
def test_a_name_unfit_for_a_path(base, name):
    _write_models(base, MODELS | {name: MODELS["emt"]})
    _refused(base, _config(), "models.yaml", f"model {name!r}", "unfit for a path")


def test_a_duplicate_model_name(base):
    with (base / "models.yaml").open("a") as file:
        file.write("emt: {family: tblite, method: GFN1-xTB}\n")
    line = len((base / "models.yaml").read_text().splitlines())
    _refused(base, _config(), "models.yaml", f"line {line}", "'emt' occurs twice", "rename")


@pytest.mark.parametrize("text", ["", "[]", "a: {b", "- a\n- b", "\ttab: 1"])
def test_a_registry_that_is_none(base, text):
    (base / "models.yaml").write_text(text)
    _refused(base, _config(), "models.yaml")


def test_weights_are_found_and_hashed(base):
    content = b"\x80 the rest is looked at when it is loaded"
    (base / "my.model").write_bytes(content)
    _write_models(base, MODELS | {"mine": {"family": "mace", "weights": "my.model", "trust": True}})
    run = resolve(_config(models=["mine"]), base)
    settings = run.models["mine"].settings
    assert settings["sha256"] == hashlib.sha256(content).hexdigest()
    assert settings["weights"] == str((base / "my.model").resolve())
    deciding = run.models["mine"].deciding()
    assert "weights" not in deciding["settings"]  # where they lie decides nothing
    assert deciding["settings"]["sha256"] == settings["sha256"]
    # a job gets the two apart, and refuses other weights
    write_json(base / "entry.json", deciding)
    digest = run.models["mine"].sha256
    entry = ModelEntry.from_file(base / "entry.json", base / "my.model", digest)
    assert entry.deciding() == deciding
    assert entry.settings["weights"] == settings["weights"]
    for weights in (base / "models.yaml", base / "none"):
        with pytest.raises(UserError, match=str(weights)):
            ModelEntry.from_file(base / "entry.json", weights, digest)


def test_the_shipped_registry(repo):
    registry = read_models(repo / "config/models.yaml")
    assert {"gfn1-xtb", "gfn2-xtb", "control-zero", "control-reference"} <= set(registry)


def test_public_models_say_what_they_are(repo):
    """Licence, level of theory, elements, dispersion and citation."""
    registry = read_models(repo / "config/models.yaml")
    public = {n: e.settings for n, e in registry.items() if is_address(e.settings.get("weights"))}
    assert {
        "mace-off23-small", "mace-off23-medium", "mace-off23-large", "mace-off24-medium",
        "mace-mp-0-small", "mace-mp-0-medium", "mace-mp-0-large", "mace-omol-0",
    } <= set(public)  # fmt: skip
    said = ("license", "level_of_theory", "elements", "training_dispersion", "citation")
    for name, settings in public.items():
        assert all(settings.get(key) for key in said), name
        assert set(settings["elements"]) <= set(chemical_symbols[1:]), name
    networks = [(settings["weights"], settings.get("head")) for settings in public.values()]
    assert len(set(networks)) == len(networks)


def test_a_merged_entry_may_replace_keys_and_not_repeat_its_own(base):
    text = "a: &a {family: tblite, method: GFN1-xTB}\nb:\n  <<: *a\n  method: GFN2-xTB\n"
    (base / "models.yaml").write_text(text)
    assert read_models(base / "models.yaml")["b"].settings["method"] == "GFN2-xTB"
    (base / "models.yaml").write_text(text + "  method: IPEA1-xTB\n")
    with pytest.raises(UserError, match="line 5: the name 'method' occurs twice"):
        read_models(base / "models.yaml")


def test_the_command_refuses_an_unknown_model(base, capfd, monkeypatch):
    monkeypatch.chdir(base)
    code = _main(["entry", "emtt", "--models-file", "models.yaml", "--out", "out.json"])
    assert code.returncode == 2
    assert code.stderr.splitlines() == [
        "pesbench: error: models.yaml: no model 'emtt'; did you mean 'emt'?"
    ]
    assert not (base / "out.json").exists()


def _main(arguments):
    return subprocess.run(
        [sys.executable, "-m", "pesbench", *arguments], capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip


# --- through Snakemake ---------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path, repo):
    """A folder that looks like the repository, with a configuration of its own."""
    for name in ("Snakefile", "workflow", "resources", "envs"):
        (tmp_path / name).symlink_to(repo / name)
    shutil.copytree(repo / "config", tmp_path / "config")
    return tmp_path


def _snakemake(checkout, *arguments):
    program = Path(sys.executable).parent / "snakemake"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    return subprocess.run(
        [program, "-n", "--cores", "1", *arguments], cwd=checkout, capture_output=True, text=True,
        env=environment, timeout=300, check=False,
    )  # fmt: skip


def _edit_models(checkout, text):
    with (checkout / "config/models.yaml").open("a") as file:
        file.write(text)


def _unreadable_molecules(checkout):
    (checkout / "bad.xyz").write_text("no molecules")
    path = checkout / "config/config.yaml"
    path.write_text(path.read_text().replace("resources/mini/molecules.extxyz", "bad.xyz"))


BAD_INPUT = {
    "an unknown key": (None, ["--config", "modelz=[a]"], "'modelz'; did you mean 'models'?"),
    "an empty selection": (None, ["--config", "systems=[C-F/*]"], "'C-F/*' matches nothing"),
    "no archive": (
        None,
        ["--configfile", "config/bsct_spice.yaml", "--config", "archive=none.tar.gz"],
        "none.tar.gz",
    ),
    "an archive behind a password": (
        None,
        [
            "--configfile",
            "config/bsct_spice.yaml",
            "--config",
            "archive=https://me:secret@example.org/a.tar.gz",
        ],
        "https://***@example.org/a.tar.gz holds a user name or password",
    ),
    "missing weights": (
        lambda c: _edit_models(c, "mine: {family: mace, weights: none.model}\n"),
        ["--config", "models=[mine]"],
        "model 'mine': no weight file at",
    ),
    "weights that run code": (
        lambda c: _edit_models(
            c, "mine: {family: mace, weights: resources/weights/mace-mini.model}\n"
        ),
        ["--config", "models=[mine]"],
        "nothing says that you trust resources/weights/mace-mini.model; if you do, write `sha256: ",
    ),
    "a duplicate name": (
        lambda c: _edit_models(c, "emt: {family: tblite, method: GFN1-xTB}\n"),
        [],
        "config/models.yaml: line",
    ),
    "unreadable molecules": (_unreadable_molecules, [], "bad.xyz: line 1: "),
    "a key twice in a config of one's own": (
        lambda c: (c / "own.yaml").write_text("shard_size: 3\nthreads: 1\nshard_size: 4\n"),
        ["--configfile", "own.yaml"],
        "own.yaml: line 3: the name 'shard_size' occurs twice",
    ),
    "a text for a list on the command line": (
        None,
        ["--config", "models=gfn1-xtb"],
        "write 'models=[gfn1-xtb]'",
    ),
}


def _case(checkout, case):
    """The words of a case, once what it needs is there, and what is said."""
    edit, arguments, said = BAD_INPUT[case]
    if edit:
        edit(checkout)
    return arguments, said


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_before_any_work(checkout, case, monkeypatch):
    arguments, said = _case(checkout, case)
    before = {p.name for p in checkout.iterdir()}
    monkeypatch.chdir(checkout)
    message = refusal(checkout, *arguments)
    assert said in message
    assert "\n" not in message
    assert {p.name for p in checkout.iterdir()} == before


# by the command line, by a file, by both
@pytest.mark.parametrize(
    "case", ["an unknown key", "a key twice in a config of one's own", "no archive"]
)
def test_bad_input_through_snakemake_is_one_line(checkout, case):
    arguments, said = _case(checkout, case)
    before = {p.name for p in checkout.iterdir()}
    done = _snakemake(checkout, *arguments)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("pesbench: error: ")
    assert said in lines[0]
    assert "Traceback" not in done.stdout + done.stderr
    assert {p.name for p in checkout.iterdir()} - before <= {".snakemake"}


def test_a_bad_configuration_is_named_by_its_file(checkout, monkeypatch):
    with (checkout / "config/config.yaml").open("a") as file:
        file.write("modelz: [a]\n")
    monkeypatch.chdir(checkout)
    assert "config/config.yaml" in refusal(checkout).replace(str(checkout), "")


def test_selections_through_snakemake(checkout):
    done = _snakemake(
        checkout, "--config", "models=[gfn1-xtb]", "controls=[]", "systems=[C-N/*,N-O/*]",
        "shard_size=4", "--printshellcmds",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    commands = [line.removeprefix("Shell command:").strip() for line in text.splitlines()
                if "-m pesbench run bonds" in line
                and "reference.json" not in line]  # fmt: skip
    assert commands
    assert all("gfn1-xtb" in line for line in commands)
    asked = [word for line in commands for word in line.split() if "/" in word and "_" in word]
    scans = [word for word in asked if word.startswith(("C-", "N-", "O-"))]
    assert scans
    assert {scan.split("/")[0] for scan in scans} == {"C-N", "N-O"}
    assert len(scans) == len(set(scans))
    # one command a shard, with an absolute interpreter, to be copied and run by hand
    assert all(line.startswith(str(Path(sys.executable).parent)) for line in commands)
    assert not (checkout / "results").exists()


def test_perturbed_models_alone_are_associated_and_have_no_worst_scans(checkout):
    models = ["gfn2-xtb", "gfn2-curl_0.0*"]
    content = {"models": models, "controls": ["control-zero"], "dynamics": {"models": models}}
    (checkout / "only.yaml").write_text(yaml.safe_dump(content))
    done = _snakemake(checkout, "--configfile", "only.yaml", "--printshellcmds")
    assert done.returncode == 0, done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    for name in ("association", "dose"):
        assert [line for line in lines if f"-m pesbench compare {name} " in line]
    assert not [line for line in lines if "-m pesbench model-section" in line]
    (board,) = (line for line in lines if "-m pesbench leaderboard" in line)
    assert "--sections bonds dynamics association dose " in board
    done = _snakemake(
        checkout, "results/mini/gfn2-curl_0.01/sections/bonds", "--configfile", "only.yaml"
    )
    assert done.returncode == 0, done.stderr
    assert "rule model_section" in done.stdout + done.stderr


def test_a_config_ranks_by_what_the_tables_can_rank_by():
    from pesbench.tasks.bonds.task import TASK

    (rank_by,) = [one for one in declared(config_keys()) if one.name == "rank_by"]
    assert sorted(rank_by.about.choices) == sorted(
        metric.name for metric in TASK.metrics if metric.ranks
    )
    assert rank_by.default == "fsd_full"


def test_scans_in_the_loss_of_a_shipped_potential_are_no_test_of_it(repo):
    entries = config.read_models(repo / "config/models.yaml")
    told = {}
    for name, entry in entries.items():
        if entry.family != "testbed":
            continue
        card = json.loads((repo / entry.settings["weights"]).with_suffix(".json").read_text())
        in_loss = card["fsd_scans"] if card["training"]["fsd_weight"] else []
        assert entry.settings.get("seen_scans", []) == in_loss, name
        told[name] = bool(in_loss)
    assert any(told.values())
    assert not all(told.values())


@pytest.mark.parametrize(
    ("target", "job", "count"),
    [("weights_mace", "train_mace", 2), ("weights_testbed", "train", 25)],
)
def test_weights_can_be_trained_from_nothing(target, job, count, checkout, repo):
    """`make weights-...` needs no weights; its command is taken from the Makefile."""
    (checkout / "resources").unlink()  # a link to the repository's
    ignored = shutil.ignore_patterns("weights", "cache")
    shutil.copytree(repo / "resources", checkout / "resources", ignore=ignored)
    (line,) = [
        line
        for line in (repo / "Makefile").read_text().splitlines()
        if f"/snakemake {target}" in line
    ]
    arguments = line.replace("$(CORES)", "2").split()[1:]
    done = _snakemake(checkout, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"^{job} +{count}$", done.stdout + done.stderr, flags=re.MULTILINE)
