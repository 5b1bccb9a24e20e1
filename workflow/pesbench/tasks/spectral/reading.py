"""What one readout reads of one design: every injected degree at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pesbench.core.interface import Status
from pesbench.tasks.spectral import heads
from pesbench.tasks.spectral.designs import AMPLITUDE
from pesbench.tasks.spectral.harmonics import degrees_of, legendre, real_harmonics
from pesbench.tasks.spectral.heads import Mixing, fit_ridge
from pesbench.tasks.spectral.metrics import Gains, gains, r2
from pesbench.tasks.spectral.probes import DIRECTION, INVARIANTS, POLYNOMIAL, SQUARE, Probe
from pesbench.tasks.spectral.stored import Irreps, Shown

Array = NDArray[np.float64]
Columns = Mapping[bool, Array]  # of the frames that are trained on (False) and tested with (True)
NO_FEATURES = "the network was not asked for such features of this design"


class NotReadError(Exception):
    """A probe has nothing to read; the message says why.

    Args:
        why: The message.
        status: Of the rows.
    """

    def __init__(self, why: str, status: Status = Status.MASKED) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True)
class Reading:
    """What a probe finds of one injected degree.

    Attributes:
        r2: R² of the total target.
        r2_inj: R² of the injected part.
        gains: By group of test frames, for ρ and its interval; None in design C, where the part
            that is injected is smaller than what a readout of E gets wrong.
    """

    r2: float
    r2_inj: float
    gains: Gains | None = None


@dataclass(frozen=True)
class Readings:
    """What a probe finds of all injected degrees.

    Attributes:
        by_degree: From degree 1 on.
        channels: Kept of each block at most.
        columns: Of the readout.
        trained, tested: Number of frames.
    """

    by_degree: Mapping[int, Reading]
    channels: int
    columns: int
    trained: int
    tested: int


def read_probe(
    probe: Probe, designs: Mapping[str, Shown], irreps: Irreps, l_max: int, highest: int
) -> Readings:
    """Fit a readout to the frames that are trained on, and look at those that are held out.

    Args:
        probe: The readout.
        designs: What was shown, by name of the design.
        irreps: Of the columns of the layer.
        l_max: Highest degree l of the features that are read.
        highest: Highest injected degree.

    Raises:
        NotReadError: the features are not there, or are more than the frames can determine.
    """
    shown = designs[probe.design]
    tested = designs[probe.tested_on] if probe.tested_on else shown
    if probe.layer == DIRECTION:
        irreps = tuple((1, degree) for degree in range(1, l_max + 1))
    else:
        for one in (shown, tested):
            if probe.features not in one.features:
                status, why = one.missing.get(probe.features, (Status.MASKED, NO_FEATURES))
                raise NotReadError(why, status)
    trained = ~shown.held_out & (shown.clear | probe.everywhere)
    held_out = tested.held_out & (tested.clear | probe.everywhere)
    channels = _channels(probe, irreps, l_max, int(trained.sum()))

    def blocks(one: Shown) -> list[heads.Block]:
        if probe.layer == DIRECTION:
            features = real_harmonics(one.directions, l_max)[:, 1:]
        else:
            features = one.features[probe.features].astype(np.float64)
        return heads.blocks_of(features, irreps, l_max)

    for one, chosen in ((shown, trained), (tested, held_out)):
        looked_at = [block for _, block in blocks(one)] + [one.sums] * (one.sums is not None)
        if not all(np.isfinite(some[chosen]).all() for some in looked_at):
            raise NotReadError("a feature is not finite", Status.NONFINITE)
    mixing = Mixing.fit([(degree, block[trained]) for degree, block in blocks(shown)], channels)
    every = _columns(probe, mixing, blocks(shown), shown)
    if not every.shape[1]:
        raise NotReadError("no feature of the layer varies over the frames")
    of_tested = _columns(probe, mixing, blocks(tested), tested) if probe.tested_on else every
    columns = {False: every[trained], True: of_tested[held_out]}
    groups = {False: shown.groups[trained], True: tested.groups[held_out]}
    if len(np.unique(groups[False])) < 2 or not held_out.any():
        raise NotReadError("too few frames are clear of other atoms")
    if probe.head == INVARIANTS:
        assert shown.cosines is not None
        assert shown.energies_ev is not None
        cosines = {False: shown.cosines[trained], True: shown.cosines[held_out]}
        energies = {False: shown.energies_ev[trained], True: shown.energies_ev[held_out]}
        targets = {part: legendre(some, highest)[:, 1:] for part, some in cosines.items()}
        found = _injected(columns, targets, energies, groups[False])
    else:
        directions = {False: shown.directions[trained], True: tested.directions[held_out]}
        targets = {part: real_harmonics(some, highest)[:, 1:] for part, some in directions.items()}
        found = _plain(columns, targets, degrees_of(highest), groups, shuffled=probe.shuffled)
    return Readings(
        dict(enumerate(found, 1)),
        max(matrix.shape[1] for matrix in mixing.maps),
        every.shape[1],
        int(trained.sum()),
        int(held_out.sum()),
    )


def _channels(probe: Probe, irreps: Irreps, l_max: int, trained: int) -> int:
    def columns(channels: Mapping[int, int]) -> int:
        if probe.head == POLYNOMIAL:
            width = sum(count * (2 * degree + 1) for degree, count in channels.items())
            return heads.n_monomials(width, probe.degree)
        if probe.head == INVARIANTS:  # and the scalars summed over all atoms
            return heads.n_invariants(channels, probe.degree) + channels.get(0, 0)
        return probe.width

    used = tuple(one for one in irreps if one[1] <= l_max)
    held = Counter[int]()
    for count, degree in used:
        held[degree] += count
    if min(held.values()) < probe.channels:
        raise NotReadError(
            f"a degree of the layer has {min(held.values())} of the {probe.channels} channels that "
            "this readout takes of each"
        )
    most = probe.channels or heads.MOST_CHANNELS
    channels = heads.channels_for(used, columns, trained, most)
    if channels < max(1, probe.channels):
        least = columns({degree: max(1, probe.channels) for _, degree in used})
        raise NotReadError(
            f"the readout has at least {least} columns, and {trained} frames allow "
            f"{trained // heads.SAMPLES_A_COLUMN}"
        )
    return channels


def _columns(probe: Probe, mixing: Mixing, blocks: list[heads.Block], shown: Shown) -> Array:
    reduced = mixing.apply(blocks)
    if probe.head == POLYNOMIAL:
        return heads.monomials(heads.flat(reduced), probe.degree)
    if probe.head == INVARIANTS:
        assert shown.sums is not None
        sums = shown.sums.astype(np.float64)[:, :, None]
        most = max(matrix.shape[1] for matrix in mixing.maps)
        trained = ~shown.held_out & (shown.clear | probe.everywhere)
        pooled = Mixing.fit([(0, sums[trained])], most).apply([(0, sums)])
        return np.concatenate([heads.invariants(reduced, probe.degree), heads.flat(pooled)], axis=1)
    kind = "square" if probe.head == SQUARE else "silu"
    return heads.random_units(heads.flat(reduced), probe.width, kind)


def _plain(
    columns: Columns,
    targets: Columns,
    degrees: NDArray[np.int64],
    groups: Mapping[bool, NDArray[np.int64]],
    *,
    shuffled: bool,
) -> list[Reading]:
    """Designs A and B: the injected part is all of the target.

    The blind readout is the mean. The oracle is given the targets themselves and makes no error.

    Args:
        columns: Of the readout.
        targets: Harmonics Y_ℓm.
        degrees: Degree ℓ of each of them.
        groups: Group of each frame.
        shuffled: Whether the targets that are trained on are shuffled.
    """
    wanted = targets[False]
    if shuffled:
        wanted = np.random.default_rng(0).permutation(wanted)
    head = fit_ridge(columns[False], wanted, groups[False], kinds=degrees)
    predicted = head.predict(columns[True])
    found = []
    for degree in np.unique(degrees):
        mine = degrees == degree
        target, centre = targets[True][:, mine], wanted[:, mine].mean(axis=0)
        value = r2(predicted[:, mine], target, centre)
        compared = gains(target, centre, predicted[:, mine], target, groups[True])
        found.append(Reading(value, value, compared))
    return found


def _injected(
    columns: Columns, targets: Columns, energies: Columns, groups: NDArray[np.int64]
) -> list[Reading]:
    """Design C: E + A·P_ℓ(cos θ), A a tenth of the standard deviation of E.

    The readout is linear, so that what it says of the injected part is its prediction of E + A·P_ℓ
    less that of E with the same strength.
    """
    amplitude = AMPLITUDE * float(energies[False].std())
    injected = {part: amplitude * some for part, some in targets.items()}
    total = {part: energies[part][:, None] + some for part, some in injected.items()}
    alone = np.repeat(energies[False][:, None], targets[False].shape[1], axis=1)
    head = fit_ridge(columns[False], total[False], groups)
    same = fit_ridge(columns[False], alone, groups, strengths=head.strengths)
    predicted = head.predict(columns[True])
    told = predicted - same.predict(columns[True])
    means = {"total": total[False].mean(axis=0), "injected": injected[False].mean(axis=0)}
    return [
        Reading(
            r2(predicted[:, k], total[True][:, k], means["total"][k]),
            r2(told[:, k], injected[True][:, k], means["injected"][k]),
        )
        for k in range(told.shape[1])
    ]
