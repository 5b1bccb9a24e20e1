"""Which models take part in what models share: those with a number for most of what was planned.

A model that lacks many scans takes them from the comparison of all others. So a model below the
entry threshold is listed, with the reason, and takes no part in what is shared.
"""

from __future__ import annotations

ENTRY_COVERAGE = 0.9  # default of the config key `entry_coverage`
_ROUNDING = 1e-9  # of the product of a share and a number


def why_left_out(
    found: int, planned: int, least: float = ENTRY_COVERAGE, what: str = "scans scored"
) -> str:
    """Why a model takes no part in what models share; "" for one that does.

    The leaderboard, paired differences and the association ask here.

    Args:
        found: Number of scans, or trajectories, that the model has a number for.
        planned: Number of those that were planned for it.
        least: Smallest share of the planned ones, 0 to 1; a model with just this share takes part,
            one without any number never.
        what: What is counted, such as `scans with fsd_full`.
    """
    if found > 0 and found >= least * planned - _ROUNDING:
        return ""
    told = f"{found} of {planned} {what}"
    return f"{told}, below the entry threshold of {100 * least:.10g} %" if found else told
