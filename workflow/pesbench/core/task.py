"""Tasks: a task is a test that every model runs, in one folder `tasks/<name>`.

The folder holds

    settings.py   SETTINGS, one frozen dataclass (`pesbench.core.settings`)
    task.py       TASK, an instance of a subclass of `Task`; light: no pandas, no torch
    run.py        run(job: RunJob): asks a model, writes one file
    score.py      score(job: ScoreJob) -> DataFrame: pure analysis of stored files
    section.py    section(inputs: SectionInputs) -> Section: what a reader is told
    model_section.py  model_section(job: ScoreJob, scores: DataFrame) -> Section: optional
    explorer.py   explorer(job: ExplorerJob) -> dict: optional, data of the explorer
    prepare.py    prepare(job: PrepareJob): optional, inputs that all models share
    rules.smk     optional: rules of its own, such as trainings; included behind all others
    results.py    results(path) -> StoredResults: optional, for files of results that are not a
                  group an item (`pesbench.files.stored_results`)
    README.md     the protocol, the definitions, what the task cannot see

Nothing outside the folder names it: `pesbench.core.found` finds it by looking. The stages have
generic rules (`workflow/rules/tasks.smk`) and generic commands (`pesbench run TASK`, `pesbench
score TASK`, ...).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from pesbench.core.section import Metric
from pesbench.core.settings import check_limits

SCAN, SYSTEM = "scan", "system"  # what an item of a shard is
Key = tuple[str | float, ...]  # values of the columns `Task.keys` of a row of scores


@dataclass(frozen=True)
class Shard:
    """Items and settings of one job of a task.

    Attributes:
        items: Ids of the scans or systems, sorted.
        settings: Settings of the task, the same for all items.
    """

    items: tuple[str, ...]
    settings: Any


@dataclass(frozen=True)
class Phase:
    """Evaluations that a shard asks of a model for one item, for the prediction of its cost.

    Attributes:
        copies: Frames of the item's system that are evaluated at a time, in common batches with
            those of the other items.
        steps: How often, one after the other.
        along_scan: Whether the frames are those of the scan, for which a method that converges
            takes longer than for frames near the minimum.
        step_s: Seconds of a step beside the model, whatever the number of items.
    """

    copies: int
    steps: int = 1
    along_scan: bool = False
    step_s: float = 0.0


@dataclass(frozen=True)
class Size:
    """Size of an item: frames of the scan (1 for a system) and atoms."""

    frames: int
    atoms: int


class Task:
    """A question that is put to every model. Subclasses set the attributes and what differs.

    Attributes:
        name: Name of the folder, of the config block and of the folders of results.
        title: Name that readers see.
        summary: One sentence, for help texts and the documentation.
        settings: Frozen dataclass, see `pesbench.core.settings`.
        block: Frozen dataclass of the keys of the config block, beside the settings and `models`,
            `systems`, `systems_file`, `shard_size`, that decide which jobs there are; None for no
            such key.
        metrics: Columns of the scores that are metrics.
        keys: Columns of the scores that name a row, such as `("scan",)`.
        identity: Columns that say what a row is of, the same for all models.
        text: Columns of the scores that hold text.
        others: More columns that the scores always have, of numbers or truth values.
        rows: What a row of the scores is of, in the plural, for messages.
        words: The words that a column of text may hold, by column.
        unstable: Columns of the scores that the last digit of a model may change, so that two runs
            of one model need not agree in them.
        absent: Values of a row of a model that was never asked, beside those of `keys` and
            `identity`; metrics are NaN, other columns "", 0 or False.
        reference_limits: Largest values of metrics that a model of the scan set's own level of
            theory may have, which is compared with itself: where the workflow made the references,
            and where another program did.
        item: `SCAN` or `SYSTEM`.
        priority: Jobs of a higher one start first: that of the tasks with the longest jobs.
        item_s: Seconds that an item takes beside the model, for the prediction of its cost.
        shard_size: Default of the items a job holds.
        always: Whether it runs for all models without a config block.
        asks_controls: Whether controls take part.
        asks_reference: Whether the scan set's method is asked, too, whose files `score` gets; see
            `needs_reference`.
        needs_molecules: Whether only scan sets with `source: molecules` will do.
        once: Setting, true or false, of what is asked once a model: it is the first job's alone.
        run_reads: Tasks whose stored answers `run` gets, of all models of this task or of those
            that its module `reads` names, as far as they are in the run.
        score_reads: The same for `score`; the task's own name may be among them. Such scores
            depend on what else is in the run, and `pesbench merge` takes them as they are.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    settings: ClassVar[type]
    block: ClassVar[type | None] = None
    metrics: ClassVar[tuple[Metric, ...]] = ()
    keys: ClassVar[tuple[str, ...]]
    identity: ClassVar[tuple[str, ...]] = ()
    text: ClassVar[tuple[str, ...]] = ()
    others: ClassVar[tuple[str, ...]] = ()
    rows: ClassVar[str] = "rows"
    words: ClassVar[Mapping[str, frozenset[str]]] = {}
    unstable: ClassVar[tuple[str, ...]] = ()
    absent: ClassVar[Mapping[str, Any]] = {}
    reference_limits: ClassVar[Mapping[str, tuple[float, float]]] = {}
    item: ClassVar[str] = SYSTEM
    priority: ClassVar[int] = 1
    item_s: ClassVar[float] = 0.0
    shard_size: ClassVar[int] = 15
    always: ClassVar[bool] = False
    asks_controls: ClassVar[bool] = False
    asks_reference: ClassVar[bool] = False
    needs_molecules: ClassVar[bool] = False
    once: ClassVar[str] = ""
    run_reads: ClassVar[tuple[str, ...]] = ()
    score_reads: ClassVar[tuple[str, ...]] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the scores always have."""
        metrics = (metric.name for metric in self.metrics)
        found = (*self.keys, *self.identity, "status", "message", *self.text, *metrics)
        return tuple(dict.fromkeys((*found, *self.others)))

    def shards(
        self,
        items: Sequence[str],
        selected: Sequence[str],
        settings: Any,
        shard_size: int,
        block: Any = None,
    ) -> dict[str, Shard]:
        """The jobs by name, of one model.

        Which job an item belongs to follows from `items` alone, so that a wider selection finds
        what a narrower one has made.

        Args:
            items: Ids of all items that the config block names, sorted.
            selected: Items that are run.
            settings: Settings of the task.
            shard_size: Items a job.
            block: Keys of the config block, of the type `block`.

        Raises:
            UserError: settings are out of their limits, or settings or keys contradict each other;
                one line with the key and the cure.
        """
        check_limits(settings, self.name)
        wanted = set(selected)
        found = {
            name: tuple(one for one in some if one in wanted)
            for name, some in split_shards(items, shard_size).items()
        }
        held = {name: some for name, some in found.items() if some}
        first = min(held, default="")
        others = replace(settings, **{self.once: False}) if self.once else settings
        return {
            name: Shard(some, settings if name == first else others) for name, some in held.items()
        }

    def narrowed(self, items: Sequence[str], block: Any) -> Any:
        """The keys of a block of the type `block` for some of its items, for a smaller run."""
        return block

    def comparable(self, settings: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Settings of all files of a model as they are compared with those of other models.

        All must be equal then. A task whose files of one model differ in a setting by intention
        gives it one value here.

        Args:
            settings: Settings as the files state them.

        Returns:
            The settings, with `once` as the first job has it.
        """
        if not self.once:
            return list(settings)
        some = any(one.get(self.once) for one in settings)
        return [{**one, self.once: some} for one in settings]

    def held(self, path: Path) -> tuple[str, ...]:
        """Items that a file of answers holds and keeps when its job runs again.

        Args:
            path: The file; it may be missing or damaged.
        """
        return ()

    def check_beside(self, others: Mapping[str, Any]) -> None:
        """Refuse settings of other tasks whose answers this one cannot use.

        Args:
            others: Settings of the tasks of the run, by name.

        Raises:
            UserError: one line with the key and the cure.
        """

    def needs_reference(self, settings: Any = None) -> bool:
        """Whether `score` needs the answers of the scan set's method.

        Args:
            settings: Settings of the task; None asks whether it does whatever they are.
        """
        return self.asks_reference

    def phases(self, size: Size, settings: Any) -> tuple[Phase, ...]:
        """Evaluations that an item asks of a model, for plan and requests to a scheduler."""
        raise NotImplementedError

    def atom_frames(self, size: Size, settings: Any) -> int:
        """Atoms of all frames that an item asks of a model, each time that they are asked."""
        return size.atoms * sum(one.copies * one.steps for one in self.phases(size, settings))

    def stored_bytes(self, size: Size, settings: Any) -> float:
        """Size of what is stored of an item, for the plan."""
        raise NotImplementedError


def split_shards(items: Sequence[str], size: int) -> dict[str, list[str]]:
    """Consecutive items, at most `size` a shard, named 0000, 0001, ..."""
    return {
        f"{number:04d}": list(items[start : start + size])
        for number, start in enumerate(range(0, len(items), size))
    }


def row_key(values: Iterable[object]) -> Key:
    """The key of a row of scores: six digits of a number, as names of files have them."""
    return tuple(one if isinstance(one, str) else float(f"{one:g}") for one in values)


def key_words(columns: Sequence[str], key: Key) -> str:
    """A key for readers, such as `ethanol_300K_0 (timestep_fs 0.5)`."""
    first, *others = (one if isinstance(one, str) else f"{one:g}" for one in key)
    rest = ", ".join(f"{name} {value}" for name, value in zip(columns[1:], others, strict=True))
    return f"{first} ({rest})" if rest else first
