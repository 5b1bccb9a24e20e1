"""Family `chgnet`: CHGNet networks in a box of vacuum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pesbench.core.family import EntrySettings, Family, LoadJob, WeightFormat
from pesbench.core.interface import Model
from pesbench.core.settings import ADDRESS, setting


@dataclass(frozen=True, kw_only=True)
class CHGNetSettings(EntrySettings):
    """Keys of an entry."""

    one_of: ClassVar[tuple[str, ...]] = ("pretrained", "weights")

    pretrained: str | None = setting(
        None,
        help="chgnet's name of a network in its package; nothing is downloaded.",
        choices=("0.2.0", "0.3.0", "r2scan"),
    )
    weights: str | None = setting(
        None,
        help="A `.pth.tar` file of chgnet's trainer, instead of `pretrained`: a path or an http(s) "
        "address.",
        path=ADDRESS,
    )
    sha256: str | None = setting(
        None,
        help="Checksum of the weight file; any other file is refused. Only tensors and plain "
        "values are read from it: loading it runs no code and needs no consent.",
        pattern="^[0-9a-f]{64}$",
    )
    vacuum_box_angstrom: float = setting(
        30.0,
        help="CHGNet takes periodic systems only. A molecule is put into a cubic box that is "
        "larger than its extent by at least this, in Å. Images do not interact beyond the "
        "cutoff of the network (5 or 6 Å).",
        at_least=10.0,
        at_most=1000.0,
    )


class CHGNet(Family):
    """CHGNet networks in a box of vacuum."""

    name = "chgnet"
    about = (
        "CHGNet networks, in batches; each molecule is in a box of vacuum. They compute in "
        "float32; charged molecules are `unsupported`."
    )
    settings = CHGNetSettings
    packages = ("chgnet", "torch", "pymatgen-core")
    modules = ("chgnet",)
    extra = "chgnet"
    seconds_on_cpu = 1e-2
    peak_memory_mb = 6000
    weights = WeightFormat(None, "give the .pth.tar file that chgnet's trainer writes")
    runs_code = False

    def load(self, job: LoadJob) -> Model:
        from pesbench.models.families.chgnet.model import load_chgnet, packaged

        weights = job.weights
        if weights is None:
            weights = packaged(job.settings["pretrained"], job.settings.get("sha256"), self)
        return load_chgnet(job.settings, weights, job.device)


FAMILY = CHGNet()
