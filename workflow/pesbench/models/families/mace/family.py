"""Family `mace`: MACE models from a weight file, through TorchSim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from pesbench.core.errors import UserError
from pesbench.core.family import EntrySettings, Family, LoadJob, WeightFormat
from pesbench.core.interface import Model
from pesbench.core.settings import ADDRESS, setting


@dataclass(frozen=True, kw_only=True)
class MACESettings(EntrySettings):
    """Keys of an entry."""

    weights: str = setting(
        help="A `.model` file of `mace_run_train`: a path, or an http(s) address, whose download "
        "is kept in a cache and pinned at first use ([weights from an "
        "address](#weights-from-an-address)).",
        path=ADDRESS,
    )
    sha256: str | None = setting(
        None,
        help="Checksum of the weight file, which is a pickled program. It is your consent to run "
        "this file; any other file is refused ([weights that run "
        "code](#weights-that-run-code)).",
        pattern="^[0-9a-f]{64}$",
    )
    trust: bool | None = setting(
        None,
        help="`true`, instead of `sha256`: any content of the file or the address may run on "
        "this machine. The content of an address is pinned at the first download.",
    )
    head: str | None = setting(
        None,
        help="Name of the readout, for a network with several; without the key, `default`.",
    )
    dtype: str = setting(
        "float64", help="Precision of the arithmetic.", choices=("float32", "float64")
    )
    enable_cueq: bool | None = setting(
        None,
        help="Whether NVIDIA's cuEquivariance computes the tensor products, as `enable_cueq` of "
        "MACE's own calculator does; needs `cuequivariance-torch` (on a GPU its `ops` package, "
        "too) and excludes `compile`.",
    )
    compile: bool = setting(
        False, help="Whether the model is compiled with TorchScript before use."
    )


class MACE(Family):
    """MACE models from a weight file."""

    name = "mace"
    about = (
        "MACE models, through TorchSim. A network that embeds the total charge and the spin "
        "(MACE-OMOL-0) is given both; with any other, charged molecules are `unsupported`."
    )
    settings = MACESettings
    packages = ("mace-torch", "torch-sim-atomistic", "torch", "e3nn", "matscipy")
    requirements = ("envs/mace.txt",)
    modules = ("mace", "torch_sim")
    extra = "mace"
    weights = WeightFormat("mace", "give the .model file that mace_run_train writes")

    def check(self, name: str, settings: Mapping[str, Any]) -> None:
        if settings.get("enable_cueq") and settings.get("compile"):
            raise UserError(
                f"model {name!r}: `enable_cueq` and `compile` exclude each other; leave one out"
            )
        if settings.get("enable_cueq") and not self.has_environment(settings):
            _check_cuequivariance(name)

    def load(self, job: LoadJob) -> Model:
        from pesbench.models.families.mace.model import load_mace

        assert job.weights is not None
        if job.settings.get("enable_cueq"):  # perhaps in another interpreter than `check`
            _check_cuequivariance(job.name)
        return load_mace(job.settings, job.weights, job.device)


def _check_cuequivariance(name: str) -> None:
    missing = [n for n in ("cuequivariance", "cuequivariance_torch") if find_spec(n) is None]
    if missing:
        raise UserError(
            f"model {name!r}: `enable_cueq` needs {missing[0]}, which is not installed where the "
            "model runs; pip install cuequivariance-torch there, or leave `enable_cueq` out"
        )


FAMILY = MACE()
