"""Settings of the breathing."""

from __future__ import annotations

from dataclasses import dataclass

from pesbench.core.settings import setting


@dataclass(frozen=True)
class BreathingSettings:
    """How far a molecule is scaled, and in which steps."""

    largest: float = setting(0.1, help="Largest relative change of size.", above=0, at_most=0.5)
    frames: int = setting(9, help="Geometries of each molecule.", at_least=3, at_most=999)
    factor: float = setting(1.0, help="What roughness is multiplied by.", above=0, stage="score")
