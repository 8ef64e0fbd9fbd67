from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, replace

import pytest

from comfy_ui.protocol._replace import fast_replace


@dataclass(frozen=True)
class Point:
    x: int
    y: int = 0


def test_fast_replace_matches_dataclasses_replace_and_keeps_original() -> None:
    point = Point(1, 2)
    changed = fast_replace(point, y=3)
    assert changed == replace(point, y=3) == Point(1, 3)
    assert point == Point(1, 2)
    with pytest.raises(FrozenInstanceError):
        changed.x = 9  # type: ignore[misc]
