"""The registry of potentials that are trained here, and of the models beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import yaml

from pesbench.core.errors import UserError
from pesbench.core.names import closest
from pesbench.files.atomic import write_text
from pesbench.files.strict_yaml import read_yaml
from pesbench.models.addresses import file_sha256


class Training(Protocol):
    """A training that a plan names.

    Attributes:
        name: Name of the trained potential.
        potential: Name that all its seeds share.
        weights_name: Name of the file of its weights.
    """

    @property
    def name(self) -> str: ...
    @property
    def potential(self) -> str: ...
    @property
    def weights_name(self) -> str: ...


Some = TypeVar("Some", bound=Training)


def read_beside(models_file: Path, names: Sequence[str]) -> dict[str, Any]:
    """The entries of some models of a registry.

    Raises:
        UserError: it has no such model.
    """
    registry = read_yaml(models_file)
    for name in names:
        if name not in registry:
            raise UserError(f"{models_file}: no model {name!r}; {closest(name, registry)}")
    return {name: registry[name] for name in names}


def write_registry(
    out: Path,
    about: str,
    target: str,
    trainings: Iterable[Some],
    weights: Path,
    beside: dict[str, Any],
    entry_of: Callable[[Some, Path], dict[str, Any]],
) -> None:
    """Write the entries of the trainings that are done, after those of the models beside them.

    Trainings without weights are named in a comment, so that one that failed stops no other. The
    first seed that is there is what the others are seeds of.

    Args:
        out: The registry.
        about: First line of it, without `#`.
        target: Command that trains them, for the message where none is done.
        trainings: In order.
        weights: Folder of the weights.
        beside: Entries of the models beside them, by name.
        entry_of: Entry of a training with its weights, but for `weights`, `sha256` and `seed_of`.

    Raises:
        UserError: no training is done.
    """
    entries, missing = dict(beside), []
    firsts: dict[str, str] = {}
    for one in trainings:
        path = weights / one.weights_name
        if not path.is_file():
            missing.append(one.name)
            continue
        first = firsts.setdefault(one.potential, one.name)
        stored = {"weights": str(path), "sha256": file_sha256(path)}
        seed = {"seed_of": first} if one.name != first else {}
        entries[one.name] = entry_of(one, path) | stored | seed
    if not firsts:
        raise UserError(f"{weights}: holds no weights of the trainings; train them: `{target}`")
    lines = [about, *(f"not trained: {name}" for name in missing)]
    content = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)
    write_text(out, "".join(f"# {line}\n" for line in lines) + content)
