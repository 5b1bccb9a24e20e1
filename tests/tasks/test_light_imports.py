"""What runs in the environment of a model needs the packages of the model and three more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pesbench.core.found import tasks

PACKAGE = Path(__file__).parents[2] / "workflow" / "pesbench"
# of the environment of Snakemake; torch is of some models alone
ELSEWHERE = ("pydantic", "pandas", "torch", "yaml", "snakemake", "rdkit", "tblite")
ASK = ("prepare", "run")  # stages that run beside a model
BLOCKED = """
import importlib, sys
class Blocked:
    def find_spec(self, name, *rest):
        if name.partition(".")[0] in {names!r}:
            raise ImportError(f"{{name}} is not in the environment of a model", name=name)
sys.meta_path.insert(0, Blocked())
for module in {modules!r}:
    importlib.import_module(module)
{then}
"""


def _import(modules: list[str], then: str = "") -> None:
    code = BLOCKED.format(names=ELSEWHERE, modules=modules, then=then)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _modules(folder: str) -> list[str]:
    files = sorted((PACKAGE / folder).rglob("*.py"))
    names = [file.relative_to(PACKAGE).with_suffix("").parts for file in files]
    return [".".join(("pesbench", *parts)) for parts in names if parts[-1] != "__init__"]


@pytest.mark.parametrize("task", tasks())
def test_a_task_runs_without_the_packages_of_snakemakes_environment(task):
    folder = PACKAGE / "tasks" / task
    names = [name for name in ASK if (folder / f"{name}.py").is_file()]
    assert "run" in names
    _import([f"pesbench.tasks.{task}.{name}" for name in ("settings", "task", *names)])


def test_the_command_line_and_the_engine_need_none_of_them():
    engine = _modules("core") + _modules("engine")
    assert len(engine) > 15
    registry = ["pesbench.models.registry", "pesbench.files.checkpoint", "pesbench.files.scan_set"]
    _import([*engine, *registry], "from pesbench.cli import parser; parser()")
