"""Odd values in configs, in the registry and on the command line: refused in one line, or exact."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from ase.build import molecule
from ase.io import write

from examples import rule_files
from pesbench.cli import main
from pesbench.commands.plan.prediction import Part, Prediction
from pesbench.commands.plan.tables import wall_hours
from pesbench.core.errors import UserError
from pesbench.core.found import tasks
from pesbench.core.names import IN_RESULTS, LONGEST_MODEL, why_unfit
from pesbench.core.settings import check_limits, exactly, keys, words
from pesbench.files.strict_yaml import dump_yaml, parse_yaml, read_yaml
from pesbench.files.validation import validate
from pesbench.models.models_file import read_models
from pesbench.orchestration.cluster import read_cluster
from pesbench.orchestration.config import Run, resolve
from pesbench.orchestration.config_files import Config, merged, read_arguments, read_config

REPO = Path(__file__).parents[2]
MODELS = """\
gfn1-xtb: {family: tblite, method: GFN1-xTB, level_of_theory: GFN1-xTB}
gfn2-xtb: {family: tblite, method: GFN2-xTB, level_of_theory: GFN2-xTB}
ipea1-xtb: {family: tblite, method: IPEA1-xTB, level_of_theory: IPEA1-xTB}
control-zero: {family: control, control: zero}
"""
CONFIG = """\
scan_set: own
scan_sets:
  own: {source: molecules, molecules: molecules.xyz, reference: gfn2-xtb}
models_file: models.yaml
models: [gfn1-xtb]
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a registry, molecules and a default config."""
    atoms = molecule("CH3CH2OH")
    atoms.info["id"] = "ethanol"
    write(tmp_path / "molecules.xyz", atoms, format="extxyz")
    (tmp_path / "models.yaml").write_text(MODELS)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text(
        CONFIG + "dynamics: {models: [gfn1-xtb], temperatures_k: [500]}\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _own(here: Path, text: str) -> Path:
    (here / "own.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return Path("own.yaml")


def _resolved(here: Path, text: str = "", *arguments: str) -> Run:
    files = [_own(here, text)] if text else []
    return resolve(read_config(files, arguments), here)


def _said(here: Path, text: str | bytes, *arguments: str) -> str:
    """The one line that a config is refused with."""
    files = [_own(here, text)] if text else []
    with pytest.raises(UserError) as error:
        resolve(read_config(files, arguments), here)
    assert "\n" not in str(error.value)
    return str(error.value)


# --- what YAML makes of a text -------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["017", "0o17", "0x1F", "1_000", "1:30", "yes", "NO", "on", "Off", "y", "2024-01-31", "1e",
     "E5", "1E8a", "00", "+-1", "0b11", "=", "C#N", "O=C", "1.2.3", "infinity", "nan"],
)  # fmt: skip
def test_text_stays_text(text):
    assert parse_yaml(f"a: {text}") == {"a": text}
    assert parse_yaml(f"[{text}]") == [text]


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e6", 1e6), ("-3", -3), ("0", 0), ("1.0e-9", 1e-9), (".5", 0.5), ("3.", 3.0), ("true", True),
     ("FALSE", False), ("~", None), ("null", None), ("", None), ("0.123456789", 0.123456789)],
)  # fmt: skip
def test_numbers_and_truth_values(text, value):
    found = parse_yaml(f"a: {text}")["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "value", ["017", "1e8", "1E8", "no", "true", "~", "", "1:30", "2024-01-31", "a: b", "é", 0.1]
)  # fmt: skip
def test_what_is_written_is_read_back_by_both_readers(value):
    text = dump_yaml({"systems": [value]})
    assert parse_yaml(text) == {"systems": [value]}
    assert yaml.safe_load(text) == {"systems": [value]}  # as Snakemake reads it


DEEP = "a: " + "[" * 1000 + "]" * 1000
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
BAD_YAML = {
    "a key twice": ("a: 1\nb: 2\na: 3\n", "line 3: the name 'a' occurs twice"),
    "a key twice inside": ("a:\n  - {b: 1, b: 1}\n", "line 2: the name 'b' occurs twice"),
    "keys that are quoted differently": ("a: 1\n'a': 2\n", "occurs twice"),
    "a number as a key": ("17: a\n", "the name '17' is no text; put it in quotes"),
    "a truth value as a key": ("true: a\n", "is no text"),
    "a list as a key": ("? [a]\n: b\n", "is no text"),
    "nothing as a key": ("~: a\n", "is no text"),
    "a thousand levels": (DEEP, "inside each other"),
    "a hundred levels of blocks": (
        "".join(" " * k + "a:\n" for k in range(100)), "inside each other",
    ),
    "an alias bomb": (BOMB, "values with its aliases"),
    "an alias of itself": ("a: &a [*a]\n", "inside of what it stands for"),
    "a merge with itself": ("a: &a\n  <<: *a\n", "inside of what it stands for"),
    "a merge with a number": ("a:\n  <<: 3\n", "not valid YAML"),
    "bytes": ("a: !!binary aGVsbG8=\n", "'!!binary' is not known"),
    "a set": ("a: !!set {b, c}\n", "is not known"),
    "an object of Python": ("a: !!python/object/apply:os.system [ls]\n", "is not known"),
    "a tag of one's own": ("a: !mine b\n", "'!mine' is not known"),
    "a forced number": ("a: !!int x\n", "'x' is no int"),
    "a forced octal": ("a: !!int 017\n", "'017' is no int"),
    "a forced truth value": ("a: !!bool yes\n", "write true or false"),
    "a number of 5000 digits": ("a: " + "9" * 5000, "5000 digits"),
    "a NUL": ('a: "b\\0c"\n', "cannot be printed"),
    "an escape sequence": ('a: "\\e[31m"\n', "cannot be printed"),
    "half a surrogate": ('a: "\\ud800"\n', "cannot be printed"),
    "a tab": ("a:\n\t- b\n", "not valid YAML"),
    "two documents": ("a: 1\n---\nb: 2\n", "not valid YAML"),
    "an anchor that is not there": ("a: *b\n", "not valid YAML"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_YAML)
def test_yaml_that_is_refused(tmp_path, case):
    text, said = BAD_YAML[case]
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        read_yaml(tmp_path / "a.yaml")
    assert str(error.value).startswith(f"{tmp_path / 'a.yaml'}: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_merge_keys_are_replaced_by_a_blocks_own_wherever_it_stands():
    text = "z: &z {a: 1, b: 1}\ny: &y {<<: *z, b: 2}\nx: {<<: [*y, *z], c: 3}\nw: {<<: *y, a: 0}\n"
    found = parse_yaml(text)
    assert found["y"] == {"a": 1, "b": 2}
    assert found["x"] == {"a": 1, "b": 2, "c": 3}
    assert found["w"] == {"a": 0, "b": 2}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"models: [caf\xe9]\n", "line 1: no UTF-8; save the file as UTF-8"),
        (b"a: 1\nmodels: [\xff\xfe]\n", "line 2: no UTF-8"),
        (b"\n", "must be a block of keys"),
        (b"# nothing\n", "must be a block of keys"),
        (b"- a\n", "must be a block of keys"),
        (b"just text\n", "must be a block of keys"),
        ("a: b".encode("utf-16"), "no UTF-8"),
        (b"\x00\x01", "not valid YAML"),
        (b"\xef\xbb\xbf", "must be a block of keys"),
    ],
)
def test_a_file_that_is_no_config(here, content, said):
    assert said in _said(here, content)
    (here / "models.yaml").write_bytes(content)
    with pytest.raises(UserError, match=r"models\.yaml"):
        read_models(here / "models.yaml")
    if content not in (b"\n", b"# nothing\n", b"\xef\xbb\xbf"):  # slurm/site.yaml may say nothing
        with pytest.raises(UserError, match=r"models\.yaml"):
            read_cluster({}, here / "models.yaml")


def test_a_byte_order_mark_is_no_part_of_a_config(here):
    assert list(_resolved(here, "\ufeffcontrols: []\nmodels: [gfn1-xtb]\n").models) == ["gfn1-xtb"]


# --- values --------------------------------------------------------------------------------------

BAD_VALUES = {
    "dynamics: {models: [gfn1-xtb], relax_steps: 1e6}": "not 1000000.0; write 1000000",
    "dynamics: {models: [gfn1-xtb], relax_steps: 1.5}": "a whole number, not 1.5",
    "dynamics: {models: [gfn1-xtb], relax_steps: 10000000}": "at most 1000000",
    "dynamics: {models: [gfn1-xtb], store_every: 0}": "at least 1",
    "dynamics: {models: [gfn1-xtb], duration_ps: .inf}": "give a finite number",
    "dynamics: {models: [gfn1-xtb], timestep_fs: .nan}": "give a finite number",
    "dynamics: {models: [gfn1-xtb], timestep_fs: 1.0e-320}": "in fs",
    "dynamics: {models: [gfn1-xtb], duration_ps: 100000, timestep_fs: 0.0001}": "steps",
    "dynamics: {models: [gfn1-xtb], temperatures_k: [1.0e+300]}": "at most 10000 (Nominal",
    "dynamics: {models: [gfn1-xtb], temperatures_k: [500, 500.0]}": "twice",
    "dynamics: {models: [gfn1-xtb], temperatures_k: 500}": "write `temperatures_k: [500]`",
    "dynamics: {models: gfn1-xtb}": "write `models: [gfn1-xtb]`",
    "dynamics:": "must be a block of keys, not None",
    "shard_size: 017": "a whole number, not '017'",
    "shard_size: 1_000": "a whole number, not '1_000'",
    "shard_size: 99999999999999999999": "at most 1000000",
    "threads: 1.0e+3": "write 1000",
    "strict: yes": "true or false, not 'yes'",
    "strict: on": "true or false",
    "results: 2024": "must be text, not 2024; put it in quotes",
    "results: ''": "is empty; give a text, or leave the key out",
    "results: a{b}": "brace",
    f"results: {'a' * 5000}": "has 5000 characters; give at most 1000",
    "models: [2]": "must be text, not 2",
    "systems: {a: b}": "must be a list",
    "models: [[gfn1-xtb]]": "must be text",
    "cluster: {cpu_hours: 0}": "at least",
    "scan_set: reference": "no set 'reference'",
    "scan_sets: {own: {quality: {energy_jump_ev: .nan}}}": "give a finite number",
    "scan_sets: {Own: {source: molecules}}": "differ in upper and lower case",
}


@pytest.mark.parametrize("text", BAD_VALUES)
def test_values_that_are_refused(here, text):
    key = text.partition(":")[0]
    said = _said(here, text)
    assert BAD_VALUES[text] in said
    assert said.startswith("own.yaml: ")
    assert key in said


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("models=gfn1-xtb", "--config: `models` must be a list, not 'gfn1-xtb'; "
         "write 'models=[gfn1-xtb]'"),
        ("modelz=[a]", "--config: unknown key 'modelz'"),
        ("shard_size=ten", "--config: `shard_size` must be a whole number"),
        ("shard_size=1e3", "write 1000"),
        ("results=2024", "write results=\"'2024'\""),
        ("strict=perhaps", "true or false"),
        ("dynamics={models: [gfn1-xtb], models: [gfn2-xtb]}", "occurs twice"),
        ("dynamics={models: [gfn1-xtb], duration_ps: nan}", "must be a number, not 'nan'"),
        ("dynamics={models: [gfn1-xtb], duration_ps: .nan}", "give a finite number"),
        ("models", "is not of the form KEY=VALUE"),
        ("=a", "is not of the form KEY=VALUE"),
        ("models=[gfn1-xtb", "must be a list, not '[gfn1-xtb'"),
        ("models=", "must be a list, not None"),
        ("models=" + "9a" * 2000, "has 4000 characters"),
        ("models=" + "[" * 2000 + "]" * 2000, "inside each other"),
    ],
)  # fmt: skip
def test_what_the_command_line_says_is_named_as_such(here, argument, said):
    message = _said(here, "", argument)
    assert message.startswith("--config: ")
    assert said in message


def test_an_argument_is_given_once():
    with pytest.raises(UserError, match="`models` is given twice"):
        read_arguments(["models=[a]", "models=[b]"])


def test_arguments_are_typed_at_any_depth():
    words = ["dynamics={models: [a], duration_ps: 1, temperatures_k: [3e2]}", "archive=a=b.tar"]
    assert read_arguments(words) == {
        "dynamics": {"models": ["a"], "duration_ps": 1, "temperatures_k": [300.0]},
        "archive": "a=b.tar",
    }


@pytest.mark.parametrize("value", [0.123456789, 1 / 3, 0.1 + 0.2, 1e-4, 1234.56789, 0.5])
def test_a_number_reaches_the_command_as_it_was_written(here, value):
    block = {"models": ["gfn1-xtb"], "timestep_fs": value if value <= 10 else 1.0,
             "temperatures_k": [max(value, 1.0)]}  # fmt: skip
    run = _resolved(here, dump_yaml({"dynamics": block}))
    options = words(run.tasks["dynamics"].shards["0000"].settings, "run")
    assert float(options[options.index("--timestep-fs") + 1]) == block["timestep_fs"]
    assert float(options[options.index("--temperatures-k") + 1]) == block["temperatures_k"][0]
    assert float(exactly(value)) == value
    assert exactly(300.0) == "300"  # as ever: what was made before is not made again


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["reference", "Reference", "sections", "LOGS", "benchmarks", "relax", "leaderboard.csv",
     "mine.h5", "models.json", "a.PNG", "a" * 300, "-a", ".a", "..", "a/b", "a b", "{model}", "é",
     "", "e\u0301", "a\n", "a.", "ﬁ", "¹"],
)  # fmt: skip
def test_names_that_no_model_can_have(here, name):
    assert why_unfit(name)
    (here / "models.yaml").write_text(
        MODELS + json.dumps(name) + ": {family: tblite, method: GFN1-xTB}\n"
    )
    with pytest.raises(UserError, match="the name "):
        read_models(here / "models.yaml")


@pytest.mark.parametrize(
    "name", ["gfn2-xtb", "noise_0.01", "7net-0", "a+b", "A", "a" * LONGEST_MODEL]
)
def test_names_that_a_model_can_have(name):
    assert not why_unfit(name)


def test_models_that_differ_in_case_are_one_folder_somewhere(here):
    (here / "models.yaml").write_text(MODELS + "GFN1-xtb: {family: tblite, method: GFN1-xTB}\n")
    with pytest.raises(UserError, match="'gfn1-xtb' and 'GFN1-xtb' differ in upper and lower case"):
        read_models(here / "models.yaml")


def test_the_names_of_what_the_workflow_writes_are_known():
    """Every folder that a rule writes into beside those of the models."""
    rules = "".join(path.read_text() for path in rule_files())
    folders = set(_after("RESULTS / ", rules))
    assert {name for name in folders if "." not in name and "{" not in name} <= IN_RESULTS


def _after(start: str, text: str):
    for part in text.split(start)[1:]:
        if part.startswith('"'):
            yield part[1:].partition('"')[0]


# --- the default config and others over it -------------------------------------------------------


def test_blocks_of_the_default_config_do_not_reach_a_config_of_ones_own(here):
    assert _resolved(here).models_of("dynamics") == ["gfn1-xtb"]
    assert _resolved(here, "", "shard_size=3").models_of("dynamics") == ["gfn1-xtb"]
    assert _resolved(here, "shard_size: 3").models_of("dynamics") == []
    run = _resolved(here, "dynamics: {models: [gfn1-xtb]}")
    assert run.tasks["dynamics"].settings.temperatures_k == (300.0, 500.0, 1000.0)
    assert run.scan_set == "own"  # of the default config
    both = resolve(read_config([Path("config/config.yaml"), _own(here, "shard_size: 3")]), here)
    assert both.models_of("dynamics") == ["gfn1-xtb"]  # named as any other config, it is whole


def test_a_shipped_config_without_dynamics_has_none():
    shipped = REPO / "config"
    config = read_config([shipped / "own_molecules.yaml"], default=shipped / "config.yaml")
    assert "dynamics" not in config.values


def test_the_reference_runs_where_it_is_named_for_dynamics(here):
    words = ["models=[gfn1-xtb]", "dynamics={models: [gfn1-xtb,gfn2-xtb]}"]
    run = _resolved(here, "", *words)
    assert run.models_of("dynamics") == ["gfn1-xtb", "gfn2-xtb"]
    assert set(run.models) == {"gfn1-xtb", "gfn2-xtb", "control-zero"}
    again = resolve(run.resolved(read_config([], words).values), here)  # as a rule gives it
    assert (again.models_of("dynamics"), list(again.models)) == (
        run.models_of("dynamics"),
        list(run.models),
    )
    named = _resolved(here, "vibrations: {models: [gfn2-xtb]}")
    assert named.models_of("vibrations") == ["gfn2-xtb"]
    assert "gfn2-xtb" in named.models


@pytest.mark.parametrize("stage", ["dynamics", "vibrations"])
@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("[ipea1-xtb]", "'ipea1-xtb' is not in the run; add it to `models`, or take it out here"),
        ("[gfn1-xtb, 'ipea*']", "'ipea*' is not in the run"),
        ("[gfn3-xtb]", "'gfn3-xtb' matches nothing; did you mean 'gfn2-xtb'?"),
        ("[control-zero]", "is a control"),
    ],
)
def test_a_name_that_is_not_in_the_run_is_refused(here, stage, names, said):
    message = _said(here, f"{stage}: {{models: {names}}}")
    assert said in message
    assert message.startswith(f"own.yaml: `{stage}.models`")


def test_models_that_are_said_last_narrow_what_was_said_before(here):
    text = "models: [gfn1-xtb, gfn2-xtb]\ndynamics: {models: [gfn1-xtb, gfn2-xtb]}\n"
    assert _resolved(here, text, "models=[gfn1-xtb]").models_of("dynamics") == ["gfn1-xtb"]
    narrowed = _resolved(here, text, "models=[ipea1-xtb]")
    assert narrowed.models_of("dynamics") == []
    assert (
        list(narrowed.resolved(read_config([Path("own.yaml")]).values)["dynamics"]["models"]) == []
    )


def test_a_plan_takes_what_snakemake_takes(here, capsys, caplog):
    own = str(_own(here, "controls: []\nshard_size: 1\n"))
    words = ["plan", "--no-probe", "--cores", "3", "--configfile", own, "--config"]
    assert main([*words, "models=[gfn1-xtb,gfn2-xtb]", "bondz=1"]) == 2
    assert "--config: unknown key 'bondz'" in caplog.text
    assert main([*words, "models=[gfn1-xtb]", "dynamics={models: [gfn1-xtb], duration_ps: 1}"]) == 0
    assert "On 3 cores that is" in capsys.readouterr().out
    table = (here / "results" / "own" / "plan.csv").read_text().splitlines()
    columns = dict(zip(table[0].split(","), table[-1].split(","), strict=False))
    assert columns["model"] == "gfn1-xtb"
    assert columns["dynamics_shards"] == "1"
    assert main([*words, "models=[ipea1-xtb]", "threads=x"]) == 2
    whole = json.dumps(resolve_values(own))
    assert main(["plan", "--no-probe", "--config", whole]) == 0


def resolve_values(own: str) -> dict:
    return read_config([Path(own)]).values


def test_hours_from_start_to_end_are_bounded_by_cores_and_by_the_longest_job(here):
    run = _resolved(here)
    one = Prediction(
        model="gfn1-xtb", entry=run.models["gfn1-xtb"], role="model", status="ok", reason="",
        device="cpu", gpu=False, memory_gb=1.0, device_memory_gb=0.0, jobs=3, n_scans=1,
        parts={"bonds": Part(4, 4.0, 60.0), "dynamics": Part()},
    )  # fmt: skip
    assert wall_hours(run, [one], 1) == 4.0
    assert wall_hours(run, [one], 2) == 2.0
    assert wall_hours(run, [one], 16) == 1.0  # no shorter than its longest job
    assert wall_hours(run, [replace(one, gpu=True)], 16) == 4.0


def test_layers_are_merged_key_by_key():
    config = Config((("a", {"x": {"p": 1, "q": 2}, "y": 1}), ("b", {"x": {"q": 3}}), ("c", {})))
    assert config.values == {"x": {"p": 1, "q": 3}, "y": 1}
    assert config.places == {"x": "b", "y": "a"}
    assert config.before("x.p", "x.q")
    assert not config.before("x.q", "y")
    assert merged({"a": {"b": 1}}, {"a": 2}) == {"a": 2}
    assert config.layers[0][1] == {"x": {"p": 1, "q": 2}, "y": 1}  # as it was


@pytest.mark.parametrize("name", tasks())
def test_a_config_and_a_caller_are_refused_the_same_values(name):
    cls = tasks()[name].settings
    check_limits(cls(), name)
    assert validate(cls, {}, "here") == cls()
    for key in keys(cls):
        about = key.about
        pairs = [(about.above, 0), (about.at_least, -1), (about.at_most, 1)]
        for value in [limit + more for limit, more in pairs if limit is not None]:
            given = (value,) if key.many else value
            with pytest.raises(UserError, match=key.name):
                check_limits(replace(cls(), **{key.name: given}), name)
            with pytest.raises(UserError, match=key.name):
                validate(cls, {key.name: list(given) if key.many else given}, "here")
