"""What the numbers say: how many frames of which kind, and what a core is worth in frames."""

from __future__ import annotations

from collections.abc import Sequence

from pesbench.compare.data.table import WITH, WITHOUT, DataStudy, survival_column
from pesbench.core.text import number
from pesbench.training.data_plan import APPROACH, CORE, HARVESTED, MD

NOT_RESOLVED = "not resolved"
_UNKNOWN = "the noise of seeds or a number is unknown"
NEARLY = 0.01  # of the whole scale, from one of its ends


def sentence(study: DataStudy) -> str:
    """The answer by survival at the highest temperature, in one sentence over all families."""
    if not study.temperatures_k:
        return "No dynamics were run, so that nothing is said of stability."
    hottest = max(study.temperatures_k)
    column = survival_column(hottest)
    said = "; ".join(_of_family(study, family, column) for family in study.families)
    return f"By survival at {hottest:g} K (of {study.horizon_ps:g} ps): {said}."


def monotone_sentences(study: DataStudy) -> list[str]:
    """The same by the shares of monotone pairs, of molecules with and without approach frames."""
    where = {WITH: "with", WITHOUT: "without"}
    return [
        f"By the share of monotone pairs of molecules {word} approach frames: "
        + "; ".join(_of_family(study, family, column) for family in study.families)
        + "."
        for column, word in where.items()
        if study.models[column].notna().any()
    ]


def _of_family(study: DataStudy, family: str, column: str) -> str:
    if end := _at_an_end(study, family, column):
        return f"{family}: not informative, since {end}"
    parts = [
        enough(study, family, column),
        exchanged(study, family, column, APPROACH, "one tenth of approach frames"),
        exchanged(study, family, column, HARVESTED, "up to one tenth of harvested frames"),
        worth(study, family, column),
    ]
    return f"{family}: " + ", ".join(part for part in parts if part)


def _at_an_end(study: DataStudy, family: str, column: str) -> str:
    """That all potentials of a family are at one end of the scale; "" if they are not."""
    share = study.quantities[column].share
    whole = 1.0 if share else study.horizon_ps
    values = study.models.loc[study.models["family"] == family, column].dropna()
    if values.empty:
        return "nothing has a number"
    if (values >= (1 - NEARLY) * whole).all():
        return "(nearly) all pairs are monotone" if share else "(nearly) all runs survive"
    if (values <= NEARLY * whole).all():
        return "(nearly) no pair is monotone" if share else "(nearly) all runs fail at once"
    return ""


def _mean(study: DataStudy, family: str, kind: str, frames: int, column: str) -> str:
    seeds = study.seeds(family, kind, frames, column)
    return number(seeds.mean() if seeds.size else float("nan"))


def enough(study: DataStudy, family: str, column: str) -> str:
    """The fewest MD frames that do as well as the most: no resolved difference from there on."""
    sizes = study.frames(family, MD)
    if len(sizes) < 2:
        return f"fewer than two numbers of MD frames ({NOT_RESOLVED})"
    least, most = sizes[0], sizes[-1]
    low, high = (_mean(study, family, MD, n, column) for n in (least, most))
    said = f"with MD frames alone {low} at {least} and {high} at {most} frames"
    worse = []
    for n in sizes[:-1]:
        found = study.compare(family, column, (MD, most), (MD, n))
        if found.within_noise is None:
            return f"{said} ({NOT_RESOLVED}: {_UNKNOWN})"
        if not found.within_noise and found.value < 0:
            return f"{said}, where {n} do better than {most}"
        if not found.within_noise:
            worse.append(n)
    if not worse:
        return f"{said} ({NOT_RESOLVED} from each other)"
    if like := [n for n in sizes if n < max(worse) and n not in worse]:
        return (
            f"{said}, but they do not rise with the number: {_listed(worse)} do worse than {most}, "
            f"and {_listed(like)} {'does' if len(like) == 1 else 'do'} not"
        )
    fewest = next(n for n in sizes if n > max(worse))
    if fewest == most:
        return f"{said}, and up to {most} more frames help"
    return f"{said}, and more than {fewest} frames buy nothing that is resolved"


def exchanged(study: DataStudy, family: str, column: str, kind: str, what: str) -> str:
    """What frames of another kind, `what`, in the place of others change at each number of them."""
    sizes = [n for n in study.frames(family, kind) if n in study.frames(family, MD)]
    if not sizes:
        return ""
    found = {n: study.compare(family, column, (kind, n), (MD, n)) for n in sizes}
    unknown = [n for n, one in found.items() if one.within_noise is None]
    said = f"{what} instead"
    if unknown == sizes:
        return f"{said}: {NOT_RESOLVED}, {_UNKNOWN}"
    changes = [
        f"{study.quantities[column].change(one)} at {n} frames"
        for n, one in found.items()
        if one.within_noise is False
    ]
    said += f" change it by {_listed(changes)}" if changes else " change nothing that is resolved"
    return f"{said} (no number at {_listed(unknown)})" if unknown else said


def worth(study: DataStudy, family: str, column: str) -> str:
    """What a fixed core is worth in frames: how many MD frames do as well as few with the core.

    It is worth more than the frames that it does resolvedly better than, and less than those that
    do resolvedly better than it: a difference within the noise is no bound.
    """
    sizes, cored = study.frames(family, MD), study.frames(family, CORE)
    if not sizes or CORE not in set(study.models["kind"]):
        return ""
    if not cored:
        return "what a core is worth is not known, since no potential has it"
    if cored[0] != sizes[0]:
        return (
            f"what a core is worth is not known, since {max(cored[0], sizes[0])} are the fewest "
            f"frames {'with' if cored[0] > sizes[0] else 'without'} it"
        )
    few = sizes[0]
    said = f"a fixed core with {few} frames ({_mean(study, family, CORE, few, column)})"
    found = {n: study.compare(family, column, (CORE, few), (MD, n)) for n in sizes}
    if found[few].within_noise is None:
        return f"{said} is {NOT_RESOLVED} from {few} frames without ({_UNKNOWN})"
    if found[few].within_noise:
        return f"{said} is {NOT_RESOLVED} from {few} frames without: its worth is {NOT_RESOLVED}"
    if found[few].value < 0:
        return f"{said} does worse than {few} frames without"
    resolved = {n: one.value for n, one in found.items() if one.within_noise is False}
    above = next((n for n in sizes if resolved.get(n, 0.0) < 0), None)
    last = max(n for n, value in resolved.items() if value > 0 and (not above or n < above))
    said += f" does better than {last} without"
    least = f"more than {last - few}" if last > few else ""
    if above:
        most = f"less than {above - few} frames"
        both = f"{least} and {most}" if least else most
        return f"{said} and worse than {above}, so that it is worth {both}"
    if last == sizes[-1]:
        return f"{said} and is worth {least} frames" if least else said
    said += f" and is worth {least} frames" if least else ""
    beyond = [n for n in sizes if n > last]
    open_ones = [n for n in beyond if found[n].within_noise]
    unknown = [n for n in beyond if found[n].within_noise is None]
    reasons = [f"{NOT_RESOLVED} from {_listed(open_ones)}"] if open_ones else []
    reasons += [f"no number at {_listed(unknown)}"] if unknown else []
    return f"{said}, how many more is open ({', '.join(reasons)})"


def _listed(items: Sequence[object]) -> str:
    *first, last = map(str, items)
    return f"{', '.join(first)} and {last}" if first else last
