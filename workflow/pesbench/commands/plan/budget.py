"""Which models and systems fit a number of hours.

All models are kept as long as they can be: a leaderboard compares models, and fewer systems widen
its intervals while a dropped model is gone. So the scans are thinned, to the same number of each
bond type (of a type with fewer, all of them), and the molecules of dynamics in proportion. Only
where fewer than `least_scans` of each bond type would be left is the dearest model dropped, and the
scans are counted anew. Where not even the cheapest model fits with dynamics, scans alone are
proposed.

Hours are of a GPU where any model was timed on one: that is what an allocation counts, and what is
short. Jobs that need none then cost nothing of them, and are no reason to drop anything.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pesbench.commands.plan.contents import Facts
from pesbench.commands.plan.prediction import REFERENCE, RELAX, Prediction, predict
from pesbench.commands.plan.probe import Probe
from pesbench.orchestration.config import DynamicsShard, Run, split_shards
from pesbench.orchestration.requests import uses_gpu

LEAST_SCANS = 10  # of a bond type; a choice (docs/plan.md)


@dataclass(frozen=True)
class Proposal:
    """A smaller run.

    Attributes:
        run: What it consists of.
        per_bond: Scans of each bond type, at most.
        hours: That the budget counts.
        of_gpu: Whether those are hours of a GPU.
        uncounted_hours: Of jobs that need no GPU, where they are.
        dropped: Models that are too dear, the dearest first.
        unknown: Models that could not be timed, and are left out for that.
        whole: Whether nothing had to go.
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
    """What a number of hours counts.

    Attributes:
        hours: At most so many.
        of_gpu: Whether they are of a GPU: jobs that need none cost nothing of them.
        device: Of the config.
        built: Whether the scan set is there, so that its reference costs nothing more.
    """

    hours: float
    of_gpu: bool
    device: str
    built: bool

    @classmethod
    def of(cls, run: Run, predictions: Sequence[Prediction], hours: float, built: bool) -> Budget:
        """Of a run, from the predictions of the whole of it."""
        of_gpu = any(one.gpu and not math.isnan(one.hours) for one in predictions)
        return cls(hours, of_gpu, run.device, built)

    def counted(self, one: Prediction) -> float:
        """Its hours that count; NaN where they are not known."""
        left = _hours_left(one, self.built)
        if not self.of_gpu or one.gpu:
            return left
        may_count = math.isnan(left) and uses_gpu(one.entry, self.device)
        return math.nan if may_count else 0.0

    def cost(self, predictions: Sequence[Prediction]) -> float:
        """Sum of the hours that count."""
        return sum(self.counted(one) for one in predictions)

    def uncounted(self, predictions: Sequence[Prediction]) -> float:
        """Sum of those that do not."""
        return sum(_hours_left(one, self.built) - self.counted(one) for one in predictions)


def least_scans(most: int) -> int:
    """Scans of a bond type below which a model is dropped; `most` are there of the commonest."""
    return min(LEAST_SCANS, math.ceil(most / 2))


def _hours_left(one: Prediction, built: bool) -> float:
    """Its hours without what the scan set is made with, where that is built."""
    if not built or one.model not in (REFERENCE, RELAX):
        return one.hours
    return one.vibrations.hours  # the reference's frequencies are no part of the scan set


def in_order(ids: Sequence[str]) -> list[str]:
    """Names in a random order that is always the same."""
    return sorted(ids, key=lambda name: (hashlib.sha256(name.encode()).hexdigest(), name))


def _by_bond(run: Run, facts: Mapping[str, Facts]) -> dict[str, list[str]]:
    """The scans of each bond type as they are kept, those with dynamics first."""
    moving = {name for shard in run.dynamics_shards.values() for name in shard.systems}
    found: dict[str, list[str]] = {}
    for scan_id in in_order(run.scans):
        if facts[scan_id].frames:
            found.setdefault(facts[scan_id].bond, []).append(scan_id)
    return {
        bond: sorted(ids, key=lambda scan_id: facts[scan_id].system not in moving)
        for bond, ids in sorted(found.items())
    }


def thinned(run: Run, facts: Mapping[str, Facts], models: Sequence[str], per_bond: int) -> Run:
    """A run with some of its models, and so many scans of each bond type.

    Its dynamics keep their share of molecules, chosen from those whose scans are kept.

    Args:
        run: What the run consists of.
        facts: Of its scans.
        models: Which to keep, controls among them.
        per_bond: Scans of each bond type, at most.
    """
    by_bond = _by_bond(run, facts)
    scans = sorted(scan_id for ids in by_bond.values() for scan_id in ids[:per_bond])
    systems = {facts[scan_id].system for scan_id in scans}
    moving = _moving(run, facts, by_bond, per_bond)
    vibrating = [name for name in run.vibration_systems if name in systems]
    kept = set(models)
    dynamics = [name for name in run.dynamics if name in kept]
    vibrations = [name for name in run.vibrations if name in kept and vibrating]
    return replace(
        run,
        models={name: entry for name, entry in run.models.items() if name in kept},
        scans=scans,
        dynamics=dynamics if moving else [],
        dynamics_shards=_shards(run, moving) if dynamics else {},
        vibrations=vibrations,
        vibration_systems=vibrating if vibrations else [],
        ladder=_ladder(run, kept),
    )


def _ladder(run: Run, kept: set[str]) -> list[str]:
    """What is left of the ladder; nothing without its baseline, or where that stands alone."""
    left = [name for name in run.ladder if name in kept]
    potentials = {run.models[name].potential for name in left}
    return left if run.ladder[:1] == left[:1] and len(potentials) > 1 else []


def _moving(
    run: Run, facts: Mapping[str, Facts], by_bond: Mapping[str, Sequence[str]], per_bond: int
) -> set[str]:
    """Molecules of dynamics: of each bond type the same share as of the scans, rounded up."""
    able = {name for shard in run.dynamics_shards.values() for name in shard.systems}
    with_dynamics = {
        bond: [scan_id for scan_id in ids if facts[scan_id].system in able]
        for bond, ids in by_bond.items()
    }
    most = max((len(ids) for ids in by_bond.values()), default=0)
    most_moving = max((len(ids) for ids in with_dynamics.values()), default=0)
    count = math.ceil(most_moving * min(per_bond, most) / most) if most else 0
    return {facts[scan_id].system for ids in with_dynamics.values() for scan_id in ids[:count]}


def _shards(run: Run, systems: set[str]) -> dict[str, DynamicsShard]:
    """The shards of dynamics of some of the molecules, as `resolve` makes them."""
    found: dict[str, DynamicsShard] = {}
    for prefix in ("", "half-"):
        shards = [
            shard
            for name, shard in run.dynamics_shards.items()
            if name.startswith("half-") == bool(prefix)
        ]
        if not shards:
            continue
        size = max(len(shard.systems) for shard in shards)  # of a single one any size will do
        kept = [name for shard in shards for name in shard.systems if name in systems]
        found |= {
            f"{prefix}{name}": DynamicsShard(some, shards[0].settings)
            for name, some in split_shards(kept, size).items()
        }
    return found


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
        facts: Of all scans of its set.
        probes: By model.
        hours: At most so many; of a GPU where any model was timed on one.
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
    if found is None and (run.dynamics or run.vibrations):
        found = _propose(without_dynamics(run), facts, probes, budget)
        return found and replace(found, whole=False)
    return found


def timed_models(predictions: Sequence[Prediction]) -> list[Prediction]:
    """What a run can be made of: its models that could be timed; controls alone are no run."""
    models = [one for one in predictions if one.role not in ("control", "method")]
    return [one for one in models if not math.isnan(one.hours)]


def without_dynamics(run: Run) -> Run:
    """The scans of a run alone."""
    return replace(run, dynamics=[], dynamics_shards={}, vibrations=[], vibration_systems=[])


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
        predictions: Of it.
        hours: At most so many.
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
        run: That was too large.
        proposal: Of `propose`.
    """
    smaller = proposal.run
    controls = [n for n, entry in smaller.models.items() if entry.family == "control"]
    block: dict[str, Any] = {
        "models": [name for name in smaller.models if name not in controls],
        "systems": list(smaller.scans),
    }
    if run.dynamics:
        whole = [shard for name, shard in smaller.dynamics_shards.items() if name[:5] != "half-"]
        finer = [shard for name, shard in smaller.dynamics_shards.items() if name[:5] == "half-"]
        block["dynamics"] = {"models": list(smaller.dynamics)}
        if smaller.dynamics:
            block["dynamics"] |= {
                "systems": [name for shard in whole for name in shard.systems],
                "halved": [name for shard in finer for name in shard.systems],
            }
    if run.vibrations:
        block["vibrations"] = {"models": list(smaller.vibrations)}
        if smaller.vibrations:
            block["vibrations"]["systems"] = list(smaller.vibration_systems)
    if run.ladder:
        block["ladder"] = {"models": list(smaller.ladder[1:])}
    return block
