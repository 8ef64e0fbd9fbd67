// @ts-check
// The page's language. English texts in the code are the keys: what Gradio, our HTML blocks and our
// scripts add to the page is translated as it appears, before it is painted. Gradio's own i18n covers
// labels of its components only, and only the browser's language.
"use strict";
(() => {
  const KEPT = "comfy-ui.language";
  const CODES = ["en", "de", "ja", "zh"];
  const ATTRIBUTES = ["title", "placeholder", "alt", "aria-label", "data-feedback"];
  // Texts of users and servers, and input fields, are not translated.
  const THEIRS = "[translate=no], .draft-text, button.past, [data-testid=status-tracker], script, style, textarea, pre, code, kbd";

  const chosen = (() => {
    let kept = null;
    try {
      kept = JSON.parse(localStorage.getItem(KEPT) ?? "null");
    } catch {
      /* no storage: use the browser's language */
    }
    return [kept, ...navigator.languages.map((tag) => tag.slice(0, 2))].find((code) => CODES.includes(code ?? "")) ?? "en";
  })();
  // Gradio reads the language of its own few texts here and does not know of the choice.
  if (!navigator.language.startsWith(chosen)) Object.defineProperty(navigator, "language", { get: () => chosen });
  document.documentElement.lang = chosen;

  const catalog = new globalThis.ComfyCatalog();

  /** @param {any} node a text node */
  function text(node) {
    if (!node.parentElement || node.parentElement.closest(THEIRS)) return;
    const own = catalog.translate(node.data);
    if (own !== node.data) node.data = own;
  }
  /** @param {any} element */
  function attributes(element) {
    const theirs = element.closest(THEIRS) && !element.matches("textarea");
    for (const name of ATTRIBUTES) {
      // Labels for screen readers are always ours, even on a user's image.
      const value = theirs && name !== "aria-label" ? null : element.getAttribute(name);
      if (!value) continue;
      const own = catalog.translate(value);
      if (own !== value) element.setAttribute(name, own);
    }
  }
  /** @param {Node} root */
  function translate(root) {
    if (catalog.isEmpty) return;
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
    for (let node = /** @type {Node | null} */ (root); node; node = walker.nextNode()) {
      if (node.nodeType === Node.TEXT_NODE) text(node);
      else if (node.nodeType === Node.ELEMENT_NODE) attributes(node);
    }
  }

  const observer = new MutationObserver((changes) => {
    for (const { type, target, addedNodes } of changes) {
      if (type === "characterData") text(target);
      else if (type === "attributes") attributes(target);
      else for (const node of addedNodes) translate(node);
    }
  });
  async function begin() {
    if (chosen === "en") return;
    const answer = await fetch(`languages/${chosen}.json`).catch(() => null);
    if (!answer?.ok) return; // stay with English
    catalog.load(await answer.json());
    translate(document.body);
    observer.observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ATTRIBUTES });
  }
  if (document.body) begin();
  else addEventListener("DOMContentLoaded", begin);

  document.addEventListener("change", (/** @type {On<Event>} */ event) => {
    if (!event.target.matches(".language select")) return;
    try {
      localStorage.setItem(KEPT, JSON.stringify(event.target.value));
    } catch {
      return; // without storage, the reload would forget the choice
    }
    location.reload();
  });

  /** @param {string} english */
  const translated = (english) => catalog.translate(english);
  Object.assign(window.comfy, { translate, translated, language: chosen, missed: catalog.missed });
  window.comfy.onIsland((element) => {
    translate(element);
    const select = element.querySelector(".language select");
    if (select) select.value = chosen;
  });
})();
