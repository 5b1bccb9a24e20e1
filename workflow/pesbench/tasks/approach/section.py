"""Section of the closest approach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from pesbench.core.section import (
    CELLS,
    INTEGER,
    BoardColumn,
    Drawing,
    Metric,
    Plot,
    Section,
    SectionInputs,
    Table,
)
from pesbench.core.text import csv_table, number
from pesbench.metrics.board import scored_values
from pesbench.metrics.shares import share
from pesbench.tasks.approach import figures, summary
from pesbench.tasks.approach.elsewhere import ARENA_METRICS, INNER_METRICS, PUBLISHED
from pesbench.tasks.approach.pairs import BOND, CONTACT, DIATOMIC, INNER
from pesbench.tasks.approach.task import TASK

_README = "tasks/approach/README.md"
LEFT_OUT = "frames left out"
HOLES = "hole_radii.csv"  # of the figure of the same name
TESTS = ("monotone", "force_monotone", "above_minimum", "end_repulsive", "consistent")
_METRICS = {metric.name: metric for metric in TASK.metrics}


def section(inputs: SectionInputs) -> Section:
    """The section of the closest approach; rows of other roles than `model` state their role."""
    labels = {
        name: name if (role := inputs.facts[name].role) == "model" else f"{name} ({role})"
        for name in inputs.scores
    }
    models = list(inputs.scores)
    bonds = {name: summary.of_kind(frame, BOND) for name, frame in inputs.scores.items()}
    drawn = {name: frame.attrs.get("curves") or {} for name, frame in inputs.scores.items()}
    radii = summary.hole_radii(inputs.scores)
    molecule = next((one["molecule"] for one in drawn.values() if one.get("molecule")), "")
    return Section(
        title=TASK.title,
        sentence=sentence(
            {name: bonds[name] for name in models if inputs.facts[name].role == "model"},
            {name: bonds[name] for name in models if inputs.facts[name].role == "reference"},
        ),
        tables=[
            Table("bonds", _rows(bonds, labels, _shares), "Bonded pairs", models=models),
            Table("holes", _rows(bonds, labels, _holes), "Holes and walls of bonded pairs",
                  models=models),
            Table("others", _rows(inputs.scores, labels, _others),
                  "Contacts and isolated pairs, judged by the reference", models=models),
            Table("inner", inner_table(inputs.scores, labels), "In-molecule protocol of "
                  "“Attracting Trouble”", (_INNER_NOTE,)),
        ],
        figures=[
            Drawing("curves", figures.curves(drawn, labels),
                    f"Approach of the bonded pairs of {molecule} on the published grid of 20 "
                    "frames: a hydrogen alone from twice the bond length, other atoms both from "
                    "the bond length, to 0.1 Å. Energies are relative to the frame at the bond "
                    "length; their axis is logarithmic beyond 1 eV. A cross marks a frame without "
                    "an energy; a pair without any, such as all of a model of forces alone, is not "
                    "drawn."),
            Drawing("hole_radii", figures.hole_map(radii, labels),
                    "Largest distance from which the energy of a bonded pair falls on approach, by "
                    "model and type of bond; – or 0 for no hole, grey or n/a where no pair has an "
                    "energy.",
                    _holes_plot(radii)),
        ],
        notes=notes(inputs.scores),
        board=board(inputs.scores),
        files={HOLES: csv_table(radii.rename_axis("model").reset_index()),
               "curves.csv": csv_table(_curves(drawn))},
    )  # fmt: skip


def _curves(drawn: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """What the figure draws: one row a frame of the published approach of a bonded pair."""
    rows = [
        (name, pair, kind["elements"], kind["bond_length"], distance, energy)
        for name, one in drawn.items()
        for pair, kind in one.get("pairs", {}).items()
        for distance, energy in zip(kind["distance"], kind["energy"], strict=True)
    ]
    columns = ["model", "pair", "elements", "bond_length_angstrom", "distance_angstrom"]
    return pd.DataFrame(rows, columns=[*columns, "energy_ev"])


def _holes_plot(radii: pd.DataFrame) -> Plot | None:
    if not radii.notna().to_numpy().any():
        return None
    return Plot(HOLES, CELLS, "model", {kind: kind for kind in radii.columns},
                title="hole radius (Å); 0 for no hole")  # fmt: skip


def sentence(bonds: Mapping[str, pd.DataFrame], references: Mapping[str, pd.DataFrame]) -> str:
    """How many models have no hole, the cheapest hole, and what the reference does.

    Args:
        bonds: Rows of bonded pairs, by name of those whose role is `model`.
        references: Likewise of those whose role is `reference`.
    """
    shares = {name: share(frame, "monotone") for name, frame in bonds.items()}
    known = {name: one for name, one in shares.items() if one.n}
    said = "No model has a scored bonded pair"
    if known:
        whole = [name for name, one in known.items() if one.passed == one.n]
        failing = [name for name in whole if summary.failed(bonds[name]).any()]
        said = (
            f"The energy of every bonded pair rises down to 0.1 Å with "
            f"{len(whole) - len(failing)} of {len(known)} models"
        )
        if failing:
            said += f"; with {len(failing)} more it rises in every pair that did not fail"
    holes = {name: summary.cheapest_hole(frame) for name, frame in bonds.items()}
    open_ones = {name: row for name, row in holes.items() if row is not None}
    if open_ones:
        name, least = min(open_ones.items(), key=lambda one: one[1]["barrier_ev"])
        said += (
            f"; the hole that costs the least is that of {name}: "
            f"{summary.pair_words(least)}, {number(least['barrier_ev'])} eV above the minimum at "
            f"{least['hole_radius_angstrom']:.2f} Å"
        )
    for name, frame in references.items():
        one = share(frame, "monotone")
        said += f"; with the reference {name} it rises in {one.passed} of {one.n} pairs"
    return f"{said}."


def _rows(
    scores: Mapping[str, pd.DataFrame],
    labels: Mapping[str, str],
    cells: Callable[[pd.DataFrame], Mapping[str, str]],
) -> pd.DataFrame:
    return pd.DataFrame([{"model": labels[name], **cells(frame)} for name, frame in scores.items()])


def _shares(bonds: pd.DataFrame) -> dict[str, str]:
    ok = int((bonds["status"] == "ok").sum())
    tests = {_METRICS[name].title: share(bonds, name).text for name in TESTS}
    minima = bonds["n_spurious_minima"].astype(float)
    smooth = bonds.assign(smooth=(minima == 0).astype(float).where(minima.notna()))
    tests["no spurious minimum"] = share(smooth, "smooth").text
    return {"scored / planned": f"{ok} / {len(bonds)}", **tests,
            LEFT_OUT: summary.left_out(bonds), "not scored": summary.failures(bonds)}  # fmt: skip


def _holes(bonds: pd.DataFrame) -> dict[str, str]:
    worst, cheapest = summary.worst_pair(bonds), summary.cheapest_hole(bonds)
    lowest = scored_values(bonds, "below_minimum_ev")
    depths = scored_values(bonds, "spurious_depth_ev")
    cells = {
        "largest hole (Å)": summary.NONE if worst is None else
        f"{worst['hole_radius_angstrom']:.2f}",
        "worst pair": summary.NONE if worst is None else summary.pair_words(worst),
        "lowest barrier (eV)": summary.NONE if cheapest is None else number(cheapest["barrier_ev"]),
        "over k_B (K)": summary.NONE if cheapest is None else
        summary.temperature_words(cheapest["barrier_ev"]),
        "its pair": summary.NONE if cheapest is None else summary.pair_words(cheapest),
        "farthest below the minimum (eV)": number(lowest.max()) if len(lowest) else "n/a",
        "deepest spurious minimum (eV)": number(depths.max()) if len(depths) else summary.NONE,
    }  # fmt: skip
    for name in ("wall_ratio_05", "wall_ratio_03", "zbl_ratio_05"):
        value, n = summary.median(bonds, name)
        cells[_METRICS[name].title] = f"{number(value)} ({n})" if n else "n/a"
    return cells | {LEFT_OUT: summary.left_out(bonds)}


def _others(scores: pd.DataFrame) -> dict[str, str]:
    contacts, pairs = (summary.of_kind(scores, kind) for kind in (CONTACT, DIATOMIC))
    cells = {}
    for what, frame in (("contacts", contacts), ("isolated", pairs)):
        worst = summary.worst_pair(frame)
        ok = int((frame["status"] == "ok").sum())
        cells |= {
            f"{what}: scored / planned": f"{ok} / {len(frame)}",
            f"{what}: repel where the reference does": share(frame, "monotone").text,
            f"{what}: largest hole": summary.NONE if worst is None else
            f"{worst['hole_radius_angstrom']:.2f} Å ({summary.pair_words(worst)})",
            f"{what}: {LEFT_OUT}": summary.left_out(frame),
        }  # fmt: skip
    for name in ARENA_METRICS:
        values = scored_values(pairs, name)
        mean = f"{number(values.mean())} ({len(values)})" if len(values) else "n/a"
        cells[_METRICS[name].heading] = mean
    return cells


def inner_table(scores: Mapping[str, pd.DataFrame], labels: Mapping[str, str]) -> pd.DataFrame:
    """Pass rates of the in-molecule protocol, with those that were published below."""
    titles = [_METRICS[name].title.partition(": ")[2] for name in INNER_METRICS]
    rows = []
    for name, frame in scores.items():
        atoms = summary.of_kind(frame, INNER)
        shares = (share(atoms, one).text for one in INNER_METRICS)
        rows.append({"model": labels[name], **dict(zip(titles, shares, strict=True)),
                     LEFT_OUT: summary.left_out(atoms),
                     "not scored": summary.failures(atoms)})  # fmt: skip
    for name, rates in PUBLISHED.items():
        shares = (f"{rate:g} %" for rate in rates)
        rows.append({"model": f"{name} (published)", **dict(zip(titles, shares, strict=True)),
                     LEFT_OUT: summary.NONE, "not scored": summary.NONE})  # fmt: skip
    return pd.DataFrame(rows)


_INNER_NOTE = (
    "Each atom moves alone towards its nearest neighbour, 30 frames from 0.30 to 0.03 Å. The "
    "published rates are those of Geng, Burger, Bernales and Aspuru-Guzik (2026) on 1000 samples "
    "of OMol and not on these molecules; 54 samples of GFN2-xTB do not converge and count as "
    "failed there. Here frames on which model and reference both end with an error are left out, "
    "so that the rates of GFN2-xTB, which is compared with itself, are of what converges and not "
    "those of the publication. The publication names the three tests; how they are computed here "
    f"is told in {_README}."
)


def notes(scores: Mapping[str, pd.DataFrame]) -> tuple[str, ...]:
    """Notes on how to read the section: definitions and failures."""
    found = [
        "Two atoms of a molecule approach each other along the line through them, all others stay. "
        "A bonded pair is judged from 0.05 Å below the model's own minimum down to 0.1 Å: the hole "
        "radius is the largest distance from which the energy falls by more than 1 meV (or a "
        "millionth of its range), the barrier its energy above the minimum there. Barrier over k_B "
        "is the temperature at which a classical vibration holds that energy in the mean; at a "
        "tenth of it the Boltzmann factor is e⁻¹⁰. Shares are of the pairs with a score; their "
        "95 % intervals are the exact binomial ones of as many trials as there are molecules. "
        "Isolated pairs are of no molecule, and their share has no interval. Pairs without a score "
        "stand under “not scored” and are in no share. “Frames left out” are those of scored pairs "
        "on which model and reference both end with an error, and of contacts and isolated pairs "
        "all on which the reference does; a pair of which less than half of the frames are left "
        "is masked. Medians of walls have the number of pairs in brackets; universal ZBL is too "
        f"repulsive near bond lengths ({_README}).",
        "Tortuosity, energy jump and force flips are means over pairs of one element, as MLIP "
        "Arena defines them and on its grid.",
    ]
    for name, frame in scores.items():
        lost = frame[~frame["status"].isin(["ok", "unsupported", "masked"])]
        if len(lost):
            first = lost.iloc[0]
            said = str(first["message"]) or str(first["status"])
            found.append(f"{name}: {len(lost)} of {len(frame)} pairs failed; for example "
                         f"{first['pair']}: {said}.")  # fmt: skip
    return tuple(found)


def board(scores: Mapping[str, pd.DataFrame]) -> list[BoardColumn]:
    """Columns for the leaderboard, of the bonded pairs."""
    shares, radii, barriers, counts = {}, {}, {}, {}
    planned, scored = {}, {}
    for name, frame in scores.items():
        bonds = summary.of_kind(frame, BOND)
        planned[name], scored[name] = len(bonds), int((bonds["status"] == "ok").sum())
        one = share(bonds, "monotone")
        counts[name] = one.n
        if one.n:
            shares[name] = one.passed / one.n
            worst, cheapest = summary.worst_pair(bonds), summary.cheapest_hole(bonds)
            radii[name] = 0.0 if worst is None else worst["hole_radius_angstrom"]
            if cheapest is not None:
                barriers[name] = cheapest["barrier_ev"]
    return [
        BoardColumn(
            Metric("approach_monotone", "monotone bonded pairs", "", "higher",
                   "Share of the bonded pairs whose energy rises on approach."),
            shares, counts,
        ),
        BoardColumn(
            Metric("approach_hole_radius_angstrom", "largest hole radius", "Å", "lower",
                   "Of the bonded pairs; 0 for no hole."),
            radii,
        ),
        BoardColumn(
            Metric("approach_barrier_ev", "lowest barrier before a hole", "eV", "higher",
                   "Of the bonded pairs that have a hole."),
            barriers,
        ),
        BoardColumn(
            Metric("approach_n_planned", "planned bonded pairs"), planned, kind=INTEGER
        ),
        BoardColumn(
            Metric("approach_n_scored", "scored bonded pairs", "", "higher",
                   "Pairs that could be judged."),
            scored, kind=INTEGER,
        ),
    ]  # fmt: skip
