from __future__ import annotations

from hypothesis import given, strategies as st

from comfy_ui.prompts import differences

TEXTS = st.lists(st.sampled_from(["a", "Cat", "cat,", "in", " ", "rain.", "(x:1.2)", "Ÿ-é"])).map(
    " ".join
)


@given(TEXTS, TEXTS)
def test_differences_without_removed_runs_is_new_text(old: str, new: str) -> None:
    runs = differences(old, new)
    assert "".join(run.text for run in runs if run.kind != "removed") == new
    kept = "".join(run.text for run in runs if run.kind != "added")
    assert kept.casefold() == old.casefold()
    assert all(run.text for run in runs)


def test_differences_ignores_case() -> None:
    assert [run.kind for run in differences("an owl", "An owl")] == ["same"]
