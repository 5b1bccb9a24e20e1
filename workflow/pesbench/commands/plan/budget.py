"""Models and systems that fit a number of hours.

The proposal keeps all models as long as it can, because a leaderboard compares models: fewer
systems widen the intervals, while a dropped model is missing. So the scans are reduced first, to
the same number of each bond type (all of them where a type has fewer), and the molecules of the
other tasks in proportion. If fewer than `least_scans` of each bond type would be left, the most
expensive model is dropped and the number of scans is determined again. If not even the cheapest
model fits together with the other tasks, the scans alone are proposed.

If any model was timed on a GPU, the budget counts hours of a GPU, because these are what an
allocation counts. Jobs that need no GPU then take nothing of the budget, and nothing is dropped for
them.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pesbench.commands.plan.contents import Facts
from pesbench.commands.plan.prediction import RELAX, Prediction, predict
from pesbench.commands.plan.probe import Probe
from pesbench.core.task import SCAN
from pesbench.orchestration.config import Run
from pesbench.orchestration.requests import REFERENCE, SCAN_SET, uses_gpu
from pesbench.orchestration.task_runs import TaskRun

LEAST_SCANS = 10  # of a bond type; a choice (docs/plan.md)


@dataclass(frozen=True)
class Proposal:
    """A smaller run.

    Attributes:
        run: The smaller run.
        per_bond: Most scans of a bond type.
        hours: Hours that the budget counts.
        of_gpu: Whether these are hours of a GPU.
        uncounted_hours: Hours of jobs that need no GPU, if the budget counts hours of a GPU.
        dropped: Models that are too expensive, the most expensive first.
        unknown: Models that are left out because they could not be timed.
        whole: Whether it is the whole run.
    """

    run: Run
    per_bond: int
    hours: float
    of_gpu: bool
    uncounted_hours: float
    dropped: tuple[str, ...]
    unknown: tuple[str, ...]
    whole: bool


@dataclass(frozen=True)
class Budget:
    """Kind of hours of a budget.

    Attributes:
        hours: The limit.
        of_gpu: Whether it counts hours of a GPU; jobs that need none then cost nothing.
        device: `device` of the config.
        built: Whether the scan set exists, so that its reference costs nothing more.
    """

    hours: float
    of_gpu: bool
    device: str
    built: bool

    @classmethod
    def of(cls, run: Run, predictions: Sequence[Prediction], hours: float, built: bool) -> Budget:
        """The budget of a run.

        Args:
            run: The run.
            predictions: Predictions of all of it.
            hours: The limit.
            built: Whether the scan set exists.
        """
        of_gpu = any(one.gpu and not math.isnan(one.hours) for one in predictions)
        return cls(hours, of_gpu, run.device, built)

    def counted(self, one: Prediction) -> float:
        """The hours of a prediction that count; NaN if they are not known."""
        left = _hours_left(one, self.built)
        if not self.of_gpu or one.gpu:
            return left
        may_count = math.isnan(left) and uses_gpu(one.entry, self.device)
        return math.nan if may_count else 0.0

    def cost(self, predictions: Sequence[Prediction]) -> float:
        """The sum of the hours that count."""
        return sum(self.counted(one) for one in predictions)

    def uncounted(self, predictions: Sequence[Prediction]) -> float:
        """The sum of the hours that do not count."""
        return sum(_hours_left(one, self.built) - self.counted(one) for one in predictions)


def least_scans(most: int) -> int:
    """Scans of each bond type below which a model is dropped.

    Args:
        most: Scans of the commonest bond type.
    """
    return min(LEAST_SCANS, math.ceil(most / 2))


def _hours_left(one: Prediction, built: bool) -> float:
    """The hours of a prediction, without those for the scan set if that exists."""
    if not built or one.model not in (REFERENCE, RELAX):
        return one.hours
    # what tasks ask of the reference is no part of the scan set
    return sum(part.hours for name, part in one.parts.items() if name != SCAN_SET)


def in_order(ids: Sequence[str]) -> list[str]:
    """Names in a random order that never changes."""
    return sorted(ids, key=lambda name: (hashlib.sha256(name.encode()).hexdigest(), name))


def _tasks_of_systems(run: Run) -> dict[str, TaskRun]:
    return {name: one for name, one in run.tasks.items() if one.task.item != SCAN}


def _by_bond(run: Run, facts: Mapping[str, Facts]) -> dict[str, list[str]]:
    """The scans of each bond type in the order in which they are kept.

    Those whose molecules take part in the most tasks come first.
    """
    asked = Counter(item for one in _tasks_of_systems(run).values() for item in one.selected)
    found: dict[str, list[str]] = {}
    for scan_id in in_order(run.scans):
        if facts[scan_id].frames:
            found.setdefault(facts[scan_id].bond, []).append(scan_id)
    return {
        bond: sorted(ids, key=lambda scan_id: -asked[facts[scan_id].system])
        for bond, ids in sorted(found.items())
    }


def thinned(run: Run, facts: Mapping[str, Facts], models: Sequence[str], per_bond: int) -> Run:
    """A run with some of its models, and so many scans of each bond type.

    Tasks of molecules keep their share of them, chosen from those whose scans are kept.

    Args:
        run: What the run consists of.
        facts: Facts about its scans.
        models: Models to keep, including controls.
        per_bond: Scans of each bond type, at most.
    """
    by_bond = _by_bond(run, facts)
    scans = sorted(scan_id for ids in by_bond.values() for scan_id in ids[:per_bond])
    kept = set(models)
    tasks = {}
    for name, one in run.tasks.items():
        items = set(scans) if one.task.item == SCAN else _share(one, facts, by_bond, per_bond)
        if smaller := _narrowed(one, kept, items):
            tasks[name] = smaller
    return replace(
        run,
        models={name: entry for name, entry in run.models.items() if name in kept},
        scans=scans,
        tasks=tasks,
        ladder=_ladder(run, kept),
    )


def _narrowed(one: TaskRun, models: set[str], items: set[str]) -> TaskRun | None:
    """A task with some of its models and items; None where none are left."""
    asked = [name for name in one.models if name in models]
    selected = [item for item in one.selected if item in items]
    if not asked or not selected:
        return None
    if one.task.always or selected == one.selected:  # jobs follow from all items
        return replace(one, models=asked, selected=selected)
    block = one.task.narrowed(selected, one.block)
    return replace(one, models=asked, items=selected, selected=selected, block=block)


def _ladder(run: Run, kept: set[str]) -> list[str]:
    """Remaining models of the ladder; none without its baseline, or if it is alone."""
    left = [name for name in run.ladder if name in kept]
    potentials = {run.models[name].potential for name in left}
    return left if run.ladder[:1] == left[:1] and len(potentials) > 1 else []


def _share(
    one: TaskRun, facts: Mapping[str, Facts], by_bond: Mapping[str, Sequence[str]], per_bond: int
) -> set[str]:
    """Molecules of a task: of each bond type the same share as of the scans, rounded up."""
    able = set(one.selected)
    systems = {bond: [facts[scan_id].system for scan_id in ids] for bond, ids in by_bond.items()}
    most = max(map(len, systems.values()), default=0)
    most_able = max((sum(name in able for name in some) for some in systems.values()), default=0)
    count = math.ceil(most_able * min(per_bond, most) / most) if most else 0
    with_scan = ([name for name in some[:per_bond] if name in able] for some in systems.values())
    return {name for some in with_scan for name in some[:count]}


def propose(
    run: Run,
    facts: Mapping[str, Facts],
    probes: Mapping[str, Probe],
    hours: float,
    *,
    built: bool,
) -> Proposal | None:
    """The largest run that fits.

    Args:
        run: What the run consists of.
        facts: Facts about all scans of its set.
        probes: Probes by model.
        hours: Largest number of hours; of a GPU if any model was timed on one.
        built: Whether the scan set is there, so that its reference costs nothing more.

    Returns:
        None where nothing fits, not even one model on one scan of each bond type; where no model
        could be timed; or where the reference, which must be computed first, could not.
    """
    predictions = predict(run, facts, probes)
    budget = Budget.of(run, predictions, hours, built)
    if not timed_models(predictions):
        return None
    found = _propose(run, facts, probes, budget)
    if found is None and optional_tasks(run):
        found = _propose(scans_alone(run), facts, probes, budget)
        return found and replace(found, whole=False)
    return found


def timed_models(predictions: Sequence[Prediction]) -> list[Prediction]:
    """The models that could be timed, without controls, which alone are no run."""
    models = [one for one in predictions if one.role not in ("control", "method")]
    return [one for one in models if not math.isnan(one.hours)]


def optional_tasks(run: Run) -> list[str]:
    """Names of the tasks of a run that a config may leave out."""
    return [name for name, one in run.tasks.items() if not one.task.always]


def scans_alone(run: Run) -> Run:
    """A run without the tasks that a config may leave out."""
    return replace(run, tasks={n: one for n, one in run.tasks.items() if one.task.always})


def _propose(
    run: Run, facts: Mapping[str, Facts], probes: Mapping[str, Probe], budget: Budget
) -> Proposal | None:
    def cost(candidate: Run) -> float:
        return budget.cost(predict(candidate, facts, probes))

    first = predict(run, facts, probes)
    of_models = {one.model: one for one in first if one.model in run.models}
    unknown = tuple(name for name, one in of_models.items() if math.isnan(one.hours))
    kept = [name for name in run.models if name not in unknown]
    dear = _dearest_first(run, [of_models[name] for name in kept], budget)
    most = max((len(ids) for ids in _by_bond(run, facts).values()), default=0)
    dropped: list[str] = []
    while True:
        smaller = _largest_that_fits(
            lambda count, kept=tuple(kept): cost(thinned(run, facts, kept, count)),
            budget.hours,
            most,
        )
        enough = least_scans(most)
        if smaller >= enough or (smaller and not dear):
            chosen = thinned(run, facts, kept, smaller)
            whole = not dropped and not unknown and smaller == most
            predictions = predict(chosen, facts, probes)
            return Proposal(
                run=chosen,
                per_bond=smaller,
                hours=budget.cost(predictions),
                of_gpu=budget.of_gpu,
                uncounted_hours=budget.uncounted(predictions),
                dropped=tuple(dropped),
                unknown=unknown,
                whole=whole,
            )
        if not dear:
            return None
        dropped.append(dear.pop(0))
        kept.remove(dropped[-1])


def _largest_that_fits(cost: Callable[[int], float], hours: float, most: int) -> int:
    """The largest number from 1 that costs at most so much; 0 if none does. More costs more."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if cost(middle) <= hours:
            low = middle
        else:
            high = middle - 1
    return low


def _dearest_first(run: Run, predictions: Sequence[Prediction], budget: Budget) -> list[str]:
    """Models that may be dropped.

    The reference shows what failures of dynamics are the method's own, the baseline of a ladder is
    what the others are compared with, and one model must be left. Controls, and what the budget
    does not count, cost nothing.
    """
    kept = {one.model for one in predictions if one.role in ("reference", "control")}
    kept |= set(run.ladder[:1])
    kept |= {one.model for one in predictions if not budget.counted(one)}
    able = sorted(
        (one for one in predictions if one.model not in kept),
        key=lambda one: (-budget.counted(one), one.model),
    )
    judged = any(one.model in kept and one.role in ("model", "perturbed") for one in predictions)
    return [one.model for one in (able if judged else able[:-1])]


def cheapest_first(
    run: Run, predictions: Sequence[Prediction], hours: float, *, built: bool
) -> list[str]:
    """Models that fit if all systems are kept instead: the reference, then the cheapest first.

    Args:
        run: What the run consists of.
        predictions: Predictions of the run.
        hours: Largest number of hours.
        built: Whether the scan set is there.

    Returns:
        Names in that order; controls, which cost nothing, are not among them.
    """
    budget = Budget.of(run, predictions, hours, built)
    methods = [one for one in predictions if one.model in (REFERENCE, RELAX)]
    able = [one for one in predictions if one.model in run.models]
    left = hours - budget.cost([*methods, *(one for one in able if one.role == "control")])
    found = []
    others = [one for one in able if one.role != "control" and not math.isnan(one.hours)]
    for one in sorted(
        others, key=lambda one: (one.role != "reference", budget.counted(one), one.model)
    ):
        if budget.counted(one) > left:
            break
        left -= budget.counted(one)
        found.append(one.model)
    return found


def overlay(run: Run, proposal: Proposal) -> dict[str, Any]:
    """The keys of a config that turn a run into the proposed one.

    Args:
        run: Run that was too large.
        proposal: Proposal of `propose`.
    """
    smaller = proposal.run
    controls = [n for n, entry in smaller.models.items() if entry.is_control]
    block: dict[str, Any] = {
        "models": [name for name in smaller.models if name not in controls],
        "systems": list(smaller.scans),
    }
    for name in optional_tasks(run):
        left = smaller.tasks.get(name)
        block[name] = {"models": list(left.models) if left else []}
        if left:
            keys = asdict(left.block) if left.block is not None else {}
            block[name] |= {"systems": list(left.items)}
            block[name] |= {k: list(v) if isinstance(v, tuple) else v for k, v in keys.items()}
    if run.ladder:
        block["ladder"] = {"models": list(smaller.ladder[1:])}
    return block
