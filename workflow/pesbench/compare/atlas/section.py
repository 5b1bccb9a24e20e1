"""Section of the failure atlas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from pesbench.compare.atlas.comparison import COMPARISON
from pesbench.compare.atlas.curves import CEILING_EV, PEAK_PER_ANGSTROM, WELL_EV
from pesbench.compare.atlas.figure import figure
from pesbench.compare.atlas.kinds import MEANING, Kind
from pesbench.compare.atlas.table import SCANS, TRAJECTORIES, Atlas, atlas
from pesbench.compare.inputs import CompareInputs
from pesbench.core.section import Drawing, Section, Table
from pesbench.core.text import csv_table

_PAIRS_SHOWN = 15
_LOW = f"the reference is at most {CEILING_EV:g} eV above its minimum"
_N_BELOW = f"n below {CEILING_EV:g} eV"


def section(inputs: CompareInputs) -> Section:
    """Counts by model and kind, and by pair of elements; every row in `atlas.csv`.

    Raises:
        UserError: a file of answers is damaged, or lacks what is scored.
    """
    found = atlas(inputs)
    tables = [
        Table(what, shown(found, what), title, notes, list(found.asked[what]))
        for what, title, notes in (
            (SCANS, "Bond scans", (f"In brackets: those that show it where {_LOW}.",)),
            (TRAJECTORIES, "Trajectories", ()),
        )
        if found.asked[what]
    ]
    pairs = by_pair(found.rows)
    if len(pairs):
        text = pairs.head(_PAIRS_SHOWN).astype(str).replace("<NA>", "–")
        more = len(pairs) - len(text)
        models = len({name for some in found.asked.values() for name in some})
        notes = (
            f"n: scans and trajectories of all {models} models, of which some show it. "
            f"{_N_BELOW}: of the scans, those where {_LOW}.",
            *([f"{more} more are in atlas_pairs.csv."] if more else []),
        )
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
    """One row a model, source and kind that occurs.

    Returns:
        `n` scans or trajectories of `n_asked` show the kind, `n_below` of them where the reference
        is at most 10 eV above its minimum; it has no value where the reference has no energy. Of
        the kind `none`, those that show nothing, and nothing there.
    """
    listed: list[dict[str, Any]] = []
    for what, asked in found.asked.items():
        for model, n_asked in asked.items():
            mine = found.rows[(found.rows["model"] == model) & (found.rows["source"] == what)]
            told = {"model": model, "source": what, "n_asked": n_asked}
            for kind in Kind:
                own = mine[mine["kind"] == kind.value]
                if len(own):
                    below = None if own["n_below"].isna().all() else int((own["n_below"] > 0).sum())
                    listed.append(told | {"kind": kind.value, "n": len(own), "n_below": below})
            without = {
                "n": n_asked - mine["item"].nunique(),
                "n_below": n_asked - _below(mine)["item"].nunique() if what == SCANS else None,
            }
            listed.append(told | {"kind": "none"} | without)
    columns = ["model", "source", "kind", "n", "n_below", "n_asked"]
    return pd.DataFrame(listed, columns=columns).astype({"n_below": "Int64"})


def _below(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of what happens where the reference is low; what has no answer has none there either."""
    return rows[(rows["n_below"] > 0) | rows["n_below"].isna()]


def shown(found: Atlas, what: str) -> pd.DataFrame:
    """One row a model: how many scans, or trajectories, show each kind that occurs.

    Of scans, those in brackets show it where the reference is at most 10 eV above its minimum.
    """
    every = counts(found)
    every = every[every["source"] == what]
    kinds = [kind.value for kind in Kind if kind.value in set(every["kind"])]
    rows = []
    for model, n_asked in found.asked[what].items():
        own = every[every["model"] == model].set_index("kind")
        cells = {
            kind: _cell(own.loc[kind]) if kind in own.index else "0" for kind in ("none", *kinds)
        }
        rows.append({"model": model, what: str(n_asked), **cells})
    return pd.DataFrame(rows)


def _cell(row: pd.Series) -> str:
    return f"{row['n']}" if pd.isna(row["n_below"]) else f"{row['n']} ({row['n_below']})"


def by_pair(rows: pd.DataFrame) -> pd.DataFrame:
    """How often each kind happens to each pair of elements, and where; most frequent first."""
    some = rows[rows["pair"] != ""]
    columns = ["pair", "kind", "n", _N_BELOW, "models", "median distance / sum"]
    if some.empty:
        return pd.DataFrame(columns=columns)
    of = some.assign(below=some["n_below"] > 0).groupby(["pair", "kind"], as_index=False).agg(
        n=("item", "size"), below=("below", lambda one: one.sum() if one.notna().any() else None),
        models=("model", "nunique"), middle=("reduced", "median"),
    )  # fmt: skip
    of["below"] = of["below"].astype("Int64")
    of["middle"] = of["middle"].round(2)
    of = of.sort_values(["n", "pair", "kind"], ascending=[False, True, True], ignore_index=True)
    return of.set_axis(columns, axis=1)


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
        also = (
            f" or a slope of at least {PEAK_PER_ANGSTROM:g} Å⁻¹, a {Kind.SHIFTED.value} aside"
            if what == SCANS
            else " or end as another molecule"
        )
        part = f"{_items(beside)} of {n_asked} {what} of models show a failure{also}{_most(beside)}"
        if what == SCANS and len(beside):
            low = _below(beside)
            silent = " or without an answer" if low["n_below"].isna().any() else ""
            part += f"; {_items(low)} of them where {_LOW}{silent}{_most(low)}"
        parts.append(part)
    return ". ".join(parts) + "." if parts else "No model among these was asked."


def _items(rows: pd.DataFrame) -> int:
    return len(rows[["model", "item"]].drop_duplicates())


def _most(rows: pd.DataFrame) -> str:
    common = rows["kind"].value_counts(sort=True)
    return f", most often {common.index[0]} ({common.iloc[0]})" if len(common) else ""


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
            "Trajectories with half the time step, and those cut by time, memory or an alarm, are "
            "not counted."
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
