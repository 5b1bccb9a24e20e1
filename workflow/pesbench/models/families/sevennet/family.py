"""Family `sevennet`: SevenNet networks from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pesbench.core.family import EntrySettings, Family, LoadJob, WeightFormat
from pesbench.core.interface import Model
from pesbench.core.settings import ADDRESS, setting


@dataclass(frozen=True, kw_only=True)
class SevenNetSettings(EntrySettings):
    """Keys of an entry."""

    one_of: ClassVar[tuple[str, ...]] = ("pretrained", "weights")

    pretrained: str | None = setting(
        None,
        help="sevenn's name of a checkpoint in its package; nothing is downloaded. The "
        "checkpoint is installed code and needs neither `sha256` nor `trust`.",
        choices=("7net-0", "7net-0_22may2024", "7net-l3i5", "7net-mf-0"),
    )
    weights: str | None = setting(
        None,
        help="A `.pth` checkpoint of sevenn, instead of `pretrained`: a path or an http(s) "
        "address.",
        path=ADDRESS,
    )
    sha256: str | None = setting(
        None,
        help="Checksum of the checkpoint, which may run code. It is your consent to run this "
        "file; any other file is refused.",
        pattern="^[0-9a-f]{64}$",
    )
    trust: bool | None = setting(
        None,
        help="`true`, instead of `sha256`, for `weights`: any content of the file or the address "
        "may run on this machine. The content of an address is pinned at the first download.",
    )
    modal: str | None = setting(
        None,
        help="sevenn's name of the level of theory, for a multi-fidelity network.",
    )


class SevenNet(Family):
    """SevenNet networks from a checkpoint."""

    name = "sevennet"
    about = (
        "SevenNet networks, in an environment of its own "
        "([docs/environments.md](../docs/environments.md)). They compute in float32; charged "
        "molecules are `unsupported`."
    )
    settings = SevenNetSettings
    packages = ("sevenn", "torch-geometric", "torch", "e3nn", "matscipy")
    requirements = ("envs/sevennet.txt",)
    modules = ("sevenn",)
    # a checkpoint names classes beside its tensors
    weights = WeightFormat(None, "give the .pth checkpoint that sevenn writes")

    def load(self, job: LoadJob) -> Model:
        from pesbench.models.families.sevennet.model import load_sevennet, packaged

        weights = job.weights
        if weights is None:
            name, sha256 = job.settings["pretrained"], job.settings.get("sha256")
            weights = packaged(name, sha256, self)
        return load_sevennet(job.settings, weights, job.device)


FAMILY = SevenNet()
