"""Results of several groups on one leaderboard: what `python -m pesbench merge` does."""
