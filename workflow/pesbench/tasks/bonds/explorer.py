"""Data of the bond scans for the explorer: scores by model, and the curves of each scan.

What is stored is thinned, so that a page of 30 models and 485 scans can be published: energies and
squared force changes of all frames, forces at the first frame of the largest slope of each model
and two frames to either side, those of the reference at the two frames of these slopes, and of the
geometries only the first with the atoms that move.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ase.formula import Formula
from ase.symbols import Symbols
from numpy.typing import NDArray

from pesbench.core.exploring import Explored, ExplorerJob, packed
from pesbench.core.interface import Status
from pesbench.core.scans import Scan
from pesbench.files.evaluation import Evaluation
from pesbench.files.integrity import check_scan_set
from pesbench.files.scan_set import ScanSet
from pesbench.metrics import smoothness
from pesbench.tasks.bonds.task import TASK
from pesbench.tasks.bonds.worst import open_evaluations, read_evaluation

Array = NDArray[np.float64]

BESIDE_PEAK = 2  # frames with forces on either side of the largest slope
REBUILT_ANGSTROM = 1e-4  # how far rebuilt geometries may be from the stored ones
HEAT = ("fsd_full", "fsd_windowed", "fsd_aligned", "force_mae")  # means by bond type
NUMBERS = (
    "fsd_full",
    "fsd_windowed",
    "fsd_aligned",
    "force_mae",
    "force_mae_1ev",
    "energy_mae_aligned",
    "spurious_extrema",
    "spurious_extrema_force",
    "fsd_peak_coordinate",
    "extremum_coordinate",
    "extremum_depth",
    "wall_coordinate",
)
WORDS = ("status", "message", "extremum")
_RAN = {
    "device": "device",
    "dtype": "precision claimed",
    "dtype_measured": "precision measured",
    "platform": "platform",
    "git_commit": "commit of pesbench",
}
_RELEASE = re.compile(r"\d+\.\d[\w.+-]*")  # of a package
ELSEWHERE = "PATH/TO"  # in a command, for the folder of a file that was given by an absolute path
_OPTIONS = ("--entry", "--weights", "--environment", "--scan-set", "--device", "--threads")
_UNKNOWN_TITLES = {
    "extremum_coordinate": (
        "place of the worst extremum",
        "Å",
        "Bond length of the deepest extremum that only the model or only the reference has.",
    ),
    "extremum_depth": ("its depth", "eV", "Energy by which this extremum stands out."),
    "wall_coordinate": (
        "the wall gives way at",
        "Å",
        "Bond length below which further compression meets no resistance.",
    ),
}


def explorer(job: ExplorerJob) -> dict[str, Any]:
    """Scores and curves of all scans.

    Pieces: `model-<number>`, the scores of a model by scan, and `scan-<number>`, a scan with the
    curves of every model but the controls, whose curves are those of the reference with a known
    defect.

    Returns:
        `scans`, one row a scan; `columns` of the scores; `heat`, means by bond type; by model,
        `ran`, names and values of what it ran with, and `commands`, words of the command that
        computes scans again, without the scans and the file to write; whether any model has
        `curves`.

    Raises:
        UserError: a file is damaged, or was made on another scan set.
    """
    with ScanSet(job.scan_set) as scan_set, contextlib.ExitStack() as stack:
        ids = [one for one in scan_set.ids if scan_set.quality(one)[0] != "dropped"]
        numbers = {scan_id: number for number, scan_id in enumerate(ids)}
        tables = {k: _by_scan(one.scores, numbers) for k, one in job.models.items()}
        shown = {k: one for k, one in job.models.items() if one.role != "control"}
        opened = {k: stack.enter_context(open_evaluations(one.files)) for k, one in shown.items()}
        for holder in opened.values():
            for one in {id(shard): shard for shard in holder.values()}.values():
                sha256 = one.scan_set_sha256
                check_scan_set(one.path, sha256, scan_set.path, scan_set.sha256)
        for k, table in tables.items():
            job.put(f"model-{k}", _model_piece(table))
        evaluations = {k: next(iter(holder.values())) for k, holder in opened.items() if holder}
        ran = {
            str(k): _ran(one.scores.attrs.get("made_from"), evaluations.get(k))
            for k, one in shown.items()
        }
        commands = {str(k): _command(one) for k, one in evaluations.items()}
        scans = []
        for number, scan_id in enumerate(ids):
            scan = scan_set.scan(scan_id)
            rows = {k: tables[k][number] for k in shown if number in tables[k]}
            scans.append(_scan_row(scan))
            job.put(f"scan-{number}", _scan_piece(scan, rows, opened))
    return {
        "scans": {"columns": list(_SCAN_COLUMNS), "rows": scans},
        "columns": [_column(name) for name in NUMBERS],
        "heat": _heat(job.models),
        "ran": ran,
        "curves": bool(evaluations),
        "commands": {k: words for k, words in commands.items() if words},
    }


def _column(name: str) -> dict[str, str]:
    known = {metric.name: metric for metric in TASK.metrics}
    if name in known:
        one = known[name]
        return {"name": name, "title": one.title, "unit": one.unit, "help": one.help}
    title, unit, told = _UNKNOWN_TITLES[name]
    return {"name": name, "title": title, "unit": unit, "help": told}


# --- what ran ------------------------------------------------------------------------------------


def _json(evaluation: Evaluation, name: str) -> dict[str, Any]:
    """An attribute that holds a JSON object; empty where it holds something else."""
    try:
        found = json.loads(str(evaluation.attributes.get(name, "{}")))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _ran(made_from: Any, evaluation: Evaluation | None) -> list[list[str]]:
    """What a model ran with: as its scores say of all files, and its first file if it is here."""
    files = [one for one in made_from or () if isinstance(one, Mapping)]
    told = {
        title: ", ".join(sorted({str(one[name]) for one in files if one.get(name)}))
        for name, title in _RAN.items()
    }
    if evaluation is not None:
        told["threads"] = str(evaluation.attributes.get("threads", ""))
        details = _json(evaluation, "model_details").items()
        releases = [f"{k} {v}" for k, v in details if isinstance(v, str) and _RELEASE.fullmatch(v)]
        told["packages"] = ", ".join(releases)
    return [[title, value] for title, value in told.items() if value]


def _command(evaluation: Evaluation) -> list[str]:
    """Words of the command that made a file, as far as another file can be made with them.

    The words come from the file. No others are kept than options of `run bonds`, and a reader
    gives the consent that an entry needs, `--entry-sha256`, and never a file. Where a file lies on
    the machine that wrote the results is not told: `PATH/TO` stands for an absolute path.
    """
    words = _json(evaluation, "provenance").get("command")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return []
    start = ["python", "-m", "pesbench", "run", "bonds"]
    kept: list[str] = []
    keeps = False
    for word in words[len(start) :] if words[: len(start)] == start else []:
        keeps = word in _OPTIONS if word.startswith("--") else keeps
        kept += (
            [f"{ELSEWHERE}/{Path(word).name}" if word.startswith("/") else word] if keeps else []
        )
    return ["run", "bonds", *kept] if kept else []


# --- scores --------------------------------------------------------------------------------------


def _by_scan(scores: pd.DataFrame, numbers: Mapping[str, int]) -> dict[int, dict[str, Any]]:
    """Rows of scores by the number of their scan; columns that older versions lack are empty."""
    shown = scores.reindex(columns=["scan", *NUMBERS, *WORDS])
    rows = shown[shown["scan"].isin(numbers.keys())].to_dict("records")
    return {numbers[row["scan"]]: row for row in rows}


def _cells(row: Mapping[str, Any]) -> list[Any]:
    numbers = [_rounded(row[name]) for name in NUMBERS]
    return [*numbers, *("" if pd.isna(row[name]) else str(row[name]) for name in WORDS)]


def _rounded(value: Any) -> float | None:
    if pd.isna(value) or not np.isfinite(float(value)):
        return None
    return float(f"{float(value):.7g}")


def _model_piece(table: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "columns": [*NUMBERS, *WORDS],
        "scans": list(table),
        "rows": [_cells(row) for row in table.values()],
    }


def _heat(models: Mapping[int, Explored]) -> dict[str, Any]:
    """Means of some scores by model and bond type, with the number of scans behind each."""
    bonds = sorted({bond for one in models.values() for bond in one.scores["bond"]})
    values: dict[str, dict[str, list[Any]]] = {name: {} for name in HEAT}
    for k, one in models.items():
        ok = one.scores[one.scores["status"] == "ok"]
        for name in HEAT:
            known = ok[np.isfinite(ok[name].astype(float))]
            groups = known.groupby("bond")[name]
            means, counts = groups.mean().to_dict(), groups.size().to_dict()
            values[name][str(k)] = [
                [_rounded(means[bond]), int(counts[bond])] if bond in means else None
                for bond in bonds
            ]
    return {"bonds": bonds, "values": values}


# --- scans ---------------------------------------------------------------------------------------

_SCAN_COLUMNS = ("scan", "system", "bond", "formula", "n_atoms", "smiles", "quality", "reason")


def _scan_row(scan: Scan) -> list[Any]:
    formula = Formula(str(Symbols(scan.numbers))).format("hill")
    smiles = scan.smiles
    return [
        scan.id, scan.system, scan.bond, formula, scan.n_atoms, smiles, scan.quality, scan.reason,
    ]  # fmt: skip


def _scan_piece(
    scan: Scan,
    rows: Mapping[int, Mapping[str, Any]],
    opened: Mapping[int, Mapping[str, Evaluation]],
) -> dict[str, Any]:
    """One scan: geometry, reference, and each model's curves and scores."""
    known = np.isfinite(scan.energy)
    try:
        q_known = smoothness.equilibrium_index(scan.energy[known])
    except ValueError:  # no model is scored on it
        q_known = int(np.argmin(scan.energy[known])) if known.any() else 0
    q = int(np.flatnonzero(known)[q_known]) if known.any() else 0
    wanted: set[int] = {q}
    models = []
    for k, row in rows.items():
        piece: dict[str, Any] = {"model": k, "row": _cells(row)}
        if scan.id in opened[k]:
            curves, slope = _curves(scan, opened[k], row, q)
            piece |= curves
            wanted |= slope
        models.append(piece)
    kept = sorted(wanted)
    change = np.sum((scan.forces - scan.forces[q]) ** 2, axis=(1, 2))
    return {
        **_geometry(scan),
        "minimum": q,
        "reference": {
            "zero": float(scan.energy[q]),
            "energy": packed(scan.energy - scan.energy[q]),
            "change": packed(change),
            "frames": kept,
            "forces": packed(scan.forces[kept], "<f2"),
        },
        "models": models,
    }


def _curves(
    scan: Scan, holder: Mapping[str, Evaluation], row: Mapping[str, Any], q: int
) -> tuple[dict[str, Any], set[int]]:
    """Energies, squared force changes, and forces about the largest slope; the frames of that."""
    found = read_evaluation(dict(holder), scan)
    ok = found.frame_status == Status.OK.code
    forces = np.where(ok[:, None, None], found.forces, np.nan)
    energy = np.where(ok, found.energy, np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        change = np.sum((forces - scan.forces[q]) ** 2, axis=(1, 2))
    zero = float(energy[q]) if np.isfinite(energy[q]) else 0.0
    peak = row["fsd_peak_coordinate"]
    at = q if pd.isna(peak) else int(np.searchsorted(scan.coordinate, float(peak))) - 1
    frames = [
        f for f in range(at - BESIDE_PEAK, at + BESIDE_PEAK + 1) if 0 <= f < scan.n_frames and ok[f]
    ]
    curves = {
        "zero": zero,
        "energy": packed(energy - zero),
        "change": packed(change),
        "frames": frames,
        "forces": packed(forces[frames], "<f2"),
    }
    return curves, {at, at + 1} & set(frames)


def _geometry(scan: Scan) -> dict[str, Any]:
    """The first geometry with what moves; all geometries where they cannot be rebuilt from it."""
    i, j = scan.atoms
    start = scan.positions[0]
    told = {
        "atoms": [i, j],
        "numbers": scan.numbers.tolist(),
        "bonds": scan.bonds.tolist(),
        "charge": scan.charge,
        "spin": scan.spin,
        "coordinate": packed(scan.coordinate, "<f8"),
        "fragment": scan.fragment.tolist(),
    }
    vector = start[j] - start[i]
    length = float(np.linalg.norm(vector))
    if length > 0:
        side = np.where(scan.fragment == scan.fragment[j], 0.5, -0.5)
        change = (scan.coordinate - length)[:, None, None] * (vector / length)
        rebuilt = start + change * side[:, None]
        if np.abs(rebuilt - scan.positions).max() < REBUILT_ANGSTROM:
            return told | {"start": packed(start)}
    return told | {"positions": packed(scan.positions)}
