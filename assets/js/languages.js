// The page in the language of who looks at it. English is written in the code and is the key: what
// Gradio, our islands and our scripts put on the page is replaced as it appears, before it is painted.
// Gradio's own i18n knows labels of its components only, and only the browser's language.
"use strict";
(() => {
  const KEPT = "comfy-ui.language";
  const CODES = ["en", "de", "ja", "zh"];
  const ATTRIBUTES = ["title", "placeholder", "alt", "aria-label", "data-told"];
  // What people and servers have written stays as it is; so does what is typed.
  const THEIRS = "[translate=no], .draft-text, button.past, [data-testid=status-tracker], script, style, textarea, pre, code, kbd";

  const chosen = (() => {
    let kept = null;
    try {
      kept = JSON.parse(localStorage.getItem(KEPT));
    } catch {
      /* no storage: the browser's language it is */
    }
    return [kept, ...navigator.languages.map((tag) => tag.slice(0, 2))].find((code) => CODES.includes(code)) ?? "en";
  })();
  // Gradio reads its own few words' language here, and would not know what was chosen.
  if (!navigator.language.startsWith(chosen)) Object.defineProperty(navigator, "language", { get: () => chosen });
  document.documentElement.lang = chosen;

  const exact = new Map();
  const patterns = [];
  const known = new Map(); // what was looked up lately, also in vain
  const made = new Set(); // what is translated already
  const missed = new Set();

  // In a key {1} stands for anything, {1#} for a number.
  const PLACE = /\{(\d)(#?)\}/g;
  function learn(words) {
    for (const [english, own] of Object.entries(words)) {
      const places = [...english.matchAll(PLACE)];
      if (!places.length) {
        exact.set(english, own);
        continue;
      }
      const source = english.replace(/[.*+?^$()|[\]\\]/g, "\\$&").replace(PLACE, (_, number, digits) => (digits ? "([\\d.,]+)" : "([^]+?)"));
      const fixed = english.replace(PLACE, "").length;
      patterns.push({ regex: new RegExp(`^${source}$`), order: places.map(([, number]) => number), own, fixed });
    }
    patterns.sort((one, other) => other.fixed - one.fixed); // what says most is most likely meant
  }
  function looked(text) {
    if (exact.has(text)) return exact.get(text);
    for (const { regex, order, own } of patterns) {
      const found = regex.exec(text);
      // What varies may be a word of ours again, or somebody's.
      const part = (number) => looked(found[order.indexOf(number) + 1]) ?? found[order.indexOf(number) + 1];
      if (found) return own.replace(/\{(\d)\}/g, (_, number) => part(number));
    }
    return null;
  }
  // `text` in the page's language, or as it is where that is not known.
  function said(text) {
    const bare = text.trim();
    // A sign, a number or code says the same in every language.
    if (!exact.size || !/\p{L}{2}/u.test(bare) || bare.startsWith("{") || made.has(bare)) return text;
    if (!known.has(bare)) {
      if (known.size > 3000) for (const memory of [known, made, missed]) memory.clear();
      known.set(bare, looked(bare));
      if (known.get(bare) === null) missed.add(bare);
      else made.add(known.get(bare));
    }
    const own = known.get(bare);
    return own === null ? text : text.replace(bare, () => own);
  }

  function text(node) {
    if (!node.parentElement || node.parentElement.closest(THEIRS)) return;
    const own = said(node.data);
    if (own !== node.data) node.data = own;
  }
  function attributes(element) {
    const theirs = element.closest(THEIRS) && !element.matches("textarea");
    for (const name of ATTRIBUTES) {
      // A label for a screen reader is always ours, also of somebody's picture.
      const value = theirs && name !== "aria-label" ? null : element.getAttribute(name);
      if (!value) continue;
      const own = said(value);
      if (own !== value) element.setAttribute(name, own);
    }
  }
  function translate(root) {
    if (!exact.size) return;
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
    for (let node = root; node; node = walker.nextNode()) {
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
    if (!answer?.ok) return; // English it stays
    learn(await answer.json());
    known.clear();
    translate(document.body);
    observer.observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ATTRIBUTES });
  }
  if (document.body) begin();
  else addEventListener("DOMContentLoaded", begin);

  document.addEventListener("change", (event) => {
    if (!event.target.matches(".language select")) return;
    try {
      localStorage.setItem(KEPT, JSON.stringify(event.target.value));
    } catch {
      return; // nothing could be kept, so nothing would change
    }
    location.reload();
  });

  Object.assign(window.comfy, { translate, said, language: chosen, missed });
  window.comfy.onIsland((element) => {
    translate(element);
    const select = element.querySelector(".language select");
    if (select) select.value = chosen;
  });
})();
