"""Painter: every scene and size, determinism, previews and smooth films."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image

from comfy_ui.demo import paint
from comfy_ui.demo.paint.prompt_words import SCENES, understand


def _brief(prompt: str, width: int = 192, height: int = 128, **more) -> paint.Brief:
    return paint.Brief(prompt=prompt, width=width, height=height, seed=3, **more)


@pytest.mark.parametrize("scene", sorted(SCENES))
def test_paint_scene_has_tonal_range_without_clipped_areas(scene) -> None:
    picture = paint.picture(_brief(scene if scene != "portrait" else "portrait of a woman"))
    assert picture.shape == (128, 192, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 12
    assert (picture == 255).mean() < 0.2
    assert (picture == 0).mean() < 0.3


@pytest.mark.parametrize(("width", "height"), [(16, 16), (64, 512), (512, 64), (17, 33), (1, 1)])
@pytest.mark.parametrize("scene", sorted(SCENES))
def test_paint_scene_at_any_size_returns_that_shape(scene, width, height) -> None:
    assert paint.picture(_brief(scene, width, height)).shape == (height, width, 3)


def test_paint_same_brief_is_deterministic() -> None:
    first, second = (paint.picture(_brief("city at night, rain")) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (100, 80)])
def test_enlarged_shows_the_same_scene_at_full_size(width, height) -> None:
    brief = _brief("a harbour at dusk", width, height)
    quick, full = paint.enlarged(paint.sketch(brief, 160), brief), paint.picture(brief)
    assert quick.shape == full.shape
    blocks = [
        np.asarray(Image.fromarray(one).resize((8, 6), Image.Resampling.BOX), np.float32)
        for one in (quick, full)
    ]
    assert abs(blocks[0] - blocks[1]).mean() < 5  # 12 to another seed


@pytest.mark.parametrize("prompt", ["oil painting of a harbour", "watercolour of a forest"])
def test_paint_style_words_change_picture(prompt) -> None:
    plain = paint.picture(_brief(prompt.split(" of a ")[1]))
    assert not np.array_equal(plain, paint.picture(_brief(prompt)))


@pytest.mark.parametrize(
    ("prompt", "scene"),
    [
        ("a harbour at dusk", "sea"),
        ("misty pine forest", "forest"),
        ("cyberpunk street, neon", "city"),
        ("portrait of a woman", "portrait"),
        ("a galaxy far away", "space"),
        ("A CAT ON A WALL", "cat"),
    ],
)
def test_understand_prompt_words_select_scene(prompt, scene) -> None:
    assert understand(prompt, "", 1).scene == scene


def test_understand_negative_prompt_removes_objects() -> None:
    assert understand("sea with boats", "", 1).has("boats")
    assert not understand("sea with boats", "boats", 1).has("boats")


@pytest.mark.parametrize("prompt", ["", "xyzzy", "\0\ud800", "日本の庭", "a" * 10_000])
def test_paint_arbitrary_prompt_returns_picture(prompt) -> None:
    assert paint.picture(_brief(prompt, 64, 48)).shape == (48, 64, 3)


@pytest.mark.parametrize("prompt", ["a harbour at dusk", "abstract silk", "city at night"])
def test_film_consecutive_frames_change_smoothly(prompt) -> None:
    frames = [f.astype(np.float32) for f in paint.film(_brief(prompt), 5, 16)]
    step = np.abs(frames[1] - frames[0]).mean()
    whole = np.abs(frames[4] - paint.picture(_brief("desert at noon")).astype(np.float32)).mean()
    assert 0.05 < step < whole / 2


def test_stage_previews_converge_to_picture_within_512_pixels() -> None:
    sketch = paint.sketch(_brief("mountains at dawn", 1024, 512))
    stages = [paint.stage(sketch, part, 1) for part in (0.1, 0.5, 1.0)]
    assert all(stage.size == (512, 256) for stage in stages)
    final = np.asarray(stages[2], np.float32)
    away = [np.abs(np.asarray(s, np.float32) - final).mean() for s in stages]
    assert away[0] > away[1] > away[2] == 0


@pytest.mark.nightly
def test_paint_large_picture_is_fast() -> None:
    started = time.process_time()
    paint.picture(_brief("a harbour at dusk", 1024, 1024))
    assert time.process_time() - started < 1.2


def test_paint_picture_changes_with_each_lora_and_its_weight() -> None:
    choices = [("ink", 1.0), ("ink", 0.5), ("ink", -1.0), ("neon_night.safetensors", 1.0)]
    plain = paint.picture(_brief("a bay")).tobytes()
    pictures = {paint.picture(_brief("a bay", loras=(choice,))).tobytes() for choice in choices}
    assert len(pictures | {plain}) == 5
    assert paint.picture(_brief("a bay", loras=(("ink", 0.0),))).tobytes() == plain
