"""Features of any network on the frames of the designs.

The frames of one molecule after another go to the model's process, which answers with the features
of the marked atom. What a model cannot tell ends in the status of the molecule.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pesbench.core.errors import UserError
from pesbench.core.interface import Batch, ModelInfo, Status, batch_of
from pesbench.core.jobs import RunJob
from pesbench.core.names import closest
from pesbench.core.progress import track
from pesbench.core.systems import System
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import Evaluator, why_unsupported
from pesbench.engine.patient_worker import PatientWorker
from pesbench.engine.shard import (
    Spent,
    load_model,
    molecules_checkpoint,
    refuse_control,
    results_attributes,
)
from pesbench.engine.worker import ModelFailureError
from pesbench.files.checkpoint import Arrays, Checkpoint, stored_array
from pesbench.files.scan_set import ScanSet
from pesbench.files.scan_set_systems import chosen_systems
from pesbench.metrics.aggregate import seed_of
from pesbench.models.addresses import file_sha256
from pesbench.models.registry import ModelEntry
from pesbench.tasks.spectral import asked, designs
from pesbench.tasks.spectral.conformers import read_conformers
from pesbench.tasks.spectral.settings import SpectralSettings
from pesbench.tasks.spectral.stored import (
    DEEPEST,
    FIRST,
    Irreps,
    MoleculeFeatures,
    Shown,
    feature_key,
    write_features,
)

UNIT_FRAMES = 32  # of one question
NOTHING_TURNS = "its features are scalars only, in which no angular degree can be told apart"
Outcome = tuple[Status, str]
logger = logging.getLogger("pesbench")


def run(job: RunJob) -> None:
    """Ask a model for its features and write a file of features.

    Continues from its checkpoint if an earlier call was killed.

    Args:
        job: Items are ids of molecules of the scan set, which the frames are of.

    Raises:
        UserError: a control; no such molecule, scan set or file of frames; a layer that the model
            does not have, or a degree l that the layer does not have.
        HostError: the machine failed; a second call continues.
    """
    # planned backbones are a matter of scores alone
    job = replace(job, settings=replace(job.settings.check(), backbones=None))
    entry, settings = job.entry, job.settings
    refuse_control(entry, "spectral")
    with ScanSet(job.scan_set) as scan_set:
        systems = chosen_systems(scan_set, job.items)
        of_set = scan_set.name, scan_set.sha256
    questions = [question_of(system, settings) for system in systems]
    frames = Path(settings.frames)
    shown_sha256 = file_sha256(frames)
    checkpoint = molecules_checkpoint(job, systems, of_set[1] + shown_sha256, __name__)
    with PatientWorker(
        entry,
        scan_set=job.scan_set,
        device=job.device,
        threads=job.threads,
        timeout_s=entry.timeout_s,
        environment=job.environment,
    ) as worker:
        under_way = _Run(entry, questions, settings, worker, checkpoint)
        info = under_way.run()
        worker.close()
    made = results_attributes(
        entry, of_set, info, Evaluator(worker, BatchLimit(systems=1)), under_way.spent, job.threads
    )
    write_features(
        job.out,
        under_way.answers(),
        attributes=made | {"settings": asdict(settings), "frames_sha256": shown_sha256},
    )
    checkpoint.remove()


@dataclass(frozen=True)
class Part:
    """A design and the features that are asked of it.

    Attributes:
        design: The frames.
        roles: Roles of the layers.
        untrained: Whether the parameters of the network are scrambled before.
        sums: Whether the scalars of all atoms are kept, too.
    """

    design: designs.Design
    roles: tuple[str, ...]
    untrained: bool = False
    sums: bool = False


@dataclass(frozen=True)
class Question:
    """All that is asked about one molecule.

    Attributes:
        system: The molecule.
        bond: The marked bond; None where the molecule has none that will do.
        parts: In the order in which they are asked: what changes the network comes last.
    """

    system: System
    bond: designs.MarkedBond | None
    parts: tuple[Part, ...]


def question_of(system: System, settings: SpectralSettings) -> Question:
    """The frames of all designs of a molecule, the same for all models.

    Raises:
        UserError: the file of frames has none of it.
    """
    bond = designs.marked_bond(system)
    if bond is None:
        return Question(system, None, ())
    conformers = read_conformers(Path(settings.frames), system, settings)
    natural = read_conformers(Path(settings.frames), system, settings, natural=True)
    rng = np.random.default_rng(seed_of(f"spectral {system.id}"))
    rotated = designs.rotated(conformers, bond, settings.directions, rng)
    moved = designs.moved(conformers, bond, settings.directions, rng)
    parts = [
        Part(rotated, (DEEPEST,)),
        Part(moved, (DEEPEST, FIRST)),
        Part(designs.rotated_copies(moved, bond, rng), (DEEPEST,)),
        Part(designs.invariant(natural, bond), (DEEPEST,), sums=True),
    ]
    if settings.untrained:
        parts.append(Part(moved, (DEEPEST,), untrained=True))
    return Question(system, bond, tuple(parts))


@dataclass(frozen=True)
class Layers:
    """The layers of a network, and those that are read.

    Attributes:
        irreps: Of every layer by name, in order.
        chosen: Name of the layer of each role.
        l_max: Highest degree that is read.
    """

    irreps: Mapping[str, Irreps]
    chosen: Mapping[str, str]
    l_max: int


def chosen_layers(model: str, irreps: Mapping[str, Irreps], settings: SpectralSettings) -> Layers:
    """The layers that are read: `deepest`, and `first` where that is another one.

    Args:
        model: Name of the model.
        irreps: Irreps of every layer by name, in order.
        settings: `layer` and `l_max`.

    Returns:
        No layer is chosen where none has a degree above 0.

    Raises:
        UserError: there is no layer of this name, or it has no such degree; one line that lists
            the layers.
    """
    highest = {
        name: max((degree for _, degree in some), default=0) for name, some in irreps.items()
    }
    told = ", ".join(f"{name} (l up to {highest[name]})" for name in irreps)
    if settings.layer and settings.layer not in irreps:
        raise UserError(
            f"model {model!r}: no layer {settings.layer!r}, {closest(settings.layer, irreps)}; its "
            f"layers: {told}; correct `layer`"
        )
    turning = [name for name in irreps if highest[name] > 0]
    if not turning:
        return Layers(irreps, {}, 0)
    if settings.layer and settings.layer not in turning:
        raise UserError(
            f"model {model!r}: layer {settings.layer!r} has scalars only; its layers: {told}; "
            "name another `layer`"
        )
    deepest = settings.layer or turning[-1]
    if settings.l_max > highest[deepest]:
        raise UserError(
            f"model {model!r}: layer {deepest!r} has no l = {settings.l_max}; its layers: {told}; "
            "lower `l_max` or name another `layer`"
        )
    chosen = {DEEPEST: deepest} | ({FIRST: turning[0]} if turning[0] != deepest else {})
    return Layers(irreps, chosen, settings.l_max or highest[deepest])


@dataclass(frozen=True)
class _Unit:
    """Some frames of a part of a question; one piece of the checkpoint."""

    question: int
    part: int
    start: int
    stop: int


@dataclass
class _Run:
    """A command under way. Each piece of its checkpoint is one unit, or the failure of one.

    Attributes:
        entry: Resolved model entry.
        questions: One a molecule, in order.
        settings: Settings of the task.
        worker: Worker that holds the model.
        checkpoint: What was done, by this call or an earlier one.
    """

    entry: ModelEntry
    questions: Sequence[Question]
    settings: SpectralSettings
    worker: PatientWorker
    checkpoint: Checkpoint
    spent: Spent = field(init=False)
    layers: Layers = field(default_factory=lambda: Layers({}, {}, 0))
    failures: dict[int, Outcome] = field(default_factory=dict)
    failed_parts: dict[tuple[int, int], Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.spent = Spent.resume(self.checkpoint, self.worker)
        # what scrambles the network comes last of all molecules
        self.units = [
            _Unit(k, p, start, stop)
            for untrained in (False, True)
            for k, one in enumerate(self.questions)
            for p, part in enumerate(one.parts)
            if part.untrained is untrained
            for start, stop in designs.units(part.design, UNIT_FRAMES)
        ]

    def run(self) -> ModelInfo | None:
        """Do what the checkpoint does not hold yet.

        Returns:
            What the model tells of itself; None if it does not load.
        """
        info = None
        try:
            info, _ = load_model(
                self.worker, self.checkpoint, lambda _: BatchLimit(systems=UNIT_FRAMES)
            )
            self._look(info)
        except ModelFailureError as failure:
            logger.warning("%s", failure.message)
            self.failures = dict.fromkeys(
                range(len(self.questions)), (failure.status, failure.message)
            )
        self.spent.save()
        for number in range(self.checkpoint.count):
            self._learn(number)
        left = range(self.checkpoint.count, len(self.units))
        for number in track(left, len(left), f"groups of {UNIT_FRAMES} frames"):
            self.checkpoint.append(**self._answer(self.units[number]))
            self._learn(number)
            self.spent.save()
        return info

    def _look(self, info: ModelInfo) -> None:
        """Find out which molecules the model can be asked about, and the layers of its network."""
        for k, one in enumerate(self.questions):
            if one.bond is None:
                why = "has no terminal atom at an atom with another neighbour"
                self.failures[k] = Status.UNSUPPORTED, why
            elif why := why_unsupported(one.system, info):
                self.failures[k] = Status.UNSUPPORTED, why
        asked_about = [k for k in range(len(self.questions)) if k not in self.failures]
        if not asked_about:
            return
        first = self.questions[asked_about[0]].system
        told = self.worker.call(asked.layers, _batch(first, first.positions[None]))
        why = told.get(asked.WHY, "")
        if not why:
            irreps = {
                str(name): tuple((int(a), int(b)) for a, b in some)
                for name, some in told["layers"].items()
            }
            self.layers = chosen_layers(self.entry.name, irreps, self.settings)
            why = "" if self.layers.chosen else NOTHING_TURNS
        if why:
            self.failures |= dict.fromkeys(asked_about, (Status.UNSUPPORTED, f"n/a: {why}"))

    def _learn(self, number: int) -> None:
        """Take over how a unit of the checkpoint failed, if it did: its part has no features."""
        status, message = self.checkpoint.read(number, _outcome)
        if status is not Status.OK:
            unit = self.units[number]
            self.failed_parts.setdefault((unit.question, unit.part), (status, message))

    def _answer(self, unit: _Unit) -> dict[str, NDArray[Any]]:
        if known := self.failures.get(unit.question):
            return _outcome_of(*known)
        if known := self.failed_parts.get((unit.question, unit.part)):
            return _outcome_of(*known)
        question = self.questions[unit.question]
        assert question.bond is not None
        part = question.parts[unit.part]
        names = [self.layers.chosen[role] for role in part.roles if role in self.layers.chosen]
        batch = _batch(question.system, part.design.positions[unit.start : unit.stop])
        try:
            scrambled_by = self.entry.name if part.untrained else ""
            told = self.worker.call(
                asked.features, batch, names, question.bond.centre, scrambled_by
            )
            found = _outcome_of(Status.OK, "")
            for role in part.roles:
                if role not in self.layers.chosen:
                    continue
                answer = told[self.layers.chosen[role]]
                found[f"features {role}"] = asked.unpacked(answer["of"])
                if part.sums:
                    found["sums"] = asked.unpacked(answer["sums"])
        except ModelFailureError as failure:
            where = f"design {part.design.name}, frames {unit.start} to {unit.stop - 1}"
            return _outcome_of(failure.status, f"{where}: {failure.message}")
        self.worker.atom_frames += batch.n_atoms
        return found

    def answers(self) -> Iterator[MoleculeFeatures]:
        """All molecules, from the pieces of the checkpoint."""
        pieces: dict[tuple[int, int], list[int]] = {}
        for number, unit in enumerate(self.units):
            pieces.setdefault((unit.question, unit.part), []).append(number)
        for k, question in enumerate(self.questions):
            name, bond = question.system.id, question.bond
            failed = [self.failed_parts.get((k, p)) for p in range(len(question.parts))]
            if bond is None or k in self.failures or None not in failed:
                status, message = self.failures.get(k) or failed[0]
                yield MoleculeFeatures(name, status, message, layers=self.layers.irreps)
                continue
            shown: dict[str, Shown] = {}
            for p, part in enumerate(question.parts):
                held = [self.checkpoint.read(number, dict) for number in pieces[k, p]]
                before = shown.get(part.design.name)
                shown[part.design.name] = _joined(part, held, failed[p], before)
            yield MoleculeFeatures(
                name,
                Status.OK,
                "",
                (bond.centre, bond.neighbour, bond.other),
                bond.clearance_angstrom,
                self.layers.irreps,
                self.layers.chosen,
                self.layers.l_max,
                shown,
            )


def _batch(system: System, positions: NDArray[np.float64]) -> Batch:
    count = len(positions)
    return batch_of([system] * count, list(positions), [(system.id, k) for k in range(count)])


def _outcome_of(status: Status, message: str) -> dict[str, NDArray[Any]]:
    return {"status": np.array(status.value), "message": np.array(message)}


def _outcome(arrays: Arrays) -> Outcome:
    status = Status(str(stored_array(arrays, "status", "U")))
    return status, str(stored_array(arrays, "message", "U"))


def _joined(
    part: Part, held: Sequence[Arrays], failed: Outcome | None, before: Shown | None
) -> Shown:
    """The features of a part, with those that the same design has of another backbone."""
    features = {} if before is None else dict(before.features)
    missing = {} if before is None else dict(before.missing)
    for role in part.roles:
        key = feature_key(role, untrained=part.untrained)
        if failed:
            missing[key] = failed
        elif f"features {role}" in held[0]:
            features[key] = np.concatenate([piece[f"features {role}"] for piece in held])
    design = part.design
    return Shown(
        design.directions,
        design.groups,
        design.held_out,
        design.clear,
        features,
        missing,
        design.cosines,
        design.energies_ev,
        np.concatenate([piece["sums"] for piece in held]) if part.sums and not failed else None,
    )
