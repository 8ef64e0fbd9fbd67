// @ts-check
// The prompt's tools: its length in tokens, earlier prompts, styles, weights, the draft of Enhance.
"use strict";
(() => {
  const { $, $$, make, dialog, load, save, toast, toCreate } = window.comfy.kit;
  const { countTokens, mergeStyle, splitStyle, swapNegative, changeWeight } = globalThis.comfyText;
  const WISHES = "comfy-ui.wishes";
  const PAST = "comfy-ui.prompts";
  const box = () => $("#prompt textarea");
  /** @param {AnyElement} field */
  const changed = (field) => field.dispatchEvent(new Event("input", { bubbles: true }));
  /** The form's field of a role, if the preset has one. @param {string} role @returns {AnyElement} */
  const fieldOf = (role) => $(`form.settings [data-role=${role}] [name]`);

  // ---- tokens --------------------------------------------------------------------------------

  function count() {
    const shown = $(".words-bar .tokens");
    if (!shown) return;
    const known = JSON.parse(shown.dataset.limits)[$("form.settings")?.dataset.preset];
    const text = box()?.value.trim() ?? "";
    shown.hidden = !known || !text;
    if (shown.hidden) return;
    const [encoder, limit, chunk] = known;
    const used = countTokens(text, encoder);
    const over = used > limit;
    shown.classList.toggle("over", over);
    shown.textContent = `≈ ${used} of ${limit} tokens` + (!over ? "" : chunk ? `: ${Math.ceil(used / chunk)} pieces` : ": the end may be ignored");
    shown.title = "Estimated length for this model's text encoder";
  }

  // ---- earlier prompts -----------------------------------------------------------------------

  window.comfy.actions["past-prompts"] = () => {
    const past = load(PAST, []);
    const rows = past.map((text) => {
      const row = make("button", { type: "button", className: "past", textContent: text });
      row.dataset.prompt = text;
      row.dataset.find = text.toLowerCase();
      return row;
    });
    const search = make("input", { type: "search", placeholder: "Search", ariaLabel: "Search earlier prompts" });
    search.dataset.filter = "#past .past";
    const opened = dialog("past", "Earlier prompts", make("h2", { textContent: "Earlier prompts" }), rows.length ? search : null, ...(rows.length ? rows : [make("p", { className: "quiet", textContent: "Prompts you run are kept here, in this browser." })]));
    for (const row of rows) row.addEventListener("click", () => setTimeout(() => opened.close()));
    search.focus();
  };

  // ---- styles: words around the prompt, seen before they are used ----------------------------

  async function fetchStyles() {
    try {
      const answer = await fetch("styles");
      return answer.ok ? await answer.json() : null;
    } catch {
      return null;
    }
  }
  window.comfy.actions.styles = async () => {
    const listed = await fetchStyles();
    if (!listed) return toast("The styles cannot be loaded");
    /** The style around the prompt, which the chosen one replaces. */
    let { style: current, words: plain } = /** @type {{ style: Record<string, any> | null, words: string }} */ (splitStyle(box().value, []));
    /** @type {Record<string, any> | null} */
    let chosen = null;
    const search = make("input", { type: "search", placeholder: "Find a style", ariaLabel: "Find a style" });
    search.dataset.filter = "#styles .look";
    const grid = make("div", { className: "looks", role: "listbox", ariaLabel: "Styles" });
    const preview = make("p", { className: "draft-text", ariaLive: "polite" });
    const without = make("p", { className: "quiet" });
    const use = make("button", { type: "button", className: "act strong", textContent: "Use", disabled: true });
    const remove = make("button", { type: "button", className: "act", textContent: "Remove style" });
    const foot = make("div", { className: "look-foot" }, preview, without, make("div", { className: "acts" }, use, remove));
    function choose(style, look) {
      chosen = style;
      for (const other of $$(".look", grid)) other.setAttribute("aria-selected", other === look);
      const [before, words, after] = mergeStyle(plain || "your prompt", style);
      const mark = (text) => text && make("mark", { textContent: text });
      preview.replaceChildren(...[mark(before), words, mark(after)].filter(Boolean));
      without.replaceChildren(...(style.negative && fieldOf("negative") ? [make("b", { textContent: "Negative:" }), " ", make("span", { textContent: style.negative, translate: false })] : []));
      use.dataset.prompt = before + words + after; // app.js sets the prompt and keeps the old one
      use.disabled = !plain;
      use.title = plain ? "" : "Enter a prompt first.";
    }
    function fill({ styles }) {
      ({ style: current, words: plain } = splitStyle(box().value, styles));
      remove.hidden = !current;
      remove.dataset.prompt = plain;
      grid.replaceChildren(
        ...styles.map((style) => {
          const face = style.picture
            ? make("img", { src: `styles/${encodeURIComponent(style.name)}`, alt: "", loading: "lazy", width: 96, height: 96 })
            : make("span", { className: "no-face", textContent: style.name.slice(0, 1).toUpperCase(), ariaHidden: "true" });
          const name = style.name.slice(0, 1).toUpperCase() + style.name.slice(1);
          // Only the names of shipped styles have translations.
          const look = make("button", { type: "button", className: "look", role: "option", title: name, translate: style.picture }, face, make("span", { textContent: name }));
          look.setAttribute("aria-selected", "false");
          look.dataset.name = style.name;
          look.dataset.find = `${name} ${style.picture ? window.comfy.translated(name) : ""}`.toLowerCase();
          look.onclick = () => choose(style, look);
          look.ondblclick = () => use.click();
          return look;
        }),
      );
    }
    const note = make("p", { className: "look-note quiet", role: "status" });
    const picker = make("input", { type: "file", accept: ".csv,.json,.toml", hidden: true });
    picker.onchange = async () => {
      const file = picker.files[0];
      picker.value = "";
      if (!file) return;
      const taken = await take(file);
      if (!taken) return;
      fill((await fetchStyles()) ?? listed);
      note.textContent = `${taken.names.length} ${taken.names.length === 1 ? "style" : "styles"} read from ${file.name}`;
      const first = $$(".look", grid).find((look) => look.dataset.name === taken.names[0]);
      first?.click();
      first?.scrollIntoView({ block: "center" });
    };
    const bring = listed.takes && make("button", { type: "button", className: "act", textContent: "Import…", title: "Styles as CSV (A1111) or JSON (Fooocus)", onclick: () => picker.click() });
    const opened = dialog("styles", "Styles", make("div", { className: "row" }, make("h2", { textContent: "Styles" }), bring), search, note, picker, grid, foot);
    /** app.js has set the prompt when this runs. @param {string} negative of the style that is used */
    function applied(negative) {
      const field = fieldOf("negative");
      if (field) {
        field.value = swapNegative(field.value, current?.negative ?? "", negative);
        changed(field);
      }
      setTimeout(() => (opened.close(), box().focus()));
    }
    use.onclick = () => applied(chosen?.negative ?? "");
    remove.onclick = () => applied("");
    fill(listed);
    for (const problem of listed.problems) foot.append(make("p", { className: "trouble", textContent: problem }));
    search.focus();
  };
  async function take(file) {
    try {
      const answer = await fetch(`styles?${new URLSearchParams({ name: file.name })}`, { method: "POST", body: file });
      const listed = await answer.json();
      if (answer.ok) return listed;
      toast(listed.error);
    } catch {
      toast("Connection lost");
    }
    return null;
  }

  // ---- images described ----------------------------------------------------------------------

  window.comfy.sees = () => Boolean($("#draft") && $(".words-bar[data-sees]"));
  // Sends a small re-encoded copy, so that metadata stays in the browser.
  window.comfy.describe = async (file) => {
    const bitmap = await createImageBitmap(file).catch(() => null);
    if (!bitmap) return toast("This image cannot be read");
    const scale = Math.min(1, 1024 / Math.max(bitmap.width, bitmap.height));
    const canvas = make("canvas", { width: Math.max(1, Math.round(bitmap.width * scale)), height: Math.max(1, Math.round(bitmap.height * scale)) });
    const pen = canvas.getContext("2d");
    pen.fillStyle = "white";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    toCreate();
    $("#draft .island, #draft.island")?.comfyTrigger("describe", { picture: canvas.toDataURL("image/jpeg", 0.85), draft: window.comfy.current() });
  };
  window.comfy.actions["describe-shown"] = async (button) => {
    const picture = $("img", button.closest("dialog"));
    button.closest("dialog").close();
    window.comfy.describe(await (await fetch(picture.src)).blob());
  };

  // ---- weights: Ctrl + up or down on a word or a selection -----------------------------------

  /**
   * @param {AnyElement} field
   * @param {number} step
   */
  function weigh(field, step) {
    const change = changeWeight(field.value, field.selectionStart, field.selectionEnd, step);
    if (!change) return;
    field.setRangeText(change.text, change.start, change.end, "select");
    changed(field);
  }
  document.addEventListener("keydown", (/** @type {On<KeyboardEvent>} */ event) => {
    const step = { ArrowUp: 0.05, ArrowDown: -0.05 }[event.key];
    if (!step || !(event.ctrlKey || event.metaKey) || event.altKey || !event.target.closest?.("#prompt")) return;
    event.preventDefault();
    weigh(event.target, step);
  });

  // ---- the draft -----------------------------------------------------------------------------

  window.comfy.wishes = (again) => {
    const unlike = again ? $("#draft [data-send=use]")?.dataset.prompt : undefined;
    return JSON.stringify({ ...JSON.parse(window.comfy.current()), wishes: load(WISHES, {}), unlike });
  };
  document.addEventListener("change", (/** @type {On<Event>} */ event) => {
    const { wish } = event.target.dataset ?? {};
    if (!wish) return;
    save(WISHES, { ...load(WISHES, {}), [wish]: event.target.value });
    if (event.target.tagName === "SELECT") event.target.closest(".island")?.comfyTrigger("retry", {});
  });
  window.comfy.actions["edit-draft"] = (button) => {
    const use = $("[data-send=use]", button.closest(".draft"));
    const field = make("textarea", { className: "draft-text", value: use.dataset.prompt, rows: 5, ariaLabel: "Edit the draft" });
    field.oninput = () => (use.dataset.prompt = field.value);
    $(".draft-text", button.closest(".draft")).replaceWith(field);
    button.remove();
    field.focus();
  };
  // A draft for another prompt or preset would undo what changed since, such as a style.
  function checkDraft() {
    const draft = $("#draft .draft[data-original]");
    if (!draft) return;
    const { original, preset } = draft.dataset;
    const stale = original !== box().value.trim() || preset !== $("form.settings")?.dataset.preset;
    draft.classList.toggle("stale", stale);
    $(".stale-note", draft).hidden = !stale;
    for (const use of $$("[data-send=use], [data-do=edit-draft]", draft)) use.disabled = stale;
  }
  // Runs before app.js handles the click: a negative prompt or lyrics never replace the user's own.
  document.addEventListener(
    "click",
    (/** @type {On<MouseEvent>} */ event) => {
      const use = event.target.closest?.("[data-send=use]");
      if (!use) return;
      use.closest(".draft")?.removeAttribute("data-original"); // it is used now, not stale
      const { negative, lyrics } = use.dataset;
      for (const [field, text] of [[fieldOf("negative"), negative], [$("form.settings [name=lyrics]"), lyrics]]) {
        if (text && field && !field.value.trim()) {
          field.value = text;
          changed(field);
        }
      }
    },
    true,
  );

  document.addEventListener("input", (/** @type {On<Event>} */ event) => {
    if (!event.target.closest?.("#prompt")) return;
    count();
    checkDraft();
  });
  window.comfy.onIsland(() => {
    document.body.classList.toggle("sees", window.comfy.sees());
    checkDraft();
    setTimeout(count);
  });
})();
