// @ts-check
// Marks the syntax of prompts: a copy of the text behind each field, with tints instead of colors, so
// that the text itself stays the field's. The copy also tells where on the screen a character is.
"use strict";
(() => {
  const { $, $$, make } = window.comfy.kit;
  const { promptParts } = globalThis.comfyText;
  const FIELDS = "#prompt textarea, form.settings .field.negative textarea";
  const COPIED = ["font", "letterSpacing", "wordSpacing", "lineHeight", "textAlign", "tabSize", "padding", "borderWidth", "direction"];

  /** @param {AnyElement} field @returns {AnyElement} */
  const echoOf = (field) => (field.previousElementSibling?.matches(".echo") ? field.previousElementSibling : null);
  const sizes = new ResizeObserver((entries) => {
    for (const { target } of entries) fit(target);
  });

  /** @param {AnyElement} field */
  function fit(field) {
    const echo = echoOf(field);
    if (!echo) return;
    const style = /** @type {any} */ (getComputedStyle(field));
    const copied = Object.fromEntries(COPIED.map((name) => [name, style[name]]));
    // Without the scroll bar, which narrows the field's lines.
    const box = { left: `${field.offsetLeft}px`, top: `${field.offsetTop}px`, width: `${field.offsetWidth - scrollBar(field, style)}px`, height: `${field.offsetHeight}px` };
    Object.assign(echo.style, copied, box); // after all was read: each read after a write computes the page's layout
    echo.scrollTop = field.scrollTop;
  }
  const scrollBar = (field, style) => field.offsetWidth - field.clientWidth - parseFloat(style.borderLeftWidth) - parseFloat(style.borderRightWidth);

  /** @param {AnyElement} field */
  function draw(field) {
    let echo = echoOf(field);
    const isNew = !echo;
    if (isNew) {
      echo = make("div", { className: "echo", ariaHidden: "true", translate: false });
      field.before(echo);
      sizes.observe(field);
      field.addEventListener("scroll", () => (echo.scrollTop = field.scrollTop), { passive: true });
    }
    const text = field.value;
    if (echo.comfyText === text) return;
    echo.comfyText = text;
    echo.replaceChildren(...promptParts(text).map(({ kind, text: part }) => (kind ? make("i", { className: `syntax ${kind}-mark`, textContent: part }) : part)), "\n");
    if (isNew) fit(field); // later the observer and the listener above do
  }
  const drawAll = () => $$(FIELDS).forEach(draw);

  document.addEventListener("input", (/** @type {On<Event>} */ event) => {
    if (event.target.matches?.(FIELDS)) draw(event.target);
  });
  // A block that was drawn may have brought another prompt along, which Gradio sets without an event.
  window.comfy.onIsland(() => setTimeout(drawAll));
  document.addEventListener("focusin", (/** @type {On<Event>} */ event) => {
    if (event.target.matches?.(FIELDS)) draw(event.target);
  });

  window.comfy.prompts = {
    is: (element) => element instanceof Element && element.matches(FIELDS),
    place(field, at) {
      draw(field);
      fit(field);
      const range = document.createRange();
      const texts = document.createTreeWalker($(".echo", field.parentElement), NodeFilter.SHOW_TEXT);
      let left = at;
      for (let node = texts.nextNode(); node; node = texts.nextNode()) {
        const { length } = /** @type {Text} */ (node);
        if (left < length) {
          range.setStart(node, left);
          range.setEnd(node, left + 1);
          break;
        }
        left -= length;
      }
      return range.getClientRects()[0] ?? field.getBoundingClientRect();
    },
  };
})();
