"""Family `apax`: networks that apax trains, in an environment with JAX."""

from __future__ import annotations

from dataclasses import dataclass

from pesbench.core.family import EntrySettings, Family, LoadJob, WeightFormat
from pesbench.core.interface import Model
from pesbench.core.settings import ADDRESS, setting
from pesbench.models.families.apax.archive import CONFIG


@dataclass(frozen=True, kw_only=True)
class ApaxSettings(EntrySettings):
    """Keys of an entry."""

    weights: str = setting(
        help="A zip archive of the folder that apax writes a model to, with its `config.yaml` and "
        "`best`: a path or an http(s) address. `python -m zipfile -c model.zip FOLDER` makes one.",
        path=ADDRESS,
    )
    sha256: str | None = setting(
        None,
        help="Checksum of the archive; any other file is refused. apax reads YAML, JSON and arrays "
        "from it: loading it runs no code and needs no consent.",
        pattern="^[0-9a-f]{64}$",
    )
    dtype: str = setting(
        "float64",
        help="Precision of the arithmetic, in place of that in `config.yaml`. apax trains in "
        "float32.",
        choices=("float32", "float64"),
    )


class Apax(Family):
    """Networks that apax trains."""

    name = "apax"
    about = (
        "Networks of [apax](../docs/apax.md) 0.14.0 such as its GMNN, in batches, on the CPU. "
        "Charged molecules are `unsupported`."
    )
    settings = ApaxSettings
    packages = ("apax", "jax", "jaxlib", "flax")
    requirements = ("envs/apax.txt",)
    modules = ("apax",)
    gpu = False  # the requirements are those of JAX for CPUs
    seconds_on_cpu = 5e-4
    peak_memory_mb = 4000
    weights = WeightFormat(
        None, "give a zip archive of the folder that apax writes a model to", member=CONFIG
    )
    runs_code = False

    def load(self, job: LoadJob) -> Model:
        from pesbench.models.families.apax.model import load_apax

        assert job.weights is not None
        return load_apax(job.settings, job.weights)


FAMILY = Apax()
