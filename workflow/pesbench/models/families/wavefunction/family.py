"""Family `wavefunction`: full-CI states of a few geometries, interpolated; or their energies."""

from __future__ import annotations

from dataclasses import dataclass

from pesbench.core.family import EntrySettings, Family, LoadJob, WeightFormat
from pesbench.core.interface import Model
from pesbench.core.settings import ADDRESS, setting
from pesbench.models.families.wavefunction.supported import CONTENT, ENERGIES, STATES


@dataclass(frozen=True, kw_only=True)
class WavefunctionSettings(EntrySettings):
    """Keys of an entry."""

    weights: str = setting(
        help="A `.zip` file of `pesbench train-wavefunction`: a path or an http(s) address.",
        path=ADDRESS,
    )
    sha256: str | None = setting(
        None,
        help="Checksum of the weight file; any other file is refused. The file holds only "
        "numbers: loading it runs no code and needs no consent.",
        pattern="^[0-9a-f]{64}$",
    )
    interpolates: str = setting(
        STATES,
        help="What is interpolated between the training geometries: `states`, the wave functions; "
        "or `energies`, a Gaussian process on the energies and forces of the same calculations, to "
        "compare with.",
        choices=(STATES, ENERGIES),
    )
    calculations: int | None = setting(
        None,
        help="Number of calculations of each molecule to use, the first of the file, with their "
        "images; without this key all of them.",
        at_least=1,
        at_most=10_000,
    )


class Wavefunction(Family):
    """Interpolated full-CI wave functions."""

    name = "wavefunction"
    about = (
        "Interpolated wave functions of full configuration interaction (extra `pyscf`), in the "
        "ground state, for the few small molecules of the weight file; all others are "
        "`unsupported` ([docs/wavefunction.md](../docs/wavefunction.md))."
    )
    settings = WavefunctionSettings
    packages = ("pyscf",)
    modules = ("pyscf",)
    extra = "pyscf"
    gpu = False
    seconds_on_cpu = 0.05
    peak_memory_mb = 2000
    weights = WeightFormat(
        None, "give the .zip file that `pesbench train-wavefunction` writes", member=CONTENT
    )
    runs_code = False

    def load(self, job: LoadJob) -> Model:
        from pesbench.models.families.wavefunction.model import load_wavefunction

        assert job.weights is not None
        return load_wavefunction(job.settings, job.weights)


FAMILY = Wavefunction()
