"""What several modules of tests of commands share."""

from __future__ import annotations

import pytest

import check_calculators as fakes
import pesbench
from checked import LOOSE
from pesbench.commands.check import conformance, subset


@pytest.fixture(scope="session")
def smooth():
    """The report of a good calculator, whose wells and walls are not those of molecules."""
    return pesbench.check(fakes.Smooth(), dtype="float64", limits=LOOSE)


@pytest.fixture(scope="session")
def systems():
    """The frames that conformance is checked on."""
    return conformance.frames(conformance.representative(subset.read_subset()))
