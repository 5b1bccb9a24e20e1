"""The stages of tasks as functions of many arguments, as most tests call them."""

from __future__ import annotations

from pesbench.commands.scoring import write_scores as write_task_scores
from pesbench.core.jobs import RunJob, ScoreJob
from pesbench.tasks.bonds import run as bonds
from pesbench.tasks.bonds import shard
from pesbench.tasks.bonds.settings import BondSettings
from pesbench.tasks.dynamics import run as dynamics
from pesbench.tasks.dynamics.settings import DynamicsSettings
from pesbench.tasks.vibrations import run as vibrations
from pesbench.tasks.vibrations.settings import VibrationSettings


def evaluate_shard(entry, scan_set, ids, out, **settings):
    shard.evaluate_shard(RunJob(entry, scan_set, ids, BondSettings(), out, **settings))


def evaluate_missing(entry, scan_set, ids, out, **settings):
    bonds.run(RunJob(entry, scan_set, ids, BondSettings(), out, **settings))


def run_dynamics_shard(entry, scan_set, systems, how, out, *, checkpoint_s=60.0, **settings):
    job = RunJob(entry, scan_set, systems, how, out, **settings)
    dynamics.run(job, checkpoint_s=checkpoint_s)


def run_vibrations(entry, scan_set, systems, how, out, **settings):
    vibrations.run(RunJob(entry, scan_set, systems, how, out, **settings))


def write_scores(scan_set, files, out, *, ceiling_ev=10.0, **settings):
    job = ScoreJob(sorted(files), scan_set, BondSettings(ceiling_ev), **settings)
    write_task_scores("bonds", job, out)


def write_dynamics_scores(files, out, *, scan_set, **settings):
    job = ScoreJob(sorted(files), scan_set, DynamicsSettings(), **settings)
    write_task_scores("dynamics", job, out)


def write_vibration_scores(file, reference, out, *, scan_set, **settings):
    job = ScoreJob([file], scan_set, VibrationSettings(), reference=[reference], **settings)
    write_task_scores("vibrations", job, out)
