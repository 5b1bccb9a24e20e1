"""Fingerprints: what a change of the code recomputes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from pesbench.core.found import stage_modules
from pesbench.files.fingerprint import Code, normalised, stage_fingerprint

# --- what counts ---------------------------------------------------------------------------------

SOURCE = '''
"""What it is."""
import math

class A:
    """Of letters."""

    def area(self, r: float) -> float:
        """In Å².

        Long.
        """
        # the usual
        return math.pi * r**2
'''


def test_comments_docstrings_and_format_do_not_count():
    bare = "import math\nclass A:\n  def area(self, r: float) -> float: return (math.pi * r ** 2)"
    assert normalised(SOURCE) == normalised(bare)
    assert normalised('def f():\n    """Only words."""\n') == normalised("def f(): pass")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("r**2", "r**3"),
        ("area", "areas"),
        ("float", "int"),
        ("import math", "import cmath as math"),
    ],
)
def test_code_counts(old, new):
    assert normalised(SOURCE) != normalised(SOURCE.replace(old, new))


def test_a_text_that_is_no_docstring_counts():
    assert normalised('x = """a"""') != normalised('x = """b"""')
    assert normalised('def f():\n    return "a"') != normalised('def f():\n    return "b"')


def test_the_help_of_a_setting_does_not_count_and_its_default_does():
    source = 'x: int = setting(1, help="One.", at_least=0)'
    assert normalised(source) == normalised(source.replace("One.", "Two."))
    assert normalised(source) != normalised(source.replace("(1", "(2"))
    assert normalised(source) != normalised(source.replace("=0", "=1"))


# --- which modules count -------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path):
    """A package of some modules; returns the closure of one, without the package's name."""

    def make(**modules):
        for name, source in modules.items():
            path = tmp_path.joinpath("pesbench", *name.split("__")).with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / "__init__.py").touch()
            path.write_text(source)
        return Code(tmp_path / "pesbench")

    return make


IMPORTS = {
    "import pesbench.core.b": {"core.b"},
    "import pesbench.core.b as b": {"core.b"},
    "from pesbench.core import b": {"core.b"},
    "from pesbench.core.b import f": {"core.b"},
    "from pesbench.core import b, c": {"core.b", "core.c"},
    "def g():\n    from pesbench.core import b": {"core.b"},
    "class A:\n    def g(self):\n        import pesbench.core.b": {"core.b"},
    "try:\n    from pesbench.core import b\nexcept ImportError:\n    pass": {"core.b"},
    "if TYPE_CHECKING:\n    from pesbench.core import b": set(),
    "if TYPE_CHECKING:\n    from pesbench.core import b\nelse:\n    from pesbench.core import c": {
        "core.c"
    },
    "import typing\nif typing.TYPE_CHECKING:\n    from pesbench.core import b": set(),
    "import json\nfrom os import path": set(),
    "from pesbench import __version__": set(),
    "import pesbenchmark.core.b": set(),
    "from pesbench.core.d import f": {"core.d", "core.b"},
    "from .core.b import f": {"core.b"},
    "from .core import b": {"core.b"},
    "from . import core": set(),
    "from .core.e import f": {"core.e", "core.b", "core.c"},
    "if TYPE_CHECKING:\n    from .core import b": set(),
}


@pytest.mark.parametrize("source", IMPORTS)
def test_imports_are_followed(small, source):
    code = small(
        a=source, core__b="f = 1", core__c="f = 2", core__d="def f():\n    import pesbench.core.b",
        core__e="from . import b\nfrom ..core.c import f",
    )  # fmt: skip
    found = {name.removeprefix("pesbench.") for name in code.closure("pesbench.a")}
    assert found == IMPORTS[source] | {"a"}


def test_modules_that_import_each_other_end(small):
    code = small(a="import pesbench.b", b="def f():\n    import pesbench.a")
    assert code.closure("pesbench.a") == code.closure("pesbench.b")
    assert code.fingerprint("pesbench.a") == code.fingerprint("pesbench.b")


def test_a_folder_stands_for_its_modules(small):
    code = small(models__x__load="", models__x__schema="import pesbench.b", b="")
    assert len(code.closure("pesbench.models.x")) == 3


@pytest.mark.parametrize("name", ["pesbench.none", "pesbench", "json", "pesbench.a.b"])
def test_a_module_that_is_not_there_is_a_key_error(small, name):
    with pytest.raises(KeyError):
        small(a="").fingerprint(name)


def test_a_file_that_a_module_reads_counts(small, tmp_path):
    code = small(a='from pathlib import Path\nP = Path(__file__).with_name("page.html")')
    prints = [code.fingerprint("pesbench.a")]
    template = tmp_path / "pesbench/page.html"
    template.write_text("one")
    prints.append(small().fingerprint("pesbench.a"))
    template.write_text("two")
    prints.append(small().fingerprint("pesbench.a"))
    assert len(set(prints)) == 3


def test_what_is_kept_of_an_earlier_start_is_never_out_of_date(small, tmp_path):
    first = small(a="import pesbench.b", b="x = 1").fingerprint("pesbench.a")
    kept = tmp_path / "pesbench/__pycache__/fingerprints.json"
    assert small().fingerprint("pesbench.a") == first
    assert small(b="x = 2").fingerprint("pesbench.a") != first
    assert small(b="x = 1  # again").fingerprint("pesbench.a") == first
    for wrong in ("", "[]", "{}", '{"version": 1}', json.dumps({"version": "3", "sources": 1})):
        kept.write_text(wrong)
        assert small().fingerprint("pesbench.a") == first
    kept.unlink()
    kept.parent.rmdir()
    kept.parent.write_text("not a folder")
    assert small().fingerprint("pesbench.a") == first


# --- this package --------------------------------------------------------------------------------

BONDS, DYNAMICS = "pesbench.tasks.bonds", "pesbench.tasks.dynamics"
FAMILIES = ("ase", "control", "mace", "perturbed", "pyscf", "sevennet", "tblite", "testbed")
RUNS = {
    f"{task} {family}": (f"pesbench.tasks.{task}.run", f"pesbench.models.families.{family}")
    for task in ("bonds", "dynamics", "vibrations")
    for family in FAMILIES
}
EVALUATIONS = {name for name in RUNS if name.startswith("bonds ")}
TRAJECTORIES = {name for name in RUNS if name.startswith("dynamics ")}
VIBRATIONS = {name for name in RUNS if name.startswith("vibrations ")}
STAGES = RUNS | {
    "scores": (f"{BONDS}.score",),
    "dynamics scores": (f"{DYNAMICS}.score",),
    "vibration scores": ("pesbench.tasks.vibrations.score",),
    "archive": ("pesbench.references.bsct_spice",),
    "molecules": ("pesbench.references.molecules",),
    "references": ("pesbench.references.calculators",),
    "section": (f"{BONDS}.section", "pesbench.report.inputs", "pesbench.report.sections"),
    "page": ("pesbench.report.page",),
    "train": ("pesbench.testbed.cards",),
}
SCORES = {"scores", "dynamics scores", "vibration scores"}


def _of(family):
    return {name for name in RUNS if name.endswith(f" {family}")}


# changed module: what it changes at least, and what it must not change
CHANGES = {
    "metrics/smoothness.py": ({"scores", "train"}, {"references", "archive", *RUNS}),
    "tasks/bonds/score.py": ({"scores"}, {"references", "archive", *RUNS}),
    "tasks/bonds/breaks.py": ({"scores"}, {"references", "archive", *RUNS}),
    "metrics/aggregate.py": ({"section"}, {"scores", "vibration scores", *RUNS}),
    "models/families/mace/model.py": (_of("mace"), {*SCORES, *_of("tblite"), *_of("control")}),
    "models/families/tblite.py": (_of("tblite"), {*SCORES, *_of("mace"), *_of("control")}),
    "models/families/control.py": (_of("control"), {*SCORES, *_of("mace"), *_of("tblite")}),
    "models/families/perturbed.py": (_of("perturbed"), {*SCORES, *_of("mace"), *_of("tblite")}),
    "models/frame_by_frame.py": (
        {*_of("tblite"), *_of("ase"), *_of("pyscf")}, {*SCORES, *_of("mace"), *_of("control")},
    ),
    "models/families/testbed/network.py": (_of("testbed"), {*SCORES, *_of("mace")}),
    "tasks/vibrations/metrics.py": ({"vibration scores"}, {"scores", *RUNS}),
    "tasks/vibrations/normal_modes.py": (VIBRATIONS, {*SCORES, *EVALUATIONS, *TRAJECTORIES}),
    "tasks/bonds/run.py": (EVALUATIONS, {*SCORES, "page", "archive", *TRAJECTORIES, *VIBRATIONS}),
    "tasks/dynamics/export.py": (set(), {*SCORES, *RUNS, "page"}),
    "tasks/dynamics/stored.py": ({*TRAJECTORIES, "dynamics scores"}, {"scores", *EVALUATIONS}),
    "tasks/dynamics/writing.py": (TRAJECTORIES, {*SCORES, *EVALUATIONS}),
    "core/coordinates/bond.py": ({"references", "archive"}, {*RUNS, *SCORES}),
    "core/smiles.py": ({"molecules", "archive"}, {*RUNS, *SCORES}),
    "engine/worker.py": (set(RUNS), {*SCORES, "page", "archive"}),
    "engine/serving.py": (set(RUNS), {*SCORES, "page", "archive"}),  # the worker's own process
    "engine/evaluator.py": (set(RUNS), {*SCORES, "page", "archive"}),
    "engine/relaxation.py": ({*TRAJECTORIES, *VIBRATIONS}, {*SCORES, *EVALUATIONS}),
    "files/checkpoint.py": (set(RUNS), {"scores", "archive"}),
    "files/atomic.py": (set(STAGES), set()),
    "files/evaluation.py": (
        {*EVALUATIONS, "scores", "references"}, {*TRAJECTORIES, "archive", "dynamics scores"},
    ),
    "models/roles.py": ({"section"}, {*SCORES, *RUNS, "archive"}),  # who is ranked
    "models/registry.py": (set(RUNS), {"archive"}),
    "models/download.py": (set(), {*SCORES, *RUNS}),
    "models/transfer.py": ({"archive"}, {*SCORES, *RUNS}),
    "references/bsct_spice.py": ({"archive"}, {"scores", *RUNS}),
    "references/quality.py": ({"references"}, {"scores", "archive", *RUNS}),
    "report/page.html.jinja": ({"page"}, {*SCORES, *RUNS}),
}  # fmt: skip


@pytest.fixture
def package(tmp_path, repo):
    """A copy of the package, of Python files and what lies beside them."""
    return shutil.copytree(repo / "workflow/pesbench", tmp_path / "pesbench")


def _fingerprints(package):
    code = Code(package)
    return {stage: code.fingerprint(*entries) for stage, entries in STAGES.items()}


@pytest.mark.parametrize("module", CHANGES)
def test_a_changed_module_changes_its_stages_and_no_other(package, module):
    changes, keeps = CHANGES[module]
    before = _fingerprints(package)
    path = package / module
    source = path.read_text()
    if path.suffix == ".py":
        path.write_text(source.replace('"""', '"""Other words. ', 1) + "\n\n# a comment\n")
        assert _fingerprints(package) == before
    path.write_text(source + "\n\nSOMETHING_ELSE = 1\n")
    after = _fingerprints(package)
    different = {stage for stage in before if before[stage] != after[stage]}
    assert changes <= different
    assert not different & keeps


def test_a_change_of_any_module_counts_for_the_stages_that_it_is_a_part_of(package):
    code = Code(package)
    closures = {stage: code.closure(*entries) for stage, entries in STAGES.items()}
    before = _fingerprints(package)
    for module in sorted(frozenset().union(*closures.values())):
        path = package.joinpath(*module.split(".")[1:]).with_suffix(".py")
        source = path.read_text()
        path.write_text(source + "\n\nSOMETHING_ELSE = 1\n")
        after = _fingerprints(package)
        path.write_text(source)
        different = {stage for stage in before if after[stage] != before[stage]}
        assert different == {stage for stage in before if module in closures[stage]}, module
    assert _fingerprints(package) == before


@pytest.mark.parametrize(
    "new",
    [
        "core/coordinates/torsion.py",
        "metrics/contact.py",
        "tasks/bonds/export.py",
        "tasks/contact/task.py",
        "tasks/contact/section.py",
        "models/families/new.py",
        "report/slides.py",
        "compare/contact.py",
    ],
)
def test_a_new_module_changes_nothing_that_does_not_import_it(package, new):
    before = _fingerprints(package)
    (package / new).parent.mkdir(parents=True, exist_ok=True)
    (package / new).write_text("from pesbench.core import interface\n")
    assert _fingerprints(package) == before


# rooms and packages that no model's run and no score needs
FOREIGN = ("report", "compare", "commands", "orchestration", "references", "training", "cli")


@pytest.mark.parametrize("stage", sorted({*RUNS, *SCORES}))
def test_closures_are_narrow(package, stage):
    rooms = {module.split(".")[1] for module in Code(package).closure(*STAGES[stage])}
    assert not rooms & set(FOREIGN)
    if stage in EVALUATIONS:
        assert "metrics" not in rooms
    if stage in SCORES:
        assert "engine" not in rooms


def test_the_settings_count_for_the_stages_that_take_some():
    settings = {task: f"pesbench.tasks.{task}.settings" for task in ("bonds", "dynamics")}
    assert stage_modules("bonds", "run") == (f"{BONDS}.run",)
    assert stage_modules("bonds", "score") == (f"{BONDS}.score", settings["bonds"])
    assert stage_modules("dynamics", "prepare") == (f"{DYNAMICS}.prepare", settings["dynamics"])
    assert stage_modules("dynamics", "run") == (f"{DYNAMICS}.run", settings["dynamics"])
    assert stage_modules("dynamics", "score") == (f"{DYNAMICS}.score",)


def test_all_stages_are_fast_once_their_sources_are_known(package):
    import time

    _fingerprints(package)
    start = time.process_time()
    _fingerprints(package)
    assert time.process_time() - start < 0.3


def test_a_stage_of_this_package_has_a_fingerprint(package):
    assert stage_fingerprint(f"{BONDS}.score") == Code(package).fingerprint(f"{BONDS}.score")


RUN = """
import sys
from pathlib import Path
from pesbench.tasks.bonds.run import run
from pesbench.core.jobs import RunJob
from pesbench.models.registry import ModelEntry

entry = ModelEntry("noisy", "control", {"control": "noise", "dose": 0.1})
run(RunJob(entry, Path(sys.argv[1]), sys.argv[3:], None, Path(sys.argv[2]), device="cpu"))
print(*(name for name, module in sys.modules.items()
        if name.startswith("pesbench.") and not hasattr(module, "__path__")))
"""


def test_what_a_run_imports_is_in_its_closure(repo, toy_set, toys, tmp_path):
    """Modules that are loaded by their names are told, or the fingerprint would miss them."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, toy_set, tmp_path / "out.h5", *toys],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    code = Code(repo / "workflow/pesbench")
    # the provenance lists the packages that any family declares, which decide no number here
    declared = code.closure("pesbench.models.families")
    found = set(done.stdout.split())
    assert {"pesbench.engine.worker", "pesbench.models.registry"} <= found
    assert found <= code.closure(*RUNS["bonds control"]) | declared
