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

_PACKAGE = Path(__file__).parents[1]
_CONTRACT = ("core/interface.py", "core/scans.py", "core/systems.py")
_RUNNING = (
    "engine/batching.py",
    "tasks/bonds/run.py",
    "core/host_memory.py",
    "core/errors.py",
    "engine/evaluator.py",
    "engine/scans.py",
    "engine/shard.py",
    "engine/serving.py",
    "engine/supervisor.py",
    "engine/wire.py",
    "engine/worker.py",
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
    "files/molecules/reading.py",
    "files/molecules/charge_and_spin.py",
    "files/molecules/completeness.py",
    "files/molecules/mdl.py",
    "files/molecules/pdb.py",
    "files/molecules/record.py",
    "files/molecules/xyz.py",
)
_FAMILIES = {
    "ase": ("models/families/ase.py", "models/frame_by_frame.py"),
    "control": ("models/families/control.py",),
    "mace": ("models/families/mace.py", "models/torch_devices.py", "models/torchsim.py"),
    "perturbed": ("models/families/perturbed.py",),  # and those of its base
    "pyscf": ("models/families/pyscf.py", "models/frame_by_frame.py"),
    "sevennet": ("models/families/sevennet.py", "models/torch_devices.py"),
    "tblite": ("models/families/tblite.py", "models/frame_by_frame.py"),
    "testbed": ("models/families/testbed.py", "models/torch_devices.py", *_POTENTIAL),
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
        "tasks/dynamics/run.py",
        "engine/patient_worker.py",
        "engine/relaxation.py",
        "tasks/dynamics/stored.py",
        "metrics/stability.py",
        *_RUNNING,
    ),
    "scores": (
        "tasks/bonds/score.py",
        "files/split.py",
        "tasks/bonds/breaks.py",
        "metrics/curves.py",
        "metrics/smoothness.py",
    ),
    "dynamics-scores": (
        "tasks/dynamics/score.py",
        "files/split.py",
        "tasks/dynamics/conservation.py",
        "tasks/dynamics/elsewhere.py",
        "metrics/survival.py",
        "metrics/stability.py",
    ),
    "vibrations": (
        "tasks/vibrations/run.py",
        "tasks/dynamics/run.py",  # which molecules, and how many vibrations each has
        "engine/patient_worker.py",
        "engine/relaxation.py",
        "tasks/vibrations/normal_modes.py",
        "metrics/stability.py",
        *_RUNNING,
    ),
    "vibration-scores": (
        "tasks/vibrations/score.py",
        "files/split.py",
        "tasks/vibrations/metrics.py",
    ),
    "describe": ("models/record.py",),
    "probe": ("commands/plan/probe.py", *_RUNNING),
    "probe-scans": (
        "commands/plan/probe_scans.py",
        "commands/plan/contents.py",
        "commands/plan/cost.py",
    ),
    "plan": (
        "commands/plan/budget.py",
        "commands/plan/command.py",
        "commands/plan/contents.py",
        "commands/plan/cost.py",
        "commands/plan/prediction.py",
        "commands/plan/tables.py",
        "core/text.py",
    ),
    "plan-actual": ("commands/plan/actual.py",),
    "merge": (  # no rule: called by hand
        "commands/merge/assembly.py",
        "commands/merge/commands.py",
        "commands/merge/contents.py",
        "commands/merge/duplicates.py",
        "commands/merge/joining.py",
        "commands/merge/options.py",
        "commands/merge/place.py",
    ),
    "parity": ("compare/parity.py", "models/variants.py", "core/text.py"),
    "associate": (
        "compare/association.py",
        "compare/association_cost.py",
        "compare/association_figures.py",
        "compare/decades.py",
        "compare/dose.py",
        "compare/dose_figures.py",
        "tasks/dynamics/section.py",
        "report/figures.py",
        "report/inputs.py",
        "report/tables.py",
        "core/text.py",
        "metrics/aggregate.py",
        "compare/association_metrics.py",
        "compare/association_panel.py",
        "compare/association_statistics.py",
        "metrics/stability.py",
        "metrics/survival.py",
        "models/families/perturbed.py",
        "models/variants.py",
    ),
    "ladder": (
        "compare/cards.py",
        "tasks/dynamics/section.py",
        "report/figures.py",
        "report/inputs.py",
        "compare/ladder.py",
        "compare/ladder_claims.py",
        "compare/ladder_figure.py",
        "compare/ladder_text.py",
        "report/tables.py",
        "core/text.py",
        "metrics/aggregate.py",
        "compare/ladder_noise.py",
        "metrics/survival.py",
    ),
    "leaderboard": (
        "compare/association.py",
        "compare/association_cost.py",
        "tasks/dynamics/section.py",
        "report/inputs.py",
        "compare/ladder.py",
        "compare/ladder_claims.py",
        "compare/ladder_text.py",
        "report/merged.py",
        "compare/parity.py",
        "tasks/bonds/seen.py",
        "report/tables.py",
        "core/text.py",
        "metrics/aggregate.py",
        "compare/ladder_noise.py",
        "tasks/dynamics/elsewhere.py",
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
        "tasks/bonds/faults.py",
        "report/figures.py",
        "tasks/bonds/worst.py",
        "tasks/bonds/worst_figure.py",
        "tasks/bonds/score.py",
        "core/text.py",
        "tasks/bonds/breaks.py",
        "metrics/curves.py",
        "metrics/smoothness.py",
    ),
    "figures": ("report/figures.py",),
    "page": (
        "tasks/bonds/faults.py",
        "report/inputs.py",
        "report/page.py",
        "report/page.html.jinja",
        "core/text.py",
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
