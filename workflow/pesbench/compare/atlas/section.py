"""Section of the failure atlas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from pesbench.compare.atlas.comparison import COMPARISON
from pesbench.compare.atlas.curves import PEAK_PER_ANGSTROM, WELL_EV
from pesbench.compare.atlas.figure import figure
from pesbench.compare.atlas.kinds import MEANING, Kind
from pesbench.compare.atlas.table import SCANS, TRAJECTORIES, Atlas, atlas
from pesbench.compare.inputs import CompareInputs
from pesbench.core.section import Drawing, Section, Table
from pesbench.core.text import csv_table

_PAIRS_SHOWN = 15


def section(inputs: CompareInputs) -> Section:
    """Counts by model and kind, and by pair of elements; every row in `atlas.csv`.

    Raises:
        UserError: a file of answers is damaged, or lacks what is scored.
    """
    found = atlas(inputs)
    tables = [
        Table(what, shown(found, what), title, models=list(found.asked[what]))
        for what, title in ((SCANS, "Bond scans"), (TRAJECTORIES, "Trajectories"))
        if found.asked[what]
    ]
    pairs = by_pair(found.rows)
    if len(pairs):
        text = pairs.head(_PAIRS_SHOWN).astype(str)
        more = len(pairs) - len(text)
        notes = (f"{more} more are in atlas_pairs.csv.",) if more else ()
        tables.append(Table("pairs", text, "By pair of elements", notes))
    meaning = pd.DataFrame({"kind": list(MEANING), "what it is": list(MEANING.values())})
    return Section(
        title=COMPARISON.title,
        sentence=_sentence(found),
        tables=[*tables, Table("kinds", meaning.astype(str), "The kinds")],
        figures=[Drawing("atlas", figure(found), _CAPTION)],
        notes=_notes(found),
        files={
            "atlas.csv": csv_table(found.rows),
            "atlas_counts.csv": csv_table(counts(found)),
            "atlas_pairs.csv": csv_table(pairs),
        },
    )


_CAPTION = (
    "Left: scans and trajectories that show a kind, in % of those that a model answered or was "
    "asked to run. Right: where, in sums of the covalent radii of the two atoms, one point a row "
    "of atlas.csv."
)


def counts(found: Atlas) -> pd.DataFrame:
    """One row a model, source and kind that occurs: `n`, and `n_asked`, of how many."""
    rows = found.rows
    of = rows.groupby(["model", "source", "kind"], sort=False).size()
    listed: list[dict[str, Any]] = []
    for what, asked in found.asked.items():
        for model, n_asked in asked.items():
            told = {"model": model, "source": what, "n_asked": n_asked}
            kinds = {kind.value: int(of.get((model, what, kind.value), 0)) for kind in Kind}
            listed += [{**told, "kind": kind, "n": n} for kind, n in kinds.items() if n]
            mine = rows[(rows["model"] == model) & (rows["source"] == what)]
            without = n_asked - mine["item"].nunique()
            listed.append({**told, "kind": "none", "n": without})
    return pd.DataFrame(listed, columns=["model", "source", "kind", "n", "n_asked"])


def shown(found: Atlas, what: str) -> pd.DataFrame:
    """One row a model: how many scans, or trajectories, show each kind that occurs."""
    every = counts(found)
    every = every[every["source"] == what]
    kinds = [kind.value for kind in Kind if kind.value in set(every["kind"])]
    rows = []
    for model, n_asked in found.asked[what].items():
        own = every[every["model"] == model].set_index("kind")["n"]
        cells = {kind: str(int(own.get(kind, 0))) for kind in kinds}
        rows.append({"model": model, what: str(n_asked), "none": str(int(own["none"])), **cells})
    return pd.DataFrame(rows)


def by_pair(rows: pd.DataFrame) -> pd.DataFrame:
    """How often each kind happens to each pair of elements, and where; most frequent first."""
    some = rows[rows["pair"] != ""]
    if some.empty:
        return pd.DataFrame(columns=["pair", "kind", "n", "models", "median distance / sum"])
    of = some.groupby(["pair", "kind"], as_index=False).agg(
        n=("item", "size"), models=("model", "nunique"), middle=("reduced", "median")
    )
    of["middle"] = of["middle"].round(2)
    of = of.sort_values(["n", "pair", "kind"], ascending=[False, True, True], ignore_index=True)
    return of.rename(columns={"middle": "median distance / sum"})


def _sentence(found: Atlas) -> str:
    own = found.rows[found.rows["role"] == "model"]
    asked = {
        what: sum(n for model, n in some.items() if found.roles[model] == "model")
        for what, some in found.asked.items()
    }
    parts = []
    for what, n_asked in asked.items():
        if not n_asked:
            continue
        mine = own[own["source"] == what]
        # the place of the minimum says most often that the level of theory is another
        beside = mine[mine["kind"] != Kind.SHIFTED.value]
        n = beside[["model", "item"]].drop_duplicates().shape[0]
        common = beside["kind"].value_counts(sort=True)
        most = f", most often {common.index[0]} ({common.iloc[0]})" if len(common) else ""
        also = (
            f" or a slope of at least {PEAK_PER_ANGSTROM:g} Å⁻¹, a {Kind.SHIFTED.value} aside"
            if what == SCANS
            else " or end as another molecule"
        )
        parts.append(f"{n} of {n_asked} {what} of models show a failure{also}{most}")
    return "; ".join(parts) + "." if parts else "No model among these was asked."


def _notes(found: Atlas) -> list[str]:
    notes = [
        "A scan has an event where the slope of the FSD is at least "
        f"{PEAK_PER_ANGSTROM:g} Å⁻¹ between two frames, where the energy has an extremum of at "
        f"least {1e3 * WELL_EV:g} meV that only the model or only the reference has, where the "
        "wall gives way, or where the energy jumps without a force. Forces of zero, which are "
        "smooth and know nothing, stay below this slope beyond 0.25 Å from the minimum. "
        "A mixed failure counts in each of its kinds (docs/atlas.md has the rules, and how often "
        "known defects land in theirs).",
        "The counts describe these scans and trajectories; whether two models differ is judged "
        "elsewhere. Scans that a model does not support or was trained on are not counted.",
    ]
    if any(found.asked.get(TRAJECTORIES, {}).values()):
        notes.append(
            "Trajectories with half the time step, and those cut by time or memory, are not "
            "counted."
        )
    if found.too:
        notes.append(
            f"{found.too} of the failed trajectories are of a molecule and temperature at which "
            "the reference fails, too (column reference_fails of atlas.csv)."
        )
    if found.not_kept:
        notes.append(
            "The scans of these models are not placed, because their evaluations are not here: "
            f"{_named(found.not_kept)}."
        )
    return notes


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return ", ".join(names[: 12 if more else None]) + more
