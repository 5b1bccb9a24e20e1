"""A calculator whose module is there and cannot be imported."""

from fake_calculators import Morse  # noqa: F401

raise RuntimeError("the licence server does not answer")
