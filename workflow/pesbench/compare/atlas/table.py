"""The failure atlas as a table: stored answers of models, read and placed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pesbench.compare.atlas.curves import Curve, scan_kinds
from pesbench.compare.atlas.ends import End, end_kinds
from pesbench.compare.atlas.kinds import Kind, Place
from pesbench.compare.comparison import BONDS, DYNAMICS
from pesbench.compare.inputs import CompareInputs, Trajectories, main_runs
from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.core.scans import Scan
from pesbench.files.evaluation import Evaluation, ScanEvaluation
from pesbench.files.scan_set import ScanSet

SCANS, TRAJECTORIES = "scans", "trajectories"
_NOT_ASKED = frozenset({"unsupported", "masked", "not_evaluated"})
# of a trajectory, which might have lived; an alarm ends one as asked
_CUT = frozenset({"timeout", "out_of_memory", "alarm"})
COLUMNS = (
    "model", "role", "source", "item", "system", "kind", "n", "n_below", "pair", "atoms",
    "distance_angstrom", "reduced", "told_by", "coordinate_angstrom", "frame", "reference_ev",
    "time_ps", "step", "temperature_k", "size", "unit", "reference_fails", "note",
)  # fmt: skip
_TEXT = frozenset(
    {"model", "role", "source", "item", "system", "kind", "pair", "atoms", "told_by", "unit",
     "note"}
)  # fmt: skip


@dataclass(frozen=True)
class Atlas:
    """What happened.

    Attributes:
        rows: One row a model, scan or trajectory, and kind: `COLUMNS`. `frame` is the frame of the
            scan, or the first of the two of a step; `step` that of the trajectory; `n` the number
            of places of the kind on a scan, `n_below` of those at which the reference is at most
            10 eV above its minimum; `reference_ev` its energy at the place that is told.
        asked: Number of scans, and of trajectories, that the rows are of, by source and model.
        roles: Role of each model.
        not_kept: Models, controls aside, of which there are no evaluations.
    """

    rows: pd.DataFrame
    asked: Mapping[str, Mapping[str, int]]
    roles: Mapping[str, str]
    not_kept: Sequence[str]

    @property
    def too(self) -> int:
        """Trajectories that failed where the reference fails, too."""
        both = self.rows[self.rows["reference_fails"] == 1]
        return both[["model", "item"]].drop_duplicates().shape[0]


def atlas(inputs: CompareInputs) -> Atlas:
    """Place what happened to all models whose answers are there.

    Raises:
        UserError: a file is damaged, or lacks what is scored.
    """
    roles = {fact.name: fact.role for fact in inputs.facts}
    rows: list[dict[str, Any]] = []
    asked: dict[str, dict[str, int]] = {SCANS: {}, TRAJECTORIES: {}}
    if inputs.evaluations:
        assert inputs.scan_set_file is not None
        with ScanSet(inputs.scan_set_file) as scan_set:
            for name, files in _ordered(inputs.evaluations, roles):
                scores = inputs.tables[BONDS][name]
                found = list(_scans(scan_set, files, scores))
                asked[SCANS][name] = int((~scores["status"].isin(_NOT_ASKED)).sum())
                rows += [
                    {"model": name, "role": roles[name], "source": SCANS} | one for one in found
                ]
    failing = _reference_fails(inputs)
    for name, files in _ordered(inputs.trajectories, roles):
        scores = main_runs(inputs.tables[DYNAMICS][name])
        scores = scores[~scores["status"].isin(_NOT_ASKED | _CUT)]
        found = list(_trajectories(files, scores, failing if name != inputs.reference else None))
        asked[TRAJECTORIES][name] = len(scores)
        rows += [
            {"model": name, "role": roles[name], "source": TRAJECTORIES} | one for one in found
        ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    for column in COLUMNS:
        if column in _TEXT:
            table[column] = table[column].fillna("").astype(str)
        else:
            table[column] = table[column].astype(float)
    for column in ("n", "n_below", "frame", "step", "reference_fails"):
        table[column] = table[column].astype("Int64")
    not_kept = [n for n, r in roles.items() if r != "control" and n not in inputs.evaluations]
    return Atlas(table, asked, roles, not_kept)


def _ordered(
    files: Mapping[str, Sequence[Path]], roles: Mapping[str, str]
) -> list[tuple[str, Sequence[Path]]]:
    return [(name, files[name]) for name in roles if name in files]


def _place(place: Place) -> dict[str, Any]:
    return {
        "pair": place.elements,
        "atoms": f"{place.first} {place.second}" if place.first >= 0 else "",
        "distance_angstrom": place.distance,
        "reduced": place.reduced,
        "told_by": place.told_by,
    }


# --- scans ---------------------------------------------------------------------------------------


def _scans(
    scan_set: ScanSet, files: Sequence[Path], scores: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    with ExitStack() as stack:
        shards = [stack.enter_context(Evaluation(path)) for path in files]
        holder = {scan_id: shard for shard in shards for scan_id in shard.ids}
        for row in scores.to_dict("records"):
            told = {"item": row["scan"], "system": row["system"]}
            if row["status"] in _NOT_ASKED:
                continue
            if row["status"] != "ok":
                note = ": ".join([row["status"], *_said(row["message"])])
                yield told | {"kind": Kind.NO_ANSWER.value, "n": 1, "note": note}
                continue
            if row["scan"] not in holder:
                raise UserError(
                    f"scan {row['scan']!r} is scored but in no shard; make the evaluation again"
                )
            scan = scan_set.scan(row["scan"])
            evaluation = holder[scan.id].scan(scan.id, (scan.n_frames, scan.n_atoms))
            curve, frames = curve_of(scan, evaluation)
            for found in scan_kinds(curve):
                event = found.event
                yield (
                    told
                    | _place(found.place)
                    | {
                        "kind": event.kind.value,
                        "n": found.n,
                        "n_below": found.n_below,
                        "coordinate_angstrom": event.coordinate,
                        "frame": int(frames[event.frame]),
                        "reference_ev": event.reference_ev,
                        "size": event.size,
                        "unit": event.unit,
                    }
                )


def _said(message: Any) -> list[str]:
    """A message, where there is one: an empty cell of a table is NaN."""
    return [message] if isinstance(message, str) and message else []


def curve_of(scan: Scan, evaluation: ScanEvaluation) -> tuple[Curve, np.ndarray]:
    """The frames of a scan that are scored, and their numbers."""
    used = np.isfinite(scan.energy) & (evaluation.frame_status == Status.OK.code)
    curve = Curve(
        coordinate=scan.coordinate[used],
        positions=scan.positions[used],
        numbers=scan.numbers,
        fragment=scan.fragment,
        atoms=scan.atoms,
        energy=evaluation.energy[used],
        forces=evaluation.forces[used],
        reference_energy=scan.energy[used],
        reference_forces=scan.forces[used],
    )
    return curve, np.flatnonzero(used)


# --- trajectories --------------------------------------------------------------------------------


def _reference_fails(inputs: CompareInputs) -> set[tuple[str, float]] | None:
    """Molecules and temperatures at which the reference fails; None without a reference."""
    if inputs.reference is None:
        return None
    rows = main_runs(inputs.dynamics[inputs.reference])
    failed = rows[rows["outcome"] == "failed"]
    return set(zip(failed["system"], failed["temperature_k"].astype(float), strict=True))


def _trajectories(
    files: Sequence[Path], scores: pd.DataFrame, failing: set[tuple[str, float]] | None
) -> Iterator[dict[str, Any]]:
    if scores.empty:
        return
    nominal = float(scores["timestep_fs"].iloc[0])
    with ExitStack() as stack:
        opened = [stack.enter_context(Trajectories(path)) for path in files]
        same = [one for one in opened if np.isclose(one.timestep_fs, nominal)]
        holder = {name: one for one in same for name in one.names}
        for row in scores.to_dict("records"):
            if row["trajectory"] not in holder:
                raise UserError(
                    f"trajectory {row['trajectory']!r} is scored but in no file; run it again"
                )
            told = {
                "item": row["trajectory"],
                "system": row["system"],
                "n": 1,
                "time_ps": row["time_ps"],
                "temperature_k": row["temperature_k"],
            }
            if failing is not None:
                told["reference_fails"] = int(
                    (row["system"], float(row["temperature_k"])) in failing
                )
            yield from _ended(holder[row["trajectory"]], row, told)


def _ended(
    opened: Trajectories, row: Mapping[str, Any], told: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    trajectory = opened.trajectory(row["trajectory"])
    note = "" if trajectory.survived else ": ".join(_said(row["message"]))
    step: int | None = max(trajectory.failure_step, trajectory.last_step)
    step = step if step >= 0 else None  # it never began
    if trajectory.last_step < (0 if trajectory.failure else 1):
        yield {**told, "kind": Kind.NO_ANSWER.value, "step": step, "note": note}
        return
    frames, last = opened.frames(trajectory.name), opened.last_steps(trajectory.name)
    series = opened.series(trajectory.name)
    end = End(
        numbers=trajectory.numbers,
        bonds=trajectory.bonds,
        failure=trajectory.failure,
        answered=trajectory.status is Status.OK,
        start=frames.positions[0],
        end=(frames if last is None else last).positions[-1],
        time_ps=series.time_ps,
        potential=series.potential,
        kinetic=series.kinetic,
        temperature=series.temperature,
        temperature_k=trajectory.temperature_k,
        degrees_of_freedom=trajectory.degrees_of_freedom,
        graph_changed=bool(row.get("graph_changed") == 1),
    )
    for one in end_kinds(end):
        yield {**told, **_place(one.place), "kind": one.kind.value, "step": step,
               "size": one.size, "unit": one.unit, "note": note}  # fmt: skip
