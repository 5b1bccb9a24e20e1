"""Which angular degrees can be read from the node features of a model."""

from __future__ import annotations

from pesbench.core.section import Metric
from pesbench.core.task import Phase, Size, Task
from pesbench.tasks.spectral.settings import HELD_OUT_SHARE, SpectralSettings

COLUMNS = 1000  # of features of an atom and a layer


class Spectral(Task):
    """The spectral diagnosis."""

    name = "spectral"
    title = "Angular degrees in node features"
    summary = "Which angular degrees can be read from the frozen node features of a network."
    settings = SpectralSettings
    metrics = (
        Metric("r2", "R²", "", "higher",
               help="R² of the total target on frames that were held out."),
        Metric("r2_inj", "R²_inj", "", "higher", help="R² of the injected part alone."),
        Metric("rho", "ρ", "", "higher",
               help="Gain over a blind readout, relative to one that is given the harmonics."),
    )  # fmt: skip
    keys = ("system", "probe", "degree")
    identity = ("system", "probe", "degree", "design", "layer", "head", "readout_degree")
    text = (
        "model", "system", "probe", "status", "message", "design", "layer", "layer_name", "head",
    )  # fmt: skip
    others = ("l_max", "boundary", "channels", "columns", "frames_trained", "frames_held_out")
    rows = "injected degrees"
    shard_size = 1_000_000  # one job a model
    needs_molecules = True

    def phases(self, size: Size, settings: SpectralSettings) -> tuple[Phase, ...]:
        """One evaluation a frame; features take less than energy and forces, as are counted."""
        turned = settings.conformers * settings.directions
        shown = (2 + settings.untrained) * turned + turned // HELD_OUT_SHARE
        return (Phase(copies=shown + settings.natural_frames),)

    def stored_bytes(self, size: Size, settings: SpectralSettings) -> float:
        return 4 * COLUMNS * sum(phase.copies for phase in self.phases(size, settings))


TASK = Spectral()
