"""Words on the page: the draft of Enhance, wildcards, earlier prompts, weights, tokens."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.prompts import merge_style
from comfy_ui.prompts.styles import shipped_styles
from tests.browser.axe import violations
from tests.browser.support import PHONE, WIDE, choose, generate, running_app, set_field
from tests.prompts.support import MODEL, LlmServer, Reply, says_prompt

pytestmark = pytest.mark.browser

PROMPT = "#prompt textarea"
EVIL = 'a cat <img src=x onerror="window.pwned=1"> <b>on</b> a sill & more'


@pytest.fixture(scope="module")
def llm() -> Iterator[LlmServer]:
    with LlmServer() as server:
        yield server


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words") / "data"
    (folder / "wildcards").mkdir(parents=True)
    (folder / "wildcards" / "colour.txt").write_text("crimson\nazure\n")
    (folder / "tags").mkdir()
    many = (f"some_tag_{number},0,{100_000 - number}" for number in range(100_000))
    (folder / "tags" / "mine.csv").write_text("long_hair,0,900000,longhair\n" + "\n".join(many))
    (folder / "styles").mkdir()
    (folder / "styles" / "mine.csv").write_text("name,prompt\nPostcard,old postcard of {prompt}\n")
    return folder


@pytest.fixture(scope="module")
def app(painter: Any, llm: LlmServer, data_dir: Path) -> Iterator[str]:
    """The app with a language model."""
    environment = {"OPENAI_BASE_URL": llm.url, "OPENAI_API_KEY": "x", "COMFY_UI_LLM_MODEL": MODEL}
    with running_app(data_dir, COMFYUI_URL=painter.url, **environment) as url:
        yield url


def draft_text(page: Any) -> str:
    page.wait_for_selector("#draft .draft:not(.writing) .draft-text")
    return str(page.inner_text("#draft .draft-text"))


def test_enhance_draft_streams_is_edited_used_and_undone(used_page: Any, llm: LlmServer) -> None:
    page = used_page
    written = "a cat asleep on a sunlit sill, dust in the air"
    llm.replies = [says_prompt(written, between_s=0.12)]
    page.fill(PROMPT, "a cat awake")
    page.click("#enhance")
    page.wait_for_selector("#draft .writing")
    page.wait_for_function(
        "() => { const t = document.querySelector('#draft .writing .draft-text')?.textContent;"
        " return t && t.length > 8 && t.startsWith('a cat'); }"
    )
    assert page.is_enabled("#generate")
    assert MODEL in page.inner_text("#draft .row")
    page.wait_for_selector("#draft .draft:not(.writing)")
    assert page.inner_text("#draft mark >> nth=0") == "asleep on a sunlit sill, dust in the air"
    assert page.inner_text("#draft del") == "awake"
    assert page.input_value(PROMPT) == "a cat awake"
    page.click("#draft .act:has-text('Edit')")
    assert page.input_value("#draft textarea.draft-text") == written
    page.fill("#draft textarea.draft-text", written + ", rain")
    page.click("#draft .act:has-text('Use')")
    page.wait_for_selector("#draft .draft", state="detached")
    assert page.input_value(PROMPT) == written + ", rain"
    page.focus(PROMPT)
    page.keyboard.press("Alt+ArrowUp")
    assert page.input_value(PROMPT) == "a cat awake"


def test_enhance_stop_ends_the_draft_while_generate_stays_enabled(
    used_page: Any, llm: LlmServer
) -> None:
    page = used_page
    set_field(page, "width", 256)
    set_field(page, "height", 256)
    llm.replies = [says_prompt("a cat " + "and one more thing of it " * 60, between_s=0.1)]
    gone = llm.gone
    page.fill(PROMPT, "a cat")
    page.click("#enhance")
    page.wait_for_selector("#draft .writing")
    page.click("#generate")
    page.wait_for_selector(".stage.succeeded")
    assert page.is_visible("#draft .writing")
    page.click("#draft .act:has-text('Stop')")
    page.wait_for_selector("#draft .draft", state="detached")
    page.wait_for_timeout(600)
    assert page.locator("#draft .draft").count() == 0
    assert llm.gone > gone
    assert page.input_value(PROMPT) == "a cat"


def press_stop(page: Any, llm: LlmServer, words: int) -> None:
    """Press the mouse on Stop of a draft that is being written, and hold it."""
    llm.replies = [says_prompt("a cat " + "and one more thing of it " * words, between_s=0.1)]
    page.fill(PROMPT, "a cat")
    page.click("#enhance")
    page.wait_for_selector("#draft .writing")
    box = page.locator("#draft .act:has-text('Stop')").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()


def test_enhance_stop_pressed_while_text_grows_stops(used_page: Any, llm: LlmServer) -> None:
    page = used_page
    press_stop(page, llm, 60)
    tall = "document.querySelector('#draft .draft-text').offsetHeight"
    height = page.evaluate(tall)
    page.wait_for_function(f"height => {tall} > height", arg=height)
    page.mouse.up()
    page.wait_for_selector("#draft .draft", state="detached", timeout=10_000)


def test_enhance_stop_pressed_as_draft_completes_discards_draft(
    used_page: Any, llm: LlmServer
) -> None:
    page = used_page
    press_stop(page, llm, 4)
    page.wait_for_selector("#draft .draft:not(.writing)")
    page.mouse.up()
    page.wait_for_selector("#draft .draft", state="detached")
    assert page.input_value(PROMPT) == "a cat"


def test_enhance_draft_with_markup_is_shown_as_text(used_page: Any, llm: LlmServer) -> None:
    page = used_page
    llm.replies = [says_prompt(EVIL, between_s=0.02)]
    page.fill(PROMPT, "a cat")
    page.click("#enhance")
    text = draft_text(page)
    assert "<" not in text
    assert page.evaluate(
        "() => [window.pwned, document.querySelectorAll('#draft img').length]"
    ) == [
        None,
        0,
    ]
    page.click("#draft .act:has-text('Discard')")
    page.wait_for_selector("#draft .draft", state="detached")


def test_enhance_failing_model_falls_back_to_the_rules(used_page: Any, llm: LlmServer) -> None:
    page = used_page
    llm.replies = [Reply(status=401)]
    page.fill(PROMPT, "a cat")
    page.click("#enhance")
    assert draft_text(page).startswith("a cat")
    assert "built-in rules" in page.inner_text("#draft .row")
    assert "requires an API key" in page.inner_text("#draft")


def test_enhance_style_and_own_system_prompt_are_stored_and_sent(page: Any, llm: LlmServer) -> None:
    llm.replies = [says_prompt("old postcard of a cat")]
    page.fill(PROMPT, "a cat")
    page.click("#enhance")
    draft_text(page)
    asked = len(llm.requests)
    page.select_option("#draft [data-wish=style]", "Postcard")
    page.wait_for_function(
        "() => document.querySelector('#draft [data-wish=style]')?.value === 'Postcard'"
    )
    for _ in range(50):
        if len(llm.requests) > asked:
            break
        page.wait_for_timeout(100)
    assert "old postcard of" in llm.requests[-1]["messages"][0]["content"]
    draft_text(page)
    llm.replies = [says_prompt("a cat, salt in its fur")]
    page.click("#draft .wishes summary")
    page.fill("#draft [data-wish=system]", "Write as a sailor would.")
    page.press("#draft [data-wish=system]", "Tab")
    page.reload()
    page.wait_for_selector("form.settings")
    page.click("#enhance")
    draft_text(page)
    assert llm.requests[-1]["messages"][0]["content"].startswith("Write as a sailor would.")
    assert page.input_value("#draft [data-wish=system]") == "Write as a sailor would."
    assert page.input_value("#draft [data-wish=style]") == "Postcard"


def test_styles_dialog_previews_before_use_and_keeps_the_old_prompt(used_page: Any) -> None:
    page = used_page
    page.click(".picker > summary")
    page.click(".option[data-preset=sdxl]")
    page.wait_for_selector("form.settings[data-preset=sdxl]")
    page.fill(PROMPT, "a cat.")
    page.click("[data-do=styles]")
    page.fill("#styles input[type=search]", "INK")
    assert page.locator("#styles .look:visible").all_inner_texts() == ["Ink drawing"]
    page.click("#styles .look:visible")
    look = shipped_styles()["ink drawing"]
    merged = merge_style("a cat.", look)
    assert page.inner_text("#styles .look-foot .draft-text") == merged.prompt
    assert page.locator("#styles .look-foot mark").count() == 2
    page.wait_for_function("document.querySelector('.look:not([hidden]) img').naturalWidth > 0")
    assert page.input_value(PROMPT) == "a cat."
    page.click("#styles .act:has-text('Use')")
    page.wait_for_selector("#styles", state="detached")
    assert page.input_value(PROMPT) == merged.prompt
    assert look.negative in page.input_value("form.settings [name=negative]")
    page.press(PROMPT, "Alt+ArrowUp")
    assert page.input_value(PROMPT) == "a cat."


def use_style(page: Any, name: str) -> None:
    page.click("[data-do=styles]")
    page.click(f"#styles .look[data-name='{name}']")
    page.click("#styles .act:text-is('Use')")
    page.wait_for_selector("#styles", state="detached")


def test_styles_combine_as_chips_and_are_taken_off(used_page: Any) -> None:
    page = used_page
    choose(page, "sdxl")
    negative = "form.settings [data-role=negative] [name]"
    comic, ink = shipped_styles()["comic"], shipped_styles()["ink drawing"]
    page.fill(PROMPT, "a cat")
    set_field(page, "negative", "hands")
    use_style(page, "comic")
    assert page.input_value(PROMPT) == merge_style("a cat", comic).prompt
    page.reload()
    page.wait_for_selector(".style-chip")
    use_style(page, "ink drawing")
    both = merge_style(merge_style("a cat", comic).prompt, ink).prompt
    assert page.input_value(PROMPT) == both
    assert page.input_value(negative) == f"hands, {comic.negative}, {ink.negative}"
    names = page.locator(".style-chip > span").all_inner_texts()
    assert sorted(names) == ["Comic", "Ink drawing"]
    page.click("[aria-label='Remove style: Comic']")
    assert page.input_value(PROMPT) == merge_style("a cat", ink).prompt
    page.press(PROMPT, "Control+End")
    page.keyboard.type(", asleep")
    use_style(page, "ink drawing")  # the dialog shows what the prompt has, and a press takes it off
    assert page.input_value(PROMPT) == "a cat, asleep"
    assert page.input_value(negative) == "hands"
    page.wait_for_selector(".style-chips", state="hidden")


SUGGESTED = "#completions:not([hidden])"
# The gap between what the echo and the field show, after typing and scrolling.
ECHO_JS = """selector => {
  const field = document.querySelector(selector), echo = field.previousElementSibling;
  const width = (box) => box.clientWidth;
  return [echo.textContent === field.value + "\\n", echo.scrollTop === field.scrollTop,
    width(echo) === width(field), echo.scrollHeight === field.scrollHeight];
}"""
# How long the page works on each key, from the first listener to the last.
TYPING_JS = """() => {
  window.typingTimes = [];
  let start = 0;
  addEventListener("input", () => (start = performance.now()), true);
  addEventListener("input", () => typingTimes.push(performance.now() - start));
}"""


def test_prompt_is_completed_and_marked_on_every_screen(used_page: Any) -> None:
    page = used_page
    choose(page, "sdxl")

    # By keyboard; a long list is no burden while typing.
    page.evaluate(TYPING_JS)
    page.focus(PROMPT)
    page.keyboard.type("a girl, longh")
    page.wait_for_selector(SUGGESTED)
    page.keyboard.press("Tab")
    assert page.input_value(PROMPT) == "a girl, long hair, "
    page.keyboard.type("some tag 123", delay=80)
    page.wait_for_selector(f"{SUGGESTED} :text-is('some tag 12300')")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    active = page.get_attribute(PROMPT, "aria-activedescendant")
    assert page.get_attribute(f"#{active}", "aria-selected") == "true"
    assert page.inner_text("#completions [aria-selected=true] .label") == "some tag 1231"
    page.keyboard.press("Escape")
    assert not page.is_visible("#completions")
    page.keyboard.press("Enter")  # a line break again
    page.keyboard.type("__col")
    page.wait_for_selector(SUGGESTED)
    page.keyboard.press("Enter")
    assert page.input_value(PROMPT) == "a girl, long hair, some tag 123\n__colour__"
    times = sorted(page.evaluate("typingTimes"))
    assert times[len(times) // 2] < 50, times

    # By mouse: a style becomes a chip, a LoRA a tag; undo takes it back.
    page.keyboard.type(" film no")
    page.click(f"{SUGGESTED} .of-style")
    page.wait_for_selector(".style-chip:has-text('Film noir')")
    page.click("[aria-label='Remove style: Film noir']")
    page.press(PROMPT, "Control+End")
    page.keyboard.type(", <lora:ink")
    page.wait_for_selector(f"{SUGGESTED} .of-lora")
    assert violations(page, "#prompt, #completions") == []
    page.click("#completions .of-lora")
    assert page.input_value(PROMPT).endswith(", <lora:ink_wash_sdxl:1>")
    page.keyboard.press("Control+Z")
    assert page.input_value(PROMPT).endswith(", <lora:ink")
    page.keyboard.press("Escape")

    # The marks follow the text, its scrolling, and the width of the screen.
    text = "(soft:1.2) {red|blue} [[fog, rain]] <lora:x:1>\n" * 20
    page.fill(PROMPT, text)
    kinds = page.evaluate(
        "[...new Set([...document.querySelectorAll('.echo i')].map(i => i.className))]"
    )
    assert {"syntax weight-mark", "syntax array-mark", "syntax lora-mark"} <= {*kinds}
    for size in (WIDE, {"width": 1920, "height": 1080}, PHONE):
        page.set_viewport_size(size)
        page.evaluate(f"document.querySelector('{PROMPT}').scrollTop = 60")
        page.wait_for_function(f"({ECHO_JS})('{PROMPT}').every(Boolean)")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0

    # In the negative prompt, on a phone.
    negative = "form.settings [name=negative]"
    page.fill(negative, "")
    page.focus(negative)
    page.keyboard.type("some tag 9")
    page.wait_for_selector(SUGGESTED)
    box = page.locator("#completions").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE["width"]
    assert page.locator("#completions li").first.bounding_box()["height"] >= 44
    page.click("#completions li >> nth=0")
    assert page.input_value(negative) == "some tag 90, "
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Control+ArrowUp")
    assert page.input_value(negative) == "some tag (90:1.05), "

    # An array is a job for each entry.
    page.set_viewport_size(WIDE)
    generate(page, "a [[small, big]] harbor", steps=1)
    page.wait_for_selector("#results .thumb[title='a small harbor']")
    page.wait_for_selector("#results .thumb[title='a big harbor']")


def test_styles_dialog_promises_negative_words_only_with_that_field(used_page: Any) -> None:
    page = used_page
    page.fill(PROMPT, "a cat")
    for preset, count in (("flux1_dev", 0), ("sdxl", 1)):
        choose(page, preset)
        page.click("[data-do=styles]")
        page.click("#styles .look[data-name=comic]")
        assert page.locator("#styles .look-foot :text('Negative:')").count() == count
        page.keyboard.press("Escape")


def test_enhance_draft_is_stale_while_the_prompt_or_preset_differs(
    used_page: Any, llm: LlmServer
) -> None:
    page = used_page
    choose(page, "sdxl")
    llm.replies = [says_prompt("a cat asleep")]
    page.fill(PROMPT, "a cat")
    page.click("#enhance")
    assert draft_text(page) == "a cat asleep"
    use, note = "#draft [data-send=use]", "#draft .stale-note"
    assert page.is_enabled(use)
    assert not page.is_visible(note)
    use_style(page, "comic")
    assert page.is_disabled(use)
    assert page.is_visible(note)
    page.press(PROMPT, "Alt+ArrowUp")
    assert page.input_value(PROMPT) == "a cat"
    assert page.is_enabled(use)
    choose(page, "sd15")
    page.wait_for_selector(note)
    llm.replies = [says_prompt("a cat awake")]
    page.click("#draft [data-send=retry]")
    page.wait_for_selector("#draft .draft-text:has-text('a cat awake')")
    page.click(use)
    page.wait_for_selector("#draft .draft", state="detached")
    assert page.input_value(PROMPT) == "a cat awake"


def test_styles_dialog_imports_a_file_and_refuses_an_invalid_one(
    used_page: Any, data_dir: Path
) -> None:
    page = used_page
    page.fill(PROMPT, "a cat")
    page.click("[data-do=styles]")
    style = {"name": "<b>sai</b>", "prompt": "line art of {prompt} . fine", "negative_prompt": ""}
    files = [{"name": "sai.json", "mimeType": "", "buffer": json.dumps([style]).encode()}]
    page.set_input_files("#styles input[type=file]", files=files)
    page.wait_for_selector("#styles .look[aria-selected=true]:has-text('<b>sai</b>')")
    assert page.inner_text("#styles .look-foot .draft-text") == "line art of a cat . fine"
    assert (data_dir / "styles" / "sai.json").exists()
    files = [{"name": "bad.csv", "mimeType": "", "buffer": b"a,b"}]
    page.set_input_files("#styles input[type=file]", files=files)
    page.wait_for_selector("#toast:has-text('contains no styles')")


DROP = """async () => {
    const picture = await new Promise((given) => document.createElement("canvas").toBlob(given));
    const carrier = new DataTransfer();
    carrier.items.add(new File([picture], "fox.png", { type: "image/png" }));
    const drop = new DragEvent("drop", { dataTransfer: carrier, bubbles: true });
    document.querySelector("#stage").dispatchEvent(drop);
}"""


def test_describe_is_not_offered_without_a_vision_model(used_page: Any) -> None:
    page = used_page
    page.wait_for_selector(".words-bar")
    page.evaluate(DROP)
    page.wait_for_selector("#dropped .act:has-text('Cancel')")
    assert page.locator("#dropped .act:has-text('Describe it')").count() == 0
    page.click("#dropped .act:has-text('Cancel')")


def test_describe_is_offered_with_a_vision_model(
    llm: LlmServer, person: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm, "models", [MODEL, "qwen2.5vl:7b"])
    llm.replies = [says_prompt("A red fox, <img src=x onerror=alert(1)> asleep.")]
    page = person()
    page.wait_for_selector(".words-bar[data-sees]")
    page.fill(PROMPT, "mine")
    page.evaluate(DROP)
    page.click("#dropped .act:has-text('Describe it')")
    assert draft_text(page) == "A red fox, asleep."
    assert "qwen2.5vl:7b" in page.inner_text("#draft .row")
    assert page.input_value(PROMPT) == "mine"
    sent = llm.requests[-1]["messages"][1]["content"][1]["image_url"]["url"]
    assert sent.startswith("data:image/jpeg;base64,")
    page.click("#draft .act:has-text('Use')")
    page.wait_for_selector("#draft .draft", state="detached")
    assert page.input_value(PROMPT) == "A red fox, asleep."
    # And one's own result.
    generate(page, "a fox", steps=1)
    page.wait_for_selector(".stage.succeeded")
    page.click("#stage .full-screen")
    page.click("#viewer .act:has-text('Describe')")
    assert draft_text(page) == "A red fox, asleep."


def test_wildcards_are_chosen_by_seed_and_stored_with_the_result(used_page: Any) -> None:
    page = used_page
    prompt = "a __colour__ {fox|owl}"
    seen = "[...document.querySelectorAll('#results .thumb')].map(t => t.title)"
    seen += ".filter(t => /^a (crimson|azure) (fox|owl)$/.test(t))"
    for number in (1, 2):
        generate(page, prompt, steps=2, seed=5)
        page.wait_for_function(f"() => {seen}.length === {number}")
    assert len(set(page.evaluate(f"() => {seen}"))) == 1
    assert page.input_value(PROMPT) == prompt
    page.click("#stage .full-screen")
    page.wait_for_selector(f"#viewer .detail:has-text('{prompt}')")
    page.keyboard.press("Escape")
    generate(page, "a __color__ fox")
    page.wait_for_selector("#notice .notice:has-text(\"Did you mean 'colour'\")")


def test_past_prompts_search_filters_by_words(used_page: Any) -> None:
    page = used_page
    for prompt in ("a red ibis", "a blue whale"):
        generate(page, prompt, steps=1)
        page.wait_for_selector(".stage.succeeded")
    page.click("[data-do=past-prompts]")
    page.fill("#past input", "IBIS")
    assert page.locator("#past .past:visible").all_inner_texts() == ["a red ibis"]
    page.click("#past .past:visible")
    page.wait_for_selector("#past", state="detached")
    assert page.input_value(PROMPT) == "a red ibis"


def test_ctrl_arrows_change_the_prompt_weight(used_page: Any) -> None:
    page = used_page
    page.fill(PROMPT, "soft light")
    page.focus(PROMPT)
    page.keyboard.press("End")
    for _ in range(4):
        page.keyboard.press("Control+ArrowUp")
    assert page.input_value(PROMPT) == "soft (light:1.2)"
    for _ in range(4):
        page.keyboard.press("Control+ArrowDown")
    assert page.input_value(PROMPT) == "soft light"


def test_token_count_matches_python(used_page: Any) -> None:
    page = used_page
    from comfy_ui.prompts import count_tokens

    page.click(".picker > summary")
    page.click(".option[data-preset=sdxl]")
    page.wait_for_selector("form.settings[data-preset=sdxl]")
    for text in (
        "a cat",
        "extraordinarily photorealistic (soft:1.2) light, 35mm f/1.4 <lora:x:1> BREAK",
        "кошка на окне, 窓辺の猫 Ÿ",
        "one two three " * 40,
    ):
        page.fill(PROMPT, text)
        tokens = count_tokens(text.strip(), "SDXL")
        shown = page.inner_text(".tokens")
        assert f"CLIP-L, CLIP-G≈ {tokens.used} of {75 * tokens.chunks} tokens" in shown
        assert page.locator(".tokens .over").count() == (0 if tokens.fits else 1)
