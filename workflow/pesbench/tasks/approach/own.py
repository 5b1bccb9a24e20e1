"""The closest approach of one model in one molecule, without a scan set or a config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.core.paths import given_path
from pesbench.core.progress import track
from pesbench.core.systems import System
from pesbench.core.text import number
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import Evaluator
from pesbench.engine.scans import evaluate_scans
from pesbench.engine.worker import ModelLoadError, Worker
from pesbench.files.atomic import atomic_path
from pesbench.files.environment import Environment
from pesbench.files.evaluation import ScanEvaluation
from pesbench.files.figures import save
from pesbench.files.molecules.reading import SUFFIXES
from pesbench.files.molecules.xyz import write_extxyz
from pesbench.models.registry import ModelEntry
from pesbench.references.molecules import prepare, read_molecules
from pesbench.tasks.approach import figures, summary
from pesbench.tasks.approach.judged import largest_gap
from pesbench.tasks.approach.pairs import BOND, CONTACT, NUMBERS, Approach, bonded, contacts
from pesbench.tasks.approach.score import drawn, pair_row

FRAME_KEY = "pair"  # of the comment line of a frame that is written
NOT_ASKED = ("unsupported", "masked")  # neither an answer nor a failure
FRAMES_A_CALL, FRAMES_A_CALL_SINGLY = 100, 20  # where the entry leaves it open


def read_molecule(text: str, charge: int | None = None, spin: int | None = None) -> System:
    """One molecule with a geometry, from a file or a SMILES.

    Args:
        text: Path of a file of one molecule, in a format of a scan set; or a SMILES, which gets the
            geometry of RDKit's force field.
        charge: Total charge in e, with which the file or SMILES must agree where it states one.
        spin: Multiplicity, likewise.

    Raises:
        UserError: it is neither, is wrong, holds several molecules, or has no geometry.
    """
    is_file = _is_file(text)
    stated = {key: one for key, one in (("charge", charge), ("spin", spin)) if one is not None}
    try:
        found = read_molecules([{"file" if is_file else "smiles": text} | stated], Path.cwd())
    except UserError as error:
        hint = "" if is_file else f" ({text[:80]!r} is no file, so that it is read as a SMILES)"
        said = str(error).removeprefix("`molecules`: ").removeprefix("`molecules[0]`: ")
        raise UserError(f"approach: --molecule: {said}{hint}") from error
    if len(found) != 1:
        raise UserError(
            f"approach: --molecule {text}: holds {len(found)} molecules; give a file of one"
        )
    system, reason = prepare(found[0], None)
    if reason:
        raise UserError(f"approach: --molecule {text}: {reason}; give a file with a geometry")
    if len(system.numbers) < 2:
        raise UserError(
            f"approach: --molecule {text}: one atom approaches nothing; give a molecule"
        )
    return system


def _is_file(text: str) -> bool:
    """Whether a text names a file, which is there; else it is a SMILES."""
    try:
        path = given_path(text)
    except UserError as error:
        raise UserError(f"approach: --molecule: {error}") from error
    try:
        there = path.is_file()
    except OSError:  # longer than a name can be, as a SMILES may be
        there = False
    if not there and path.suffix.lower() in (*SUFFIXES, ".csv"):
        raise UserError(
            f"approach: --molecule {text}: no such file; give a file of one molecule, or a SMILES"
        )
    return there


def pairs_of(system: System, n_contacts: int) -> list[Approach]:
    """The pairs that are asked about: the bonds, and some contacts.

    Raises:
        UserError: there is none.
    """
    pairs = [*bonded(system), *contacts(system, n_contacts)]
    if not pairs:
        raise UserError(f"approach: {system.id} has no bonds; give a molecule that has some")
    return pairs


def ask(
    entry: ModelEntry,
    pairs: Sequence[Approach],
    *,
    device: str = "auto",
    threads: int = 1,
    environment: Environment | None = None,
) -> list[ScanEvaluation]:
    """What a model says of some pairs, in order.

    Raises:
        UserError: the entry is a control, or the model does not load.
        HostError: the machine failed.
    """
    if entry.is_control:
        raise UserError(f"approach: {entry.name!r} is a control, which knows no frames but those "
                        "of a scan set; give a model")  # fmt: skip
    with Worker(
        entry, device=device, threads=threads, timeout_s=entry.timeout_s, environment=environment
    ) as worker:
        try:
            info = worker.start()
            size = entry.batch_size
            if size == "auto":
                size = FRAMES_A_CALL if info.batched else FRAMES_A_CALL_SINGLY
            evaluator = Evaluator(worker, BatchLimit(systems=int(size)))
            found = []
            for pair in track(pairs, len(pairs), "pairs"):
                found += evaluate_scans(evaluator, [pair.scan])
        except ModelLoadError as failure:
            raise UserError(f"model {entry.name!r}: {failure.message}") from failure
    return found


def judged_rows(
    model: str,
    pairs: Sequence[Approach],
    answers: Sequence[ScanEvaluation],
    reference: Mapping[str, ScanEvaluation],
) -> pd.DataFrame:
    """One row a pair, as in the scores of the task, with `left_out_angstrom`.

    A bonded pair needs no reference, and a frame of it that ends with an error is left out, as in
    `check`. `left_out_angstrom` is the largest distance that is left out, NaN for none.

    Args:
        model: Name of the model.
        pairs: Pairs, in order.
        answers: What the model says of each.
        reference: What a reference says of those that need one, by the name of the pair.

    Raises:
        UserError: no pair can be judged, for the reason that is given.
    """
    rows = []
    for pair, answer in zip(pairs, answers, strict=True):
        known = reference.get(pair.id)
        row = pair_row(model, pair, answer, known, "", without_errors=known is None)
        gap = largest_gap(pair, answer) if known is None else largest_gap(pair, answer, known)
        rows.append(row | {"left_out_angstrom": gap if row["n_masked"] else float("nan")})
    if all(row["status"] in NOT_ASKED for row in rows):
        first = rows[0]
        raise UserError(
            f"approach: no pair of {pairs[0].scan.system} can be judged with {model!r}: "
            f"{first['status']}: {first['message']}; give another model or molecule"
        )
    return pd.DataFrame(rows)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows as text cells for a terminal."""
    return pd.DataFrame([_cells(row) for row in rows.to_dict("records")])


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    cells = {
        "pair": f"{row['elements']} {row['atom_i']}-{row['atom_j']}"
        + (" (contact)" if row["kind"] == CONTACT else ""),
        "distance (Å)": f"{row['distance_angstrom']:.3f}",
    }
    if row["status"] != "ok":
        said = row["message"] or row["status"]
        return cells | {"rises": f"{row['status']}: {said}" if said != row["status"] else said,
                        "hole (Å)": "", "barrier (eV)": "", "at 0.1 Å (eV)": "",
                        "wall at 0.5 Å / ZBL": "", "left out": ""}  # fmt: skip
    rises, hole = row["monotone"], row["hole_radius_angstrom"]
    if np.isnan(rises):  # a model without energies
        rises, hole = row["force_monotone"], row["force_hole_radius_angstrom"]
    barrier = row["barrier_ev"]
    return cells | {
        "rises": "yes" if rises == 1 else "no",
        "hole (Å)": f"{hole:.2f}" if hole else summary.NONE,
        "barrier (eV)": summary.NONE if np.isnan(barrier) else
        f"{number(barrier)} ({summary.temperature_words(barrier)} K)",
        "at 0.1 Å (eV)": number(row["energy_end_ev"]),
        "wall at 0.5 Å / ZBL": number(row["zbl_ratio_05"]),
        "left out": _left_out(row),
    }  # fmt: skip


def _left_out(row: Mapping[str, Any]) -> str:
    """Such as `3 frames, the first at 0.35 Å`."""
    count = row["n_masked"]
    if not count:
        return summary.NONE
    return f"{count} frame{'s' if count > 1 else ''}, the first at {row['left_out_angstrom']:.2f} Å"


def worst(rows: pd.DataFrame) -> int | None:
    """The row of the worst pair: one that failed, else that of the widest hole; None for none."""
    lost = np.flatnonzero(~rows["status"].isin(["ok", *NOT_ASKED]))
    if lost.size:
        return int(lost[0])
    by_force = rows["force_hole_radius_angstrom"]
    radius = rows["hole_radius_angstrom"].fillna(by_force).fillna(0.0).to_numpy()
    return int(np.argmax(radius)) if radius.max(initial=0.0) > 0 else None


def verdict(rows: pd.DataFrame) -> str:
    """What was found, in one line."""
    asked = rows[~rows["status"].isin(NOT_ASKED)]
    model = rows["model"].iloc[0]
    rises = asked["monotone"].fillna(asked["force_monotone"]) == 1
    said = f"{model}: {rises.sum()} of {len(asked)} pairs repel down to 0.1 Å"
    if lost := int((asked["status"] != "ok").sum()):
        said += f", {lost} failed"
    if len(asked) < len(rows):
        said += f", {len(rows) - len(asked)} not judged"
    cheapest = summary.cheapest_hole(asked)
    if cheapest is None:
        return said
    return (
        f"{said}; the hole that costs the least is {summary.pair_words(cheapest)}: "
        f"{number(cheapest['barrier_ev'])} eV, over k_B "
        f"{summary.temperature_words(cheapest['barrier_ev'])} K"
    )


def write_curves(
    path: Path, title: str, pairs: Sequence[Approach], answers: Sequence[ScanEvaluation]
) -> None:
    """Write the published figure of the bonded pairs as PNG."""
    both = zip(pairs, answers, strict=True)
    curves = [drawn(pair, answer) for pair, answer in both if pair.kind == BOND]
    save(figures.own_curves(curves, title), path)


def write_frames(path: Path, frames: Sequence[Atoms]) -> None:
    """Write frames as extxyz, whole or not at all."""
    with atomic_path(path) as part:
        write_extxyz(part, frames)


def frames_of(pair: Approach, answer: ScanEvaluation) -> list[Atoms]:
    """The frames of a pair on the grid of the numbers, with what the model says of each."""
    grid, found = pair.grids[NUMBERS], []
    for frame in range(grid.start, grid.stop):
        status = Status.from_code(int(answer.frame_status[frame]))
        info: dict[str, Any] = {FRAME_KEY: pair.id, "status": status.value}
        info |= {"distance": float(pair.scan.coordinate[frame])}
        info |= {"charge": pair.scan.charge, "spin": pair.scan.spin}
        atoms = Atoms(pair.scan.numbers, pair.scan.positions[frame], info=info)
        if status is Status.OK:
            said: dict[str, Any] = {"forces": answer.forces[frame]}
            if np.isfinite(answer.energy[frame]):
                said["energy"] = float(answer.energy[frame])
            atoms.calc = SinglePointCalculator(atoms, **said)
        found.append(atoms)
    return found
