"""Videos on the page: their form, what can be made of them, and how they are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.browser.support import choose

pytestmark = pytest.mark.browser


def test_form_of_a_video_follows_its_first_image_and_shows_seconds(
    page: Any, tmp_path: Path
) -> None:
    picture = tmp_path / "wide.png"
    Image.new("RGB", (320, 180), "teal").save(picture)
    choose(page, "wan22_flf_14b")
    assert page.inner_text(".seconds") == "5.1 s"
    page.fill("#f-fps", "27")
    assert page.inner_text(".seconds") == "3.0 s"
    page.set_input_files("[data-upload=image]", picture)
    page.wait_for_function("document.querySelector('.size-now').textContent === '832 × 480'")
