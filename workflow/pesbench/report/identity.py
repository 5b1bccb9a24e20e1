"""What ran: the checksum of the loaded parameters and the precision that was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from pesbench.core.section import TEXT, BoardColumn, Metric
from pesbench.models.facts import ModelFacts
from pesbench.models.parameters import NOT_VISIBLE
from pesbench.models.registry import ModelEntry
from pesbench.models.variants import say_one_checkpoint

PARAMETERS, PRECISION = "parameters", "precision"
_SHOWN = 8  # digits of a checksum
_CLAIMS = ("float32", "float64")
_MEASURED = {"float32": "float32", "float64": "float64", "coarser": "coarser than float32"}
_CHECKSUM = re.compile("[0-9a-f]{64}")
_COLUMNS = (
    Metric(PARAMETERS, "parameters", help="Checksum of the parameters that were loaded."),
    Metric(PRECISION, "precision", help="Precision that the forces show, and the one claimed."),
)


@dataclass(frozen=True)
class Identity:
    """What the files of a model tell of what ran.

    Attributes:
        parameters: Checksums, sorted; more than one where files disagree.
        visible: Whether every file that tells anything has a checksum.
        claimed: Precisions claimed, sorted.
        measured: Precisions measured, sorted.
    """

    parameters: tuple[str, ...]
    visible: bool
    claimed: tuple[str, ...]
    measured: tuple[str, ...]

    @classmethod
    def of(cls, scores: pd.DataFrame) -> Identity:
        """The identity in the attributes of scores; those of older versions tell nothing."""
        made_from = scores.attrs.get("made_from")
        files = [how for how in made_from or () if isinstance(how, Mapping)]

        def told(key: str) -> tuple[str, ...]:
            return tuple(sorted({str(how.get(key, "")) for how in files}))

        return cls(
            parameters=tuple(one for one in told("parameters") if _CHECKSUM.fullmatch(one)),
            visible=NOT_VISIBLE not in told("parameters"),
            claimed=tuple(one for one in told("dtype") if one in _CLAIMS),
            measured=tuple(one for one in told("dtype_measured") if one in _MEASURED),
        )

    @property
    def parameters_text(self) -> str:
        """The first digits of the checksum, of each where files disagree; "" if nothing is told."""
        found = [one[:_SHOWN] for one in self.parameters]
        return ", ".join([*found, *([] if self.visible else [NOT_VISIBLE])])

    @property
    def precision_text(self) -> str:
        """Such as `float32`, or `float64 claimed, float32 measured`; "" if nothing is told."""
        claimed = " or ".join(self.claimed)
        measured = " or ".join(_MEASURED[one] for one in self.measured)
        if claimed and claimed == measured:
            return claimed
        if not measured:
            return f"{claimed} claimed, not measured" if claimed else ""
        return f"{claimed} claimed, {measured} measured" if claimed else f"{measured} measured"


def columns(scores: Mapping[str, pd.DataFrame]) -> list[BoardColumn]:
    """The columns `parameters` and `precision` of the leaderboard.

    Args:
        scores: Scores of a task by model.
    """
    found = {name: Identity.of(frame) for name, frame in scores.items()}
    texts = (
        {name: one.parameters_text for name, one in found.items()},
        {name: one.precision_text for name, one in found.items()},
    )
    return [
        BoardColumn(metric, values, kind=TEXT)
        for metric, values in zip(_COLUMNS, texts, strict=True)
    ]


def notes(
    scores: Mapping[str, pd.DataFrame],
    others: Mapping[str, pd.DataFrame],
    entries: Mapping[str, ModelEntry],
    facts: Mapping[str, ModelFacts],
) -> list[str]:
    """Models that are not what their names say, as far as the files tell.

    Args:
        scores: Scores of a task by model.
        others: Scores of the task that always runs, by model; empty for that task itself.
        entries: Entries by name.
        facts: Facts by name.

    Returns:
        A sentence for each model whose files, or whose tasks, had different parameters; for the
        task that always runs, also for each model whose precision is not the one it claims, and
        for models that share parameters although no entry says so.
    """
    found = {name: Identity.of(frame) for name, frame in scores.items()}
    said = [
        f"{name}: its files were computed with different parameters ({one.parameters_text}), so "
        "that its means are of more than one network."
        for name, one in found.items()
        if len(one.parameters) > 1 or (one.parameters and not one.visible)
    ]
    if others:
        said += _between_tasks(found, {name: Identity.of(frame) for name, frame in others.items()})
        return said
    said += [
        f"{name}: {one.precision_text}."
        for name, one in found.items()
        if one.claimed and one.measured and one.claimed != one.measured
    ]
    own = {name for name, fact in facts.items() if fact.role in ("model", "reference")}
    networks = {n: one.parameters for n, one in found.items() if one.parameters and n in own}
    return said + _shared(networks, entries)


def _between_tasks(found: Mapping[str, Identity], others: Mapping[str, Identity]) -> list[str]:
    return [
        f"{name}: ran with other parameters here ({one.parameters_text}) than on the scans "
        f"({others[name].parameters_text})."
        for name, one in found.items()
        if name in others
        and one.parameters
        and others[name].parameters
        and one.parameters != others[name].parameters
    ]


def _shared(networks: Mapping[str, Sequence[str]], entries: Mapping[str, ModelEntry]) -> list[str]:
    """Pairs of models with the same parameters whose entries name different ones."""
    return [
        f"{one} and {other} ran with the same parameters ({', '.join(p[:_SHOWN] for p in both)}), "
        "and no entry says that they are of one checkpoint (`variant_of`)."
        for one, other in combinations(networks, 2)
        if (both := sorted({*networks[one]} & {*networks[other]}))
        and not say_one_checkpoint(entries[one], entries[other], entries)
    ]
