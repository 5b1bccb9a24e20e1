"""What words of a command line may be, and what `--help` and `--list` show."""

from __future__ import annotations

import pytest

from examples import fake_entry
from pesbench import cli
from pesbench.cli import main
from pesbench.models.registry import ModelEntry
from pesbench.orchestration.config_keys import config_keys
from pesbench.references.settings import MoleculeScansSettings
from pesbench.tasks.dynamics.settings import DynamicsSettings
from pesbench.training import mace, sampling
from shards import run_dynamics_shard

CHECK = ["check", "emt"]
DYNAMICS = ["run", "dynamics", "--entry", "e", "--scan-set", "s", "--out", "o", "--temperatures-k"]


def test_help_lists_every_command_once_in_one_of_two_groups(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    people, _, stages = capsys.readouterr().out.partition("stages of the workflow")
    listed = [line.split()[0] for part in (people.partition("commands for people:")[2], stages)
              for line in part.splitlines() if line.startswith("  ")]  # fmt: skip
    assert len(listed) == len(set(listed)) > 30
    for name in ("check", "plan", "merge", "export", "entry"):
        assert f"\n  {name} " in people
    for name in ("run", "score", "page", "probe"):
        assert f"\n  {name} " in stages
    for name in listed:
        with pytest.raises(SystemExit):
            main([name, "--help"])
        assert f"usage: pesbench {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        *([*CHECK, f"--timeout-s={value}"] for value in ("nan", "inf", "0", "-1", "", "1e400")),
        *([*CHECK, f"--max-fsd={value}"] for value in ("nan", "-0.1", "much", "1_000", "٣")),
        *([*CHECK, f"--threads={value}"] for value in ("0", "1.5", "1e3", "9" * 5000, " 1")),
        *([*CHECK, f"--device={value}"] for value in ("gpu", "cuda:", "cuda:1\n", "cuda:٣")),
        *([*DYNAMICS, value] for value in ("nan", "0", "-300", "1e5", "hot")),
        *([*DYNAMICS, "300", f"--relax-steps={value}"] for value in ("1e6", "1_0", "-1", "017x")),
        *([*DYNAMICS, "300", f"--timestep-fs={value}"] for value in ("inf", "0", "11")),
        *([*DYNAMICS, "300", f"--replicates={value}"] for value in ("0", "99999999")),
        ["plan", "--budget-hours", "nan"],
        ["plan", "--cores", "none"],
        ["plan", "--cores", "0"],
        ["plan", "--seconds", "-1"],
        ["train", "a", "--epochs", "1.5"],
        ["chek", "emt"],
        [],
    ],
)
def test_words_that_are_refused_before_any_work(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "error: " in last
    assert len(last) < 1500


def test_an_output_that_cannot_be_written_is_told_before_the_check(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models.yaml").write_text(
        "mine: {family: ase, calculator: 'ase.calculators.emt:EMT'}\n"
    )
    monkeypatch.setattr("pesbench.commands.check.supervised.check_entry", _never)
    for out in ("models.yaml/x.json", "models.yaml/x/y.json", ".", "/proc/x.json"):
        caplog.clear()
        code = main(["check", "mine", "--models-file", "models.yaml", "--out", out])
        assert code in (2, 75)
        assert "\n" not in caplog.records[-1].getMessage()
    (tmp_path / "check-mine.json").mkdir()  # in the way of the default
    assert main(["check", "mine", "--models-file", "models.yaml"]) == 2


def _never(*_: object, **__: object) -> None:
    raise AssertionError("the check has begun")


@pytest.fixture(scope="module")
def trajectories(toy_set, tmp_path_factory):
    out = tmp_path_factory.mktemp("trajectories") / "0000.h5"
    settings = DynamicsSettings(temperatures_k=(300.0,), replicates=1, duration_ps=0.01)
    run_dynamics_shard(fake_entry(), toy_set, ["a", "b"], settings, out)
    return out


def test_an_interrupt_is_one_line(tmp_path, monkeypatch, caplog):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    (tmp_path / "models.yaml").write_text(
        "mine: {family: ase, calculator: 'ase.calculators.emt:EMT'}\n"
    )
    monkeypatch.setattr("pesbench.commands.check.supervised.check_entry", interrupted)
    assert main(["check", "mine", "--models-file", "models.yaml"]) == cli.INTERRUPTED
    assert caplog.messages[-1] == "pesbench: interrupted; the same command continues"


def test_trajectories_are_listed(trajectories, tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.chdir(tmp_path)
    words = ["export", "--trajectories", str(trajectories)]
    assert main([*words, "--list"]) == 0
    assert capsys.readouterr().out == (
        "a_300K_0  survived, 0.010 ps\nb_300K_0  survived, 0.010 ps\n"
    )
    assert main(words) == 2
    assert "`--list` shows the names" in caplog.text
    assert main([*words, "--list", "a_300K_0"]) == 2
    assert main([*words, "a_300K_0", "--out", "a.extxyz"]) == 0
    assert (tmp_path / "a.extxyz").is_file()


@pytest.mark.parametrize("kind", ["missing", "a folder", "no UTF-8", "empty", "binary"])
@pytest.mark.parametrize(
    "words",
    [
        ["entry", "m", "--models-file", "IN", "--out", "o"],
        ["describe", "--models", "m", "--models-file", "IN", "--out", "o"],
        ["plan", "--configfile", "IN"],
        ["relax-molecules", "--smiles", "IN", "--out", "o"],
        ["split-molecules", "--molecules", "IN", "--out", "o"],
        ["sample", "--molecules", "IN", "--split", "IN", "--method", "IN", "--out", "o",
         "--record", "r"],
        ["train", "m", "--variants", "IN", "--frames", "IN", "--record", "IN", "--work", "w",
         "--out", "o"],
        ["sample-approach", "--plan", "IN", "--frames", "IN", "--molecules", "IN", "--tested", "IN",
         "--method", "IN", "--out", "o"],
        ["training-set", "--frames", "IN", "--record", "IN", "--count", "5",
         "--out", "o", "--out-record", "r"],
        ["train-data", "m", "--plan", "IN", "--frames", "IN", "--record", "IN", "--work", "w",
         "--out", "o"],
        ["data-dynamics", "m", "--plan", "IN", "--weights", "IN", "--scan-set", "IN", "--out", "o"],
        ["data-models", "--plan", "IN", "--weights", "IN", "--models-file", "IN", "--method", "m",
         "--split", "IN", "--out", "o"],
        ["label-frames", "--frames", "IN", "--record", "IN", "--method", "IN", "--pool", "5",
         "--held-out", "5", "--out", "o", "--out-record", "r"],
        ["pretrain", "m", "--plan", "IN", "--frames", "IN", "--record", "IN", "--work", "w",
         "--out", "o"],
        ["train-transfer", "m", "--plan", "IN", "--frames", "IN", "--record", "IN", "--work", "w",
         "--out", "o"],
        ["transfer-models", "--plan", "IN", "--weights", "IN", "--models-file", "IN", "--split",
         "IN", "--out", "o"],
        ["train-backbone", "m", "--plan", "IN", "--frames", "IN", "--record", "IN", "--work", "w",
         "--out", "o"],
        ["backbone-models", "--plan", "IN", "--weights", "IN", "--models-file", "IN", "--method",
         "m", "--split", "IN", "--out", "o"],
        ["harvest", "IN", "--labels", "m", "--models-file", "IN", "--out", "o"],
        ["prepare-molecules", "--molecules", "IN", "--out", "o"],
        ["scan-molecules", "--molecules", "IN", "--name", "n", "--out", "o", "--skipped", "s"],
        ["collect-references", "--scans", "IN", "--references", "IN", "--skipped-bonds", "IN",
         "--level-of-theory", "l", "--out", "o", "--skipped", "s"],
        ["run", "bonds", "--entry", "IN", "--scan-set", "IN", "--out", "o"],
        ["export", "--trajectories", "IN", "--list"],
        ["score", "bonds", "--scan-set", "IN", "--files", "IN", "--out", "o"],
        ["run", "dynamics", "--entry", "IN", "--scan-set", "IN", "--out", "o"],
        ["score", "dynamics", "--scan-set", "IN", "--files", "IN", "--out", "o"],
        ["run", "vibrations", "--entry", "IN", "--scan-set", "IN", "--out", "o"],
        ["score", "vibrations", "--scan-set", "IN", "--files", "IN", "--reference", "IN", "--out",
         "o"],
        ["run", "spectral", "--entry", "IN", "--scan-set", "IN", "--frames", "f", "--out", "o"],
        ["score", "spectral", "--scan-set", "IN", "--files", "IN", "--out", "o"],
        ["run", "alarms", "--entry", "IN", "--scan-set", "IN", "--out", "o"],
        ["score", "alarms", "--scan-set", "IN", "--files", "IN", "--record", "IN", "--out", "o"],
        ["run", "lj_core", "--entry", "IN", "--scan-set", "IN", "--out", "o"],
        ["score", "lj_core", "--scan-set", "IN", "--files", "IN", "--reference", "IN", "--out",
         "o"],
        ["lj-heads-table", "--parts", "IN", "--out", "o"],
        ["section", "bonds", "--results", "IN", "--models", "m", "--models-file", "IN",
         "--scan-set", "IN", "--ran", "bonds", "m"],
        ["leaderboard", "--results", "IN", "--scan-set", "IN"],
        ["report", "IN"],
        ["merge", "IN", "--out", "o"],
        ["probe", "--entry", "IN", "--scan-set", "IN", "--out", "o"],
        ["plan-actual", "--plan", "IN", "--results", "IN", "--out", "o"],
        ["check", "m", "--models-file", "IN"],
        ["check", "--weights", "IN", "--family", "mace"],
        ["check-scans", "--scan-set", "IN", "--out", "o"],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_an_input_that_is_none_is_one_line(words, kind, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    if kind == "a folder":
        (tmp_path / "IN").mkdir()
    elif kind != "missing":
        content = {"no UTF-8": b"caf\xe9\n", "empty": b"", "binary": bytes(range(256))}
        (tmp_path / "IN").write_bytes(content[kind])
    assert main(words) in (2, 75)
    (record,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert record.getMessage().startswith("pesbench: error: ")
    assert "\n" not in record.getMessage()
    assert not (tmp_path / "o").exists()


def test_every_option_for_a_number_has_limits():
    """No bare `int` or `float`, which take nan, 1_000 and any number of digits."""
    import inspect

    text = inspect.getsource(cli)
    assert "type=int" not in text
    assert "type=float" not in text


# --- defaults are those that are declared once ----------------------------------------------------


def test_options_default_to_what_is_declared():
    models = ["--results", "r", "--scan-set", "s", "--models", "m"]
    scans = ["--molecules", "f", "--name", "n", "--out", "o", "--skipped", "s"]
    read = cli.parser().parse_args
    ranks = config_keys().rank_by
    for words in (
        ["section", "bonds", *models],
        ["compare", "pairs", *models],
        ["merge", "a", "--out", "o"],
        ["report", "r"],
    ):
        assert read(words).rank_by == ranks == "fsd_full"
        assert read(words).entry_coverage == config_keys().entry_coverage == 0.9
    assert str(read(["section", "bonds", *models]).models_file) == "config/models.yaml"
    assert read(["scan-molecules", *scans]).bonds == MoleculeScansSettings.bonds


def test_training_without_options_is_as_declared(tmp_path, monkeypatch, capsys):
    made = []
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(sampling, "write_frames", lambda *given: made.append(given[2]))
    monkeypatch.setattr(mace, "write_model", lambda *given: made.append(given[3]))
    monkeypatch.setattr("pesbench.files.molecules.reading.read_systems", lambda path: [])
    monkeypatch.setattr("pesbench.files.split.read_split", lambda path: {})
    monkeypatch.setattr(ModelEntry, "from_file", lambda *given, **more: None)
    files = [f"--{name}={tmp_path / name}" for name in ("molecules", "split", "method")]
    out, record = f"--out={tmp_path / 'm.model'}", f"--record={tmp_path / 'r.json'}"
    main(["sample", *files, out, record])
    main(["train-mace", "m", f"--frames={tmp_path}", record, f"--work={tmp_path}", out])
    assert made == [sampling.Sampling(), mace.MACETraining()]
    with pytest.raises(SystemExit):
        main(["sample", "--help"])
    temperatures = " ".join(f"{kelvin:g}" for kelvin in sampling.Sampling.temperatures_k)
    assert f"(default: {temperatures}, near" in " ".join(capsys.readouterr().out.split())
