"""The probes: which readout is fitted to which features of which design."""

from __future__ import annotations

from dataclasses import dataclass

from pesbench.tasks.spectral.designs import COPIES, INVARIANT, MOVED, ROTATED
from pesbench.tasks.spectral.stored import DEEPEST, FIRST, UNTRAINED, feature_key

DIRECTION = "direction"  # no layer: the harmonics up to L of the direction alone

POLYNOMIAL, SQUARE, SILU, INVARIANTS = "polynomial", "square units", "SiLU units", "invariants"
MAIN_DEGREE = 2  # d of the readout that the diagnosis is read from
UNITS, WIDER = 128, 4  # random units, and how many times as many the capacity control has


@dataclass(frozen=True)
class Probe:
    """A readout of the features of a design.

    Attributes:
        design: `A`, `B` or `C`.
        layer: Role of the layer, or `DIRECTION`.
        head: Kind of the readout.
        degree: d of a polynomial; 0 for a readout that is none.
        width: Random units; 0 for a readout without them.
        channels: Channels of each degree at most; 0 for as many as the frames allow.
        untrained: Whether the parameters of the network were scrambled.
        shuffled: Whether the targets that are trained on are shuffled.
        everywhere: Whether frames count in which the marked neighbour nearly touches another atom.
        tested_on: Design whose held-out frames are tested with; "" for the same.
    """

    design: str
    layer: str
    head: str
    degree: int
    width: int = 0
    channels: int = 0
    untrained: bool = False
    shuffled: bool = False
    everywhere: bool = False
    tested_on: str = ""

    @property
    def name(self) -> str:
        """Name of the probe, unique, such as `B deepest polynomial-2`."""
        head = f"{self.head}-{self.degree}" if not self.width else f"{self.head} × {self.width}"
        words = [self.design, self.layer, head]
        words += [f"{self.channels} channels"] * bool(self.channels)
        words += [UNTRAINED] * self.untrained + ["shuffled"] * self.shuffled
        words += ["everywhere"] * self.everywhere
        words += [f"on {self.tested_on}"] * bool(self.tested_on)
        return " ".join(words)

    @property
    def boundary(self) -> float:
        """The highest degree that this readout holds of one direction, as a multiple of L.

        That is d. Products of two blocks with the same l hold P_ℓ of the angle between two
        directions up to ℓ = L. NaN for a readout that is no polynomial.
        """
        if self.head == SILU:
            return float("nan")
        return self.degree // 2 if self.head == INVARIANTS else self.degree

    @property
    def features(self) -> str:
        """Key of its features in the file."""
        return feature_key(self.layer, untrained=self.untrained)


def _polynomials(design: str, layer: str) -> list[Probe]:
    return [Probe(design, layer, POLYNOMIAL, degree) for degree in (1, 2, 3)]


LINEAR = Probe(MOVED, DEEPEST, POLYNOMIAL, 1)
DIAGNOSIS = Probe(MOVED, DEEPEST, POLYNOMIAL, MAIN_DEGREE)
SYMMETRY = Probe(ROTATED, DEEPEST, POLYNOMIAL, MAIN_DEGREE)
FIRST_LAYER = Probe(MOVED, FIRST, POLYNOMIAL, MAIN_DEGREE)
ALIKE = Probe(MOVED, DEEPEST, POLYNOMIAL, MAIN_DEGREE, channels=2)  # of any L, for comparisons
ONE_DIRECTION = Probe(MOVED, DIRECTION, POLYNOMIAL, MAIN_DEGREE)
ANGLE = Probe(INVARIANT, DEEPEST, INVARIANTS, 2)
PROBES = (
    *_polynomials(ROTATED, DEEPEST),
    *_polynomials(MOVED, DEEPEST),
    *_polynomials(MOVED, FIRST),
    ALIKE,
    Probe(MOVED, DEEPEST, SQUARE, 2, UNITS),
    Probe(MOVED, DEEPEST, SQUARE, 2, WIDER * UNITS),
    Probe(MOVED, DEEPEST, SILU, 0, UNITS),
    Probe(MOVED, DEEPEST, SILU, 0, WIDER * UNITS),
    Probe(MOVED, DEEPEST, POLYNOMIAL, MAIN_DEGREE, untrained=True),
    Probe(MOVED, DEEPEST, POLYNOMIAL, MAIN_DEGREE, shuffled=True),
    ONE_DIRECTION,
    Probe(MOVED, DEEPEST, POLYNOMIAL, MAIN_DEGREE, everywhere=True),
    Probe(MOVED, DEEPEST, POLYNOMIAL, MAIN_DEGREE, tested_on=COPIES),
    Probe(INVARIANT, DEEPEST, INVARIANTS, 1),
    ANGLE,
)
