"""A calculator whose module is there and cannot be imported."""

import os

from fake_calculators import Morse  # noqa: F401

os.abort()
