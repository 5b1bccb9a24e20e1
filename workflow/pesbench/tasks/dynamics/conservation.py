"""Conservation of energy by a trajectory: drift, fluctuation, jumps, temperature spikes.

The caller passes the series up to the failure, one value a step, time 0 being the start. The first
0.2 ps are discarded: the start on a relaxed geometry with velocities of 2T is a spike itself, and
the total energy's discretisation relaxes by about half a meV/atom there. NaN stands for "no
number": the rest is too short, or a value of the series is not finite. It is never a good score;
the status of the trajectory says why.

Slope, fluctuation, excursion and jump stand together because each is blind to another: a slope to
a random walk and to jumps, an excursion to what caused it, a fluctuation to a drift.

Units: ps, eV in, meV out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from pesbench.metrics.stability import temperature_width

Array = NDArray[np.float64]

DISCARD_PS = 0.2
SPIKE_WINDOW_PS = 0.5
PIECES = 4  # of the series, whose slopes give the standard error of the whole one's
SAMPLES_A_PIECE = 25
MEV = 1000.0
NAN = float("nan")


def _kept(time_ps: Array, values: Array, discard_ps: float, least: int) -> tuple[Array, Array]:
    """Both series from `discard_ps` on; empty if too short there or not finite anywhere.

    Raises:
        ValueError: different lengths, times that do not rise, or a negative `discard_ps`.
    """
    time, value = np.asarray(time_ps, np.float64), np.asarray(values, np.float64)
    if time.ndim != 1 or time.shape != value.shape:
        raise ValueError("times and values must be two series of one length")
    if not (np.diff(time) > 0).all() or not np.isfinite(time).all():
        raise ValueError("times must be finite and rise")
    if not discard_ps >= 0:
        raise ValueError("the discarded time must not be negative")
    keep = time >= discard_ps - 1e-9  # 400 steps of 0.5 fs do not sum to 0.2 ps exactly
    if np.count_nonzero(keep) < least or not np.isfinite(value).all():
        return time[:0], value[:0]
    return time[keep], value[keep]


def _line(time: Array, value: Array) -> tuple[float, Array, Array]:
    """Slope by least squares, centred times and residuals."""
    t = time - time.mean()
    v = value - value.mean()  # total energies reach 1e5 eV
    slope = float(t @ v / (t @ t))
    return slope, t, v - slope * t


@dataclass(frozen=True)
class Drift:
    """Slope of the total energy in meV/atom/ps; both NaN for a series too short or not finite.

    Attributes:
        slope: Least-squares slope; positive if the energy grows.
        standard_error: Standard error of the slope.
    """

    slope: float
    standard_error: float


def energy_drift(
    time_ps: Array, energy: Array, n_atoms: int, discard_ps: float = DISCARD_PS
) -> Drift:
    """Least-squares slope of the total energy per atom.

    The total energy of a vibrating molecule fluctuates with the modes that exchange energy, the
    slowest of them as slowly as the run is long, so that no method that needs a correlation time
    shorter than the run gives an honest error. The standard error here is s/√4, s being the
    standard deviation of the slopes of four equal pieces of the series. It is right for a random
    walk, whose slopes over a piece scatter by √4 times those over the whole, and too large for
    everything that is less correlated (fourfold for white noise). With the quantile of Student's t
    for 3 degrees, README.md says how often its interval holds the slope of molecules.

    Args:
        time_ps: Shape (F,), rising, 0 at the start.
        energy: Kinetic plus potential in eV, shape (F,).
        n_atoms: N.
        discard_ps: How much is left out at the start.

    Returns:
        In meV/atom/ps; NaN with fewer than 100 samples or with one that is not finite.

    Raises:
        ValueError: different lengths, or times that do not rise.
    """
    time, value = _kept(time_ps, energy, discard_ps, PIECES * SAMPLES_A_PIECE)
    if not len(time):
        return Drift(NAN, NAN)
    pieces = zip(np.array_split(time, PIECES), np.array_split(value, PIECES), strict=True)
    slopes = [_line(*piece)[0] for piece in pieces]
    scale = MEV / n_atoms
    error = float(np.std(slopes, ddof=1)) / np.sqrt(PIECES)
    return Drift(_line(time, value)[0] * scale, error * scale)


def detrended_rms(
    time_ps: Array, energy: Array, n_atoms: int, discard_ps: float = DISCARD_PS
) -> float:
    """Root mean square of the total energy about its least-squares line, in meV/atom.

    Arguments and errors as `energy_drift`; NaN with fewer than 3 samples or with one not finite.
    """
    time, value = _kept(time_ps, energy, discard_ps, 3)
    if not len(time):
        return NAN
    residual = _line(time, value)[2]
    return float(np.sqrt(np.mean(residual**2))) * MEV / n_atoms


def largest_excursion(
    time_ps: Array, energy: Array, n_atoms: int, discard_ps: float = DISCARD_PS
) -> float:
    """Largest |E(t) − E(t₀)| in meV/atom, t₀ the first step that is not discarded.

    Arguments and errors as `energy_drift`; NaN with fewer than 2 samples or with one not finite.
    """
    value = _kept(time_ps, energy, discard_ps, 2)[1]
    return float(np.max(np.abs(value - value[0]))) * MEV / n_atoms if len(value) else NAN


def largest_jump(time_ps: Array, energy: Array, discard_ps: float = DISCARD_PS) -> float:
    """Largest change of the total energy in a single step, in meV.

    Of the molecule, not per atom: a discontinuity belongs to a pair of atoms and is of the same
    size in a larger molecule. Only meaningful with every step stored.

    Arguments and errors as `energy_drift`; NaN with fewer than 2 samples or with one not finite.
    """
    value = _kept(time_ps, energy, discard_ps, 2)[1]
    return float(np.max(np.abs(np.diff(value)))) * MEV if len(value) else NAN


def temperature_spike_index(
    time_ps: Array,
    temperature: Array,
    temperature_k: float,
    dof: int,
    window_ps: float = SPIKE_WINDOW_PS,
    discard_ps: float = DISCARD_PS,
) -> float:
    """Largest rise of the temperature above its running median, in units of the natural width.

    max_t (T(t) − median of T over a window centred at t) / σ, σ = T/√f with the nominal T. At the
    ends the series is mirrored. Harmonic molecules give 1 to 5 over some ps, the more the more
    atoms, and never more than about √f, since all their energy amounts to 2T. A rise that lasts
    for more than half the window is none, for the median follows it.

    Args:
        time_ps: Shape (F,), rising in equal steps, 0 at the start.
        temperature: Instantaneous, K, shape (F,).
        temperature_k: Nominal T in K.
        dof: f of `pesbench.metrics.stability.degrees_of_freedom`.
        window_ps: Width of the window.
        discard_ps: How much is left out at the start.

    Returns:
        Dimensionless; NaN if what is left is shorter than the window, or a value is not finite.

    Raises:
        ValueError: different lengths, times that do not rise in equal steps, or a temperature or
            number of degrees of freedom that is not positive.
    """
    width = temperature_width(temperature_k, dof)
    time, value = _kept(time_ps, temperature, discard_ps, 2)
    if not len(time):
        return NAN
    step = np.diff(time)
    if np.ptp(step) > 1e-3 * step.min():
        raise ValueError("a running median needs equal time steps")
    size = 2 * round(window_ps / step.mean() / 2) + 1
    if len(value) < size:
        return NAN
    median = median_filter(value, size=size, mode="reflect")
    return float(np.max(value - median)) / width


def rms_order(rms_a: float, rms_b: float, dt_a: float, dt_b: float) -> float:
    """Order p with which a fluctuation falls with the time step, RMS ∝ dt^p.

    p = ln(RMS_a/RMS_b) / ln(dt_a/dt_b): 2 for velocity Verlet on a smooth conservative surface,
    near 0 where jumps of the surface or the rounding of single precision decide.

    Args:
        rms_a: `detrended_rms` with the time step `dt_a`, any unit.
        rms_b: RMS with `dt_b`, in the unit of `rms_a`.
        dt_a: Any unit.
        dt_b: Time step in the unit of `dt_a`.

    Returns:
        NaN if a fluctuation is not a positive finite number.

    Raises:
        ValueError: the time steps are equal or not positive.
    """
    if not (dt_a > 0 and dt_b > 0) or dt_a == dt_b:
        raise ValueError("two different positive time steps are needed")
    if not (0 < rms_a < np.inf and 0 < rms_b < np.inf):
        return NAN
    return float(np.log(rms_a / rms_b) / np.log(dt_a / dt_b))
