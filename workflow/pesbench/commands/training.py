"""Commands that train potentials."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from pesbench.commands.arguments import DEVICES, device, number, threads, whole
from pesbench.commands.parsing import ENTRY_SHA256, ENVIRONMENT, Stages
from pesbench.core.host_memory import keep_freed_memory


def add(stages: Stages) -> None:
    """The subcommands of this module."""
    _add_frames(stages)
    _add_training(stages)


def _add_frames(stages: Stages) -> None:
    stage = stages.add_parser("split-molecules", help="divide molecules into seen and unseen")
    stage.add_argument(
        "--molecules", type=Path, required=True, help="file of molecules (extxyz, SDF, ...)"
    )
    stage.add_argument(
        "--out", action="output", required=True, help="CSV with the columns system and split"
    )
    stage.set_defaults(run=_split_molecules)

    stage = stages.add_parser("sample", help="make training frames by Langevin dynamics")
    stage.add_argument(
        "--molecules", type=Path, required=True, help="file of molecules (extxyz, SDF, ...)"
    )
    stage.add_argument(
        "--split", type=Path, required=True, help="CSV with the columns system and split"
    )
    stage.add_argument("--only", nargs="+", metavar="ID",
                       help="ids of the molecules to sample (default: all)")  # fmt: skip
    stage.add_argument("--method", type=Path, required=True, help="resolved entry (JSON)")
    stage.add_argument("--entry-sha256", help=ENTRY_SHA256)
    stage.add_argument("--temperatures-k", type=number(0, 1e4, above=True), nargs="+", metavar="K",
                       help="temperatures in K (default: 300 600, near equilibrium)")  # fmt: skip
    stage.add_argument("--interval-steps", type=whole(1), help="steps between two frames")
    stage.add_argument("--frames", type=whole(1, 1_000_000), help="frames of a trajectory")
    stage.add_argument("--out", action="output", required=True, help="extxyz of the frames")
    stage.add_argument(
        "--record", action="output", required=True, help="JSON of how the frames were made"
    )
    stage.set_defaults(run=_sample)


def _add_training(stages: Stages) -> None:
    stage = stages.add_parser("train-mace", help="train a small MACE model with mace_run_train")
    stage.add_argument("name", help="name of the model")
    stage.add_argument("--frames", type=Path, required=True, help="file made by `sample`")
    stage.add_argument("--record", type=Path, required=True, help="file made by `sample`")
    stage.add_argument("--pair-repulsion", action="store_true", help="add a ZBL term")
    stage.add_argument("--num-channels", type=whole(1, 4096))
    stage.add_argument("--epochs", type=whole(1, 1_000_000))
    stage.add_argument("--threads", type=threads, default=1)
    stage.add_argument("--work", type=Path, required=True,
                       help="folder of checkpoints; a training found there is "
                       "continued")  # fmt: skip
    stage.add_argument("--out", action="output", required=True,
                       help="the .model file; its card is written beside it")  # fmt: skip
    stage.set_defaults(run=_train_mace)

    stage = stages.add_parser("train-apax", help="train a GMNN potential with apax")
    stage.add_argument("name", help="name of the variant, or of one of its seeds")
    stage.add_argument(
        "--variants", type=Path, required=True, help="file of variants, such as config/apax.yaml"
    )
    stage.add_argument("--frames", type=Path, required=True, help="file made by `sample`")
    stage.add_argument("--record", type=Path, required=True, help="file made by `sample`")
    stage.add_argument("--environment", metavar="WHERE", help=ENVIRONMENT)
    stage.add_argument("--threads", type=threads, default=1)
    stage.add_argument("--work", type=Path, required=True,
                       help="folder of frames and logs; emptied first")  # fmt: skip
    stage.add_argument("--out", action="output", required=True,
                       help="the weights (zip); their card is written beside them")  # fmt: skip
    stage.set_defaults(run=_train_apax)

    stage = stages.add_parser(
        "apax-models", help="write the registry of the potentials that are trained with apax"
    )
    stage.add_argument("--variants", type=Path, required=True, help="file of `train-apax`")
    stage.add_argument(
        "--weights", type=Path, required=True, help="folder of the weights and their cards"
    )
    stage.add_argument(
        "--models-file", type=Path, required=True, help="registry of the models beside them"
    )
    stage.add_argument("--beside", nargs="+", required=True, metavar="MODEL",
                       help="models that are compared with them")  # fmt: skip
    stage.add_argument(
        "--split", type=Path, required=True, help="CSV with the columns system and split"
    )
    stage.add_argument("--out", action="output", required=True, help="the registry (YAML)")
    stage.set_defaults(run=_apax_models)

    stage = stages.add_parser("train", help="train a potential of the testbed")
    stage.add_argument("name", help="name of the variant")
    stage.add_argument(
        "--variants", type=Path, required=True, help="file of variants, such as config/testbed.yaml"
    )
    stage.add_argument("--frames", type=Path, required=True, help="file made by `sample`")
    stage.add_argument("--record", type=Path, required=True, help="file made by `sample`")
    stage.add_argument("--scan-set", type=Path, help="scan set with the scans whose FSD is logged")
    stage.add_argument("--fsd-every", type=whole(), metavar="EPOCHS",
                       help="epochs between two logs of the FSD; 0 for none")  # fmt: skip
    stage.add_argument("--fsd-weight", type=number(), metavar="W",
                       help="weight of the differentiable FSD in the loss, in eV·Å")  # fmt: skip
    stage.add_argument("--smoke", action="store_true",
                       help="train on few frames for two epochs, to test the "
                       "installation")  # fmt: skip
    stage.add_argument("--device", type=device, default="cpu", help=DEVICES)
    stage.add_argument("--threads", type=threads, default=1)
    stage.add_argument("--work", type=Path, required=True,
                       help="folder of the checkpoint; a training found there is "
                       "continued")  # fmt: skip
    stage.add_argument("--out", action="output", required=True,
                       help="the weights; their card is written beside them")  # fmt: skip
    stage.set_defaults(run=_train)


def _split_molecules(arguments: argparse.Namespace) -> None:
    from pesbench.files.molecules.reading import read_systems
    from pesbench.files.split import write_split
    from pesbench.training.split import split_systems

    write_split(split_systems(read_systems(arguments.molecules)), arguments.out)


def _sample(arguments: argparse.Namespace) -> None:
    from pesbench.files.molecules.reading import read_systems
    from pesbench.files.split import read_split
    from pesbench.models.registry import ModelEntry
    from pesbench.training.sampling import Sampling, chosen, write_frames

    systems = read_systems(arguments.molecules)
    write_frames(
        chosen(systems, arguments.only) if arguments.only else systems,
        read_split(arguments.split),
        Sampling(
            temperatures_k=tuple(arguments.temperatures_k or Sampling.temperatures_k),
            interval_steps=arguments.interval_steps or Sampling.interval_steps,
            frames=arguments.frames or Sampling.frames,
        ),
        ModelEntry.from_file(arguments.method, sha256=arguments.entry_sha256),
        arguments.out,
        arguments.record,
    )


def _train_mace(arguments: argparse.Namespace) -> None:
    from pesbench.training.mace import write_model
    from pesbench.training.mace_settings import MACETraining

    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # inherited by mace_run_train
    keep_freed_memory()
    training = MACETraining(
        num_channels=arguments.num_channels or MACETraining.num_channels,
        epochs=arguments.epochs or MACETraining.epochs,
        pair_repulsion=arguments.pair_repulsion,
    )
    write_model(
        arguments.name,
        arguments.frames,
        arguments.record,
        training,
        arguments.work,
        arguments.out,
    )


def _train_apax(arguments: argparse.Namespace) -> None:
    from pesbench.files.environment import environment_of
    from pesbench.training.apax import train_variant
    from pesbench.training.apax_variants import find_variant

    train_variant(
        find_variant(arguments.variants, arguments.name),
        arguments.frames,
        arguments.record,
        arguments.work,
        arguments.out,
        environment_of(arguments.environment),
        arguments.threads,
    )


def _apax_models(arguments: argparse.Namespace) -> None:
    from pesbench.training.apax_registry import write_apax_registry

    write_apax_registry(
        arguments.variants,
        arguments.weights,
        arguments.models_file,
        arguments.beside,
        arguments.split,
        arguments.out,
    )


def _train(arguments: argparse.Namespace) -> None:
    from dataclasses import replace

    from pesbench.testbed.variants import find_variant

    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # before torch is imported
    keep_freed_memory()
    variant = find_variant(arguments.variants, arguments.name)
    if arguments.fsd_every is not None:
        variant = replace(variant, fsd_every=arguments.fsd_every)
    if arguments.fsd_weight is not None:
        training = replace(variant.training, fsd_weight=arguments.fsd_weight)
        variant = replace(variant, training=training)
    from pesbench.testbed.cards import Sources, train_variant

    train_variant(
        variant,
        Sources(arguments.frames, arguments.record, arguments.scan_set),
        arguments.work,
        arguments.out,
        device=arguments.device,
        smoke=arguments.smoke,
    )
