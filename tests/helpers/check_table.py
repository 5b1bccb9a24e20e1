"""The tables of verdicts in docs/check.md: the ladder of perturbed models, and other models.

    python tests/helpers/check_table.py FOLDER                    # checks what FOLDER lacks
    python tests/helpers/check_table.py FOLDER gfn2-xtb gfn2-dip_1  # these alone; no table

keeps `check-MODEL.json` of every model in FOLDER and writes the tables between their comments. A
model takes half a minute of one idle core. Perturbed models are checked in this process, and what
the model below them says is remembered: on the scans it is the same for all of them. The exit code
is 1 if the reference fails, or if a dose passes that loses survival time in the study or jumps by
0.1 eV or more.
"""

from __future__ import annotations

import csv
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pesbench.commands.check.conformance import changed_fields
from pesbench.commands.check.limits import Limits
from pesbench.commands.check.local import InProcess
from pesbench.commands.check.report import CheckReport
from pesbench.commands.check.run import run_check
from pesbench.commands.check.supervised import check_entry, default_json
from pesbench.core.interface import Batch, Model, ModelInfo, Result, Status
from pesbench.core.progress import track
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import Evaluator
from pesbench.models.families.perturbed import PARAMETERS, PerturbedModel
from pesbench.models.models_file import read_models, resolve_entry
from pesbench.models.registry import ModelEntry, load

REPO = Path(__file__).parents[2]
PAGE = REPO / "docs" / "check.md"
DOSES = REPO / "resources" / "study" / "mini" / "sections" / "dose" / "dose_response.csv"
REFERENCE = "gfn2-xtb"
OTHERS = ("gfn1-xtb", "mace-mini", "mmff94", "so3lr")
MUST_FAIL = ("gfn2-step_0.1", "gfn2-step_1")  # discontinuous, though no trajectory feels it


class Remembering:
    """A model whose answers are kept, system by system.

    Args:
        model: A model that goes frame by frame.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._known: dict[bytes, tuple[float, np.ndarray, Status, str]] = {}

    @property
    def info(self) -> ModelInfo:
        return self._model.info

    def evaluate(self, batch: Batch) -> Result:
        keys = []
        for s in range(batch.n_systems):
            one = batch.select([s])
            arrays = (one.numbers, one.positions, one.cell, one.pbc, one.charge, one.spin)
            key = b"|".join(array.tobytes() for array in arrays)
            keys.append(key)
            if key not in self._known:
                said = self._model.evaluate(one)
                assert said.energies is not None
                self._known[key] = (
                    float(said.energies[0]), said.forces, said.status[0], said.messages[0]
                )  # fmt: skip
        answers = [self._known[key] for key in keys]
        return Result(
            np.array([answer[0] for answer in answers]),
            np.concatenate([answer[1] for answer in answers]),
            tuple(answer[2] for answer in answers),
            tuple(answer[3] for answer in answers),
        )


@cache
def entries() -> dict[str, ModelEntry]:
    """The registry."""
    return read_models(REPO / "config" / "models.yaml")


@cache
def remembered(name: str) -> Remembering:
    """The model below perturbed ones."""
    entry = resolve_entry(entries()[name], REPO / "config" / "models.yaml", REPO)
    return Remembering(load(entry, scan_set=None, device="cpu"))


def ladder() -> list[str]:
    """The perturbed models of the study, after what they are made from."""
    with DOSES.open(encoding="utf-8", newline="") as file:
        names = [row["model"] for row in csv.DictReader(file)]
    return [REFERENCE, *(name for name in names if name != REFERENCE)]


def time_lost() -> dict[str, float]:
    """Survival time that each dose loses in the study, ps."""
    with DOSES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {r["model"]: float(r["horizon_ps"]) - float(r["survival_ps"]) for r in rows}


def check_of(name: str) -> CheckReport:
    """The check of an entry, as the command does it."""
    entry = entries()[name]
    if entry.family != "perturbed":
        return check_entry(resolve_entry(entry.trusted(), REPO / "config" / "models.yaml", REPO))
    settings = entry.settings
    kind = settings["perturbation"]
    parameters = {key: settings[key] for key in PARAMETERS[kind]}
    return check_of_perturbed(name, settings["base"], kind, settings["dose"], parameters)


def check_of_perturbed(
    name: str, base: str, kind: str, dose: float, parameters: dict[str, Any]
) -> CheckReport:
    """The check of a model plus a defect, in this process."""
    model = PerturbedModel(remembered(base), kind, dose, parameters)
    return run_check(
        Evaluator(InProcess(model), BatchLimit()),
        name=name,
        limits=Limits(),
        claimed_dtype=model.info.dtype,
        inputs_changed=lambda batch: changed_fields(model.evaluate, batch),
        track=track,
    )


def stored(folder: Path, name: str) -> dict[str, Any]:
    """The report of a model as JSON, checked where the folder lacks it."""
    path = folder / default_json(name)
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        check_of(name).to_json(path)
    return json.loads(path.read_text(encoding="utf-8"))


def _row(report: dict[str, Any], beside: list[str]) -> str:
    rows = {row["name"]: row for row in report["rows"]}

    def value(name: str) -> str:
        number = rows[name]["value"] if name in rows else None
        if number is None:
            return "n/a"
        failed = rows[name]["verdict"] in ("fail", "error")
        return f"**{number:.3g}**" if failed else f"{number:.3g}"

    verdict = report["verdict"].partition(":")[0]
    first = next((r["name"].replace("_", " ") for r in report["rows"]
                  if r["verdict"] in ("fail", "error")), "")  # fmt: skip
    names = ("gradient", "fsd_aligned", "spurious_extrema", "open_walls", "open_pairs",
             "runs_failed", "energy_drift", "energy_rms", "energy_jump")  # fmt: skip
    others = [r["name"].replace("_", " ") for r in report["rows"]
              if r["verdict"] in ("fail", "error") and r["name"] not in names]  # fmt: skip
    cells = [f"`{report['model']}`", *beside, *(value(name) for name in names),
             ", ".join(others), verdict, first]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def table(reports: list[dict[str, Any]], lost: dict[str, float] | None = None) -> str:
    """A table of verdicts; with `lost`, beside the survival time that each loses."""
    titles = ["model", *([] if lost is None else ["lost (ps)"]), "gradient (eV/Å)",
              "aligned FSD (Å⁻¹)", "spurious extrema", "open walls", "open pairs", "runs failed",
              "drift (meV/atom/ps)", "RMS (meV/atom)", "jump (meV)", "other rows that fail",
              "verdict", "first reason"]  # fmt: skip
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for report in reports:
        lines.append(_row(report, [] if lost is None else [f"{lost[report['model']]:.2f}"]))
    return "\n".join(lines) + "\n"


def write(name: str, text: str) -> None:
    """Put text between the two comments of a name on the page."""
    page = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, rest = page.split(begin)
    PAGE.write_text(before + begin + text + end + rest.split(end)[1], encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Check, write the tables, and say what passes that must not."""
    folder, names = Path(arguments[0]), arguments[1:]
    for name in names:
        print(f"{name}: {stored(folder, name)['verdict']}", flush=True)
    if names:
        return 0
    lost = time_lost()
    reports = [stored(folder, name) for name in ladder()]
    write("ladder", table(reports, lost))
    write("others", table([stored(folder, name) for name in OTHERS]))
    wrong = [
        report["model"]
        for report in reports
        if report["passed"] is not (report["model"] == REFERENCE)
        and (report["model"] in (REFERENCE, *MUST_FAIL) or lost[report["model"]] > 0)
    ]
    for name in wrong:
        print(f"{name} has the wrong verdict", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
