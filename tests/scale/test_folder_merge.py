from __future__ import annotations

import pytest

from comfy_ui.scale.shared_folders.folder_merge import FolderMerge, merge

A, B, C = "a", "b", "c"
PUSH, PULL = FolderMerge(push=("x",)), FolderMerge(pull=("x",))
REPLACE = FolderMerge(pull=("x",), replaced=frozenset({"x"}))


@pytest.mark.parametrize(
    ("base", "here", "shared", "expected"),
    [
        (A, A, A, FolderMerge()),
        (None, A, None, PUSH),
        (None, None, A, PULL),
        (None, A, A, FolderMerge()),
        (A, None, None, FolderMerge()),
        (A, B, A, PUSH),
        (A, A, B, PULL),
        (A, None, A, PUSH),
        (A, A, None, PULL),
        (A, B, None, PUSH),
        (A, None, B, PULL),
        (A, B, B, FolderMerge()),
        (A, B, C, REPLACE),
        (None, A, B, REPLACE),
    ],
)
def test_merge_of_one_file(
    base: str | None, here: str | None, shared: str | None, expected: FolderMerge
) -> None:
    sides = ({"x": side} if side else {} for side in (base, here, shared))
    assert merge(*sides) == expected


def test_merge_has_the_sidecar_of_a_preset_last() -> None:
    files = {"presets/a.toml": A, "presets/a.json": A, "presets/a.webp": A}
    assert merge({}, files, {}).push[-1] == merge({}, {}, files).pull[-1] == "presets/a.toml"
