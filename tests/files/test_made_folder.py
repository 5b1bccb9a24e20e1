"""Folders of pages: made whole, made again, and nothing else is replaced."""

from __future__ import annotations

import pytest

from pesbench.core.errors import UserError
from pesbench.files.made_folder import check_replaceable, replacing

MARKER = "made.json"


def test_a_folder_of_ours_is_replaced_whole_and_nothing_else_is(tmp_path):
    place = tmp_path / "page"
    with replacing(place, MARKER, "page") as part:
        (part / MARKER).write_text("{}")
    with pytest.raises(FileNotFoundError), replacing(place, MARKER, "page") as part:
        (part / "missing" / "half").write_text("")
    assert [path.name for path in place.iterdir()] == [MARKER]
    assert [path.name for path in tmp_path.iterdir()] == ["page"]
    with replacing(place, MARKER, "page") as part:
        (part / "new").write_text("")
    assert [path.name for path in place.iterdir()] == ["new"]
    with pytest.raises(UserError, match="'new' and is no page"), replacing(place, MARKER, "page"):
        pass


def test_files_and_links_are_refused_and_an_empty_folder_is_not(tmp_path):
    (tmp_path / "empty").mkdir()
    check_replaceable(tmp_path / "empty", MARKER, "page")
    check_replaceable(tmp_path / "none", MARKER, "page")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(UserError, match="no folder that another page"):
            check_replaceable(tmp_path / name, MARKER, "page")
