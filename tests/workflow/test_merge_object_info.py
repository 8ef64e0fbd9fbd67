from __future__ import annotations

from typing import Any

from comfy_ui.protocol.object_info import NodeRegistry
from comfy_ui.workflow.merge_object_info import union


def node(*choices: str, **more: Any) -> dict[str, Any]:
    return {"input": {"required": {"old": [[*choices], {}], **more}}}


def combo(*choices: str) -> list[Any]:
    return ["COMBO", {"options": [*choices], "tooltip": "t"}]


def test_union_single_registry_returns_it() -> None:
    only = NodeRegistry({"A": node("x")})
    assert union([only]) is only


def test_union_merges_classes_and_choices_in_order() -> None:
    first = NodeRegistry({"A": node("x", "y", new=combo("1"), n=["INT", {"max": 1}]), "B": node()})
    second = NodeRegistry(
        {"A": node("y", "z", new=combo("2", "1"), n=["INT", {"max": 2}]), "C": {}}
    )
    both = union([first, second])
    assert [*both] == ["A", "B", "C"]
    assert both["A"].inputs["old"].choices == ("x", "y", "z")
    assert both["A"].inputs["new"].choices == ("1", "2")
    assert both["A"].inputs["new"].tooltip == "t"
    assert both["A"].inputs["n"].max == 1
    assert first["A"].inputs["old"].choices == ("x", "y")  # the original is unchanged


def test_union_unexpected_declarations_are_unchanged() -> None:
    first = NodeRegistry({"A": node("x", odd="?", empty=[]), "B": {"input": {"required": None}}})
    second = NodeRegistry({"A": node("x", odd=[["y"]], empty=[["y"]]), "B": {"input": 3}})
    both = union([first, second])
    assert both.raw["A"] == first.raw["A"]
    assert both.raw["B"] == first.raw["B"]


def test_union_merges_old_and_new_combo_spelling() -> None:
    first, second = NodeRegistry({"A": node(m=[["x"]])}), NodeRegistry({"A": node(m=combo("y"))})
    assert union([first, second])["A"].inputs["m"].choices == ("x", "y")
    assert union([second, first])["A"].inputs["m"].choices == ("y", "x")
