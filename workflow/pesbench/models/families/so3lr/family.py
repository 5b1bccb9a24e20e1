"""Family `so3lr`: SO3LR networks of so3krates-torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pesbench.core.family import EntrySettings, Family, LoadJob, WeightFormat
from pesbench.core.interface import Model
from pesbench.core.settings import ADDRESS, setting


@dataclass(frozen=True, kw_only=True)
class SO3LRSettings(EntrySettings):
    """Keys of an entry."""

    one_of: ClassVar[tuple[str, ...]] = ("pretrained", "weights")

    pretrained: str | None = setting(
        None,
        help="Name of a network in the package so3krates-torch; nothing is downloaded. The network "
        "is installed code and needs neither `sha256` nor `trust`.",
        choices=("so3lr",),
    )
    weights: str | None = setting(
        None,
        help="A `.model` file of `torchkrates-train`, instead of `pretrained`: a path or an "
        "http(s) address.",
        path=ADDRESS,
    )
    sha256: str | None = setting(
        None,
        help="Checksum of the weight file, which is a pickled program. It is your consent to run "
        "this file; any other file is refused.",
        pattern="^[0-9a-f]{64}$",
    )
    trust: bool | None = setting(
        None,
        help="`true`, instead of `sha256`, for `weights`: any content of the file or the address "
        "may run on this machine. The content of an address is pinned at the first download.",
    )
    dtype: str = setting(
        "float32",
        help="Precision of the arithmetic. SO3LR counts its energies from a shift of -163.6 eV an "
        "atom: the energy of 30 atoms has steps of 0.5 meV in float32.",
        choices=("float32", "float64"),
    )
    cutoff_lr_angstrom: float = setting(
        12.0,
        help="Cutoff of electrostatics and dispersion in Å. The default is that of the package's "
        "`SO3LRCalculator`; the authors of SO3LR advise 1000 in the gas phase.",
        above=2.0,
        at_most=1e6,
    )


class SO3LR(Family):
    """SO3LR networks of so3krates-torch."""

    name = "so3lr"
    about = (
        "SO3LR networks of so3krates-torch, in batches, with electrostatics and dispersion. The "
        "total charge and the spin are inputs."
    )
    settings = SO3LRSettings
    packages = ("so3krates-torch", "torch", "matscipy")
    modules = ("so3krates_torch",)
    extra = "so3lr"
    seconds_on_cpu = 3e-3
    peak_memory_mb = 4000
    weights = WeightFormat("so3krates_torch", "give the .model file that torchkrates-train writes")

    def load(self, job: LoadJob) -> Model:
        from pesbench.models.families.so3lr.model import load_so3lr, packaged

        weights = job.weights
        if weights is None:
            weights = packaged(job.settings["pretrained"], job.settings.get("sha256"), self)
        return load_so3lr(job.settings, weights, job.device)


FAMILY = SO3LR()
