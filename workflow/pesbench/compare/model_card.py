"""The model card beside an entry's weights, as its training wrote it."""

from __future__ import annotations

import json
from typing import Any

from pesbench.core.errors import UserError, reading
from pesbench.models.registry import ModelEntry


def card_content(entry: ModelEntry) -> dict[str, Any] | None:
    """Content of the card beside an entry's weights; None where there is none.

    Args:
        entry: Resolved.

    Raises:
        UserError: the card is no JSON, or that of other weights.
    """
    path = entry.card_path
    if path is None or not path.is_file():
        return None
    with reading(path, "the model card is no JSON", "make it again"):
        content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or "sha256" not in content:
        return None  # another file of that name
    if content["sha256"] != entry.settings.get("sha256", content["sha256"]):
        raise UserError(
            f"{path}: the model card is that of other weights than {entry.weights_path} (another "
            "sha256); put the card beside the weights that it was made with"
        )
    return content
