"""Languages: the page is translated, texts written by users are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.browser import support
from tests.browser.support import generate
from tests.browser.test_workflows import drop

pytestmark = pytest.mark.browser
UNKNOWN = json.dumps({"1": {"class_type": "NoSuchNode", "inputs": {}}}).encode()


def tab(page: Any, name: str) -> None:
    page.click(f"#tabs button[data-tab-id={name}]")


def test_german_page_has_no_untranslated_texts(
    person: Callable[..., Any],
) -> None:
    page = person(locale="de-DE")
    page.wait_for_selector("#generate:text-is('Erzeugen')")
    page.click(".advanced summary")
    page.click(".menu > summary")
    page.click(".menu [data-do=grid]")
    page.wait_for_selector("#grid .counted:has-text('Ergebnis')")
    page.keyboard.press("Escape")
    page.click(".top .keys")
    page.wait_for_selector("#keys h2:text-is('Tastatur')")
    page.keyboard.press("Escape")
    page.fill("#prompt textarea", " ")
    page.click("#generate")
    page.wait_for_selector("#notice :text('Geben Sie zuerst einen Prompt ein.')")
    for prompt, steps in (("Landscape", 60), ("Nothing found", 2)):  # texts of the page, too
        generate(page, prompt, steps=steps, width=256, height=256)
    page.wait_for_selector(".stage.running :text('Zeichnet')")
    tab(page, "queue")
    page.wait_for_selector(".line-now .job.queued .said-by:text-is('Nothing found')")
    page.wait_for_selector(".summary :text('1 wartend'), .summary :text('0 wartend')")
    tab(page, "create")
    page.wait_for_selector("#results .thumb[title='Nothing found']")
    page.wait_for_selector("#generate:text-is('Erzeugen')")
    tab(page, "library")
    page.click(".library .thumb[title='Landscape'] >> nth=0")
    page.wait_for_selector("#viewer .detail")
    page.keyboard.press("Escape")
    page.click("[data-do=picking]")
    page.fill(".find [name=text]", "zzz")
    page.wait_for_selector(".unfound:has-text('Nichts gefunden')")
    page.keyboard.press("Escape")
    tab(page, "workflows")
    page.wait_for_selector(".source-group:has-text('Mitgelieferte Presets')")
    page.click(".source-group:has-text('Mitgelieferte Presets') summary")
    page.click(".source[data-name=sdxl]")
    page.wait_for_selector("#opened .act:has-text('Formular öffnen')")
    page.set_input_files("#workflow-file", {"name": "a.json", "mimeType": "", "buffer": UNKNOWN})
    page.wait_for_selector("#opened :text('keine Node-Klasse „NoSuchNode“')")
    tab(page, "queue")
    page.wait_for_selector(".line-past .job.succeeded .phase:has-text('Fertig')")
    missed = page.evaluate("[...window.comfy.missed]")
    assert missed == [], f"missing in assets/locales: {missed}"


def test_dropped_file_requirements_are_shown_in_japanese(person: Callable[..., Any]) -> None:
    page = person(locale="ja")
    page.wait_for_selector("#generate:text-is('生成')")
    drop(page, UNKNOWN, "a.json", "application/json")
    page.click("#dropped button:has-text('必要なもの')")
    page.wait_for_selector("#opened :text('NoSuchNode')")
    assert page.is_visible("#workflows")


def test_language_menu_switches_and_keeps_the_draft(person: Callable[..., Any]) -> None:
    page = person(locale="en-GB")
    assert page.inner_text("#generate") == "Generate"
    page.fill("#prompt textarea", "kept")
    page.wait_for_function("localStorage.getItem('comfy-ui.draft')?.includes('kept')")
    with page.expect_navigation():
        page.select_option(".language select", "ja")
    page.wait_for_selector("#generate:text-is('生成')")
    assert page.evaluate("document.documentElement.lang") == "ja"
    assert page.input_value(".language select") == "ja"
    page.wait_for_function("document.querySelector('#prompt textarea')?.value === 'kept'")


ALL_SEEN_JS = """() => {
  const tabs = [...document.querySelectorAll('#tabs button[role=tab]')];
  const box = document.querySelector('#tabs [role=tablist]').getBoundingClientRect();
  const seen = tabs.filter((e) => {
    const {left, right} = e.getBoundingClientRect();
    return e.offsetParent && left >= box.left - 1 && right <= Math.min(box.right, innerWidth) + 1;
  });
  return seen.map((e) => e.textContent.trim()).join(' ');
}"""


def test_german_page_fits_a_phone(person: Callable[..., Any]) -> None:
    page = person(locale="de-DE", size=support.PHONE, has_touch=True)
    page.wait_for_selector("#generate:text-is('Erzeugen')")

    def fits() -> bool:
        return page.evaluate("document.documentElement.scrollWidth <= innerWidth") is True

    for name, shown in (("create", "#generate"), ("status", "#presets .panel")):
        tab(page, name)
        page.wait_for_selector(shown)
        for width in (390, 360):
            page.set_viewport_size({**support.PHONE, "width": width})
            assert page.evaluate("innerWidth") == width
            assert fits(), (name, width)
            assert page.evaluate(ALL_SEEN_JS) == "Erstellen Workflows Bibliothek Aufträge Status"
