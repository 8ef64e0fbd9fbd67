"""The choice of the source: fails closed without an id, unless the owner has chosen it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from comfy_ui.engine.planning.release_source import Release, choose_source, load_releases
from comfy_ui.errors import ValidationError

PINNED = Release(version="2.0", commit="c" * 40, tree="a" * 40, size_bytes=9)
OPEN = Release(version="1.0", commit="d" * 40, tree="", size_bytes=9)


def test_choose_source_pinned_release_is_downloaded_from_its_hosts() -> None:
    source = choose_source(None, None, releases=[PINNED, OPEN])
    assert (source.kind, source.version, source.tree) == ("url", "2.0", "a" * 40)
    assert source.location.endswith(f"/{'c' * 40}.zip")
    assert source.hosts == {"github.com", "codeload.github.com"}
    assert choose_source(None, "v2.0", releases=[PINNED]) == source


def test_choose_source_release_without_a_tree_fails_closed() -> None:
    with pytest.raises(ValidationError, match="no pinned content") as caught:
        choose_source(None, "1.0", releases=[PINNED, OPEN])
    assert OPEN.url in caught.value.hint


def test_choose_source_unknown_release_names_the_known_ones() -> None:
    with pytest.raises(ValidationError, match=r"Release 3\.0") as caught:
        choose_source(None, "3.0", releases=[PINNED, OPEN])
    assert "2.0" in caught.value.hint


def test_load_releases_are_pinned_by_commit_and_tree() -> None:
    releases = load_releases()
    assert len({release.tree for release in releases}) == len(releases)
    for release in releases:
        assert release.url == f"https://github.com/Comfy-Org/ComfyUI/archive/{release.commit}.zip"
        for digest in (release.commit, release.tree):
            assert re.fullmatch("[0-9a-f]{40}", digest)


def test_choose_source_archive_of_the_owner_with_a_known_release_must_have_its_tree(
    tmp_path: Path,
) -> None:
    archive = tmp_path / "comfyui.zip"
    archive.write_bytes(b"123")
    assert choose_source(str(archive), "v2.0", releases=[PINNED]).tree == PINNED.tree
    assert choose_source(str(archive), "3.0", releases=[PINNED]).tree is None
    assert choose_source(str(archive), None, releases=[PINNED]).tree is None


def test_choose_source_of_the_owner_may_be_folder_archive_or_address(tmp_path: Path) -> None:
    archive = tmp_path / "comfyui.tar.gz"
    archive.write_bytes(b"123")
    assert choose_source(str(tmp_path), None).kind == "folder"
    assert choose_source(str(archive), "5").size_bytes == 3
    pinned = choose_source(f"https://mirror.example:8443/a.zip#sha256={'b' * 64}", None)
    assert (pinned.sha256, pinned.hosts) == ("b" * 64, {"mirror.example:8443"})


@pytest.mark.parametrize(
    "setting",
    ["http://mirror/a.zip", "https://user:pw@mirror/a.zip", "/nowhere.zip", "a.zip#sha256=12"],
)
def test_choose_source_unusable_setting_is_refused(setting: str) -> None:
    with pytest.raises(ValidationError):
        choose_source(setting, None)
