"""File name prefixes, expanded the way the editor does on Run."""

from __future__ import annotations

import doctest
from datetime import UTC, datetime
from typing import Any

import pytest

from comfy_ui.workflow import filename_prefix
from comfy_ui.workflow.filename_prefix import fill_prefixes

NOW = datetime(2026, 3, 7, 9, 5, 2, tzinfo=UTC)


def filled(prefix: Any) -> Any:
    graph = {
        "1": {"class_type": "KSampler", "inputs": {"seed": 42, "cfg": 1.5, "model": ["9", 0]}},
        "2": {
            "class_type": "CLIPTextEncode",
            "inputs": {"text": "a/b: <c>"},
            "_meta": {"title": "My title"},
        },
        "3": {"class_type": "SaveImage", "inputs": {"filename_prefix": prefix}},
    }
    filled_graph = fill_prefixes(graph, NOW)
    assert graph["3"]["inputs"]["filename_prefix"] == prefix
    return filled_graph["3"]["inputs"]["filename_prefix"]


def test_filename_prefix_doctest_passes() -> None:
    assert doctest.testmod(filename_prefix).failed == 0


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("plain", "plain"),
        ("%date:yyyy-MM-dd%/x", "2026-03-07/x"),
        ("%date:yy-M-d hh.mm.ss%", "26-3-7 09.05.02"),
        ("%date%", "20260307090502"),
        ("%date:hh:mm%", "09_05"),
        ("%KSampler.seed%_%KSampler.cfg%", "42_1.5"),
        ("%My title.text%", "a_b_ _c_"),
        ("%KSampler.model%", "%KSampler.model%"),
        ("%Missing.seed%", "%Missing.seed%"),
        ("%width%x%height% %year%", "%width%x%height% %year%"),
        ("100 % sure", "100 % sure"),
        (["2", 0], ["2", 0]),
    ],
)
def test_fill_prefixes_expands_known_placeholders_only(prefix: Any, expected: Any) -> None:
    assert filled(prefix) == expected
