"""The language of the Library's search box."""

from __future__ import annotations

from datetime import datetime

import pytest

from comfy_ui.storage.search_terms import SearchTerms, parse_search


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", SearchTerms()),
        ("Red  FOX", SearchTerms(words=("red", "fox"))),
        ('"red fox" -snow', SearchTerms(words=("red fox",), without=("snow",))),
        ('-"red fox"', SearchTerms(without=("red fox",))),
        ('"an open quote', SearchTerms(words=("an open quote",))),
        ('model:flux lora:"ink wash"', SearchTerms(models=("flux",), loras=("ink wash",))),
        ("preset:sdxl kind:video is:starred", SearchTerms(
            presets=("sdxl",), kind="video", starred=True)),
        ('tag:Sea in:"Summer show" stars>=4', SearchTerms(
            tags=("sea",), collections=("summer show",), stars=(4, 5))),
        ("stars:0 stars=>3 stars>9", SearchTerms(stars=(0, 0), words=("stars=>3", "stars>9"))),
        ("seed:18446744073709551615", SearchTerms(seed=2**64 - 1)),
        # No filter, or none with a usable value: words.
        ("16:9 kind:cat seed:x before:soon", SearchTerms(
            words=("16:9", "kind:cat", "seed:x", "before:soon"))),
        ("seed:99999999999999999999999 on:2026-13", SearchTerms(
            words=("seed:99999999999999999999999", "on:2026-13"))),
        ('embedding:easy -model:x - ""', SearchTerms(
            words=("embedding:easy", "-model:x", "-"))),
    ],
)  # fmt: skip
def test_parse_search_has_words_and_filters(text: str, terms: SearchTerms) -> None:
    assert parse_search(text) == terms


def test_parse_search_dates_are_years_months_or_days_of_this_time_zone() -> None:
    def at(*date: int) -> float:
        return datetime(*date).timestamp()  # type: ignore[arg-type]  # noqa: DTZ001

    assert parse_search("after:2026-11").since == at(2026, 11, 1)
    assert parse_search("before:2026").until == at(2026, 1, 1)
    for text, since, until in (
        ("on:2026-12", at(2026, 12, 1), at(2027, 1, 1)),
        ("on:2026-2-28", at(2026, 2, 28), at(2026, 3, 1)),
        ("on:2026", at(2026, 1, 1), at(2027, 1, 1)),
    ):
        terms = parse_search(text)
        assert (terms.since, terms.until) == (since, until)
