"""Training with apax: the file of variants, the config of a training, and a card of a real one."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import molecule

from apax_environment import MISSING, apax_environment
from examples import REPO
from pesbench import cli
from pesbench.core.errors import HostError, UserError
from pesbench.core.interface import Status
from pesbench.engine.worker import Worker
from pesbench.files.atomic import write_json
from pesbench.files.environment import HERE, Environment
from pesbench.files.molecules.reading import read_systems
from pesbench.files.molecules.xyz import write_extxyz
from pesbench.files.strict_yaml import read_yaml
from pesbench.models.addresses import file_sha256
from pesbench.models.as_calculator import atoms_batch
from pesbench.models.families.apax.family import FAMILY
from pesbench.models.models_file import read_models
from pesbench.models.registry import ModelEntry
from pesbench.models.weights import check_weights
from pesbench.orchestration.config import resolve
from pesbench.orchestration.config_files import read_config
from pesbench.training.apax import apax_config, train, train_variant
from pesbench.training.apax_variants import (
    BOUNDED,
    LINEAR,
    ZBL,
    NetworkKeys,
    find_variant,
    read_variants,
)
from pesbench.training.sampling import ENERGY, FORCES, TEST_SEEN, TRAIN, VALID, chosen

FILE = REPO / "config" / "apax.yaml"
WEIGHTS = REPO / "resources" / "weights"
SHIPPED = sorted(path.stem for path in WEIGHTS.glob("apax-*.zip"))


def test_the_experiment_is_what_the_issue_asks() -> None:
    """Basis with and without ZBL, the readout alone, and the factorial; three seeds each."""
    variants = read_variants(FILE)
    potentials = {one.potential: one.network for one in variants.values()}
    assert len(variants) == 3 * len(potentials) == 54
    assert len(set(map(repr, potentials.values()))) == len(potentials)  # none twice
    found = set(potentials.values())
    for n_basis in (8, 16, 24):
        assert NetworkKeys(n_basis=n_basis) in found
        assert NetworkKeys(n_basis=n_basis, repulsion=ZBL) in found  # apax's own: 0.1 and 1.5 Å
    assert NetworkKeys(readout=BOUNDED) in found
    for readout in (LINEAR, BOUNDED):
        for scale in (0.1, 1.0, 14.4):
            for cutoff in (1.5, 3.5):
                assert (
                    NetworkKeys(
                        readout=readout,
                        repulsion=ZBL,
                        repulsion_scale=scale,
                        repulsion_cutoff=cutoff,
                    )
                    in found
                )


def test_seeds_differ_in_nothing_but_their_random_numbers(tmp_path: Path) -> None:
    variants = read_variants(FILE)
    names = ["apax-bounded", "apax-bounded-seed_2", "apax-bounded-seed_3"]
    configs = [apax_config(variants[name], tmp_path) for name in names]
    assert len({config["seed"] for config in configs}) == 3
    assert all(config | {"seed": 0} == configs[0] | {"seed": 0} for config in configs)
    assert {variants[name].potential for name in names} == {"apax-bounded"}


def test_a_config_has_the_keys_of_the_fork(tmp_path: Path) -> None:
    plain = apax_config(find_variant(FILE, "apax-basis_24"), tmp_path)["model"]
    assert plain["empirical_corrections"] == []
    assert plain["readout_activation"] == "identity"
    assert plain["basis"] == {"name": "bessel", "n_basis": 24}
    bounded = apax_config(find_variant(FILE, "apax-bounded-zbl_14.4-r_3.5"), tmp_path)["model"]
    assert bounded["readout_activation"] == "swish"
    assert bounded["empirical_corrections"] == [
        {"name": "zbl", "r_max": 3.5, "initial_rep_scale": 14.4}
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"variants": {"a": {"readout": "round"}}}, r"a: .*readout"),
        ({"variants": {"a": {"n_basis": 0}}}, r"a: .*n_basis"),
        ({"variants": {"a": {"basis": 8}}}, r"a: .*basis"),
        ({"variants": {"a": None}}, "a must be a block"),
        ({"variants": {"a/b": {}}}, "no name for a file"),
        ({"variants": {"a": {}, "a-seed_2": {}}}, "that of a seed"),
        ({"network": {"repulsion_scale": 0}}, "repulsion_scale"),
        ({"network": {"repulsion_scale": 1000}}, "repulsion_scale"),
        ({"training": {"epochs": 0}}, "epochs"),
        ({"seeds": 0}, "seeds"),
        ({"more": 1}, "more"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, change: dict[str, object], said: str) -> None:
    content = {"training": {"epochs": 2}, "seeds": 2, "variants": {"a": {}}} | change
    (tmp_path / "f.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=said) as caught:
        read_variants(tmp_path / "f.yaml")
    assert "\n" not in str(caught.value)


def test_a_name_that_is_none_has_a_hint() -> None:
    with pytest.raises(UserError, match="apax-bounded"):
        find_variant(FILE, "apax-bonded")


def test_only_some_molecules_are_sampled() -> None:
    systems = read_systems(REPO / "resources/mini/molecules.extxyz")
    assert [system.id for system in chosen(systems, ["ethanol"])] == ["ethanol"]
    with pytest.raises(UserError, match=r"--only ethanal: no such molecule.*ethanol"):
        chosen(systems, ["ethanal"])


# --- a training ----------------------------------------------------------------------------------


def frames(count: int, part: str) -> list[Atoms]:
    """Ethanol, displaced; springs to the first geometry."""
    found = []
    for seed in range(count):
        atoms = molecule("CH3CH2OH")
        start = atoms.positions.copy()
        atoms.rattle(0.05, seed=seed + 100 * len(part))
        moved = atoms.positions - start
        atoms.info |= {
            "part": part, "system": "ethanol", "temperature_k": 300.0, "charge": 0, "spin": 1,
            ENERGY: -300.0 + 2.0 * float((moved**2).sum()),
        }  # fmt: skip
        atoms.arrays[FORCES] = -4.0 * moved
        found.append(atoms)
    return found


@pytest.fixture
def sources(tmp_path: Path) -> tuple[Path, Path]:
    """Frames and their record, as `pesbench sample` writes them."""
    every = [*frames(8, TRAIN), *frames(4, VALID), *frames(4, TEST_SEEN)]
    write_extxyz(tmp_path / "frames.extxyz", every)
    write_json(
        tmp_path / "record.json",
        {
            "method": {"name": "springs", "settings": {"method": "springs"}},
            "sampling": {"temperatures_k": [300.0]},
            "seen": ["ethanol"], "unseen": [], "counts": {},
        },
    )  # fmt: skip
    return tmp_path / "frames.extxyz", tmp_path / "record.json"


def test_without_apax_it_is_one_line(
    sources: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["--variants", FILE, "--frames", sources[0], "--record", sources[1]]
    words += ["--work", tmp_path / "work", "--out", tmp_path / "m.zip"]
    assert cli.main(["train-apax", "apax-bounded", *map(str, words)]) != 0
    (said,) = (record.message for record in caplog.records)
    assert "apax is not installed in this environment" in said
    assert "software: venv" in said
    assert not (tmp_path / "m.zip").exists()


def test_an_environment_that_could_not_be_made_is_one_line(tmp_path: Path) -> None:
    variant = find_variant(FILE, "apax-bounded")
    with pytest.raises(HostError, match="no network; correct"):
        train(variant, {}, tmp_path / "work", Environment("", "no network"), 1)


def test_the_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    variant = find_variant(FILE, "apax-bounded")
    with pytest.raises(UserError, match="holds something else than a training"):
        train(variant, {}, tmp_path, replace(HERE, python="python-of-apax"), 1)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


@pytest.fixture
def environment() -> Environment:
    found = apax_environment()
    if found is None:
        pytest.skip(MISSING)
    return found


def test_a_small_training_makes_weights_and_a_card(
    sources: tuple[Path, Path], tmp_path: Path, environment: Environment
) -> None:
    variant = find_variant(FILE, "apax-bounded-zbl_1-r_3.5")
    variant = replace(variant, schedule=replace(variant.schedule, epochs=2))
    out = tmp_path / "m.zip"
    train_variant(variant, *sources, tmp_path / "work", out, environment)
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["sha256"] == file_sha256(out)
    assert card["switches"]["readout"] == BOUNDED
    assert card["elements"] == ["C", "H", "O"]
    assert card["repulsion"]["initial"] == 1.0
    assert card["repulsion"]["best"]["prefactor"] == pytest.approx(1, abs=0.05)
    assert set(card["errors"]) == {TRAIN, TEST_SEEN}
    assert card["provenance"]["packages"]["apax"] == "0.14.0"
    assert len(card["history"]) == 2
    assert card["processor_s"] > 0
    text = out.with_suffix(".md").read_text()
    assert "1 eV·Å before training" in text
    assert f"{card['processor_s']:.0f} s of processor time" in text
    entry = ModelEntry("m", FAMILY.name, {"weights": str(out), "sha256": card["sha256"],
                                          "dtype": "float64"})  # fmt: skip
    with Worker(entry, device="cpu", environment=environment) as worker:
        assert sorted(worker.start().elements or ()) == [1, 6, 8]


def test_the_registry_has_what_is_trained(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of 18 potentials one whole, one without its first seed; the rest is named in a comment."""
    variants = read_variants(FILE)
    name = next(one for one in SHIPPED if variants[one].potential == one)
    second = next(one for one in variants if one not in SHIPPED and variants[one].potential == one)
    beside = ["gfn2-xtb", "testbed-zbl"]
    words = ["apax-models", "--variants", FILE, "--weights", tmp_path, "--models-file",
             REPO / "config/models.yaml", "--split", REPO / "resources/mini/split_ethanol.csv",
             "--out", tmp_path / "models.yaml", "--beside", *beside]  # fmt: skip
    assert cli.main([*map(str, words)]) != 0
    assert "holds no weights of" in caplog.records[-1].message
    made = [name, f"{name}-seed_2", f"{name}-seed_3", f"{second}-seed_2", f"{second}-seed_3"]
    for one in made:
        for kind in ("zip", "json"):
            shutil.copy(WEIGHTS / f"{name}.{kind}", tmp_path / f"{one}.{kind}")
    assert cli.main([*map(str, words)]) == 0
    entries = read_models(tmp_path / "models.yaml")
    assert sorted(entries) == sorted([*beside, *made])
    own, other = entries[name], entries[f"{second}-seed_3"]
    assert own.settings["sha256"] == file_sha256(WEIGHTS / f"{name}.zip")
    assert own.settings["elements"] == ["C", "H", "O"]
    assert own.settings["training_data"] == "900 frames of ethanol at 300 and 600 K"
    assert {entries[one].potential for one in made[:3]} == {name}
    assert other.potential == entries[f"{second}-seed_2"].potential == f"{second}-seed_2"
    lacking = set(variants) - set(made)
    text = (tmp_path / "models.yaml").read_text()
    assert set(re.findall(r"^# not trained: (.*)$", text, re.MULTILINE)) == lacking
    config = read_yaml(REPO / "config/apax_study.yaml")
    assert config["models_file"] == "results/weights/apax_models.yaml"
    said = read_config(
        [REPO / "config/apax_study.yaml"],
        [f"models_file={tmp_path / 'models.yaml'}"],
        REPO / "config/config.yaml",
    )
    run = resolve(said, REPO)
    assert set(run.tasks["approach"].models) == set(entries)
    assert run.tasks["approach"].selected == ["ethanol"]
    assert config["scan_set"] != read_yaml(REPO / "config/config.yaml")["scan_set"]  # own results
    (tmp_path / f"{name}.json").write_text("{}")
    assert cli.main([*map(str, words)]) != 0
    assert "no model card" in caplog.records[-1].message
    assert cli.main([*map(str, words), "testbed-zbI"]) != 0
    assert "did you mean 'testbed-zbl'?" in caplog.records[-1].message


def test_what_the_experiment_compares_is_what_its_rule_asks_for() -> None:
    """Models that the rule `apax_models` puts beside are in the registry, and in the study."""
    config = read_yaml(REPO / "config/apax_study.yaml")
    said = (REPO / "workflow/rules/weights.smk").read_text()
    (beside,) = re.findall(r'^BESIDE_APAX = "(.*)"\.split', said, re.MULTILINE)
    registry = read_models(REPO / "config/models.yaml")
    for one in beside.split():
        assert one in registry
        assert any(fnmatch(one, pattern) for pattern in config["models"])


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_are_what_their_card_says(name: str) -> None:
    card = json.loads((WEIGHTS / f"{name}.json").read_text())
    path, variant = WEIGHTS / f"{name}.zip", find_variant(FILE, name)
    assert path.stat().st_size == card["bytes"]
    assert file_sha256(path) == card["sha256"]
    assert card["switches"] == asdict(variant.network)
    assert card["training"] == asdict(variant.schedule)
    assert card["seen"] == ["ethanol"]
    assert card["counts"]["frames_train"] == 900
    assert card["errors"]["seen"]["force_mae_mev_per_angstrom"] < 60
    assert f"# {name}\n" in (WEIGHTS / f"{name}.md").read_text()
    check_weights(FAMILY, path)
    entry = read_models(REPO / "config/models.yaml")[name]
    assert entry.settings["weights"] == f"resources/weights/{name}.zip"
    assert entry.settings["sha256"] == card["sha256"]
    assert entry.potential == variant.potential


def test_what_ships_is_small() -> None:
    """The weights of this experiment with their cards."""
    assert SHIPPED
    shipped = [path for path in WEIGHTS.iterdir() if path.stem in SHIPPED]
    assert len(shipped) == 3 * len(SHIPPED)
    assert sum(path.stat().st_size for path in shipped) < 10_000_000


def test_a_shipped_potential_answers_as_its_card_says(environment: Environment) -> None:
    name = SHIPPED[0]
    card = json.loads((WEIGHTS / f"{name}.json").read_text())
    settings = {"weights": str(WEIGHTS / f"{name}.zip"), "sha256": card["sha256"],
                "dtype": "float64"}  # fmt: skip
    entry = ModelEntry(name, FAMILY.name, settings)
    with Worker(entry, device="cpu", environment=environment) as worker:
        info = worker.start()
        assert sorted(info.elements or ()) == [1, 6, 8]
        if card["repulsion"]:
            trained = card["repulsion"]["best"]["prefactor"]
            assert info.details["zbl_prefactor"] == pytest.approx(trained, rel=1e-12)
        ethanol = molecule("CH3CH2OH")
        result = worker.evaluate(atoms_batch([ethanol])).result
    assert result.status == (Status.OK,)
    assert 0 < np.abs(result.forces).max() < 10
