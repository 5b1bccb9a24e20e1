"""The study of interpolated wave functions: what its parts write, and the page that tells it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pesbench.compare.wavefunction.far import INSIDE, LONGER, SHORTER, far_rows
from pesbench.compare.wavefunction.figure import FIGURE, draw
from pesbench.compare.wavefunction.nve import Run, nve_rows
from pesbench.compare.wavefunction.scans import scan_rows
from pesbench.core.errors import UserError, reading
from pesbench.files import provenance
from pesbench.files.atomic import write_json, write_text
from pesbench.models.families.wavefunction.supported import ENERGIES, STATES
from pesbench.training.wavefunction import check_full_ci, full_ci_of
from pesbench.training.wavefunction_plan import read_training, with_bonds

LEAST_BELOW_EV = 1e-7  # by which rounding may put a variational energy below full CI
SCANS, FAR, NVE = "scans", "far", "nve"


def _write(table: pd.DataFrame, folder: Path, name: str, **more: Any) -> None:
    """A table and how it was made: `<name>.csv` and `<name>.json`."""
    write_text(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.8g"))
    spent = round(time.process_time(), 1)  # of the command, whose work this part is
    made = {**more, "processor_s": spent, "provenance": provenance.collect()}
    write_json(folder / f"{name}.json", made)


def write_scans(scan_set: Path, weights: Path, folder: Path) -> None:
    """The part `scans`: errors and FSD by the number of calculations.

    Raises:
        UserError: see `scan_rows`.
    """
    _write(scan_rows(scan_set, weights), folder, SCANS, weights=weights.name)


def write_far(plan: Path, name: str, folder: Path) -> None:
    """The part `far`: errors beyond the range of the training geometries.

    Raises:
        UserError: see `far_rows`.
    """
    _write(far_rows(plan, name), folder, FAR, training=name)


def write_nve(
    plan: Path, name: str, systems: Mapping[str, float | None], run: Run, folder: Path
) -> None:
    """The part `nve`: one long run of each molecule.

    Args:
        plan: File of trainings.
        name: The training whose molecules run.
        systems: Ids of molecules, with the length in Å of all bonds of the first geometry; None for
            the molecule's own geometry.
        run: What is run.
        folder: Folder of the study.

    Raises:
        UserError: there is no such training or molecule, a molecule is none for full CI, or a
            geometry has no state.
    """
    known = {one.system.id: one for one in read_training(plan, name)}
    if missing := [one for one in systems if one not in known]:
        raise UserError(f"{plan}: {name}: no molecule {missing[0]!r}; it has {', '.join(known)}")
    starts = {}
    for system_id, length in systems.items():
        molecule = known[system_id]
        first = molecule.system.positions
        if length is not None:
            first = with_bonds(molecule.system, np.full(len(molecule.system.bonds), length))
        keys = replace(molecule.keys, calculations=run.calculations)
        check_full_ci(replace(molecule, keys=keys), first, f"{plan}: {name}: {system_id}")
        starts[system_id] = first
    tables, told = [], []
    for system_id, first in starts.items():
        one = replace(run, length_angstrom=systems[system_id])
        with full_ci_of(f"{plan}: {name}: {system_id}"):
            table, summary = nve_rows(known[system_id], first, one)
        tables.append(table)
        told.append(summary)
    _write(pd.concat(tables), folder, NVE, runs=told)


def write_page(folder: Path, cards: Sequence[Path] = ()) -> None:
    """`README.md` and figure of the folder, from the parts that are there; the sentences first.

    Args:
        folder: Folder of the study.
        cards: Cards of trainings (JSON) whose errors stand on the page, too.

    Raises:
        UserError: there is no part, or one that is not what the study writes, or a file is no card.
    """
    parts = {
        SCANS: _scans_text, FAR: _far_text, NVE: _nve_text,
    }  # fmt: skip
    texts, tables = [], {}
    for name, text in parts.items():
        if (folder / f"{name}.csv").is_file():
            place, cure = folder / f"{name}.json", f"run `wavefunction-{name}` again"
            with reading(place, f"not what the study writes beside {name}.csv", cure):
                said = json.loads(place.read_text(encoding="utf-8"))
                made = said["provenance"]
                tables[name] = pd.read_csv(folder / f"{name}.csv")
                texts += [
                    text(tables[name], said),
                    f"*`{name}.csv`; {said['processor_s']:.0f} s of processor time; commit "
                    f"{made['git_commit'][:8]}, {made['created']}*",
                ]
    if not texts:
        raise UserError(f"{folder}: holds no part of the study; run `wavefunction-scans` first")
    texts += [_card_text(card) for card in cards]
    draw(tables, folder)
    picture = (
        f"![Errors by the number of calculations, far from them, and in dynamics]({FIGURE})\n\n"
        "*Errors below 10⁻⁶ meV or meV/Å are drawn there.*"
    )
    head = "# Interpolated wave functions, beside a Gaussian process on the same calculations"
    write_text(folder / "README.md", "\n\n".join([head, *texts, picture]) + "\n")


def _card_text(path: Path) -> str:
    """What the card of a training says of its errors."""
    with reading(path, "not the card of a training", "run `train-wavefunction` again"):
        card = json.loads(path.read_text(encoding="utf-8"))
        rows = [
            [
                f"{one['id']}, {one['basis']}",
                one["determinants"],
                len(one["geometries"]),
                one["states"],
                f"{1000 * one['held_out']['largest_energy_error_ev']:.3g}",
                f"{1000 * one['held_out']['force_mae_ev_per_angstrom']:.3g}",
                f"{one['processor_s']:.0f}",
            ]
            for one in card["molecules"]
        ]
        made = card["provenance"]
        told = f"*`{card['name']}`; commit {made['git_commit'][:8]}, {made['created']}*"
    header = (
        "molecule", "determinants", "calculations", "states", "largest energy error (meV)",
        "force MAE (meV/Å)", "processor time (s)",
    )  # fmt: skip
    return "\n\n".join(
        [
            f"## The training {card['name']}",
            "Errors against full CI at geometries of the same range that are not trained on.",
            _rows(header, rows),
            told,
        ]
    )


def _unanswered(table: pd.DataFrame) -> str:
    """A sentence about the rows that no mean has, empty if there are none."""
    missing = int(table["force_mae"].isna().sum())
    return f" {missing} of {len(table)} rows have no answer and are in no mean." if missing else ""


def _rows(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _scans_text(table: pd.DataFrame, said: Mapping[str, Any]) -> str:
    rows = []
    wins = 0
    for system, own in table.groupby("system"):
        both = own.pivot_table(values="force_mae", index="calculations", columns="interpolates")
        last = both.iloc[-1]
        wins += bool(last[STATES] < last[ENERGIES])
        fsd = own[own["calculations"] == own["calculations"].max()].groupby("interpolates")
        extrema = fsd["spurious_extrema"].sum()
        rows.append(
            [
                system,
                int(own["calculations"].max()),
                *(f"{1000 * both[kind].iloc[0]:.3g}" for kind in (STATES, ENERGIES)),
                *(f"{1000 * last[kind]:.3g}" for kind in (STATES, ENERGIES)),
                *(f"{fsd['fsd_full'].mean()[kind]:.3g}" for kind in (STATES, ENERGIES)),
                *(f"{extrema[kind]:g}" for kind in (STATES, ENERGIES)),
            ]
        )
    header = (
        "molecule", "calculations", "force MAE of one: states (meV/Å)", "energies",
        "force MAE of all: states", "energies", "FSD: states (Å⁻¹)", "energies",
        "spurious extrema: states", "energies",
    )  # fmt: skip
    return "\n\n".join(
        [
            "## Bond scans against full CI",
            f"With all calculations, the interpolated states have smaller force errors than the "
            f"Gaussian process on the same calculations in {wins} of {len(rows)} molecules "
            f"(weights {said['weights']}). The geometries were chosen where the states knew least, "
            f"not where the process did.{_unanswered(table)}",
            _rows(header, rows),
        ]
    )


def _far_text(table: pd.DataFrame, said: Mapping[str, Any]) -> str:
    most = table[table["calculations"] == table["calculations"].max()]
    mean = most.groupby(["system", "region", "interpolates"])["force_mae_ev_per_angstrom"].mean()
    rows = [
        [
            system,
            *(
                f"{1000 * mean[system, region, kind]:.3g}"
                for region in (SHORTER, INSIDE, LONGER)
                for kind in (STATES, ENERGIES)
            ),
        ]
        for system in dict.fromkeys(table["system"])
    ]
    outside = [
        bool(mean[system, region, STATES] < mean[system, region, ENERGIES])
        for system in dict.fromkeys(table["system"])
        for region in (SHORTER, LONGER)
    ]
    within = [
        bool(mean[system, INSIDE, STATES] < mean[system, INSIDE, ENERGIES])
        for system in dict.fromkeys(table["system"])
    ]
    header = ("molecule", *(
        f"{region}: {kind}" for region in (SHORTER, INSIDE, LONGER) for kind in (STATES, ENERGIES)
    ))  # fmt: skip
    least = table[table["interpolates"] == STATES]["energy_error_ev"].min()
    above = (
        "The energy of states lies nowhere below full CI."
        if least > -LEAST_BELOW_EV
        else f"The energy of states lies up to {-1000 * least:.2g} meV below full CI, which has "
        "not found the ground state there."
    )
    return "\n\n".join(
        [
            "## Far from the training geometries",
            f"Outside the range of the {most['calculations'].max()} training geometries, states "
            f"have smaller force errors than energies in {sum(outside)} of {len(outside)} cases; "
            f"inside, in {sum(within)} of {len(within)}. "
            "All bonds of a molecule have one length, 0.3 to 4 Å; mean absolute errors of the "
            f"forces in meV/Å; training {said['training']}. {above}"
            f"{_unanswered(table.rename(columns={'force_mae_ev_per_angstrom': 'force_mae'}))}",
            _rows(header, rows),
        ]
    )


def _nve_text(table: pd.DataFrame, said: Mapping[str, Any]) -> str:
    sentences, rows = [], []
    for run in said["runs"]:
        sentences.append(
            f"{run['system']}: {run['geometries'] - 1} steps"
            f"{'' if run['finished'] else ' (ended early)'} with {run['reference_calculations']} "
            f"reference calculations; the total energy drifts by "
            f"{run['drift_mev_per_atom_ps']:.2g} meV/atom/ps, and the energy lies at most "
            f"{run['largest_energy_error_mev']:.3g} meV above full CI on {run['compared']} "
            "geometries."
        )
        rows.append(
            [
                run["system"],
                run["geometries"],
                run["reference_calculations"],
                run["states"],
                f"{run['drift_mev_per_atom_ps']:.2g}",
                f"{run['largest_deviation_mev_per_atom']:.2g}",
                f"{run['median_energy_error_mev']:.3g}",
                f"{run['largest_energy_error_mev']:.3g}",
                f"{run['force_mae_mev_per_angstrom']:.3g}",
                f"{run['training_processor_s']:.0f} + {run['running_processor_s']:.0f}",
            ]
        )
    header = (
        "molecule", "geometries", "calculations", "states", "drift (meV/atom/ps)",
        "largest deviation (meV/atom)", "median error (meV)", "largest error (meV)",
        "force MAE (meV/Å)", "processor time (s)",
    )  # fmt: skip
    assert len(table)
    return "\n\n".join(
        [
            "## Dynamics with few calculations",
            " ".join(sentences),
            "The claim of the starting work, 12 000 geometries with 22 reference calculations, is "
            "of nonadiabatic dynamics of a hydrogen chain with excited states; this is dynamics in "
            "the ground state.",
            _rows(header, rows),
        ]
    )
