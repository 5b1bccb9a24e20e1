"""What readers see of the columns that the scans give the leaderboard.

Title, unit, direction and help; columns that are means of a score have what the task declares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from pesbench.core.section import Metric
from pesbench.tasks.bonds.task import TASK

_SCORES = {one.name: one for one in TASK.metrics}
_TITLES = {  # of scores whose own title is their name
    "fsd_slope_p95": "95th percentile of the slopes",
    "energy_force_inconsistency": "energy against work of the forces",
}
_PARTS = {  # ending of a column: what its title and its help add
    "hydrogen": ("to hydrogen", "Of the bonds to hydrogen, which ranks leave out."),
    "seen": ("seen", "Over scans that the training data of the model may hold."),
    "unseen": ("unseen", "Over scans that the training data of the model does not hold."),
    "shared": ("shared scans", "Over the scans of which all ranked models have a score."),
    "median": ("median", "Median over the scored scans in place of the mean."),
    "macro": ("by bond type", "Mean of the means of the bond types."),
    "low": ("lower end", "Lower end of the 95 % interval."),
    "high": ("upper end", "Upper end of the 95 % interval."),
}
_LEAST_KNOWN = "Size of a known defect of the reference that has the same mean FSD: "
_OTHERS = (
    Metric("rank", "rank", better="lower", help="Rank on the shared scans by the chosen score."),
    Metric("rank_low", "rank, lower end", help="Lower end of the 95 % interval of the rank."),
    Metric("rank_high", "rank, upper end", help="Upper end of the 95 % interval of the rank."),
    Metric("rank_full", "rank, FSD", better="lower", help="Rank by the FSD on the shared scans."),
    Metric("rank_aligned", "rank, self-aligned", better="lower",
           help="Rank by the self-aligned FSD on the scans of which all ranked models have it."),
    Metric("rank_windowed", "rank, windowed", better="lower",
           help="Rank by the windowed FSD on the shared scans."),
    Metric("n_rank_full", "scans of the rank by FSD", help="Scans behind this rank."),
    Metric("n_rank_aligned", "scans of the rank by self-aligned FSD", help="Scans behind it."),
    Metric("n_rank_windowed", "scans of the rank by windowed FSD", help="Scans behind it."),
    Metric("rank_by", "ranked by", help="Score that decides the ranks."),
    Metric("rank_score", "score of the rank",
           help="Mean over the shared scans of the score that decides the ranks."),
    Metric("n_shared", "shared scans",
           help="Scans of which all ranked models have a score, which decide the ranks."),
    Metric("n_costs", "scans that it costs", better="lower",
           help="Scans that the model alone takes from what the other ranked models share."),
    Metric("left_out", "left out of the ranks", help="Why the model has no rank."),
    Metric("family", "family", help="Program or kind of model that gives energies and forces."),
    Metric("role", "role", help="Model, reference, perturbed model or control."),
    Metric("level_of_theory", "level of theory", help="Of the data that the model was trained on, "
           "or of the method itself."),
    Metric("theory_gap", "another level of theory", help="Whether it is another one than that of "
           "the reference, so that scores contain the gap between the two."),
    Metric("n_planned", "planned scans", help="Scans of bonds without hydrogen in the set."),
    Metric("n_scored", "scored scans", better="higher",
           help="Scans with a score: the denominator of the means in the row."),
    Metric("n_planned_hydrogen", "planned scans to hydrogen",
           help="Scans of bonds to hydrogen in the set."),
    Metric("n_scored_hydrogen", "scored scans to hydrogen", better="higher",
           help="Scans of bonds to hydrogen with a score."),
    Metric("n_seen", "seen scans", help="Scored scans that its training data may hold."),
    Metric("n_unseen", "unseen scans", help="Scored scans that its training data does not hold."),
    Metric("missing", "scans without a score", help="How many, by cause."),
    Metric("missing_example", "example of a missing scan", help="A scan without a score and its "
           "message."),
    Metric("lacks", "scores that it lacks", help="Scores that the files of an older version of "
           "this program do not hold."),
    Metric("fsd_peak_near_equilibrium", "peak near equilibrium", "share",
           help="Share of the scans whose largest slope lies within 0.15 Å of the reference "
           "minimum, where it is most often the bond length that is off."),
    Metric("no_better_than_zero", "no better than zero forces", help="Whether zero forces "
           "are at least as good in a score, on the scans that were scored."),
    Metric("no_better_than_zero_in", "no better than zero forces in", help="The scores in which "
           "zero forces are at least as good."),
    Metric("base", "made from", help="Entry to which a perturbed model adds its defect."),
    Metric("defect", "defect", help="Kind of the known defect."),
    Metric("dose", "dose", help="Size of the known defect, in the unit of its kind."),
    Metric("step_low", "shortest step", "Å", help="Of the grid of its scans."),
    Metric("step_high", "longest step", "Å", help="Of the grid of its scans."),
    Metric("equivalent", "same FSD as", help=_LEAST_KNOWN + "the nearest kinds."),
    Metric("equivalent_step", "same FSD as a force step", "fold", better="lower",
           help=_LEAST_KNOWN + "forces multiplied by so much beyond 1.5 bond lengths."),
    Metric("equivalent_shift_angstrom", "same FSD as a shift", "Å", better="lower",
           help=_LEAST_KNOWN + "a bond that is so much too long."),
    Metric("equivalent_noise_ev_per_angstrom", "same FSD as noise", "eV/Å", better="lower",
           help=_LEAST_KNOWN + "normal noise of this width on each force component."),
    Metric("seconds_per_frame", "time per frame", "s", better="lower",
           help="Time in the model; comparable only on one machine and device."),
    Metric("scan_seconds", "time of the scans", "s", better="lower",
           help="Wall time of the command that computed all scans."),
    Metric("worker_deaths", "lost processes", better="lower",
           help="How often the process of the model was lost and started again."),
)  # fmt: skip


def _metrics() -> Iterator[Metric]:
    yield from _OTHERS
    for score in _SCORES.values():
        whole = replace(score, title=_TITLES.get(score.name, score.title))
        yield whole
        for ending, (words, help_text) in _PARTS.items():
            yield replace(
                whole,
                name=f"{score.name}_{ending}",
                title=f"{whole.title}, {words}",
                help=f"{score.help} {help_text}",
            )


METRICS: Mapping[str, Metric] = {one.name: one for one in _metrics()}
