"""comfy_ui/engine/packs/pack_source.py and packs.toml"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from comfy_ui.engine.packs.pack_source import choose_pack, known_packs
from comfy_ui.errors import ValidationError
from comfy_ui.workflow.checks.node_packs import find_pack
from comfy_ui.workflow.presets.preset_store import load_presets

COMMIT = "0123456789abcdef0123456789abcdef01234567"
URL = "https://github.com/owner/Some-Nodes"


def test_known_packs_are_pinned_and_cover_what_presets_need() -> None:
    packs = {pack.name: pack for pack in known_packs()}
    needed = {name for preset in load_presets().values() for name in preset.custom_nodes}
    assert needed <= set(packs)
    for pack in packs.values():
        assert re.fullmatch("[0-9a-f]{40}", pack.commit)
        assert re.fullmatch("[0-9a-f]{40}", pack.tree or "")
        assert pack.location == f"{pack.repository}/archive/{pack.commit}.zip"
        assert pack.hosts == {"github.com", "codeload.github.com"}
        assert pack.license
        assert pack.purpose
        assert pack.license in pack.warning


@pytest.mark.parametrize("class_type", ["ADE_AnimateDiffLoaderGen1", "IPAdapter", "DWPreprocessor"])
def test_known_packs_have_the_names_that_missing_nodes_are_reported_with(class_type: str) -> None:
    pack = find_pack(class_type)
    assert pack is not None
    assert choose_pack(pack.name).repository == pack.url


def test_choose_pack_by_commit_is_fetched_from_its_forge() -> None:
    pack = choose_pack(f" {URL}.git@{COMMIT} ")
    assert (pack.name, pack.id) == ("Some-Nodes", COMMIT[:12])
    assert pack.location == f"{URL}/archive/{COMMIT}.zip"
    assert not pack.is_pinned
    assert "cannot be compared" in pack.warning
    assert choose_pack(f"{URL}@{COMMIT}#tree={COMMIT}").is_pinned


def test_choose_pack_address_of_a_known_one_is_the_known_one() -> None:
    pack = known_packs()[0]
    assert choose_pack(f"{pack.repository}@{pack.commit}") is pack


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("ComfyUI-AnimateDif-Evolved", "knows no node pack", "ComfyUI-AnimateDiff-Evolved"),
        (URL, "from a commit only", "OWNER/NAME@COMMIT"),
        (f"{URL}@main", "from a commit only", "40 digits"),
        (f"{URL}@{COMMIT[:12]}", "from a commit only", "40 digits"),
        (f"https://example.org/a/b@{COMMIT}", "not a repository at github.com", "@COMMIT"),
        (f"http://github.com/a/b@{COMMIT}", "not a repository", "@COMMIT"),
        (f"https://github.com/a@{COMMIT}", "not a repository", "@COMMIT"),
        (f"https://github.com/a/..@{COMMIT}", "not the address", "@COMMIT"),
        (f"{URL}@{COMMIT}#md5=1", "pins no content", "sha256"),
        ("../../evil", "knows no node pack", ""),
    ],
)
def test_choose_pack_other_names_are_refused(text: str, message: str, hint: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        choose_pack(text)
    assert hint in caught.value.hint


def test_choose_pack_archive_keeps_the_pin_of_the_name(tmp_path: Path) -> None:
    known, archive = known_packs()[0], tmp_path / "copy.zip"
    archive.write_bytes(b"content")
    copy = choose_pack(known.name, str(archive))
    assert (copy.kind, copy.location, copy.tree, copy.id) == (
        "archive",
        str(archive),
        known.tree,
        known.id,
    )
    own = choose_pack("my-nodes", str(archive))
    archive.write_bytes(b"other content")
    assert choose_pack("my-nodes", str(archive)).id != own.id
    mirror = choose_pack("my-nodes", f"https://mirror.example/a.zip#sha256={own.sha256}")
    assert (mirror.kind, mirror.hosts) == ("url", frozenset({"mirror.example"}))
    for source in ("https://mirror.example/a.zip", str(tmp_path), str(tmp_path / "none.zip")):
        with pytest.raises(ValidationError):
            choose_pack("my-nodes", source)
    with pytest.raises(ValidationError):
        choose_pack("../evil", str(archive))
