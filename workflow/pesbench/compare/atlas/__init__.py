"""The failure atlas: every failure and every high peak of the FSD, placed by what happened."""
