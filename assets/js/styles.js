// @ts-check
// Styles: words around the prompt. Those that the prompt has are chips below it, which take their words
// out again; the dialog shows the words of all that are chosen before they are used.
"use strict";
(() => {
  const { $, $$, make, dialog, toast, setPrompt } = window.comfy.kit;
  const { mergeStyles, findStyles, withoutStyle, swapNegative } = globalThis.comfyText;
  const PAUSE_MS = 120;

  /** @typedef {{ name: string, before: string, after: string, negative: string, picture: boolean }} Style */
  /** @typedef {{ styles: Style[], takes: boolean, problems: string[] }} Listing */
  /** What the server has; null before it was asked. @type {Listing | null} */
  let listing = null;
  const box = () => $("#prompt textarea");
  const negativeField = () => $("form.settings [data-role=negative] [name]");
  /** Only the names of shipped styles have translations. @param {string} name */
  const titleOf = (name) => name.slice(0, 1).toUpperCase() + name.slice(1);

  /** @returns {Promise<Listing | null>} */
  async function ask() {
    const answer = await fetch("styles").catch(() => null);
    listing = (answer?.ok ? await answer.json().catch(() => null) : null) ?? listing;
    return listing;
  }
  const current = () => findStyles(box()?.value ?? "", negativeField()?.value ?? "", listing?.styles ?? []);
  /** The prompt without the text of its styles. */
  const plain = () => current().reduce((text, style) => withoutStyle(text, style), box().value).trim();
  /**
   * Change the words of the negative prompt with the styles.
   * @param {Style[]} removed
   * @param {Style[]} added
   */
  function changeNegative(removed, added) {
    const field = negativeField();
    if (!field) return;
    let text = field.value;
    for (const { negative } of removed) text = swapNegative(text, negative, "");
    for (const { negative } of added) text = swapNegative(text, "", negative);
    if (text === field.value) return;
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }
  /** @param {Style[]} wanted all styles that the prompt shall have */
  function apply(wanted) {
    const before = current();
    const removed = before.filter((style) => !wanted.includes(style));
    const added = wanted.filter((style) => !before.includes(style));
    const words = removed.reduce((text, style) => withoutStyle(text, style), box().value);
    const parts = mergeStyles(words, added);
    setPrompt(parts.before + parts.words + parts.after);
    changeNegative(removed, added);
    drawChips();
  }

  // ---- chips ---------------------------------------------------------------------------------

  let shown = "";
  function drawChips() {
    const strip = $(".style-chips");
    if (!strip || !box()) return;
    const styles = current();
    const now = styles.map(({ name }) => name).join("\n");
    strip.hidden = !styles.length;
    if (now === shown && strip.childElementCount === styles.length) return;
    shown = now;
    strip.replaceChildren(...styles.map(chip));
  }
  /** @param {Style} style */
  function chip(style) {
    const remove = make("button", { type: "button", className: "chip-remove", innerHTML: "&times;", title: "Remove style", ariaLabel: `Remove style: ${titleOf(style.name)}` });
    remove.onclick = () => {
      apply(current().filter((other) => other !== style));
      ($(".chip-remove") ?? $("[data-do=styles]")).focus();
    };
    return make("span", { className: "style-chip" }, make("span", { textContent: titleOf(style.name), translate: style.picture }), remove);
  }
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let soon;
  function drawSoon() {
    clearTimeout(soon);
    soon = setTimeout(async () => {
      if (!listing && !(box()?.value.trim() && (await ask()))) return;
      drawChips();
    }, PAUSE_MS);
  }
  document.addEventListener("input", (/** @type {On<Event>} */ event) => {
    if (window.comfy.prompts.is(event.target)) drawSoon();
  });
  window.comfy.onIsland(drawSoon);

  window.comfy.addStyle = async (name) => {
    const style = (listing ?? (await ask()))?.styles.find((one) => one.name === name);
    if (!style) return toast("The styles cannot be loaded");
    if (!plain()) return toast("Enter a prompt first.");
    apply([...current().filter((other) => other !== style), style]);
    box().focus();
  };

  // ---- the dialog ----------------------------------------------------------------------------

  window.comfy.actions.styles = async () => {
    if (!(await ask())) return toast("The styles cannot be loaded");
    const { takes, problems } = /** @type {Listing} */ (/** @type {unknown} */ (listing));
    let chosen = current();
    const search = make("input", { type: "search", placeholder: "Find a style", ariaLabel: "Find a style" });
    search.dataset.filter = "#styles .look";
    const grid = make("div", { className: "looks", role: "listbox", ariaLabel: "Styles", ariaMultiSelectable: "true" });
    const preview = make("p", { className: "draft-text", ariaLive: "polite" });
    const without = make("p", { className: "quiet" });
    const use = make("button", { type: "button", className: "act strong", textContent: "Use" });
    const none = make("button", { type: "button", className: "act", textContent: "Without styles" });
    const foot = make("div", { className: "look-foot" }, preview, without, make("div", { className: "acts" }, use, none));
    function update() {
      for (const look of $$(".look", grid)) look.setAttribute("aria-selected", String(chosen.some(({ name }) => name === look.dataset.name)));
      const words = plain();
      const parts = mergeStyles(words || "your prompt", chosen);
      const mark = (/** @type {string} */ text) => text && make("mark", { textContent: text });
      preview.replaceChildren(...[mark(parts.before), parts.words, mark(parts.after)].filter(Boolean));
      const negative = negativeField() ? chosen.map((style) => style.negative).filter(Boolean).join(", ") : "";
      without.replaceChildren(...(negative ? [make("b", { textContent: "Negative:" }), " ", make("span", { textContent: negative, translate: false })] : []));
      use.disabled = !words;
      use.title = words ? "" : "Enter a prompt first.";
      none.hidden = !chosen.length;
    }
    /** @param {Style} style */
    function toggle(style) {
      chosen = chosen.includes(style) ? chosen.filter((other) => other !== style) : [...chosen, style];
      update();
    }
    function fill() {
      const styles = listing?.styles ?? [];
      chosen = chosen.flatMap(({ name }) => styles.find((style) => style.name === name) ?? []);
      grid.replaceChildren(...styles.map(card));
      update();
    }
    /** @param {Style} style */
    function card(style) {
      const face = style.picture
        ? make("img", { src: `styles/${encodeURIComponent(style.name)}`, alt: "", loading: "lazy", width: 96, height: 96 })
        : make("span", { className: "no-face", textContent: style.name.slice(0, 1).toUpperCase(), ariaHidden: "true" });
      const name = titleOf(style.name);
      const button = make("button", { type: "button", className: "look", role: "option", title: name, translate: style.picture }, face, make("span", { textContent: name }));
      button.dataset.name = style.name;
      button.dataset.find = `${name} ${style.picture ? window.comfy.translated(name) : ""}`.toLowerCase();
      button.onclick = () => toggle(style);
      return button;
    }
    const note = make("p", { className: "look-note quiet", role: "status" });
    const picker = make("input", { type: "file", accept: ".csv,.json,.toml", hidden: true });
    picker.onchange = async () => {
      const file = picker.files[0];
      picker.value = "";
      const taken = file && (await take(file));
      if (!taken) return;
      await ask();
      fill();
      note.textContent = `${taken.names.length} ${taken.names.length === 1 ? "style" : "styles"} read from ${file.name}`;
      const first = $$(".look", grid).find((other) => other.dataset.name === taken.names[0]);
      first?.click();
      first?.scrollIntoView({ block: "center" });
    };
    const bring = takes && make("button", { type: "button", className: "act", textContent: "Import…", title: "Styles as CSV (A1111) or JSON (Fooocus)", onclick: () => picker.click() });
    const opened = dialog("styles", "Styles", make("div", { className: "row" }, make("h2", { textContent: "Styles" }), bring), search, note, picker, grid, foot);
    use.onclick = () => {
      apply(chosen);
      opened.close();
      box().focus();
    };
    none.onclick = () => {
      chosen = [];
      use.click();
    };
    fill();
    for (const problem of problems) foot.append(make("p", { className: "trouble", textContent: problem }));
    search.focus();
  };
  /** @param {File} file */
  async function take(file) {
    try {
      const answer = await fetch(`styles?${new URLSearchParams({ name: file.name })}`, { method: "POST", body: file });
      const taken = await answer.json();
      if (answer.ok) return taken;
      toast(taken.error);
    } catch {
      toast("Connection lost");
    }
    return null;
  }
})();
