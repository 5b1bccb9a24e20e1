"""The detectors, by name."""

from __future__ import annotations

from dataclasses import dataclass

COMPRESSION, STRETCH, DYNAMICS = "compression", "stretch", "dynamics"
DOMAINS = (COMPRESSION, STRETCH, DYNAMICS)
SCAN_DOMAINS = (COMPRESSION, STRETCH)
BASELINE = "baseline"
GEOMETRY, PHYSICS, DESCRIPTORS, MODELS = "geometry", "physics", "descriptors", "several models"


@dataclass(frozen=True)
class Detector:
    """A score that is to say that a model is wrong.

    Attributes:
        name: Name in tables of numbers.
        title: Name that readers see.
        kind: What it is made of.
        unit: Unit of its score.
        domains: Where it is defined.
    """

    name: str
    title: str
    kind: str
    unit: str = ""
    domains: tuple[str, ...] = DOMAINS


DETECTORS = (
    Detector("coordinate", "distance from the minimum", BASELINE, "Å", SCAN_DOMAINS),
    Detector("largest_force", "largest force", BASELINE, "eV/Å"),
    Detector("close_pair", "closest pair of atoms", GEOMETRY),
    Detector("long_bond", "longest bond", GEOMETRY),
    Detector("pair_range", "distance beyond those seen", GEOMETRY, "Å"),
    Detector("energy_force", "energy against force", PHYSICS, "eV/Å", SCAN_DOMAINS),
    Detector("energy_jump", "jump of the total energy", PHYSICS, "eV/atom", (DYNAMICS,)),
    Detector("temperature", "temperature over the nominal one", PHYSICS, "", (DYNAMICS,)),
    Detector("mahalanobis", "Mahalanobis distance", DESCRIPTORS),
    Detector("knn", "distance of neighbours", DESCRIPTORS),
    Detector("maxvol", "extrapolation grade (MaxVol)", DESCRIPTORS),
    Detector("cli", "share of atoms outside (CLI)", DESCRIPTORS),
    Detector("committee", "committee of seeds", MODELS, "eV/Å"),
    Detector("disagreement", "disagreement of models", MODELS, "eV/Å"),
)
BY_NAME = {one.name: one for one in DETECTORS}
TRIVIAL = tuple(one.name for one in DETECTORS if one.kind == BASELINE)
