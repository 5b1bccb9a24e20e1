"""Hashes of the code that decides an output.

Snakemake does not see package code: each rule carries in its `params` the fingerprint of the
modules its output depends on, so that a changed metric recomputes scores and nothing else.
Comments, docstrings and formatting do not count.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path

_PACKAGE = Path(__file__).parent
_CONTRACT = ("models/interface.py", "scans.py", "structures.py")
_RUNNING = (
    "batching.py",
    "evaluate.py",
    "host_memory.py",
    "serving.py",
    "supervisor.py",
    "wire.py",
    "worker.py",
    *_CONTRACT,
)
_POTENTIAL = (
    "testbed/neighbours.py",
    "testbed/network.py",
    "testbed/repulsion.py",
    "testbed/settings.py",
    "testbed/weights.py",
)
_MOLECULE_FILES = (
    "molecule_files/__init__.py",
    "molecule_files/charge_and_spin.py",
    "molecule_files/completeness.py",
    "molecule_files/mdl.py",
    "molecule_files/pdb.py",
    "molecule_files/record.py",
    "molecule_files/xyz.py",
)
_FAMILIES = {
    "ase": ("models/ase.py", "models/frame_by_frame.py"),
    "control": ("models/controls.py",),
    "mace": ("models/mace.py", "models/torch_devices.py", "models/torchsim.py"),
    "perturbed": ("models/perturbed.py",),  # and those of its base
    "pyscf": ("models/pyscf.py", "models/frame_by_frame.py"),
    "sevennet": ("models/sevennet.py", "models/torch_devices.py"),
    "tblite": ("models/tblite.py", "models/frame_by_frame.py"),
    "testbed": ("models/testbed.py", "models/torch_devices.py", *_POTENTIAL),
}
_STAGES = {
    "archive": ("references/bsct_spice.py", *_CONTRACT),
    "molecules": (
        "references/molecules.py",
        "references/relax.py",
        "models/as_calculator.py",
        *_MOLECULE_FILES,
        *_CONTRACT,
    ),
    "geometries": ("references/calculators.py", *_MOLECULE_FILES, *_CONTRACT),
    "references": ("references/calculators.py", "references/quality.py", "metrics/curves.py"),
    "evaluate": _RUNNING,
    "dynamics": (
        "dynamics.py",
        "patient_worker.py",
        "relaxation.py",
        "trajectories.py",
        "metrics/stability.py",
        *_RUNNING,
    ),
    "scores": (
        "scores.py",
        "training/split.py",
        "metrics/breaks.py",
        "metrics/curves.py",
        "metrics/smoothness.py",
    ),
    "dynamics-scores": (
        "dynamics_scores.py",
        "training/split.py",
        "metrics/conservation.py",
        "metrics/elsewhere.py",
        "metrics/survival.py",
        "metrics/stability.py",
    ),
    "vibrations": (
        "vibrations.py",
        "dynamics.py",  # which molecules, and how many vibrations each has
        "patient_worker.py",
        "relaxation.py",
        "metrics/normal_modes.py",
        "metrics/stability.py",
        *_RUNNING,
    ),
    "vibration-scores": ("vibration_scores.py", "training/split.py", "metrics/vibrations.py"),
    "describe": ("models/record.py",),
    "probe": ("planning/probe.py", *_RUNNING),
    "probe-scans": ("planning/probe_scans.py", "planning/contents.py", "planning/cost.py"),
    "plan": (
        "planning/budget.py",
        "planning/command.py",
        "planning/contents.py",
        "planning/cost.py",
        "planning/prediction.py",
        "planning/tables.py",
        "text.py",
    ),
    "plan-actual": ("planning/actual.py",),
    "merge": (  # no rule: called by hand
        "merging/assembly.py",
        "merging/commands.py",
        "merging/contents.py",
        "merging/duplicates.py",
        "merging/joining.py",
        "merging/options.py",
        "merging/place.py",
    ),
    "parity": ("report/parity.py", "models/variants.py", "text.py"),
    "associate": (
        "report/association.py",
        "report/association_cost.py",
        "report/association_figures.py",
        "report/decades.py",
        "report/dose.py",
        "report/dose_figures.py",
        "report/dynamics.py",
        "report/figures.py",
        "report/inputs.py",
        "report/tables.py",
        "text.py",
        "metrics/aggregate.py",
        "metrics/association.py",
        "metrics/association_panel.py",
        "metrics/association_statistics.py",
        "metrics/stability.py",
        "metrics/survival.py",
        "models/perturbed.py",
        "models/variants.py",
    ),
    "ladder": (
        "report/cards.py",
        "report/dynamics.py",
        "report/figures.py",
        "report/inputs.py",
        "report/ladder.py",
        "report/ladder_claims.py",
        "report/ladder_figure.py",
        "report/ladder_text.py",
        "report/tables.py",
        "text.py",
        "metrics/aggregate.py",
        "metrics/ladder.py",
        "metrics/survival.py",
    ),
    "leaderboard": (
        "report/association.py",
        "report/association_cost.py",
        "report/dynamics.py",
        "report/inputs.py",
        "report/ladder.py",
        "report/ladder_claims.py",
        "report/ladder_text.py",
        "report/merged.py",
        "report/parity.py",
        "report/seen.py",
        "report/tables.py",
        "text.py",
        "metrics/aggregate.py",
        "metrics/ladder.py",
        "metrics/elsewhere.py",
        "metrics/survival.py",
    ),
    "sample": ("training/sampling.py", "models/as_calculator.py", *_CONTRACT),
    "train-mace": ("training/frames.py", "training/mace.py"),
    "train": (
        "testbed/cards.py",
        "testbed/smoothness_loss.py",
        "testbed/training.py",
        "testbed/variants.py",
        "training/frames.py",
        *_POTENTIAL,
    ),
    "strict": ("report/inputs.py", "report/strict.py"),
    "worst": (
        "report/faults.py",
        "report/figures.py",
        "report/worst.py",
        "report/worst_figure.py",
        "scores.py",
        "text.py",
        "metrics/breaks.py",
        "metrics/curves.py",
        "metrics/smoothness.py",
    ),
    "figures": ("report/figures.py",),
    "page": (
        "report/faults.py",
        "report/inputs.py",
        "report/page.py",
        "report/page.html.jinja",
        "text.py",
    ),
}

_asked: dict[str, str] = {}


def stage_fingerprint(stage: str, *families: str) -> str:
    """The fingerprint of a stage, with the adapters of the families of a model that runs in it.

    Args:
        stage: One of `_STAGES`.
        families: `ModelEntry.families` of the model; none where no model runs.

    Raises:
        KeyError: no such stage or family.
    """
    modules = list(_STAGES[stage])
    for family in families:
        modules += _FAMILIES[family]
    digest = hashlib.sha256()
    for module in sorted(set(modules)):
        digest.update(f"{module} {_module_hash(module)}\n".encode())
    fingerprint = digest.hexdigest()[:16]
    _asked[" ".join((stage, *families))] = fingerprint
    return fingerprint


def asked_for() -> dict[str, str]:
    """The fingerprints that this process has asked for so far, by stage and families.

    A command asks for that of its own stage before it writes: so its output can tell what code it
    was made by.
    """
    return dict(_asked)


@functools.cache
def _module_hash(module: str) -> str:
    source = (_PACKAGE / module).read_text(encoding="utf-8")
    meaning = normalised(source) if module.endswith(".py") else source
    return hashlib.sha256(meaning.encode()).hexdigest()


def normalised(source: str) -> str:
    """Python source as its syntax tree without docstrings: equal if nothing it does changed."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
