"""Families of models: each is one module of `pesbench.models.families` that exports FAMILY.

It is `models/families/<name>.py`, or a folder `models/families/<name>` with a `family.py`, for an
adapter that needs a module of its own. Nothing outside names it: the functions here find it by
looking. FAMILY is light: its module imports no package of the family, `load` does.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pesbench.core.settings import PATH, setting

if TYPE_CHECKING:
    from pesbench.core.interface import Model
    from pesbench.models.weights import Weights

_FAMILIES = Path(__file__).parents[1] / "models" / "families"
MODEL, CONTROL, PERTURBED = "model", "control", "perturbed"  # roles
# keys of entries that decide no number
DESCRIBING = frozenset(
    {
        "citation",
        "conservative",
        "description",
        "elements",
        "level_of_theory",
        "license",
        "python",  # in place of these two, what they say: `resolve_entry`
        "requirements",
        "seed_of",
        "seen",
        "seen_scans",
        "seen_systems",
        "trained",
        "training_data",
        "training_dispersion",
        "trust",
        "variant_of",
        "weights",
    }
)


@dataclass(frozen=True, kw_only=True)
class EntrySettings:
    """Keys that an entry of any family may carry, beside `family`. Families add their own."""

    level_of_theory: str | None = setting(
        None,
        help="Level of theory of the training data, or of the method itself (a family of "
        "methods, or `ase` with `trained: false`). A method of the scan set's level is the "
        "reference and is not ranked. A level that differs from the scan set's is marked †: "
        "the scores then contain the gap between the theories.",
    )
    batch_size: int | str = setting(
        "auto",
        help="Frames of a call, or `auto`: measured on a molecule of median size. On a CPU "
        "`auto` takes the smallest size within 3 % of the best throughput, on a GPU the "
        "largest that fits in memory; when memory runs out it is halved. Fix it for results "
        "that are equal to the bit between runs.",
        at_least=1,
        at_most=1_000_000,
        word="auto",
    )
    timeout_s: float = setting(
        600,
        help="Longest time that a call of the model may take, in seconds. A call is a batch or, "
        "for a method that goes frame by frame, about a second of frames.",
        above=0,
        at_most=10_000_000,
    )
    training_dispersion: str | None = setting(
        None,
        help="Whether the energies and forces of the training data include dispersion, by a "
        "correction or by the functional itself.",
        choices=("included", "none", "unknown"),
    )
    requirements: tuple[str, ...] | None = setting(
        None,
        help="Packages that the model runs with: pins of pip, such as `orb-models==0.7.0`, or "
        "files of them (paths that end in `.txt`). The workflow makes an environment of them, "
        "which entries with equal ones share.",
        unique=True,
    )
    python: str | None = setting(
        None,
        help="Interpreter that the environment is made with: a name such as `python3.12`, or a "
        "path. Without it, the one that Snakemake runs with.",
    )
    training_data: str | None = setting(
        None, help="Data set that the model was trained on, as information."
    )
    conservative: bool | None = setting(
        None, help="Whether forces are the gradient of the energy, as information."
    )
    seen: Mapping[str, str] | None = setting(
        None,
        help="What is known of an overlap of the training data with a scan set: a sentence by the "
        "name of the scan set. The model is marked there.",
    )
    elements: tuple[str, ...] | None = setting(
        None,
        help="Symbols of the elements that the model was made for, as information. The workflow "
        "reads the known elements from the weights.",
        pattern="^[A-Z][a-z]?$",
        unique=True,
    )
    seen_systems: str | None = setting(
        None,
        help="CSV file with the columns `system` and `split` (`seen` or `unseen`): which systems "
        "the model was trained on. Scores and tables show it; a change needs no new "
        "evaluation.",
        path=PATH,
    )
    seen_scans: tuple[str, ...] | None = setting(
        None,
        help="Ids of the scans that the model was trained on, by a smoothness loss or by their "
        "frames. They get no score, because they do not test the model; a change needs no "
        "new evaluation.",
        pattern="^[A-Z]",  # an option of a command begins with a dash
        unique=True,
    )
    seed_of: str | None = setting(
        None,
        help="Name of the entry of the same family that is the same potential trained with "
        "another seed. Seeds are ranked like any model; the tests of association count them "
        "as one point, and the ladder shows them as one row.",
    )
    device: str | None = setting(
        None, help="`cpu`: on the CPU, also where there is a GPU.", choices=("cpu",)
    )
    variant_of: str | None = setting(
        None,
        help="Name of an entry that loads the same checkpoint, perhaps through another family: the "
        "two are [numerical variants](#numerical-variants) of one model. Entries of one family "
        "that differ in numerical keys alone are so without being told.",
    )
    repeat: int | None = setting(
        None,
        help="1, 2, ...: marks an entry that is otherwise equal to another. Its evaluation is a "
        "repeat; the differences between repeats are the noise to which numerical variants "
        "are compared.",
        at_least=1,
        at_most=1_000_000,
    )
    description: str | None = setting(None, help="One line of information.")
    license: str | None = setting(None, help="Licence of the weights, as information.")
    citation: str | None = setting(None, help="Publication to cite for the model.")


@dataclass(frozen=True)
class WeightFormat:
    """The weight files of a family.

    Attributes:
        package: Package that the class of the pickled network belongs to; None where the file
            holds a dictionary.
        cure: What to do about any other file.
        member: Name of a file that the weights must hold, where they are a folder in a zip archive
            and no file of torch; "" for torch's.
    """

    package: str | None
    cure: str
    member: str = ""


@dataclass(frozen=True)
class LoadJob:
    """Input of `Family.load`.

    Attributes:
        name: Name of the entry, for messages.
        settings: Keys of the entry, defaults filled in.
        weights: Content of its weight file; None for an entry without one.
        scan_set: Scan set of the run; only controls need it.
        device: `auto`, `cpu` or `cuda`; families without a choice run on the CPU.
        base: The loaded model that a perturbed one is made from; None for any other.
    """

    name: str
    settings: Mapping[str, Any]
    weights: Weights | None
    scan_set: Path | None
    device: str
    base: Model | None = None


class Family:
    """Models that share an adapter. Subclasses set the attributes and what differs.

    The defaults are those of a family that this version does not know, as results of a later
    version may name one: nothing is assumed to be harmless.

    Attributes:
        name: Name of the module, and value of `family` in entries.
        about: A sentence for the documentation.
        settings: Frozen dataclass of the keys of an entry, derived from `EntrySettings`.
        kind_key: Key whose value decides which further keys there are; "" for none.
        kinds: Dataclass of the keys by that value, derived from `settings`.
        describing: Keys that decide no number.
        packages: Distributions whose versions decide numbers, recorded with every output.
        requirements: Pins of pip, or files of them, as in the key of an entry; empty for a family
            that runs in Snakemake's environment.
        python: Interpreter of that environment, as in the key of an entry; "" for Snakemake's.
        modules: What the environment that runs the model must be able to import.
        extra: Extra of this package that installs them; "" for none.
        gpu: Whether it can use one.
        seconds_on_cpu: A generous guess of the seconds an atom and frame take.
        seconds_on_gpu: A generous guess of the seconds an atom and frame take on a GPU.
        peak_memory_mb: A generous guess of the memory that it needs.
        weights: What its weight files are; None for a family without.
        runs_code: Whether loading an entry can run code that the entry or its weights name, so
            that the user has to consent. A model that is made from another is judged by that one.
        role: `MODEL`, `CONTROL` or `PERTURBED`: a model that is made from another entry.
    """

    name: ClassVar[str] = ""
    about: ClassVar[str] = ""
    settings: ClassVar[type] = EntrySettings
    kind_key: ClassVar[str] = ""
    kinds: ClassVar[Mapping[str, type]] = {}
    describing: ClassVar[frozenset[str]] = DESCRIBING
    packages: ClassVar[tuple[str, ...]] = ()
    requirements: ClassVar[tuple[str, ...]] = ()
    python: ClassVar[str] = ""
    modules: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    gpu: ClassVar[bool] = True
    seconds_on_cpu: ClassVar[float] = 1e-2
    seconds_on_gpu: ClassVar[float] = 2e-4
    peak_memory_mb: ClassVar[int] = 8000
    weights: ClassVar[WeightFormat | None] = None
    runs_code: ClassVar[bool] = True
    role: ClassVar[str] = MODEL

    def settings_of(self, said: Mapping[str, Any]) -> type:
        """The dataclass of an entry's keys; of an unknown kind, the keys that all kinds share."""
        kind = said.get(self.kind_key)
        return self.kinds.get(kind, self.settings) if isinstance(kind, str) else self.settings

    def uses_gpu(self, settings: Mapping[str, Any]) -> bool:
        """Whether an entry can use one."""
        return self.gpu and settings.get("device") != "cpu"

    def is_method(self, settings: Mapping[str, Any]) -> bool:
        """Whether an entry is a method, which is at `level_of_theory`, and not trained on it."""
        return settings.get("trained") is False

    def needs_weights(self, settings: Mapping[str, Any]) -> bool:
        """Whether an entry is loaded from a weight file that it names.

        One with a key `pretrained` is loaded from what an installed package carries.
        """
        return self.weights is not None and "pretrained" not in settings

    def has_environment(self, settings: Mapping[str, Any]) -> bool:
        """Whether the model runs in an environment that its entry states."""
        return bool(settings.get("requirements") or settings.get("python"))

    def memory_mb(self, settings: Mapping[str, Any]) -> int:
        """A generous guess of the memory that an entry needs, in MB."""
        return self.peak_memory_mb

    def check(self, name: str, settings: Mapping[str, Any]) -> None:
        """Refuse an entry that cannot work, before any work starts.

        Args:
            name: Name of the entry, for the message.
            settings: Keys of the entry, defaults filled in.

        Raises:
            UserError: one line with the entry, the reason and the cure.
        """

    def load(self, job: LoadJob) -> Model:
        """The model of an entry, ready to evaluate. Imports the family's packages.

        Raises:
            UserError: it needs something that it was not given.
        """
        raise NotImplementedError


def names() -> tuple[str, ...]:
    """Names of all families, sorted."""
    files = [path.stem for path in _FAMILIES.glob("[!_]*.py")]
    return tuple(sorted(files + [path.parent.name for path in _FAMILIES.glob("*/family.py")]))


def family_module(name: str) -> str:
    """The dotted name of the module that exports a family.

    Raises:
        KeyError: there is no such family.
    """
    if name not in names():
        raise KeyError(name)
    inside = ".family" if (_FAMILIES / name).is_dir() else ""
    return f"pesbench.models.families.{name}{inside}"


@functools.cache
def find(name: str) -> Family | None:
    """A family by its name; None where there is no such family."""
    if name not in names():
        return None
    found = importlib.import_module(family_module(name)).FAMILY
    if found.name != name:
        raise TypeError(f"the family {found.name!r} lies in a module called {name!r}")
    return found


def family_of(name: str) -> Family:
    """A family by its name; a family with default properties if the name is unknown."""
    return find(name) or Family()


def families() -> dict[str, Family]:
    """All families by name, sorted."""
    return {name: family_of(name) for name in names()}
