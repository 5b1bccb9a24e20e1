"""What several modules of tests of commands share."""

from __future__ import annotations

import pytest

import check_calculators as fakes
import pesbench
from pesbench.commands.check import conformance, subset


@pytest.fixture(scope="session")
def smooth():
    """The report of a good calculator."""
    return pesbench.check(fakes.Smooth(), dtype="float64")


@pytest.fixture(scope="session")
def systems():
    """The frames that conformance is checked on."""
    return conformance.frames(conformance.representative(subset.read_subset()))
