"""A family is one module that exports FAMILY: nothing else names it."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import config_tables
from examples import rule_files
from pesbench.core.errors import UserError
from pesbench.core.family import EntrySettings, Family, families, family_module
from pesbench.core.settings import keys
from pesbench.files.fingerprint import Code
from pesbench.models.models_file import make_entry
from pesbench.models.registry import ModelEntry
from workflow_copy import REPO

SPRINGS = '''
"""Family `springs`: every atom is bound to the origin."""

from dataclasses import dataclass

import numpy as np

from pesbench.core.errors import UserError
from pesbench.core.family import EntrySettings, Family, LoadJob
from pesbench.core.interface import ModelInfo, Result, Status
from pesbench.core.settings import setting


@dataclass(frozen=True, kw_only=True)
class SpringSettings(EntrySettings):
    """Keys of an entry."""

    stiffness: float = setting(2.0, help="In eV/Å².", above=0)
    exponents: tuple[int, ...] = setting((2,), help="Of the distance.", choices=(2, 4))


class Springs:
    info = ModelInfo(None, charges=False, batched=True, device="cpu", dtype="float64")

    def __init__(self, stiffness):
        self.stiffness = stiffness

    def evaluate(self, batch):
        energies = 0.5 * self.stiffness * (batch.positions**2).sum(axis=1)
        return Result(
            np.bincount(batch.system, energies, batch.n_systems),
            -self.stiffness * batch.positions,
            (Status.OK,) * batch.n_systems,
            ("",) * batch.n_systems,
        )


class SpringFamily(Family):
    """Springs to the origin."""

    name = "springs"
    about = "Springs to the origin."
    settings = SpringSettings
    packages = ("pytest",)
    modules = ("a_package_of_springs",)
    gpu = False
    seconds_on_cpu = 0.125
    peak_memory_mb = 321
    runs_code = False

    def load(self, job: LoadJob):
        return Springs(job.settings["stiffness"])


FAMILY = SpringFamily()
'''
FIELDS = '''
"""Family `fields`: has weights and takes a GPU."""

from dataclasses import dataclass

from pesbench.core.errors import UserError
from pesbench.core.family import EntrySettings, Family, WeightFormat
from pesbench.core.settings import ADDRESS, setting


@dataclass(frozen=True, kw_only=True)
class FieldSettings(EntrySettings):
    """Keys of an entry."""

    weights: str = setting(help="A file.", path=ADDRESS)


class Fields(Family):
    """With weights."""

    name = "fields"
    settings = FieldSettings
    weights = WeightFormat("fields", "give the file that fields writes")

    def load(self, job):
        return job.weights


FAMILY = Fields()
'''
SCRIPT = """
import dataclasses, json, sys
from pathlib import Path

import numpy as np

from pesbench.core.errors import UserError
from pesbench.core.family import names
from pesbench.core.interface import molecules_batch
from pesbench.files.provenance import package_versions
from pesbench.models.models_file import make_entry, read_models, resolve_entry
from pesbench.models.registry import ModelEntry, load
from pesbench.models.roles import role
from pesbench.models.trust import runs_code
from pesbench.orchestration.requests import memory_mb, seconds_per_atom_frame, uses_gpu
from pesbench.orchestration.software import Software

def told(function, *arguments):
    try:
        function(*arguments)
    except UserError as error:
        return str(error)

entries = read_models(Path("models.yaml"))
spring, bent = entries["spring"], entries["bent"]
batch = molecules_batch([np.ones((1, 3))], [np.array([6])], [0], [1])
answers = [load(one, scan_set=None, device="cpu").evaluate(batch) for one in (spring, bent)]
field = ModelEntry("field", "fields", {"weights": "none.pt"})
json.dump({
    "names": names(),
    "settings": spring.settings,
    "energies": [float(one.energies[0]) for one in answers],
    "unknown": told(make_entry, "m", {"family": "sprongs"}),
    "unloadable": told(lambda: load(ModelEntry("m", "no", {}), scan_set=None, device="cpu")),
    "wrong": [
        told(make_entry, "m", {"family": "springs"} | said)
        for said in ({"stiffness": 0}, {"stifness": 1}, {"stiffness": "a"}, {"exponents": [3]})
    ],
    "gpu": [uses_gpu(one, "auto") for one in (spring, bent, field)],
    "seconds": seconds_per_atom_frame(spring, False),
    "memory": memory_mb(bent),
    "packages": "pytest" in package_versions(),
    "missing": told(Software("current", Path("built"), Path.cwd()).check, [spring]),
    "runs_code": [runs_code("springs", None), runs_code("fields", None)],
    "consent": told(resolve_entry, make_entry("f", {"family": "fields", "weights": "x.pt"}),
                    Path("models.yaml"), Path.cwd()),
    "roles": [role(spring, "x"), role(bent, "x")],
}, sys.stdout)
"""


@pytest.fixture(scope="module")
def workflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with two families dropped into it."""
    root = tmp_path_factory.mktemp("family")
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPO / "workflow", root / "workflow", symlinks=True, ignore=skip)
    where = root / "workflow/pesbench/models/families"
    (where / "springs.py").write_text(SPRINGS)
    (where / "fields").mkdir()
    (where / "fields/__init__.py").write_text('"""A family in a folder."""\n')
    (where / "fields/family.py").write_text(FIELDS)
    (root / "models.yaml").write_text(
        "spring: {family: springs, stiffness: 4}\n"
        "bent: {family: perturbed, base: spring, perturbation: step, dose: 1}\n"
    )
    (root / "x.pt").write_bytes(b"\x80\x02cfields\nNet\n0}.")
    return root


@pytest.fixture(scope="module")
def found(workflow: Path) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=workflow,
        env=os.environ | {"PYTHONPATH": str(workflow / "workflow")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_family_in_one_file_is_found_and_loads(found: dict) -> None:
    assert set(found["names"]) == {*families(), "springs", "fields"}
    # as it was written, with the defaults
    assert found["settings"]["stiffness"] == 4
    assert found["settings"]["exponents"] == [2]
    assert (found["settings"]["batch_size"], found["settings"]["timeout_s"]) == ("auto", 600)
    assert found["energies"] == [6, 6]
    assert found["roles"] == ["model", "perturbed"]


def test_its_entry_is_checked_with_one_line(found: dict) -> None:
    assert found["unknown"] == "model 'm': unknown family 'sprongs'; did you mean 'springs'?"
    assert "springs" in found["unloadable"]
    limits, unknown, kind, choice = found["wrong"]
    assert limits == "model 'm': `stiffness` is 0; give a number above 0 (In eV/Å².)"
    assert unknown == "model 'm': unknown key 'stifness'; did you mean 'stiffness'?"
    assert kind.startswith("model 'm': `stiffness` must be a number, not 'a'")
    assert "`exponents.0`: 3 is not known" in choice


def test_its_requests_packages_and_consent_are_what_it_declares(found: dict) -> None:
    assert found["gpu"] == [False, False, True]
    assert (found["seconds"], found["memory"]) == (0.125, 321)
    assert found["packages"]
    assert "needs 'a_package_of_springs', which is not installed" in found["missing"]
    assert found["runs_code"] == [False, True]
    assert "nothing says that you trust" in found["consent"]


def test_its_file_decides_its_fingerprint_and_no_other(workflow: Path) -> None:
    package = workflow / "workflow/pesbench"
    entry = "pesbench.tasks.bonds.run"
    every = {
        name: f"pesbench.models.families.{name}" for name in (*families(), "springs", "fields")
    }

    def prints() -> dict[str, str]:
        code = Code(package)
        return {name: code.fingerprint(entry, module) for name, module in every.items()}

    for name, file in {"springs": "springs.py", "fields": "fields/family.py"}.items():
        before = prints()
        path = package / "models/families" / file
        path.write_text(path.read_text() + "\nOTHER = 1\n")
        after = prints()
        assert [one for one in every if before[one] != after[one]] == [name]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"family": "tblite", "method": "GFN2-xTB", 3: 4}, "unknown key '3'; known: "),
        ({"family": "control", "control": "zero", 2.5: 1}, "unknown key '2.5'; known: "),
        ({"family": "ase", "calculator": "a:B", "arguments": {1: 2}},
         "`arguments`: the key 1 is no text; put it in quotes"),
        ({"family": "mace", "weights": "a", "head": None}, "`head` must be text, not None"),
        ({"family": "mace"}, "the key 'weights' is missing"),
        ({"family": "testbed", "weights": "a", "trust": True}, "unknown key 'trust'"),
        ({"family": "sevennet"}, "exactly one of `pretrained` or `weights` must be given"),
        ({"family": "sevennet", "pretrained": "7net-0", "weights": "a"}, "exactly one of"),
        ({"family": "control", "control": "zero", "dose": 1}, "control 'zero' has no `dose`"),
        ({"family": "control", "control": "noise"}, "the key 'dose' is missing"),
        ({"family": "control", "dose": 1}, "the key 'control' is missing"),
        ({"family": "tblite", "method": "GFN2-xTB", "batch_size": 2.0}, "auto, not 2.0; write 2"),
        ({"family": "tblite", "method": "GFN2-xTB", "seen_scans": []}, "`seen_scans` is empty"),
    ],
)  # fmt: skip
def test_a_wrong_entry_is_one_line(entry: dict, said: str) -> None:
    with pytest.raises(UserError) as caught:
        make_entry("m", entry)
    assert str(caught.value).startswith("model 'm'")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_entry_is_kept_as_it_was_written() -> None:
    """Or its digest, by which stored results know it, would be another."""
    entry = make_entry("m", {"family": "ase", "calculator": "a:B", "timeout_s": 30})
    assert json.dumps(entry.settings["timeout_s"]) == "30"
    assert "level_of_theory" not in entry.settings
    assert list(entry.settings)[:3] == ["batch_size", "timeout_s", "arguments"]


def test_an_entry_knows_its_role_and_the_declared_defaults() -> None:
    controls = {name for name in (*families(), "later") if ModelEntry("m", name, {}).is_control}
    assert controls == {"control"}
    bare = ModelEntry("m", "ase", {})
    assert (bare.batch_size, bare.timeout_s) == ("auto", 600)
    assert (bare.batch_size, bare.timeout_s) == (EntrySettings.batch_size, EntrySettings.timeout_s)
    own = make_entry("m", {"family": "ase", "calculator": "a:B", "timeout_s": 30, "batch_size": 4})
    assert (own.batch_size, own.timeout_s) == (4, 30.0)


# --- the families that ship ----------------------------------------------------------------------

# Outside the families: the roles, which are called as the two families that have them.
ROLES = {"control", "perturbed"}
ELSEWHERE = {
    ("testbed/variants.py", "testbed"),  # the schema of a file of training
    ("files/provenance.py", "rdkit"),  # the package, which builds molecules as well
    ("files/environment.py", "ase"),  # the package, which every worker needs
}


def test_no_module_outside_names_a_family() -> None:
    package = REPO / "workflow/pesbench"
    named = {
        (path.relative_to(package).as_posix(), node.value)
        for path in package.rglob("*.py")
        if not path.is_relative_to(package / "models/families")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.value in set(families()) - ROLES
    }
    assert named <= ELSEWHERE
    assert len(rule_files()) > 5
    for path in rule_files():
        for name in families():
            assert f'"{name}"' not in path.read_text(), path


def test_no_module_outside_compares_with_the_name_of_a_family() -> None:
    """Not with that of a role's either: `ModelEntry.is_control` and `Family.role` tell."""
    package = REPO / "workflow/pesbench"
    found = []
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Compare):
                continue
            left, others = ast.unparse(node.left), {ast.unparse(one) for one in node.comparators}
            if left.endswith((".family", "['family']")) and others & set(map(repr, families())):
                found.append(f"{path.relative_to(package)}:{node.lineno}")
    assert not found


def test_families_are_found_without_their_packages() -> None:
    code = (
        "import sys; from pesbench.core.family import families; families()\n"
        "packages = {'torch', 'tblite', 'pyscf', 'mace', 'sevenn', 'torch_sim', 'e3nn'}\n"
        "assert not packages & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", families())
def test_a_family_is_whole(name: str) -> None:
    family = families()[name]
    assert isinstance(family, Family)
    assert sys.modules[family_module(name)].FAMILY is family
    assert family.about.endswith(".")
    for settings in {family.settings, *family.kinds.values()}:
        assert issubclass(settings, EntrySettings)
        assert all(key.about.help.strip()[-1] in ".)" for key in keys(settings))
    names = {key.name for key in keys(family.settings)}
    assert ("weights" in names) == (family.weights is not None)
    assert ("trust" in names) == (family.weights is not None and family.runs_code)
    assert set(getattr(family.settings, "one_of", ())) <= names
    if family.kinds:
        (about,) = [one.about for one in keys(family.settings) if one.name == family.kind_key]
        assert about.choices == tuple(family.kinds)


def test_the_documentation_has_the_keys_that_are_declared() -> None:
    """If it fails: `python tests/helpers/config_tables.py`, and read what changes."""
    text = config_tables.README.read_text()
    assert config_tables.written(text) == text
