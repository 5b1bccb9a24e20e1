"""Family `testbed`: the attention potentials that are trained here."""

from __future__ import annotations

from dataclasses import dataclass

from pesbench.core.family import EntrySettings, Family, LoadJob, WeightFormat
from pesbench.core.interface import Model
from pesbench.core.settings import ADDRESS, setting


@dataclass(frozen=True, kw_only=True)
class TestbedSettings(EntrySettings):
    """Keys of an entry."""

    __test__ = False  # no test, whatever pytest makes of its name

    weights: str = setting(
        help="A `.pt` file of `pesbench train`: a path or an http(s) address. It contains the "
        "switches of the potential.",
        path=ADDRESS,
    )
    sha256: str | None = setting(
        None,
        help="Checksum of the weight file; any other file is refused. The file holds only "
        "tensors and plain values: loading it runs no code and needs no consent.",
        pattern="^[0-9a-f]{64}$",
    )
    dtype: str = setting(
        "float64",
        help="Precision of the arithmetic; weights are float32.",
        choices=("float32", "float64"),
    )


class Testbed(Family):
    """The attention potentials that are trained here."""

    __test__ = False

    name = "testbed"
    about = (
        "The attention potentials that `pesbench train` makes "
        "([docs/testbed.md](../docs/testbed.md)); charged molecules are `unsupported`."
    )
    settings = TestbedSettings
    packages = ("torch", "e3nn")
    modules = ("e3nn", "torch")
    extra = "testbed"
    weights = WeightFormat(None, "give the .pt file that `pesbench train` writes")
    runs_code = False

    def load(self, job: LoadJob) -> Model:
        from pesbench.models.families.testbed.model import load_testbed

        assert job.weights is not None
        return load_testbed(job.settings, job.weights, job.device)


FAMILY = Testbed()
