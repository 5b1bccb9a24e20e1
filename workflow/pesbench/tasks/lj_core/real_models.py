"""What the scores of real models say of a repulsive core: pure functions of tables."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from pesbench.core.text import number
from pesbench.metrics.board import scored_values
from pesbench.metrics.shares import share
from pesbench.tasks.lj_core.cases import BOND, DIMER, OVERLAP

KINDS = {DIMER: "isolated", BOND: "bonded"}  # of pairs, as they are called
Errors = dict[str, pd.Series]  # core errors in decades, a row a pair, by model


def core_errors(scores: Mapping[str, pd.DataFrame], kind: str) -> Errors:
    """The core error of each scored pair of a kind, by model."""
    found = {}
    for name, frame in scores.items():
        rows = frame[frame["kind"] == kind].set_index("case")
        found[name] = scored_values(rows, "log10_energy_mae")
    return found


def on_shared(errors: Errors) -> Errors:
    """The same on the pairs that all models have; none for a model without any number.

    Models know different elements, so that their own means are over different pairs. A model that
    has no number at all takes no pair from the others.
    """
    having = {name: one for name, one in errors.items() if len(one)}
    shared = pd.DataFrame(having).dropna().index
    return {name: one.reindex(shared).dropna() for name, one in errors.items()}


def models_table(scores: Mapping[str, pd.DataFrame], labels: Mapping[str, str]) -> pd.DataFrame:
    """A row a model: core errors of isolated and of bonded pairs, and the relaxations.

    Args:
        scores: Scores by model.
        labels: Names of the models for readers.
    """
    cells: dict[str, dict[str, str]] = {name: {"model": labels[name]} for name in scores}
    for kind, said in KINDS.items():
        own = core_errors(scores, kind)
        shared = on_shared(own)
        for name, frame in scores.items():
            some = frame[frame["kind"] == kind]
            signs = scored_values(some, "right_sign_share")
            cells[name] |= {
                f"{said}: scored / planned": f"{len(own[name])} / {len(some)}",
                f"{said}: core error (decades)": _mean(own[name]),
                f"{said}: core error on the pairs that all have": _mean(shared[name]),
                f"{said}: right sign": f"{signs.mean():.2f}" if len(signs) else "n/a",
            }
    return pd.DataFrame([one | _relaxations(scores[name]) for name, one in cells.items()])


def _mean(values: pd.Series) -> str:
    return number(values.mean()) if len(values) else "n/a"


def _relaxations(frame: pd.DataFrame) -> dict[str, str]:
    """Where the relaxations of a model end; a start that failed or was not asked has no end."""
    starts = frame[frame["kind"] == OVERLAP]
    ended, unsupported = starts["status"] == "ok", starts["status"] == "unsupported"
    slow = ended & ~starts["relaxed"].astype(bool)
    return {
        "ends overlapped": share(starts, "overlapped").text,
        "did not converge": f"{slow.sum()} of {ended.sum()}",
        "failed": str((~ended & ~unsupported).sum()),
        "not asked": str(unsupported.sum()),
    }


def shared_note(scores: Mapping[str, pd.DataFrame]) -> str:
    """How many pairs all models have, over which their errors are compared."""
    told = []
    for kind, said in KINDS.items():
        errors = core_errors(scores, kind)
        having = sum(len(one) > 0 for one in errors.values())
        shared = max(map(len, on_shared(errors).values()), default=0)
        told.append(f"{shared} {said} pairs, which {having} models have")
    return (
        "Models know different elements, so that the means over all pairs of each are of different "
        f"pairs. Compared, and drawn, are means over {' and '.join(told)}."
    )
