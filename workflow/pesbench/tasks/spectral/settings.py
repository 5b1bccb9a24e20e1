"""Settings of the spectral diagnosis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pesbench.core.settings import PATH, check_limits, setting

HELD_OUT_SHARE = 5  # one conformer of so many is held out


@dataclass(frozen=True)
class SpectralSettings:
    """Settings of the spectral diagnosis: which frames are asked, and of which layer."""

    frames: str = setting(
        "results/weights/backbones/frames.extxyz",
        help="File of labelled frames of the molecules by `pesbench sample`; the default is what "
        "`snakemake weights_backbones` makes.",
        path=PATH,
    )
    conformers: int = setting(
        100,
        help="Frames of a molecule whose marked bond is turned; one in five is held out.",
        at_least=10,
        at_most=10_000,
    )
    directions: int = setting(
        64,
        help="Directions (or rotations) of each of them.",
        at_least=1,
        at_most=10_000,
    )
    natural_frames: int = setting(
        1500,
        help="Most frames of the dynamics, as they are, of the invariant design (C).",
        at_least=50,
        at_most=1_000_000,
    )
    highest_degree: int = setting(
        7, help="Highest degree ℓ that is injected.", at_least=1, at_most=20
    )
    layer: str | None = setting(
        None,
        help="Name of the layer whose features are read, for a run of one architecture; by default "
        "the deepest one with a degree l above 0.",
    )
    l_max: int = setting(
        0,
        help="Highest degree l of the features that are read; 0 for all that the layer has.",
        at_least=0,
        at_most=20,
    )
    untrained: bool = setting(
        True,
        help="Whether the same network with scrambled parameters is asked, too.",
    )

    backbones: str | None = setting(
        None,
        help="CSV of the backbones that are planned, as `make architecture` makes it; the section "
        "names those that are not there.",
        path=PATH,
        stage="score",
    )

    def check(self) -> Self:
        """The settings, where no value is out of its limits.

        Raises:
            UserError: one line with the setting and the cure.
        """
        check_limits(self, "spectral")
        return self
