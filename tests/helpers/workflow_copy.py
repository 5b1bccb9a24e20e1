"""A copy of the workflow with a package and results of its own, and Snakemake run in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import ase.io

from pesbench.core.errors import HostError, UserError
from pesbench.orchestration.start import Given, start

REPO = Path(__file__).parents[2]


RESULTS = "my results (a'b) $(touch pwned)"  # as people call folders, and worse


class Copy:
    """A copy of the workflow, with its own package and results, run by an interpreter in it.

    Args:
        root: Where to.
        results: What `results` of the config names.
    """

    def __init__(self, root: Path, results: str = RESULTS) -> None:
        self.root, self._results = root, results
        root.mkdir(parents=True, exist_ok=True)
        (root / "environment").symlink_to(sys.prefix)
        for name in ("Snakefile", "workflow", "config", "resources", "envs", "profiles"):
            source = REPO / name
            skip = shutil.ignore_patterns("__pycache__", "cache")
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=skip)
            else:
                shutil.copy(source, root / name)

    def few(self, *molecules: str) -> dict[str, Any]:
        """The scan set `mini` with some of its molecules, for a config; a reference of seconds."""
        frames = ase.io.read(REPO / "resources/mini/molecules.extxyz", index=":")
        some = [atoms for atoms in frames if atoms.info["id"] in molecules]
        assert len(some) == len(molecules)
        ase.io.write(self.root / "few.extxyz", some)
        few = {"source": "molecules", "molecules": "few.extxyz", "reference": "gfn2-xtb"}
        return {"scan_sets": {"mini": few}}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Snakemake in the copy, with the calculators of the tests at hand."""
        return self._start("-m", "snakemake", "--cores", "2", *arguments)

    def python(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The interpreter of the copy, until it has ended."""
        process = self._start(*words)
        out, err = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def _start(self, *words: str) -> subprocess.Popen[str]:
        paths = os.pathsep.join(map(str, (self.root / "workflow", REPO / "tests/helpers")))
        return subprocess.Popen(
            [self.root / "environment/bin/python", *words],
            cwd=self.root,
            env=os.environ | {"PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same, until it has ended."""
        return self.python("-m", "snakemake", "--cores", "2", *arguments)

    def planned(self, *arguments: str) -> dict[str, int]:
        """Number of jobs by rule that a run would start."""
        done = self.snakemake("-n", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return jobs_of(done)

    @property
    def results(self) -> Path:
        return self.root / self._results / "mini"


def jobs_of(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Number of jobs by rule, as Snakemake tells them before it begins."""
    counts = re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, flags=re.MULTILINE)
    return {rule: int(n) for rule, n in counts if rule not in ("total", "all")}


def refusal(checkout: Path, *words: str) -> str:
    """What a start of Snakemake in the working folder ends with, without starting it.

    The Snakefile shows this text as one line; that it does is for few tests to ask, as each start
    takes seconds.

    Args:
        checkout: Folder of the Snakefile.
        words: `--configfile FILE ...` and `--config KEY=VALUE ...`, as on the command line.

    Raises:
        AssertionError: nothing is refused.
    """
    given: dict[str, list[str]] = {"--configfile": [], "--config": []}
    option = ""
    for word in words:
        if word in given:
            option = word
        else:
            given[option].append(word)
    files = [Path(file) for file in given["--configfile"]]
    try:
        start(Given(files, given["--config"], alone=False, home=checkout, on_slurm=False))
    except (HostError, UserError) as error:
        return str(error)
    raise AssertionError(f"{' '.join(words)}: was not refused")
