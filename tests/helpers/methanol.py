"""Methanol, with a marked bond that is easy to tell."""

from __future__ import annotations

import numpy as np

from pesbench.core.systems import System

METHANOL = System(
    "methanol",
    np.array([6, 8, 1, 1, 1, 1]),  # C O H(O) H H H
    np.array(
        [[0.0, 0.0, 0.0], [1.42, 0.0, 0.0], [1.75, 0.9, 0.0], [-0.4, 1.0, 0.0],
         [-0.4, -0.5, 0.87], [-0.4, -0.5, -0.87]]
    ),
    np.array([[0, 1], [0, 3], [0, 4], [0, 5], [1, 2]]),
)  # fmt: skip
