// @ts-check
// Completion of prompts while typing. The server searches (web/tabs/create/prompt/prompt_completion.py); a
// search that a further key makes obsolete is aborted. The field stays a text box: its active
// suggestion is in aria-activedescendant.
"use strict";
(() => {
  const { $, make } = window.comfy.kit;
  const { termAt } = globalThis.comfyText;
  const PAUSE_MS = 60;
  const KINDS = { style: "Style", lora: "LoRA", embedding: "Embedding", wildcard: "Wildcard" };
  const COUNT = new Intl.NumberFormat("en", { notation: "compact" });

  /** @typedef {{ kind: string, label: string, text: string, category?: number, uses?: number }} Item */
  /** The field that is completed; null while no suggestions are shown. @type {AnyElement} */
  let field = null;
  /** @type {Item[]} */
  let items = [];
  let active = -1;
  /** What the chosen suggestion replaces. */
  let span = { start: 0, end: 0 };
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let soon;
  let search = new AbortController();
  let accepting = false;

  const list = make("ul", { id: "completions", role: "listbox", ariaLabel: "Suggestions", hidden: true });
  const status = make("span", { className: "sr", role: "status" });

  function close() {
    clearTimeout(soon);
    search.abort();
    if (!field) return;
    list.hidden = true;
    list.replaceChildren();
    status.textContent = "";
    field.removeAttribute("aria-activedescendant");
    field = null;
  }
  /** @param {AnyElement} target */
  function typed(target) {
    clearTimeout(soon);
    search.abort();
    const term = target.selectionStart === target.selectionEnd ? termAt(target.value, target.selectionEnd) : null;
    if (!term) return close();
    soon = setTimeout(() => ask(target, term), PAUSE_MS);
  }
  /**
   * @param {AnyElement} target
   * @param {{ kind: string, query: string, start: number }} term
   */
  async function ask(target, { kind, query, start }) {
    search = new AbortController();
    const { signal } = search;
    const answer = await fetch(`completions?${new URLSearchParams({ text: query, kind })}`, { signal }).catch(() => null);
    const found = answer?.ok ? await answer.json().catch(() => null) : null;
    if (signal.aborted || document.activeElement !== target) return;
    const end = target.selectionEnd;
    const takesLoras = $(".lora-strip:not([hidden])") !== null;
    items = (found?.items ?? []).filter((/** @type {Item} */ item) => (item.kind !== "lora" || takesLoras) && target.value.slice(start, end) !== item.text);
    if (!items.length) return close();
    span = { start: kind ? start : end - found.length, end: end + rest(kind, target.value.slice(end)) };
    field = target;
    show(kind ? 0 : -1); // after a syntax sign, Enter can only mean the first
  }
  /** How much of the text after the cursor belongs to what is completed. @param {string} kind @param {string} after */
  function rest(kind, after) {
    const pattern = { lora: /^[\w\-./ ]*(?::[-+\d.]*){0,2}>/, wildcard: /^[\w\-/*.]*__/ }[kind];
    return pattern?.exec(after)?.[0].length ?? 0;
  }
  /** @param {number} first the active suggestion, -1 for none */
  function show(first) {
    if (!list.isConnected) ($("main") ?? document.body).append(list, status);
    list.replaceChildren(...items.map(row));
    list.hidden = false;
    list.scrollTop = 0;
    field.setAttribute("aria-autocomplete", "list");
    field.setAttribute("aria-controls", list.id);
    status.textContent = items.length === 1 ? "1 suggestion" : `${items.length} suggestions`;
    activate(first);
    place();
  }
  /**
   * @param {Item} item
   * @param {number} at
   */
  function row(item, at) {
    const facts = item.kind === "tag" ? (item.uses ? COUNT.format(item.uses) : "") : KINDS[/** @type {keyof typeof KINDS} */ (item.kind)];
    const option = make(
      "li", { id: `completion-${at}`, role: "option", className: `of-${item.kind}` },
      make("span", { className: "label", textContent: item.label, translate: false }),
      facts && make("span", { className: "quiet", textContent: facts }),
    );
    option.onclick = () => accept(at);
    return option;
  }
  /** @param {number} at */
  function activate(at) {
    active = at;
    [...list.children].forEach((/** @type {AnyElement} */ option, index) => option.setAttribute("aria-selected", String(index === at)));
    if (at < 0) return field.removeAttribute("aria-activedescendant");
    field.setAttribute("aria-activedescendant", `completion-${at}`);
    list.children[at].scrollIntoView({ block: "nearest" });
  }
  /** Below the line of the cursor; above it where there is no room. */
  function place() {
    if (!field) return;
    const at = window.comfy.prompts.place(field, span.start);
    const view = window.visualViewport;
    const [width, height] = [view?.width ?? innerWidth, view?.height ?? innerHeight];
    const below = height - at.bottom - 12;
    const above = at.top - 12;
    const up = below < 180 && above > below;
    list.style.maxHeight = `${Math.min(up ? above : below, 340)}px`;
    list.style.left = `${Math.max(8, Math.min(at.left - 12, width - list.offsetWidth - 8))}px`;
    list.style.top = up ? `${at.top - 6 - list.offsetHeight}px` : `${at.bottom + 6}px`;
  }
  /** @param {number} at */
  function accept(at) {
    const item = items[at];
    const target = field;
    const { start, end } = span;
    close();
    const after = target.value.slice(end);
    const comma = item.kind === "tag" && !/^\s*[,)\]}|:>]/.test(after) ? ", " : "";
    accepting = true;
    replace(target, start, end, item.kind === "style" ? "" : item.text + comma);
    accepting = false;
    if (item.kind === "style") window.comfy.addStyle(item.text);
  }
  /**
   * As if it were typed, so that the browser's undo takes it back.
   * @param {AnyElement} target
   * @param {number} start
   * @param {number} end
   * @param {string} text
   */
  function replace(target, start, end, text) {
    target.focus();
    target.setSelectionRange(start, end);
    if (document.execCommand(text ? "insertText" : "delete", false, text)) return;
    target.setRangeText(text, start, end, "end");
    target.dispatchEvent(new Event("input", { bubbles: true }));
  }

  document.addEventListener("input", (/** @type {any} */ event) => {
    if (accepting || event.isComposing || !window.comfy.prompts.is(event.target)) return;
    if (event.inputType?.startsWith("insert") || event.inputType?.startsWith("delete")) typed(event.target);
    else close(); // set by the page, not typed
  });
  // Before the other listeners: an open list takes these keys.
  document.addEventListener(
    "keydown",
    (/** @type {On<KeyboardEvent>} */ event) => {
      if (!field || event.target !== field || event.isComposing) return;
      const { key } = event;
      const plain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.shiftKey;
      if (!plain || /^Arrow(Left|Right)|^(Home|End|Page)/.test(key) || (key === "Enter" && active < 0)) {
        if (key.length > 1 && key !== "Shift") close();
        return;
      }
      if (key === "ArrowDown") activate((active + 1) % items.length);
      else if (key === "ArrowUp") activate((active < 1 ? items.length : active) - 1);
      else if (key === "Enter" || key === "Tab") accept(Math.max(active, 0));
      else if (key === "Escape") close();
      else return;
      event.preventDefault();
      event.stopImmediatePropagation();
    },
    true,
  );
  list.addEventListener("mousedown", (/** @type {Event} */ event) => event.preventDefault()); // the field keeps the focus
  document.addEventListener("focusout", (/** @type {On<Event>} */ event) => event.target === field && close());
  document.addEventListener("pointerdown", (/** @type {On<Event>} */ event) => field && !list.contains(event.target) && close());
  for (const name of ["scroll", "resize"]) addEventListener(name, () => place(), { passive: true });
  window.visualViewport?.addEventListener("resize", () => place());
})();
