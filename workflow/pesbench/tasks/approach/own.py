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
from pesbench.tasks.approach.pairs import BOND, CONTACT, NUMBERS, Approach, bonded, contacts
from pesbench.tasks.approach.score import drawn, pair_row

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
    path = Path(text)
    is_file = path.suffix.lower() in (*SUFFIXES, ".csv") or path.exists()
    stated = {key: one for key, one in (("charge", charge), ("spin", spin)) if one is not None}
    try:
        found = read_molecules([{"file" if is_file else "smiles": text} | stated], Path.cwd())
    except UserError as error:
        hint = "" if is_file else f" (no file {text[:80]!r} exists, so that it is read as a SMILES)"
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
    reference: Sequence[ScanEvaluation] | None,
) -> pd.DataFrame:
    """One row a pair, as in the scores of the task."""
    known = reference or [None] * len(pairs)
    rows = [
        pair_row(model, pair, answer, other, "")
        for pair, answer, other in zip(pairs, answers, known, strict=True)
    ]
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
                        "wall at 0.5 Å / ZBL": ""}  # fmt: skip
    rises, hole = row["monotone"], row["hole_radius_angstrom"]
    if np.isnan(rises):  # a model without energies
        rises, hole = row["force_monotone"], row["force_hole_radius_angstrom"]
    barrier = row["barrier_ev"]
    return cells | {
        "rises": "yes" if rises else "no",
        "hole (Å)": f"{hole:.2f}" if hole else summary.NONE,
        "barrier (eV)": summary.NONE if np.isnan(barrier) else
        f"{number(barrier)} ({summary.temperature_words(barrier)} K)",
        "at 0.1 Å (eV)": number(row["energy_end_ev"]),
        "wall at 0.5 Å / ZBL": number(row["zbl_ratio_05"]),
    }  # fmt: skip


def worst(rows: pd.DataFrame) -> int | None:
    """The row of the worst pair: one that failed, else that of the widest hole; None for none."""
    lost = np.flatnonzero(~rows["status"].isin(["ok", "unsupported", "masked"]))
    if lost.size:
        return int(lost[0])
    by_force = rows["force_hole_radius_angstrom"]
    radius = rows["hole_radius_angstrom"].fillna(by_force).fillna(0.0).to_numpy()
    return int(np.argmax(radius)) if radius.max(initial=0.0) > 0 else None


def verdict(rows: pd.DataFrame) -> str:
    """What was found, in one line."""
    asked = rows[~rows["status"].isin(["unsupported", "masked"])]
    model = rows["model"].iloc[0]
    if asked.empty:
        return f"{model}: no pair could be judged"
    rises = asked["monotone"].fillna(asked["force_monotone"]) == 1
    said = f"{model}: {rises.sum()} of {len(asked)} pairs repel down to 0.1 Å"
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
        info: dict[str, Any] = {"pair": pair.id, "status": status.value}
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
