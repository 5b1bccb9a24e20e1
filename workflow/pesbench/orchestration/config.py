"""Configuration: read, validated, defaults filled in, and resolved to what a run consists of.

Bad input ends here, before any work, with one line that names the place and the cure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pesbench.compare.comparison import ReportRun
from pesbench.core.errors import UserError
from pesbench.core.family import CONTROL, MODEL, PERTURBED, family_of
from pesbench.core.found import tasks
from pesbench.core.names import BESIDE_RESULTS, alike, closest, select, why_unfit
from pesbench.core.settings import words
from pesbench.core.task import split_shards
from pesbench.files.validation import check_block, plain, validate
from pesbench.models.addresses import why_no_address, without_secret
from pesbench.models.models_file import read_models, resolve_entry
from pesbench.models.registry import ModelEntry
from pesbench.models.roles import own_level
from pesbench.orchestration.config_files import Config
from pesbench.orchestration.config_keys import LadderKeys, config_keys
from pesbench.orchestration.task_runs import Scans, TaskRun, asked_models, task_run
from pesbench.references import bsct_spice
from pesbench.references.settings import SOURCES, QualityLimits


@dataclass(frozen=True)
class Run:
    """Everything that a run consists of.

    Attributes:
        scan_set: Name of the scan set.
        source: `bsct_spice` or `molecules`.
        settings: Settings of the scan set, defaults filled in.
        models_file: The registry.
        models: Resolved entries by name, models before controls, each sorted.
        reference: Entry that computes the reference, or None.
        relax: Entry that relaxes the molecules, or None.
        planned: Ids of all scans of the set, sorted.
        scans: Ids of the selected scans, sorted.
        selected: Ids or globs that select them.
        shard_size: Scans a job.
        results: Folder of this scan set's results.
        device: Device of the models.
        threads: Threads of a job that runs a model.
        rank_by: Score that ranks.
        entry_coverage: Least share of planned scans scored, to take part in what models share.
        strict: Whether a model's failure shows in the exit code.
        software: Environment of the models' packages: `current`, `venv` or `conda`.
        tasks: What each task asks, by name; a task that asks nothing is not there.
        ladder: Names of the models that are compared with a baseline, which is the first; each
            potential is followed by its seeds.
    """

    scan_set: str
    source: str
    settings: dict[str, Any]
    models_file: Path
    models: dict[str, ModelEntry]
    reference: ModelEntry | None
    relax: ModelEntry | None
    planned: list[str]
    scans: list[str]
    selected: list[str]
    shard_size: int
    results: Path
    device: str
    threads: int
    rank_by: str
    entry_coverage: float
    strict: bool
    software: str
    tasks: dict[str, TaskRun]
    ladder: list[str]

    @property
    def running(self) -> list[ModelEntry]:
        """The entries of all that runs on scans, the reference among them."""
        return [*self.models.values(), *([self.reference] if self.reference else [])]

    def seen_systems(self, model: str) -> list[str]:
        """File of the systems that a model was trained on, if its entry names one."""
        path = self.models[model].settings.get("seen_systems")
        return [path] if path else []

    @property
    def seen_files(self) -> list[str]:
        """Files of the systems that the models were trained on."""
        return sorted({file for model in self.models for file in self.seen_systems(model)})

    def seen_scans(self, model: str) -> list[str]:
        """The scans that a model was trained on, if it names any."""
        return list(self.models[model].settings.get("seen_scans", ()))

    @cached_property
    def report(self) -> ReportRun:
        """Models and tasks of the report."""
        ran = {name: run.models for name, run in self.tasks.items()}
        return ReportRun(
            self.models,
            self.level_of_theory,
            ran,
            self.ladder,
            rank_by=self.rank_by,
            entry_coverage=self.entry_coverage,
        )

    @property
    def level_of_theory(self) -> str:
        """Level of theory of the scan set's reference."""
        if self.reference is None:
            return bsct_spice.LEVEL_OF_THEORY
        return own_level(self.reference)

    def models_of(self, task: str) -> list[str]:
        """Names of the models that run a task; none if it is not in the run."""
        return self.tasks[task].models if task in self.tasks else []

    @property
    def archive(self) -> str:
        """Address or path of the archive, of a scan set that is read from one."""
        return self.settings["archive"]

    def method(self, use: str) -> ModelEntry:
        """The entry that a scan set of molecules uses as `reference` or to `relax`."""
        entry = {"reference": self.reference, "relax": self.relax}[use]
        assert entry is not None
        return entry

    def resolved(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A config that names the models of each task of this run explicitly."""
        return dict(config) | {
            name: config[name] | {"models": self.models_of(name)}
            for name, task in tasks().items()
            if not task.always and config.get(name)
        }

    @property
    def molecule_files(self) -> list[str]:
        """Files that the molecules are read from."""
        molecules = self.settings.get("molecules", [])
        if isinstance(molecules, str):
            return [molecules]
        return [block["file"] for block in molecules if "file" in block]

    @property
    def reference_shards(self) -> dict[str, list[str]]:
        """The scans of each job of the reference: all of the set, whatever is selected."""
        return split_shards(self.planned, self.settings["shard_size"])

    @property
    def scan_options(self) -> list[str]:
        """The scan set's choice of bonds as options of `pesbench scan-molecules`."""
        hydrogen = ["--bonds-to-hydrogen"] if self.settings["bonds_to_hydrogen"] else []
        return ["--bonds", *self.settings["bonds"], *hydrogen]

    @property
    def quality_options(self) -> list[str]:
        """The gate on references as options of `pesbench collect-references`."""
        return words(QualityLimits(**self.settings["quality"]), "run")


def loading_options(entry: ModelEntry) -> list[str]:
    """Options for a command that reads a resolved entry: its digest and the path of its weights."""
    weights = entry.weights_path
    where = ["--weights", str(weights)] if weights else []
    return ["--entry-sha256", entry.sha256, *where]


def resolve(config: Config | Mapping[str, Any], base: Path, place: str = "config") -> Run:
    """A run from a configuration.

    Args:
        config: Config from `read_config`, or all keys as a mapping.
        base: Folder that relative paths start from.
        place: What a mapping is called in messages.

    Raises:
        UserError: one line for the first thing that is wrong.
    """
    if not isinstance(config, Config):
        check_block(config, place)
        config = Config(((place, config),))
    try:
        return _resolve(config, base)
    except OSError as error:  # a name that is too long, a folder that may not be entered, ...
        raise UserError(
            f"{config.name}: {error.filename}: {error.strerror}; correct the path"
        ) from error


def _resolve(said: Config, base: Path) -> Run:
    place = said.name
    if "worst" in said.values:
        raise UserError(
            f"{said.places['worst']}: `worst.energy_ceiling_ev` is called "
            "`bonds.energy_ceiling_ev`; rename `worst` to `bonds`"
        )
    config = validate(config_keys(), said.values, place, said=said.places)
    places = {key: said.places.get(key, place) for key in vars(config)}
    name, settings = _scan_set(config, places)
    results = Path(config.results) / name
    models_file = base / config.models_file
    registry = read_models(models_file)
    chosen, asked, reference, relax = _entries(said, config, settings, registry, base, places)
    models = {model: resolve_entry(registry[model], models_file, base) for model in chosen}
    _check_archive(settings, base, base / results / f"{name}.h5", f"{places['archive']}: `archive`")
    planned = _planned_scans(settings, base, f"{places['scan_sets']}: `scan_sets.{name}`")
    scans = select(config.systems, planned, f"{places['systems']}: `systems`")
    every = Scans(settings["source"], planned, scans, config.shard_size)
    runs = {
        task.name: task_run(
            task,
            getattr(config, task.name),
            {n: e for n, e in models.items() if task.always or n in asked[task.name]},
            every,
            base,
            places[task.name],
        )
        for task in tasks().values()
    }
    found = {task: run for task, run in runs.items() if run is not None}
    for task, run in found.items():
        try:
            run.task.check_beside({name: other.settings for name, other in found.items()})
        except UserError as error:
            raise UserError(f"{places[task]}: {error}") from error
    return Run(
        scan_set=name,
        source=settings["source"],
        settings=settings,
        models_file=Path(config.models_file),
        models=models,
        reference=reference,
        relax=relax,
        planned=planned,
        scans=scans,
        selected=list(config.systems),
        shard_size=config.shard_size,
        results=results,
        device=config.device,
        threads=config.threads,
        rank_by=config.rank_by,
        entry_coverage=config.entry_coverage,
        strict=config.strict,
        software=config.software,
        tasks=found,
        ladder=_ladder(config.ladder, registry, models, places["ladder"]),
    )


def _entries(
    said: Config,
    config: Any,
    settings: Mapping[str, Any],
    registry: Mapping[str, ModelEntry],
    base: Path,
    places: Mapping[str, str],
) -> tuple[list[str], dict[str, list[str]], ModelEntry | None, ModelEntry | None]:
    """Names of the run's models, before its controls, and of those that run each task.

    Returns:
        The names, those by task, and the resolved entries of the scan set's reference and of what
        relaxes its molecules, if it has any.
    """
    models_file = base / config.models_file
    controls = {n for n, e in registry.items() if e.is_control}
    chosen = select(config.models, registry, f"{places['models']}: `models`")
    # a user's registry need not hold any control
    shown = (
        select(config.controls, controls, f"{places['controls']}: `controls`") if controls else []
    )
    method = dict[str, ModelEntry]()
    for use in ("reference", "relax"):
        if use in settings:
            place = f"{places['scan_sets']}: `scan_sets.{config.scan_set}.{use}`"
            entry = _method(settings[use], registry, models_file, place)
            method[use] = resolve_entry(entry, models_file, base)
    reference = method.get("reference")
    asked = {
        task.name: asked_models(
            task,
            block.models,
            registry,
            [*chosen, *shown],
            reference and reference.name,
            places[task.name],
            narrowed=said.before(f"{task.name}.models", "models"),
        )
        if (block := getattr(config, task.name)) is not None
        else []
        for task in tasks().values()
        if not task.always
    }
    # the reference, where it is named for a task alone, has a row of its own
    named = {one for names in asked.values() for one in names}
    chosen = sorted({*chosen, *(named - {*shown})})
    return [*chosen, *(n for n in shown if n not in chosen)], asked, reference, method.get("relax")


def _ladder(
    block: LadderKeys | None,
    registry: Mapping[str, ModelEntry],
    models: Mapping[str, ModelEntry],
    place: str,
) -> list[str]:
    """The models of the ladder: the baseline first, and all seeds of a potential together."""
    where = f"{place}: `ladder"
    if block is None or not block.models:
        return []
    able = [n for n, e in registry.items() if family_of(e.family).role == MODEL]
    in_run = [name for name in able if name in models]
    absent = "is not in the run; add it to `models`, or write `ladder: {models: []}` for no ladder"
    baseline = block.baseline
    if baseline not in registry:
        raise UserError(f"{where}.baseline`: no model {baseline!r}; {closest(baseline, able)}")
    if baseline not in able:
        family = registry[baseline].family
        raise UserError(f"{where}.baseline`: {baseline!r} is of family {family!r}; name a model")
    if baseline not in in_run:
        raise UserError(f"{where}.baseline`: {baseline!r} {absent}")
    if (potential := registry[baseline].potential) != baseline:
        raise UserError(
            f"{where}.baseline`: {baseline!r} is a seed of {potential!r}; name that, its seeds are "
            "one row"
        )
    potentials = [baseline]
    for pattern in block.models:
        named = select([pattern], able, f"{where}.models`")
        chosen = [registry[name].potential for name in named if name in in_run]
        if not chosen:
            raise UserError(f"{where}.models`: {pattern!r} {absent}")
        potentials += chosen
    if set(potentials) == {baseline}:
        raise UserError(f"{where}.models` names the baseline only; name others beside it")
    return [
        name
        for potential in dict.fromkeys(potentials)
        for name in sorted(in_run, key=lambda name: (name != potential, name))
        if registry[name].potential == potential
    ]


def _scan_set(config: Any, places: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    name, sets, place = config.scan_set, config.scan_sets, places["scan_sets"]
    if pair := alike(sets):
        raise UserError(
            f"{place}: `scan_sets`: {pair[0]!r} and {pair[1]!r} differ in upper and lower case "
            "only, which is one folder on some systems; rename one"
        )
    if name not in sets:
        raise UserError(f"{places['scan_set']}: `scan_set`: no set {name!r}; {closest(name, sets)}")
    if reason := why_unfit(name, BESIDE_RESULTS):
        raise UserError(f"{place}: `scan_sets`: the name {name!r} {reason}")
    settings = dict(sets[name])
    where = f"{place}: `scan_sets.{name}`"
    source = settings.get("source")
    if not isinstance(source, str) or source not in SOURCES:
        hint = closest(str(source)[:100], SOURCES)
        raise UserError(f"{where}: unknown source {str(source)[:100]!r}; {hint}")
    if config.archive is not None and source == bsct_spice.NAME:
        settings["archive"] = config.archive
    elif config.archive is not None:
        raise UserError(
            f"{places['archive']}: `archive` is given, but the scan set {name!r} is made of "
            f"molecules; leave it out, or choose a set with `source: {bsct_spice.NAME}`"
        )
    return name, plain(validate(SOURCES[source], settings, where))


def _check_archive(settings: Mapping[str, Any], base: Path, built: Path, place: str) -> None:
    archive = settings.get("archive", "")
    if "://" in archive and (reason := why_no_address(archive)):
        raise UserError(f"{place}: {without_secret(archive)} {reason}")
    if not archive or "://" in archive or built.exists() or (base / archive).exists():
        return
    raise UserError(
        f"{place}: nothing at {archive}; give GitHub's tarball of ryanliu30/bsct at commit "
        f"{bsct_spice.COMMIT[:8]} or a folder of it, or leave the key out to download it"
    )


def _method(
    name: str, registry: Mapping[str, ModelEntry], models_file: Path, place: str
) -> ModelEntry:
    """An entry that a scan set is made with."""
    if name not in registry:
        raise UserError(f"{place}: no model {name!r} in {models_file}; {closest(name, registry)}")
    role = family_of(registry[name].family).role
    if role == CONTROL:
        raise UserError(f"{place}: {name!r} is a control, made from a reference; name a method")
    if role == PERTURBED:
        raise UserError(f"{place}: {name!r} is a model with a defect; name a method")
    return registry[name]


def _planned_scans(settings: Mapping[str, Any], base: Path, place: str) -> list[str]:
    """Ids of all scans of a set before any reference is computed, so that the DAG is static."""
    if settings["source"] == bsct_spice.NAME:
        return bsct_spice.scan_ids(bsct_spice.read_manifest(base / bsct_spice.MANIFEST))
    # RDKit and SciPy's signals, together 0.9 s: for these sets only
    from pesbench.references.calculators import nothing_to_scan, plan_scans
    from pesbench.references.molecules import read_molecules

    try:
        plan = plan_scans(
            read_molecules(settings["molecules"], base),
            bonds_to_hydrogen=settings["bonds_to_hydrogen"],
            types=settings["bonds"],
        )
        if not plan.scans:
            raise UserError(nothing_to_scan(plan))
    except UserError as error:
        raise UserError(f"{place}: {error}") from error
    return plan.scans
