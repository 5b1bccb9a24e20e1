"""Configuration: read, validated, defaults filled in, and resolved to what a run consists of.

Bad input ends here, before any work, with one line that names the place and the cure.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pesbench.dynamics import DynamicsSettings
from pesbench.errors import UserError
from pesbench.models.registry import (
    FAMILIES,
    ModelEntry,
    check_entry,
    own_level,
    resolve_weights,
)
from pesbench.paths import path_or_address
from pesbench.references import bsct_spice
from pesbench.structures import is_path_name
from pesbench.training.split import read_split

try:
    import yaml
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError
except ImportError as error:  # the base package is without
    raise UserError(
        f"entries and configurations need {error.name}, which is not installed; "
        "pip install 'pesbench[check]'"
    ) from error

INHERITED = (  # of its base by a perturbed model, where its entry says nothing
    "citation",
    "elements",
    "level_of_theory",
    "license",
    "seen_scans",
    "seen_systems",
    "training_dispersion",
)
_CONSEQUENCES = ("required", "not", "oneOf")
SHOWN_NAMES = 12  # of those known, in a message
_SCHEMAS = Path(__file__).parent / "schemas"  # in a checkout a link to workflow/schemas


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML in which a key that occurs twice is an error, not a silent overwrite."""


def _construct_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":  # `<<: *other`, whose keys may be replaced
            continue
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            line = key_node.start_mark.line + 1
            raise UserError(f"line {line}: the name {key!r} occurs twice; rename or remove one")
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        UserError: the file is missing or no YAML, or a key occurs twice.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


@functools.cache
def read_schema(name: str) -> dict[str, Any]:
    """A JSON schema of `workflow/schemas`."""
    return yaml.safe_load((_SCHEMAS / f"{name}.schema.yaml").read_text(encoding="utf-8"))


def closest(name: str, known: Iterable[str]) -> str:
    """A hint at the most similar known name."""
    known = sorted(known)
    match = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    if match:
        return f"did you mean {match[0]!r}?"
    shown = ", ".join(known[:SHOWN_NAMES])
    return f"known: {shown}" + (
        f" and {len(known) - SHOWN_NAMES} more" if known[SHOWN_NAMES:] else ""
    )


def _explain(error: ValidationError, place: str) -> str:
    """One line for one violation of a schema."""
    where = ".".join(str(part) for part in error.absolute_path)
    key = f"{place}: `{where}`" if where else place
    schema = error.schema if isinstance(error.schema, dict) else {}
    match error.validator:
        case "additionalProperties":
            properties = schema.get("properties", {})
            unknown = sorted(set(error.instance) - set(properties))[0]
            return f"{key}: unknown key {unknown!r}; {closest(unknown, properties)}"
        case "required":
            missing = sorted(set(error.validator_value) - set(error.instance))[0]
            return f"{key}: the key {missing!r} is missing; add it"
        case "type":
            return f"{key} must be of type {error.validator_value}, not {error.instance!r}"
        case "enum":
            return (
                f"{key}: {error.instance!r} is not known; {closest(error.instance, schema['enum'])}"
            )
        case "oneOf" if all(list(s) == ["required"] for s in schema.get("oneOf", [{}])):
            keys = " or ".join(f"`{s['required'][0]}`" for s in schema["oneOf"])
            return f"{key}: exactly one of {keys} must be given"
        case "not":
            return f"{key}: a control of this kind has no `dose`; remove it"
        case "minItems":
            return f"{key} is empty; give at least one"
        case "anyOf":
            kinds = " or ".join(str(s.get("const", s.get("type"))) for s in error.validator_value)
            return f"{key} must be {kinds}, not {error.instance!r}"
    return f"{key}: {error.message}"


def check_schema(value: Any, schema: Mapping[str, Any], place: str) -> None:
    """Refuse a value that a JSON schema does not allow.

    Args:
        value: What was read.
        schema: JSON schema, draft 2020-12.
        place: File and entry, for the message.

    Raises:
        UserError: one line for the first violation.
    """
    errors = sorted(
        Draft202012Validator(schema).iter_errors(value),
        # a wrong value may make other keys seem missing or too many: it is told first
        key=lambda e: (
            str(e.validator) in _CONSEQUENCES,
            len(e.absolute_path),
            str(e.absolute_path),
        ),
    )
    if errors:
        raise UserError(_explain(errors[0], place))


def _with_defaults(value: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {k: v["default"] for k, v in properties.items() if "default" in v}
    return defaults | dict(value)


def _with_paths(value: Any, schema: Mapping[str, Any], place: str) -> Any:
    """A value whose schema has `format: path` somewhere, with these paths as they are meant.

    Raises:
        UserError: see `given_path`.
    """
    match value:
        case str() if schema.get("format") == "path":
            try:
                return path_or_address(value)
            except UserError as error:
                raise UserError(f"{place}: {error}") from error
        case list() if "items" in schema:
            return [_with_paths(one, schema["items"], place) for one in value]
        case dict() if "properties" in schema:
            properties = schema["properties"]
            return {k: _with_paths(v, properties.get(k, {}), f"{place}: `{k}`")
                    for k, v in value.items()}  # fmt: skip
    return value


def read_models(path: Path) -> dict[str, ModelEntry]:
    """The registry, every entry checked against its family's schema; weights not yet looked at.

    Args:
        path: YAML with one entry a model.

    Raises:
        UserError: one line with the file, the entry and the cure.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: holds no model; add an entry such as `my-model: {{family: ...}}`")
    entries = {name: make_entry(name, entry, f"{path}: ") for name, entry in content.items()}
    for entry in entries.values():
        _check_seed(entry, entries, f"{path}: ")
    return {
        name: _on_its_base(entry, entries, f"{path}: ") if entry.family == "perturbed" else entry
        for name, entry in entries.items()
    }


def _check_seed(entry: ModelEntry, entries: Mapping[str, ModelEntry], source: str) -> None:
    """Refuse an entry that says to be a seed of what it cannot be a seed of.

    Raises:
        UserError: there is no such entry, it is a seed itself, or of another family.
    """
    name = entry.settings.get("seed_of")
    if name is None:
        return
    place = f"{source}model {entry.name!r}: `seed_of`"
    fit = {n for n, e in entries.items() if e.family == entry.family and n != entry.name}
    if name not in entries:
        raise UserError(f"{place}: no model {name!r}; {closest(name, fit)}")
    if name == entry.name:
        raise UserError(f"{place}: names the entry itself; leave it out, or name another seed")
    if (other := entries[name].settings.get("seed_of")) is not None:
        raise UserError(f"{place}: {name!r} is itself a seed; name {other!r}")
    if entries[name].family != entry.family:
        raise UserError(
            f"{place}: {name!r} is of family {entries[name].family!r}, not {entry.family!r}; "
            "name an entry of the same family"
        )


def _on_its_base(entry: ModelEntry, entries: Mapping[str, ModelEntry], source: str) -> ModelEntry:
    """A perturbed entry with the entry that it is made from, and what it inherits of it.

    Raises:
        UserError: there is no such entry, or it is a control or perturbed itself.
    """
    name, place = entry.settings["base"], f"{source}model {entry.name!r}: `base`"
    fit = {n: e for n, e in entries.items() if e.family not in ("control", "perturbed")}
    if name not in entries:
        raise UserError(f"{place}: no model {name!r}; {closest(name, fit)}")
    if name not in fit:
        why = (
            "a control, defined on the frames of a scan set only"
            if entries[name].family == "control"
            else "a perturbed model"
        )
        raise UserError(f"{place}: {name!r} is {why}; name another entry")
    base = fit[name]
    running = ("batch_size", "timeout_s")  # the perturbed entry's decide
    inherited = {k: v for k, v in base.settings.items() if k in (*running, *INHERITED)}
    settings = {k: v for k, v in base.settings.items() if k not in running}
    return ModelEntry(entry.name, entry.family, inherited | entry.settings).with_base(
        ModelEntry(base.name, base.family, settings)
    )


def make_entry(name: Any, entry: Any, source: str = "") -> ModelEntry:
    """An entry checked against its family's schema, defaults filled in.

    Args:
        name: Of the entry.
        entry: Its keys, `family` among them.
        source: What messages start with, such as the file.

    Raises:
        UserError: one line with the entry and the cure.
    """
    place = f"{source}model {name!r}"
    if not isinstance(name, str) or not is_path_name(name):
        raise UserError(f"{place}: unfit for a path; use letters, digits and . _ + - only")
    if not isinstance(entry, dict):
        raise UserError(f"{place} must be a block of keys, not {entry!r}")
    family = entry.get("family")
    if family not in FAMILIES:
        raise UserError(f"{place}: unknown family {family!r}; {closest(str(family), FAMILIES)}")
    schema = read_schema("models")
    own = schema["families"][family]
    properties = schema["common"] | own.get("properties", {}) | _of_kind(own, entry)
    closed = {"type": "object", "properties": properties, "additionalProperties": False}
    check_schema(entry, own | closed, place)
    settings = _with_paths(_with_defaults(entry, properties), closed, place)
    del settings["family"]
    return ModelEntry(name, family, settings)


def _of_kind(family: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Keys that a family has for one kind of perturbation only; of an unknown kind, all."""
    kinds = family.get("kinds", {})
    kind = entry.get("perturbation")
    chosen = [kinds[kind]] if isinstance(kind, str) and kind in kinds else kinds.values()
    return {key: value for keys in chosen for key, value in keys.items()}


def resolve_entry(entry: ModelEntry, models_file: Path, base: Path) -> ModelEntry:
    """An entry with what it names found: weights with their hash, import paths tried.

    Args:
        entry: From `read_models`.
        models_file: The registry, for the message.
        base: Folder that relative paths start from.

    Raises:
        UserError: the weights are missing or have another hash, or an import fails.
    """
    if entry.base is not None:
        entry = entry.with_base(resolve_entry(entry.base, models_file, base))
    try:
        if "weights" in entry.settings:
            settings = resolve_weights(entry.name, entry.settings, base)
            entry = ModelEntry(entry.name, entry.family, settings)
        check_entry(entry)
        if "seen_systems" in entry.settings:
            read_split(base / entry.settings["seen_systems"])
    except UserError as error:
        raise UserError(f"{models_file}: {error}") from error
    return entry


def select(patterns: Sequence[str], names: Iterable[str], what: str) -> list[str]:
    """Names that match any of some globs, sorted.

    Raises:
        UserError: a pattern matches nothing.
    """
    names = sorted(names)
    chosen: set[str] = set()
    for pattern in patterns:
        matched = {name for name in names if fnmatchcase(name, pattern)}
        if not matched:
            raise UserError(f"{what}: {pattern!r} matches nothing; {closest(pattern, names)}")
        chosen |= matched
    return sorted(chosen)


@dataclass(frozen=True)
class DynamicsShard:
    """What one job of dynamics runs.

    Attributes:
        systems: Ids of the molecules, sorted.
        settings: The same for all of them.
    """

    systems: list[str]
    settings: DynamicsSettings

    @property
    def options(self) -> list[str]:
        """The settings as options of `pesbench dynamics`."""
        words: list[str] = []
        for key, value in asdict(self.settings).items():
            values = value if isinstance(value, tuple) else (value,)
            words += [f"--{key.replace('_', '-')}", *(f"{v:g}" for v in values)]
        return words


@dataclass(frozen=True)
class Run:
    """Everything that a run consists of.

    Attributes:
        scan_set: Name of the scan set.
        source: `bsct_spice` or `molecules`.
        settings: Of the scan set, defaults filled in.
        models_file: The registry.
        models: Resolved entries by name, models before controls, each sorted.
        reference: Entry that computes the reference, or None.
        relax: Entry that relaxes the molecules, or None.
        planned: Ids of all scans of the set, sorted.
        scans: Ids of the planned scans, sorted.
        shard_size: Scans a job.
        results: Folder of this scan set's results.
        device: Where models run.
        threads: Of a job that runs a model.
        rank_by: Score that ranks.
        energy_ceiling_ev: Of the reference above its minimum; below it faults count.
        strict: Whether a model's failure shows in the exit code.
        software: Where models find their packages: `current`, `venv` or `conda`.
        dynamics: Names of the models that run dynamics, sorted.
        dynamics_shards: Jobs of each of them, by name; those with half the time step begin with
            `half-`.
        vibrations: Names of the models whose harmonic frequencies are found, sorted; the scan
            set's reference is asked beside them.
        vibration_systems: Ids of the molecules they are found of, sorted.
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
    shard_size: int
    results: Path
    device: str
    threads: int
    rank_by: str
    energy_ceiling_ev: float
    strict: bool
    software: str
    dynamics: list[str]
    dynamics_shards: dict[str, DynamicsShard]
    vibrations: list[str]
    vibration_systems: list[str]
    ladder: list[str]

    @property
    def running(self) -> list[ModelEntry]:
        """The entries of all that runs on scans, the reference among them."""
        return [*self.models.values(), *([self.reference] if self.reference else [])]

    def weights(self, model: str) -> list[str]:
        """The option that tells a command where a model's weights lie, if it has any."""
        return weights_option(self.models[model])

    def seen_systems(self, model: str) -> list[str]:
        """The file that tells what a model was trained on, if it names one."""
        path = self.models[model].settings.get("seen_systems")
        return [path] if path else []

    def seen_scans(self, model: str) -> list[str]:
        """The scans that a model was trained on, if it names any."""
        return list(self.models[model].settings.get("seen_scans", ()))

    @property
    def seeds(self) -> dict[str, str]:
        """The potential of each model that is a seed of one."""
        return {n: e.potential for n, e in self.models.items() if e.potential != n}

    @property
    def ladder_cards(self) -> list[Path]:
        """Model cards beside the weights of the ladder's models, those that are there."""
        paths = (self.models[name].card_path for name in self.ladder)
        return sorted({path for path in paths if path is not None and path.is_file()})

    @property
    def level_of_theory(self) -> str:
        """Of the scan set's reference."""
        if self.reference is None:
            return bsct_spice.LEVEL_OF_THEORY
        return own_level(self.reference)

    @property
    def descriptions(self) -> dict[str, str]:
        """What the tables say of each model beside its numbers."""
        return {n: str(e.settings.get("level_of_theory", "")) for n, e in self.models.items()}

    def shards(self, model: str) -> dict[str, list[str]]:
        """The scans of each job of a model, by shard name.

        A control costs less than starting a process: it is evaluated in one job.
        """
        size = len(self.scans) if self.models[model].family == "control" else self.shard_size
        return split_shards(self.scans, size)

    @property
    def archive(self) -> str:
        """Address or path of the archive, of a scan set that is read from one."""
        return self.settings["archive"]

    def method(self, use: str) -> ModelEntry:
        """The entry that a scan set of molecules uses as `reference` or to `relax`."""
        entry = {"reference": self.reference, "relax": self.relax}[use]
        assert entry is not None
        return entry

    @property
    def molecule_files(self) -> list[str]:
        """Files that the molecules are read from."""
        molecules = self.settings["molecules"]
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
        from pesbench.references.quality import QualityLimits  # SciPy's signals: 0.6 s

        limits = asdict(QualityLimits(**self.settings["quality"]))
        pairs = ((f"--{key.replace('_', '-')}", str(value)) for key, value in limits.items())
        return [word for pair in pairs for word in pair]


def weights_option(entry: ModelEntry) -> list[str]:
    """`--weights PATH` for an entry that has weights, else nothing."""
    weights = entry.weights_path
    return ["--weights", str(weights)] if weights else []


def split_shards(scans: Sequence[str], size: int) -> dict[str, list[str]]:
    """Consecutive scans, at most `size` a shard, named 0000, 0001, ..."""
    return {
        f"{number:04d}": list(scans[start : start + size])
        for number, start in enumerate(range(0, len(scans), size))
    }


def resolve(config: Mapping[str, Any], base: Path, place: str = "config") -> Run:
    """A run from a configuration.

    Args:
        config: As read, for instance by Snakemake, command-line overrides included.
        base: Folder that relative paths start from.
        place: What the configuration is called in messages.

    Raises:
        UserError: one line for the first thing that is wrong.
    """
    schema = {k: v for k, v in read_schema("config").items() if k != "sources"}
    check_schema(config, schema, place)
    config = _with_paths(_with_defaults(config, schema["properties"]), schema, place)
    if re.search("[{}]", config["results"]):
        raise UserError(
            f"{place}: `results`: {config['results']} holds braces, which Snakemake takes for "
            "wildcards; name another folder"
        )
    worst = _with_defaults(config["worst"], schema["properties"]["worst"]["properties"])
    name, settings = _scan_set(config, place)

    models_file = base / config["models_file"]
    registry = read_models(models_file)
    where = f"{place}: `models`"
    controls = {n for n, e in registry.items() if e.family == "control"}
    chosen = select(config["models"], registry, where)
    # a registry of one's own need not hold any control
    shown = select(config["controls"], controls, f"{place}: `controls`") if controls else []
    order = [*chosen, *(n for n in shown if n not in chosen)]
    reference = relax = None
    if settings["source"] == "molecules":
        place_of = f"{place}: `scan_sets.{name}"
        reference = _method(settings["reference"], registry, models_file, f"{place_of}.reference`")
        if "relax" in settings:
            relax = _method(settings["relax"], registry, models_file, f"{place_of}.relax`")
        reference = resolve_entry(reference, models_file, base)
        relax = relax and resolve_entry(relax, models_file, base)
    models = {model: resolve_entry(registry[model], models_file, base) for model in order}

    results = Path(config["results"]) / name
    _check_archive(settings, base, base / results / f"{name}.h5", f"{place}: `archive`")
    planned = _planned_scans(settings, base, f"{place}: `scan_sets.{name}`")
    scans = select(config["systems"], planned, f"{place}: `systems`")
    return Run(
        scan_set=name,
        source=settings["source"],
        settings=settings,
        models_file=Path(config["models_file"]),
        models=models,
        reference=reference,
        relax=relax,
        planned=planned,
        scans=scans,
        shard_size=config["shard_size"],
        results=results,
        device=config["device"],
        threads=config["threads"],
        rank_by=config["rank_by"],
        energy_ceiling_ev=float(worst["energy_ceiling_ev"]),
        strict=config["strict"],
        software=config["software"],
        **_dynamics(
            config.get("dynamics"),
            [name for name, entry in registry.items() if entry.family != "control"],
            models,
            settings["source"],
            planned,
            scans,
            base,
            place,
        ),
        **_vibrations(
            config.get("vibrations"),
            [name for name, entry in registry.items() if entry.family != "control"],
            models,
            settings["source"],
            scans,
            place,
        ),
        ladder=_ladder(config.get("ladder"), registry, models, place),
    )


def _ladder(
    block: Mapping[str, Any] | None,
    registry: Mapping[str, ModelEntry],
    models: Mapping[str, ModelEntry],
    place: str,
) -> list[str]:
    """The models of the ladder: the baseline first, and all seeds of a potential together."""
    where = f"{place}: `ladder"
    if not block or not block["models"]:
        return []
    able = [n for n, e in registry.items() if e.family not in ("control", "perturbed")]
    in_run = [name for name in able if name in models]
    absent = "is not in the run; add it to `models`, or write `ladder: {models: []}` for no ladder"
    baseline = block["baseline"]
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
    for pattern in block["models"]:
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


def _vibrations(
    block: Mapping[str, Any] | None,
    able: Sequence[str],
    models: Mapping[str, ModelEntry],
    source: str,
    scans: Sequence[str],
    place: str,
) -> dict[str, Any]:
    """Whose frequencies are found, of which molecules; those without a selected scan are left."""
    where = f"{place}: `vibrations"
    if not block or not block["models"]:
        return {"vibrations": [], "vibration_systems": []}
    if source == bsct_spice.NAME:
        raise UserError(
            f"{where}`: the scan set is read from an archive, which has no frequencies to compare "
            "with; take one with `source: molecules`, or write `vibrations: {models: []}`"
        )
    block = _with_defaults(block, read_schema("config")["properties"]["vibrations"]["properties"])
    # a run of other models than the config's own is no mistake of its vibrations
    known_models = select(block["models"], able, f"{where}.models`")
    known = sorted({_system_of(scan, source) for scan in scans})
    systems = select(block["systems"], known, f"{where}.systems`")
    chosen = [name for name in known_models if name in models]
    return {"vibrations": chosen, "vibration_systems": systems if chosen else []}


def _dynamics(
    block: Mapping[str, Any] | None,
    able: Sequence[str],
    models: Mapping[str, ModelEntry],
    source: str,
    planned: Sequence[str],
    scans: Sequence[str],
    base: Path,
    place: str,
) -> dict[str, Any]:
    """Which models run dynamics, and in which jobs; molecules without a selected scan do not."""
    where = f"{place}: `dynamics"
    if not block or not block["models"]:
        return {"dynamics": [], "dynamics_shards": {}}
    block = _with_defaults(block, read_schema("config")["properties"]["dynamics"]["properties"])
    # a run of other models than the config's own is no mistake of its dynamics
    known_models = select(block["models"], able, f"{where}.models`")
    chosen = [name for name in known_models if name in models]
    known = sorted({_system_of(scan, source) for scan in scans})
    systems = select(block["systems"], known, f"{where}.systems`")
    if "systems_file" in block:
        named = _read_names(base / block["systems_file"])
        every = {_system_of(scan, source) for scan in planned}
        if unknown := sorted(set(named) - every):
            raise UserError(
                f"{where}.systems_file`: {block['systems_file']} names {unknown[0]!r}, "
                f"which the scan set does not hold; {closest(unknown[0], every)}"
            )
        systems = [name for name in systems if name in named]
    if not systems or not chosen:
        return {"dynamics": [], "dynamics_shards": {}}
    halved = select(block["halved"], systems, f"{where}.halved`")
    names = {field.name for field in fields(DynamicsSettings)}
    given = {key: value for key, value in block.items() if key in names}
    given["temperatures_k"] = tuple(float(value) for value in block["temperatures_k"])
    settings = DynamicsSettings(**given)
    finer = replace(settings, timestep_fs=settings.timestep_fs / 2)
    try:
        settings.check()
    except UserError as error:
        raise UserError(f"{place}: {error}") from error
    size = block["shard_size"]
    shards = {
        name: DynamicsShard(some, settings) for name, some in split_shards(systems, size).items()
    } | {
        f"half-{name}": DynamicsShard(some, finer)
        for name, some in split_shards(halved, size).items()
    }
    return {"dynamics": chosen, "dynamics_shards": shards}


def _system_of(scan_id: str, source: str) -> str:
    """The molecule of a planned scan; every scan of the archive is a molecule of its own."""
    if source == bsct_spice.NAME:
        return scan_id
    return scan_id.partition("/")[2].rpartition("_")[0]


def _read_names(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _scan_set(config: Mapping[str, Any], place: str) -> tuple[str, dict[str, Any]]:
    name, sets = config["scan_set"], config["scan_sets"]
    if name not in sets:
        raise UserError(f"{place}: `scan_set`: no set {name!r}; {closest(name, sets)}")
    if not is_path_name(name):
        raise UserError(
            f"{place}: `scan_sets`: {name!r} is unfit for a path; use letters, digits and . _ + -"
        )
    settings, sources = dict(sets[name]), read_schema("config")["sources"]
    where = f"{place}: `scan_sets.{name}`"
    source = settings.get("source")
    if source not in sources:
        raise UserError(f"{where}: unknown source {source!r}; {closest(str(source), sources)}")
    if config.get("archive") is not None and source == bsct_spice.NAME:
        settings["archive"] = config["archive"]
    elif config.get("archive") is not None:
        raise UserError(
            f"{place}: `archive` is given, but the scan set {name!r} is made of molecules; "
            f"leave it out, or choose a set with `source: {bsct_spice.NAME}`"
        )
    check_schema(settings, sources[source], where)
    settings = _with_defaults(settings, sources[source]["properties"])
    return name, _with_paths(settings, sources[source], where)


def _check_archive(settings: Mapping[str, Any], base: Path, built: Path, place: str) -> None:
    archive = settings.get("archive", "")
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
    if registry[name].family == "control":
        raise UserError(f"{place}: {name!r} is a control, made from a reference; name a method")
    if registry[name].family == "perturbed":
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
