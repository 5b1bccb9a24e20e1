"""What one readout reads of one design: every injected degree at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pesbench.tasks.spectral import heads
from pesbench.tasks.spectral.designs import AMPLITUDE
from pesbench.tasks.spectral.harmonics import legendre, of_degree, real_harmonics
from pesbench.tasks.spectral.heads import Mixing, fit_ridge
from pesbench.tasks.spectral.metrics import Gains, gains, r2
from pesbench.tasks.spectral.probes import INVARIANTS, POLYNOMIAL, SQUARE, Probe
from pesbench.tasks.spectral.stored import Irreps, Shown

Array = NDArray[np.float64]
Columns = dict[bool, Array]  # of frames that are tested with, and of those that are trained on


class NotReadError(Exception):
    """A probe has nothing to read; the message says why."""


@dataclass(frozen=True)
class Reading:
    """What a probe finds of one injected degree.

    Attributes:
        r2: R² of the total target.
        r2_inj: R² of the injected part.
        gains: By group of test frames, for ρ and its interval.
    """

    r2: float
    r2_inj: float
    gains: Gains


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
    if probe.features not in shown.features:
        raise NotReadError("the network has no such features of this design")
    trained, held_out = ~shown.held_out, shown.held_out
    used = tuple(one for one in irreps if one[1] <= l_max)
    channels = _channels(probe, used, int(trained.sum()))
    blocks = heads.blocks_of(shown.features[probe.features].astype(np.float64), irreps, l_max)
    mixing = Mixing.fit([(degree, block[trained]) for degree, block in blocks], channels)
    columns = _columns(probe, mixing, blocks, shown)
    tested = shown
    seen = {False: columns[trained], True: columns[held_out]}
    if probe.tested_on:
        tested = designs[probe.tested_on]
        other = heads.blocks_of(tested.features[probe.features].astype(float), irreps, l_max)
        seen[True] = _columns(probe, mixing, other, tested)
        held_out = tested.held_out
    if not columns.shape[1]:
        raise NotReadError("no feature of the layer varies over the frames")
    cosines = {False: shown.cosines[trained], True: tested.cosines[held_out]}
    groups = {False: shown.groups[trained], True: tested.groups[held_out]}
    targets = {part: legendre(some, highest)[:, 1:] for part, some in cosines.items()}
    if probe.head == INVARIANTS:
        energies = {False: shown.energies_ev[trained], True: tested.energies_ev[held_out]}
        found = _injected(seen, targets, energies, groups)
    else:
        directions = {False: shown.directions[trained], True: tested.directions[held_out]}
        found = _plain(seen, targets, directions, groups, shuffled=probe.shuffled)
    return Readings(
        dict(enumerate(found, 1)), channels, columns.shape[1], len(seen[False]), len(seen[True])
    )


def _channels(probe: Probe, used: Irreps, trained: int) -> int:
    if probe.head != POLYNOMIAL:
        if probe.width * heads.SAMPLES_A_COLUMN > trained:
            raise NotReadError(f"{probe.width} units need {heads.SAMPLES_A_COLUMN} frames each")
        return heads.MOST_CHANNELS
    channels = heads.channels_for(used, probe.degree, trained)
    if not channels:
        raise NotReadError(
            f"one channel of each degree has more monomials of degree {probe.degree} than "
            f"{trained} frames allow with {heads.SAMPLES_A_COLUMN} for each"
        )
    return channels


def _columns(probe: Probe, mixing: Mixing, blocks: list[heads.Block], shown: Shown) -> Array:
    reduced = mixing.apply(blocks)
    if probe.head == POLYNOMIAL:
        return heads.monomials(heads.flat(reduced), probe.degree)
    if probe.head == INVARIANTS:
        assert shown.sums is not None
        trained = ~shown.held_out
        sums = shown.sums.astype(np.float64)[:, :, None]
        pooled = Mixing.fit([(0, sums[trained])], heads.MOST_CHANNELS).apply([(0, sums)])
        return np.concatenate([heads.invariants(reduced, probe.degree), heads.flat(pooled)], axis=1)
    kind = "square" if probe.head == SQUARE else "silu"
    return heads.random_units(heads.flat(reduced), probe.width, kind)


def _plain(
    seen: Columns,
    targets: Columns,
    directions: Columns,
    groups: Mapping[bool, NDArray[np.int64]],
    *,
    shuffled: bool,
) -> list[Reading]:
    """Designs A and B: the injected part is all of the target.

    The blind readout is the mean; the oracle is a readout of the harmonics of degree ℓ alone.
    """
    wanted = targets[False]
    if shuffled:
        wanted = np.random.default_rng(0).permutation(wanted)
    head = fit_ridge(seen[False], wanted, groups[False])
    predicted = head.predict(seen[True])
    highest = wanted.shape[1]
    harmonics = {part: real_harmonics(some, highest) for part, some in directions.items()}
    found = []
    for k in range(highest):
        known = {part: of_degree(some, k + 1) for part, some in harmonics.items()}
        oracle = fit_ridge(known[False], targets[False][:, k : k + 1], groups[False])
        target, centre = targets[True][:, k], float(targets[False][:, k].mean())
        value = r2(predicted[:, k], target, centre)
        compared = gains(
            target,
            np.full_like(target, centre),
            predicted[:, k],
            oracle.predict(known[True])[:, 0],
            groups[True],
        )
        found.append(Reading(value, value, compared))
    return found


def _injected(
    seen: Columns,
    targets: Columns,
    energies: Columns,
    groups: Mapping[bool, NDArray[np.int64]],
) -> list[Reading]:
    """Design C: E + A·P_ℓ(cos θ), A a tenth of the standard deviation of E.

    The readout is linear, so that what it says of the injected part is its prediction of E + A·P_ℓ
    less that of E with the same strength. The blind readout is that of E; the oracle is given
    P_ℓ(cos θ) as a further column.
    """
    amplitude = AMPLITUDE * float(energies[False].std())
    injected = {part: amplitude * some for part, some in targets.items()}
    total = {part: energies[part][:, None] + some for part, some in injected.items()}
    alone = {part: np.repeat(some[:, None], len(targets[part].T), 1)
             for part, some in energies.items()}  # fmt: skip
    head = fit_ridge(seen[False], total[False], groups[False])
    same = fit_ridge(seen[False], alone[False], groups[False], head.strengths)
    blind = fit_ridge(seen[False], energies[False][:, None], groups[False])
    predicted, without = head.predict(seen[True]), same.predict(seen[True])
    blindly = blind.predict(seen[True])[:, 0]
    found = []
    for k in range(targets[False].shape[1]):
        given = {
            part: np.concatenate([some, targets[part][:, k : k + 1]], axis=1)
            for part, some in seen.items()
        }
        oracle = fit_ridge(given[False], total[False][:, k : k + 1], groups[False])
        target = total[True][:, k]
        found.append(
            Reading(
                r2(predicted[:, k], target, float(total[False][:, k].mean())),
                r2(
                    predicted[:, k] - without[:, k],
                    injected[True][:, k],
                    float(injected[False][:, k].mean()),
                ),
                gains(
                    target,
                    blindly,
                    predicted[:, k],
                    oracle.predict(given[True])[:, 0],
                    groups[True],
                ),
            )
        )
    return found
