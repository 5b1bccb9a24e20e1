"""What counts as one model, and as one family of models."""

from __future__ import annotations

import pytest

from pesbench.models.registry import ModelEntry
from pesbench.models.variants import architecture


@pytest.mark.parametrize(
    ("family", "settings", "said"),
    [
        ("mace", {"weights": "a.model"}, "mace"),
        ("tblite", {"method": "GFN1-xTB"}, "tblite"),
        ("ase", {"calculator": "orb_models.forcefield:Calculator"}, "orb_models"),
        ("ase", {"calculator": "single:Calculator"}, "single"),
        ("torchsim", {"model": "fairchem.core:Model"}, "fairchem"),
    ],
)
def test_calculators_of_two_packages_are_two_architectures(family, settings, said):
    assert architecture(ModelEntry("a", family, settings)) == said
