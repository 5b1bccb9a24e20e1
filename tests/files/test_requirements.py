"""Requirements of an environment: what is read of what entries and families say."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from pesbench.core.errors import UserError
from pesbench.core.family import families
from pesbench.files.requirements import Requirements, read_requirements

REPO = Path(__file__).parents[2]
FAMILIES = sorted(name for name, family in families().items() if family.requirements)


def _of_family(name: str) -> Requirements:
    return read_requirements(families()[name].requirements, REPO)


def _pins(found: Requirements) -> dict[str, str]:
    return dict(line.split("==") for line in found.lines)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_pins_all_that_its_worker_needs(family: str) -> None:
    """Exact versions, and none is added: what runs is what was tested."""
    found = _of_family(family)
    assert found.completed == found.lines
    assert len(_pins(found)) > 20


def test_mace_is_pinned_as_in_the_environment_of_all() -> None:
    known = _pins(read_requirements(["envs/constraints.txt"], REPO))
    pins = _pins(_of_family("mace"))
    pins.pop("setuptools", None)  # every environment brings one
    assert pins.items() <= known.items()


def test_two_families_that_cannot_share_an_environment() -> None:
    versions = [_pins(_of_family(family))["e3nn"] for family in ("mace", "sevennet")]
    assert versions == ["0.4.4", "0.6.0"]
    assert _of_family("mace").name("") != _of_family("sevennet").name("")


def test_the_name_follows_from_the_content(tmp_path: Path) -> None:
    """Files are read, and neither comments nor the order count; the interpreter does."""
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    second.write_text("b==1\n")
    first.write_text("-r second.txt\na==1 \\\n --hash=sha256:0\n")

    def name(*said: str, python: str = "") -> str:
        return read_requirements(said, tmp_path).name(python)

    before = name("first.txt")
    assert name("a==1 --hash=sha256:0", "b==1") == before
    assert name("./second.txt", "b==1  # words", str(first)) == before
    first.write_text("# words\na==1 --hash=sha256:0  # words\n\n--requirement=second.txt\n")
    assert name("first.txt") == before
    assert name("first.txt", python="python3.12") != before
    second.write_text("b==2\n")
    assert name("first.txt") != before


def test_a_constraint_limits_and_installs_nothing(tmp_path: Path) -> None:
    limits = tmp_path / "limits.txt"
    limits.write_text("numpy<2\n-r more.txt\n")
    (tmp_path / "more.txt").write_text("ase<4\n")
    found = read_requirements(["a==1", "-c limits.txt"], tmp_path)
    assert found.lines == ("a==1", f"--constraint {limits}")
    assert found.completed[2:] == ("ase", "h5py", "numpy")
    before = found.name("")
    limits.write_text("numpy<3\n-r more.txt\n")
    assert read_requirements(["a==1", "-c limits.txt"], tmp_path).name("") != before


def test_files_in_folders_with_spaces_are_read(tmp_path: Path) -> None:
    """As those of a family are where the checkout lies in such a folder."""
    folder = tmp_path / "my models (a'b)"
    folder.mkdir()
    (folder / "my pins.txt").write_text("a==1\n-c 'my limits.txt'\n")
    (folder / "more.txt").write_text("-rnames.txt\n")
    (folder / "names.txt").write_text("b==1\n")
    limits = folder / "my limits.txt"
    limits.write_text("numpy<2\n")
    found = read_requirements(["my pins.txt", "more.txt"], folder)
    assert [*found.lines[::2], *found.constraints] == ["a==1", "b==1", "numpy<2"]
    # pip reads an option as a shell does
    assert shlex.split(found.lines[1]) == ["--constraint", str(limits)]
    before = found.name("")
    limits.write_text("numpy<3\n")
    assert read_requirements(["my pins.txt", "more.txt"], folder).name("") != before


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("ase==3.29.0", "ase"),
        ("H5Py", "h5py"),
        ("numpy[extra] >= 2", "numpy"),
        ("numpy @ file:///wheels/numpy.whl", "numpy"),
        ("torch_geometric~=2.0 ; python_version > '3.11'", "torch-geometric"),
        ("--no-index", ""),
        ("./wheels/ase.whl", ""),
        ("git+https://example.org/ase", ""),
    ],
)
def test_the_package_of_a_line(line: str, name: str) -> None:
    found = Requirements((line,))
    assert found.packages == ([name] if name else [])
    needed = {"ase", "h5py", "numpy"} - {name}
    assert set(found.completed[1:]) == needed


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"ase  # Gr\xf6\xdfe\n", "line 1: no UTF-8"),
        (b"ase\n-r own.txt\n", "refers to itself"),
        (b"--constraint=other.txt\n", "refers to itself"),
        (b"-r missing.txt\n", "cannot be read"),
        (b"-rmissing.txt\n", "cannot be read"),
        (b"-r my pins.txt\n", "names no file, or more than one"),
        (b"-c 'own.txt\n", "names no file, or more than one"),
        (b"torch===2.9.1\ntorch==2.9.2\n", "'torch' is pinned to 2.9.1 and to 2.9.2; keep one"),
        (b"torch==2.9.1\nTorch[x] == 2.9.2\n", "'torch' is pinned to 2.9.1 and to 2.9.2; keep one"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "own.txt").write_bytes(content)
    (tmp_path / "other.txt").write_text("-c own.txt\n")
    with pytest.raises(UserError, match=said):
        read_requirements(["own.txt"], tmp_path)


@pytest.mark.parametrize(
    "said", [["a==1", "a==1.0"], ["torch==2.9.1", "torch==2.9.1+cpu"], ["a==1", "a==1.*"],
             ["a===1", "a==1"], ["a==1; python_version<'3.12'", "a==2; python_version>='3.12'"]]
)  # fmt: skip
def test_pins_that_do_not_contradict_each_other(said: list[str], tmp_path: Path) -> None:
    assert len(read_requirements(said, tmp_path).lines) == 2


@pytest.mark.parametrize(
    "place", ["--index-url https://{}@example.org/simple", "a @ https://{}@example.org/a.whl"]
)
def test_a_password_is_refused_and_not_repeated(place: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds a password") as refused:
        read_requirements([place.format("me:secret")], tmp_path)
    assert "secret" not in str(refused.value)
    assert read_requirements([place.format("me:${TOKEN}")], tmp_path).lines
    assert read_requirements([place.format("git")], tmp_path).lines


def test_a_text_of_two_lines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no line of a requirements file"):
        read_requirements(["a==1\nb==1"], tmp_path)
